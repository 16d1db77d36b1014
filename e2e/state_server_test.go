package e2e

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// newStateCluster is two machines behind nginx that share a state server.
func newStateCluster(t *testing.T, state string) *cluster {
	t.Helper()
	need(t, "nginx", "nginx")
	c, _ := newCluster(t, (*cluster).nginx, state)
	return c
}

// at is a client of one machine, whose requests do not pass the balancer.
func (c *cluster) at(i int) *client {
	m := *c.machines[i]
	m.mounts = []string{""}
	return newClient(&m)
}

func useRefresh(token, query string) func(c *client) string {
	return post("grant_type=refresh_token&refresh_token=" + url.QueryEscape(token) + "&" + query)
}

func TestMachinesWithOneServerCountWrongPasswordsTogether(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	c := newStateCluster(t, server.address())
	from := freshAddress()
	statuses := make([]int, 12)
	var all sync.WaitGroup
	for i := range statuses {
		request := login(alice, "guess "+strconv.Itoa(i), serviceIs)(c.client)
		all.Go(func() {
			answer, body, err := exchange(from, c.client.address, request)
			if err != nil {
				t.Errorf("%v %s", err, body)
				return
			}
			statuses[i] = answer.StatusCode
		})
	}
	all.Wait()
	got := map[int]int{}
	for _, status := range statuses {
		got[status]++
	}
	if got[http.StatusUnauthorized] != 5 || got[http.StatusTooManyRequests] != 7 {
		t.Errorf("of 12 guesses there were refused and throttled %v, want 5 and 7", got)
	}
	for i, m := range c.machines {
		if n := len(m.requestLines()); n == 0 || n == 12 {
			t.Errorf("machine %d has heard %d of 12 guesses", i, n)
		}
		c.at(i).tries(t, http.StatusTooManyRequests, alice, from, alicePassword)
		c.at(i).tries(t, http.StatusOK, alice, freshAddress(), alicePassword)
	}
	clearLocks := blockOf(t, "../docs/wrong-passwords.md", "run", "clear-server")
	mustRun(t, "sh", "-euc", strings.ReplaceAll(clearLocks, "redis-cli", server.cli()))
	for i := range c.machines {
		c.at(i).tries(t, http.StatusOK, alice, from, alicePassword)
	}
}

// A server with TLS, a client's certificate and a password.
func TestARevocationHoldsOnAllMachinesFromTheNextRequestOn(t *testing.T) {
	t.Parallel()
	const password = "canary-of-the-state-server"
	server, address := startRedisWithTLS(t, password)
	c := newStateCluster(t, address)
	c.client.keepSecret(password)
	one, two := c.at(0), c.at(1)
	status := func(what string, want int, send func(c *client) string) {
		t.Helper()
		for i, m := range []*client{one, two, c.client} {
			if got := m.ask(t, send); got.status != want {
				t.Errorf("%s at %s: %d, want %d: %s", what, []string{"one", "the other", "the balancer"}[i], got.status,
					want, got.body)
			}
		}
	}
	refresh := func(m *client, user string) string {
		t.Helper()
		answer := m.ask(t, login(user, m.accounts[user], serviceIs+"&offline_token=true"))
		if answer.token.RefreshToken == nil {
			t.Fatalf("login: %d %s", answer.status, answer.body)
		}
		c.client.keepSecret(*answer.token.RefreshToken)
		return *answer.token.RefreshToken
	}
	robot := one.issue(t, alice, "--robot", "jenkins", "--scope", "repository:**:pull")
	ofAlice, first, second := refresh(two, alice), refresh(one, bob), refresh(two, bob)
	c.client.keepToken(robot)
	status("a robot", http.StatusOK, kept(robot, serviceIs))
	status("a login", http.StatusOK, useRefresh(ofAlice, serviceIs))

	two.revoke(t, robot.id)
	status("a revoked robot", http.StatusUnauthorized, kept(robot, serviceIs))
	one.revoke(t, jwtID(t, ofAlice))
	status("a revoked login", http.StatusUnauthorized, useRefresh(ofAlice, serviceIs))
	status("one of another user", http.StatusOK, useRefresh(first, serviceIs))
	two.revoke(t, "--user", bob)
	status("a login of bob", http.StatusUnauthorized, useRefresh(first, serviceIs))
	status("another of bob", http.StatusUnauthorized, useRefresh(second, serviceIs))
	status("a login of bob after that", http.StatusOK, useRefresh(refresh(one, bob), serviceIs))

	for _, m := range []*client{one, two} {
		m.secrets = c.client.secrets
		m.checkSecrets(t)
		if log := readFile(t, m.logFile); strings.Contains(log, "is not usable") {
			t.Errorf("the server was away: %s", log)
		}
	}
	c.client.checkFiles(t, server.dir)
}

// docs/operations.md says it for a server that comes back from a backup.
func TestAllLoginsEndOnAllMachines(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	c := newStateCluster(t, server.address())
	request := asAlice(serviceIs + "&offline_token=true")
	token := c.client.ask(t, request).token.RefreshToken
	if token == nil {
		t.Fatal("no refresh token")
	}
	expect := func(want int) {
		t.Helper()
		for i := range c.machines {
			if got := c.at(i).ask(t, useRefresh(*token, serviceIs)); got.status != want {
				t.Errorf("machine %d: %d, want %d: %s", i, got.status, want, got.body)
			}
		}
	}
	expect(http.StatusOK)
	c.machines[0].revoke(t, "--all", "--kind", "refresh")
	expect(http.StatusUnauthorized)
	if got := c.client.ask(t, request); got.status != http.StatusOK {
		t.Fatalf("login: %d %s", got.status, got.body)
	}
	expect(http.StatusUnauthorized)
}

// A program that a web server starts for each request remembers nothing of the last one's outage.
func TestAServerThatHangsCostsALoginASecondInEveryFrontend(t *testing.T) {
	for _, th := range append([]frontend{bareCGI}, tokenFrontends...) {
		t.Run(th.name, func(t *testing.T) {
			t.Parallel()
			server := startRedis(t)
			c := newClient(openFrontend(t, th, envOptions{config: "state: " + server.address() + "\n"}))
			robot, revoked := c.issue(t, alice, "--robot", "a", "--scope", "repository:**:pull"),
				c.issue(t, alice, "--robot", "b", "--scope", "repository:**:pull")
			c.revoke(t, revoked.id)
			timed := func(what string, want int, send func(c *client) string) (got answered, took time.Duration) {
				t.Helper()
				began := time.Now()
				if got = c.ask(t, send); got.status != want {
					t.Errorf("%s: %d, want %d: %s", what, got.status, want, got.body)
				}
				return got, time.Since(began)
			}
			password := asAlice(serviceIs + "&offline_token=true")
			refresh, usual := timed("a password", http.StatusOK, password)
			if refresh.token.RefreshToken == nil {
				t.Fatal("no refresh token")
			}
			refreshed := useRefresh(*refresh.token.RefreshToken, serviceIs)

			if err := server.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			meanwhile := func(what string, want int, send func(*client) string) {
				t.Helper()
				if _, took := timed(what, want, send); took > 2*storeWait+3*usual {
					t.Errorf("%s takes %v while the server hangs, and a password %v before", what, took, usual)
				}
			}
			for range 3 {
				meanwhile("a password", http.StatusOK, password)
			}
			meanwhile("a login", http.StatusServiceUnavailable, refreshed)
			meanwhile("a token", http.StatusServiceUnavailable, kept(robot, serviceIs))
			meanwhile("a revoked token", http.StatusServiceUnavailable, kept(revoked, serviceIs))
			if err := server.cmd.Process.Signal(syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
			eventually(t, answerWithin, "the server to be used again", func() bool {
				return c.ask(t, refreshed).status == http.StatusOK
			})
			timed("a token", http.StatusOK, kept(robot, serviceIs))
			timed("a revoked token", http.StatusUnauthorized, kept(revoked, serviceIs))
		})
	}
}

// docs/scaling.md says min-replicas-to-write for a server with a replica.
func TestAServerThatMissesItsReplicaTakesNoRevocation(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	c := newStateCluster(t, server.address())
	robot := c.at(0).issue(t, alice, "--robot", "jenkins", "--scope", "repository:**:pull")
	token := c.client.ask(t, asAlice(serviceIs+"&offline_token=true")).token.RefreshToken
	if token == nil {
		t.Fatal("no refresh token")
	}
	server.do("config", "set", "min-replicas-to-write", "1")
	for what, send := range map[string]func(*client) string{"a password": asAlice(serviceIs + "&offline_token=true"),
		"a login": useRefresh(*token, serviceIs), "a token": kept(robot, serviceIs)} {
		for i := range c.machines {
			if got := c.at(i).ask(t, send); got.status != http.StatusOK {
				t.Errorf("%s at machine %d: %d %s", what, i, got.status, got.body)
			}
		}
	}
	if o := run(t, "", c.machines[0].command("token", "revoke", robot.id)); o.status == 0 || o.stdout != "" ||
		!strings.Contains(o.stderr, "NOREPLICAS") {
		t.Errorf("a revocation: %v", o)
	}
	server.do("config", "set", "min-replicas-to-write", "0")
	c.machines[0].revoke(t, robot.id)
	for i := range c.machines {
		if got := c.at(i).ask(t, kept(robot, serviceIs)); got.status != http.StatusUnauthorized {
			t.Errorf("a revoked token at machine %d: %d %s", i, got.status, got.body)
		}
	}
}
