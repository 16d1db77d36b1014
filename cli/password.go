package cli

import (
	"io"
	"os"
)

// ReadPassword reads a password from a terminal that does not show it, or else from the first line
// of in. typed says which.
func ReadPassword(in *os.File, out io.Writer, prompt string) (password string, typed bool, err error) {
	if isTerminal(in) {
		password, err = readHidden(in, out, prompt)
		return password, true, err
	}
	password, err = readLine(in)
	return password, false, err
}
