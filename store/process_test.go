package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// counts counts what writers said: "started k", "done k".
type counts struct {
	mu     sync.Mutex
	counts map[string]int
}

func (c *counts) add(line string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts == nil {
		c.counts = map[string]int{}
	}
	word, _, _ := strings.Cut(line, " ")
	c.counts[word]++
	c.counts[line]++
}

func start(t *testing.T, args ...string) (cmd *exec.Cmd, lines *bufio.Scanner) {
	t.Helper()
	cmd = exec.Command(os.Args[0], args...)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe() // which ends with the test, at the latest
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stdin.Close() })
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewScanner(stdout)
}

func number(t *testing.T, s Store, key string) (n int) {
	t.Helper()
	if value := get(t, s, key); value != "none" {
		if _, err := fmt.Sscan(value, &n); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

var sharedKeys = []string{"alice", "bob", "carol"}

// write runs processes that each count every shared key up so often, and returns what they said.
func write(t *testing.T, f *Folder, name string, processes, times int) *counts {
	t.Helper()
	said := &counts{}
	var all sync.WaitGroup
	for range processes {
		cmd, lines := start(t, append([]string{writerArgument, f.path, name}, slices.Repeat(sharedKeys, times)...)...)
		all.Go(func() {
			for lines.Scan() {
				said.add(lines.Text())
			}
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	return said
}

func TestTenProcessesCountExactly(t *testing.T) {
	const processes, times = 10, 30
	f := newFolder(t)
	for name, s := range stores(f) {
		write(t, f, name, processes, times)
		for _, key := range sharedKeys {
			if got := number(t, s, key); got != processes*times {
				t.Errorf("%s: %s: %d, want %d", name, key, got, processes*times)
			}
		}
	}
}

// A writer that dies has done its last update or not. What it said to be done is there.
func TestWritersThatAreKilledCostNothing(t *testing.T) {
	const writers, lives = 5, 8
	f := newFolder(t)
	for name, s := range stores(f) {
		var said counts
		var wg sync.WaitGroup
		for range writers {
			wg.Go(func() {
				for range lives {
					liveAndDie(t, f.path, name, &said)
				}
			})
		}
		wg.Wait()
		for _, key := range sharedKeys {
			got, done, started := number(t, s, key), said.counts["done "+key], said.counts["started "+key]
			if got < done || got > started || done == 0 {
				t.Errorf("%s: %s: %d, want at least the %d done and at most the %d started", name, key, got, done,
					started)
			}
			put(t, s, key, "after", time.Now().Add(time.Hour))
			expect(t, s, key, "after")
		}
		if said.counts["reported"] > 0 {
			t.Errorf("%s: damage was reported", name)
		}
	}
	f.Close()
	if files := glob(t, f, "*"); len(files) != 7 {
		t.Errorf("files: %q", files)
	}
}

// What readers see is never older than what they saw before.
func TestAReaderSeesOneStateOrTheNext(t *testing.T) {
	f := newFolder(t)
	const processes, times = 2, 100
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		write(t, f, "counters", processes, times)
	}()
	for last, over := 0, false; !over; {
		select {
		case <-ended:
			over = true
		default:
		}
		n := number(t, f.Counters(), sharedKeys[0])
		if n < last || over && n != processes*times {
			t.Errorf("%d after %d", n, last)
			break
		}
		last = n
	}
	<-ended
}

// liveAndDie kills a writer when it has said some things.
func liveAndDie(t *testing.T, folder, name string, said *counts) {
	cmd, lines := start(t, append([]string{writerArgument, folder, name}, slices.Repeat(sharedKeys, 1000)...)...)
	for n := 1 + rand.N(40); n > 0 && lines.Scan(); n-- {
		said.add(lines.Text())
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	for lines.Scan() { // it may have said more before it died
		said.add(lines.Text())
	}
	var end *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &end) || end.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("it ended otherwise: %v", err)
	}
}

func glob(t *testing.T, f *Folder, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(f.path, pattern))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// All calls of a process wait for the same second, not one after the other.
func TestAHolderThatIsStoppedCostsOthersAnErrorUntilItDies(t *testing.T) {
	f := newFolder(t)
	until := time.Now().Add(time.Hour)
	f.kept.updateTimeout = lockTimeout
	for name, s := range stores(f) {
		put(t, s, "k", "x", until)
		cmd, lines := start(t, holderArgument, f.path, name, "k")
		defer func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}()
		if !lines.Scan() {
			t.Fatal("it does not hold")
		}
		if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if err := update(s, "k", increment(until)); !errors.Is(err, errBusy) ||
					!strings.Contains(err.Error(), f.path) {
					t.Errorf("%s: while it holds: %v", name, err)
				}
			})
		}
		all.Wait()
		if took := time.Since(began); took > 2*lockTimeout {
			t.Errorf("%s: that took %s", name, took)
		}
		expect(t, s, "k", "x")
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		put(t, s, "k", "y", until)
		expect(t, s, "k", "y")
	}
}

// A limit for the size of files stands for a full disk: here as there a write ends in the middle.
func TestAWriteThatFailsInTheMiddleChangesNothing(t *testing.T) {
	folder := inChild(t)
	if folder == "" {
		return
	}
	signal.Ignore(syscall.SIGXFSZ) // which a full disk does not send
	for _, name := range []string{"counters", "kept"} {
		f := reopen(t, folder)
		s, until := stores(f)[name], time.Now().Add(time.Hour)
		put(t, s, "k", "x", until)
		put(t, s, "k", "y", until)
		for _, inTheMiddle := range []uint64{0, 8, 64, 4096, 9000} {
			before := limitFiles(t, inTheMiddle)
			err := update(s, "k", func([]Record) []Record { return []Record{{make([]byte, MaxValue), until}} })
			limitFiles(t, before)
			if err == nil || !strings.Contains(err.Error(), f.path) {
				t.Errorf("error %v", err)
			}
			expect(t, s, "k", "y")
		}
		put(t, s, "k", hundred, until)
		expect(t, s, "k", hundred)
	}
}

// limitFiles returns the limit that was.
func limitFiles(t *testing.T, size uint64) uint64 {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	before := limit.Cur
	limit.Cur = size
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	return before
}

func TestAFolderThatCannotBeWrittenIsAnErrorUntilItCan(t *testing.T) {
	folder := inChild(t)
	if folder == "" {
		return
	}
	dropRoot(t, folder)
	f := reopen(t, folder)
	until := time.Now().Add(time.Hour)
	for _, s := range stores(f) {
		put(t, s, "k", "x", until)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	mode := func(folder, file os.FileMode) {
		err := os.Chmod(f.path, folder)
		for _, path := range glob(t, f, "*") {
			err = errors.Join(err, os.Chmod(path, file))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	mode(0o500, 0o400)
	for name, s := range stores(f) {
		err := update(s, "k", increment(until))
		if err == nil || !strings.Contains(err.Error(), f.path) {
			t.Errorf("%s: %v", name, err)
		}
	}
	mode(0o700, 0o600)
	for _, s := range stores(f) {
		expect(t, s, "k", "x")
		put(t, s, "k", "y", until)
	}
}

const nobody = 65534

// dropRoot changes the process to an ordinary account, which owns the folder.
func dropRoot(t *testing.T, folder string) {
	t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	if err := os.Chown(folder, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	for dir := filepath.Dir(folder); dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Setgroups(nil); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setgid(nobody); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setuid(nobody); err != nil {
		t.Fatal(err)
	}
}

// Processes that find the same damage at once replace it once, and count on together.
func TestProcessesThatFindDamageAtOnceReplaceItOnce(t *testing.T) {
	const processes, times = 10, 5
	f := newFolder(t)
	for range 3 {
		put(t, f.Counters(), "k", "x", time.Now().Add(time.Hour))
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(f.counters.path(), []byte("garbage"), 0o600); err != nil {
			t.Fatal(err)
		}
		said := write(t, f, "counters", processes, times)
		if said.counts["reported"] != 1 {
			t.Errorf("%d processes replaced it", said.counts["reported"])
		}
		for _, key := range sharedKeys {
			if got := number(t, f.Counters(), key); got != processes*times {
				t.Errorf("%s: %d, want %d", key, got, processes*times)
			}
		}
	}
}

// The log of changes is cut back while many processes read and write without a pause.
func TestTheLogOfChangesStaysSmall(t *testing.T) {
	const most = 4 << 20
	f := newFolder(t)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		write(t, f, "counters", 3, 100)
	}()
	value := strings.Repeat("r", MaxValue)
	for i, over := 0, false; !over; i++ {
		select {
		case <-ended:
			over = true
		default:
		}
		put(t, f.Counters(), fmt.Sprint(i%100), value[:MaxValue-i%2], time.Now().Add(time.Hour))
		if info, err := os.Stat(f.counters.path() + "-wal"); err == nil && info.Size() > most {
			t.Fatalf("after %d updates it has %d bytes", i, info.Size())
		}
	}
}

// A slow disk holds up the updates of kept records, and so does another process. A login that only
// reads waits for neither.
func TestReadsOfKeptRecordsDoNotWaitForUpdates(t *testing.T) {
	f := newFolder(t)
	kept, until := f.Kept(), time.Now().Add(time.Hour)
	put(t, kept, "k", "x", until)
	expectReads := func(while string) {
		t.Helper()
		began := time.Now()
		for range 10 {
			expect(t, kept, "k", "x")
			if err := kept.List(t.Context(), "", func(string, Record) bool { return true }); err != nil {
				t.Error(err)
			}
		}
		if took := time.Since(began); took > lockTimeout {
			t.Errorf("while %s: that took %s", while, took)
		}
	}

	inside, leave := make(chan bool), make(chan bool)
	end := sync.OnceFunc(func() { close(leave) })
	defer end() // also if a read fails, so that the folder can be closed
	ended := make(chan error, 1)
	go func() {
		ended <- update(kept, "l", func(old []Record) []Record {
			inside <- true
			<-leave
			return old
		})
	}()
	<-inside
	expectReads("an update of this process goes on")
	end()
	if err := <-ended; err != nil {
		t.Error(err)
	}

	cmd, lines := start(t, holderArgument, f.path, "kept", "k")
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	if !lines.Scan() {
		t.Fatal("it does not hold")
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { ended <- kept.Update(ctx, []string{"l"}, increment(until)) }()
	waitFor(t, "the update", func() bool { return len(f.kept.slot) == 1 })
	expectReads("an update of this process waits for another one's")
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the update that waits: %v", err)
	}
}
