package harden

import (
	"os"
	"strconv"
	"syscall"
)

const (
	// sysCloseRange and closeRangeCloexec are close_range(2), numbered alike on every architecture
	// but alpha.
	sysCloseRange, closeRangeCloexec = 436, 4
	firstOwnFD                       = 3
)

// Process makes this process fit for a password. It writes no core file, nor does what it starts;
// other processes of the same user cannot read it; and what it starts inherits no descriptors but
// the standard ones.
func Process() error {
	if err := setNotDumpable(); err != nil {
		return err
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}); err != nil {
		return os.NewSyscallError("setrlimit", err)
	}
	keepDescriptors()
	return nil
}

func setNotDumpable() error {
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_DUMPABLE, 0, 0); errno != 0 {
		return os.NewSyscallError("prctl", errno)
	}
	return nil
}

// keepDescriptors marks every descriptor but the standard ones to be closed on exec. Go does so
// for those that it opens; this is about what a web server or a service manager left open.
func keepDescriptors() {
	_, _, errno := syscall.RawSyscall(sysCloseRange, firstOwnFD, uintptr(^uint32(0)), closeRangeCloexec)
	if errno != 0 {
		keepEachDescriptor()
	}
}

// keepEachDescriptor is for kernels without close_range (5.9) or its flag (5.11), and for filters
// of system calls that do not know it.
func keepEachDescriptor() {
	descriptors, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return
	}
	for _, entry := range descriptors {
		if fd, err := strconv.Atoi(entry.Name()); err == nil && fd >= firstOwnFD {
			syscall.CloseOnExec(fd)
		}
	}
}
