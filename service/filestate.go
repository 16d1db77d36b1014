package service

import (
	"os"
	"slices"
	"syscall"
	"time"
)

// fileState tells a file from a changed or replaced one.
type fileState struct {
	device, inode uint64
	size          int64
	modified      time.Time
	changed       syscall.Timespec // its content, owner, mode or name; no program can set it back
	mode          os.FileMode
}

// stateOf is the zero fileState for a file that is not there. What lies in a folder does not belong
// to its state.
func stateOf(path string) fileState {
	info, err := os.Stat(path)
	if err != nil {
		return fileState{}
	}
	s := fileState{mode: info.Mode()}
	sys, ok := info.Sys().(*syscall.Stat_t)
	if ok {
		s.device, s.inode = uint64(sys.Dev), sys.Ino // Dev is narrower on some systems
	}
	if !info.IsDir() {
		s.size, s.modified = info.Size(), info.ModTime()
		if ok {
			s.changed = sys.Ctim
		}
	}
	return s
}

func statesOf(paths []string) []fileState {
	states := make([]fileState, len(paths))
	for i, path := range paths {
		states[i] = stateOf(path)
	}
	return states
}

// changedSince reports a file that was written while it was being read. One from the future says
// nothing: the clock was set.
func changedSince(files []fileState, began time.Time) bool {
	const grain = 10 * time.Millisecond // of the kernel's clock for files
	now := time.Now()
	return slices.ContainsFunc(files, func(s fileState) bool {
		return s.modified.After(began.Add(-grain)) && !s.modified.After(now)
	})
}
