package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"dockerauth/handler"
	"dockerauth/pamauth"
	"dockerauth/store"
	"dockerauth/throttle"
)

// An administrator who has just fixed an account sees in the log what was wrong, and how long it is
// remembered.
func TestTheLogOfARememberedRefusalHasItsReason(t *testing.T) {
	const password = "mueller-123"
	refused := func(text string) error { return fmt.Errorf("%w: %s", pamauth.ErrRefused, text) }
	tests := []struct {
		name, user, config string
		err                error
		reason             string
	}{
		{"a wrong password", "alice", "", refused("authenticate: PAM_AUTH_ERR (7)"),
			"pam refused the login: authenticate: PAM_AUTH_ERR (7)"},
		{"an expired account", "alice", "", refused("account: PAM_ACCT_EXPIRED (13)"),
			"pam refused the login: account: PAM_ACCT_EXPIRED (13)"},
		{"a second factor", "alice", "", refused("authenticate: PAM_CONV_ERR (19)\n" +
			"  a module asked for more than the one password: give it try_first_pass"),
			"a module asked for more than the one password"},
		{"a blacklisted account", "alice", "blacklisted_users: [alice]\n", nil, "is blacklisted"},
		{"no account's name", "../alice", "", nil,
			"the user name is empty, too long or contains an invalid character"},
		{"a reason that has no number", "alice", "", refused("something new"),
			"the same password failed a moment ago"},
	}
	for _, tt := range tests {
		for _, processes := range []int{1, 2} {
			t.Run(fmt.Sprint(tt.name, ", of ", processes, " processes"), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { // refusals are held back for a second
					first := newAdminFixture(t)
					state := filepath.Join(first.dir, "state")
					if err := os.Mkdir(state, 0o700); err != nil {
						t.Fatal(err)
					}
					first.write(t, "config.yml", fixtureConfig+"state: "+state+"\n"+tt.config)
					first.pam = authenticatorFunc(func(context.Context, pamauth.Login) (pamauth.Account, error) {
						return pamauth.Account{}, tt.err
					})
					first.mustReload(t)
					second := first
					if processes == 2 {
						second = newAdminFixture(t) // as on another machine
						for _, name := range []string{"config.yml", "privkey.pem", "cert.pem"} {
							text, err := os.ReadFile(filepath.Join(first.dir, name))
							if err != nil {
								t.Fatal(err)
							}
							second.write(t, name, string(text))
						}
						second.pam = first.pam
						second.mustReload(t)
					}
					first.login(tt.user, password, "192.0.2.1")
					second.log.Reset()
					second.login(tt.user, password, "192.0.2.1")
					log := second.log.String()
					found := regexp.MustCompile(`reason="([^"]*) \(remembered, asked again in (\d+) s\)"`).
						FindStringSubmatch(log)
					if found == nil || found[1] != tt.reason || !strings.Contains(log, "outcome=refused") {
						t.Fatalf("the log has %s", log)
					}
					if seconds, _ := strconv.Atoi(found[2]); seconds < 1 || seconds > 60 {
						t.Errorf("asked again in %d seconds", seconds)
					}
					if strings.Contains(log, password) {
						t.Errorf("the password is in the log: %s", log)
					}
				})
			})
		}
	}
}

func TestEveryReasonHasANumberThatIsStored(t *testing.T) {
	if n := len(rememberedReasons); n > int(throttle.MaxReason)+1 {
		t.Errorf("%d reasons are more than a record has space for", n)
	}
	for i, part := range rememberedReasons[1:] {
		if got := reasonOf(errors.New(part)); int(got) != i+1 {
			t.Errorf("%q is number %d, not %d", part, i+1, got)
		}
	}
}

// Live data that fills the soft limit of the memory makes the collector run all the time.
func TestAStoreThatIsFullLeavesTheCollectorAlone(t *testing.T) {
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(serverMemory))
	records := newState(nil).counters()
	record, until := make([]byte, 250), time.Now().Add(time.Hour)
	for i := range 150_000 { // logins of an attacker
		err := records.Update(t.Context(), []string{fmt.Sprint(i)},
			func([]store.Record) []store.Record { return []store.Record{{Value: record, Until: until}} })
		if err != nil {
			t.Fatal(err)
		}
	}
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	if free := int(s.NextGC) - int(s.HeapAlloc); free < serverMemory/4 {
		t.Errorf("the next collection comes after %d bytes: %d of %d are in use", free, s.HeapAlloc, serverMemory)
	}
	runtime.KeepAlive(records)
}

func TestALockOfClientsWithoutAnAddressSaysSo(t *testing.T) {
	for _, remote := range []string{"", "192.0.2.1"} {
		now := time.Now()
		limits := throttleAdapter{&throttle.Throttle{
			Store: store.NewMemory(1 << 20), Secret: []byte("secret"), Timeout: time.Second,
			Checks: &throttle.Checks{},
			Now:    func() time.Time { return now }, Report: func(err error) { t.Error(err) },
		}}
		var attempts []handler.Attempt
		for _, guess := range []handler.Secret{"1", "2", "3", "4", "5"} {
			a, err := limits.Begin(t.Context(), "bob", guess, remote)
			if err != nil {
				t.Fatal(err)
			}
			attempts = append(attempts, a)
		}
		for _, a := range attempts[1:] {
			a.Fail(handler.ErrRefused)
		}
		_, err := limits.Begin(t.Context(), "bob", "another", remote)
		now = now.Add(time.Minute) // the first attempt counts as dead
		for when, err := range map[string]error{"before PAM": err, "after a wait": attempts[0].Recheck()} {
			var locked *handler.Throttled
			if !errors.As(err, &locked) {
				t.Fatalf("from %q, %s: %v, want a lock", remote, when, err)
			}
			if got := strings.Contains(locked.Cause, "no client address"); got != (remote == "") {
				t.Errorf("from %q, %s: %s", remote, when, locked.Cause)
			}
		}
	}
}

// The pause after a failure is not over because of a reload, and the failure is not said again.
func TestAReloadKeepsWhatIsKnownOfTheStateFolder(t *testing.T) {
	s := newAdminFixture(t)
	if err := os.Mkdir(filepath.Join(s.dir, "state"), 0o700); err != nil {
		t.Fatal(err)
	}
	folder, err := os.Create(filepath.Join(s.dir, "state", "lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	if err := syscall.Flock(int(folder.Fd()), syscall.LOCK_EX); err != nil { // as a process that is stuck
		t.Fatal(err)
	}
	for n := range 3 {
		s.write(t, "config.yml", fmt.Sprintf("%sstate: state\naccess_token_ttl: %ds\nlog: {file: log%d}\n",
			fixtureConfig, 100+n, n))
		s.mustReload(t)
		s.login(fmt.Sprint("accepted", n), "p", "192.0.2.1")
	}
	first, _ := os.ReadFile(filepath.Join(s.dir, "log0"))
	if n := strings.Count(string(first), "state folder is not usable"); n != 1 {
		t.Errorf("the first log says it %d times: %s", n, first)
	}
	for _, name := range []string{"log1", "log2"} {
		text, err := os.ReadFile(filepath.Join(s.dir, name))
		if err != nil || strings.Contains(string(text), "state folder") || !strings.Contains(string(text), "granted") {
			t.Errorf("%s: %v, %s", name, err, text)
		}
	}
}

// startRedis starts a real server. It can be stopped before the test ends.
func startRedis(t *testing.T, args ...string) (port int, stop func()) {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("redis-server is not installed")
		}
		t.Skip("redis-server is not installed")
	}
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port = l.Addr().(*net.TCPAddr).Port
	l.Close()
	server := exec.Command("redis-server", append([]string{"--port", fmt.Sprint(port), "--bind", "127.0.0.1",
		"--save", "", "--unixsocket", socket}, args...)...)
	server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	stop = func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	}
	t.Cleanup(stop)
	for range 200 {
		if _, err = os.Lstat(socket); err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	return port, stop
}

// A password that is changed at the server and in its file is used without a restart. Requests that
// have begun go on with the connections that they have.
func TestAChangedPasswordOfTheStateServerIsUsed(t *testing.T) {
	port, _ := startRedis(t, "--requirepass", "old")
	s := newAdminFixture(t)
	file := s.write(t, "password", "old\n")
	s.write(t, "config.yml", fmt.Sprintf("%sstate: redis://127.0.0.1:%d?password_file=%s\n", fixtureConfig, port, file))
	s.mustReload(t)
	first := s.state.shared
	works := func(shared sharedStores) bool {
		_, err := shared.Counters().Get(context.Background(), "k")
		return err == nil
	}
	if !works(first) {
		t.Fatal("it does not work")
	}
	s.mustReload(t)
	if s.state.shared != first {
		t.Error("a reload without a change opens another client")
	}
	if out, err := exec.Command("redis-cli", "-p", fmt.Sprint(port), "-a", "old",
		"config", "set", "requirepass", "new").CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	s.write(t, "password", "new\n")
	for range 3 { // the file is read when it no longer changes
		s.look()
	}
	if s.state.shared == first || !works(s.state.shared) {
		t.Errorf("the new password is not used: %s", s.log)
	}
	if !works(first) {
		t.Error("a request that had begun lost its connection")
	}
	second := s.state.shared
	s.write(t, "password", "")
	for range 3 {
		s.look()
	}
	if s.state.shared != second || !strings.Contains(s.log.String(), "password is empty") {
		t.Errorf("a file that is empty for a moment is used: %s", s.log)
	}
}

// Two machines with a server between them count five wrong passwords together; without it they
// count on, each for itself, and the log says so once.
func TestMachinesWithAStateServerCountTogether(t *testing.T) {
	port, stop := startRedis(t)
	var machines []*adminFixture
	for range 2 {
		s := newAdminFixture(t)
		if len(machines) > 0 {
			for _, name := range []string{"privkey.pem", "cert.pem"} {
				text, err := os.ReadFile(filepath.Join(machines[0].dir, name))
				if err != nil {
					t.Fatal(err)
				}
				s.write(t, name, string(text))
			}
		}
		s.write(t, "config.yml", fmt.Sprintf("%sstate: redis://127.0.0.1:%d\n", fixtureConfig, port))
		s.pam = authenticatorFunc(func(context.Context, pamauth.Login) (pamauth.Account, error) {
			return pamauth.Account{}, fmt.Errorf("%w: authenticate: PAM_AUTH_ERR (7)", pamauth.ErrRefused)
		})
		s.mustReload(t)
		machines = append(machines, s)
	}
	guess := func(user string) {
		var all sync.WaitGroup
		for i := range 6 {
			all.Go(func() { machines[i%2].login(user, fmt.Sprint("guess", i), "192.0.2.1") })
		}
		all.Wait()
	}
	locked := func(user string) (n int) {
		for _, s := range machines {
			for line := range strings.Lines(s.log.String()) {
				if strings.Contains(line, "user="+user) && strings.Contains(line, "outcome=throttled") {
					n++
				}
			}
		}
		return n
	}
	guess("alice")
	if n := locked("alice"); n != 1 {
		t.Errorf("of six guesses at two machines %d met a lock, want 1: %s", n, machines[0].log)
	}
	stop()
	guess("bob")
	if n := locked("bob"); n != 0 {
		t.Errorf("without the server %d of three guesses at each machine met a lock", n)
	}
	for _, s := range machines {
		if n := strings.Count(s.log.String(), "state server is not usable"); n != 1 {
			t.Errorf("the log says it %d times: %s", n, s.log)
		}
	}
}

func TestTheEnvironmentDecidesWhenGarbageIsCollected(t *testing.T) {
	limit, percent := debug.SetMemoryLimit(-1), debug.SetGCPercent(goGarbage)
	defer func() { debug.SetMemoryLimit(limit); debug.SetGCPercent(percent) }()
	for given, want := range map[int]int{goGarbage: serverGarbage, 50: 50, -1: -1} {
		debug.SetGCPercent(given)
		limitMemory()
		if got := debug.SetGCPercent(goGarbage); got != want {
			t.Errorf("with GOGC=%d: %d, want %d", given, got, want)
		}
	}
}
