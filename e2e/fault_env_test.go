package e2e

import (
	"crypto"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// faultEnv is a test environment with a fault and with users who must not notice it.
type faultEnv struct {
	*testEnv
	frontend frontend
	report   *report
	number   int        // of the test, in the table
	reader   *logReader // of the log, where that is a pipe

	mu    sync.Mutex
	keys  []crypto.PublicKey // tokens are signed with one of these
	fresh atomic.Int32       // users who have logged in once
	asker atomic.Int32       // addresses that were used
}

// faultOptions say how a faultEnv differs from the default.
type faultOptions struct {
	pamArgs     string                     // arguments of the faulty module; "" = no such module
	users       []string                   // further accounts, named in pamArgs
	timeout     string                     // pam.timeout; "" = default
	concurrency int                        // pam.concurrency; 0 = default
	config      func(config string) string // changes config.yml
	prepare     func(s *faultEnv)          // runs before anything is started
}

const (
	loadUsers  = 32 // users of the background load
	freshUsers = 64 // users who log in once
	retryEvery = 10 * time.Millisecond
	// normalWithin bounds how long it takes until a service answers normally after a fault.
	normalWithin = 2 * time.Minute
)

func loadUser(i int) string { return fmt.Sprintf("load%02d", i%loadUsers) }

// passwordOf is the password of the load's users and of faultOptions.users.
func passwordOf(user string) string { return user + "-has-the-right-password" }

// openFaultEnv makes a faultEnv and starts its front end.
func openFaultEnv(t *testing.T, frontend frontend, o faultOptions) *faultEnv {
	t.Helper()
	need(t, frontend.name, frontend.needs...)
	s := &faultEnv{frontend: frontend}
	s.testEnv = newTestEnv(t, envOptions{timeout: o.timeout})
	s.ownAnswers = frontend.ownAnswers
	s.keys = []crypto.PublicKey{s.key.Public()}
	s.addAccounts(o)
	if o.pamArgs != "" {
		s.writePAM(t, fmt.Sprintf("auth required %s folder=%s %s\n%s", faultModule(t), s.dir, o.pamArgs,
			databasePAM(s.testEnv)))
	} else {
		s.writePAM(t, databasePAM(s.testEnv))
	}
	text := readFile(t, s.configFile)
	more := "  cache: 0\n" // every login asks PAM
	if o.concurrency > 0 {
		more += fmt.Sprintf("  concurrency: %d\n", o.concurrency)
	}
	text = strings.Replace(text, "blacklisted_users:", more+"blacklisted_users:", 1)
	if o.config != nil {
		text = o.config(text)
	}
	s.write("config.yml", text)
	if err := os.Chmod(s.configFile, 0o600); err != nil {
		t.Fatal(err)
	}
	if o.prepare != nil {
		o.prepare(s)
	}
	s.own()
	if frontend.name == httpFrontend.name {
		s.openHTTP()
		return s
	}
	frontend.open(t, s.testEnv)
	return s
}

// openHTTP is the HTTP front end at an address of its own. The port is free for a moment when the
// service is killed, and must not be taken by another test.
func (s *faultEnv) openHTTP() {
	port := strconv.Itoa(s.listen())
	pid := os.Getpid()
	s.address = net.JoinHostPort(net.IPv4(127, byte(100+pid>>16&31), byte(pid>>8), byte(pid)).String(), port)
	s.serve("http", "--listen", s.address).ready(s.t, "tcp", s.address)
	s.mounts = []string{""}
}

// addAccounts makes all accounts.
func (s *faultEnv) addAccounts(o faultOptions) {
	for i := range loadUsers {
		s.accounts[loadUser(i)] = passwordOf(loadUser(i))
	}
	for i := range freshUsers {
		name := fmt.Sprintf("fresh%02d", i)
		s.accounts[name] = passwordOf(name)
	}
	for _, name := range o.users {
		s.accounts[name] = passwordOf(name)
	}
	s.userdb(s.t)
}

var compileFault = sync.OnceValues(func() (string, error) {
	so := filepath.Join(workDir, "pam_fault.so")
	msg, err := exec.Command("gcc", "-O1", "-w", "-shared", "-fPIC", "-o", so, "testdata/pam_fault.c",
		"-lpam").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, msg)
	}
	return so, err
})

// faultModule is testdata/pam_fault.c, compiled once.
func faultModule(t testing.TB) string {
	t.Helper()
	need(t, "a PAM module of the test's own (Debian: gcc, libpam0g-dev)", "gcc", "/usr/include/security/pam_modules.h")
	so, err := compileFault()
	if err != nil {
		t.Fatalf("compile module: %v", err)
	}
	return so
}

// row adds a line to the table; a loss fails the test.
func (s *faultEnv) row(one row, lost []string) {
	s.t.Helper()
	for _, l := range lost {
		s.t.Errorf("%s: lost: %s", one.fault, l)
	}
	one.frontend, one.lost = frontendNames[s.frontend.name], len(lost)
	s.report.add(s.number, one)
}

// normal tries until a new user can log in, and returns how long that took.
func (s *faultEnv) normal() string {
	s.t.Helper()
	began := time.Now()
	name := fmt.Sprintf("fresh%02d", s.fresh.Add(1)%freshUsers)
	for time.Since(began) < normalWithin {
		r := s.ask(name, passwordOf(name))
		if r.status == 200 && s.flaw(r, name, true) == "" {
			return milliseconds(time.Since(began))
		}
		time.Sleep(retryEvery) // as a client does
	}
	s.t.Errorf("it does not come back: logins are not answered well for %s", normalWithin)
	return "never"
}

// accept allows tokens signed with one more key.
func (s *faultEnv) accept(key crypto.PublicKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = append(s.keys, key)
}

// signedBy tries until tokens are signed with a key, and returns how long that took.
func (s *faultEnv) signedBy(key crypto.PublicKey) string {
	s.t.Helper()
	began := time.Now()
	eventually(s.t, answerWithin, "tokens signed with the new key", func() bool {
		r := s.ask(loadUser(0), passwordOf(loadUser(0)))
		var answer tokenAnswer
		if unmarshalExact(r.body, &answer) != nil {
			return false
		}
		_, err := verify(answer.Token, key)
		return err == nil
	})
	return milliseconds(time.Since(began))
}

// conversations are the processes that hold a PAM conversation for this service, and their
// children.
func (s *faultEnv) conversations() (pids []int) {
	for _, pid := range processesOf(s.program) {
		if args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil &&
			strings.Contains(string(args), "internal-pam-worker") {
			pids = append(pids, pid)
		}
	}
	return pids
}

// awaitConversations waits until n are running.
func (s *faultEnv) awaitConversations(n int) {
	s.t.Helper()
	eventually(s.t, 10*time.Second, fmt.Sprintf("%d conversations to be in flight", n),
		func() bool { return len(s.conversations()) >= n })
}

// leftovers waits for processes that should end, and names those that remain: conversations, and
// programs of CGI.
func (s *faultEnv) leftovers() (lost []string) {
	held := s.conversations
	if s.frontend.name == apacheCGI.name {
		held = func() []int { return processesOf(s.program) }
	}
	var pids []int
	err := poll(5*time.Second, func() (bool, error) {
		pids = held()
		return len(pids) == 0, nil
	})
	if err != nil {
		lost = append(lost, fmt.Sprintf("processes %v are left over", pids))
	}
	return lost
}

// descriptors counts the open files of a process by kind.
func descriptors(pid int) map[string]int {
	kinds := map[string]int{}
	links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for _, link := range links {
		target, err := os.Readlink(link)
		if err != nil {
			continue
		}
		kind, _, _ := strings.Cut(target, ":")
		kinds[kind]++
	}
	return kinds
}

// connections counts the sockets of a service except those of its conversations, each of which has
// a pipe too.
func connections(pid int) int {
	open := descriptors(pid)
	return open["socket"] - open["pipe"]
}

// sockets are the open sockets of a process, by inode. The two ends of a connection have different
// ones.
func sockets(pid int) map[string]bool {
	names := map[string]bool{}
	links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && strings.HasPrefix(target, "socket:") {
			names[target] = true
		}
	}
	return names
}

// tooManyDescriptors waits until the service has at most as many sockets and pipes open as before,
// and returns the excess.
func (s *faultEnv) tooManyDescriptors(pid int, before map[string]int) (lost []string) {
	for _, kind := range []string{"socket", "pipe", "anon_inode"} {
		err := poll(10*time.Second, func() (bool, error) { return descriptors(pid)[kind] <= before[kind], nil })
		if err != nil {
			lost = append(lost, fmt.Sprintf("%d descriptors of kind %s are open, %d were before",
				descriptors(pid)[kind], kind, before[kind]))
		}
	}
	return lost
}

// pid is the long-lived service's.
func (s *faultEnv) pid() int { return s.service.cmd.Process.Pid }

func seconds(n int) string { return strconv.Itoa(n) + "s" }
