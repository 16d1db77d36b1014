package pamauth

import (
	"crypto/rand"
	"encoding/binary"
)

// processTag marks a process and all its descendants, so that they can be found and killed.
//
// The tree of parents is not enough: descendants of a crashed child belong to init, and pam_exec
// leaves session and process group. So a conversation sets the soft limit RLIMIT_RTTIME of its
// process to a random number. The limit is inherited across fork, exec and setsid, and
// /proc/PID/limits shows it to everyone. It has no effect without a real-time scheduling class, and
// there 2^40 µs are twelve days. Rejected: a control group, which needs rights; a variable in the
// environment, which modules replace.
type processTag uint64

// newProcessTag is between 2^61 and 2^62, unlike any other number in that file.
func newProcessTag() processTag {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	return processTag(1<<61 | binary.BigEndian.Uint64(b[:])>>3)
}
