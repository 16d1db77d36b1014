package jwtsign

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// maxKeyFile bounds what is read as a key or a chain of certificates: an 8192-bit RSA key is 6 KiB.
const maxKeyFile = 64 << 10

// makeKey is the advice for those who have no usable key. P-256 is read by every registry since
// 2.8, and its signature costs a tenth of RSA's.
const makeKey = "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out FILE"

// FileError is what is wrong with a file that the configuration names.
type FileError struct {
	Path    string // the file
	Setting string // the key of config.yml at fault: "private_key", "certificate" or "key_id"
	Err     error  // the cause, one line
	Hint    string // what to do about it, one line; "" when the cause says it
}

// Error is the cause and, on a line of its own, the hint.
func (e *FileError) Error() string {
	s := fmt.Sprintf("load %s %q: %v", e.Setting, e.Path, e.Err)
	if e.Hint != "" {
		s += "\n  " + e.Hint
	}
	return s
}

// Unwrap lets callers ask for fs.ErrNotExist and fs.ErrPermission.
func (e *FileError) Unwrap() error { return e.Err }

// problem is a cause with its remedy. It never holds anything read from a key file.
type problem struct {
	cause error
	hint  string
}

func (p *problem) Error() string { return p.cause.Error() }

func problemf(hint, format string, args ...any) error {
	return &problem{cause: fmt.Errorf(format, args...), hint: hint}
}

func fileError(setting, path string, err error) error {
	var p *problem
	if errors.As(err, &p) {
		return &FileError{Path: path, Setting: setting, Err: p.cause, Hint: p.hint}
	}
	return &FileError{Path: path, Setting: setting, Err: err}
}

// readRegular reads a whole file after check has approved of it; check sees the file that is read,
// not one that took its place.
func readRegular(path string, check func(fs.FileInfo) error) ([]byte, error) {
	// A named pipe would otherwise hold the open, and so the start, until somebody writes to it.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, openProblem(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, withoutPath(err)
	}
	if err := check(info); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return nil, withoutPath(err)
	}
	if len(data) > maxKeyFile {
		return nil, problemf("name a PEM file", "file is larger than %d bytes", maxKeyFile)
	}
	return data, nil
}

func openProblem(err error) error {
	cause := withoutPath(err)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return problemf("name a file that exists; a new key is made by: "+makeKey, "%w", cause)
	case errors.Is(err, fs.ErrPermission):
		return problemf("let its group read it: chgrp to a group of that user, chmod 640", "%w for uid %d", cause,
			os.Geteuid())
	}
	return cause
}

// withoutPath drops the path from an error whose reader is told it already.
func withoutPath(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

func isRegular(info fs.FileInfo) error {
	if info.IsDir() {
		return problemf("name the file in it", "is a directory")
	}
	if !info.Mode().IsRegular() {
		return problemf("name a PEM file", "is not a regular file")
	}
	return nil
}

// isPrivate holds for a file that only its owner can change and that only its owner and group can
// read: whoever reads the key signs tokens for everyone, whoever writes it chooses the key.
func isPrivate(info fs.FileInfo) error {
	if err := isRegular(info); err != nil {
		return err
	}
	mode := info.Mode().Perm()
	if mode&0o007 != 0 {
		return problemf("chmod 640 and give it to the group of the user that this program runs as",
			"mode %#o lets every user at the key", mode)
	}
	if mode&0o020 != 0 {
		return problemf("chmod g-w", "mode %#o lets the group change the key", mode)
	}
	return nil
}

func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}
