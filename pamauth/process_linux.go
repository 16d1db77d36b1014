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

// setSubreaper makes this process the parent of every orphaned descendant, so that hasNoChildren
// covers those too.
func setSubreaper() error {
	return prctl(prSetChildSubreaper, 1)
}

// setNoNewPrivs keeps set-user-id, set-group-id and file capabilities from giving this thread, and
// what it starts, more rights than it has now. The rights of a set-group-id dockerauth stay, since
// the process has them already. It cannot be undone.
func setNoNewPrivs() error {
	return prctl(prSetNoNewPrivs, 1)
}

func prctl(option, value uintptr) error {
	if _, _, errno := syscall.RawSyscall6(syscall.SYS_PRCTL, option, value, 0, 0, 0, 0); errno != 0 {
		return os.NewSyscallError("prctl", errno)
	}
	return nil
}

// detachFD moves descriptor 0, 1 or 2 to one that programs do not inherit and modules do not know,
// and puts replacement in its place.
func detachFD(f *os.File, replacement int) (*os.File, error) {
	fd := int(f.Fd())
	moved, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_DUPFD_CLOEXEC, firstOwnFD)
	if errno != 0 {
		return nil, os.NewSyscallError("fcntl", errno)
	}
	if err := syscall.Dup3(replacement, fd, 0); err != nil {
		return nil, os.NewSyscallError("dup3", err)
	}
	return os.NewFile(moved, f.Name()), nil
}
