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

// The log goes through a pipe to a reader, such as cronolog, a collector or journald.
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

// logToPipe makes the pipe and starts its reader.
func logToPipe(s *faultEnv) {
	if err := syscall.Mkfifo(s.path("pipe"), 0o600); err != nil {
		s.t.Fatal(err)
	}
	s.reader = &logReader{pipe: s.path("pipe"), log: s.createAppend("service.log"), stderr: s.createAppend("words")}
	s.reader.open(s.t)
	s.t.Cleanup(s.reader.close)
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

// logReader copies the log from a named pipe to the file where tests look for it. The program's
// messages about its log, on standard error, go to another file.
type logReader struct {
	pipe        string
	log, stderr *os.File

	copying sync.Mutex // held while a line is copied, and while the reader pauses
	end     *os.File   // of the pipe; nil = no reader
	all     sync.WaitGroup
}

// open begins to read. A descriptor that is open for writing too gets no end of file when the last
// writer closes.
func (r *logReader) open(t testing.TB) {
	t.Helper()
	end, err := os.OpenFile(r.pipe, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := end.SyscallConn() // not Fd, after which Close would wait for the read in flight
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
	r.copying.Lock()
	defer r.copying.Unlock()
	to := r.log
	if strings.HasPrefix(line, "dockerauth: ") {
		to = r.stderr
	}
	_, _ = to.WriteString(line)
}

// close closes the pipe: a writer gets EPIPE and, from the kernel, SIGPIPE.
func (r *logReader) close() {
	if r.end != nil {
		_ = r.end.Close()
	}
	r.all.Wait()
	r.end = nil
}

// runReaderStops pauses the reader, and lets it read on later.
func runReaderStops(s *faultEnv) {
	runReader(s, "stops", "stopped, then reads on", s.reader.copying.Lock, s.reader.copying.Unlock)
}

// runReaderGoes closes the pipe and opens it again.
func runReaderGoes(s *faultEnv) {
	runReader(s, "goes", "closed, then another reads", s.reader.close, func() { s.reader.open(s.t) })
}

// unreadLogins is how many are granted while the pipe is not read: more than it holds.
const unreadLogins = 30

func runReader(s *faultEnv, what, done string, away, back func()) {
	l := s.startLoad()
	l.more(someLogins())
	away()
	l.more(unreadLogins)
	back()
	normal := s.logsAgain()
	l.more(someLogins())
	got, lost := l.end()
	s.reader.close()
	missing, torn := l.unlogged(s.logFile)
	told := linesLost(s)
	switch {
	case missing == 0:
		s.t.Error("every line was written: the pipe was read after all")
	case s.service != nil && missing > told: // other programs end before they could report it
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

// serviceStderr is what a long-lived service has written to the file that is its standard error.
func (s *faultEnv) serviceStderr() string {
	if s.service == nil {
		return ""
	}
	return s.service.output()
}

// linesLost is how many lines the service reports as missing from its log.
func linesLost(s *faultEnv) (n int) {
	for _, m := range linesLostWord.FindAllStringSubmatch(readFile(s.t, s.path("words"))+s.serviceStderr(), -1) {
		lines, _ := strconv.Atoi(m[1])
		n += lines
	}
	return n
}
