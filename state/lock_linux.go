package state

import (
	"errors"
	"io"
	"os"
	"syscall"
)

// See fcntl(2). An open file description's lock holds against other goroutines that opened the file for themselves, as well as against other
// processes, and ends with its holder, however that dies. flock(2) would do for one lock in a file.
const fOFDSetLock = 37

// tryLock locks the byte n of a file, and reports whether it was free.
func tryLock(file *os.File, n int) (bool, error) {
	err := setLock(file, n, syscall.F_WRLCK)
	if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EACCES) {
		return false, nil
	}
	return err == nil, err
}

// unlock comes before the file is closed: a child that was forked a moment ago may still have it open.
func unlock(file *os.File, n int) {
	_ = setLock(file, n, syscall.F_UNLCK)
}

func setLock(file *os.File, n int, kind int16) error {
	lock := syscall.Flock_t{Type: kind, Whence: io.SeekStart, Start: int64(n), Len: 1}
	return os.NewSyscallError("fcntl", syscall.FcntlFlock(file.Fd(), fOFDSetLock, &lock))
}
