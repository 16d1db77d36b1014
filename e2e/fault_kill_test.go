package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// inFlight is how many logins are in a conversation, or wait for one, when a process is killed.
const inFlight = 6

func killTests() []faultTest {
	o := awaitingOptions(inFlight)
	o.timeout = seconds(8)
	short := awaitingOptions(inFlight) // conversations that run to their time limit
	held := short
	held.concurrency = inFlight + 2 // and hold their slots until then, although the web server is gone
	return []faultTest{
		{name: "SIGTERM", frontend: httpFrontend, options: o, run: runTerm},
		{name: "SIGTERM", frontend: nginxFastCGI, options: o, run: runTerm},
		{name: "SIGKILL", frontend: httpFrontend, options: o, run: runKill},
		{name: "SIGKILL", frontend: apacheFcgid, options: short, run: runKill},
		{name: "SIGKILL", frontend: nginxFastCGI, options: o, run: runKill, long: true},
		{name: "a conversation is killed", frontend: httpFrontend, options: o, run: runKillConversation},
		{name: "a conversation is killed", frontend: nginxFastCGI, options: o, run: runKillConversation, long: true},
		{name: "a conversation is killed", frontend: apacheFcgid, options: o, run: runKillConversation, long: true},
		{name: "the web server's worker is killed", frontend: nginxFastCGI, options: held, run: runKillWorker},
		// Not behind mod_fcgid: in one of three tries Apache then stops answering until it is
		// restarted, whatever the program does. See docs/operations.md.
		{name: "the web server's worker is killed", frontend: apacheCGI, options: short, run: runKillWorker,
			long: true},
		{name: "the web server is stopped", frontend: nginxFastCGI, options: short, run: runStopServer, long: true},
		{name: "the web server is stopped", frontend: apacheFcgid, options: short, run: runStopServer},
		{name: "the web server is stopped", frontend: apacheCGI, options: short, run: runStopServer, long: true},
	}
}

// pendingLogins are logins whose conversations wait for the file "go".
type pendingLogins struct {
	all     sync.WaitGroup
	replies [inFlight]reply
}

// begin sends them and waits until the service has read them all and some conversations have begun.
func (s *faultEnv) begin() *pendingLogins {
	s.t.Helper()
	p := &pendingLogins{}
	var before int
	if s.service != nil {
		before = connections(s.pid())
	}
	for i := range inFlight {
		p.all.Go(func() { p.replies[i] = s.ask(awaiting(i), passwordOf(awaiting(i))) })
	}
	if s.service == nil {
		eventually(s.t, answerWithin, "programs to be at work",
			func() bool { return len(processesOf(s.program)) >= inFlight })
		return p
	}
	eventually(s.t, answerWithin, "all requests to be accepted",
		func() bool { return connections(s.pid()) >= before+inFlight })
	s.awaitConversations(1)
	return p
}

// proceed lets the conversations end.
func (s *faultEnv) proceed() {
	s.t.Helper()
	if err := os.WriteFile(s.path("go"), nil, 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// results returns their answers and what was wrong with them.
func (p *pendingLogins) results(s *faultEnv, excused ...int) (got counts, lost []string) {
	p.all.Wait()
	got = counts{}
	for i, r := range p.replies {
		got[r.summary()]++
		if flaw := s.flaw(r, awaiting(i), true, excused...); flaw != "" {
			lost = append(lost, flaw)
		}
	}
	return got, lost
}

// restartsMax is how often a service manager tries. Once may not be enough: a child that was being
// started when its parent was killed holds the listening socket until it runs its own program.
const restartsMax = 20

// restart starts a new service after the old one has ended, as a service manager does.
func (s *faultEnv) restart() {
	s.t.Helper()
	args := []string{"http", "--listen", s.address}
	if s.frontend.name != httpFrontend.name {
		args = []string{"fastcgi", "--listen", "unix:" + s.path("run/fcgi.sock")}
	}
	for range restartsMax {
		before := s.countLogLines("listening")
		s.serve(args...)
		eventually(s.t, answerWithin, "a service to listen or to give up", func() bool {
			return s.countLogLines("listening") > before || !s.service.running()
		})
		if s.service.running() {
			return
		}
	}
	s.t.Fatal("the service cannot be restarted")
}

// closed is the status while no service listens: nginx answers 503 in JSON.
func (s *faultEnv) closed() int {
	if s.frontend.name == httpFrontend.name {
		return noAnswer
	}
	return http.StatusServiceUnavailable
}

// runTerm stops the service under load: it answers what it has accepted, and ends with status 0.
func runTerm(s *faultEnv) {
	l := s.startLoad(s.closed())
	l.more(someLogins())
	p := s.begin()
	if err := s.service.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Fatal(err)
	}
	eventually(s.t, answerWithin, "the service to stop accepting", func() bool { return !s.accepts() })
	s.proceed()
	inside, lost := p.results(s)
	select {
	case <-s.service.exited:
	case <-time.After(answerWithin):
		s.t.Fatal("the service does not end")
	}
	if s.service.err != nil {
		lost = append(lost, fmt.Sprintf("it ended with %v, want status 0", s.service.err))
	}
	lost = append(lost, s.leftovers()...)
	s.restart()
	normal, got, wrong := s.recovered(l)
	lost = append(lost, wrong...)
	if n := l.undelivered(s.logFile); n > 0 {
		lost = append(lost, fmt.Sprintf("%d logins were granted and not answered", n))
	}
	s.row(row{fault: "SIGTERM to the service", done: fmt.Sprintf("%d in flight, restarted", inFlight),
		got: fmt.Sprintf("%s; others %s", inside, got), normal: normal}, lost)
}

// recovered waits until logins succeed again, ends the load, and checks it against the log.
func (s *faultEnv) recovered(l *backgroundLoad) (normal string, got counts, lost []string) {
	s.t.Helper()
	normal = s.normal()
	l.more(someLogins())
	got, lost = l.end()
	missing, torn := l.unlogged(s.logFile)
	return normal, got, s.unlogged(lost, missing, torn)
}

// undelivered counts logins that the log says were granted but whose token no client has.
func (l *backgroundLoad) undelivered(log string) (n int) {
	for line := range strings.Lines(readFile(l.s.t, log)) {
		_, id, granted := strings.Cut(line, `"token":"`)
		if !granted || !strings.Contains(line, `"user":"load`) {
			continue
		}
		id, _, _ = strings.Cut(id, `"`)
		if !slices.Contains(l.tokens, id) {
			n++
		}
	}
	return n
}

// services are processes that are neither conversations nor their children.
func (s *faultEnv) services() (pids []int) {
	held := s.conversations()
	for _, pid := range processesOf(s.program) {
		if !slices.Contains(held, pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// runKill ends the service with SIGKILL during conversations.
func runKill(s *faultEnv) {
	excused := []int{s.closed()}
	if s.frontend.name == apacheFcgid.name {
		// mod_fcgid answers 500 itself or passes the request to another process, where the
		// conversation runs to its time limit.
		excused = []int{http.StatusInternalServerError, http.StatusServiceUnavailable}
	}
	l := s.startLoad(excused...)
	l.more(someLogins())
	p := s.begin()
	for _, pid := range s.services() {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	inside, lost := p.results(s, excused...)
	lost = append(lost, s.leftovers()...)
	s.proceed()
	if s.service != nil {
		<-s.service.exited
		s.restart()
	}
	normal, got, wrong := s.recovered(l)
	lost = append(lost, wrong...)
	s.row(row{fault: "SIGKILL to the service", done: fmt.Sprintf("%d in flight, restarted", inFlight),
		got: fmt.Sprintf("%s; others %s", inside, got), normal: normal}, lost)
}

// runKillConversation ends one conversation; the others must not notice.
func runKillConversation(s *faultEnv) {
	l := s.startLoad()
	l.more(1)
	p := s.begin()
	victim := s.aConversation()
	theirs := sockets(parentOf(s.t, victim))
	for socket := range sockets(victim) {
		if theirs[socket] {
			s.t.Errorf("a conversation holds %s of its service", socket)
		}
	}
	_ = syscall.Kill(victim, syscall.SIGKILL)
	s.proceed()
	inside, lost := p.results(s, http.StatusServiceUnavailable)
	if inside["503"] > 1 {
		lost = append(lost, "more than one login was answered with 503")
	}
	normal := s.normal()
	got, wrong := l.end()
	lost = append(lost, wrong...)
	lost = append(lost, s.leftovers()...)
	s.row(row{fault: "SIGKILL to a conversation", done: fmt.Sprintf("one of %d in flight", inFlight),
		got: fmt.Sprintf("%s; others %s", inside, got), normal: normal}, lost)
}

// parentOf is the process that started another.
func parentOf(t testing.TB, pid int) int {
	t.Helper()
	for line := range strings.Lines(readFile(t, fmt.Sprintf("/proc/%d/status", pid))) {
		if text, found := strings.CutPrefix(line, "PPid:"); found {
			parent, _ := strconv.Atoi(strings.TrimSpace(text))
			return parent
		}
	}
	t.Fatalf("process %d has no parent", pid)
	return 0
}

// aConversation is one that waits for the file "go", so it is not just starting.
func (s *faultEnv) aConversation() int {
	seen := map[int]int{}
	for {
		for _, pid := range s.conversations() {
			if seen[pid]++; seen[pid] > 20 {
				return pid
			}
		}
		time.Sleep(pollEvery) // other processes give no event to wait for
	}
}

// workers are the web server's processes that hold connections. Apache's have threads, its program
// managers have none; nginx has one kind.
func (s *faultEnv) workers() (pids []int) {
	master := s.procs[len(s.procs)-1]
	for _, pid := range childrenOf(master.cmd.Process.Pid) {
		if master.name == "nginx" || threads(pid) > 1 {
			pids = append(pids, pid)
		}
	}
	return pids
}

func childrenOf(pid int) (pids []int) {
	for _, list := range globs(fmt.Sprintf("/proc/%d/task/*/children", pid)) {
		b, _ := os.ReadFile(list)
		for _, f := range strings.Fields(string(b)) {
			child, _ := strconv.Atoi(f)
			pids = append(pids, child)
		}
	}
	return pids
}

func threads(pid int) int { return len(globs(fmt.Sprintf("/proc/%d/task/*", pid))) }

// runKillWorker kills the web server's worker during requests.
func runKillWorker(s *faultEnv) {
	l := s.startLoad(noAnswer)
	l.more(someLogins())
	p := s.begin()
	workers := s.workers()
	if len(workers) == 0 {
		s.t.Fatal("the web server has no workers")
	}
	for _, pid := range workers {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	inside, lost := p.results(s, noAnswer)
	normal := s.normal()
	l.more(someLogins())
	got, wrong := l.end()
	lost = append(lost, wrong...)
	lost = append(lost, s.leftovers()...)
	if s.service != nil && !s.service.running() {
		lost = append(lost, "the service has ended")
	}
	s.row(row{fault: "SIGKILL to the web server's worker", done: fmt.Sprintf("%d in flight", inFlight),
		got: fmt.Sprintf("%s; others %s", inside, got), normal: normal}, lost)
}

// runStopServer stops the web server during requests.
func runStopServer(s *faultEnv) {
	p := s.begin()
	s.procs[len(s.procs)-1].stop(s.t)
	inside, lost := p.results(s, noAnswer, http.StatusServiceUnavailable, http.StatusInternalServerError)
	lost = append(lost, s.leftovers()...)
	switch {
	case s.service == nil:
		eventually(s.t, answerWithin, "every program to end with its web server",
			func() bool { return len(processesOf(s.program)) == 0 })
	case !s.service.running():
		lost = append(lost, "the service has ended")
	}
	s.row(row{fault: "the web server is stopped", done: fmt.Sprintf("%d in flight", inFlight), got: inside.String(),
		normal: "-"}, lost)
}

// globs is for /proc, where no match is a result.
func globs(pattern string) []string {
	names, _ := filepath.Glob(pattern)
	return names
}
