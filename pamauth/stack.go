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
	// maxService in bytes is the limit of a file name.
	maxService = 255
)

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
	_, _, err := s.parse()
	return err
}

// Sources checks like Check, and returns every path that the answer depends on, with files that are
// absent and folders.
func (s Stack) Sources() (paths []string, err error) {
	_, paths, err = s.parse()
	return paths, err
}

// Parse reads the service file as PAM does and returns the lines of "auth" and "account" in PAM's
// order.
//
// It refuses a stack for which PAM would silently ask the service "other": one that has no file, or
// whose file has no auth or no account line. pam_start_confdir does so, like pam_start, whenever
// the folder has a file "other" (libpam/pam_handlers.c, _pam_init_handlers), and on Debian "other"
// logs people in. It also refuses files that others could rewrite. The error says what to do.
func (s Stack) Parse() ([]Line, error) {
	lines, _, err := s.parse()
	return lines, err
}

func (s Stack) parse() (lines []Line, paths []string, err error) {
	if err := checkService(s.Service); err != nil {
		return nil, nil, fmt.Errorf("check PAM service %q: %w\n  name a file in %s, such as \"dockerauth\"",
			s.Service, err, s.confdir())
	}
	if !filepath.IsAbs(s.confdir()) || strings.Contains(s.Confdir, "\x00") {
		return nil, nil, fmt.Errorf("check PAM folder %q: not an absolute path", s.Confdir)
	}
	file := filepath.Join(s.confdir(), s.Service)
	// A service file names modules, which run with the rights of this process.
	if HasElevatedIDs() && s.Confdir != "" {
		if err := CheckRootOwned(file); err != nil {
			return nil, nil, fmt.Errorf("check PAM service %q: %w", s.Service, err)
		}
	}
	r := stackReader{confdir: s.confdir(), found: map[string]bool{}}
	if err := r.read(file, "", 0); err != nil {
		if errors.Is(err, fs.ErrNotExist) && r.depth == 0 {
			return nil, r.paths, fmt.Errorf("check PAM service %q: %w\n"+
				"  put a service file there (dockerauth init makes one); without it PAM asks the service \"other\"",
				s.Service, err)
		}
		return nil, r.paths, fmt.Errorf("check PAM service %q: %w", s.Service, err)
	}
	for _, phase := range []string{"auth", "account"} {
		if !r.found[phase] {
			return nil, r.paths, fmt.Errorf("check PAM service %q: %q has no %q line\n"+
				"  add one (packaging/pam/dockerauth shows both phases); without it PAM asks the service \"other\"",
				s.Service, file, phase)
		}
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

// stackReader parses service files. Whether a phase has at least one line is all that PAM looks at
// when it decides to use "other".
type stackReader struct {
	confdir  string
	found    map[string]bool // phases with a line
	lines    []Line          // of auth and account
	depth    int             // of the file being read when an error came up
	files    []string        // being read: each includes the next
	paths    []string        // that were looked at
	at       Line            // where the line being read stands
	substack int             // how many substacks it is in
}

// read parses one file. only = the one phase that an include asked for; "" = all.
func (r *stackReader) read(file, only string, depth int) error {
	r.depth = depth
	if depth >= maxIncludes {
		return fmt.Errorf("read %q: files include each other more than %d deep", file, maxIncludes)
	}
	if slices.Contains(r.files, file) {
		return fmt.Errorf("%q includes itself\n  remove the include on that line", file)
	}
	r.files = append(r.files, file)
	r.paths = append(r.paths, file, filepath.Dir(file))
	defer func() { r.files = r.files[:len(r.files)-1] }()
	// A named pipe would otherwise block the open until somebody writes to it.
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := checkNotWorldWritable(f); err != nil {
		return err
	}
	in := bufio.NewScanner(io.LimitReader(f, maxServiceFile))
	for number := 1; in.Scan(); number++ {
		first, line := number, cutComment(in.Text())
		for strings.HasSuffix(line, `\`) && in.Scan() {
			line = strings.TrimSuffix(line, `\`) + " " + cutComment(in.Text())
			number++
		}
		r.at = Line{File: file, Number: first}
		if err := r.parseLine(line, only, depth); err != nil {
			return fmt.Errorf("%s:%d: %w", file, first, err)
		}
	}
	return in.Err()
}

// checkNotWorldWritable refuses a file that anyone may rewrite or replace: it decides who logs in.
func checkNotWorldWritable(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("read %q: not a regular file\n  put a service file in its place", f.Name())
	}
	if info.Size() > maxServiceFile {
		return fmt.Errorf("read %q: larger than %d bytes\n  a service file has a dozen lines; name the right one",
			f.Name(), maxServiceFile)
	}
	if info.Mode().Perm()&0o002 != 0 {
		return fmt.Errorf("read %q: anyone may write to it\n  chmod o-w %s", f.Name(), f.Name())
	}
	folder, err := os.Stat(filepath.Dir(f.Name()))
	if err != nil {
		return err
	}
	if folder.Mode().Perm()&0o002 != 0 && folder.Mode()&os.ModeSticky == 0 {
		return fmt.Errorf("read %q: anyone may put another file in its place\n  chmod o-w %s",
			f.Name(), filepath.Dir(f.Name()))
	}
	return nil
}

// cutComment leaves what PAM looks at. A backslash at the end of a comment does not continue it.
func cutComment(line string) string {
	line, _, _ = strings.Cut(line, "#")
	return strings.TrimRight(line, " \t")
}

// parseLine reads "phase control module arguments…", "phase include file" or Debian's "@include
// file", as in pam.d(5).
func (r *stackReader) parseLine(line, only string, depth int) error {
	words := strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == '\t' }) // as PAM does
	if len(words) == 0 {
		return nil
	}
	if words[0] == "@include" {
		if len(words) != 2 {
			return errors.New(`"@include" takes the name of one file`)
		}
		return r.include(words[1], only, depth)
	}
	phase := strings.ToLower(strings.TrimPrefix(words[0], "-"))
	switch phase {
	case "auth", "account", "password", "session":
	default:
		// The line is not quoted: the file may hold secrets.
		return errors.New("does not begin with auth, account, password, session or @include")
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

// cutControl takes "required" or "[value=action …]" off the front, in lower case. The bracketed
// form may hold blanks.
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

// include finds the file as PAM does. Linux-PAM 1.5 looks up a relative name in the system's
// folders even if the service file is elsewhere; later versions look in the service file's folder.
// Only an absolute path means the same everywhere.
func (r *stackReader) include(name, only string, depth int) error {
	if filepath.IsAbs(name) {
		return r.read(name, only, depth+1)
	}
	for _, dir := range []string{systemConfdir, "/usr/lib/pam.d", r.confdir} {
		file := filepath.Join(dir, name)
		r.paths = append(r.paths, file)
		if _, err := os.Stat(file); err == nil {
			return r.read(file, only, depth+1)
		}
	}
	r.depth = depth + 1
	return fmt.Errorf(
		"included file is not in %s\n  relative names are looked up there; write the absolute path",
		systemConfdir,
	)
}
