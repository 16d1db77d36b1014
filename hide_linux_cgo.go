//go:build linux && cgo

package main

/*
#include <sys/prctl.h>

// Before Go's runtime starts: that takes milliseconds, in which a program that
// waits for it could read the environment.
__attribute__((constructor)) static void hide_early(void) { prctl(PR_SET_DUMPABLE, 0); }
*/
import "C"
