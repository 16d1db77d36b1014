package e2e

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// smallDisk is the size of a disk that fills up, in bytes.
const smallDisk = 4 << 20

func diskTests() []faultTest {
	small := faultOptions{prepare: func(s *faultEnv) { s.logFile = s.disk("log") + "/service.log" },
		config: logInFolder}
	state := faultOptions{prepare: func(s *faultEnv) { s.disk("state") }, config: stateInFolder}
	return []faultTest{
		{name: "disk of the log is full", frontend: httpFrontend, options: small, run: runLogDiskFull},
		{name: "disk of the log is full", frontend: apacheCGI, options: small, run: runLogDiskFull},
		{name: "disk of the log is full", frontend: apacheFcgid, options: small, run: runLogDiskFull, long: true},
		{name: "disk of the log fails", frontend: httpFrontend,
			options: faultOptions{prepare: logOnFailingDisk, config: logInFolder}, run: runLogDiskFails},
		{name: "disk of the state is full", frontend: httpFrontend, options: state, run: runStateDisk(full)},
		{name: "disk of the state is read-only", frontend: httpFrontend, options: state, run: runStateDisk(readOnly)},
		{name: "folder of the state is gone", frontend: httpFrontend, options: state, run: runStateDisk(gone)},
		{name: "disk of the state is full", frontend: apacheCGI, options: state, run: runStateDisk(full), long: true},
		{name: "disk of the state is read-only", frontend: apacheCGI, options: state, run: runStateDisk(readOnly),
			long: true},
		{name: "disk of the state is full", frontend: apacheFcgid, options: state, run: runStateDisk(full), long: true},
		{name: "disk of the state is read-only", frontend: apacheFcgid, options: state, run: runStateDisk(readOnly),
			long: true},
	}
}

func logInFolder(config string) string {
	return strings.Replace(config, "file: service.log", "file: log/service.log", 1)
}

func stateInFolder(config string) string {
	return strings.Replace(config, `state: ""`, "state: state", 1)
}

// disk mounts a small file system on a folder that belongs to the service's user.
func (s *faultEnv) disk(folder string) string {
	dir := s.path(folder)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		s.t.Fatal(err)
	}
	if msg, err := s.mount(dir, "rw").CombinedOutput(); err != nil {
		missing(s.t, "a disk that fills up: %v: %s", err, msg)
	}
	return dir
}

func (s *faultEnv) mount(dir, mode string) *exec.Cmd {
	options := fmt.Sprintf("%s,size=%d,mode=700,uid=%d,gid=%[3]d", mode, smallDisk, s.web.uid)
	return exec.Command("mount", "-t", "tmpfs", "-o", options, "tmpfs", dir)
}

// fill writes until there is no space left, and returns the file to remove.
func (s *faultEnv) fill(dir string) string {
	s.t.Helper()
	f, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	_, err = io.Copy(f, zeros{})
	if !errors.Is(err, syscall.ENOSPC) {
		s.t.Fatalf("fill disk: %v", err)
	}
	return f.Name()
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// runLogDiskFull fills the log's disk and frees the space again. Only the one line that was cut off
// may be incomplete.
func runLogDiskFull(s *faultEnv) {
	l := s.startLoad()
	l.more(someLogins())
	filler := s.fill(filepath.Dir(s.logFile))
	l.more(2 * someLogins()) // none of them is logged
	if err := os.Remove(filler); err != nil {
		s.t.Fatal(err)
	}
	normal := s.logsAgain()
	l.more(someLogins())
	got, lost := l.end()
	s.row(row{fault: "disk of the log is full", done: "filled, then emptied", got: got.String(), normal: normal},
		append(lost, s.cutLines()...))
}

// logsAgain waits until the log grows.
func (s *faultEnv) logsAgain() string {
	s.t.Helper()
	began := time.Now()
	lines := func() int { return strings.Count(readFile(s.t, s.logFile), "token request") }
	before := lines()
	eventually(s.t, answerWithin, "the log to go on", func() bool { return lines() > before })
	return milliseconds(time.Since(began))
}

// cutLines are torn lines, except for one and for empty ones: CGI processes do not know of each
// other and may each begin a new line after the torn one.
func (s *faultEnv) cutLines() []string {
	torn := tornLines(s.logFile, strings.ReplaceAll(readFile(s.t, s.logFile), "\n\n", "\n"))
	if len(torn) <= 1 {
		return nil
	}
	return torn[1:]
}

// logOnFailingDisk puts the log on a file system that becomes read-only on an error.
func logOnFailingDisk(s *faultEnv) {
	need(s.t, "a disk that fails", "mkfs.ext4", "losetup", "findmnt")
	dir := s.path("log")
	if err := os.Mkdir(dir, 0o755); err != nil {
		s.t.Fatal(err)
	}
	s.insert("disk.img", dir)
	s.logFile = filepath.Join(dir, "service.log")
}

// insert makes a file system and mounts it.
func (s *faultEnv) insert(name, dir string) {
	s.t.Helper()
	image := s.path(name)
	mustRun(s.t, "truncate", "-s", "8M", image)
	mustRun(s.t, "mkfs.ext4", "-q", image)
	if msg, err := exec.Command("mount", "-o", "loop,errors=remount-ro", image, dir).CombinedOutput(); err != nil {
		missing(s.t, "a disk that fails: %v: %s", err, msg)
	}
	if err := os.Chown(dir, s.web.uid, s.web.gid); err != nil {
		s.t.Fatal(err)
	}
}

// runLogDiskFails makes the log's file system read-only by an error under the open file, and then
// mounts another one.
func runLogDiskFails(s *faultEnv) {
	dir := filepath.Dir(s.logFile)
	l := s.startLoad()
	l.more(someLogins())
	source := strings.TrimSpace(run(s.t, "", exec.Command("findmnt", "-n", "-o", "SOURCE", dir)).stdout)
	trigger := "/sys/fs/ext4/" + filepath.Base(source) + "/trigger_fs_error"
	if err := os.WriteFile(trigger, []byte("1"), 0); err != nil {
		missing(s.t, "a disk that fails: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "probe"), nil, 0o600); !errors.Is(err, syscall.EROFS) {
		s.t.Fatalf("the disk has not failed: %v", err)
	}
	l.more(2 * someLogins())
	mustRun(s.t, "umount", "-l", dir)
	s.insert("spare.img", dir)
	began := time.Now()
	eventually(s.t, answerWithin, "the log to go on", func() bool { return len(s.requestLines()) > 0 })
	normal := milliseconds(time.Since(began))
	l.more(someLogins())
	got, lost := l.end()
	s.row(row{fault: "disk of the log fails", done: "read-only under the open file, then another", got: got.String(),
		normal: normal}, append(lost, s.cutLines()...))
}

// diskFault is a fault of the folder that holds the failure counts; undo repairs it.
type diskFault struct {
	name string
	do   func(s *faultEnv, dir string) (undo func())
}

var (
	full = diskFault{"full", func(s *faultEnv, dir string) func() {
		filler := s.fill(dir)
		return func() { _ = os.Remove(filler) }
	}}
	readOnly = diskFault{"read-only", func(s *faultEnv, dir string) func() {
		mustRun(s.t, "umount", "-l", dir) // one with open files cannot be made read-only
		if msg, err := s.mount(dir, "ro").CombinedOutput(); err != nil {
			s.t.Fatalf("mount read-only: %v: %s", err, msg)
		}
		return func() { mustRun(s.t, "mount", "-o", "remount,rw", dir) }
	}}
	gone = diskFault{"gone", func(s *faultEnv, dir string) func() {
		mustRun(s.t, "umount", "-l", dir)
		mustRun(s.t, "mv", dir, dir+".away") // with what was written since the last line
		mustRun(s.t, "rm", "-rf", dir+".away")
		return func() { mustRun(s.t, "install", "-d", "-o", s.web.name, "-g", s.web.name, "-m", "700", dir) }
	}}
)

// runStateDisk breaks the folder that holds the failure counts. Logins continue, and a long-lived
// service counts in memory.
func runStateDisk(f diskFault) func(s *faultEnv) {
	return func(s *faultEnv) {
		dir := s.path("state")
		l := s.startLoad()
		l.more(someLogins())
		if got := s.guess("127.6.0.1"); got["429"] == 0 {
			s.t.Errorf("a guesser is not stopped even before the fault: %s", got)
		}
		undo := f.do(s, dir)
		l.more(someLogins())
		guesses := s.guess("127.6.0.2")
		said := s.countLogLines("state folder is not usable")
		undo()
		normal := s.normal()
		if s.frontend.name == httpFrontend.name && long() {
			eventually(s.t, stateCalm, "the state folder to be used again", func() bool {
				s.ask(loadUser(0), passwordOf(loadUser(0)))
				return s.countLogLines("state folder is usable again") > 0
			})
		}
		l.more(someLogins())
		got, lost := l.end()
		if s.frontend.name == httpFrontend.name && guesses["429"] == 0 {
			lost = append(lost, fmt.Sprintf("a guesser is not stopped: %s", guesses))
		}
		// Twice if the configuration was loaded at that moment: a request may still use the
		// previous one.
		if s.frontend.name == httpFrontend.name && (said < 1 || said > 2) {
			lost = append(lost, fmt.Sprintf("the log says %d times that the state is not usable, want once", said))
		}
		if s.countLogLines("state is damaged") > 0 {
			lost = append(lost, "the state is damaged")
		}
		_, torn := l.unlogged(s.logFile)
		lost = append(lost, torn...)
		done := fmt.Sprintf("and put right; %d guesses at once meanwhile", guessesAtOnce)
		s.row(row{fault: "the state folder is " + f.name, done: done,
			got: fmt.Sprintf("guesser %s; others %s", guesses, got), normal: normal}, lost)
	}
}

// stateCalm is longer than the time without a failure after which the folder counts as usable
// again.
const stateCalm = 90 * time.Second

// guessesAtOnce is more than one user may get wrong at one address.
const guessesAtOnce = 8

// guess tries different wrong passwords of one user from one address.
func (s *faultEnv) guess(from string) counts {
	var mu sync.Mutex
	var all sync.WaitGroup
	got := counts{}
	for i := range guessesAtOnce {
		all.Go(func() {
			r := s.askFrom(from, bob, fmt.Sprintf("wrong-%d", i))
			mu.Lock()
			defer mu.Unlock()
			got[r.summary()]++
			if flaw := s.flaw(r, bob, false, http.StatusTooManyRequests); flaw != "" {
				s.t.Errorf("lost: %s", flaw)
			}
		})
	}
	all.Wait()
	return got
}
