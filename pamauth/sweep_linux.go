package pamauth

import (
	"bytes"
	"fmt"
	"os"
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
// that are this process's children and says how many it could not end.
func (b brand) sweep() (left int) {
	begin := time.Now()
	killed := map[int]bool{}
	for {
		pids := b.bearers()
		for _, pid := range pids {
			b.kill(pid)
			killed[pid] = true
		}
		reap(killed)
		if len(pids) == 0 || time.Since(begin) > sweepTime {
			return len(pids)
		}
		time.Sleep(sweepPause)
	}
}

// bearers are the living processes with the brand but this one.
func (b brand) bearers() []int {
	proc, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer proc.Close()
	names, _ := proc.Readdirnames(-1)
	var pids []int
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err == nil && pid != os.Getpid() && b.on(pid) && living(pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// living is false for a zombie, which bears its brand until its parent collects it.
func living(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	// pid (comm) state …: the name may hold anything, the state follows the last parenthesis (proc(5)).
	i := bytes.LastIndexByte(stat, ')')
	return i >= 0 && !bytes.HasPrefix(stat[i:], []byte(") Z"))
}

func (b brand) on(pid int) bool {
	limits, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/limits")
	return err == nil && bytes.Contains(limits, []byte(" "+strconv.FormatUint(uint64(b), 10)+" "))
}

// kill looks at the brand again once it holds the process by a pidfd (os.FindProcess), so that a number used anew is not mistaken.
func (b brand) kill(pid int) {
	p, err := os.FindProcess(pid)
	if err != nil {
		return
	}
	defer func() { _ = p.Release() }()
	if b.on(pid) {
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

// childless says whether this process has no children, dead ones included: then nothing was left behind, at the price of one system call.
func childless() bool {
	_, _, errno := syscall.RawSyscall6(syscall.SYS_WAITID, waitAll, 0, 0, exited|syscall.WNOHANG|keep|wall, 0, 0)
	return errno == syscall.ECHILD
}
