package e2e

import (
	endian "encoding/binary" // binary is dockerauth here
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// jumps are of the service's clock, and who is locked when it happens.
var jumps = []struct {
	from time.Duration // the machine's clock
	done string
	user string
}{
	{time.Hour, "an hour ahead", "locked-before"},
	{-time.Hour, "and to an hour behind", "locked-ahead"},
}

func clockTests() []faultTest {
	return []faultTest{{name: "the clock is set", frontend: clockFrontend, run: runClock,
		options: faultOptions{users: []string{jumps[0].user, jumps[1].user}, prepare: ownClock}}}
}

// ownClock compiles testdata/clock.c, and lays out the file that says how far the service's clock is from the machine's.
func ownClock(s *faultEnv) {
	if runtime.GOARCH != "amd64" {
		missing(s.t, "a clock of its own for one process: testdata/clock.c is written for amd64")
	}
	need(s.t, "a clock of its own for one process", "gcc")
	s.setClock(0)
	versions := s.write("clock.map", "LINUX_2.6 { global: __vdso_clock_gettime; local: *; };\n")
	mustRun(s.t, "gcc", "-O1", "-shared", "-fPIC", "-o", s.path("clock.so"), "testdata/clock.c",
		"-Wl,--version-script="+versions, "-ldl")
}

// setClock sets the service's clock so far from the machine's, in whole seconds. The service has the file in its memory, so it is written in place.
func (s *faultEnv) setClock(from time.Duration) {
	s.t.Helper()
	f, err := os.OpenFile(s.path("clock.offset"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	if err := endian.Write(f, endian.LittleEndian, int64(from/time.Second)); err != nil {
		s.t.Fatal(err)
	}
}

// clockDoor is the HTTP door with a clock of its own. The conversations, which it starts without any environment, have the machine's.
var clockFrontend = frontend{name: "HTTP door, own clock", open: func(t testing.TB, s *testEnv) {
	s.listen()
	cmd := s.asWeb(exec.Command(s.program, "http", "--listen", s.address))
	cmd.Env = append(os.Environ(), "LD_PRELOAD="+s.path("clock.so"), "CLOCK_OFFSET="+s.path("clock.offset"))
	s.service = s.start("dockerauth http", cmd)
	s.service.ready(t, "tcp", s.address)
	s.mounts = []string{""}
}}

// playClock sets the clock under load, ahead and then back. A refresh token is good, also when it is from the future by then; nobody is locked for longer
// than a lock lasts, and nobody elsewhere; a changed configuration is noticed; the others see nothing of it.
func runClock(s *faultEnv) {
	config := readFile(s.t, s.configFile)
	refresh := []string{s.refreshToken()}
	for i, jump := range jumps {
		s.lock(jump.user)
		c := s.startLoad()
		c.more(someLogins())
		s.setClock(jump.from)
		normal := s.normal()
		lost := slices.Concat(s.clockIs(jump.from), s.noLongerLocked(jump.user))
		for _, token := range refresh {
			lost = append(lost, s.stillGood(token)...)
		}
		s.reconfigure(config, 20+i)
		refresh = append(refresh, s.refreshToken())
		c.more(someLogins())
		got, wrong := c.end()
		s.row(row{fault: "the clock is set", done: jump.done, got: got.String(), normal: normal},
			slices.Concat(lost, wrong, s.leftovers()))
	}
}

// clockIs shows by a token that the clock is where it was put: else nothing here shows anything.
func (s *faultEnv) clockIs(from time.Duration) []string {
	s.t.Helper()
	claims, err := s.claims(s.ask(loadUser(0), passwordOf(loadUser(0))))
	if err != nil {
		return []string{err.Error()}
	}
	if off := time.Until(time.Unix(claims.IssuedAt, 0)) - from; off.Abs() > 5*time.Minute {
		s.t.Fatalf("the service's clock is %v from where it was put", off)
	}
	return nil
}

// lock gives wrong passwords for a user until the address is told to wait.
func (s *faultEnv) lock(user string) {
	s.t.Helper()
	wrong := 0
	eventually(s.t, answerWithin, "a lock", func() bool {
		wrong++
		return s.askFrom(lockedAddress, user, fmt.Sprintf("wrong%d", wrong)).status == http.StatusTooManyRequests
	})
}

// lockedAddress is where wrong passwords come from; longestLock is the longest one there is.
const (
	lockedAddress = "127.8.0.2"
	longestLock   = 15 * time.Minute
)

// noLongerLocked: when the clock was set, a lock has either ended or ends in time, and elsewhere there is none.
func (s *faultEnv) noLongerLocked(user string) (lost []string) {
	r := s.askFrom(lockedAddress, user, passwordOf(user))
	wait, _ := strconv.Atoi(r.header.Get("Retry-After"))
	if flaw := s.flaw(r, user, true, http.StatusTooManyRequests); flaw != "" ||
		time.Duration(wait)*time.Second > longestLock {
		lost = append(lost, fmt.Sprintf("where %s was locked: status %d, Retry-After %d %s", user, r.status, wait,
			flaw))
	}
	if flaw := s.flaw(s.ask(user, passwordOf(user)), user, true); flaw != "" {
		lost = append(lost, "from another address: "+flaw)
	}
	return lost
}

// reconfigure has tokens live for so many minutes, and waits until they do.
func (s *faultEnv) reconfigure(config string, minutes int) {
	s.t.Helper()
	s.replace(s.configFile, fmt.Sprintf("access_token_ttl: %dm\n%s", minutes, config))
	eventually(s.t, answerWithin, "the new lifetime of tokens", func() bool {
		var answer tokenAnswer
		return unmarshalExact(s.ask(loadUser(0), passwordOf(loadUser(0))).body, &answer) == nil &&
			answer.ExpiresIn == minutes*60
	})
}

// refreshToken is what a guest keeps.
func (s *faultEnv) refreshToken() string {
	s.t.Helper()
	login := strings.Replace(s.request(loadUser(0), passwordOf(loadUser(0))), "?", "?offline_token=true&", 1)
	var answer tokenAnswer
	r := askAt(s.address, "127.0.0.1", login)
	if err := unmarshalExact(r.body, &answer); err != nil || answer.RefreshToken == nil {
		s.t.Fatalf("ask for a refresh token: status %d, %v, %v", r.status, r.err, err)
	}
	return *answer.RefreshToken
}

// stillGood shows a refresh token, and is not refused.
func (s *faultEnv) stillGood(token string) []string {
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}, "service": {audience}}.Encode()
	r := askAt(s.address, "127.0.0.1",
		fmt.Sprintf("POST %s/docker/v2/token HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n"+
			"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s", s.mounts[0], s.address,
			len(form), form))
	if flaw := s.flaw(r, loadUser(0), true); flaw != "" {
		return []string{"a refresh token: " + flaw}
	}
	return nil
}
