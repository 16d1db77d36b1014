package pamauth

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

// systemConfdir is where PAM keeps its service files.
const systemConfdir = "/etc/pam.d"

// maxService in bytes is the limit of a file name.
const maxService = 255

// Stack names a PAM service.
type Stack struct {
	// Service is the name of a file in Confdir.
	Service string
	// Confdir is a folder of service files; "" = /etc/pam.d.
	Confdir string
}

func (s Stack) confdir() string {
	if s.Confdir == "" {
		return systemConfdir
	}
	return s.Confdir
}

// Check refuses a stack that Parse refuses.
func (s Stack) Check() error {
	_, err := s.Parse()
	return err
}

// Sources checks like Check, and returns every path that the answer depends on, with files that are
// absent and folders.
func (s Stack) Sources() (paths []string, err error) {
	_, paths, err = s.parse()
	return paths, err
}

// Parse reads the service file as PAM does and returns the lines of "auth" and "account" in PAM's
// order, and those that it could read where there is an error. The error is StackErrors.
//
// It refuses a stack for which PAM would silently ask the service "other": one that has no file, or
// whose file has no auth or no account line. pam_start_confdir does so, like pam_start, whenever
// the folder has a file "other" (libpam/pam_handlers.c, _pam_init_handlers), and on Debian "other"
// logs people in. It also refuses files that others could rewrite, and lines that libpam does not
// take: with most of them it refuses every login, and says so in the system's log only.
func (s Stack) Parse() ([]Line, error) {
	lines, _, err := s.parse()
	return lines, err
}

func (s Stack) parse() (lines []Line, paths []string, err error) {
	r := stackReader{service: s.Service, confdir: s.confdir(), found: map[string]bool{}}
	if err := checkService(s.Service); err != nil {
		r.refuse(StackError{Fault: FaultService, Cause: err.Error(),
			Hint: fmt.Sprintf("name a file in %s, such as \"dockerauth\"", s.confdir())})
		return nil, nil, r.errors
	}
	if !filepath.IsAbs(s.confdir()) || strings.Contains(s.Confdir, "\x00") {
		r.refuse(
			StackError{Fault: FaultService, Cause: fmt.Sprintf("PAM folder %q is not an absolute path", s.Confdir),
				Hint: "write a path that begins with a slash"},
		)
		return nil, nil, r.errors
	}
	file := filepath.Join(s.confdir(), s.Service)
	// A service file names modules, which run with the rights of this process.
	if HasElevatedIDs() && s.Confdir != "" {
		if err := CheckRootOwned(file); err != nil {
			cause, hint, _ := strings.Cut(err.Error(), "\n")
			r.refuse(
				StackError{Fault: FaultWritable, File: file, Cause: cause, Hint: strings.TrimSpace(hint), err: err},
			)
			return nil, nil, r.errors
		}
	}
	r.read(file, "", 0)
	for _, phase := range phaseWords[:2] {
		if len(r.errors) == 0 {
			r.checkJumps(phase)
		}
		if !r.found[phase] && len(r.errors) == 0 {
			r.refuse(StackError{Fault: FaultPhase, File: file, Word: phase,
				Cause:  fmt.Sprintf("%q has no %q line", file, phase),
				Effect: "PAM would ask the service \"other\"",
				Hint:   "add one (packaging/pam/dockerauth shows both phases)"})
		}
	}
	if len(r.errors) > 0 {
		return r.lines, r.paths, r.errors
	}
	return r.lines, r.paths, nil
}

// checkService allows names that PAM opens unchanged: it lowers the case of a service's name and
// drops a path before it.
func checkService(name string) error {
	if name == "" {
		return errors.New("no name")
	}
	if len(name) > maxService {
		return fmt.Errorf("longer than %d bytes", maxService)
	}
	for _, c := range []byte(name) {
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.') {
			return fmt.Errorf("%q is not a lower-case letter, digit, dash, underscore or dot", c)
		}
	}
	if name[0] == '.' {
		return errors.New("begins with a dot")
	}
	if name == "other" {
		return errors.New("PAM uses it for services that have no file of their own")
	}
	return nil
}
