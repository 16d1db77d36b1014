package setup

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"dockerauth/cli"
	"dockerauth/config"
	"dockerauth/jwtsign"
)

// today is a past noon: certificates are valid from an hour before they are made.
var today = time.Now().UTC().Truncate(24 * time.Hour).Add(-12 * time.Hour)

// on is a text with today in place of 2 January 2030.
func on(text string) string {
	const minute = "2006-01-02 15:04"
	end := today.AddDate(0, 0, 90)
	return strings.NewReplacer("20300102", today.Format("20060102"),
		"2030-01-02T12:00:00Z", today.Format(time.RFC3339),
		"2030-01-02 12:16", today.Add(16*time.Minute).Format(minute),
		"2030-04-02 12:00", end.Format(minute)).Replace(text)
}

// edit changes a file that init has made.
func edit(name, old, text string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if !strings.Contains(get(t, path), old) {
			t.Fatalf("%s has no %q", path, old)
		}
		put(t, path, strings.Replace(get(t, path), old, text, 1), 0o644)
	}
}

// rotateIn does a step on a day.
func rotateIn(dir string, now time.Time, o Rotation) (status int, out, errs string) {
	var stdout, stderr bytes.Buffer
	if o.Config == "" {
		o.Config = filepath.Join(dir, "config.yml")
	}
	if o.Step == "" {
		o.Step = Prepare
	}
	r := &rotation{Rotation: o, now: func() time.Time { return now }}
	status = r.do(cli.Streams{Out: &stdout, Err: &stderr})
	return status, stdout.String(), stderr.String()
}

func mustRotate(t *testing.T, dir string, now time.Time, o Rotation) string {
	t.Helper()
	status, out, errs := rotateIn(dir, now, o)
	if status != cli.ExitDone || errs != "" {
		t.Fatalf("status %d: %s", status, errs)
	}
	return out
}

func loaded(t *testing.T, dir string) *config.Config {
	t.Helper()
	cfg, err := config.Load(filepath.Join(dir, "config.yml"))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func signer(cfg *config.Config) *jwtsign.Signer {
	return &jwtsign.Signer{Key: cfg.Key, Previous: cfg.PreviousKeys, Issuer: cfg.Issuer}
}

func refreshToken(t *testing.T, cfg *config.Config) string {
	t.Helper()
	token, _, err := signer(cfg).RefreshToken(jwtsign.RefreshClaims{Subject: "alice", Shadow: "none"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// certificates are the keys in a bundle.
func certificates(t *testing.T, path string) (keys []any) {
	t.Helper()
	for block, rest := pem.Decode([]byte(get(t, path))); block != nil; block, rest = pem.Decode(rest) {
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, c.PublicKey)
	}
	return keys
}

// A process may have the configuration of the step before while another has that of the step after:
// what one signs, the other verifies.
func TestEveryStepVerifiesWhatTheOnesBesideItSign(t *testing.T) {
	for _, kind := range []string{"p256", "rsa", "ed25519"} {
		for _, bare := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, without certificate %t", kind, bare), func(t *testing.T) {
				dir := ground(t)
				mustInit(t, dir, append([]string{"--key-type", kind}, named...)...)
				if bare {
					edit("config.yml", "certificate: cert.pem\n", "")(t, dir)
				}
				steps := []*config.Config{loaded(t, dir)}
				for i, o := range []Rotation{{}, {Step: Switch}, {Step: Retire}} {
					now := today
					if o.Step == Retire {
						now = today.Add(90 * 24 * time.Hour)
					}
					mustRotate(t, dir, now, o)
					cfg := loaded(t, dir)
					if previous := steps[i]; o.Step != Retire {
						if _, _, err := signer(cfg).VerifyRefresh(refreshToken(t, previous)); err != nil {
							t.Errorf("after %s, a token of the step before: %v", o.Step, err)
						}
						if _, _, err := signer(previous).VerifyRefresh(refreshToken(t, cfg)); err != nil {
							t.Errorf("before %s, a token of the step after: %v", o.Step, err)
						}
					}
					if cfg.Key.Algorithm() != steps[0].Key.Algorithm() || (cfg.CertificateFile == "") != bare {
						t.Errorf("after %s: %s, certificate %q", o.Step, cfg.Key.Algorithm(), cfg.CertificateFile)
					}
					steps = append(steps, cfg)
				}
				if _, _, err := signer(steps[3]).VerifyRefresh(refreshToken(t, steps[0])); err == nil {
					t.Error("a retired key verifies")
				}
				if steps[1].Key.Equal(steps[2].Key) || len(steps[3].PreviousKeys) != 0 {
					t.Error("no key was exchanged")
				}
			})
		}
	}
}

func TestRotateMakesAndChangesWhatItSays(t *testing.T) {
	dir := ground(t)
	mustInit(t, dir, named...)
	for path, mode := range map[string]fs.FileMode{"privkey.pem": 0o600, "config.yml": 0o640} {
		if err := os.Chmod(filepath.Join(dir, path), mode); err != nil {
			t.Fatal(err)
		}
	}
	in := func(name string) string { return filepath.Join(dir, on(name)) }
	oldKey, oldCertificate, oldText := get(t, in("privkey.pem")), get(t, in("cert.pem")), get(t, in("config.yml"))
	mode := func(name string) fs.FileMode {
		info, err := os.Stat(in(name))
		if err != nil {
			t.Fatal(err)
		}
		return info.Mode().Perm()
	}
	again := func(now time.Time, o Rotation) {
		t.Helper()
		before := listing(t, dir)
		mustRotate(t, dir, now, o)
		if after := listing(t, dir); after != before {
			t.Errorf("%s again: before\n%s\nafter\n%s", o.Step, before, after)
		}
	}
	secrets := func(out string) {
		t.Helper()
		for _, file := range []string{"privkey.pem", "privkey-20300102.pem"} {
			if secret := strings.Split(get(t, in(file)), "\n")[1]; strings.Contains(out, secret) {
				t.Errorf("a private key is printed: %s", out)
			}
		}
	}

	out := mustRotate(t, dir, today, Rotation{})
	secrets(out)
	for _, want := range []string{"made     " + in("privkey-20300102.pem"), "made     " + in("cert-20300102.pem"),
		"made     " + in("bundle.pem"), "changed  " + in("config.yml"),
		"\ninstall -D -m 644 " + in("bundle.pem") + " " + registryBundle + "\n",
		"dockerauth key rotate --config " + in("config.yml") + " --switch\n"} {
		if !strings.Contains(out, on(want)) {
			t.Errorf("prepare does not say %q: %s", want, out)
		}
	}
	if get(t, in("bundle.pem")) != oldCertificate+get(t, in("cert-20300102.pem")) {
		t.Error("the bundle has other certificates")
	}
	if mode("privkey-20300102.pem") != 0o600 || mode("cert-20300102.pem") != 0o644 ||
		mode("bundle.pem") != 0o644 ||
		mode("config.yml") != 0o640 {
		t.Errorf("modes: %s", listing(t, dir))
	}
	const line = "private_key: privkey.pem\n"
	listed := on("previous_keys: [\"privkey-20300102.pem\"] ") +
		"# the first one signs after: dockerauth key rotate --switch\n"
	if want := strings.Replace(oldText, line, line+listed, 1); get(t, in("config.yml")) != want {
		t.Errorf("config.yml is\n%s", get(t, in("config.yml")))
	}
	again(today, Rotation{})
	again(today.AddDate(0, 0, 1), Rotation{})

	var done []string
	out = mustRotate(t, dir, today, Rotation{Step: Switch, Done: func(cfg *config.Config) {
		done = append(done, filepath.Base(cfg.PrivateKeyFile))
	}})
	secrets(out)
	for _, want := range []string{"privkey-20300102.pem signs, privkey.pem verifies", "From 2030-01-02 12:16 UTC on",
		"\ninstall -D -m 644 " + in("cert-20300102.pem") + " " + registryBundle + "\n", "end by 2030-04-02 12:00 UTC",
		"--retire\n"} {
		if !strings.Contains(out, on(want)) {
			t.Errorf("switch does not say %q: %s", want, out)
		}
	}
	if fmt.Sprint(done) != on("[privkey-20300102.pem]") {
		t.Errorf("done with %v", done)
	}
	switched := strings.NewReplacer("certificate: cert.pem", `certificate: "cert-20300102.pem"`, line,
		"private_key: \"privkey-20300102.pem\"\nprevious_keys: [\"privkey.pem\"] # no longer sign since "+
			"2030-01-02T12:00:00Z\n")
	if want := on(switched.Replace(oldText)); get(t, in("config.yml")) != want {
		t.Errorf("config.yml is\n%s", get(t, in("config.yml")))
	}
	if mode("config.yml") != 0o640 {
		t.Errorf("mode of config.yml %#o", mode("config.yml"))
	}
	again(today.AddDate(0, 0, 1), Rotation{Step: Switch})

	end := loaded(t, dir).PreviousEnd()
	before := listing(t, dir)
	status, _, errs := rotateIn(dir, end.Add(-time.Second), Rotation{Step: Retire})
	if status != cli.ExitError || !strings.Contains(errs, on("good until 2030-04-02 12:00 UTC")) ||
		!strings.HasSuffix(errs, "--retire --force\n") || listing(t, dir) != before {
		t.Errorf("retired a second too early: %d, %s", status, errs)
	}
	out = mustRotate(t, dir, end, Rotation{Step: Retire})
	secrets(out)
	if !strings.HasSuffix(out, "\nshred -u "+in("privkey.pem")+"\n") {
		t.Errorf("retire says %s", out)
	}
	if get(t, in("bundle.pem")) != get(t, in("cert-20300102.pem")) {
		t.Error("the bundle has more than the new certificate")
	}
	if cfg := loaded(t, dir); len(cfg.PreviousKeyFiles) != 0 || cfg.Line("previous_keys") != 0 {
		t.Errorf("previous keys %q", cfg.PreviousKeyFiles)
	}
	again(end, Rotation{Step: Retire})
	if get(t, in("privkey.pem")) != oldKey || get(t, in("cert.pem")) != oldCertificate {
		t.Error("the old pair was changed")
	}
}

// A second exchange begins while the first key still verifies, on one day, and with a clock that is
// behind.
func TestKeysCanBeExchangedAgain(t *testing.T) {
	dir := ground(t)
	mustInit(t, dir, named...)
	mustRotate(t, dir, today, Rotation{})
	mustRotate(t, dir, today, Rotation{Step: Switch})
	first := loaded(t, dir)
	yesterday := today.AddDate(0, 0, -1)
	mustRotate(t, dir, yesterday, Rotation{KeyType: "rsa"})
	prepared := loaded(t, dir)
	want := []string{filepath.Join(dir, "privkey-"+yesterday.Format("20060102")+".pem"),
		filepath.Join(dir, "privkey.pem")}
	if !slices.Equal(prepared.PreviousKeyFiles, want) {
		t.Errorf("previous keys %q, want %q", prepared.PreviousKeyFiles, want)
	}
	if !prepared.PreviousEnd().Equal(first.PreviousEnd()) {
		t.Errorf("the first key ends %v, and ended %v", prepared.PreviousEnd(), first.PreviousEnd())
	}
	// Retiring the oldest key leaves the one that is to sign.
	mustRotate(t, dir, first.PreviousEnd(), Rotation{Step: Retire})
	if len(certificates(t, filepath.Join(dir, "bundle.pem"))) != 2 || len(loaded(t, dir).PreviousKeys) != 1 {
		t.Error("the key that is to sign was retired")
	}
	mustRotate(t, dir, yesterday, Rotation{Step: Switch})
	if second := loaded(t, dir); second.Key.Algorithm() != "RS256" || len(second.PreviousKeys) != 1 ||
		!second.PreviousKeys[0].Equal(first.Key) {
		t.Errorf("%s signs, %q verify", second.Key.Algorithm(), second.PreviousKeyFiles)
	}
}

// The date may be missing where previous_keys was written by hand. No key has signed since the last
// change of config.yml, then.
func TestRetireWithoutADateCountsFromTheLastChange(t *testing.T) {
	dir := ground(t)
	mustInit(t, dir, named...)
	mustRotate(t, dir, today, Rotation{})
	mustRotate(t, dir, today, Rotation{Step: Switch})
	path := filepath.Join(dir, "config.yml")
	put(t, path, regexp.MustCompile(` # no longer .*`).ReplaceAllString(get(t, path), ""), 0o644)
	// A copy may have an old time.
	if err := os.Chtimes(path, today.AddDate(-1, 0, 0), today.AddDate(-1, 0, 0)); err != nil {
		t.Fatal(err)
	}
	end := time.Now().Add(90 * 24 * time.Hour)
	if status, _, errs := rotateIn(dir, end.Add(-time.Minute), Rotation{Step: Retire}); status != cli.ExitError ||
		!strings.Contains(errs, "good until 2") {
		t.Errorf("status %d, %s", status, errs)
	}
	mustRotate(t, dir, end, Rotation{Step: Retire})
}

// The service reads the key as another user, who must not choose it.
func TestTheNewKeyBelongsToTheOwnerOfTheOldOne(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	dir := ground(t)
	mustInit(t, dir, named...)
	for _, file := range []string{"privkey.pem", "cert.pem"} {
		if err := os.Chown(filepath.Join(dir, file), 33, 34); err != nil {
			t.Fatal(err)
		}
	}
	mustRotate(t, dir, today, Rotation{})
	info, err := os.Stat(filepath.Join(dir, on("privkey-20300102.pem")))
	if err != nil {
		t.Fatal(err)
	}
	if owner := info.Sys().(*syscall.Stat_t); owner.Uid != 33 || owner.Gid != 34 {
		t.Errorf("the new key is of %d:%d", owner.Uid, owner.Gid)
	}
	info, err = os.Stat(filepath.Join(dir, on("cert-20300102.pem")))
	if err != nil || info.Sys().(*syscall.Stat_t).Uid != 0 {
		t.Errorf("the new certificate: %v, %v", info, err)
	}
}

func TestTheSwitchWaitsUntilEveryProcessKnowsTheKey(t *testing.T) {
	dir := ground(t)
	mustInit(t, dir, named...)
	mustRotate(t, dir, today, Rotation{})
	prepared := time.Now()
	const noticed = 300 * time.Millisecond
	r := &rotation{Rotation: Rotation{Config: filepath.Join(dir, "config.yml"), Step: Switch}, now: time.Now,
		noticed: noticed}
	var out, errs bytes.Buffer
	if status := r.do(cli.Streams{Out: &out, Err: &errs}); status != cli.ExitDone || time.Since(prepared) < noticed/2 {
		t.Errorf("status %d after %s: %s", status, time.Since(prepared), &errs)
	}
}

// The comment behind previous_keys marks the key that is to sign next. Its name does not: a newer
// key may have signed, and be given up.
func TestANewerKeyThatSignedCanBeRetired(t *testing.T) {
	dir := ground(t)
	mustInit(t, dir, named...)
	before := get(t, filepath.Join(dir, "config.yml"))
	mustRotate(t, dir, today, Rotation{})
	mustRotate(t, dir, today, Rotation{Step: Switch})
	newer := on("privkey-20300102.pem")
	put(t, filepath.Join(dir, "config.yml"), before+"previous_keys: ["+newer+"]\n", 0o644)

	status, _, errs := rotateIn(dir, today, Rotation{Step: Switch})
	if status != cli.ExitError || !strings.Contains(errs, "does not say which of previous_keys is to sign") {
		t.Errorf("switch to a key that is not marked: %d, %s", status, errs)
	}
	out := mustRotate(t, dir, today, Rotation{Step: Retire, Force: true})
	if !strings.HasSuffix(out, "\nshred -u "+filepath.Join(dir, newer)+" "+
		filepath.Join(dir, on("cert-20300102.pem"))+"\n") ||
		get(t, filepath.Join(dir, "config.yml")) != before ||
		get(t, filepath.Join(dir, "bundle.pem")) != get(t, filepath.Join(dir, "cert.pem")) {
		t.Errorf("retire leaves\n%s%s", get(t, filepath.Join(dir, "config.yml")), out)
	}
}

// A service cannot start with a configuration that names a key which is gone.
func TestWhatTheConfigurationNamesIsNotUndone(t *testing.T) {
	dir := ground(t)
	mustInit(t, dir, named...)
	before, realSync := get(t, filepath.Join(dir, "config.yml")), syncFolder
	t.Cleanup(func() { syncFolder = realSync })
	syncFolder = func(path string) error {
		if get(t, filepath.Join(dir, "config.yml")) != before {
			return errors.New("sync: input/output error")
		}
		return realSync(path)
	}
	status, _, errs := rotateIn(dir, today, Rotation{})
	if status != cli.ExitError || !strings.Contains(errs, "config.yml is changed, but a power failure may undo that") {
		t.Errorf("status %d: %s", status, errs)
	}
	syncFolder = realSync
	if len(loaded(t, dir).PreviousKeys) != 1 {
		t.Error("there is no new key")
	}
	mustRotate(t, dir, today, Rotation{})
}

func TestWhatAKilledRunHasLeftIsDeleted(t *testing.T) {
	for _, apart := range []bool{false, true} {
		t.Run(fmt.Sprintf("the key in a folder of its own: %t", apart), func(t *testing.T) {
			dir := ground(t)
			keys := dir
			mustInit(t, dir, named...)
			if apart {
				keys = ground(t)
				if err := os.Rename(filepath.Join(dir, "privkey.pem"), filepath.Join(keys, "privkey.pem")); err != nil {
					t.Fatal(err)
				}
				edit("config.yml", "private_key: ", "private_key: "+keys+"/")(t, dir)
			}
			killed := func() {
				left, err := writeBeside(filepath.Join(keys, "privkey-20291231.pem"), []byte("a key"),
					rights{mode: 0o600, uid: -1, gid: -1})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					if _, err := os.Lstat(left); !errors.Is(err, fs.ErrNotExist) {
						t.Errorf("%s is there: %v", left, err)
					}
				})
			}
			own := []string{".privkey.pem.20291231", ".config.yml.swp"}
			for _, name := range own {
				put(t, filepath.Join(keys, name), "the administrator's", 0o600)
			}
			killed()
			mustRotate(t, dir, today, Rotation{})
			if !apart {
				killed()
				mustInit(t, dir)
			}
			for _, name := range own {
				get(t, filepath.Join(keys, name))
			}
			unlock, err := lockFolder(keys)
			if err != nil {
				t.Fatal(err)
			}
			defer unlock()
			if status, _, errs := rotateIn(dir, today, Rotation{Step: Switch}); status != cli.ExitError ||
				!strings.Contains(errs, "lock "+keys+"/.lock.dockerauth: ") {
				t.Errorf("two at once: %d, %s", status, errs)
			}
		})
	}
}

// Names in a configuration are relative to the link, as for the service.
func TestAConfigurationThatIsALinkStaysOne(t *testing.T) {
	dir, elsewhere := ground(t), ground(t)
	mustInit(t, dir, named...)
	path, target := filepath.Join(dir, "config.yml"), filepath.Join(elsewhere, "auth.yml")
	if err := errors.Join(os.Rename(path, filepath.Join(elsewhere, "auth.yml")),
		os.Symlink(elsewhere+"/second", path), os.Symlink("auth.yml", elsewhere+"/second")); err != nil {
		t.Fatal(err)
	}
	mustRotate(t, dir, today, Rotation{})
	mustRotate(t, dir, today, Rotation{Step: Switch})
	if to, err := os.Readlink(path); to != elsewhere+"/second" {
		t.Errorf("the link leads to %q, %v", to, err)
	}
	if cfg := loaded(t, dir); filepath.Base(cfg.PrivateKeyFile) != on("privkey-20300102.pem") ||
		!strings.Contains(get(t, target), on("privkey-20300102.pem")) {
		t.Errorf("%s signs", cfg.PrivateKeyFile)
	}
	unlock, err := lockFolder(elsewhere)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	if status, _, errs := rotateIn(dir, today, Rotation{}); status != cli.ExitError ||
		!strings.Contains(errs, "lock "+elsewhere) {
		t.Errorf("two at once: %d, %s", status, errs)
	}
}

func TestTheBundleGoesWhereItIsWanted(t *testing.T) {
	dir, elsewhere := ground(t), ground(t)
	mustInit(t, dir, named...)
	registrys := filepath.Join(elsewhere, "cert.pem")
	put(t, registrys, get(t, filepath.Join(dir, "cert.pem")), 0o604)
	mustRotate(t, dir, today, Rotation{Bundle: registrys})
	if info, err := os.Stat(registrys); len(certificates(t, registrys)) != 2 || err != nil ||
		info.Mode().Perm() != 0o604 {
		t.Errorf("the registry's bundle: %v, %v", info, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "bundle.pem")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("another bundle: %v", err)
	}
	status, out, errs := rotateIn(dir, today, Rotation{Bundle: "-"})
	if status != cli.ExitDone || out != get(t, registrys) || !strings.Contains(errs, "what is printed the bundle") {
		t.Errorf("on standard output: %d, %s%s", status, out, errs)
	}
}

func TestRotateRefuses(t *testing.T) {
	prepare := func(t *testing.T, dir string) { mustRotate(t, dir, today, Rotation{}) }
	bundle := func(text string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			put(
				t,
				filepath.Join(dir, "bundle.pem"),
				strings.ReplaceAll(text, "OWN", get(t, filepath.Join(dir, "cert.pem"))),
				0o644,
			)
		}
	}
	other := ground(t)
	mustInit(t, other, named...)
	foreign := get(t, filepath.Join(other, "cert.pem"))
	for _, c := range []struct {
		name   string
		before func(t *testing.T, dir string)
		o      Rotation
		status int
		says   []string
	}{
		{"an unknown kind of key", nil, Rotation{KeyType: "dsa"}, cli.ExitUsage,
			[]string{"--key-type", "p256, rsa, ed25519"}},
		{"a kind of key for another step", prepare, Rotation{Step: Switch, KeyType: "rsa"}, cli.ExitUsage,
			[]string{"leave out --key-type"}},
		{"a bundle for the switch", prepare, Rotation{Step: Switch, Bundle: "x"}, cli.ExitUsage,
			[]string{"leave out --bundle"}},
		{"force for the switch", prepare, Rotation{Step: Switch, Force: true}, cli.ExitUsage,
			[]string{"leave out --force"}},
		{"the next key is to be retired, and no other is there", prepare, Rotation{Step: Retire, Force: true},
			cli.ExitError, []string{on("privkey-20300102.pem is to sign next"), " --switch\n",
				"give it up: delete previous_keys, line "}},
		{"a switch without a new pair", nil, Rotation{Step: Switch}, cli.ExitError,
			[]string{"there is no new pair", "dockerauth key rotate --config "}},
		{"no configuration", nil, Rotation{Config: "/nonexistent/config.yml"}, cli.ExitError,
			[]string{"no such file", "name a configuration that is there: --config FILE"}},
		{"a configuration with a mistake", edit("config.yml", "issuer:", "isuer:"), Rotation{}, cli.ExitError,
			[]string{"config.yml:9: isuer: unknown key"}},
		{"a link into a folder of others", func(t *testing.T, dir string) {
			others := filepath.Join(dir, "others")
			path := filepath.Join(dir, "config.yml")
			if err := errors.Join(os.Mkdir(others, 0o755), os.Rename(path, filepath.Join(others, "x")),
				os.Symlink("others/x", path), os.Chmod(others, 0o775)); err != nil {
				t.Fatal(err)
			}
		}, Rotation{}, cli.ExitError, []string{"others may write to folder ", "/others, "}},
		{"a link to itself", func(t *testing.T, dir string) {
			path := filepath.Join(dir, "config.yml")
			if err := errors.Join(os.Remove(path), os.Symlink("config.yml", path)); err != nil {
				t.Fatal(err)
			}
		}, Rotation{}, cli.ExitError, []string{"many symbolic links", "--config FILE"}},
		{"a link to nothing", func(t *testing.T, dir string) {
			path := filepath.Join(dir, "config.yml")
			if err := errors.Join(os.Remove(path), os.Symlink("gone.yml", path)); err != nil {
				t.Fatal(err)
			}
		}, Rotation{}, cli.ExitError, []string{"gone.yml: no such file"}},
		{"a folder that a group may write to", func(t *testing.T, dir string) { _ = os.Chmod(dir, 0o775) }, Rotation{},
			cli.ExitError, []string{"others may write to folder", "chmod go-w"}},
		{"a key in a folder of others", func(t *testing.T, dir string) {
			const others = "others"
			_ = os.Mkdir(filepath.Join(dir, others), 0o755)
			put(t, filepath.Join(dir, others, "privkey.pem"), get(t, filepath.Join(dir, "privkey.pem")), 0o600)
			_ = os.Chmod(filepath.Join(dir, others), 0o775)
			edit("config.yml", "private_key: ", "private_key: "+others+"/")(t, dir)
		}, Rotation{}, cli.ExitError, []string{"others may write to folder ", "/others, "}},
		{"a certificate in a folder of others", func(t *testing.T, dir string) {
			const others = "others"
			_ = os.Mkdir(filepath.Join(dir, others), 0o755)
			put(t, filepath.Join(dir, others, "cert.pem"), get(t, filepath.Join(dir, "cert.pem")), 0o644)
			_ = os.Chmod(filepath.Join(dir, others), 0o775)
			edit("config.yml", "certificate: ", "certificate: "+others+"/")(t, dir)
		}, Rotation{Bundle: "-"}, cli.ExitError, []string{"others may write to folder ", "/others, "}},
		{"a key that is written on several lines", edit("config.yml", "private_key: privkey.pem",
			"\"private_key\": privkey.pem"), Rotation{Step: Retire, Force: true}, cli.ExitDone, nil},
		{"a configuration in which lines cannot be exchanged", func(t *testing.T, dir string) {
			prepare(t, dir)
			edit("config.yml", "private_key: ", "\"private_key\": ")(t, dir)
		}, Rotation{Step: Switch}, cli.ExitError, []string{"private_key cannot be set by exchanging its line",
			"write it on one line"}},
		{"four previous keys", func(t *testing.T, dir string) {
			var names []string
			for i := range 4 {
				source := ground(t)
				mustInit(t, source, named...)
				names = append(names, fmt.Sprintf("old%d.pem", i))
				put(t, filepath.Join(dir, names[i]), get(t, filepath.Join(source, "privkey.pem")), 0o600)
			}
			edit("config.yml", "private_key:", "previous_keys: ["+strings.Join(names, ", ")+"]\nprivate_key:")(t, dir)
		}, Rotation{}, cli.ExitError, []string{"previous_keys: lists 5 keys, the most is 4"}},
		{"another's certificate in the bundle", bundle("OWN" + foreign), Rotation{}, cli.ExitError,
			[]string{"bundle.pem: it has something else in it", "--bundle FILE"}},
		{"text in the bundle", bundle("hunter2\nOWN"), Rotation{}, cli.ExitError, []string{"something else"}},
		{"a key in the bundle", func(t *testing.T, dir string) {
			put(t, filepath.Join(dir, "bundle.pem"), get(t, filepath.Join(dir, "privkey.pem")), 0o600)
		}, Rotation{}, cli.ExitError, []string{"something else"}},
		{"a folder in place of the bundle", func(t *testing.T, dir string) {
			_ = os.Mkdir(filepath.Join(dir, "bundle.pem"), 0o755)
		},
			Rotation{}, cli.ExitError, []string{"is not a regular file"}},
		{"a bundle in a folder of others", nil, Rotation{Bundle: "/tmp/bundle.pem"}, cli.ExitError,
			[]string{"others may write to folder /tmp"}},
		{"a bundle without a certificate", edit("config.yml", "certificate: cert.pem\n", ""), Rotation{Bundle: "-"},
			cli.ExitUsage, []string{"names no certificate"}},
		{"the certificate of the new pair is gone", func(t *testing.T, dir string) {
			prepare(t, dir)
			if err := os.Remove(filepath.Join(dir, on("cert-20300102.pem"))); err != nil {
				t.Fatal(err)
			}
		}, Rotation{Step: Switch}, cli.ExitError, []string{"config.yml:7: certificate: ", "no such file"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := ground(t)
			mustInit(t, dir, named...)
			if c.before != nil {
				c.before(t, dir)
			}
			before := listing(t, dir)
			status, out, errs := rotateIn(dir, today, c.o)
			if status != c.status || status != cli.ExitDone && (out != "" || !strings.HasPrefix(errs, "dockerauth")) {
				t.Errorf("status %d, want %d; out %q, errors %q", status, c.status, out, errs)
			}
			for _, part := range c.says {
				if !strings.Contains(errs, part) {
					t.Errorf("does not say %q: %s", part, errs)
				}
			}
			if status != cli.ExitDone && !regexp.MustCompile(`\A(?:[^\n]+(?:\n  \S[^\n]*)+\n)+\z`).MatchString(errs) {
				t.Errorf("an error has a second line, which says what to do: %q", errs)
			}
			if after := listing(t, dir); after != before && status != cli.ExitDone {
				t.Errorf("before\n%s\nafter\n%s", before, after)
			}
		})
	}
}

func TestPrintJWKS(t *testing.T) {
	dir := ground(t)
	mustInit(t, dir, named...)
	mustRotate(t, dir, today, Rotation{})
	print := func() (ids map[string]bool, errs string) {
		var out, stderr bytes.Buffer
		status := PrintJWKS(filepath.Join(dir, "config.yml"), cli.Streams{Out: &out, Err: &stderr})
		if status != cli.ExitDone {
			t.Fatalf("status %d: %s", status, &stderr)
		}
		var set struct{ Keys []map[string]string }
		if err := json.Unmarshal(out.Bytes(), &set); err != nil {
			t.Fatal(err)
		}
		ids = map[string]bool{}
		for _, k := range set.Keys {
			ids[k["kid"]] = true
			if k["d"] != "" {
				t.Error("a private key is printed")
			}
		}
		return ids, stderr.String()
	}
	ids, errs := print()
	if !strings.Contains(errs, "warning: tokens carry their certificate") ||
		!strings.Contains(errs, "config.yml (line 7)") {
		t.Errorf("with a certificate: %s", errs)
	}
	edit("config.yml", "certificate: cert.pem\n", "")(t, dir)
	if _, errs := print(); errs != "" {
		t.Errorf("without a certificate: %s", errs)
	}
	cfg := loaded(t, dir)
	for _, key := range append(cfg.PreviousKeys, cfg.Key) {
		libtrust, _ := jwtsign.LibtrustID(key.Public())
		thumbprint, _ := jwtsign.Thumbprint(key.Public())
		if !ids[libtrust] || !ids[thumbprint] || len(ids) != 4 {
			t.Errorf("ids %v lack %s or %s", ids, libtrust, thumbprint)
		}
	}
	var out, stderr bytes.Buffer
	status := PrintJWKS(filepath.Join(dir, "gone.yml"), cli.Streams{Out: &out, Err: &stderr})
	if status != cli.ExitError ||
		out.Len() > 0 ||
		!strings.Contains(stderr.String(), "no such file") {
		t.Errorf("without a configuration: status %d, %s%s", status, &out, &stderr)
	}
}
