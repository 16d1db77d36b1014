package e2e

import (
	endian "encoding/binary" // the name binary is taken by dockerauth's
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

// jumps are steps of the service's clock, and the user who is locked then.
var jumps = []struct {
	from time.Duration // offset to the machine's clock
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

// ownClock compiles testdata/clock.c and makes the file with the offset between the service's clock
// and the machine's.
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

// setClock sets that offset in whole seconds. The service has mapped the file into its memory, so
// it is written in place.
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

// clockFrontend is the HTTP front end with its own clock. Its conversations, which start without an
// environment, use the machine's clock.
var clockFrontend = frontend{name: "HTTP front end, own clock", open: func(t testing.TB, s *testEnv) {
	s.listen()
	cmd := s.asWeb(exec.Command(s.program, "http", "--listen", s.address))
	cmd.Env = append(os.Environ(), "LD_PRELOAD="+s.path("clock.so"), "CLOCK_OFFSET="+s.path("clock.offset"))
	s.service = s.start("dockerauth http", cmd)
	s.service.ready(t, "tcp", s.address)
	s.mounts = []string{""}
}}

// runClock sets the clock ahead and back under load. A refresh token stays good, even one from the
// future. No user is locked for longer than a lock lasts, or at another address. A changed
// configuration is noticed, and other logins are not affected.
func runClock(s *faultEnv) {
	config := readFile(s.t, s.configFile)
	refresh := []string{s.refreshToken()}
	for i, jump := range jumps {
		s.lock(jump.user)
		l := s.startLoad()
		l.more(someLogins())
		s.setClock(jump.from)
		normal := s.normal()
		lost := slices.Concat(s.clockIs(jump.from), s.noLongerLocked(jump.user))
		for _, token := range refresh {
			lost = append(lost, s.stillGood(token)...)
		}
		s.reconfigure(config, 20+i)
		refresh = append(refresh, s.refreshToken())
		l.more(someLogins())
		got, wrong := l.end()
		s.row(row{fault: "the clock is set", done: jump.done, got: got.String(), normal: normal},
			slices.Concat(lost, wrong, s.leftovers()))
	}
}

// clockIs checks by a token that the service's clock was set: otherwise this test shows nothing.
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

// lock sends wrong passwords for a user until the address is throttled.
func (s *faultEnv) lock(user string) {
	s.t.Helper()
	wrong := 0
	eventually(s.t, answerWithin, "a lock", func() bool {
		wrong++
		return s.askFrom(lockedAddress, user, fmt.Sprintf("wrong%d", wrong)).status == http.StatusTooManyRequests
	})
}

// lockedAddress sends the wrong passwords; longestLock is the longest possible lock.
const (
	lockedAddress = "127.8.0.2"
	longestLock   = 15 * time.Minute
)

// noLongerLocked checks that after a clock step a lock has ended or ends in time, and that other
// addresses have none.
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

// reconfigure changes the tokens' lifetime and waits until it is in force.
func (s *faultEnv) reconfigure(config string, minutes int) {
	s.t.Helper()
	s.replace(s.configFile, fmt.Sprintf("access_token_ttl: %dm\n%s", minutes, config))
	eventually(s.t, answerWithin, "the new lifetime of tokens", func() bool {
		var answer tokenAnswer
		return unmarshalExact(s.ask(loadUser(0), passwordOf(loadUser(0))).body, &answer) == nil &&
			answer.ExpiresIn == minutes*60
	})
}

// refreshToken is one that a client keeps.
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

// stillGood uses a refresh token that must be accepted.
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
