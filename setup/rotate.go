package setup

import (
	"cmp"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"dockerauth/cli"
	"dockerauth/config"
	"dockerauth/jwtsign"
)

// Step is a part of the exchange of the signing key.
type Step string

const (
	Prepare Step = "prepare" // a new pair is there, and registries are told of it
	Switch  Step = "switch"  // it signs, and the old key still verifies refresh tokens
	Retire  Step = "retire"  // the old key is no longer used
)

// Rotation is what key rotate is asked for. Each step can be repeated, and changes nothing then.
type Rotation struct {
	Config  string // path of config.yml
	Step    Step
	Bundle  string // file; "-" = standard output, "" = bundle.pem beside the certificate
	KeyType string // "" = that of the key that signs
	Force   bool   // retire before the refresh tokens have expired

	// Done is called when a step has changed config.yml, with the new one.
	Done func(cfg *config.Config)
}

const (
	defaultConfig = systemDir + "/config.yml"
	toStdout      = "-"
	minute        = "2006-01-02 15:04 UTC"
)

// noticedWithin is longer than processes that stay take to use a changed configuration: they look
// every second, and wait until it has not changed for another.
const noticedWithin = 3 * time.Second

// rotation is one run of key rotate.
type rotation struct {
	Rotation
	now     func() time.Time
	noticed time.Duration // until all processes have a changed config.yml
	cfg     *config.Config
	text    string      // of config.yml, as it is to be
	path    string      // of config.yml, if that is a symbolic link then of its target
	found   fs.FileInfo // what is there
	next    string      // the key that is to sign next; "" = none
	files   newFiles
	bundle  plannedFile // path "" = standard output

	table [][3]string // what became of which file
	rest  strings.Builder
}

// RotateKey does a step of the exchange of the signing key and prints the next one.
func RotateKey(o Rotation, streams cli.Streams) int {
	_ = syscall.Setegid(os.Getgid()) // new files must not get the group of a set-group-id program
	return (&rotation{Rotation: o, now: time.Now, noticed: noticedWithin}).do(streams)
}

func (r *rotation) do(streams cli.Streams) int {
	err := r.check()
	if err == nil {
		err = r.run()
	}
	if errors.As(err, &misuse{}) {
		fmt.Fprintf(streams.Err, "dockerauth key rotate: %v\n", err)
		return cli.ExitUsage
	}
	if err != nil {
		return cli.Fail(streams.Err, withRemedy(err))
	}
	out := streams.Out
	if r.Bundle == toStdout {
		if _, err := out.Write(r.bundle.content); err != nil {
			return cli.Fail(streams.Err, fmt.Errorf("print bundle: %w\n  run this again", err))
		}
		out = streams.Err
	}
	table := cli.NewTable(out)
	for _, line := range r.table {
		fmt.Fprintf(table, "%s\t%s\t%s\n", line[0], line[1], line[2])
	}
	if err = table.Flush(); err == nil {
		_, err = fmt.Fprint(out, r.rest.String())
	}
	if err != nil {
		return cli.Fail(streams.Err, fmt.Errorf("print what to do next: %w\n  run this again to see it", err))
	}
	return cli.ExitDone
}

// withRemedy says what to do about an error that does not.
func withRemedy(err error) error {
	switch {
	case strings.Contains(err.Error(), "\n"):
		return err
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w\n  run this as root", err)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w\n  name a configuration that is there: --config FILE", err)
	}
	return fmt.Errorf("%w\n  remove the cause and run this again", err)
}

// check refuses flags that are of another step.
func (r *rotation) check() error {
	switch jwtsign.Kind(r.KeyType) {
	case "", jwtsign.P256, jwtsign.RSA, jwtsign.Ed25519:
	default:
		return misuse{fmt.Errorf("--key-type %q is unknown\n  write one of: p256, rsa, ed25519", r.KeyType)}
	}
	switch {
	case r.KeyType != "" && r.Step != Prepare:
		return misuse{errors.New("--key-type is for a new pair\n  leave out --key-type")}
	case r.Bundle != "" && r.Step == Switch:
		return misuse{errors.New("--switch writes no bundle\n  leave out --bundle")}
	case r.Force && r.Step != Retire:
		return misuse{errors.New("--force is for --retire\n  leave out --force")}
	}
	return nil
}

// run looks at everything before it changes anything that is there. A certificate is never in the
// bundle while config.yml does not name its key: whatever happens in between, the step can be
// repeated.
func (r *rotation) run() error {
	path, err := filepath.Abs(r.Config)
	if err != nil {
		return err
	}
	if err := checkDirOwnership(filepath.Dir(path), false); err != nil {
		return err
	}
	unlock, err := lockFolder(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer unlock()
	if err := r.read(path); err != nil {
		return err
	}
	unlockKeys, err := r.tidy()
	if err != nil {
		return err
	}
	defer unlockKeys()
	was := r.text
	switch r.Step {
	case Switch:
		err = r.switchKeys()
	case Retire:
		err = r.retire()
	default:
		err = r.prepare()
	}
	if err == nil && r.Step == Retire {
		err = r.putBundle()
	}
	if err == nil && r.text != was {
		if _, err = config.LoadText(r.cfg.Path, []byte(r.text)); err == nil {
			err = r.files.replace(r.path, r.found, []byte(r.text), nil)
		}
	}
	if err != nil {
		r.files.undo()
		return err
	}
	r.files.keep()
	if r.files = (newFiles{}); r.Step == Prepare {
		if err := r.putBundle(); err != nil {
			r.files.undo()
			return err
		}
		r.files.keep()
	}
	if r.text != was && r.Done != nil {
		if cfg, err := config.Load(r.cfg.Path); err == nil {
			r.Done(cfg)
		}
	}
	return nil
}

// read reads the configuration, and finds the key that is to sign next.
func (r *rotation) read(path string) (err error) {
	if r.path, err = followOwn(path); err != nil {
		return err
	}
	if r.found, err = os.Lstat(r.path); err != nil {
		return err
	}
	text, err := config.ReadFile(path)
	if err != nil {
		return err
	}
	r.text = string(text)
	if r.cfg, err = config.Load(path); err != nil {
		return err
	}
	for _, file := range []string{r.cfg.PrivateKeyFile, cmp.Or(r.cfg.CertificateFile, path)} {
		if err := checkDirOwnership(filepath.Dir(file), false); err != nil {
			return err
		}
	}
	r.next = r.cfg.NextKeyFile()
	return nil
}

// tidy locks the other folders in which files change, and deletes what a killed run has left.
func (r *rotation) tidy() (unlock func(), err error) {
	var unlocks []func()
	unlock = func() {
		for _, one := range unlocks {
			one()
		}
	}
	locked := []string{filepath.Dir(r.cfg.Path)}
	for _, dir := range []string{filepath.Dir(r.path), filepath.Dir(r.cfg.PrivateKeyFile)} {
		if slices.ContainsFunc(locked, func(other string) bool { return isSameFile(dir, other) }) {
			continue
		}
		one, err := lockFolder(dir)
		if err != nil {
			unlock()
			return nil, err
		}
		unlocks, locked = append(unlocks, one), append(locked, dir)
	}
	for _, dir := range locked {
		err = errors.Join(err, removeLeftovers(dir))
	}
	if err != nil {
		unlock()
		return nil, err
	}
	return unlock, nil
}

func isSameFile(a, b string) bool {
	one, err := os.Stat(a)
	if err != nil {
		return false
	}
	other, err := os.Stat(b)
	return err == nil && os.SameFile(one, other)
}

// followOwn follows links that nobody else can replace.
func followOwn(path string) (string, error) {
	for range 40 { // as the kernel does
		if err := checkDirOwnership(filepath.Dir(path), false); err != nil {
			return "", err
		}
		to, err := os.Readlink(path)
		switch {
		case errors.Is(err, syscall.EINVAL): // it is no link
			return path, nil
		case err != nil:
			return "", err
		case !filepath.IsAbs(to):
			to = filepath.Join(filepath.Dir(path), to)
		}
		path = to
	}
	return "", fmt.Errorf("change %s: it is one of many symbolic links\n  name a file: --config FILE", path)
}

// set exchanges a line of config.yml.
func (r *rotation) set(key, value string) error {
	text, err := config.Set(r.text, key, value)
	if err != nil {
		return fmt.Errorf("change %s: %w\n  write it on one line: %s: VALUE", r.cfg.Path, err, key)
	}
	r.text = text
	return nil
}

// name is a file as config.yml names it.
func (r *rotation) name(path string) string {
	if inside, found := strings.CutPrefix(path, filepath.Dir(r.cfg.Path)+"/"); found {
		path = inside
	}
	return yamlText(path)
}

func (r *rotation) names(paths ...string) string {
	quoted := make([]string, len(paths))
	for i, path := range paths {
		quoted[i] = r.name(path)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

func (r *rotation) say(verb, path, note string) {
	r.table = append(r.table, [3]string{verb, path, note})
}

// command is a step for a shell.
func (r *rotation) command(flags ...string) string { return r.shell("dockerauth key rotate", flags...) }

func (r *rotation) shell(command string, flags ...string) string {
	if r.cfg.Path != defaultConfig {
		command += " --config " + jwtsign.ShellWord(r.cfg.Path)
	}
	return strings.Join(append([]string{command}, flags...), " ")
}

// certificateOf is the name of the certificate that is made with a key.
func (r *rotation) certificateOf(key string) string {
	dir := filepath.Dir(cmp.Or(r.cfg.CertificateFile, key))
	return filepath.Join(dir, "cert-"+strings.TrimPrefix(filepath.Base(key), "privkey-"))
}

// prepare makes the new pair, unless it is there, and the bundle with both certificates.
func (r *rotation) prepare() error {
	if r.next == "" {
		if err := r.makePair(); err != nil {
			return err
		}
	} else {
		r.say("kept", r.next, "signs after the switch")
		r.say("kept", r.certificateOf(r.next), "its certificate")
	}
	if r.cfg.CertificateFile != "" || r.Bundle != "" {
		if err := r.planBundle(); err != nil {
			return err
		}
	}
	r.reportPrepared()
	return nil
}

func (r *rotation) makePair() error {
	private, certificate, err := r.freeNames()
	if err != nil {
		return err
	}
	var since time.Time
	if len(r.cfg.PreviousKeyFiles) > 0 {
		since = r.retiredSince()
	}
	verifying := r.names(append([]string{private}, r.cfg.PreviousKeyFiles...)...)
	if err := r.set("previous_keys", verifying+" "+config.KeysComment(true, since)); err != nil {
		return err
	}
	key, err := jwtsign.GenerateKey(jwtsign.Kind(cmp.Or(r.KeyType, string(kindOf(r.cfg.Key)))))
	if err != nil {
		return err
	}
	secret, err := key.PrivatePEM()
	if err != nil {
		return err
	}
	public, err := key.SelfSigned(r.cfg.Issuer, r.now())
	if err != nil {
		return err
	}
	// Those who can read the key in use run the service.
	like, err := rightsOfFile(r.cfg.PrivateKeyFile)
	if err != nil {
		return err
	}
	if err := r.files.createFor(private, secret, like, nil); err != nil {
		return err
	}
	like = rights{}
	if r.cfg.CertificateFile != "" {
		if like, err = rightsOfFile(r.cfg.CertificateFile); err != nil {
			return err
		}
	}
	like = rights{0o644, -1, -1, map[string][]byte{label: like.extended[label]}} // everyone may read it
	if err := r.files.createFor(certificate, public, like, nil); err != nil {
		return err
	}
	r.next = private
	r.say("made", private, "signs "+key.Algorithm()+" after the switch")
	r.say("made", certificate, "its certificate")
	r.say("changed", r.cfg.Path, "previous_keys lists the new key: every process verifies with it before one signs")
	return nil
}

// freeNames are dated. A second pair of a day has a number.
func (r *rotation) freeNames() (private, certificate string, err error) {
	dir, date := filepath.Dir(r.cfg.PrivateKeyFile), r.now().UTC().Format("20060102")
	for number := range 100 {
		private = filepath.Join(dir, "privkey-"+date+".pem")
		if number > 0 {
			private = filepath.Join(dir, fmt.Sprintf("privkey-%s-%d.pem", date, number))
		}
		certificate = r.certificateOf(private)
		if !isThere(private) && !isThere(certificate) {
			return private, certificate, nil
		}
	}
	return "", "", fmt.Errorf("make a key in %s: there are a hundred of today\n  move those away that are not in use",
		dir)
}

// isThere reports a file of any kind, or that it cannot be told.
func isThere(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// kindOf is the kind of a new key in place of another. There are fewer kinds of new ones.
func kindOf(key *jwtsign.Key) jwtsign.Kind {
	switch key.Public().(type) {
	case *rsa.PublicKey:
		return jwtsign.RSA
	case ed25519.PublicKey:
		return jwtsign.Ed25519
	}
	return jwtsign.P256
}

// switchKeys makes the next key the one that signs.
func (r *rotation) switchKeys() error {
	if r.next == "" {
		switch {
		case len(r.cfg.PreviousKeyFiles) == 0:
			return fmt.Errorf("switch keys: there is no new pair\n  make one: %s", r.command())
		case r.cfg.PreviousEnd().IsZero():
			return fmt.Errorf("switch keys: %s does not say which of previous_keys is to sign\n  write it first into "+
				"the list, and behind the list: %s", r.cfg.Path, config.KeysComment(true, time.Time{}))
		}
		r.say("kept", r.cfg.PrivateKeyFile, "signs already")
		r.reportSwitched(r.retiredSince(), r.cfg.PrivateKeyFile)
		return nil
	}
	// A process that does not know the new key yet would refuse what another signs with it.
	time.Sleep(min(r.noticed, r.noticed-time.Since(r.found.ModTime()))) // the clock may have been set back
	now := r.now()
	others := slices.DeleteFunc(slices.Clone(r.cfg.PreviousKeyFiles), func(file string) bool { return file == r.next })
	lines := [][2]string{{"private_key", r.name(r.next)}}
	if r.cfg.CertificateFile != "" {
		lines = append(lines, [2]string{"certificate", r.name(r.certificateOf(r.next))})
	}
	lines = append(lines, [2]string{"previous_keys",
		r.names(append([]string{r.cfg.PrivateKeyFile}, others...)...) + " " + config.KeysComment(false, now)})
	for _, line := range lines {
		if err := r.set(line[0], line[1]); err != nil {
			return err
		}
	}
	r.say("changed", r.cfg.Path, filepath.Base(r.next)+" signs, "+filepath.Base(r.cfg.PrivateKeyFile)+" verifies")
	r.reportSwitched(now, r.next)
	return nil
}

// retiredSince is when the previous keys signed last. They did not after the last change of
// config.yml. Its modification time can be set, and copies keep it; the time of the change cannot.
func (r *rotation) retiredSince() time.Time {
	if end := r.cfg.PreviousEnd(); !end.IsZero() {
		return end.Add(-r.cfg.RefreshTokenTTL)
	}
	if file, ok := r.found.Sys().(*syscall.Stat_t); ok {
		return time.Unix(file.Ctim.Unix())
	}
	return r.found.ModTime()
}

// retire takes all keys out of previous_keys but the one that is to sign next.
func (r *rotation) retire() error {
	old := slices.DeleteFunc(slices.Clone(r.cfg.PreviousKeyFiles), func(file string) bool { return file == r.next })
	if len(old) == 0 && r.next != "" {
		return fmt.Errorf("retire keys: %s is to sign next, and there is no other\n  let it sign: %s\n  or give it "+
			"up: delete previous_keys, line %d of %s", r.next, r.command("--switch"), r.cfg.Line("previous_keys"),
			r.cfg.Path)
	}
	if end := r.retiredSince().Add(r.cfg.RefreshTokenTTL); len(old) > 0 && end.After(r.now()) && !r.Force {
		return fmt.Errorf("retire %s: refresh tokens that it signed are good until %s\n  wait, or end them now, so "+
			"that their users log in again: %s", old[0], end.UTC().Format(minute), r.command("--retire", "--force"))
	}
	if r.cfg.CertificateFile != "" || r.Bundle != "" {
		if err := r.planBundle(); err != nil {
			return err
		}
	}
	if len(old) == 0 {
		r.say("kept", r.cfg.Path, "no key is to be retired")
		return nil
	}
	value := ""
	if r.next != "" {
		value = r.names(r.next) + " " + config.KeysComment(true, time.Time{})
		r.say("kept", r.next, "signs after the switch")
	}
	if err := r.set("previous_keys", value); err != nil {
		return err
	}
	r.say("changed", r.cfg.Path, "previous_keys lists no old key")
	r.reportRetired(old)
	return nil
}
