//go:build !linux

package cli

import (
	"errors"
	"io"
	"os"
)

// Without PAM no password is needed.
func isTerminal(*os.File) bool { return false }

func readHidden(*os.File, io.Writer, string) (string, error) {
	return "", errors.New("only Linux has PAM here")
}
