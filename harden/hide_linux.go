package main

import "syscall"

// hide makes the process unreadable to others of the same user: in the CGI
// door the password stands in its environment, and /proc/PID/environ shows it
// to every program of the web server's user unless the process is not dumpable
// (prctl(2), proc(5)). It also keeps passwords out of core files. Between the
// exec and this moment it can be read all the same; a program file that its
// user may not read (mode 0711, or set-group-id) is hidden by the kernel from
// the exec on.
func hide() {
	const setDumpable = 4 // PR_SET_DUMPABLE
	// It cannot fail with these arguments, and nothing could be done if it did.
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, setDumpable, 0, 0)
}
