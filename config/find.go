package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const systemFile = "/etc/dockerauth/config.yml"

// Find returns the path of the configuration: beside the program, as with the PHP service, else in
// /etc. It follows symbolic links to the program, such as one in cgi-bin. exists may be nil; it
// also reports files that cannot be read.
func Find(executable string, exists func(path string) bool) (string, error) {
	if exists == nil {
		exists = isThere
	}
	if real, err := filepath.EvalSymlinks(executable); err == nil {
		executable = real
	}
	beside := filepath.Join(filepath.Dir(executable), "config.yml")
	for _, path := range []string{beside, systemFile} {
		if exists(path) {
			return path, nil
		}
	}
	return "",
		fmt.Errorf("find configuration: neither %q nor %q exists\n  %s", beside, systemFile,
			setUpCommand(systemFile))
}

func isThere(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
