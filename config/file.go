package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"dockerauth/jwtsign"
)

// maxFile bounds config.yml. It allows tens of thousands of names. A few odd texts, such as half a
// million times "<", take quadratic time. Only those who may change the configuration can write
// them.
const maxFile = 1 << 20

func read(path string) ([]byte, error) {
	fail := func(code Code, cause, hint string) ([]byte, error) {
		return nil, Errors{{Code: code, File: path, Cause: cause, Hint: hint}}
	}
	// Without O_NONBLOCK, opening a named pipe would block until something writes to it.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		hint := "name a file that is there: --config FILE"
		if filepath.Base(path) == "config.yml" {
			hint = setUpCommand(absolute(path))
		}
		return fail(CodeMissing, "no such file", hint)
	}
	if errors.Is(err, fs.ErrPermission) {
		return fail(CodeUnreadable, fmt.Sprintf("permission denied for uid %d", os.Geteuid()),
			"dockerauth check, run as root, says what keeps it from being read")
	}
	if err != nil {
		return fail(CodeUnreadable, cause(err), "")
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fail(CodeUnreadable, cause(err), "")
	}
	if !info.Mode().IsRegular() {
		return fail(CodeNotAFile, "is not a regular file", "name the file config.yml")
	}
	// Who can write the file chooses the key, and with it all rights.
	if mode := info.Mode().Perm(); mode&0o002 != 0 {
		return fail(CodeWritable, "every user can change it", "chmod o-w "+jwtsign.ShellWord(absolute(path)))
	}
	if info.Size() > maxFile {
		return fail(CodeNotAFile, fmt.Sprintf("is larger than %d bytes", maxFile), "name the file config.yml")
	}
	data := make([]byte, info.Size())
	if _, err := io.ReadFull(f, data); err != nil { // truncated after Stat
		return fail(CodeUnreadable, cause(err), "")
	}
	return data, nil
}

// absolute is for commands, which may be run elsewhere.
func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// cause drops the path, which the message has already.
func cause(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}

// ReadFile returns the text of a configuration. It refuses the files that Load refuses.
func ReadFile(path string) ([]byte, error) { return read(path) }
