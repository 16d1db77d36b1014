package harden

// Hide makes the process unreadable to others of the same user. A CGI program gets the password
// in its environment, and /proc/PID/environ shows that to every program of the web server's user
// unless the process is not dumpable (prctl(2), proc(5)). It also keeps passwords out of core
// files. Between the exec and this call the process can be read all the same; the kernel hides a
// program file that its user may not read (mode 0711, or set-group-id) from the exec on.
func Hide() {
	_ = setNotDumpable() // it cannot fail with these arguments
}
