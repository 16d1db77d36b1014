package pamauth

import (
	"os"
	"syscall"
)

const (
	// prSetChildSubreaper is PR_SET_CHILD_SUBREAPER of <linux/prctl.h>.
	prSetChildSubreaper = 36
	// prSetNoNewPrivs is PR_SET_NO_NEW_PRIVS of <linux/prctl.h>.
	prSetNoNewPrivs = 38
	firstOwnFD      = 3
)

// setSubreaper makes this process the parent of every descendant whose own parent ends, so that
// childless sees those too.
func setSubreaper() error {
	return prctl(prSetChildSubreaper, 1)
}

// setNoNewPrivs keeps set-user-id, set-group-id and file capabilities from giving this thread, and
// what is started from it, rights that it does not have now. Those of a set-group-id install of
// this program stay, since they were given before. There is no way back.
func setNoNewPrivs() error {
	return prctl(prSetNoNewPrivs, 1)
}

func prctl(option, value uintptr) error {
	if _, _, errno := syscall.RawSyscall6(syscall.SYS_PRCTL, option, value, 0, 0, 0, 0); errno != 0 {
		return os.NewSyscallError("prctl", errno)
	}
	return nil
}

// detachFD moves a pipe from descriptor 0, 1 or 2 to where neither modules nor what they run can
// read or write it, and puts another descriptor there instead.
func detachFD(pipe *os.File, instead int) (*os.File, error) {
	fd := int(pipe.Fd())
	moved, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_DUPFD_CLOEXEC, firstOwnFD)
	if errno != 0 {
		return nil, os.NewSyscallError("fcntl", errno)
	}
	if err := syscall.Dup3(instead, fd, 0); err != nil {
		return nil, os.NewSyscallError("dup3", err)
	}
	return os.NewFile(moved, pipe.Name()), nil
}
