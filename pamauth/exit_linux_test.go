package pamauth

import "syscall"

// exit leaves out what the race detector does on os.Exit: it waits a second, and the environment that could forbid it is empty.
func exit(status int) {
	_, _, _ = syscall.RawSyscall(syscall.SYS_EXIT_GROUP, uintptr(status), 0, 0)
}
