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

// A scene is a stage on which something goes wrong, with guests who have nothing to do with it.
type faultEnv struct {
	*testEnv
	frontend frontend
	report   *report
	number   int        // of the act
	reader   *logReader // of the log, where that is a pipe

	mu    sync.Mutex
	keys  []crypto.PublicKey // tokens are signed with one of these
	fresh atomic.Int32       // guests who have come by themselves
	asker atomic.Int32       // addresses that were asked from
}

// sceneOptions say how a scene differs from the usual one.
type faultOptions struct {
	pamArgs     string                     // arguments of the module that goes wrong; "" = no such module
	users       []string                   // whom the deeds name: accounts with guests' passwords
	timeout     string                     // pam.timeout; "" = as it is
	concurrency int                        // pam.concurrency; 0 = as it is
	config      func(config string) string // another config.yml
	prepare     func(s *faultEnv)          // before anything is started
}

const (
	loadUsers  = 32 // guests who come again and again
	freshUsers = 64 // guests who come once
	retryEvery = 10 * time.Millisecond
	// normalWithin bounds for how long somebody tries again until a service that was in trouble answers as usual.
	normalWithin = 2 * time.Minute
)

func loadUser(i int) string { return fmt.Sprintf("guest%02d", i%loadUsers) }

// passwordOf is the password of guests and of those whom deeds name.
func passwordOf(user string) string { return user + "-has-the-right-password" }

// openScene makes a scene and starts what its theatre consists of.
func openFaultEnv(t *testing.T, frontend frontend, o faultOptions) *faultEnv {
	t.Helper()
	need(t, frontend.name, frontend.needs...)
	s := &faultEnv{frontend: frontend}
	s.testEnv = newTestEnv(t, envOptions{timeout: o.timeout})
	s.ownAnswers = frontend.ownAnswers
	s.keys = []crypto.PublicKey{s.key.Public()}
	s.invite(o)
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

// openHTTP is the HTTP door at an address of its own: the port is given up for a moment when the service is killed, and must not become that
// of another test.
func (s *faultEnv) openHTTP() {
	port := strconv.Itoa(s.listen())
	pid := os.Getpid()
	s.address = net.JoinHostPort(net.IPv4(127, byte(100+pid>>16&31), byte(pid>>8), byte(pid)).String(), port)
	s.serve("http", "--listen", s.address).ready(s.t, "tcp", s.address)
	s.mounts = []string{""}
}

// invite gives everybody an account.
func (s *faultEnv) invite(o faultOptions) {
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

// row puts a line into the table; whatever was lost fails the test.
func (s *faultEnv) row(one row, lost []string) {
	s.t.Helper()
	for _, l := range lost {
		s.t.Errorf("%s: lost: %s", one.fault, l)
	}
	one.frontend, one.lost = frontendNames[s.frontend.name], len(lost)
	s.report.add(s.number, one)
}

// normal tries until a guest who has not been here before is let in, and says how long that took.
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

// accept lets tokens be signed with one more key.
func (s *faultEnv) accept(key crypto.PublicKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = append(s.keys, key)
}

// signedBy tries until tokens are signed with a key, and says how long that took.
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

// conversations are the processes that hold a PAM conversation for the stage's service, and what they have forked.
func (s *faultEnv) conversations() (pids []int) {
	for _, pid := range processesOf(s.program) {
		if args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil &&
			strings.Contains(string(args), "internal-pam-worker") {
			pids = append(pids, pid)
		}
	}
	return pids
}

// awaitConversations waits until n are under way.
func (s *faultEnv) awaitConversations(n int) {
	s.t.Helper()
	eventually(s.t, 10*time.Second, fmt.Sprintf("%d conversations to be under way", n),
		func() bool { return len(s.conversations()) >= n })
}

// leftovers waits for processes that should be gone, and names those that stay: conversations, and programs of the CGI door.
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

// descriptors are what a process has open, by what it is.
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

// connections counts the sockets of a service but those that lead to its conversations, with each of which it has a pipe as well.
func connections(pid int) int {
	open := descriptors(pid)
	return open["socket"] - open["pipe"]
}

// sockets are those that a process has open, by the kernel's names for them. The two ends of a line have two.
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

// tooManyDescriptors waits until the service has at most as many sockets and pipes open as before, and says what is too much.
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

// pid is that of the long-lived service.
func (s *faultEnv) pid() int { return s.service.cmd.Process.Pid }

func seconds(n int) string { return strconv.Itoa(n) + "s" }
