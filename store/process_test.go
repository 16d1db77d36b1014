package store

import (
	"bufio"
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
	if record := get(t, s, key); record != "none" {
		if _, err := fmt.Sscan(record, &n); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

var sharedKeys = []string{"alice", "bob", "carol"}

// repeat returns the shared keys so often.
func repeat(times int) (keys []string) {
	for range times {
		keys = append(keys, sharedKeys...)
	}
	return keys
}

func TestTenProcessesCountExactly(t *testing.T) {
	const processes, times = 10, 30
	f := newFolder(t)
	var all []*exec.Cmd
	for range processes {
		cmd, _ := start(t, append([]string{writerArgument, f.path}, repeat(times)...)...)
		all = append(all, cmd)
	}
	for _, cmd := range all {
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
	for _, key := range sharedKeys {
		if got := number(t, f, key); got != processes*times {
			t.Errorf("%s: %d, want %d", key, got, processes*times)
		}
	}
}

// A writer that dies has done its last update or not; it takes nothing with it and leaves nothing
// behind that the next does not clear away.
func TestWritersThatAreKilledCostNothing(t *testing.T) {
	const writers, lives = 5, 8
	f := newFolder(t)
	var said counts
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range lives {
				liveAndDie(t, f.path, &said)
			}
		})
	}
	wg.Wait()
	for _, key := range sharedKeys {
		got, done, started := number(t, f, key), said.counts["done "+key], said.counts["started "+key]
		if got < done || got > started || done == 0 {
			t.Errorf("%s: %d, want at least the %d done and at most the %d started", key, got, done, started)
		}
		put(t, f, key, "after", time.Now().Add(time.Hour))
		expect(t, f, key, "after")
	}
	if files := glob(t, f, "*"); len(files) > len(sharedKeys) {
		t.Errorf("files: %q", files)
	}
}

// Readers take no lock: what they see is whole all the same, also in a file of many pages, and
// never older than what they saw before. The first writes only append to what stands in the slot,
// so that a reader who is late finds the header's sum right.
func TestAReaderSeesOneStateOrTheNext(t *testing.T) {
	f := newFolder(t)
	keys := keysOfOneShard(100)
	for _, key := range keys[1:] {
		put(t, f, key, strings.Repeat("r", MaxRecord), time.Now().Add(time.Hour))
	}
	put(t, f, keys[0], "1", time.Now().Add(time.Hour))
	const writers, times = 2, 300
	var all []*exec.Cmd
	for range writers {
		cmd, _ := start(t, append([]string{writerArgument, f.path}, slices.Repeat(keys[:1], times)...)...)
		all = append(all, cmd)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for _, cmd := range all {
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
		}
	}()
	for last, over := 1, false; !over; {
		select {
		case <-ended:
			over = true
		default:
		}
		n := number(t, f, keys[0])
		if n < last || over && n != 1+writers*times {
			t.Errorf("%d after %d", n, last)
			break
		}
		last = n
	}
	<-ended
}

// liveAndDie kills a writer when it has said some things.
func liveAndDie(t *testing.T, folder string, said *counts) {
	cmd, lines := start(t, append([]string{writerArgument, folder}, repeat(1000)...)...)
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

func TestAHolderThatIsStoppedCostsOthersAnErrorUntilItDies(t *testing.T) {
	f := newFolder(t)
	until := time.Now().Add(time.Hour)
	put(t, f, "k", "x", until)
	cmd, lines := start(t, holderArgument, f.path, "k")
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
	err := f.Update("k", increment(until))
	if !errors.Is(err, errBusy) || !strings.Contains(err.Error(), f.path) {
		t.Errorf("while it holds: %v", err)
	}
	expect(t, f, "k", "x")
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	put(t, f, "k", "y", until)
	expect(t, f, "k", "y")
}

// A limit for the size of files stands for a full disk: here as there a write ends in the middle.
func TestAWriteThatFailsInTheMiddleChangesNothing(t *testing.T) {
	folder := inChild(t)
	if folder == "" {
		return
	}
	signal.Ignore(syscall.SIGXFSZ) // which a full disk does not send
	f := reopen(t, folder)
	until := time.Now().Add(time.Hour)
	put(t, f, "k", "x", until)
	put(t, f, "k", "y", until) // into the second slot; the next goes into the first
	for _, inTheMiddle := range []uint64{0, 8, 64, 90} {
		before := limitFiles(t, inTheMiddle)
		err := f.Update("k", func([]byte) ([]byte, time.Time) { return []byte(hundred), until })
		limitFiles(t, before)
		if !errors.Is(err, syscall.EFBIG) || !strings.Contains(err.Error(), shardOf(f, "k")) {
			t.Errorf("error %v", err)
		}
		expect(t, f, "k", "y")
	}
	put(t, f, "k", hundred, until)
	expect(t, f, "k", hundred)
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

func TestAFolderThatCannotBeWrittenIsAnErrorAndStillRead(t *testing.T) {
	folder := inChild(t)
	if folder == "" {
		return
	}
	dropRoot(t, folder)
	f := reopen(t, folder)
	until := time.Now().Add(time.Hour)
	put(t, f, "k", "x", until)
	if err := errors.Join(os.Chmod(f.path, 0o500), os.Chmod(shardOf(f, "k"), 0o400)); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"k", "new"} {
		err := f.Update(key, increment(until))
		if !errors.Is(err, os.ErrPermission) || !strings.Contains(err.Error(), shardOf(f, key)) {
			t.Errorf("%s: %v", key, err)
		}
	}
	expect(t, f, "k", "x")
	expect(t, f, "new", "none")
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
