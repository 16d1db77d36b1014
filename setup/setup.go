// Package setup makes what a new installation lacks: key, certificate, config.yml and PAM service
// file.
package setup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"

	"dockerauth/cli"
	"dockerauth/jwtsign"
	"dockerauth/packaging"
)

// DefaultDir is where packages keep the configuration.
const DefaultDir = systemDir

// Accounts are the kinds of accounts that there is a PAM service file for, the default first.
var Accounts = packaging.Accounts

// Options are what init is asked for.
type Options struct {
	Dir      string
	Issuer   string   // "" = what config.yml says, as the next
	Audience []string // all of them, or some of those in config.yml
	Realm    string   // "" = made of the issuer
	KeyType  string   // "" = P-256, or that of the key that is there
	Group    string   // that may read the key; "" = dockerauth's where there is one
	PAMDir   string   // "" = the system's for root, one in Dir for others
	Accounts string   // one of Accounts; "" = the file that is there, or the first

	// RenewCertificate replaces the certificate that is there by a new one for the same key.
	RenewCertificate bool

	// CheckPAM says why the service would not start with this PAM service.
	CheckPAM func(service, confdir string) error
}

// Run makes what is missing of key, certificate, configuration and PAM service file, and prints
// what the registry and the web server need. It overwrites nothing but a certificate to be renewed.
func Run(o Options, streams cli.Streams) int {
	_ = syscall.Setegid(os.Getgid()) // new files must not get the group of a set-group-id program
	s := newInstaller(o)
	s.root = os.Geteuid() == 0
	return s.install(streams)
}

func newInstaller(o Options) *installer {
	return &installer{
		dir: o.Dir, issuer: o.Issuer, audiences: o.Audience, realm: o.Realm, kind: jwtsign.Kind(o.KeyType),
		group: o.Group, pamDir: o.PAMDir, accounts: o.Accounts, renew: o.RenewCertificate,
		checkPAM: o.CheckPAM, now: time.Now,
	}
}

func (s *installer) install(streams cli.Streams) int {
	err := s.check()
	if err == nil {
		err = s.run()
	}
	if errors.As(err, &misuse{}) {
		fmt.Fprintf(streams.Err, "dockerauth init: %v\n", err)
		return cli.ExitUsage
	}
	if err != nil {
		return cli.Fail(streams.Err, withHint(err))
	}
	_, err = fmt.Fprint(streams.Out, s.report())
	for _, note := range s.notes {
		fmt.Fprintf(streams.Err, "warning: %s\n", note)
	}
	if err != nil {
		return cli.Fail(streams.Err,
			fmt.Errorf("print what to do next: %w\n  everything is made; run this again to see it", err))
	}
	return cli.ExitDone
}

// check refuses options that are wrong whatever is there.
func (s *installer) check() error {
	switch s.kind {
	case "", jwtsign.P256, jwtsign.RSA, jwtsign.Ed25519:
	default:
		return misuse{fmt.Errorf("--key-type %q is unknown\n  write one of: p256, rsa, ed25519", s.kind)}
	}
	if s.accounts != "" && packaging.PAMService(s.accounts) == "" {
		return misuse{fmt.Errorf("--accounts %q is unknown\n  write one of: %s", s.accounts,
			strings.Join(packaging.Accounts, ", "))}
	}
	if err := s.checkPrintable(); err != nil {
		return misuse{err}
	}
	return s.absolute()
}

// checkPrintable refuses what could not be pasted from the summary. config checks names further.
func (s *installer) checkPrintable() error {
	for name, text := range map[string]string{"dir": s.dir, "issuer": s.issuer,
		"audience": strings.Join(s.audiences, ""), "pam-dir": s.pamDir} {
		if !utf8.ValidString(text) || strings.ContainsFunc(text, func(c rune) bool { return !unicode.IsPrint(c) }) {
			return fmt.Errorf("--%s %q has a character that cannot be seen\n  write letters, digits, signs and plain "+
				"spaces", name, text)
		}
	}
	for _, name := range s.audiences {
		if one, other, several := strings.Cut(name, ","); several {
			return fmt.Errorf("--audience %q is one name with a comma in it\n  write a flag for each registry: "+
				"--audience %s --audience %s",
				name, jwtsign.ShellWord(one), jwtsign.ShellWord(strings.TrimSpace(other)))
		}
	}
	return s.checkRealm()
}

func (s *installer) absolute() (err error) {
	if s.dir == "" {
		return misuse{errors.New("--dir is empty\n  leave it out for " + systemDir)}
	}
	if s.dir, err = filepath.Abs(s.dir); err != nil {
		return err
	}
	if s.pamDir != "" {
		s.pamDir, err = filepath.Abs(s.pamDir)
	}
	return err
}

// resolveDir follows links to the folder once: another user may own one on the way, and could
// change it later.
func (s *installer) resolveDir() (err error) {
	if s.dir, err = filepath.EvalSymlinks(s.dir); err != nil {
		return err
	}
	return checkDirOwnership(s.dir, false)
}

// run looks at everything before it writes anything, and removes what it has made when it cannot
// make it all.
func (s *installer) run() error {
	if err := s.files.folder(s.dir); err != nil {
		s.files.undo()
		return err
	}
	if err := s.resolveDir(); err != nil {
		s.files.undo()
		return err
	}
	unlock, err := lockFolder(s.dir)
	if err != nil {
		return err // another init is at work in that folder, even if this one made it
	}
	defer unlock()
	s.files.made = append(s.files.made, filepath.Join(s.dir, lockName)) // else undo could not remove the folder
	if err = s.plan(); err == nil {
		err = removeLeftovers(s.dir)
	}
	if err == nil {
		err = s.write()
	}
	if err != nil {
		s.files.undo()
	}
	s.files.keep()
	return err
}
