package setup

import (
	"cmp"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"dockerauth/config"
	"dockerauth/jwtsign"
	"dockerauth/packaging"
)

// plan looks at what is there and decides what to make.
func (s *installer) plan() error {
	partial, err := s.planConfig()
	if err != nil {
		return err
	}
	if err := s.planKey(partial); err != nil {
		return err
	}
	if err := s.planCertificate(partial); err != nil {
		return err
	}
	if s.pam,
		err = plannedFileAt(filepath.Join(cmp.Or(partial.PAM.Confdir, systemPAMDir), partial.PAM.Service)); err != nil {
		return err
	}
	return s.planPAM(partial.PAM)
}

// planPAM takes the file for the accounts that init was asked for. It replaces a file as shipped,
// such as the one that packages install, and no other.
func (s *installer) planPAM(settings config.PAM) error {
	wanted := packaging.PAMService(cmp.Or(s.accounts, packaging.Accounts[0]))
	if s.pam.found == nil {
		s.pam.content = []byte(wanted)
		return nil
	}
	if s.accounts != "" {
		text, err := config.ReadFile(s.pam.path)
		if err != nil {
			return err
		}
		switch {
		case string(text) == wanted:
			// nothing to do
		case packaging.IsPAMService(string(text)) && s.pam.found.Mode().IsRegular():
			s.pam.content = []byte(wanted)
			return nil
		default:
			return fmt.Errorf("--accounts %s: %s is not as shipped, and stays as it is\n"+
				"  move it away and run this again", s.accounts, s.pam.path)
		}
	}
	if err := s.checkPAM(settings.Service, settings.Confdir); err != nil {
		s.notes = append(s.notes, "the service will not start: "+err.Error())
	}
	return nil
}

// planConfig reads the configuration, or drafts a new one where there is none. One that lacks two
// values, as packages install it, gets them.
func (s *installer) planConfig() (*config.Partial, error) {
	var err error
	if s.config, err = plannedFileAt(filepath.Join(s.dir, "config.yml")); err != nil {
		return nil, err
	}
	if s.config.found == nil {
		return s.parseConfig(packaging.Config)
	}
	text, err := config.ReadFile(s.config.path)
	if err != nil {
		return nil, err
	}
	if !config.LacksNames(text) {
		return s.keepConfig(text)
	}
	if !s.config.found.Mode().IsRegular() {
		return nil,
			fmt.Errorf("fill in %s: it is a symbolic link, and would become a file\n  give --dir the folder of the "+
				"file that it leads to, or put a copy in its place", s.config.path)
	}
	return s.parseConfig(string(text))
}

// parseConfig fills in a text that lacks issuer and audience.
func (s *installer) parseConfig(text string) (*config.Partial, error) {
	if err := s.checkGiven(); err != nil {
		return nil, err
	}
	s.config.content = []byte(configText(text, s.issuer, s.audiences, s.confdir()))
	partial, err := config.ParsePartial(s.config.path, s.config.content)
	var errs config.Errors
	if errors.As(err, &errs) {
		return nil, badValue(errs[0])
	}
	// Quoting may change a value: compare.
	if err == nil && (partial.Issuer != s.issuer || !slices.Equal(partial.Audience, s.audiences)) {
		err = misuse{fmt.Errorf("--issuer %q or --audience %q cannot be written in YAML\n  choose plainer names",
			s.issuer, s.audiences)}
	}
	return partial, err
}

// checkGiven names what is missing for a new configuration, and a command that has it.
func (s *installer) checkGiven() error {
	lacksIssuer, lacksAudience := s.issuer == "", len(s.audiences) == 0 || slices.Contains(s.audiences, "")
	issuer, audiences := s.issuer, s.audiences
	var cause string
	switch {
	case lacksIssuer && lacksAudience:
		cause = "--issuer and --audience are missing: the names of this service and of the registry, as both will " +
			"know them"
	case lacksIssuer:
		cause = "--issuer is missing: the name of this service, as the registry will know it"
	case lacksAudience:
		cause = "--audience is missing: the name of the registry, as both will know it"
	default:
		return nil
	}
	if lacksIssuer {
		issuer = "auth.example.com"
	}
	if lacksAudience {
		audiences = []string{"registry.example.com"}
	}
	hint := s.command("--issuer", issuer)
	for _, name := range audiences {
		hint += " --audience " + shellWord(name)
	}
	return misuse{errors.New(cause + "\n  such as: " + hint)}
}

// command is init for this folder with more arguments, for a shell.
func (s *installer) command(args ...string) string {
	line := "dockerauth init"
	if s.dir != systemDir {
		line += " --dir " + shellWord(s.dir)
	}
	for _, arg := range args {
		line += " " + shellWord(arg)
	}
	return line
}

// badValue turns config's error about a drafted line into one about the flag.
func badValue(e config.Error) error {
	name, isFlag := map[string]string{"issuer": "--issuer", "audience": "--audience", "pam.confdir": "--pam-dir"}[e.Key]
	if !isFlag {
		return e
	}
	return misuse{fmt.Errorf("%s %s\n  %s", name, e.Cause, e.Hint)}
}

// confdir is "pam.confdir" for a new config.yml; "" = the system's folder.
func (s *installer) confdir() string {
	dir := s.pamDir
	switch {
	case dir == "" && s.root, dir == systemPAMDir:
		return ""
	case dir == "":
		return "pam.d"
	}
	if inside, found := strings.CutPrefix(dir, s.dir+"/"); found {
		return inside // the folder may be moved as a whole
	}
	return dir
}

func configText(text, issuer string, audiences []string, confdir string) string {
	text = strings.NewReplacer("\nissuer: \"\"", "\nissuer: "+yamlText(issuer), "\naudience: \"\"",
		"\naudience: "+yamlNames(audiences)).Replace(text)
	if confdir != "" && !strings.Contains(text, "\npam:") {
		text += "\n# The folder of the PAM service file \"dockerauth\".\npam:\n  confdir: " + yamlText(confdir) + "\n"
	}
	return text
}

// yamlNames is one name, or a list.
func yamlNames(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = yamlText(name)
	}
	if len(quoted) == 1 {
		return quoted[0]
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// yamlText quotes a printable text.
func yamlText(s string) string {
	if strings.ContainsAny(s, `"\`) {
		return "'" + strings.ReplaceAll(s, "'", "''") + "'"
	}
	return `"` + s + `"`
}

// keepConfig refuses a configuration that contradicts the flags: one of the two is a mistake.
func (s *installer) keepConfig(text []byte) (*config.Partial, error) {
	partial, err := config.ParsePartial(s.config.path, text)
	if err != nil {
		return nil, s.withValues(err)
	}
	wrong := func(key, cause, hint string) (*config.Partial, error) {
		return nil, config.Error{File: s.config.path, Line: partial.Line(key), Key: key, Cause: cause, Hint: hint}
	}
	unknown := slices.IndexFunc(s.audiences, func(name string) bool { return !slices.Contains(partial.Audience, name) })
	switch {
	case s.issuer != "" && s.issuer != partial.Issuer:
		return wrong("issuer", fmt.Sprintf("is %q, and --issuer is %q", partial.Issuer, s.issuer),
			"leave --issuer out, or edit that line: a file that has been edited is left as it is")
	case unknown >= 0:
		return wrong("audience",
			fmt.Sprintf("is %q, and --audience is %q", strings.Join(partial.Audience, ", "), s.audiences[unknown]),
			"leave --audience out, or edit that line: a file that has been edited is left as it is")
	case s.pamDir != "" && s.pamDir != cmp.Or(partial.PAM.Confdir, systemPAMDir):
		return wrong("pam.confdir",
			fmt.Sprintf("is %q, and --pam-dir is %q", cmp.Or(partial.PAM.Confdir, systemPAMDir), s.pamDir),
			"leave --pam-dir out, or edit the file: one that has been edited is left as it is")
	case partial.Certificate == "":
		return wrong("certificate",
			"is missing, and the registry's section that is printed here is for tokens that carry their certificate",
			"write: certificate: cert.pem")
	}
	if s.issuer = partial.Issuer; len(s.audiences) == 0 {
		s.audiences = partial.Audience
	}
	return partial, nil
}

// withValues says which line to write into a configuration that was edited and lacks a name.
func (s *installer) withValues(err error) error {
	lines := map[string]string{}
	if s.issuer != "" {
		lines["issuer"] = "issuer: " + yamlText(s.issuer)
	}
	if len(s.audiences) > 0 {
		lines["audience"] = "audience: " + yamlNames(s.audiences)
	}
	var errs config.Errors
	if errors.As(err, &errs) {
		for i, e := range errs {
			if line := lines[e.Key]; line != "" && (e.Cause == "is empty" || e.Cause == "is missing") {
				errs[i].Hint = "write: " + line
			}
		}
	}
	return err
}

// plannedFileFor is the file that config.yml names under a key. A new one must lie in the folder of
// init.
func (s *installer) plannedFileFor(partial *config.Partial, key, path string) (plannedFile, error) {
	t, err := plannedFileAt(path)
	if err == nil && t.found == nil && filepath.Dir(path) != s.dir {
		err = config.Error{File: s.config.path, Line: partial.Line(key), Key: key,
			Cause: fmt.Sprintf("there is no %s, and files are made in %s only", path, s.dir),
			Hint:  "put the file there, or write the name of one in the folder of config.yml"}
	}
	return t, err
}

func (s *installer) planKey(partial *config.Partial) (err error) {
	if s.key, err = s.plannedFileFor(partial, "private_key", partial.PrivateKey); err != nil {
		return err
	}
	if s.certificate, err = s.plannedFileFor(partial, "certificate", partial.Certificate); err != nil {
		return err
	}
	switch {
	case s.key.found != nil:
		return s.keepKey()
	case s.certificate.found != nil:
		return fmt.Errorf("make %s: %s is there already, and the key that it was made for is not\n  put that key "+
			"there, or move the certificate away for a new pair", s.key.path, s.certificate.path)
	}
	if err := s.chooseGroup(); err != nil {
		return err
	}
	if s.signing, err = jwtsign.GenerateKey(cmp.Or(s.kind, jwtsign.P256)); err != nil {
		return err
	}
	s.key.content, err = s.signing.PrivatePEM()
	return err
}

// algorithmOf is the JWS algorithm of a kind of key.
func algorithmOf(kind jwtsign.Kind) string {
	switch kind {
	case jwtsign.RSA:
		return "RS256"
	case jwtsign.Ed25519:
		return "EdDSA"
	}
	return "ES256"
}

func (s *installer) keepKey() (err error) {
	if s.signing, err = jwtsign.LoadKey(s.key.path, "", jwtsign.KeyIDUnset); err != nil {
		return err
	}
	if s.kind != "" && algorithmOf(s.kind) != s.signing.Algorithm() {
		return fmt.Errorf("%s is there and signs %s, and --key-type is %s\n  leave --key-type out to keep it, or "+
			"move it and its certificate away for a new pair", s.key.path, s.signing.Algorithm(), s.kind)
	}
	if s.group != "" {
		return s.compareGroup()
	}
	return nil
}

// compareGroup says what to do when the key that is there cannot be read by --group.
func (s *installer) compareGroup() error {
	if err := s.chooseGroup(); err != nil {
		return err
	}
	info, err := os.Stat(s.key.path)
	if err != nil {
		return err
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && int(owner.Gid) == s.gid && info.Mode().Perm()&0o040 != 0 {
		return nil
	}
	s.key.note = ""
	s.notes = append(s.notes, fmt.Sprintf("%s is kept, and --group %s is for a new key: that group cannot read it\n"+
		"  chgrp %[2]s %[3]s && chmod 640 %[3]s", s.key.path, s.group, shellWord(s.key.path)))
	return nil
}

func (s *installer) planCertificate(partial *config.Partial) (err error) {
	if s.certificate.found == nil || s.renew {
		if err := s.checkRenewable(); err != nil {
			return err
		}
		s.certificate.content, err = s.signing.SelfSigned(partial.Issuer, s.now())
		return err
	}
	key, err := jwtsign.LoadKey(s.key.path, s.certificate.path, jwtsign.KeyIDUnset)
	var bad *jwtsign.FileError
	if errors.As(err, &bad) && bad.Setting == "certificate" {
		bad.Hint = "move it away and run this again: that makes a new one for the key that is there"
		if s.checkRenewable() == nil {
			bad.Hint = "make a new one for the same key: " + s.command("--renew-certificate")
		}
	}
	if err != nil {
		return err
	}
	if key.Chain()[0].IsCA || len(key.Chain()) > 1 {
		s.notes = append(s.notes,
			fmt.Sprintf("%s is, or comes from, a CA: in the registry's bundle that CA, and anyone who has a "+
				"certificate from it, could sign tokens\n"+
				"  make one that is no CA: %s", s.certificate.path, s.command("--renew-certificate")))
	}
	return nil
}

// checkRenewable refuses to replace anything but a certificate of the key.
func (s *installer) checkRenewable() error {
	if s.certificate.found == nil {
		return nil
	}
	if !s.certificate.found.Mode().IsRegular() {
		return fmt.Errorf("renew %s: it is not a regular file\n  move it away and run this again", s.certificate.path)
	}
	text, err := os.ReadFile(s.certificate.path)
	if err != nil {
		return err
	}
	var public crypto.PublicKey
	if block, _ := pem.Decode(text); block != nil {
		if parsed, err := x509.ParseCertificate(block.Bytes); err == nil {
			public = parsed.PublicKey
		}
	}
	if own, ok := s.signing.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !own.Equal(public) {
		return fmt.Errorf("renew %s: it is no certificate for the key in %s\n  move it away and run this again: that "+
			"makes one", s.certificate.path, s.key.path)
	}
	return nil
}

// chooseGroup finds the group that may read a new key.
func (s *installer) chooseGroup() error {
	s.gid = -1
	name := s.group
	if name == "" {
		if !s.root {
			return nil
		}
		name = ownGroup
	}
	group, err := user.LookupGroup(name)
	if err != nil && s.group == "" {
		return nil
	}
	if err != nil {
		return misuse{fmt.Errorf("--group %q: there is no such group\n  make it, or name that of the user that the "+
			"service runs as", name)}
	}
	s.gid, err = strconv.Atoi(group.Gid)
	s.key.note = "group " + name
	return err
}
