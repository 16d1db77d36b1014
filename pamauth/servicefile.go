package pamauth

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
)

const (
	// maxServiceFile in bytes: a service file has a dozen lines.
	maxServiceFile = 64 << 10
	// maxLine in bytes, with what continues it: libpam before 1.7 takes what is beyond for a line
	// of its own, even of a comment.
	maxLine = 1022
	// maxIncludes is how deep files may include each other: PAM_SUBSTACK_MAX_LEVEL of libpam.
	maxIncludes = 16
)

// stackReader parses service files. Whether a phase has at least one line is all that PAM looks at
// when it decides to use "other".
type stackReader struct {
	service string
	confdir string
	found   map[string]bool // phases with a line
	lines   []Line          // of auth and account
	errors  StackErrors
	files   []string // being read: each includes the next
	paths   []string // that were looked at
	at      Line     // where the line being read stands
}

// What libpam does with a line that it does not take. Each makes every login fail, unless a line
// before it has decided.
const (
	refusesAll = "libpam refuses logins there"
	aborts     = "libpam refuses the whole file"
	crashes    = "libpam crashes"
)

// refuse keeps one error a line, and one of a cause that a whole file has.
func (r *stackReader) refuse(e StackError) {
	e.Service = r.service
	for _, other := range r.errors {
		if e.File == other.File && (e.Line == other.Line || e.Cause == other.Cause) {
			return
		}
	}
	r.errors = append(r.errors, &e)
}

// refuseLine is about the line being read.
func (r *stackReader) refuseLine(cause, effect, hint string) {
	r.refuse(StackError{Fault: FaultLine, File: r.at.File, Line: r.at.Number, End: r.at.End, Cause: cause,
		Effect: effect, Hint: hint})
}

func (r *stackReader) refuseWord(e *wordError, hint string) {
	r.refuse(StackError{Fault: FaultLine, File: r.at.File, Line: r.at.Number, End: r.at.End, Cause: e.Error(),
		Effect: refusesAll, Hint: hint, Word: e.word, Known: e.known})
}

// read parses one file. only = the one phase that an include asked for; "" = all.
func (r *stackReader) read(file, only string, depth int) {
	r.paths = append(r.paths, file, filepath.Dir(file))
	text, err := readServiceFile(file)
	if err != nil {
		r.refuse(*err)
		return
	}
	r.files = append(r.files, file)
	for number, rest := 0, text; rest != ""; {
		var line string
		r.at = Line{File: file, Number: number + 1, Level: r.at.Level}
		line, rest, number = r.assemble(rest, number)
		r.at.End = number
		r.parseLine(line, only, depth)
	}
	r.files = r.files[:len(r.files)-1]
}

// readServiceFile refuses a file that anyone may rewrite or replace: it decides who logs in.
func readServiceFile(file string) (text string, refused *StackError) {
	// A named pipe would otherwise block the open until somebody writes to it.
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		fault := FaultFile
		if errors.Is(err, fs.ErrNotExist) {
			fault = FaultNoFile
		}
		return "", &StackError{Fault: fault, File: file, Cause: err.Error(), err: err,
			Effect: "PAM would ask the service \"other\"",
			Hint:   "put a service file there (dockerauth init makes one)"}
	}
	defer f.Close()
	info, err := f.Stat()
	var folder os.FileInfo
	if err == nil {
		folder, err = os.Stat(filepath.Dir(file))
	}
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		return "", &StackError{Fault: FaultFile, File: file, Cause: fmt.Sprintf("read %q: not a regular file", file),
			Hint: "put a service file in its place"}
	case info.Size() > maxServiceFile:
		return "", &StackError{Fault: FaultFile, File: file,
			Cause: fmt.Sprintf("read %q: larger than %d bytes", file, maxServiceFile),
			Hint:  "a service file has a dozen lines; name the right one"}
	case info.Mode().Perm()&0o002 != 0:
		return "", &StackError{Fault: FaultWritable, File: file,
			Cause: fmt.Sprintf("read %q: anyone may write to it", file), Hint: "chmod go-w " + file}
	case folder.Mode().Perm()&0o002 != 0 && folder.Mode()&os.ModeSticky == 0:
		return "", &StackError{Fault: FaultWritable, File: filepath.Dir(file),
			Cause: fmt.Sprintf("read %q: anyone may put another file in its place", file),
			Hint:  "chmod go-w " + filepath.Dir(file)}
	}
	var content []byte
	if err == nil {
		content, err = io.ReadAll(io.LimitReader(f, maxServiceFile))
	}
	if err != nil {
		return "", &StackError{
			Fault: FaultFile,
			File:  file,
			Cause: err.Error(),
			Hint:  "see why it cannot be read",
			err:   err,
		}
	}
	return string(content), nil
}

// assemble takes the first line off the text, with what a backslash at its end continues. In what
// it returns there is no comment. number counts the lines of the file.
//
// Both Linux-PAM's way before 1.7 (pam_handlers.c, _pam_assemble_line) and since (pam_line.c) are
// kept to. A line that they read differently is refused.
func (r *stackReader) assemble(text string, number int) (line, rest string, end int) {
	length := 0
	for rest = text; ; {
		var physical string
		physical, rest, _ = strings.Cut(rest, "\n")
		number++
		r.at.End = number
		if length += len(physical); length > maxLine {
			r.refuseLine(fmt.Sprintf("longer than %d bytes", maxLine),
				"libpam before 1.7 takes the rest for a line of its own", "write shorter lines, comments too")
		}
		part, _, comment := strings.Cut(physical, "#")
		r.checkCharacters(part)
		trimmed := strings.Trim(part, " \t")
		if number > r.at.Number && trimmed == "" {
			r.refuseLine("a backslash continues it with an empty line or a comment",
				"libpam before 1.7 reads on, later ones do not",
				fmt.Sprintf("sed -i '%dd' %s", number, r.at.File))
			if rest != "" {
				continue
			}
		}
		if comment || !strings.HasSuffix(trimmed, `\`) {
			return line + trimmed, rest, number
		}
		line += strings.TrimSuffix(trimmed, `\`) + " "
		if rest == "" {
			r.refuseLine("a backslash at the end of the file", aborts,
				fmt.Sprintf(`sed -i '%ds/\\[[:blank:]]*$//' %s`, number, r.at.File))
			return line, "", number
		}
	}
}

// checkCharacters refuses what an editor does not show. PAM knows no blanks but space and tab.
func (r *stackReader) checkCharacters(line string) {
	switch {
	case strings.Contains(line, "\x00"):
		r.refuseLine("a NUL character", "libpam ignores the rest of the line", "write the file as ASCII text")
	case strings.HasSuffix(line, "\r"):
		r.refuseLine("a carriage return at the end", "libpam takes it for a part of the last word",
			`sed -i 's/\r$//' `+r.at.File)
	case r.at.End == 1 && strings.HasPrefix(line, "\ufeff"):
		r.refuseLine("a byte order mark", refusesAll, `sed -i '1s/^\xef\xbb\xbf//' `+r.at.File)
	default:
		for _, c := range []byte(line) {
			if c < ' ' && c != '\t' || c == 0x7f {
				r.refuseLine(fmt.Sprintf("the control character %q", c), "libpam takes it for a letter", "remove it")
				return
			}
		}
	}
}

// nextWord is _pam_StrTok: words end at a blank, and "[…]" is one, without its brackets. \] stands
// for a bracket in it.
func nextWord(s string) (word, rest string, closed, found bool) {
	s = strings.TrimLeft(s, " \t")
	if s == "" {
		return "", "", true, false
	}
	if s[0] != '[' {
		end := strings.IndexAny(s, " \t")
		if end < 0 {
			return s, "", true, true
		}
		return s[:end], s[end+1:], true, true
	}
	var inside []byte
	for i := 1; i < len(s); i++ {
		if s[i] == ']' {
			return string(inside), s[i+1:], true, true
		}
		if strings.HasPrefix(s[i:], `\]`) {
			i++
		}
		inside = append(inside, s[i])
	}
	return string(inside), "", false, true
}

// parseLine reads "phase control module arguments…", "phase include file" or Debian's "@include
// file", as in pam.d(5). What libpam refuses in a session or password line is of no consequence
// here, unless it takes the whole file along.
func (r *stackReader) parseLine(line, only string, depth int) {
	word, rest, _, found := nextWord(line)
	if !found {
		return
	}
	word, silent := strings.CutPrefix(word, "-")
	phase := lowerASCII(word)
	if phase == "@include" && isDebians() {
		r.include(rest, only, depth, 0)
		return
	}
	if !slices.Contains(phaseWords, phase) {
		if only == "" || only == "auth" || only == "account" {
			r.found[cmp.Or(only, "auth")] = true
			hint := "begin the line with auth, account, password or session"
			if strings.HasPrefix(word, ";") || strings.HasPrefix(word, "//") {
				hint = fmt.Sprintf("sed -i '%ds/^/# /' %s", r.at.Number, r.at.File)
			}
			if phase == "@include" {
				hint = "only Debian's libpam has @include; write auth include FILE and account include FILE"
			}
			r.refuseWord(&wordError{"unknown type", word, phaseWords}, hint)
		}
		return
	}
	if only != "" && phase != only {
		return
	}
	matters := phase == "auth" || phase == "account"
	control, rest, closed, found := nextWord(rest)
	kind := lowerASCII(control)
	r.found[phase] = r.found[phase] || kind != "include" || !closed
	switch {
	case !found || !closed:
		if matters {
			r.refuseLine(noControl(found), refusesAll, "write a control such as required behind the type")
		}
		return
	case kind == "include":
		r.include(rest, phase, depth, 0)
		return
	case kind == "substack":
		if matters {
			l := r.at
			l.Phase, l.Control = phase, kind
			r.lines = append(r.lines, l)
		}
		r.include(rest, phase, depth, 1)
		return
	}
	module, rest, _, found := nextWord(rest)
	if found && !hasModuleName(module) {
		r.refuseLine("a module without a name", aborts, "write a module such as pam_unix.so")
		return
	}
	if !matters {
		return
	}
	if _, err := parseControl(control); err != nil {
		r.refuseWord(err, "write required, requisite, sufficient, optional, include or substack, or a list such as "+
			"[success=1 default=ignore], in small letters")
		return
	}
	if !found {
		r.refuseLine("no module", refusesAll, "write a module such as pam_unix.so behind the control")
		return
	}
	l := r.at
	l.Phase, l.Control, l.Module, l.Silent = phase, canonical(control), module, silent
	for {
		arg, after, closed, found := nextWord(rest)
		if !found {
			break
		}
		if !closed {
			r.refuseLine(
				"a bracket in the arguments does not close",
				"libpam takes the rest of the line for one argument",
				"write ] where the argument ends",
			)
		}
		l.Args, rest = append(l.Args, arg), after
	}
	r.lines = append(r.lines, l)
}

func noControl(found bool) string {
	if found {
		return "the bracket of the control does not close"
	}
	return "no control and no module"
}

// canonical is a word in lower case, or a list in brackets.
func canonical(control string) string {
	if !strings.Contains(control, "=") {
		return lowerASCII(control)
	}
	return "[" + strings.Join(strings.Fields(control), " ") + "]"
}

// hasModuleName: libpam wants a name for its audit trail (extract_modulename).
func hasModuleName(module string) bool {
	name := module[strings.LastIndexByte(module, '/')+1:]
	if dot := strings.LastIndexByte(name, '.'); dot >= 0 {
		name = name[:dot]
	}
	return name != "" && name != "?"
}

// include reads the file that a line names. Debian's libpam looks up a relative name in the
// system's folder even if the service file is elsewhere, others in the service file's folder.
func (r *stackReader) include(rest, only string, depth, substack int) {
	at := r.at
	name, _, _, found := nextWord(rest)
	if !found {
		effect := refusesAll
		if isDebians() {
			effect = crashes
		}
		r.refuseLine("an include without a file", effect, "write the file that it includes, or remove the line")
		return
	}
	if substack > 0 && !hasModuleName(name) {
		r.refuseLine("a substack without a name", aborts, "write the file that it includes")
		return
	}
	file := name
	if !filepath.IsAbs(name) {
		folder := r.confdir
		if folder != systemConfdir && isDebians() {
			folder = systemConfdir
		}
		file = folder + "/" + name
	}
	switch {
	case slices.Contains(r.files, file):
		r.refuse(StackError{Fault: FaultIncludesItself, File: at.File, Line: at.Number, End: at.End,
			Cause: fmt.Sprintf("%q includes itself", file), Effect: "libpam reads it again and again",
			Hint: "remove the include on that line"})
	case depth+1 >= maxIncludes:
		r.refuseLine(fmt.Sprintf("files include each other more than %d deep", maxIncludes), refusesAll,
			"include the last of them directly")
	case !isMissing(file):
		r.at.Level += substack
		r.read(file, only, depth+1)
	case only == "" || only == "auth" || only == "account":
		r.paths = append(r.paths, file)
		r.found[cmp.Or(only, "auth")] = true
		hint := "put the file there, or correct its name"
		if there := r.confdir + "/" + name; file != there && !filepath.IsAbs(name) && !isMissing(there) {
			hint = "write the absolute path: " + there
		}
		r.refuse(StackError{Fault: FaultInclude, File: at.File, Line: at.Number, End: at.End, Word: name,
			Cause: fmt.Sprintf(
				"includes %q: no such file",
				file,
			), Effect: refusesAll, Hint: hint, err: fs.ErrNotExist})
	}
	r.at = at
}

func isMissing(file string) bool {
	_, err := os.Stat(file)
	return errors.Is(err, fs.ErrNotExist)
}

// isDebians reports whether libpam has Debian's patch for includes, of which its text tells. It
// holds where the library is not found.
var isDebians = sync.OnceValue(func() bool {
	library := loadedFrom("libpam.so")
	if library == "" {
		return true
	}
	text, err := os.ReadFile(library)
	return err != nil || bytes.Contains(text, []byte("@include\x00"))
})

// checkJumps refuses a jump after success that leads past the end of its phase, or of its substack:
// libpam refuses the login then.
func (r *stackReader) checkJumps(phase string) {
	lines := linesOf(r.lines, phase)
	for i, l := range lines {
		if l.Module == "" {
			continue
		}
		a, _ := parseControl(strings.Trim(l.Control, "[]")) // it has been read before
		if _, ok := jump(lines, i, int(a[resultSuccess])); !ok {
			r.at = l
			r.refuseLine(
				fmt.Sprintf("success=%d jumps past the last line of %s", a[resultSuccess], phase),
				refusesAll,
				"correct the number, or add the lines that are missing",
			)
		}
	}
}
