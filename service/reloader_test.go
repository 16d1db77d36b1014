package service

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"dockerauth/pamauth"
)

// age makes every file of the stage one that was written long ago.
func (s *adminFixture) age(t *testing.T) {
	t.Helper()
	before := time.Now().Add(-time.Hour)
	err := filepath.WalkDir(s.dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chtimes(path, before, before)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// wantDue looks at the files once for each answer.
func (s *adminFixture) wantDue(t *testing.T, when string, want ...bool) {
	t.Helper()
	for i, due := range want {
		if got := s.shouldReload(); got != due {
			t.Errorf("%s: at look %d a load is due: %v", when, i+1, got)
		}
	}
}

// The first half of a configuration may be one that lets everybody in.
func TestAFileThatStillChangesIsNotLoaded(t *testing.T) {
	s := newAdminFixture(t)
	s.age(t)
	s.mustReload(t)
	s.wantDue(t, "nothing has changed", false, false, false)
	s.write(t, "config.yml", fixtureConfig)
	s.wantDue(t, "the first half is written", false)
	s.write(t, "config.yml", fixtureConfig+"access: []\n")
	s.wantDue(t, "the other half is written", false, true)
	s.age(t)
	s.mustReload(t)
	s.wantDue(t, "it is loaded", false, false)
}

func TestAFileThatIsWrittenDuringALoadIsLoadedOnceMore(t *testing.T) {
	s := newAdminFixture(t)
	s.age(t)
	good := s.load
	s.load = func(previous *service) (*service, error) {
		loaded, err := good(previous)
		s.write(t, "config.yml", fixtureConfig+"access: []\n")
		return loaded, err
	}
	s.mustReload(t)
	s.load = good
	s.wantDue(t, "it was written while it was read", false, true)
	s.age(t)
	s.mustReload(t)
	s.wantDue(t, "it was read once more", false, false)
}

// heldConversations run until they are released.
type heldConversations struct {
	running, most atomic.Int32
	release       chan struct{}
}

func (h *heldConversations) Authenticate(_ context.Context, l pamauth.Login) (pamauth.Account, error) {
	running := h.running.Add(1)
	defer h.running.Add(-1)
	for most := h.most.Load(); running > most && !h.most.CompareAndSwap(most, running); most = h.most.Load() {
	}
	<-h.release
	return pamauth.Account{Name: l.User}, nil
}

func TestReloadsUnderLoadKeepTheLimit(t *testing.T) {
	held := &heldConversations{release: make(chan struct{})}
	s := newAdminFixture(t)
	s.pam = held
	var logins sync.WaitGroup
	begin := func(n int) {
		for range n {
			user := fmt.Sprint("user", rand.Uint64())
			logins.Go(func() { s.login(user, "p", "192.0.2.1") })
		}
	}
	expect := func(running int32, waiting int64) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			r, w := held.running.Load(), s.metrics.queueLength.Load()
			if r == running && w == waiting {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%d conversations run and %d logins wait, want %d and %d", r, w, running, waiting)
			}
		}
	}
	s.mustReload(t) // with a concurrency of 4
	begin(6)
	expect(4, 2)
	for n := range 3 {
		s.write(t, "config.yml", fmt.Sprintf("%saccess_token_ttl: %ds\n", fixtureConfig, 100+n))
		s.mustReload(t)
		begin(6)
		expect(4, int64(2+6*(n+1)))
	}
	for _, text := range []string{"timeout: 9s, concurrency: 4", "concurrency: 4"} {
		s.write(t, "config.yml", strings.Replace(fixtureConfig, "concurrency: 4", text, 1))
		s.mustReload(t)
		expect(4, 20)
	}
	s.write(t, "config.yml", strings.Replace(fixtureConfig, "concurrency: 4", "concurrency: 7", 1))
	s.mustReload(t)
	expect(7, 17)
	close(held.release)
	logins.Wait()
	if most := held.most.Load(); most != 7 {
		t.Errorf("%d conversations ran at once", most)
	}
}

func TestAReloadForgetsOnlyLoginsThatItConcerns(t *testing.T) {
	configure := func(old, text string) func(*testing.T, *adminFixture) {
		return func(t *testing.T, s *adminFixture) {
			s.write(t, "config.yml", strings.Replace(fixtureConfig, old, text, 1))
			s.mustReload(t)
		}
	}
	rewrite := func(name, text string) func(*testing.T, *adminFixture) {
		return func(t *testing.T, s *adminFixture) {
			s.write(t, name, text)
			s.look()
		}
	}
	const permit = "auth required pam_permit.so\naccount required pam_permit.so\n"
	tests := []struct {
		name     string
		happens  func(*testing.T, *adminFixture)
		remember bool
	}{
		{"nothing has changed", configure("", ""), true},
		{"a lifetime", configure("issuer: i\n", "issuer: i\naccess_token_ttl: 5m\n"), true},
		{"the number of conversations", configure("concurrency: 4", "concurrency: 5"), true},
		{"the log", configure("issuer: i\n", "issuer: i\nlog: {file: auth.log, level: warn}\n"), true},
		{"the key", func(t *testing.T, s *adminFixture) { s.writeKey(t); s.mustReload(t) }, false},
		{"a configuration with a mistake", func(t *testing.T, s *adminFixture) {
			s.write(t, "config.yml", "isuer: i\n")
			_ = s.reload()
		}, true},
		{"the lifetime of a remembered login", configure("concurrency: 4", "cache: 20s"), false},
		{"the PAM service", func(t *testing.T, s *adminFixture) {
			s.write(t, "pam.d/other-service", permit)
			configure("concurrency: 4", "service: other-service")(t, s)
		}, false},
		{"the PAM service file", rewrite("pam.d/dockerauth", permit+"account required pam_nologin.so\n"), false},
		{"the PAM service file, which is broken now", rewrite("pam.d/dockerauth", "auth\n"), false},
		{"a file that the PAM service includes", rewrite("pam.d/included", permit+"\n"), false},
		{"the PAM service file, and a reload before the next look", func(t *testing.T, s *adminFixture) {
			s.write(t, "pam.d/dockerauth", permit+"account required pam_nologin.so\n")
			s.mustReload(t)
		}, false},
		{"the PAM service file, in place, and its size and time are as before", func(t *testing.T, s *adminFixture) {
			name := filepath.Join(s.dir, "pam.d/included")
			info, err := os.Stat(name)
			if err != nil {
				t.Fatal(err)
			}
			s.write(t, "pam.d/included", strings.Replace(permit, "pam_permit", "pam_denied", 1))
			if err := os.Chtimes(name, info.ModTime(), info.ModTime()); err != nil {
				t.Fatal(err)
			}
			s.look()
		}, false},
		{"a signal to reload", func(_ *testing.T, s *adminFixture) { s.signalled(syscall.SIGHUP) }, false},
		{"a signal to reopen the log", func(_ *testing.T, s *adminFixture) { s.signalled(syscall.SIGUSR1) }, true},
		{"health was asked after the PAM service file had changed", func(t *testing.T, s *adminFixture) {
			s.write(t, "pam.d/dockerauth", permit+"account required pam_nologin.so\n")
			s.page()
			s.look()
		}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newAdminFixture(t)
			s.write(t, "pam.d/dockerauth", "@include "+s.write(t, "pam.d/included", permit))
			s.age(t)
			s.mustReload(t)
			s.login(resultAccepted, "p", "192.0.2.1")
			tt.happens(t, s)
			s.login(resultAccepted, "p", "192.0.2.1")
			if asked := s.asked[0].Load(); asked != 1 && tt.remember || asked != 2 && !tt.remember {
				t.Errorf("PAM was asked %d times; log:\n%s", asked, s.log)
			}
		})
	}
}

func TestARememberedLoginThatIsBlacklistedIsRefused(t *testing.T) {
	s := newAdminFixture(t)
	s.mustReload(t)
	s.login(resultAccepted, "p", "192.0.2.1")
	s.write(t, "config.yml", fixtureConfig+"blacklisted_users: ["+resultAccepted+"]\n")
	s.mustReload(t)
	s.login(resultAccepted, "p", "192.0.2.1")
	if log := s.log.String(); strings.Count(log, "outcome=granted") != 1 || !strings.Contains(log, "is blacklisted") {
		t.Errorf("the log has %q", log)
	}
}

// The front end keeps its logger for as long as the process lives.
func TestALoggerWithAttributesFollowsAReload(t *testing.T) {
	s := newAdminFixture(t)
	logTo := func(name string) {
		s.write(t, "config.yml", fixtureConfig+"log: {file: "+name+"}\n")
		s.mustReload(t)
	}
	logTo("old.log")
	log := slog.New(reloadHandler{reloader: s.reloader}).With("a", 1).WithGroup("g").With("b", 2)
	logTo("new.log")
	log.Warn("here", "c", 3)
	old, _ := os.ReadFile(filepath.Join(s.dir, "old.log"))
	text, err := os.ReadFile(filepath.Join(s.dir, "new.log"))
	if err != nil || !strings.HasSuffix(string(text), "msg=here a=1 g.b=2 g.c=3\n") || len(old) > 0 {
		t.Errorf("the new log has %q, the old one %q, %v", text, old, err)
	}
}

// A health check costs a look at the files.
func TestAScrapeReadsNoPAMServiceFileThatHasNotChanged(t *testing.T) {
	s := newAdminFixture(t)
	s.age(t)
	s.mustReload(t)
	file := filepath.Join(s.dir, "pam.d", "dockerauth")
	opened := opensOf(t, file)
	for range 2 {
		s.page()
		if h := checkHealth(s.reloader, time.Now()); !h.PAM.ServiceFileGood {
			t.Fatal(h.PAM.ServiceFileError)
		}
	}
	if opened() {
		t.Error("the file was read again")
	}
	s.write(t, "pam.d/dockerauth", "x")
	if h := checkHealth(s.reloader, time.Now()); h.PAM.ServiceFileGood || h.serving {
		t.Error("the file has changed, and was not read")
	}
	if !opened() {
		t.Error("the file was read unseen")
	}
}

// opensOf returns a function that reports whether the file was opened since its last call.
func opensOf(t *testing.T, file string) (opened func() bool) {
	t.Helper()
	fd, err := syscall.InotifyInit1(syscall.IN_NONBLOCK | syscall.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if _, err := syscall.InotifyAddWatch(fd, file, syscall.IN_OPEN); err != nil {
		t.Fatal(err)
	}
	return func() bool {
		n, err := syscall.Read(fd, make([]byte, 4096))
		if err != nil && err != syscall.EAGAIN {
			t.Fatal(err)
		}
		return n > 0
	}
}

// logFixture logs to a file, and has logged one login.
func logFixture(t *testing.T) *adminFixture {
	t.Helper()
	s := newAdminFixture(t)
	s.write(t, "config.yml", fixtureConfig+"log: {file: log/auth.log}\n")
	if err := os.Mkdir(filepath.Join(s.dir, "log"), 0o700); err != nil {
		t.Fatal(err)
	}
	s.age(t)
	s.mustReload(t)
	s.login(resultAccepted, "p", "192.0.2.1")
	return s
}

func (s *adminFixture) move(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(filepath.Join(s.dir, from), filepath.Join(s.dir, to)); err != nil {
		t.Fatal(err)
	}
}

// wantLogins compares the requests in log files, which end with the log in use.
func (s *adminFixture) wantLogins(t *testing.T, want map[string]int) {
	t.Helper()
	for name, n := range want {
		text, err := os.ReadFile(filepath.Join(s.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Count(string(text), "outcome=granted"); got != n {
			t.Errorf("%s has %d logins, want %d: %s", name, got, n, text)
		}
	}
}

func TestARotatedLogIsReopenedWithoutAReload(t *testing.T) {
	s := logFixture(t)
	before := s.current.Load()
	s.move(t, "log/auth.log", "log/auth.log.1")
	s.look()
	if _, err := os.Stat(filepath.Join(s.dir, "log", "auth.log")); err == nil {
		t.Error("the file was made at once, and not left to what rotates")
	}
	s.login(resultAccepted, "p", "192.0.2.1")
	s.look()
	s.login(resultAccepted, "p", "192.0.2.1")
	s.wantLogins(t, map[string]int{"log/auth.log.1": 2, "log/auth.log": 1})
	if s.current.Load() != before || s.asked[0].Load() != 1 {
		t.Errorf("more than the log was opened again; PAM was asked %d times", s.asked[0].Load())
	}
	s.look()
	s.look()
	s.wantLogins(t, map[string]int{"log/auth.log": 1})
}

func TestALogThatCannotBeReopenedGoesOn(t *testing.T) {
	s := logFixture(t)
	s.move(t, "log", "log.old")
	for range 5 {
		s.look()
		s.login(resultAccepted, "p", "192.0.2.1")
	}
	old, _ := os.ReadFile(filepath.Join(s.dir, "log.old", "auth.log"))
	if n := strings.Count(string(old), "cannot be opened again"); n != 1 {
		t.Errorf("said %d times: %s", n, old)
	}
	if h := checkHealth(s.reloader, time.Now()); !h.serving || len(h.Reasons) != 1 ||
		h.Reasons[0] != "the log file cannot be opened again" {
		t.Errorf("health: %q", h.Reasons)
	}
	s.move(t, "log.old", "log")
	s.move(t, "log/auth.log", "log/old")
	s.look()
	s.look()
	s.login(resultAccepted, "p", "192.0.2.1")
	s.wantLogins(t, map[string]int{"log/old": 6, "log/auth.log": 1})
	if h := checkHealth(s.reloader, time.Now()); h.Status != "ok" {
		t.Errorf("health: %q", h.Reasons)
	}
}

func TestSignalsReopenTheLog(t *testing.T) {
	for signal, reloads := range map[syscall.Signal]bool{syscall.SIGUSR1: false, syscall.SIGHUP: true} {
		s := logFixture(t)
		before := s.current.Load()
		s.move(t, "log/auth.log", "log/auth.log.1")
		signals := make(chan os.Signal)
		ctx, cancel := context.WithCancel(t.Context())
		var watch sync.WaitGroup
		watch.Go(func() { s.watch(ctx, signals) })
		signals <- signal
		cancel()
		watch.Wait()
		s.login(resultAccepted, "p", "192.0.2.1")
		s.wantLogins(t, map[string]int{"log/auth.log.1": 1, "log/auth.log": 1})
		if reloaded := s.current.Load() != before; reloaded != reloads {
			t.Errorf("%v: reloaded is %v", signal, reloaded)
		}
	}
}
