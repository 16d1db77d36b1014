package pamauth

import (
	"os"
	"syscall"
	"time"
)

// fileStamps tell whether /etc/passwd or /etc/shadow has changed.
type fileStamps [2]fileStamp

// fileStamp is zero for a file that cannot be looked at.
type fileStamp struct {
	device, inode uint64
	size          int64
	changed       int64 // ctime, which nobody can set, in nanoseconds since 1970
}

// passwdFile and shadowFile are what pam_unix reads. Tests change them.
var passwdFile, shadowFile = "/etc/passwd", "/etc/shadow"

func stampFiles() (stamps fileStamps) {
	for i, path := range []string{passwdFile, shadowFile} {
		info, err := os.Stat(path)
		if err != nil {
			continue
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			stamps[i] = fileStamp{uint64(stat.Dev), stat.Ino, stat.Size, stat.Ctim.Nano()}
		}
	}
	return stamps
}

// stampTick is longer than the kernel's clock for files stands still: a file written in place may
// be written again within it and keep its stamp.
const stampTick = 10 * time.Millisecond

// areSettled reports that none was written at about that time. A stamp from the future says
// nothing: the clock was set.
func (s fileStamps) areSettled(now time.Time) bool {
	for _, file := range s {
		if age := now.UnixNano() - file.changed; 0 <= age && age < int64(stampTick) {
			return false
		}
	}
	return true
}
