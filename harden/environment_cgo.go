//go:build linux && cgo

package harden

/*
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

extern char **environ;

// Before Go's runtime starts: that takes milliseconds, in which a program that
// waits for it could read the environment.
__attribute__((constructor)) static void hide_early(void) { prctl(PR_SET_DUMPABLE, 0); }

static void forget(void)
{
	for (char **e = environ; e != NULL && *e != NULL; e++)
		memset(*e, 0, strlen(*e));
	clearenv();
}
*/
import "C"

// ForgetEnvironment overwrites what the process was started with. os.Clearenv takes the variables
// away from C, but /proc/PID/environ shows the memory in which the kernel put them, to root and to
// modules in this process. Programs that list processes, and crash reports, send that around.
// Go copies the variables at the start: os.Environ still returns them.
func ForgetEnvironment() { C.forget() }
