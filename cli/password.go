package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// maxPassword is how many bytes of a line are read. PAM takes 512.
const maxPassword = 1024

// ReadPassword reads a password from a terminal that does not show it, or else from the first line of
// in. typed says which.
func ReadPassword(in *os.File, out io.Writer, prompt string) (password string, typed bool, err error) {
	if isTerminal(in) {
		password, err = readHidden(in, out, prompt)
		return password, true, err
	}
	password, err = readLine(in)
	return password, false, err
}

// readLine reads byte by byte, so that what follows the line stays where it is.
func readLine(in io.Reader) (string, error) {
	var line []byte
	for one := make([]byte, 1); len(line) <= maxPassword; {
		n, err := in.Read(one)
		switch {
		case n == 1 && one[0] == '\n':
			return finished(line)
		case n == 1:
			line = append(line, one[0])
		case err == io.EOF:
			return finished(line)
		case err != nil:
			return "", err
		}
	}
	return "", fmt.Errorf("the line is longer than %d bytes", maxPassword)
}

func finished(line []byte) (string, error) {
	password := strings.TrimSuffix(string(line), "\r")
	if password == "" {
		return "", errors.New("the line is empty")
	}
	return password, nil
}
