package e2e

import (
	"bufio"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// The log goes through a pipe to somebody who reads it: cronolog, a collector, journald.
func readerTests() []faultTest {
	named := faultOptions{prepare: logToPipe, config: logInPipe}
	standard := faultOptions{prepare: standardErrorToPipe, config: logToStandardError}
	return []faultTest{
		{name: "the reader of the log stops", frontend: httpFrontend, options: named, run: runReaderStops},
		{name: "the reader of the log stops", frontend: nginxFastCGI, options: named, run: runReaderStops, long: true},
		{name: "the reader of the log stops", frontend: apacheFcgid, options: named, run: runReaderStops, long: true},
		{name: "the reader of the log stops", frontend: apacheCGI, options: named, run: runReaderStops, long: true},
		{name: "the reader of the log goes", frontend: httpFrontend, options: named, run: runReaderGoes, long: true},
		{name: "the reader of the log goes", frontend: nginxFastCGI, options: named, run: runReaderGoes, long: true},
		{name: "the reader of standard error stops", frontend: httpFrontend, options: standard, run: runReaderStops,
			long: true},
		{name: "the reader of standard error stops", frontend: nginxFastCGI, options: standard, run: runReaderStops,
			long: true},
		{name: "the reader of standard error goes", frontend: httpFrontend, options: standard, run: runReaderGoes},
		{name: "the reader of standard error goes", frontend: nginxFastCGI, options: standard, run: runReaderGoes,
			long: true},
	}
}

func logInPipe(config string) string {
	return strings.Replace(config, "file: service.log", "file: pipe", 1)
}

func logToStandardError(config string) string {
	return strings.Replace(config, "  file: service.log\n", "", 1)
}

// logToPipe makes the pipe, and has it read.
func logToPipe(s *faultEnv) {
	if err := syscall.Mkfifo(s.path("pipe"), 0o600); err != nil {
		s.t.Fatal(err)
	}
	s.reader = &logReader{pipe: s.path("pipe"), log: s.createAppend("service.log"), words: s.createAppend("words")}
	s.reader.come(s.t)
	s.t.Cleanup(s.reader.leave)
}

func standardErrorToPipe(s *faultEnv) {
	logToPipe(s)
	end, err := os.OpenFile(s.path("pipe"), os.O_WRONLY, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { end.Close() })
	s.stderr = end
}

func (s *faultEnv) createAppend(name string) *os.File {
	s.t.Helper()
	f, err := os.OpenFile(s.path(name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { f.Close() })
	return f
}

// pipeSize in bytes is the smallest that Linux has, so that a dozen lines fill it.
const pipeSize = 4096

// logReader reads the log from a named pipe and writes it to the file where the rest of a test looks for it. What the program says on standard
// error about its log goes to another.
type logReader struct {
	pipe       string
	log, words *os.File

	turn sync.Mutex // held while a line is passed on, and while the reader has stopped
	end  *os.File   // of the pipe; nil = nobody reads
	all  sync.WaitGroup
}

// come begins to read. An end that is open for writing too meets no end of file when the last writer goes.
func (r *logReader) come(t testing.TB) {
	t.Helper()
	end, err := os.OpenFile(r.pipe, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := end.SyscallConn() // not Fd, after which Close would wait for the read that is under way
	if err != nil {
		t.Fatal(err)
	}
	err = conn.Control(func(fd uintptr) {
		if _, _, errno := syscall.Syscall(syscall.SYS_FCNTL, fd, syscall.F_SETPIPE_SZ, pipeSize); errno != 0 {
			t.Errorf("make the pipe small: %v", errno)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	r.end = end
	r.all.Go(func() {
		for lines := bufio.NewScanner(end); lines.Scan(); {
			r.pass(lines.Text() + "\n")
		}
	})
}

func (r *logReader) pass(line string) {
	r.turn.Lock()
	defer r.turn.Unlock()
	to := r.log
	if strings.HasPrefix(line, "dockerauth: ") {
		to = r.words
	}
	_, _ = to.WriteString(line)
}

// leave closes the pipe: whoever writes gets EPIPE and, from the kernel, SIGPIPE.
func (r *logReader) leave() {
	if r.end != nil {
		_ = r.end.Close()
	}
	r.all.Wait()
	r.end = nil
}

// playReaderStops has nobody take a line for a while, and then somebody takes them all.
func runReaderStops(s *faultEnv) {
	runReader(s, "stops", "stopped, then reads on", s.reader.turn.Lock, s.reader.turn.Unlock)
}

// playReaderGoes closes the pipe, and then another reads it.
func runReaderGoes(s *faultEnv) {
	runReader(s, "goes", "closed, then another reads", s.reader.leave, func() { s.reader.come(s.t) })
}

// unreadLogins is how many are granted while nobody reads: more than fit into the pipe.
const unreadLogins = 30

func runReader(s *faultEnv, what, done string, away, back func()) {
	c := s.startLoad()
	c.more(someLogins())
	away()
	c.more(unreadLogins)
	back()
	normal := s.logsAgain()
	c.more(someLogins())
	got, lost := c.end()
	s.reader.leave()
	missing, torn := c.unlogged(s.logFile)
	told := linesLost(s)
	switch {
	case missing == 0:
		s.t.Error("every line was written: the pipe was read after all")
	case s.service != nil && missing > told: // other programs do not live to tell
		lost = append(lost, fmt.Sprintf("%d logins are not in the log, which speaks of %d lines", missing, told))
	}
	of := "the log"
	if s.stderr != nil {
		of = "standard error"
	}
	s.row(row{fault: "the reader of " + of + " " + what, done: done, got: got.String(), normal: normal},
		append(lost, torn...))
}

var linesLostWord = regexp.MustCompile(`is writable again, (\d+) lines were dropped`)

// words are what a long-lived service has written to the file that is its standard error.
func (s *faultEnv) words() string {
	if s.service == nil {
		return ""
	}
	return s.service.output()
}

// linesLost is how many lines the service says are not in its log.
func linesLost(s *faultEnv) (n int) {
	for _, m := range linesLostWord.FindAllStringSubmatch(readFile(s.t, s.path("words"))+s.words(), -1) {
		lines, _ := strconv.Atoi(m[1])
		n += lines
	}
	return n
}
