package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// processSnapshot is the resource use of a service and its descendants.
type processSnapshot struct {
	rss      int64 // bytes resident (RSS) in the service's own process
	totalPSS int64 // bytes of it and all its descendants together (PSS)
	fds      int   // open in the service's own process
	threads  int   // of it
	children int   // descendants, zombies among them
	zombies  int
}

// takeSnapshot measures a process and its descendants. Their memory is summed as PSS, in
// which a page shared by n processes counts 1/n for each: all run the same program, and RSS would
// count its code once for each. The service's own memory is RSS, as in ps. Both need root, since
// the processes are protected (PR_SET_DUMPABLE).
func takeSnapshot(pid int) (processSnapshot, error) {
	own := procFolder(pid)
	fds, err := os.ReadDir(own + "/fd")
	if err != nil {
		return processSnapshot{}, err
	}
	status, err := os.ReadFile(own + "/status")
	if err != nil {
		return processSnapshot{}, err
	}
	s := processSnapshot{fds: len(fds), rss: kilobytes(status, "VmRSS:"), threads: int(field(status, "Threads:")),
		totalPSS: pss(pid)}
	title, _ := os.ReadFile(own + "/cmdline")
	for _, d := range descendants(pid) {
		s.children++
		if d.zombie {
			s.zombies++
			continue
		}
		// Between vfork and exec a child has its parent's memory and title, and would count twice.
		if t, _ := os.ReadFile(procFolder(d.pid) + "/cmdline"); !bytes.Equal(t, title) {
			s.totalPSS += pss(d.pid)
		}
	}
	return s, nil
}

func procFolder(pid int) string { return fmt.Sprintf("/proc/%d", pid) }

// pss is 0 for a process that has ended.
func pss(pid int) int64 {
	rollup, err := os.ReadFile(procFolder(pid) + "/smaps_rollup")
	if err != nil {
		return 0
	}
	return kilobytes(rollup, "Pss:")
}

// peakRSS is the peak resident size of a process, which sampling could miss.
func peakRSS(t testing.TB, pid int) int64 {
	t.Helper()
	return kilobytes([]byte(readFile(t, procFolder(pid)+"/status")), "VmHWM:")
}

func kilobytes(file []byte, name string) int64 { return field(file, name) << 10 }

// field is a number in a file of lines "Name: number".
func field(file []byte, name string) int64 {
	for line := range bytes.Lines(file) {
		if rest, ok := bytes.CutPrefix(line, []byte(name)); ok {
			n, _ := strconv.ParseInt(strings.Fields(string(rest))[0], 10, 64)
			return n
		}
	}
	return 0
}

type descendant struct {
	pid    int
	zombie bool
}

// descendants are the children of a process, their children, and so on.
func descendants(pid int) []descendant {
	children := make(map[int][]descendant)
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		// proc(5): pid (name) state ppid …; the name may hold anything.
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		id, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		parent, _ := strconv.Atoi(fields[1])
		children[parent] = append(children[parent], descendant{id, fields[0] == "Z"})
	}
	var all []descendant
	for next := children[pid]; len(next) > 0; next = next[1:] {
		all = append(all, next[0])
		next = append(next, children[next[0].pid]...)
	}
	return all
}

// maxSnapshot is the maximum of each value.
func maxSnapshot(a, b processSnapshot) processSnapshot {
	return processSnapshot{max(a.rss, b.rss), max(a.totalPSS, b.totalPSS), max(a.fds, b.fds), max(a.threads, b.threads),
		max(a.children, b.children), max(a.zombies, b.zombies)}
}

// watcher takes snapshots of a service during a test.
type watcher struct {
	t    testing.TB
	pid  int
	stop chan struct{}
	done chan struct{}

	mu   sync.Mutex
	peak processSnapshot // since the last take
	ever processSnapshot
}

// watch takes a snapshot at every interval. It ends with the test at the latest.
func watch(t testing.TB, pid int, every time.Duration) *watcher {
	t.Helper()
	w := &watcher{t: t, pid: pid, stop: make(chan struct{}), done: make(chan struct{})}
	w.look()
	go func() {
		defer close(w.done)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-w.stop:
				return
			case <-tick.C:
				w.look()
			}
		}
	}()
	t.Cleanup(w.end)
	return w
}

func (w *watcher) look() {
	s, err := takeSnapshot(w.pid)
	if err != nil {
		w.t.Errorf("look at process %d: %v", w.pid, err)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.peak, w.ever = maxSnapshot(w.peak, s), maxSnapshot(w.ever, s)
}

// take returns the maximum since the last take, from at least one snapshot.
func (w *watcher) take() processSnapshot {
	w.look()
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.peak
	w.peak = processSnapshot{}
	return s
}

// end stops the watcher and may be called again.
func (w *watcher) end() {
	select {
	case <-w.stop:
	default:
		close(w.stop)
	}
	<-w.done
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }
