package pamauth

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"syscall"
	"time"
)

const (
	// rlimitRTTime is RLIMIT_RTTIME of <asm-generic/resource.h>, the same on every architecture.
	rlimitRTTime = 15
	// waitAll, exited, keep and wall are P_ALL, WEXITED, WNOWAIT and __WALL of <linux/wait.h>.
	waitAll, exited, keep, wall = 0, 4, 0x01000000, 0x40000000
	// killTimeout is how long to wait for killed processes. One in an uninterruptible system call
	// may never end.
	killTimeout = time.Second
	// scanPause is the time between two scans of /proc.
	scanPause = time.Millisecond
	// cleanScans is how many scans in a row must find nothing, where nothing else proves it.
	cleanScans = 3
)

// setTag tags this process; reset removes the tag.
func setTag(tag processTag) (reset func(), err error) {
	var before syscall.Rlimit
	if err := syscall.Getrlimit(rlimitRTTime, &before); err != nil {
		return nil, fmt.Errorf("read limit RLIMIT_RTTIME: %w", err)
	}
	if err := syscall.Setrlimit(rlimitRTTime, &syscall.Rlimit{Cur: uint64(tag), Max: before.Max}); err != nil {
		return nil, fmt.Errorf("set limit RLIMIT_RTTIME: %w\n"+
			"  start the service without LimitRTTIME= (ulimit -R unlimited)", err)
	}
	return func() { _ = syscall.Setrlimit(rlimitRTTime, &before) }, nil
}

func hasTag(pid int, tag processTag) bool {
	limits, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/limits")
	return err == nil && bytes.Contains(limits, []byte(" "+strconv.FormatUint(uint64(tag), 10)+" "))
}

// killTagged kills every process with the tag but this one, and reaps its own children. It repeats
// that until none is left, because processes may fork meanwhile, and returns how many are left
// after killTimeout. own = this process runs one conversation and has no other children, so that
// all its children are the conversation's.
func killTagged(tag processTag, own bool) (left int) {
	start := time.Now()
	killed := map[int]bool{}
	clean := 0 // scans in a row that found nothing
	for {
		pids := taggedProcesses(tag, own)
		for _, pid := range pids {
			killOne(pid, tag, own)
			killed[pid] = true
		}
		reap(killed)
		clean++
		if len(pids) > 0 {
			clean = 0
		}
		if isClear(clean, own) || time.Since(start) > killTimeout {
			return len(pids)
		}
		time.Sleep(scanPause)
	}
}

// isClear reports whether clean scans prove that no process is left. During a scan a process can
// fork and end before it is looked at. A subreaper (setSubreaper) knows better: without children
// there are no descendants. Without one, the scan is repeated.
func isClear(clean int, own bool) bool {
	if !own {
		return clean >= cleanScans
	}
	reapAll()
	return clean > 0 && hasNoChildren()
}

// taggedProcesses are the running processes with the tag but this one. own adds this process's
// children without a tag: they may have removed it, and with hidepid /proc hides the tag of a
// set-id child. Orphaned grandchildren become children (setSubreaper).
func taggedProcesses(tag processTag, own bool) []int {
	var pids []int
	for _, pid := range numericNames("/proc") {
		if pid != os.Getpid() && hasTag(pid, tag) && isRunning(pid) {
			pids = append(pids, pid)
		}
	}
	if !own {
		return pids
	}
	for _, pid := range childrenOf("self") {
		if !slices.Contains(pids, pid) && stateOf(pid) != 'Z' { // /proc may hide its state
			pids = append(pids, pid)
		}
	}
	return pids
}

// killOne looks again once it has a pidfd (os.FindProcess): the process id may have been reused.
func killOne(pid int, tag processTag, own bool) {
	p, err := os.FindProcess(pid)
	if err != nil {
		return
	}
	defer func() { _ = p.Release() }()
	if hasTag(pid, tag) || own && slices.Contains(childrenOf("self"), pid) {
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

// reapAll collects all zombies of this process.
func reapAll() {
	for {
		if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG|wall, nil); pid <= 0 && err != syscall.EINTR {
			return
		}
	}
}

// hasNoChildren reports that this process has no children, zombies included. It takes one system
// call.
func hasNoChildren() bool {
	_, _, errno := syscall.RawSyscall6(syscall.SYS_WAITID, waitAll, 0, 0, exited|syscall.WNOHANG|keep|wall, 0, 0)
	return errno == syscall.ECHILD
}
