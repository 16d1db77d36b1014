package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"dockerauth/jwtsign"
)

// maxFile bounds config.yml. It allows tens of thousands of names. A few odd texts, such as half a
// million times "<", take quadratic time. Only those who may change the configuration can write
// them.
const maxFile = 1 << 20

func read(path string) ([]byte, error) {
	var code Code
	var refusal, hint string
	data, err := jwtsign.ReadRegular(path, maxFile, func(info fs.FileInfo) error {
		switch {
		case !info.Mode().IsRegular():
			code, refusal, hint = CodeNotAFile, "is not a regular file", "name the file config.yml"
		case info.Mode().Perm()&0o002 != 0: // who can write the file chooses the key, and with it all rights
			code, refusal = CodeWritable, "every user can change it"
			hint = "chmod o-w " + jwtsign.ShellWord(absolute(path))
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
		code, refusal, hint = CodeMissing, "no such file", "name a file that is there: --config FILE"
		if filepath.Base(path) == "config.yml" {
			hint = setUpCommand(absolute(path))
		}
	case errors.Is(err, fs.ErrPermission):
		code, refusal = CodeUnreadable, fmt.Sprintf("permission denied for uid %d", os.Geteuid())
		hint = "dockerauth check, run as root, says what keeps it from being read"
	case errors.Is(err, jwtsign.ErrTooLarge):
		code, refusal, hint = CodeNotAFile, fmt.Sprintf("is larger than %d bytes", maxFile), "name the file config.yml"
	default:
		code, refusal = CodeUnreadable, cause(err)
	}
	return nil, Errors{{Code: code, File: path, Cause: refusal, Hint: hint}}
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
