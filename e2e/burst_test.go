package e2e

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Bursts of logins to every front end. PAM's own count is the measure: a module records what it is
// asked, and a real pam_faillock locks the account after twelve wrong passwords.

const (
	// burstSize is one more than the repeats of a refused password that are answered with 401.
	burstSize = 21

	// faillockUser exists on every Debian, and pam_faillock counts only for existing accounts.
	faillockUser = "games"
	burstSecret  = "games-own-password"
)

var burstFrontends = []struct {
	frontend frontend
	config   string
}{
	{bareCGI, "state: state\n"},
	{apacheCGI, "state: state\n"},
	{nginxFcgiwrap, "state: state\n"},
	{apacheFcgid, "state: state\n"},
	{nginxFastCGI, ""},
	{nginxHTTP, "state: state\n"},
	{httpFrontend, ""},
}

// fewAtOnce are front ends with so few processes that a burst reaches PAM in waves.
var fewAtOnce = []string{nginxFcgiwrap.name, apacheFcgid.name}

// burstLogin is one login of a burst.
type burstLogin struct{ password, from string }

// burst is many logins at once.
type burst struct {
	name     string
	login    func(i int) burstLogin
	hangUp   bool // the client disconnects; its status is unknown
	maxCalls int  // how many passwords PAM is asked about at most
	slow     bool // PAM takes seconds
	status   []int
}

var bursts = []burst{
	{
		name:  "one wrong password from one address",
		login: func(int) burstLogin { return burstLogin{"wrong", "2001:db8:1:1::1"} }, maxCalls: 1, status: []int{401},
	}, {
		name:  "one wrong password from a /64",
		login: func(i int) burstLogin { return burstLogin{"wrong", fmt.Sprintf("2001:db8:2:1::%x", i+1)} }, maxCalls: 1,
		status: []int{401},
	}, {
		name: "different passwords from a /64",
		login: func(i int) burstLogin {
			return burstLogin{fmt.Sprint("guess", i), fmt.Sprintf("2001:db8:3:1::%x", i+1)}
		},
		maxCalls: 5, status: []int{401, 429},
	}, {
		name: "different passwords from a /48",
		login: func(i int) burstLogin {
			return burstLogin{fmt.Sprint("guess", i), fmt.Sprintf("2001:db8:4:%x::1", i+1)}
		},
		maxCalls: 7, status: []int{401, 429},
	}, {
		name:     "different passwords from one IPv4 address",
		login:    func(i int) burstLogin { return burstLogin{fmt.Sprint("guess", i), "192.0.2.5"} },
		maxCalls: 5, status: []int{401, 429},
	}, {
		name:  "a wrong password from clients that hang up",
		login: func(int) burstLogin { return burstLogin{"wrong", "192.0.2.6"} }, hangUp: true, maxCalls: 1,
	}, {
		name:  "different passwords from clients that hang up",
		login: func(i int) burstLogin { return burstLogin{fmt.Sprint("guess", i), "192.0.2.7"} }, hangUp: true,
		maxCalls: 5,
	}, {
		name:  "the right password from one address",
		login: func(int) burstLogin { return burstLogin{burstSecret, "192.0.2.8"} }, maxCalls: 1, status: []int{200},
	}, {
		name:  "the right password, and PAM takes its time",
		login: func(int) burstLogin { return burstLogin{burstSecret, "192.0.2.9"} }, slow: true, maxCalls: 1,
		status: []int{200},
	},
}

func TestBurstsOfLogins(t *testing.T) {
	for _, c := range burstFrontends {
		t.Run(c.frontend.name, func(t *testing.T) {
			t.Parallel()
			o := envOptions{pam: faillockPAM, config: c.config, timeout: "10s\n  cache: 0s", proxied: true}
			p := newClient(openFrontend(t, c.frontend, o))
			few := slices.Contains(fewAtOnce, c.frontend.name)
			p.basic(faillockUser, burstSecret) // must appear nowhere
			for i, b := range bursts {
				t.Run(b.name, func(t *testing.T) {
					p.setPAMDelay(b.slow)
					before := len(p.pamCalls(t))
					var all sync.WaitGroup
					size := burstSize
					if few && b.slow {
						size /= 3 // the last wave would time out
					}
					for i := range size {
						all.Go(func() { p.sendOne(t, b.login(i), b.hangUp, b.status) })
					}
					// During the burst the owner logs in from another address.
					elsewhere := burstLogin{burstSecret, fmt.Sprintf("198.51.100.%d", i+1)}
					p.sendOne(t, elsewhere, false, []int{http.StatusOK})
					all.Wait()
					p.awaitQuiet(t)
					p.checkPAMCalls(t, few, p.pamCalls(t)[before:], elsewhere.from, b)
					if b.hangUp {
						p.guessUntilLocked(t, b.login(0).from, p.pamCalls(t)[before:])
					}
					p.sendOne(t, elsewhere, false, []int{http.StatusOK}) // resets pam_faillock
				})
			}
			p.checkSecrets(t)
		})
	}
}

// A pam_faillock lock keeps the owner out everywhere. One network cannot cause it in 15 minutes of
// guessing, compressed here to what the throttle admits at once; the throttle's locks only reduce
// the number of tries.
func TestFaillockIsNotReachedFromOneNetwork(t *testing.T) {
	for _, c := range burstFrontends {
		t.Run(c.frontend.name, func(t *testing.T) {
			t.Parallel()
			p := newClient(openFrontend(t, c.frontend,
				envOptions{pam: faillockPAM, config: c.config, timeout: "10s\n  cache: 0s", proxied: true}))
			p.setPAMDelay(false)
			for round := range 3 {
				var all sync.WaitGroup
				for i := range burstSize {
					all.Go(func() {
						// Several clients send each password, from a few /64s of one /48.
						l := burstLogin{fmt.Sprint("guess", round, i%8), fmt.Sprintf("2001:db8:9:%x::%x", i%4, i+1)}
						p.sendOne(t, l, false, []int{401, 429})
					})
				}
				all.Wait()
			}
			if n := p.faillockCount(t); n == 0 || n >= 12 {
				t.Errorf("pam_faillock has counted %d failures, want 1 to 11", n)
			}
			p.sendOne(t, burstLogin{burstSecret, "198.51.100.1"}, false, []int{200})
			if n := p.faillockCount(t); n != 0 {
				t.Errorf("after a login pam_faillock has %d failures: the test does not see what it counts", n)
			}
		})
	}
}

// faillockPAM runs a real pam_faillock and a script, which takes its time, records the address of
// each login, and knows the password.
func faillockPAM(s *testEnv) string {
	for _, dir := range []string{"faillock", "calls"} {
		if err := os.Mkdir(s.path(dir), 0o755); err != nil {
			s.t.Fatal(err)
		}
	}
	script := s.write("ask", `#!/bin/sh
cd `+s.path("calls")+`
echo "$PAM_RHOST begin" >>log
sleep $(cat seconds)
echo "$PAM_RHOST end" >>log
test "$(tr -d '\000')" = "`+burstSecret+`"
`)
	if err := os.Chmod(script, 0o755); err != nil {
		s.t.Fatal(err)
	}
	return strings.NewReplacer("DIR", s.path("faillock"), "SCRIPT", script).Replace(
		`auth requisite pam_faillock.so preauth dir=DIR deny=12 silent nodelay
auth [success=1 default=ignore] pam_exec.so quiet expose_authtok SCRIPT
auth [default=die] pam_faillock.so authfail dir=DIR deny=12 silent nodelay
auth required pam_faillock.so authsucc dir=DIR deny=12 silent
account required pam_permit.so
`)
}

// sendOne sends a login and checks for one of some statuses, or disconnects before the answer.
func (c *client) sendOne(t *testing.T, l burstLogin, hangUp bool, status []int) {
	t.Helper()
	request := c.burstRequest(l)
	if hangUp {
		conn, err := net.Dial("tcp", c.address)
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, request)
		time.Sleep(150 * time.Millisecond)
		return
	}
	answer, body, err := exchange("", c.address, request)
	if err != nil {
		t.Error(err)
		return
	}
	if !slices.Contains(status, answer.StatusCode) {
		t.Errorf("%s: status %d, want %v: %s", l.from, answer.StatusCode, status, body)
	}
}

// checkPAMCalls checks the passwords that PAM was asked about, except for the owner's login from
// elsewhere.
func (c *client) checkPAMCalls(t *testing.T, few bool, calls []string, elsewhere string, b burst) {
	t.Helper()
	passwords, atOnce, now := 0, 0, 0
	for _, line := range calls {
		from, what, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch {
		case from == elsewhere:
		case what == "begin":
			passwords++
			now++
			atOnce = max(atOnce, now)
		default:
			now--
		}
	}
	if b.login(0).password == b.login(1).password && atOnce > 1 {
		t.Errorf("PAM was asked about one password %d times at once", atOnce)
	}
	most := b.maxCalls
	if few && b.login(0).password == burstSecret {
		most = burstSize // in later waves the first answer is already remembered
	}
	if passwords == 0 || passwords > most {
		t.Errorf("PAM was asked about %d passwords, want at most %d: %q", passwords, most, calls)
	}
}

// guessUntilLocked sends more passwords at once. Clients that disconnected before PAM was asked
// have left some tries, and no more than there were.
func (c *client) guessUntilLocked(t *testing.T, from string, before []string) {
	t.Helper()
	count := func(lines []string) int {
		return len(slices.DeleteFunc(slices.Clone(lines),
			func(l string) bool { return strings.TrimSpace(l) != from+" begin" }))
	}
	already, all := len(c.pamCalls(t)), sync.WaitGroup{}
	for i := range 6 {
		all.Go(func() {
			c.sendOne(t, burstLogin{fmt.Sprint("more", i), from}, false,
				[]int{http.StatusUnauthorized, http.StatusTooManyRequests})
		})
	}
	all.Wait()
	c.sendOne(t, burstLogin{"one more", from}, false, []int{http.StatusTooManyRequests})
	if n := count(before) + count(c.pamCalls(t)[already:]); n != 5 {
		t.Errorf("PAM was asked about %d passwords before the lock, want 5", n)
	}
}

// setPAMDelay sets how long PAM takes for an answer.
func (c *client) setPAMDelay(slow bool) {
	seconds := "0.5" // the programs of a burst start within it
	if slow {
		seconds = "2.5"
	}
	c.write("calls/seconds", seconds)
}

func (c *client) burstRequest(l burstLogin) string {
	basic := base64.StdEncoding.EncodeToString([]byte(faillockUser + ":" + l.password))
	return get(serviceIs, "Authorization: Basic "+basic, "X-Forwarded-For: "+l.from)(c)
}

// pamCalls has two lines for each password that PAM was asked about: its address, and "begin" or
// "end".
func (c *client) pamCalls(t *testing.T) []string {
	t.Helper()
	b, err := os.ReadFile(c.path("calls/log"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return slices.Collect(strings.Lines(string(b)))
}

// awaitQuiet waits until the burst is over: a disconnected client leaves a conversation behind.
func (c *client) awaitQuiet(t *testing.T) {
	t.Helper()
	eventually(t, answerWithin, "the end of all conversations", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), answerWithin)
		defer cancel()
		return exec.CommandContext(ctx, "pgrep", "-f", c.path("ask")).Run() != nil
	})
}

// faillockCount is pam_faillock's counter for the user.
func (c *client) faillockCount(t *testing.T) int {
	t.Helper()
	out, err := exec.Command("faillock", "--dir", c.path("faillock"), "--user", faillockUser).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	n := 0
	for line := range strings.Lines(string(out)) {
		if strings.HasSuffix(strings.TrimSpace(line), " V") { // valid, in the last column
			n++
		}
	}
	return n
}
