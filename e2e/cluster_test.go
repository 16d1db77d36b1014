package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// cluster is two machines with the same key, certificate and configuration, and nothing else in
// common but a state server, behind a load balancer.
type cluster struct {
	t        testing.TB
	machines []*testEnv
	client   *client // client of the first machine, at the balancer's address
}

// balancers are the shipped examples. Debian packages: nginx-light, haproxy.
var balancers = []struct {
	name  string
	needs string
	start func(c *cluster, port int) (log func() string)
	cut   string // its log line about a machine that died while answering; "" = none
}{
	{"nginx", "nginx", (*cluster).nginx, "upstream prematurely closed connection"},
	{"HAProxy", "haproxy", (*cluster).haproxy, ""},
}

// clusterConfig makes every login a PAM conversation, and lets anyone pull.
func clusterConfig(state string) envOptions {
	return envOptions{
		timeout: "10s\n  cache: 0s",
		config: "certificate: cert.pem\nstate: " + state + "\naccess:\n- allow: [pull]\n  to: [anyone]\n" +
			"- allow: [pull, push]\n  to: [users]\n",
	}
}

// ownState is a folder of each machine's.
const ownState = "state"

func newCluster(t *testing.T, start func(c *cluster, port int) func() string, state string) (c *cluster,
	log func() string) {
	t.Helper()
	one := newTestEnv(t, clusterConfig(state))
	c = &cluster{t: t, machines: []*testEnv{one, one.clone()}}
	for _, m := range c.machines {
		m.listen()
		m.serve("http", "--listen", m.address).ready(t, "tcp", m.address)
	}
	port := freePort(t)
	log = start(c, port)
	front := *one
	front.mounts, front.address = []string{""}, fmt.Sprintf("127.0.0.1:%d", port)
	c.client = newClient(&front)
	return c, log
}

// clone makes a second machine: a folder with the files of the first, as rsync leaves them, and its
// own paths.
func (s *testEnv) clone() *testEnv {
	s.t.Helper()
	dir := shortDir(s.t)
	run(s.t, "", exec.Command("cp", "-a", s.dir+"/.", dir)).must(s.t)
	site := *s.site
	site.dir, site.keyFile, site.certFile = dir, filepath.Join(dir, "key.pem"), filepath.Join(dir, "cert.pem")
	site.configFile, site.confdir = filepath.Join(dir, "config.yml"), filepath.Join(dir, "pam.d")
	for _, file := range []string{site.configFile, filepath.Join(site.confdir, "dockerauth")} {
		// Owner and mode stay.
		if err := os.WriteFile(file, []byte(strings.ReplaceAll(readFile(s.t, file), s.dir, dir)), 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
	return &testEnv{site: &site, t: s.t, program: filepath.Join(dir, "dockerauth"),
		logFile: filepath.Join(dir, "service.log"), web: s.web, groups: s.groups}
}

// nginx starts it with the shipped example as its only site, without TLS.
func (c *cluster) nginx(port int) func() string {
	s := c.machines[0]
	site := s.write("run/several.conf", s.shipped("packaging/nginx/several.conf",
		"10.0.0.1:5002", c.machines[0].address, "10.0.0.2:5002", c.machines[1].address, "443 ssl",
		fmt.Sprintf("127.0.0.1:%d", port),
		"    ssl_certificate     /etc/ssl/auth.example.com/fullchain.pem;\n"+
			"    ssl_certificate_key /etc/ssl/auth.example.com/privkey.pem;\n", ""))
	s.startNginx("include "+site+";\n", fmt.Sprintf("127.0.0.1:%d", port))
	return func() string { return readFile(s.t, s.path("run/nginx.log")) }
}

// haproxy starts it with the shipped example and no other section, without TLS.
func (c *cluster) haproxy(port int) func() string {
	s := c.machines[0]
	config := s.write("run/haproxy.cfg", s.shipped("packaging/haproxy/several.cfg",
		"10.0.0.1:5002", c.machines[0].address, "10.0.0.2:5002", c.machines[1].address,
		":443 ssl crt /etc/haproxy/auth.example.com.pem", fmt.Sprintf("127.0.0.1:%d", port)))
	p := s.start("haproxy", exec.Command("haproxy", "-db", "-f", config))
	p.ready(s.t, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
	return p.output
}

// served is how many requests a machine has granted.
func (s *testEnv) served() (n int) {
	for _, line := range s.requestLines() {
		if line["outcome"] == "granted" {
			n++
		}
	}
	return n
}

// kill ends a service as a power cut or the kernel's OOM killer does.
func (s *testEnv) kill() {
	s.t.Helper()
	if err := s.service.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		s.t.Fatal(err)
	}
	<-s.service.exited
}

// restart starts a new service, as a service manager does. fault_kill_test.go says why one try may
// not be enough.
func (s *testEnv) restart() {
	s.t.Helper()
	listening := func() int { return s.countLogLines("listening") }
	for range restartsMax {
		before := listening()
		p := s.serve("http", "--listen", s.address)
		eventually(s.t, answerWithin, "a service to listen or to give up",
			func() bool { return listening() > before || !p.running() })
		if p.running() {
			return
		}
	}
	s.t.Fatal("the service cannot be restarted")
}

// tempUsers send requests of every kind, one after another, until stopped.
type tempUsers struct {
	cluster *cluster
	done    atomic.Int64
	stop    chan struct{}
	all     sync.WaitGroup

	mu     sync.Mutex
	tokens []string // refresh tokens, of either machine
	lost   []string
}

const tempUsersAtOnce = 16

func (c *cluster) startUsers() *tempUsers {
	u := &tempUsers{cluster: c, stop: make(chan struct{})}
	for range tempUsersAtOnce {
		u.all.Go(func() {
			for {
				select {
				case <-u.stop:
					return
				default:
				}
				u.ask(int(u.done.Add(1)))
			}
		})
	}
	return u
}

// end stops them and returns what went wrong.
func (u *tempUsers) end() []string {
	close(u.stop)
	u.all.Wait()
	return u.lost
}

func (u *tempUsers) ask(n int) {
	user := []string{alice, bob}[n%2]
	password := u.cluster.machines[0].accounts[user]
	status, subject := http.StatusOK, user
	var request string
	scope := serviceIs + "&scope=" + appScope
	basic := func(password string) string {
		r, _ := http.NewRequest("GET", "http://x/", nil)
		r.SetBasicAuth(user, password)
		return "Authorization: " + r.Header.Get("Authorization")
	}
	c := *u.cluster.client // its secrets are not safe for concurrent use
	switch kind := n % 20; {
	case kind < 6:
		request = get(scope+"&offline_token=true", basic(password))(&c)
	case kind < 10:
		request = post("grant_type=password&username=" + user + "&password=" + url.QueryEscape(password) + "&" +
			scope)(&c)
	case kind < 16:
		if token := u.token(n); token != "" {
			subject, request = "", post("grant_type=refresh_token&refresh_token="+token+"&"+scope)(&c)
			break
		}
		fallthrough
	case kind < 19:
		subject, request = "", get(scope)(&c)
	default:
		status, request = http.StatusUnauthorized, get(scope, basic("wrong"))(&c)
	}
	answer, body, err := exchange(freshAddress(), c.address, request)
	if err != nil {
		u.lose("request %d: %v", n, err)
		return
	}
	if answer.StatusCode != status {
		u.lose("request %d: status %d, want %d: %s", n, answer.StatusCode, status, body)
		return
	}
	if status == http.StatusOK {
		u.check(n, subject, body)
	}
}

// check verifies a token with the cluster's key. subject "" = any.
func (u *tempUsers) check(n int, subject string, body []byte) {
	var got tokenAnswer
	if err := json.Unmarshal(body, &got); err != nil {
		u.lose("request %d: %v: %s", n, err, body)
		return
	}
	claims, err := verify(got.Token, u.cluster.machines[0].key.Public())
	if err != nil || subject != "" && claims.Subject != subject {
		u.lose("request %d: token of %q, want %q: %v", n, claims.Subject, subject, err)
	}
	if got.RefreshToken != nil && subject != "" {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.tokens = append(u.tokens, *got.RefreshToken)
	}
}

func (u *tempUsers) token(n int) string {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.tokens) == 0 {
		return ""
	}
	return u.tokens[n%len(u.tokens)]
}

func (u *tempUsers) lose(format string, args ...any) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.lost = append(u.lost, fmt.Sprintf(format, args...))
}

// more waits until n more requests were sent.
func (u *tempUsers) more(n int64) {
	u.cluster.t.Helper()
	until := u.done.Load() + n
	eventually(u.cluster.t, 2*time.Minute, fmt.Sprint(n, " more requests"),
		func() bool { return u.done.Load() >= until })
}

func TestOneOfTwoMachinesIsKilledAndNobodyNotices(t *testing.T) {
	for _, b := range balancers {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			need(t, b.name, b.needs)
			c, log := newCluster(t, b.start, startRedis(t).address())
			u := c.startUsers()
			u.more(100)
			for i, m := range slices.Concat(c.machines, c.machines, c.machines) {
				if i < 2*len(c.machines) {
					m.kill()
				} else if err := m.service.stop(t); err != nil { // as in an upgrade
					t.Errorf("a service that is stopped: %v", err)
				}
				u.more(150)
				before := m.served()
				m.restart()
				eventually(t, readyWithin, "the machine to be asked again", func() bool { return m.served() > before })
				u.more(50)
			}
			lost := u.end()
			if len(lost) > 0 {
				t.Errorf("of %d requests %d went wrong; the first: %s", u.done.Load(), len(lost), lost[0])
			}
			if b.cut != "" && !strings.Contains(log(), b.cut) {
				t.Errorf("no machine was killed while it was answering: the log of %s has no %q", b.name, b.cut)
			}
			for i, m := range c.machines {
				if m.served() < 100 {
					t.Errorf("machine %d has granted %d requests: the load was not shared", i, m.served())
				}
			}
			t.Logf("%d requests, %d and %d of them granted by either machine", u.done.Load(), c.machines[0].served(),
				c.machines[1].served())
		})
	}
}

// A machine with a folder of its own does not know what the other has revoked.
func TestARefreshTokenOfOneMachineIsGoodAtTheOtherUnlessItsRevocationWouldNotBeKnown(t *testing.T) {
	need(t, "nginx", "nginx")
	for _, tt := range []struct {
		name, state string
		there       int // status at the other machine
	}{
		{"one server", startRedis(t).address(), http.StatusOK},
		{"no state", `""`, http.StatusOK},
		{"a folder each", ownState, http.StatusUnauthorized},
	} {
		c, _ := newCluster(t, (*cluster).nginx, tt.state)
		var tokens []string
		for _, m := range c.machines {
			answer, body, err := exchange("", m.address, asAlice(serviceIs+"&offline_token=true")(c.client))
			var got tokenAnswer
			if err != nil || json.Unmarshal(body, &got) != nil || got.RefreshToken == nil {
				t.Fatalf("%s: %v %v %s", tt.name, err, answer, body)
			}
			tokens = append(tokens, *got.RefreshToken)
		}
		for i, m := range c.machines {
			for from, want := range map[int]int{i: http.StatusOK, 1 - i: tt.there} {
				answer, body, err := exchange("", m.address,
					post("grant_type=refresh_token&refresh_token="+tokens[from]+"&"+serviceIs)(c.client))
				if err != nil || answer.StatusCode != want {
					t.Errorf("%s, a token of machine %d at machine %d: %v %v %s", tt.name, from, i, err, answer, body)
				}
			}
		}
	}
}

// Two machines count separately, so there are twice as many tries.
func TestEachMachineCountsWrongPasswordsForItself(t *testing.T) {
	for _, b := range balancers {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			need(t, b.name, b.needs)
			c, _ := newCluster(t, b.start, ownState)
			from := freshAddress()
			got := map[int]int{}
			for i := range 12 {
				answer, body, err := exchange(from, c.client.address,
					login(alice, "guess "+strconv.Itoa(i), serviceIs)(c.client))
				if err != nil {
					t.Fatalf("%v %s", err, body)
				}
				got[answer.StatusCode]++
			}
			if got[http.StatusUnauthorized] != 10 || got[http.StatusTooManyRequests] != 2 {
				t.Errorf("of 12 guesses there were refused and throttled %v, want 10 and 2", got)
			}
			for i, m := range c.machines {
				for _, line := range m.requestLines() {
					if line["remote"] != from {
						t.Errorf("machine %d saw the guesses come from %v, want %s", i, line["remote"], from)
					}
				}
			}
		})
	}
}
