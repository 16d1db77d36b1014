package pamauth

import (
	"crypto/rand"
	"encoding/binary"
)

// brand marks a process and all its descendants, so that they are found again whatever they did to get away.
//
// A tree of parents does not do: a descendant of a child that crashed belongs to init, and pam_exec leaves session and process group. So a
// conversation sets the soft limit RLIMIT_RTTIME of its process to a number of its own. The limit is inherited across fork, exec and
// setsid, /proc/PID/limits shows it to everyone, and it means nothing to a process without a real-time scheduling class (and there
// 2^40 µs are twelve days). Rejected: a control group, which needs rights; a mark in the environment, which modules replace.
type brand uint64

// newBrand is from 2^61 to 2^62: never mistaken for another number in that file.
func newBrand() brand {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	return brand(1<<61 | binary.BigEndian.Uint64(b[:])>>3)
}
