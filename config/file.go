package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// maxFile bounds config.yml: room for tens of thousands of names. Lists of any length are read in
// linear time. Some texts that nobody writes are not (half a million times "<"): whoever may write
// config.yml can slow the program down, and may do worse.
const maxFile = 1 << 20

func read(path string) ([]byte, error) {
	fail := func(cause, hint string) ([]byte, error) { return nil, Errors{{File: path, Cause: cause, Hint: hint}} }
	// A named pipe would otherwise hold the open, and so the start, until somebody writes to it.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return fail("no such file", "copy config.yml.dist to it and write in what is yours")
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
	// Whoever writes it chooses the key, and with it who may do what.
	if mode := info.Mode().Perm(); mode&0o002 != 0 {
		return fail("every user may change it", "chmod o-w")
	}
	if info.Size() > maxFile {
		return fail(fmt.Sprintf("is larger than %d bytes", maxFile), "name the file config.yml")
	}
	data := make([]byte, info.Size())
	if _, err := io.ReadFull(f, data); err != nil { // it was cut short just now
		return fail(cause(err), "")
	}
	return data, nil
}

// cause drops the path from an error whose reader is told it already.
func cause(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}

// ReadFile returns the text of a configuration, if it is a file that Load would take.
func ReadFile(path string) ([]byte, error) { return read(path) }
