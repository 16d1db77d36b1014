//go:build !linux

package state

import (
	"errors"
	"os"
)

// tryLock: POSIX record locks would not hold between goroutines, and are lost when any file descriptor of the file is closed.
func tryLock(*os.File, int) (bool, error) {
	return false, errors.New("a folder for state needs the file locks of Linux")
}

func unlock(*os.File, int) {}
