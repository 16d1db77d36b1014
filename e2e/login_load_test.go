package e2e

import (
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	loginLoadLogins   = 1000
	loginLoadWrong    = 10 // one in so many has a wrong password
	loginLoadPassword = "one-password-for-a-thousand-users"
	loginLoadTries    = 60 // of a client that is told to wait; on two idle cores two to four

	// The bounds on memory, in bytes. One conversation takes 16 MiB for the hash and as much for
	// its process, and there is one for each core. A waiting login takes little.
	loginLoadMaxPSS = 200_000_000
	loginLoadMaxRSS = 64_000_000

	loginLoadInterval = 50 * time.Millisecond // about the life of one conversation
)

// TestEveryLoginOfALoadPeakIsAnswered sends a thousand logins at the same moment, as after an
// outage of the service, at the cost of Debian's password hash. Every right password is accepted,
// at once or after a 503 and a retry; none is refused.
func TestEveryLoginOfALoadPeakIsAnswered(t *testing.T) {
	needRoot(t, "the memory of a process that hides itself")
	r := newMeasurements(t, fmt.Sprintf("%s logins at once, one in %d with a wrong password, yescrypt; %s",
		thousands(loginLoadLogins), loginLoadWrong, hardware(t)))
	r.head("front end                ", "let in at first", "told to wait", "most tries", "refused", "RSS, peak",
		"total PSS, peak", "longest answer", "until the last")
	for _, th := range []frontend{httpFrontend, nginxFastCGI} {
		t.Run(th.name, func(t *testing.T) {
			s := openFrontend(t, configured(th, useP256), envOptions{pam: yescryptPAM})
			w := watch(t, s.service.cmd.Process.Pid, loginLoadInterval)
			l := newLoginLoad(s)
			l.connect(t)
			began := time.Now()
			l.run()
			took := time.Since(began)
			w.end()
			l.wrong.report(t, "of the clients had a wrong answer")
			showErrors(t, s)
			checkLoginLoadMemory(t, s, w.ever)
			r.row(strings.Fields(th.name)[0]+" "+s.service.name,
				thousands(l.count(func(c *loadClient) bool { return c.tries == 1 && c.in })),
				thousands(l.count(func(c *loadClient) bool { return c.tries > 1 })), fmt.Sprint(l.mostTries()),
				thousands(l.count(func(c *loadClient) bool { return c.refused })),
				megabytes(max(w.ever.rss, peakRSS(t, w.pid))), megabytes(w.ever.totalPSS),
				l.longest().Round(time.Millisecond).String(), took.Round(time.Millisecond).String())
		})
	}
}

func checkLoginLoadMemory(t *testing.T, s *testEnv, ever processSnapshot) {
	t.Helper()
	if ever.children == 0 {
		t.Error("no conversation was ever seen: nothing was measured")
	}
	if ever.totalPSS >= loginLoadMaxPSS {
		t.Errorf("the service and its conversations took %s at once, want less than %s", megabytes(ever.totalPSS),
			megabytes(loginLoadMaxPSS))
	}
	if front := peakRSS(t, s.service.cmd.Process.Pid); front >= loginLoadMaxRSS {
		t.Errorf("the service itself took %s, want less than %s", megabytes(front), megabytes(loginLoadMaxRSS))
	}
}

// yescryptPAM keeps the accounts in a password file with Debian's hash. All have the same password
// and salt, so one hash serves for all; each check costs the same.
func yescryptPAM(s *testEnv) string {
	s.t.Helper()
	need(s.t, "accounts in a file (Debian: libpam-pwdfile)", "perl",
		"/usr/lib/x86_64-linux-gnu/security/pam_pwdfile.so")
	o := run(s.t, loginLoadPassword, exec.Command("perl", "-e", `print crypt(<STDIN>, q($y$j9T$AThousandPeople.$))`))
	if o.status != 0 || !strings.HasPrefix(o.stdout, "$y$") {
		missing(s.t, "make a yescrypt hash with crypt(3): %v", o)
	}
	var file strings.Builder
	for n := range loginLoadLogins {
		fmt.Fprintf(&file, "%s:%s\n", loginLoadName(n), o.stdout)
	}
	s.write("passwd", file.String())
	return fmt.Sprintf("auth required pam_pwdfile.so nodelay pwdfile=%s\naccount required pam_permit.so\n",
		filepath.Join(s.dir, "passwd"))
}

func loginLoadName(n int) string { return fmt.Sprintf("person%04d", n) }

// loadClient is one client of the load.
type loadClient struct {
	client  steadyClient
	request string
	name    string
	right   bool // the password

	tries       int
	in, refused bool
	longest     time.Duration
}

type loginLoad struct {
	site    *testEnv
	clients []*loadClient
	wrong   problems
}

func newLoginLoad(s *testEnv) *loginLoad {
	l := &loginLoad{site: s}
	for n := range loginLoadLogins {
		c := &loadClient{name: loginLoadName(n), right: n%loginLoadWrong != 0}
		password := loginLoadPassword
		if !c.right {
			password = fmt.Sprintf("not-the-password-%d", n)
		}
		c.client = steadyClient{address: s.address, from: loopback(n)}
		c.request = askGet(serviceIs+"&account="+c.name, c.name, password)
		l.clients = append(l.clients, c)
	}
	return l
}

// connect opens all connections before the first request.
func (l *loginLoad) connect(t *testing.T) {
	t.Helper()
	l.each(func(c *loadClient) {
		if err := c.client.connect(); err != nil {
			l.wrong.add("%s: connect: %v", c.name, err)
		}
	})
	if n := l.wrong.count(); n > 0 {
		l.wrong.report(t, "clients could not connect")
		t.FailNow()
	}
}

func (l *loginLoad) run() {
	l.each(func(c *loadClient) {
		if err := c.try(l.site); err != nil {
			l.wrong.add("%s, try %d, right password %v: %v", c.name, c.tries, c.right, err)
		}
	})
}

func (l *loginLoad) each(do func(c *loadClient)) {
	var all sync.WaitGroup
	for _, c := range l.clients {
		all.Go(func() { do(c) })
	}
	all.Wait()
}

// try repeats a login as told until the password is accepted or refused.
func (c *loadClient) try(s *testEnv) error {
	defer c.client.hangUp()
	for c.tries < loginLoadTries {
		c.tries++
		answer, err := c.client.ask(c.request)
		c.client.hangUp() // docker login is a new process each time
		if err != nil {
			return err
		}
		c.longest = max(c.longest, answer.took)
		done, err := c.judge(s, answer)
		if done || err != nil {
			return err
		}
		wait, err := answer.retryAfter()
		if err != nil {
			return err
		}
		time.Sleep(wait) // what a client does
	}
	return fmt.Errorf("still not in after %d tries", c.tries)
}

// judge reports whether an answer is the last one.
func (c *loadClient) judge(s *testEnv, answer loadAnswer) (done bool, err error) {
	switch {
	case answer.StatusCode == http.StatusServiceUnavailable:
		return false, answer.denied(http.StatusServiceUnavailable, "UNAVAILABLE")
	case !c.right && answer.StatusCode == http.StatusTooManyRequests:
		_, err = answer.retryAfter()
		return true, err
	case !c.right:
		c.refused = true
		return true, answer.denied(http.StatusUnauthorized, "UNAUTHORIZED")
	}
	got, err := answer.granted()
	if err != nil {
		return true, err
	}
	c.in = true
	return true, s.verifyToken(got.Token, s.key.Public(), c.name)
}

func (l *loginLoad) count(is func(c *loadClient) bool) (n int) {
	for _, c := range l.clients {
		if is(c) {
			n++
		}
	}
	return n
}

func (l *loginLoad) mostTries() (n int) {
	for _, c := range l.clients {
		n = max(n, c.tries)
	}
	return n
}

func (l *loginLoad) longest() (d time.Duration) {
	for _, c := range l.clients {
		d = max(d, c.longest)
	}
	return d
}
