package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// adminFrontends are the long-lived front ends with an admin listener.
var adminFrontends = []struct {
	frontend
	admin func(s *testEnv) string
}{
	{frontend{name: "HTTP front end", open: func(t testing.TB, s *testEnv) {
		s.listen()
		s.serve("http", "--listen", s.address, "--admin", s.admin).ready(t, "tcp", s.address)
		s.mounts = []string{""}
	}}, func(s *testEnv) string { return fmt.Sprintf("127.0.0.1:%d", freePort(s.t)) }},
	{frontend{name: "nginx with FastCGI", needs: []string{"nginx"}, open: func(t testing.TB, s *testEnv) {
		sock := s.path("run/fcgi.sock")
		s.serve("fastcgi", "--listen", "unix:"+sock, "--admin", s.admin).ready(t, "unix", sock)
		s.nginx("packaging/nginx/fastcgi.conf", "/run/dockerauth/dockerauth.sock", sock)
	}}, func(s *testEnv) string { return "unix:" + s.path("run/admin.sock") }},
}

// adminTimeout is pam.timeout: a hanging login holds the one slot for this long.
const adminTimeout = "2s"

// openAdmin opens a front end whose PAM hangs for users named hang… and crashes for the user crash.
// It runs one conversation at a time.
func openAdmin(t *testing.T, frontend frontend, admin func(*testEnv) string) *client {
	t.Helper()
	need(t, frontend.name, frontend.needs...)
	module := faultModule(t)
	s := newTestEnv(t, envOptions{timeout: adminTimeout, pam: func(s *testEnv) string {
		operations := "crash=segv"
		for i := range 5 {
			operations += fmt.Sprintf(" hang%d=sleep:300", i)
		}
		return fmt.Sprintf("auth required %s folder=%s %s\n%s", module, s.dir, operations, defaultPAM(s))
	}})
	s.write("config.yml", strings.Replace(readFile(t, s.configFile), "  timeout:", "  concurrency: 1\n  timeout:", 1))
	if err := os.Chmod(s.configFile, 0o600); err != nil {
		t.Fatal(err)
	}
	s.own()
	s.admin = admin(s)
	frontend.open(t, s)
	return newClient(s)
}

// adminGet reads from the admin listener, which must never name a user.
func (s *testEnv) adminGet(path string) (status int, text string) {
	s.t.Helper()
	network, address := "tcp", s.admin
	if rest, ok := strings.CutPrefix(s.admin, "unix:"); ok {
		network, address = "unix", rest
	}
	client := http.Client{Timeout: answerWithin, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		}}}
	answer, err := client.Get("http://admin" + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, word := range append([]string{alice, alicePassword, bob, carol, dora, mallory, "hang", "crash", "127.",
		"wrong", "PRIVATE"}, defaultAccounts[dora]) {
		if strings.Contains(string(body), word) {
			s.t.Errorf("%s says %q: %s", path, word, body)
		}
	}
	return answer.StatusCode, string(body)
}

// metrics are the samples of /metrics, by name and labels, after promtool has accepted them.
func (s *testEnv) metrics() map[string]float64 {
	s.t.Helper()
	status, page := s.adminGet("/metrics")
	if status != http.StatusOK {
		s.t.Fatalf("/metrics: status %d: %s", status, page)
	}
	if o := run(s.t, page, exec.Command("promtool", "check", "metrics")); o.status != 0 || o.stdout+o.stderr != "" {
		s.t.Errorf("promtool on /metrics: %v\n%s", o, page)
	}
	samples := make(map[string]float64)
	for line := range strings.Lines(page) {
		if name, value, _ := strings.Cut(strings.TrimSpace(line), "} "); !strings.HasPrefix(line, "#") && value != "" {
			samples[name+"}"], _ = strconv.ParseFloat(value, 64)
		} else if name, value, found := strings.Cut(strings.TrimSpace(line), " "); !strings.HasPrefix(line, "#") &&
			found {
			samples[name], _ = strconv.ParseFloat(value, 64)
		}
	}
	return samples
}

// health is the status code and content of /healthz.
func (s *testEnv) health() (status int, state string, reasons []string) {
	s.t.Helper()
	status, text := s.adminGet("/healthz")
	var h struct {
		Status  string
		Reasons []string
	}
	if err := json.Unmarshal([]byte(text), &h); err != nil {
		s.t.Fatalf("/healthz: %v: %s", err, text)
	}
	return status, h.Status, h.Reasons
}

func (s *testEnv) wantHealth(code int, state, reason string) {
	s.t.Helper()
	if status, got, reasons := s.health(); status != code || got != state ||
		!strings.Contains(strings.Join(reasons, "\n"), reason) {
		s.t.Errorf("/healthz: %d, %s, %q; want %d, %s, %q", status, got, reasons, code, state, reason)
	}
}

func TestMetricsAreThoseOfTheLog(t *testing.T) {
	need(t, "Prometheus' own checks (Debian: prometheus)", "promtool")
	for _, frontend := range adminFrontends {
		t.Run(frontend.name, func(t *testing.T) {
			t.Parallel()
			c := openAdmin(t, frontend.frontend, frontend.admin)
			here, there := freshAddress(), freshAddress()
			c.tries(t, 200, alice, here, alicePassword, alicePassword, alicePassword)
			c.tries(t, 401, bob, here, "wrong1", "wrong2", "wrong3", "wrong4", "wrong5")
			c.tries(t, 429, bob, here, "wrong6", "wrong7")
			c.tries(t, 401, carol, there, defaultAccounts[carol])
			c.tries(t, 401, mallory, there, defaultAccounts[mallory])
			c.tries(t, 503, dora, there, defaultAccounts[dora])
			c.tries(t, 503, "crash", there, "any")
			c.answered(t, 400, get("service=another", c.basic(alice, alicePassword))(c))
			c.answered(t, 401, get(serviceIs)(c))
			c.hangAtOnce(t)
			c.hangUp(t)

			want := map[string]int{}
			lines := c.awaitRequestLines(c.asked)
			for _, l := range lines {
				want[fmt.Sprint(l["outcome"])]++
			}
			if len(lines) != c.asked || len(want) != 7 {
				t.Fatalf("%d requests, %d lines, of outcomes %v: there should be one of each kind", c.asked, len(lines),
					want)
			}
			got := c.metrics()
			for outcome, n := range want {
				if value := got[`dockerauth_requests_total{outcome="`+outcome+`"}`]; value != float64(n) {
					t.Errorf("%v requests ended as %s, the log has %d", value, outcome, n)
				}
			}
			for name, n := range map[string]int{
				"dockerauth_request_duration_seconds_count":             c.asked,
				"dockerauth_pam_cache_hits_total":                       2,
				`dockerauth_pam_conversations_total{result="accepted"}`: 1,
				// A blacklisted account and a request without credentials are refused without
				// asking PAM.
				`dockerauth_pam_conversations_total{result="refused"}`: 6,
				// The conversation of the client that disconnected ran to its time limit without an
				// answer.
				`dockerauth_pam_conversations_total{result="broken"}`:    want["broken"] + want["abandoned"],
				`dockerauth_pam_conversations_total{result="busy"}`:      want["busy"],
				`dockerauth_pam_conversations_total{result="abandoned"}`: 0,
				"dockerauth_pam_queue_length":                            0,
				"dockerauth_config_last_load_successful":                 1,
			} {
				if got[name] != float64(n) {
					t.Errorf("%s is %v, want %d", name, got[name], n)
				}
			}
			// The service can read its own entries in /proc although its memory is protected.
			if fds := got["process_open_fds"]; fds < 5 || got["process_resident_memory_bytes"] < 1<<20 ||
				got["process_max_fds"] < fds {
				t.Errorf("process metrics: %v", got)
			}
			c.checkSecrets(t)
		})
	}
}

// answered sends a request and checks the status.
func (c *client) answered(t *testing.T, status int, request string) {
	t.Helper()
	answer, body, err := c.exchange(request)
	if err != nil || answer.StatusCode != status {
		t.Fatalf("%v, want %d: %v %s", err, status, answer, body)
	}
	c.asked++
}

// hangAtOnce sends four hanging logins for one slot: the first fails, the others time out in the
// queue.
func (c *client) hangAtOnce(t *testing.T) {
	t.Helper()
	var all sync.WaitGroup
	for i := range 4 {
		from, request := freshAddress(), login(fmt.Sprint("hang", i), "any password", serviceIs)(c)
		all.Go(func() {
			if answer, body, err := exchange(from, c.address, request); err != nil ||
				answer.StatusCode != http.StatusServiceUnavailable {
				t.Errorf("%v: %v %s", err, answer, body)
			}
		})
		c.asked++
	}
	eventually(t, answerWithin, "logins that wait",
		func() bool { return c.metrics()["dockerauth_pam_queue_length"] >= 2 })
	all.Wait()
}

// hangUp begins a login and disconnects while PAM is working.
func (c *client) hangUp(t *testing.T) {
	t.Helper()
	conn, err := net.Dial("tcp", c.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := send(conn, login("hang4", "any password", serviceIs)(c)); err != nil {
		t.Fatal(err)
	}
	eventually(t, answerWithin, "the conversation", func() bool {
		for _, pid := range childrenOf(c.service.cmd.Process.Pid) {
			if args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil &&
				strings.Contains(string(args), "internal-pam-worker") {
				return true
			}
		}
		return false
	})
	c.asked++
}

func TestHealthFollowsPAM(t *testing.T) {
	need(t, "Prometheus' own checks (Debian: prometheus)", "promtool")
	for _, frontend := range adminFrontends {
		t.Run(frontend.name, func(t *testing.T) {
			t.Parallel()
			c := openAdmin(t, frontend.frontend, frontend.admin)
			c.wantHealth(http.StatusOK, "ok", "")
			c.tries(t, 503, "crash", freshAddress(), "one", "two", "three", "four")
			c.wantHealth(http.StatusOK, "ok", "")
			c.tries(t, 503, "hang0", freshAddress(), "five")
			c.wantHealth(http.StatusServiceUnavailable, "degraded", "PAM gave no answer")
			if healthy := c.metrics()["dockerauth_ready"]; healthy != 0 {
				t.Errorf("dockerauth_ready is %v", healthy)
			}
			c.tries(t, 401, bob, freshAddress(), "a no is an answer")
			c.wantHealth(http.StatusOK, "ok", "")

			service := c.path("pam.d/dockerauth")
			good := readFile(t, service)
			if err := os.Remove(service); err != nil {
				t.Fatal(err)
			}
			c.wantHealth(http.StatusServiceUnavailable, "degraded", "PAM service file")
			c.write("pam.d/dockerauth", good)
			c.wantHealth(http.StatusOK, "ok", "")
		})
	}
}

// A unit's socket exists before the configuration. systemd must not give up on the service, and
// /healthz must tell.
func TestHealthOfAServiceThatWaitsForItsConfiguration(t *testing.T) {
	need(t, "a socket of systemd's", "systemd-socket-activate")
	s := newTestEnv(t, envOptions{})
	good := readFile(t, s.configFile)
	s.write("config.yml", good+"isuer: typo\n")
	s.listen()
	s.mounts = []string{""}
	s.admin = fmt.Sprintf("127.0.0.1:%d", freePort(t))
	s.service = s.start("systemd-socket-activate",
		s.asWeb(exec.Command("systemd-socket-activate", "-l", s.address, s.program, "http", "--admin", s.admin)))
	c := newClient(s)
	s.service.until(t, "listen", func() bool { // the first connection makes it dockerauth
		answer, _, err := c.exchange(asAlice(serviceIs)(c))
		return err == nil && answer.StatusCode == http.StatusServiceUnavailable
	})
	s.wantHealth(http.StatusServiceUnavailable, "degraded", "no usable configuration")
	s.write("config.yml", good)
	eventually(t, 10*time.Second, "health", func() bool { status, _, _ := s.health(); return status == http.StatusOK })
	c.tries(t, 200, alice, freshAddress(), alicePassword)
	s.wantHealth(http.StatusOK, "ok", "")
	if n := strings.Count(s.service.output(), "every request is answered with 503"); n != 1 {
		t.Errorf("the cause was said %d times: %s", n, s.service.output())
	}
}

// Prometheus accepts the rules in docs/operations.md.
func TestTheAlertsInOperationsAreRules(t *testing.T) {
	need(t, "Prometheus' own checks (Debian: prometheus)", "promtool")
	m := regexp.MustCompile(`(?m)^    groups:\n(?:    .*\n)+`).FindString(readFile(t, "../docs/operations.md"))
	if m == "" {
		t.Fatal("docs/operations.md has no rules")
	}
	file := writeFile(t, t.TempDir()+"/rules.yml", regexp.MustCompile(`(?m)^    `).ReplaceAllString(m, ""), 0o644)
	if o := run(t, "", exec.Command("promtool", "check", "rules", file)); o.status != 0 ||
		!strings.Contains(o.stdout, "SUCCESS: 5 rules found") {
		t.Error(o)
	}
}
