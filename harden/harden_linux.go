package pamauth

import (
	"os"
	"sync/atomic"
	"syscall"
)

const (
	// prSetChildSubreaper is PR_SET_CHILD_SUBREAPER of <linux/prctl.h>.
	prSetChildSubreaper = 36
	// prSetNoNewPrivs is PR_SET_NO_NEW_PRIVS of <linux/prctl.h>.
	prSetNoNewPrivs = 38
	// sysCloseRange and closeRangeCloexec are close_range(2), numbered alike on every architecture but alpha.
	sysCloseRange, closeRangeCloexec = 436, 4
	firstOwnFD                       = 3
)

// adopt makes this process the parent of every descendant whose own parent ends, so that childless sees those too.
func adopt() error {
	return prctl(prSetChildSubreaper, 1)
}

// forgo keeps set-user-id, set-group-id and file capabilities from giving this thread, and what is started from it, rights that it does not have
// now. Those of a set-group-id install of this program stay, since they were given before. There is no way back.
func forgo() error {
	return prctl(prSetNoNewPrivs, 1)
}

// hardened is set by Harden.
var hardened atomic.Bool

// Harden makes this process fit for a password: no core file, of this process or of what it starts; out of reach for other processes of the
// same user; no descriptors but the standard ones for what it starts. And a conversation in this process, where no module needs a program
// with rights of its own, gives up the use of such programs (no_new_privs): a fault in a module then gains nothing from them. That stays with
// the conversation's thread, so it is for a process that ends soon after.
func Harden() error {
	hardened.Store(true)
	if err := prctl(syscall.PR_SET_DUMPABLE, 0); err != nil {
		return err
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}); err != nil {
		return os.NewSyscallError("setrlimit", err)
	}
	keepDescriptors()
	return nil
}

// keepDescriptors marks every descriptor but the standard ones to be closed on exec. Those that Go opened are; this is about what a web server or
// a service manager left open for this process.
func keepDescriptors() {
	_, _, errno := syscall.RawSyscall(sysCloseRange, firstOwnFD, uintptr(^uint32(0)), closeRangeCloexec)
	if errno != 0 {
		keepEachDescriptor()
	}
}

// keepEachDescriptor is for kernels without close_range (5.9) or its flag (5.11), and for filters of system calls that do not know it.
func keepEachDescriptor() {
	for _, fd := range numbered("/proc/self/fd") {
		if fd >= firstOwnFD {
			syscall.CloseOnExec(fd)
		}
	}
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
