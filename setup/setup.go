package command

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"

	"dockerauth/jwtsign"
)

const (
	systemDir    = "/etc/dockerauth"
	systemPAMDir = "/etc/pam.d"
	ownGroup     = "dockerauth" // of the service that packages install
)

// setUp is one run of the command "init". Its first fields are what it is asked
// for, the next are what it finds and decides before it writes anything.
type setUp struct {
	dir      string       // absolute
	issuer   string       // "" = what config.yml says, as the next
	audience string       // one of them
	realm    string       // "" = made of the issuer
	kind     jwtsign.Kind // "" = P-256, or that of the key that is there
	group    string       // that may read the key; "" = dockerauth's where there is one
	pamDir   string       // absolute; "" = the system's for root, one in dir for others
	root     bool
	now      func() time.Time

	config      target
	key         target
	certificate target
	pam         target
	gid         int          // of the key; -1 = the creator's
	signing     *jwtsign.Key // the key that is there, or the new one
	notes       []string     // what the person must know besides
	files       newFiles
}

// misuse is an error of whoever typed the command.
type misuse struct{ error }

// Init is the command "init": it makes what is missing of a key, a certificate,
// a configuration and a PAM service file, and prints what the registry and the
// web server need. It overwrites nothing.
func Init(args []string, streams Streams) int {
	_ = syscall.Setegid(os.Getgid()) // root may have started a set-group-id file: the group of that is no concern of new ones
	return initialize(&setUp{root: os.Geteuid() == 0, now: time.Now}, args, streams)
}

func initialize(s *setUp, args []string, streams Streams) int {
	err := s.parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(streams.Out, helpOf("init"))
		return exitDone
	case err == nil:
		err = s.run()
	}
	if errors.As(err, &misuse{}) {
		fmt.Fprintf(streams.Err, "dockerauth init: %v\n", err)
		return exitUsage
	}
	if err != nil {
		return fail(streams.Err, err)
	}
	_, err = fmt.Fprint(streams.Out, s.report())
	for _, note := range s.notes {
		fmt.Fprintf(streams.Err, "warning: %s\n", note)
	}
	if err != nil {
		return fail(streams.Err, fmt.Errorf("print what to do next: %w\n  everything is made; run this again to see it", err))
	}
	return exitDone
}

func (s *setUp) parse(args []string) error {
	flags := newFlags("init")
	flags.StringVar(&s.dir, "dir", systemDir, "")
	flags.StringVar(&s.issuer, "issuer", "", "")
	flags.StringVar(&s.audience, "audience", "", "")
	flags.StringVar(&s.realm, "realm", "", "")
	flags.StringVar((*string)(&s.kind), "key-type", "", "")
	flags.StringVar(&s.group, "group", "", "")
	flags.StringVar(&s.pamDir, "pam-dir", "", "")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return err
	case err != nil:
		return misuse{fmt.Errorf("%w\n  see dockerauth init --help", err)}
	case flags.NArg() > 0:
		return misuse{fmt.Errorf("unexpected argument %q\n  see dockerauth init --help", flags.Arg(0))}
	}
	switch s.kind {
	case "", jwtsign.P256, jwtsign.RSA, jwtsign.Ed25519:
	default:
		return misuse{fmt.Errorf("--key-type %q is unknown\n  write one of: p256, rsa, ed25519", s.kind)}
	}
	if err := s.checkTexts(); err != nil {
		return misuse{err}
	}
	return s.absolute()
}

// checkTexts refuses what could not be pasted from what is printed. What else a
// name may not be is config's to say.
func (s *setUp) checkTexts() error {
	for name, text := range map[string]string{"dir": s.dir, "issuer": s.issuer, "audience": s.audience, "pam-dir": s.pamDir} {
		if !utf8.ValidString(text) || strings.ContainsFunc(text, func(c rune) bool { return !unicode.IsPrint(c) }) {
			return fmt.Errorf("--%s %q has a character that cannot be seen\n  write letters, digits, signs and plain spaces", name, text)
		}
	}
	return s.checkRealm()
}

func (s *setUp) absolute() (err error) {
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

// settle follows links to the folder once and for all: one on the way may be somebody else's, who turns it round meanwhile.
func (s *setUp) settle() (err error) {
	if s.dir, err = filepath.EvalSymlinks(s.dir); err != nil {
		return err
	}
	return checkGround(s.dir, false)
}

// run looks at everything before it writes anything, and takes back what it has
// made when it cannot make it all.
func (s *setUp) run() error {
	if err := s.files.folder(s.dir); err != nil {
		s.files.undo()
		return err
	}
	if err := s.settle(); err != nil {
		s.files.undo()
		return err
	}
	unlock, err := lockFolder(s.dir)
	if err != nil {
		return err // somebody is at work in that folder, even if it was made here
	}
	defer unlock()
	if err = s.survey(); err == nil {
		err = s.write()
	}
	if err != nil {
		s.files.undo()
	}
	return err
}
