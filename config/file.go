package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"dockerauth/jwtsign"
)

// maxFile bounds config.yml. It allows tens of thousands of names. A few odd texts, such as half a
// million times "<", take quadratic time. Only those who may change the configuration can write
// them.
const maxFile = 1 << 20

func read(path string) ([]byte, error) {
	var refusal, hint string
	data, err := jwtsign.ReadRegular(path, maxFile, func(info fs.FileInfo) error {
		switch {
		case !info.Mode().IsRegular():
			refusal, hint = "is not a regular file", "name the file config.yml"
		case info.Mode().Perm()&0o002 != 0: // who can write the file chooses the key, and with it all rights
			refusal, hint = "every user can change it", "chmod o-w"
		default:
			return nil
		}
		return errors.New(refusal)
	})
	switch {
	case err == nil:
		return data, nil
	case refusal != "":
	case errors.Is(err, fs.ErrNotExist):
		refusal, hint = "no such file", "copy config.yml.dist to it and edit it"
	case errors.Is(err, fs.ErrPermission):
		refusal = fmt.Sprintf("permission denied for uid %d", os.Geteuid())
		hint = "let the user that this program runs as read it"
	case errors.Is(err, jwtsign.ErrTooLarge):
		refusal, hint = fmt.Sprintf("is larger than %d bytes", maxFile), "name the file config.yml"
	default:
		refusal = cause(err)
	}
	return nil, Errors{{File: path, Cause: refusal, Hint: hint}}
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
