package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A state folder shares one count between processes that share nothing else.
var throttleFrontends = []struct {
	frontend frontend
	state    bool
}{{httpFrontend, false}, {nginxFastCGI, false}, {nginxHTTP, false}, {bareCGI, true}, {apacheCGI, true},
	{apacheFcgid, true}, {httpFrontend, true}}

// tries sends logins and checks that all have the same status.
func (c *client) tries(t *testing.T, status int, user, from string, passwords ...string) (last *http.Response) {
	t.Helper()
	for _, password := range passwords {
		c.from = from
		answer, body, err := c.exchange(login(user, password, serviceIs)(c))
		if err != nil {
			t.Fatal(err)
		}
		if answer.StatusCode != status {
			t.Fatalf("%s with %q from %s: status %d, want %d: %s", user, password, from, answer.StatusCode, status,
				body)
		}
		c.asked++
		last = answer
	}
	return last
}

func TestFiveWrongPasswordsLockTheUserAtThatAddress(t *testing.T) {
	for _, c := range throttleFrontends {
		name := c.frontend.name
		if c.state {
			name += " with a state folder"
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := envOptions{}
			if c.state {
				o.config = "state: state\n"
			}
			p := newClient(openFrontend(t, c.frontend, o))
			here, there := freshAddress(), freshAddress()
			p.tries(t, 401, alice, here, "one", "two", "three", "four")
			p.tries(t, 200, alice, here, alicePassword) // clears the count
			p.tries(t, 401, alice, here, "one")         // remembered, so it does not count again
			p.tries(t, 401, alice, here, "five", "six", "seven", "eight", "nine")
			answer := p.tries(t, 429, alice, here, "ten", alicePassword)
			if after, err := strconv.Atoi(answer.Header.Get("Retry-After")); err != nil || after < 1 || after > 30 {
				t.Errorf("Retry-After %q, want 1 to 30 seconds", answer.Header.Get("Retry-After"))
			}
			p.tries(t, 200, alice, there, alicePassword)
			p.tries(t, 200, bob, here, defaultAccounts[bob])
			lines := p.awaitRequestLines(p.asked)
			throttled := 0
			for _, l := range lines {
				if l["outcome"] == "throttled" && strings.Contains(fmt.Sprint(l["reason"]), "locked for another") {
					throttled++
				}
			}
			if throttled != 2 {
				t.Errorf("the log has %d lines on throttled requests, want 2: %v", throttled, lines)
			}
			p.keepSecret("three", alicePassword, defaultAccounts[bob])
			p.checkSecrets(t)
		})
	}
}

// The web server's example is changed so that it does not name the client.
func TestClientsWithoutAnAddressAreLockedTogetherAndTheLogSaysSo(t *testing.T) {
	for _, c := range []struct {
		frontend       frontend
		line, new, fix string
	}{
		{nginxFastCGI, "fastcgi_param REMOTE_ADDR       $remote_addr;", "",
			"nginx: fastcgi_param REMOTE_ADDR $remote_addr;"},
		{caddyFastCGI, "env SCRIPT_NAME /dockerauth", "env REMOTE_ADDR \"\"", "Caddy: env REMOTE_ADDR {remote_host}"},
		{haproxyFastCGI, "docroot /\n", "docroot /\n    set-param REMOTE_ADDR %[str(unix)]\n",
			"HAProxy: accept-proxy on the bind line"},
	} {
		t.Run(c.frontend.name, func(t *testing.T) {
			t.Parallel()
			p := newClient(openFrontend(t, c.frontend, envOptions{}, [2]string{c.line, c.new}))
			p.tries(t, 401, alice, freshAddress(), "one", "two", "three", "four", "five")
			p.tries(t, 429, alice, freshAddress(), alicePassword)
			p.tries(t, 200, bob, freshAddress(), defaultAccounts[bob])
			lines := p.awaitRequestLines(p.asked)
			if reason := fmt.Sprint(lines[5]["reason"]); !strings.Contains(reason, "no client address") {
				t.Errorf("reason of the lock: %s", reason)
			}
			warned := 0
			for _, l := range p.logLines() {
				if strings.HasPrefix(fmt.Sprint(l["msg"]), "logins arrive without the address") {
					warned++
					if l["fix"] != c.fix {
						t.Errorf("fix %v, want %s", l["fix"], c.fix)
					}
				}
			}
			if warned != 1 {
				t.Errorf("%d warnings, want 1: %v", warned, p.logLines())
			}
			p.checkSecrets(t)
		})
	}
}

// A mistyped password comes twice from containerd and related clients: by POST, then by GET. The
// module writes a line each time it is asked.
func TestPAMIsAskedOnceAboutOneMistypedPassword(t *testing.T) {
	for _, c := range throttleFrontends {
		t.Run(fmt.Sprint(c.frontend.name, " state ", c.state), func(t *testing.T) {
			t.Parallel()
			o := envOptions{pam: countingPAM("")}
			if c.state {
				o.config = "state: state\n"
			}
			p := newClient(openFrontend(t, c.frontend, o))
			asked := func() int { return timesAsked(p) }
			p.from = freshAddress()
			for _, request := range []string{
				post("grant_type=password&username=alice&password=mistyped&service=" + audience)(p),
				login(alice, "mistyped", serviceIs)(p),
				login(alice, "mistyped", serviceIs)(p),
			} {
				answer, body, err := p.exchange(request)
				if err != nil || answer.StatusCode != http.StatusUnauthorized {
					t.Fatalf("%v %v %s", err, answer, body)
				}
			}
			if n := asked(); n != 1 {
				t.Errorf("PAM was asked %d times, want once", n)
			}
			p.tries(t, 200, alice, p.from, alicePassword)
			if n := asked(); n != 2 {
				t.Errorf("PAM was asked %d times, want twice", n)
			}
		})
	}
}

// countingPAM writes a line each time PAM is asked, and then runs more.
func countingPAM(more string) func(s *testEnv) string {
	return func(s *testEnv) string {
		count := s.write("count", "#!/bin/sh\necho asked >>"+s.path("run/asked")+"\n"+more+"\n")
		if err := os.Chmod(count, 0o755); err != nil {
			s.t.Fatal(err)
		}
		return "auth optional pam_exec.so quiet " + count + "\n" + defaultPAM(s)
	}
}

func timesAsked(c *client) int {
	b, _ := os.ReadFile(c.path("run/asked"))
	return strings.Count(string(b), "asked")
}

// The guess of a client that disconnects before the answer counts. Each guess is sent twice; the
// first client disconnects while the second waits, and neither cancels the other's try.
func TestAClientThatHangsUpHasHadItsTry(t *testing.T) {
	for _, th := range []frontend{httpFrontend, nginxFastCGI} {
		t.Run(th.name, func(t *testing.T) {
			t.Parallel()
			c := newClient(openFrontend(t, th, envOptions{pam: countingPAM("sleep 0.7"), timeout: "5s"}))
			c.from = freshAddress()
			for i := range 12 {
				request := login(alice, fmt.Sprint("guess", i), serviceIs)(c)
				for range 2 {
					c.hangUpOn(t, request, 150*time.Millisecond)
				}
			}
			more := 0
			eventually(t, 10*time.Second, "the lock", func() bool {
				more++ // clients that left the queue, so PAM was not asked
				answer, _, err := c.exchange(login(alice, fmt.Sprint("more", more), serviceIs)(c))
				return err == nil && answer.StatusCode == http.StatusTooManyRequests
			})
			c.tries(t, 429, alice, c.from, alicePassword)
			if n := timesAsked(c); n != 5 {
				t.Errorf("PAM was asked %d times about guesses, want 5", n)
			}
			c.tries(t, 200, alice, freshAddress(), alicePassword)
		})
	}
}

// hangUpOn sends a request and disconnects before the answer, or with it if it comes sooner.
func (c *client) hangUpOn(t *testing.T, request string, after time.Duration) {
	t.Helper()
	dialer := net.Dialer{Timeout: 5 * time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP(c.from)}}
	conn, err := dialer.Dial("tcp", c.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(after))
	_, _ = conn.Read(make([]byte, 1))
}

// The default folder may belong to another program; one named in the configuration is intended.
func TestAStateFolderThatCannotBeUsed(t *testing.T) {
	needRoot(t, "a folder of another user")
	s := newTestEnv(t, envOptions{config: "state: foreign\n"})
	if err := os.Mkdir(s.path("foreign"), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := s.asWeb(exec.Command(s.program, "http", "--listen", fmt.Sprintf("127.0.0.1:%d", freePort(t))))
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	place := regexp.MustCompile(`config\.yml:\d+: state: `)
	if o := run(t, "", cmd); o.status != 1 || !place.MatchString(o.stderr) || !strings.Contains(o.stderr, "\n  ") {
		t.Errorf("want status 1, the line and a remedy: %v", o)
	}
}
