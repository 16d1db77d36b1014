package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// maxPassword is how many bytes of a line are read. PAM takes 512.
const maxPassword = 1024

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
