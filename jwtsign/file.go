package jwtsign

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"unicode"
)

// maxKeyFile bounds a key file or a chain of certificates. An 8192-bit RSA key has 6 KiB.
const maxKeyFile = 64 << 10

// keyCommand makes a suitable key. Every registry since 2.8 reads P-256, and its signature costs a
// tenth of that of RSA.
const keyCommand = "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out {file}"

// inPlace turns a command that writes "$t" into one that changes {file}, whose owner and mode stay.
// A file beside it could be a link that another user has made.
func inPlace(command string) string {
	return "t=$(mktemp) && " + command + ` && cat "$t" >{file} && rm "$t"`
}

// Code is the kind of a fault. Programs depend on it, so it stays when the words change.
type Code string

// The faults of a key file or a certificate file.
const (
	CodeMissing    Code = "file-missing"
	CodeUnreadable Code = "file-unreadable"
	CodeNotAFile   Code = "file-irregular" // a folder, a pipe, or far too large
	CodeOpen       Code = "key-open"       // to users who must not have it
	CodeEncoding   Code = "file-encoding"  // a byte order mark
	CodeDamaged    Code = "file-damaged"   // PEM that cannot be read
	CodeFormat     Code = "file-format"    // not PEM, or a format of another program
	CodeWrongFile  Code = "file-wrong"     // a certificate in place of a key, or the like
	CodeMore       Code = "file-has-more"  // than the one key
	CodeEncrypted  Code = "key-encrypted"
	CodeParameters Code = "key-parameters" // of its curve, in place of the curve's name
	CodeUnsuitable Code = "key-unsuitable" // too short, or of a kind that signs no tokens
	CodeIDRule     Code = "key-id-unusable"
	CodeMismatch   Code = "certificate-mismatch" // with the key
	CodeExpired    Code = "certificate-expired"
	CodeNotYet     Code = "certificate-not-yet-valid"
	CodeChain      Code = "certificate-chain"
	CodeUnknown    Code = "file-unusable"
)

// FileError is a fault of a file that the configuration names.
type FileError struct {
	Code    Code
	Path    string // the file
	Setting string // the key of config.yml at fault: "private_key", "previous_keys" and so on
	Err     error  // the cause, one line
	Hint    string // what to do, one line; "" if the cause says it
}

// Error returns the cause and, on the next line, the hint.
func (e *FileError) Error() string {
	s := fmt.Sprintf("load %s %q: %v", e.Setting, e.Path, e.Err)
	if e.Hint != "" {
		s += "\n  " + e.Hint
	}
	return s
}

// Unwrap allows errors.Is with fs.ErrNotExist and fs.ErrPermission.
func (e *FileError) Unwrap() error { return e.Err }

// problem is a cause with its remedy. It never contains data from a key file.
type problem struct {
	code  Code
	cause error
	hint  string
}

func (p *problem) Error() string { return p.cause.Error() }

// problemf makes a problem. In the hint {file} stands for the file at fault, {key} for that of the
// private key.
func problemf(code Code, hint, format string, args ...any) error {
	return &problem{code: code, cause: fmt.Errorf(format, args...), hint: hint}
}

func fileError(setting, path, key string, err error) error {
	var p *problem
	if errors.As(err, &p) {
		hint := strings.NewReplacer("{file}", ShellWord(path), "{key}", ShellWord(key)).Replace(p.hint)
		return &FileError{Code: p.code, Path: path, Setting: setting, Err: p.cause, Hint: hint}
	}
	return &FileError{Code: CodeUnknown, Path: path, Setting: setting, Err: err}
}

// ShellWord quotes a path for a shell where it needs that.
func ShellWord(path string) string {
	plain := func(r rune) bool {
		return unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("/._-+,:@%", r)
	}
	if path != "" && strings.IndexFunc(path, func(r rune) bool { return !plain(r) }) < 0 {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}

// ErrTooLarge is the cause where a file is longer than its limit.
var ErrTooLarge = errors.New("file is too large")

// ReadRegular reads a file of at most limit bytes, if check accepts it. check sees the open file,
// not one that replaced it.
func ReadRegular(path string, limit int, check func(fs.FileInfo) error) ([]byte, error) {
	// Without O_NONBLOCK, opening a named pipe would block until something writes to it.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if err := check(info); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, int64(limit)+1))
	switch {
	case err != nil:
		return nil, err
	case len(data) > limit:
		return nil, ErrTooLarge
	case int64(len(data)) < info.Size():
		return nil, io.ErrUnexpectedEOF // it was cut meanwhile
	}
	return data, nil
}

func readKeyFile(path string, check func(fs.FileInfo) error) ([]byte, error) {
	data, err := ReadRegular(path, maxKeyFile, check)
	switch {
	case errors.Is(err, ErrTooLarge):
		return nil, problemf(CodeNotAFile, "name a PEM file", "file is larger than %d bytes", maxKeyFile)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
		return nil, openProblem(err)
	case err != nil && !errors.As(err, new(*problem)):
		return nil, withoutPath(err)
	}
	return data, err
}

func openProblem(err error) error {
	cause := withoutPath(err)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return problemf(CodeMissing, "name a file that exists; a new key is made by: "+keyCommand, "%w", cause)
	case errors.Is(err, fs.ErrPermission):
		return problemf(CodeUnreadable, "dockerauth check, run as root, says what keeps it from being read",
			"%w for uid %d", cause, os.Geteuid())
	}
	return cause
}

// withoutPath drops the path, which the message has already.
func withoutPath(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

func isRegular(info fs.FileInfo) error {
	if info.IsDir() {
		return problemf(CodeNotAFile, "name the file in it", "is a directory")
	}
	if !info.Mode().IsRegular() {
		return problemf(CodeNotAFile, "name a PEM file", "is not a regular file")
	}
	return nil
}

// isPrivate refuses a key file that others can read or that its group can write. Who can read it
// can sign tokens for every account.
func isPrivate(info fs.FileInfo) error {
	if err := isRegular(info); err != nil {
		return err
	}
	mode := info.Mode().Perm()
	if mode&0o007 != 0 {
		return problemf(CodeOpen, "chmod o=,g-w {file}", "mode %#o gives every user access to the key", mode)
	}
	if mode&0o020 != 0 {
		return problemf(CodeOpen, "chmod g-w {file}", "mode %#o lets the group change the key", mode)
	}
	return nil
}

func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}
