package pamauth

import (
	"errors"
	"os"
	"syscall"
)

const (
	// prSetChildSubreaper is PR_SET_CHILD_SUBREAPER of <linux/prctl.h>.
	prSetChildSubreaper = 36
	// sysCloseRange and closeRangeCloexec are close_range(2), numbered alike on every architecture but alpha.
	sysCloseRange, closeRangeCloexec = 436, 4
	firstOwnFD                       = 3
)

// adopt makes this process the parent of every descendant whose own parent ends, so that childless sees those too.
func adopt() error {
	return prctl(prSetChildSubreaper, 1)
}

// harden keeps the password that is about to come in out of core files and other processes' reach, and descriptors out of what the modules run.
func harden() error {
	if err := prctl(syscall.PR_SET_DUMPABLE, 0); err != nil {
		return err
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}); err != nil {
		return os.NewSyscallError("setrlimit", err)
	}
	_, _, errno := syscall.RawSyscall(sysCloseRange, firstOwnFD, uintptr(^uint32(0)), closeRangeCloexec)
	if errno != 0 && !errors.Is(errno, errors.ErrUnsupported) && errno != syscall.EINVAL {
		return os.NewSyscallError("close_range", errno) // older kernels lack it (5.9) or the flag (5.11): Go's own descriptors are closed on exec anyway
	}
	return nil
}

func prctl(option, value uintptr) error {
	if _, _, errno := syscall.RawSyscall6(syscall.SYS_PRCTL, option, value, 0, 0, 0, 0); errno != 0 {
		return os.NewSyscallError("prctl", errno)
	}
	return nil
}

// aside moves a pipe from descriptor 0, 1 or 2 to a place where neither modules nor what they run can read or scribble, and puts
// another descriptor there instead.
func aside(pipe *os.File, instead int) (*os.File, error) {
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
