package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// maxFile bounds config.yml. It allows tens of thousands of names. A few odd texts, such as half a
// million times "<", take quadratic time. Only those who may change the configuration can write
// them.
const maxFile = 1 << 20

func read(path string) ([]byte, error) {
	fail := func(cause, hint string) ([]byte, error) { return nil, Errors{{File: path, Cause: cause, Hint: hint}} }
	// Without O_NONBLOCK, opening a named pipe would block until something writes to it.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return fail("no such file", "copy config.yml.dist to it and edit it")
	}
	if errors.Is(err, fs.ErrPermission) {
		return fail(fmt.Sprintf("permission denied for uid %d", os.Geteuid()),
			"let the user that this program runs as read it")
	}
	if err != nil {
		return fail(cause(err), "")
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fail(cause(err), "")
	}
	if !info.Mode().IsRegular() {
		return fail("is not a regular file", "name the file config.yml")
	}
	// Who can write the file chooses the key, and with it all rights.
	if mode := info.Mode().Perm(); mode&0o002 != 0 {
		return fail("every user can change it", "chmod o-w")
	}
	if info.Size() > maxFile {
		return fail(fmt.Sprintf("is larger than %d bytes", maxFile), "name the file config.yml")
	}
	data := make([]byte, info.Size())
	if _, err := io.ReadFull(f, data); err != nil { // truncated after Stat
		return fail(cause(err), "")
	}
	return data, nil
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
