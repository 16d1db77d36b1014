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
	// sweepTime is how long a killed process may take to be gone. One that sits in an uninterruptible system call may take for ever.
	sweepTime = time.Second
	// sweepPause is the time between two looks.
	sweepPause = time.Millisecond
)

// burn puts the brand on this process; undo takes it off.
func (b brand) burn() (undo func(), err error) {
	var before syscall.Rlimit
	if err := syscall.Getrlimit(rlimitRTTime, &before); err != nil {
		return nil, fmt.Errorf("read limit RLIMIT_RTTIME: %w", err)
	}
	if err := syscall.Setrlimit(rlimitRTTime, &syscall.Rlimit{Cur: uint64(b), Max: before.Max}); err != nil {
		return nil, fmt.Errorf("set limit RLIMIT_RTTIME: %w\n  start the service without LimitRTTIME= (ulimit -R unlimited)", err)
	}
	return func() { _ = syscall.Setrlimit(rlimitRTTime, &before) }, nil
}

// sweep kills every process with the brand but this one, again until none is left, because they may fork in the meantime. It reaps those
// that are this process's children and says how many it could not end. own is for a process that holds one conversation and has no
// other children: then all that it has are the conversation's.
func (b brand) sweep(own bool) (left int) {
	begin := time.Now()
	killed := map[int]bool{}
	clean := 0 // looks in a row that found nobody
	for {
		pids := b.bearers(own)
		for _, pid := range pids {
			b.kill(pid, own)
			killed[pid] = true
		}
		reap(killed)
		clean++
		if len(pids) > 0 {
			clean = 0
		}
		if nobody(clean, own) || time.Since(begin) > sweepTime {
			return len(pids)
		}
		time.Sleep(sweepPause)
	}
}

// nobody says whether what looks found is the truth. A look takes a while, in which a process can fork behind its back and be gone when it is
// its turn. Whoever adopts what his descendants leave (adopt) knows better: without children there are no others. Who does not looks again.
func nobody(clean int, own bool) bool {
	const enough = 3
	if !own {
		return clean >= enough
	}
	reapAll()
	return clean > 0 && childless()
}

// bearers are the living processes with the brand but this one. One's own children need none: it may have been taken off, and where /proc is
// mounted with hidepid that of a child that runs set-id is hidden even from us. Their own children become ours when they are dead (adopt).
func (b brand) bearers(own bool) []int {
	var pids []int
	for _, pid := range numbered("/proc") {
		if pid != os.Getpid() && b.on(pid) && living(pid) {
			pids = append(pids, pid)
		}
	}
	if !own {
		return pids
	}
	for _, pid := range children() {
		if !slices.Contains(pids, pid) && !dead(pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// numbered are the names in a folder of /proc that are process or thread ids.
func numbered(folder string) []int {
	f, err := os.Open(folder)
	if err != nil {
		return nil
	}
	defer f.Close()
	names, _ := f.Readdirnames(-1)
	var ids []int
	for _, name := range names {
		if id, err := strconv.Atoi(name); err == nil {
			ids = append(ids, id)
		}
	}
	return ids
}

// children are this process's own, as far as the kernel tells (CONFIG_PROC_CHILDREN).
func children() []int { return childrenOf("self") }

func childrenOf(process string) []int {
	var pids []int
	for _, thread := range numbered("/proc/" + process + "/task") {
		list, _ := os.ReadFile("/proc/" + process + "/task/" + strconv.Itoa(thread) + "/children")
		for _, field := range bytes.Fields(list) {
			if pid, err := strconv.Atoi(string(field)); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

func (b brand) on(pid int) bool {
	limits, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/limits")
	return err == nil && bytes.Contains(limits, []byte(" "+strconv.FormatUint(uint64(b), 10)+" "))
}

// living is false for a zombie, which bears its brand until its parent collects it, and for one that cannot be seen.
func living(pid int) bool {
	state, seen := stateOf(pid)
	return seen && state != 'Z'
}

// dead is true for a zombie alone.
func dead(pid int) bool {
	state, seen := stateOf(pid)
	return seen && state == 'Z'
}

func stateOf(pid int) (state byte, seen bool) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	// pid (comm) state …: the name may hold anything, the state follows the last parenthesis (proc(5)).
	i := bytes.LastIndexByte(stat, ')')
	if err != nil || i < 0 || i+2 >= len(stat) {
		return 0, false
	}
	return stat[i+2], true
}

// kill looks again once it holds the process by a pidfd (os.FindProcess), so that a number used anew is not mistaken.
func (b brand) kill(pid int, own bool) {
	p, err := os.FindProcess(pid)
	if err != nil {
		return
	}
	defer func() { _ = p.Release() }()
	if b.on(pid) || own && slices.Contains(children(), pid) {
		_ = p.Kill()
	}
}

// reap collects the dead among pids that are children of this process. Those of others are not its to collect.
func reap(pids map[int]bool) {
	for pid := range pids {
		got, err := syscall.Wait4(pid, nil, syscall.WNOHANG|wall, nil)
		if got == pid || err == syscall.ECHILD {
			delete(pids, pid)
		}
	}
}

// reapAll collects whatever child is dead.
func reapAll() {
	for {
		if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG|wall, nil); pid <= 0 && err != syscall.EINTR {
			return
		}
	}
}

// childless says whether this process has no children, dead ones included: then nothing was left behind, at the price of one system call.
func childless() bool {
	_, _, errno := syscall.RawSyscall6(syscall.SYS_WAITID, waitAll, 0, 0, exited|syscall.WNOHANG|keep|wall, 0, 0)
	return errno == syscall.ECHILD
}
