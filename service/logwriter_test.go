package service

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"dockerauth/config"
)

// disk stands in for one that fills up, since a real one takes a mount, which e2e makes: it takes
// so many bytes and then no more.
type disk struct {
	bytes.Buffer
	space int
}

func (d *disk) Write(p []byte) (int, error) {
	n := min(len(p), d.space)
	d.space -= n
	d.Buffer.Write(p[:n])
	if n < len(p) {
		return n, syscall.ENOSPC
	}
	return n, nil
}

func TestALineThatAnotherProcessIsWritingHasAnEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file, err := os.Create(filepath.Join(t.TempDir(), "log"))
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		write := func(text string) {
			if _, err := file.WriteString(text); err != nil {
				t.Error(err)
			}
		}
		write("a line that goes over")
		time.AfterFunc(10*time.Millisecond, func() { write(" two pages\n") })
		if endsMidLine(file.Name()) {
			t.Error("it has none")
		}
		write("the disk was full")
		if !endsMidLine(file.Name()) {
			t.Error("a line without an end has one")
		}
	})
}

func TestALineThatDoesNotFitTakesNoOtherAlong(t *testing.T) {
	for space := range 9 {
		d, said := &disk{space: 4 + space}, &bytes.Buffer{}
		l := newLogWriter(&logFile{Writer: d}, "auth.log", said, new(atomic.Uint64))
		for _, line := range []string{"one\n", "two\n", "three\n"} {
			_, _ = l.Write([]byte(line))
		}
		d.space = 100
		for _, line := range []string{"four\n", "five\n"} {
			if _, err := l.Write([]byte(line)); err != nil {
				t.Fatal(err)
			}
		}
		got := d.String()
		if !strings.HasPrefix(got, "one\n") || !strings.HasSuffix(got, "\nfour\nfive\n") {
			t.Errorf("with space for %d bytes more: %q", space, got)
		}
		if strings.Count(said.String(), "no space left on device") != 1 ||
			strings.Count(said.String(), "is writable again") != 1 {
			t.Errorf("with space for %d bytes more it was said: %q", space, said)
		}
	}
}

func TestAnotherProcessBeginsOnALineOfItsOwn(t *testing.T) {
	for before, want := range map[string]string{"": "line\n", "whole\n": "whole\nline\n", "to": "to\nline\n"} {
		path := filepath.Join(t.TempDir(), "auth.log")
		if before != "" {
			if err := os.WriteFile(path, []byte(before), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		l, err := openLog(path, os.Stderr, new(atomic.Uint64))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Write([]byte("line\n")); err != nil {
			t.Fatal(err)
		}
		if got, _ := os.ReadFile(path); string(got) != want {
			t.Errorf("after %q: %q, want %q", before, got, want)
		}
	}
}

func TestADeviceIsALogToo(t *testing.T) {
	said := &bytes.Buffer{}
	l, err := openLog("/dev/full", said, new(atomic.Uint64))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := l.Write([]byte("line\n")); err == nil {
			t.Fatal("written to a full device")
		}
	}
	if n := strings.Count(said.String(), "write log "); n != 1 || !strings.Contains(said.String(), "/dev/full") {
		t.Errorf("said %d times: %s", n, said)
	}
}

// stalledPipe is one that takes no more until it is read.
func stalledPipe(t *testing.T) (reader, writer *os.File) {
	t.Helper()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = reader.Close(), writer.Close() })
	return reader, writer
}

// fill writes lines until one is not taken, and returns how many were.
func fill(t *testing.T, l *logWriter) (written int) {
	t.Helper()
	for ; written < 10_000; written++ {
		if _, err := l.Write([]byte(strings.Repeat("x", 1000) + "\n")); err != nil {
			return written
		}
	}
	t.Fatal("the pipe is bottomless")
	return 0
}

func TestALogThatNobodyReadsHoldsNobodyUp(t *testing.T) {
	reader, writer := stalledPipe(t)
	var losses atomic.Uint64
	l := newStderrWriter(writer, &losses)
	l.timeout = 20 * time.Millisecond
	written := fill(t, l)
	l.timeout = time.Hour // only the first waits
	for range 50 {
		if _, err := l.Write([]byte("dropped\n")); err == nil {
			t.Fatal("a line was taken that cannot have been written")
		}
	}
	if !l.isDropping() || losses.Load() != 50 {
		t.Errorf("losing %v, %d lines lost, want 50", l.isDropping(), losses.Load())
	}
	in := bufio.NewScanner(reader)
	for range written + 1 { // the one that was late is not lost
		if !in.Scan() || strings.Trim(in.Text(), "x") != "" {
			t.Fatalf("got %q", in.Text())
		}
	}
	if _, err := l.Write([]byte("after\n")); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"dockerauth: standard error is writable again, 50 lines were dropped", "after"} {
		if !in.Scan() || in.Text() != want {
			t.Errorf("got %q, want %q", in.Text(), want)
		}
	}
	if l.isDropping() {
		t.Error("it still says that lines are lost")
	}
}

// slow is a writer that looks at its text after a while.
type slow struct {
	io.Writer
	pause time.Duration
}

func (s slow) Write(text []byte) (int, error) {
	time.Sleep(s.pause)
	return s.Writer.Write(text)
}

// Many lines at once take longer than the timeout on a slow disk, and none is lost.
func TestASlowLogLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var written bytes.Buffer
		var mu sync.Mutex
		var dropped atomic.Uint64
		l := newStderrWriter(slow{lockedWriter{&mu, &written}, logWriteTimeout / 10}, &dropped)
		var writers sync.WaitGroup
		for range 100 {
			writers.Go(func() { _, _ = l.Write([]byte("line\n")) })
		}
		writers.Wait()
		_, _ = l.Write([]byte("after all waits\n"))
		time.Sleep(time.Minute)
		mu.Lock()
		defer mu.Unlock()
		if n := strings.Count(written.String(), "\n"); n != 101 || dropped.Load() != 0 || l.isDropping() {
			t.Errorf("%d lines were written and %d dropped", n, dropped.Load())
		}
	})
}

// A line belongs to slog again when Write has returned, and may by then not be written.
func TestALateLineIsTheOneThatWasWritten(t *testing.T) {
	reader, writer := stalledPipe(t)
	l := newStderrWriter(writer, new(atomic.Uint64))
	in := bufio.NewScanner(reader)
	line := []byte("late\n")
	l.file.Writer = slow{writer, 20 * time.Millisecond}
	l.timeout = time.Millisecond
	if _, err := l.Write(line); err == nil {
		t.Fatal("it came back late")
	}
	copy(line, "oops\n")
	if in.Scan(); in.Text() != "late" {
		t.Fatalf("%q was written", in.Text())
	}
}

func TestANamedPipeIsALogWhileSomebodyReadsIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "auth.log")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := openLog(path, os.Stderr, new(atomic.Uint64))
	if !errors.Is(err, ErrNoReader) {
		t.Fatalf("a pipe that nobody reads: %v", err)
	}
	reader, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	said := &bytes.Buffer{}
	l, err := openLog(path, said, new(atomic.Uint64))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Write([]byte("line\n")); err != nil {
		t.Fatal(err)
	}
	var got [5]byte
	if _, err := reader.Read(got[:]); err != nil || string(got[:]) != "line\n" {
		t.Errorf("read %q, %v", got, err)
	}
	_ = reader.Close()
	if _, err := l.Write([]byte("line\n")); !errors.Is(err, syscall.EPIPE) ||
		!strings.Contains(said.String(), "broken pipe") {
		t.Errorf("when its reader has gone: %v, said %q", err, said)
	}
}

// What is found out when the service is put together has its place in config.yml, and a remedy.
func TestWhatCannotBeUsedIsNamedWithItsLine(t *testing.T) {
	for name, tt := range map[string]struct{ line, want, remedy string }{
		"a folder that all may change": {"", ":5: pam.confdir: ", "chmod go-w"},
		"a service without a file": {"pam: {service: nobody-has-this}", ":6: pam.service: ",
			"dockerauth init makes one"},
		"a state folder that is absent": {"state: absent", ":6: state: ", "install -d -o "},
		"a log that is a folder":        {"log: {file: pam.d}", ":6: log.file: ", "name a file in that folder"},
		"a log in what is no folder":    {"log: {file: cert.pem/auth.log}", ":6: log.file: ", "make the folder"},
		"a log in no folder":            {"log: {file: absent/auth.log}", ":6: log.file: ", "make the folder"},
		"a log that nobody reads":       {"log: {file: fifo}", ":6: log.file: ", "start what reads it first"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newAdminFixture(t)
			if err := syscall.Mkfifo(filepath.Join(s.dir, "fifo"), 0o600); err != nil {
				t.Fatal(err)
			}
			if tt.line == "" {
				if err := os.Chmod(filepath.Join(s.dir, "pam.d"), 0o777); err != nil {
					t.Fatal(err)
				}
			}
			text := fixtureConfig + tt.line + "\n"
			if strings.HasPrefix(tt.line, "pam:") {
				text = strings.Replace(fixtureConfig, "pam: {", "\npam: {service: nobody-has-this, ", 1)
			}
			s.write(t, "config.yml", text)
			err := s.reloader.reload()
			var errs config.Errors
			if !errors.As(err, &errs) {
				t.Fatalf("got %v", err)
			}
			for _, want := range []string{s.config + tt.want, tt.remedy} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
		})
	}
}

// A line that waits for the reader of the old pipe is not lost.
func TestAStalledLogGoesOnWhenItIsReopened(t *testing.T) {
	path := filepath.Join(t.TempDir(), "auth.log")
	pipe := func() *os.File {
		if err := syscall.Mkfifo(path, 0o600); err != nil {
			t.Fatal(err)
		}
		reader, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { reader.Close() })
		return reader
	}
	pipe()
	l, err := openLog(path, io.Discard, new(atomic.Uint64))
	if err != nil {
		t.Fatal(err)
	}
	l.timeout = 20 * time.Millisecond
	fill(t, l)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	reader := pipe()
	if err := reader.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewScanner(reader)
	if err := l.reopen(); err != nil {
		t.Fatal(err)
	}
	for in.Scan() {
		if strings.Trim(in.Text(), "x") == "" {
			return
		}
		t.Errorf("got %q", in.Text())
	}
	t.Error("the line is lost")
}

// Lines of many requests at once stay whole.
func TestLinesOfManyRequestsAreInAFileOnceEach(t *testing.T) {
	path := filepath.Join(t.TempDir(), "auth.log")
	l, err := openLog(path, io.Discard, new(atomic.Uint64))
	if err != nil {
		t.Fatal(err)
	}
	const writers, each = 16, 200
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			for n := range each {
				if _, err := fmt.Fprintf(l, "%d %d %s\n", w, n, strings.Repeat("x", w*n/8)); err != nil {
					t.Error(err)
				}
				if n == each/2 && w == 0 {
					if err := l.reopen(); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	all.Wait()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	next := make([]int, writers)
	for line := range strings.Lines(string(text)) {
		var w, n int
		if _, err := fmt.Sscan(line, &w, &n); err != nil || next[w] != n ||
			line != fmt.Sprintf("%d %d %s\n", w, n, strings.Repeat("x", w*n/8)) {
			t.Fatalf("%v: line %d of writer %d is %q", err, next[w], w, line)
		}
		next[w]++
	}
	for w, n := range next {
		if n != each {
			t.Errorf("%d lines of writer %d", n, w)
		}
	}
}

// hanging is a disk that hangs until it is let go on.
type hanging struct{ goOn chan struct{} }

func (h hanging) Write(text []byte) (int, error) {
	<-h.goOn
	return len(text), nil
}

func TestALogThatHangsHoldsUpNoRequestForLonger(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		disk := hanging{make(chan struct{})}
		w := newLogWriter(&logFile{Writer: disk}, "auth.log", &bytes.Buffer{}, new(atomic.Uint64))
		w.timeout = 50 * time.Millisecond
		log := newLogger(w, format, slog.LevelInfo)
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() { log.With("a", 1).WithGroup("b").Info("line") })
		}
		done := make(chan struct{})
		go func() {
			all.Wait()
			close(done)
		}()
		select {
		case <-done:
		case <-time.After(time.Minute):
			t.Fatalf("%s: requests wait without end", format)
		}
		if !w.isDropping() {
			t.Errorf("%s: no line is dropped", format)
		}
		close(disk.goOn)
	}
}
