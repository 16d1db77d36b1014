package pamauth

import "syscall"

// exit skips the second that the race detector waits in os.Exit: the environment is empty, which
// could forbid it.
func exit(status int) {
	_, _, _ = syscall.RawSyscall(syscall.SYS_EXIT_GROUP, uintptr(status), 0, 0)
}
