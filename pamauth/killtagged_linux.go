package pamauth

import (
	"bytes"
	"os"
	"strconv"
	"syscall"
	"time"
)

const (
	// wall is __WALL of <linux/wait.h>.
	wall = 0x40000000
	// killTimeout is how long to wait for killed processes. One in an uninterruptible system call
	// may never end.
	killTimeout = time.Second
	// scanPause is the time between two scans of /proc.
	scanPause = time.Millisecond
	// cleanScans is how many scans in a row must find nothing.
	cleanScans = 3
)

func hasTag(pid int, tag processTag) bool {
	limits, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/limits")
	return err == nil && bytes.Contains(limits, []byte(" "+strconv.FormatUint(uint64(tag), 10)+" "))
}

// killTagged kills every process with the tag, and reaps its own children. It repeats that until
// several scans in a row find nothing, because processes may fork meanwhile, and during a scan one
// can fork and end before it is looked at. It returns how many are left after killTimeout.
//
// It is for what a crashed or stuck child leaves behind. A child that ends by itself, as the parent
// of all its orphaned descendants, knows for sure.
func killTagged(tag processTag) (left int) {
	start := time.Now()
	killed := map[int]bool{}
	clean := 0 // scans in a row that found nothing
	for {
		pids := taggedProcesses(tag)
		for _, pid := range pids {
			killOne(pid, tag)
			killed[pid] = true
		}
		reap(killed)
		clean++
		if len(pids) > 0 {
			clean = 0
		}
		if clean >= cleanScans || time.Since(start) > killTimeout {
			return len(pids)
		}
		time.Sleep(scanPause)
	}
}

// taggedProcesses are the running processes with the tag but this one.
func taggedProcesses(tag processTag) []int {
	var pids []int
	for _, pid := range numericNames("/proc") {
		if pid != os.Getpid() && hasTag(pid, tag) && isRunning(pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// killOne looks again once it has a pidfd (os.FindProcess): the process id may have been reused.
func killOne(pid int, tag processTag) {
	p, err := os.FindProcess(pid)
	if err != nil {
		return
	}
	defer func() { _ = p.Release() }()
	if hasTag(pid, tag) {
		_ = p.Kill()
	}
}

// reap collects those of pids that are zombies and children of this process.
func reap(pids map[int]bool) {
	for pid := range pids {
		got, err := syscall.Wait4(pid, nil, syscall.WNOHANG|wall, nil)
		if got == pid || err == syscall.ECHILD {
			delete(pids, pid)
		}
	}
}
