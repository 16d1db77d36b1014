package pamauth

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// systemConfdir is where PAM keeps its service files.
const systemConfdir = "/etc/pam.d"

const (
	// maxServiceFile in bytes: a service file has a dozen lines.
	maxServiceFile = 64 << 10
	// maxIncludes is how deep files may include each other: PAM_SUBSTACK_MAX_LEVEL of libpam.
	maxIncludes = 16
	// maxService in bytes: a file's name has no more.
	maxService = 255
)

// Stack names the PAM service that is asked.
type Stack struct {
	// Service is the name of a file in Confdir.
	Service string
	// Confdir is a folder of service files; empty means /etc/pam.d.
	Confdir string
}

func (s Stack) confdir() string {
	if s.Confdir == "" {
		return systemConfdir
	}
	return s.Confdir
}

// Check reads the service file as PAM will, and refuses a stack for which PAM would ask the service "other" instead, silently: one that
// has no file, or whose file says nothing about auth or account. pam_start_confdir does this just as pam_start does whenever
// the folder holds a file "other" (libpam/pam_handlers.c, _pam_init_handlers), and on Debian "other" logs people in.
// The error says what to do.
func (s Stack) Check() error {
	_, err := s.read()
	return err
}

// read is Check, and returns the lines that will be asked about a login or an account.
func (s Stack) read() (lines []Line, err error) {
	if err := checkService(s.Service); err != nil {
		return nil, fmt.Errorf("check PAM service %q: %w\n  name a file in %s, such as \"dockerauth\"", s.Service, err, s.confdir())
	}
	if !filepath.IsAbs(s.confdir()) || strings.Contains(s.Confdir, "\x00") {
		return nil, fmt.Errorf("check PAM folder %q: not an absolute path", s.Confdir)
	}
	file := filepath.Join(s.confdir(), s.Service)
	if err := s.checkTrust(file); err != nil {
		return nil, fmt.Errorf("check PAM service %q: %w", s.Service, err)
	}
	r := stackReader{confdir: s.confdir(), found: map[string]bool{}}
	if err := r.read(file, "", 0); err != nil {
		if errors.Is(err, fs.ErrNotExist) && r.depth == 0 {
			return nil, fmt.Errorf("check PAM service %q: %w\n  put a service file there (dockerauth init makes one); without it PAM would ask the service \"other\"", s.Service, err)
		}
		return nil, fmt.Errorf("check PAM service %q: %w", s.Service, err)
	}
	for _, phase := range []string{"auth", "account"} {
		if !r.found[phase] {
			return nil, fmt.Errorf("check PAM service %q: %s has no %q line\n  add one (packaging/pam/dockerauth shows both phases); without it PAM would ask the service \"other\"", s.Service, file, phase)
		}
	}
	return r.lines, nil
}

// checkService allows what PAM opens under just this name: it lowers the case of a service's name and drops a path before it.
func checkService(name string) error {
	if name == "" {
		return errors.New("no name")
	}
	if len(name) > maxService {
		return fmt.Errorf("longer than %d bytes", maxService)
	}
	for _, c := range []byte(name) {
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.') {
			return fmt.Errorf("%q is not a lower-case letter, digit, dash, underline or dot", c)
		}
	}
	if name[0] == '.' {
		return errors.New("begins with a dot")
	}
	if name == "other" {
		return errors.New("this is where PAM sends services that have no file of their own")
	}
	return nil
}

// stackReader notes which phases have at least one line. That is all PAM looks at when it decides whether to fall back to "other".
type stackReader struct {
	confdir  string
	found    map[string]bool
	lines    []Line   // of auth and account
	depth    int      // of the file being read when an error came up
	way      []string // to the file being read, from the service's own: which includes which
	at       Line     // where the line being read stands
	substack int      // how many substacks it is in
}

// read takes in one file; only, unless empty, is the one phase that an include asked for.
func (r *stackReader) read(file, only string, depth int) error {
	r.depth = depth
	if depth >= maxIncludes {
		return fmt.Errorf("read %s: files include each other more than %d deep", file, maxIncludes)
	}
	if slices.Contains(r.way, file) {
		return fmt.Errorf("%s is being read already: it includes itself, without end\n  take the include on that line away", file)
	}
	r.way = append(r.way, file)
	defer func() { r.way = r.way[:len(r.way)-1] }()
	// A named pipe would otherwise hold the open, and so a login, until somebody writes to it.
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := checkFooting(f); err != nil {
		return err
	}
	in := bufio.NewScanner(io.LimitReader(f, maxServiceFile))
	for number := 1; in.Scan(); number++ {
		begin, line := number, uncomment(in.Text())
		for strings.HasSuffix(line, `\`) && in.Scan() {
			line = strings.TrimSuffix(line, `\`) + " " + uncomment(in.Text())
			number++
		}
		r.at = Line{File: file, Number: begin}
		if err := r.line(line, only, depth); err != nil {
			return fmt.Errorf("%s:%d: %w", file, begin, err)
		}
	}
	return in.Err()
}

// checkFooting refuses a file that anyone may rewrite, or put another in the place of: it decides who logs in.
func checkFooting(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("read %s: not a regular file\n  put a service file in its place", f.Name())
	}
	if info.Size() > maxServiceFile {
		return fmt.Errorf("read %s: larger than %d bytes\n  a service file has a dozen lines; name the right one", f.Name(), maxServiceFile)
	}
	if info.Mode().Perm()&0o002 != 0 {
		return fmt.Errorf("read %s: anyone may write to it\n  chmod o-w %s", f.Name(), f.Name())
	}
	folder, err := os.Stat(filepath.Dir(f.Name()))
	if err != nil {
		return err
	}
	if folder.Mode().Perm()&0o002 != 0 && folder.Mode()&os.ModeSticky == 0 {
		return fmt.Errorf("read %s: anyone may put another file in its place\n  chmod o-w %s", f.Name(), filepath.Dir(f.Name()))
	}
	return nil
}

// uncomment leaves what PAM looks at. A backslash at the end of a comment does not continue it.
func uncomment(line string) string {
	line, _, _ = strings.Cut(line, "#")
	return strings.TrimRight(line, " \t")
}

// line reads "phase control module arguments…", "phase include file" or Debian's "@include file", as in pam.d(5).
func (r *stackReader) line(line, only string, depth int) error {
	words := strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == '\t' }) // to PAM nothing else is blank
	if len(words) == 0 {
		return nil
	}
	if words[0] == "@include" {
		if len(words) != 2 {
			return errors.New(`"@include" wants the name of one file`)
		}
		return r.include(words[1], only, depth)
	}
	phase := strings.ToLower(strings.TrimPrefix(words[0], "-"))
	switch phase {
	case "auth", "account", "password", "session":
	default:
		return errors.New("does not begin with auth, account, password, session or @include") // and is not repeated: it may be no service file
	}
	if only != "" && phase != only {
		return nil
	}
	control, rest := cutControl(words[1:])
	if len(rest) == 0 {
		return fmt.Errorf("%q line without control or module", phase)
	}
	switch control {
	case "include":
		return r.include(rest[0], phase, depth)
	case "substack":
		r.found[phase] = true
		r.substack++
		defer func() { r.substack-- }()
		return r.include(rest[0], phase, depth)
	}
	r.found[phase] = true
	if phase == "auth" || phase == "account" {
		r.at.Phase, r.at.Control, r.at.Module, r.at.Args = phase, control, rest[0], rest[1:]
		r.at.Silent, r.at.Substack = words[0][0] == '-', r.substack > 0
		r.lines = append(r.lines, r.at)
	}
	return nil
}

// cutControl takes "required" or "[value=action …]" off the front, in lower case; the bracketed form may hold blanks.
func cutControl(words []string) (control string, rest []string) {
	if len(words) == 0 {
		return "", nil
	}
	if !strings.HasPrefix(words[0], "[") {
		return strings.ToLower(words[0]), words[1:]
	}
	for i, w := range words {
		if strings.HasSuffix(w, "]") {
			return strings.ToLower(strings.Join(words[:i+1], " ")), words[i+1:]
		}
	}
	return "[]", nil
}

// include finds the file as PAM does. Linux-PAM 1.5 looks for a relative name in the system's folders even when the service file lies in a
// folder of its own, later versions look in that folder; so an absolute path is the only one that means the same everywhere.
func (r *stackReader) include(name, only string, depth int) error {
	if filepath.IsAbs(name) {
		return r.read(name, only, depth+1)
	}
	for _, dir := range []string{systemConfdir, "/usr/lib/pam.d", r.confdir} {
		file := filepath.Join(dir, name)
		if _, err := os.Stat(file); err == nil {
			return r.read(file, only, depth+1)
		}
	}
	r.depth = depth + 1
	return fmt.Errorf("what is included is not in %s\n  a relative name is looked up there; write the whole path", systemConfdir)
}

// Survey is Check, and returns the lines of both phases in the order in which PAM takes them.
func (s Stack) Survey() ([]Line, error) { return s.read() }

// checkTrust is CheckTrust where it matters. A service file names modules, which are programs: whoever chooses it has the rights of this process.
func (s Stack) checkTrust(file string) error {
	if !Borrowed() || s.Confdir == "" {
		return nil
	}
	return CheckTrust(file)
}
