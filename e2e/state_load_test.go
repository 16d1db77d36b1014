package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"dockerauth/credentials"
	"dockerauth/store"
)

// The moments of a fault of the state server.
const (
	momentBefore = iota
	momentAway
	momentBack // until it is normal
	momentAfter
	moments
)

var momentNames = [moments]string{"before", "away", "back", "after"}

// What clients show.
const (
	showPassword = "password"
	showWrong    = "wrong password"
	showLogin    = "login"   // a refresh token of before the fault
	showToken    = "token"   // a robot token of before the fault
	showRevoked  = "revoked" // a robot or refresh token whose revocation was reported done
)

var shown = []string{showPassword, showWrong, showLogin, showToken, showRevoked}

// stateFault is a way in which a state server fails under load.
type stateFault struct {
	name string
	// start returns what config.yml says. fault and repair are called later.
	start func(t *testing.T) (state string, fault func(), repair func(l *stateLoad))
	// answers of each moment to what was good before; for others see stateLoad.allowed.
	good [moments][]int
	// used is what a refresh token of a login at the moment "away" is worth later.
	used int
}

var stateFaults = []stateFault{
	{"it is killed, and comes back with its disk", func(t *testing.T) (string, func(), func(*stateLoad)) {
		s := startRedis(t)
		return s.address(), s.kill, func(*stateLoad) { s.start() }
	}, [moments][]int{{200, 503}, {503}, {200, 503}, {200, 503}}, 200},
	{"it is killed, and comes back empty", func(t *testing.T) (string, func(), func(*stateLoad)) {
		s := startRedis(t)
		return s.address(), s.kill, func(*stateLoad) {
			if err := os.RemoveAll(filepath.Join(s.dir, "appendonlydir")); err != nil {
				t.Fatal(err)
			}
			s.start()
		}
	}, [moments][]int{{200, 503}, {503}, {401, 503}, {401, 503}}, 401},
	{"it is slow", func(t *testing.T) (string, func(), func(*stateLoad)) {
		s := startRedis(t)
		return s.address(), func() { s.do("client", "pause", "6000") }, func(*stateLoad) {}
	}, [moments][]int{{200, 503}, {200, 503}, {200, 503}, {200, 503}}, 200},
	{"Sentinels fail over", func(t *testing.T) (string, func(), func(*stateLoad)) {
		master := startRedis(t)
		s := startSentinels(t, master)
		return s.address(), master.kill, func(l *stateLoad) {
			eventually(t, readyWithin, "another master", func() bool { return s.master() != master.host() })
			l.more(showRevoked, 5)
			master.start() // as a master, with less than the other has
		}
	}, [moments][]int{{200, 503}, {200, 503}, {200, 503}, {200, 503}}, 200},
}

// stateLoad are clients of two machines while their state server fails.
type stateLoad struct {
	t       *testing.T
	cluster *cluster
	fault   stateFault
	moment  atomic.Int32
	stop    chan struct{}
	clients sync.WaitGroup

	logins []string // refresh tokens
	robots []keptToken
	doomed []doomed // what is revoked one by one

	mu      sync.Mutex
	revoked []func(c *client) string
	failed  int // revocations that were not reported done
	got     [moments]map[string]counts
	slowest [moments]time.Duration // of right passwords
	made    [moments][]string      // refresh tokens of logins
	normal  int                    // answers in a row as after the fault
	wrong   []string
}

// doomed is a credential with the ID to revoke it by.
type doomed struct {
	id   string
	send func(c *client) string
}

const (
	doomedAtMost = 40 // revocations of a test: each is a process
	revokeEvery  = 6  // pauses between two of them
)

// prepare makes what the clients have before the fault.
func (l *stateLoad) prepare(state string) {
	l.t.Helper()
	server, err := store.OpenRedis(state)
	if err != nil {
		l.t.Fatal(err)
	}
	defer server.Close()
	records := &credentials.Records{Kept: server.Kept(), Counters: server.Counters()}
	robot := func(name string) keptToken {
		secret := credentials.NewSecret()
		token, err := records.Issue(context.Background(), secret, credentials.Token{Kind: credentials.Robot,
			User: alice, Robot: name, Scopes: []string{"repository:**:*"}, Expires: time.Now().Add(time.Hour),
			State: credentials.State{UID: -1, Shadow: credentials.ShadowNone}})
		if err != nil {
			l.t.Fatal(err)
		}
		return keptToken{secret.Reveal(), token.ID, token.Login()}
	}
	for i := range 4 {
		l.robots = append(l.robots, robot(fmt.Sprint("good", i)))
		l.logins = append(l.logins, l.login(alice))
	}
	for i := range doomedAtMost / 2 {
		k, refresh := robot(fmt.Sprint("doomed", i)), l.login(bob)
		l.doomed = append(l.doomed, doomed{k.id, kept(k, serviceIs)}, doomed{jwtID(l.t, refresh),
			useRefresh(refresh, serviceIs)})
	}
	l.revokeNext()
	l.revokeNext()
}

// login returns the refresh token of a login.
func (l *stateLoad) login(user string) string {
	l.t.Helper()
	_, body := l.ask(l.cluster.client.address, login(user, l.cluster.machines[0].accounts[user],
		serviceIs+"&offline_token=true"))
	token := refreshIn(body)
	if token == "" {
		l.t.Fatalf("login: %s", body)
	}
	return token
}

func refreshIn(body []byte) string {
	var got tokenAnswer
	if json.Unmarshal(body, &got) != nil || got.RefreshToken == nil {
		return ""
	}
	return *got.RefreshToken
}

// ask sends a request from an address of its own. Status 0 is no answer.
func (l *stateLoad) ask(address string, send func(c *client) string) (status int, body []byte) {
	c := *l.cluster.client
	c.secrets = map[string]bool{} // not safe for concurrent use
	answer, body, err := exchange(freshAddress(), address, send(&c))
	if err != nil {
		return noAnswer, []byte(err.Error())
	}
	return answer.StatusCode, body
}

// run starts the clients. A refusal takes a second, so that those who are refused have their own.
func (l *stateLoad) run() {
	for i := range 3 {
		l.clients.Go(func() {
			for n := i; l.goesOn(); n++ {
				l.show([]string{showPassword, showLogin, showToken}[n%3], n)
			}
		})
	}
	for i := range 3 {
		l.clients.Go(func() {
			for n := i; l.goesOn(); n++ {
				l.show([]string{showRevoked, showRevoked, showWrong}[n%3], n)
			}
		})
	}
	l.clients.Go(func() {
		for n := 1; l.goesOn() && len(l.doomed) > 0; n++ {
			if n%revokeEvery == 0 {
				l.revokeNext()
			}
		}
	})
}

func (l *stateLoad) goesOn() bool {
	select {
	case <-l.stop:
		return false
	case <-time.After(loadPause):
		return true
	}
}

// revokeNext revokes a credential by a command on one of the machines.
func (l *stateLoad) revokeNext() {
	next := l.doomed[0]
	l.doomed = l.doomed[1:]
	m := l.cluster.machines[len(l.doomed)/2%2]
	first := l.moment.Load()
	err := m.command("token", "revoke", next.id).Run()
	last := l.moment.Load()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil && first == momentAway && last == momentAway && !slices.Contains(l.fault.good[momentAway], 200) {
		l.wrong = append(l.wrong, "a revocation is reported done by a server that is not there")
	}
	if err != nil {
		l.failed++
		if !errors.As(err, new(*exec.ExitError)) {
			l.wrong = append(l.wrong, err.Error())
		}
		return
	}
	l.revoked = append(l.revoked, next.send)
}

// show sends one request and judges the answer.
func (l *stateLoad) show(what string, n int) {
	var send func(c *client) string
	const query = serviceIs + "&scope=" + appScope
	switch what {
	case showPassword:
		user := []string{alice, bob}[n/3%2]
		send = login(user, l.cluster.machines[0].accounts[user], query+"&offline_token=true")
	case showWrong:
		send = login(fmt.Sprint("unknown", time.Now().UnixNano()), "a wrong password", query)
	case showLogin:
		send = useRefresh(l.logins[n/3%len(l.logins)], query)
	case showToken:
		send = kept(l.robots[n/3%len(l.robots)], query)
	case showRevoked:
		l.mu.Lock()
		// The latest are those that a server may have lost.
		latest := min(len(l.revoked), 8)
		send = l.revoked[len(l.revoked)-1-n%latest]
		l.mu.Unlock()
	}
	first, began := l.moment.Load(), time.Now()
	status, body := l.ask(l.cluster.client.address, send)
	took, last := time.Since(began), l.moment.Load()

	l.mu.Lock()
	defer l.mu.Unlock()
	if l.got[last] == nil {
		l.got[last] = map[string]counts{}
	}
	if l.got[last][what] == nil {
		l.got[last][what] = counts{}
	}
	l.got[last][what][reply{status: status}.summary()]++
	allowed := false
	for moment := first; moment <= last; moment++ {
		allowed = allowed || slices.Contains(l.allowed(what, moment), status)
	}
	if !allowed {
		l.wrong = append(l.wrong, fmt.Sprintf("%s, %s to %s: %d %s", what, momentNames[first], momentNames[last],
			status, excerpt(string(body))))
	}
	switch what {
	case showPassword:
		l.slowest[last] = max(l.slowest[last], took)
		if token := refreshIn(body); token != "" && first == last {
			l.made[last] = append(l.made[last], token)
		}
	case showLogin, showToken:
		if l.normal++; status != l.fault.good[momentAfter][0] {
			l.normal = 0
		}
	}
}

// allowed are the answers at a moment. A busy machine may take a server for one that is away.
func (l *stateLoad) allowed(what string, moment int32) []int {
	switch what {
	case showPassword:
		return []int{200}
	case showWrong:
		return []int{401}
	case showRevoked:
		return []int{401, 503}
	}
	return l.fault.good[moment]
}

// more waits for n more answers of one kind at this moment.
func (l *stateLoad) more(what string, n int) {
	l.t.Helper()
	count := func() (all int) {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, n := range l.got[l.moment.Load()][what] {
			all += n
		}
		return all
	}
	n += count()
	eventually(l.t, 2*answerWithin, "more answers about a "+what, func() bool { return count() >= n })
}

// expect asks at both machines, again while the server is taken for away.
func (l *stateLoad) expect(what string, want int, send func(c *client) string) {
	l.t.Helper()
	for i, m := range l.cluster.machines {
		status, body := 0, []byte(nil)
		err := poll(answerWithin, func() (bool, error) {
			status, body = l.ask(m.address, send)
			return status != http.StatusServiceUnavailable, nil
		})
		if err != nil || status != want {
			l.t.Errorf("%s at machine %d: %d, want %d: %s", what, i, status, want, body)
		}
	}
}

// rows are lines of the table.
func (l *stateLoad) rows() (text string) {
	for moment := range moments {
		text += fmt.Sprintf("| %s | %s", l.fault.name, momentNames[moment])
		for _, what := range shown {
			got := l.got[moment][what]
			var cells []string
			for _, status := range slices.Sorted(maps.Keys(got)) {
				cells = append(cells, fmt.Sprintf("%d× %s", got[status], status))
			}
			text += " | " + strings.Join(cells, ", ")
		}
		text += fmt.Sprintf(" | %v |\n", l.slowest[moment].Round(10*time.Millisecond))
	}
	return text
}

// storeWait is what a login may wait for a store that is away.
const storeWait = time.Second

func TestAStateServerFailsUnderLoad(t *testing.T) {
	t.Parallel()
	need(t, "nginx", "nginx")
	need(t, "a state server", "redis-server", "redis-cli")
	var mu sync.Mutex
	table := "| fault | moment | " + strings.Join(shown, " | ") + " | slowest password |\n" +
		strings.Repeat("|---", len(shown)+3) + "|\n"
	t.Run("faults", func(t *testing.T) {
		for _, fault := range stateFaults {
			t.Run(fault.name, func(t *testing.T) {
				t.Parallel()
				rows := fault.run(t)
				mu.Lock()
				defer mu.Unlock()
				table += rows
			})
		}
	})
	t.Logf("what clients got:\n%s", table)
}

func (f stateFault) run(t *testing.T) (rows string) {
	state, fault, repair := f.start(t)
	l := &stateLoad{t: t, cluster: newStateCluster(t, state), fault: f, stop: make(chan struct{})}
	l.prepare(state)
	l.run()
	ended := sync.OnceFunc(func() {
		close(l.stop)
		l.clients.Wait()
	})
	defer ended()
	l.more(showToken, 10)
	l.more(showRevoked, 4)
	began := time.Now()
	fault()
	l.moment.Store(momentAway)
	l.more(showToken, 10)
	l.more(showPassword, 10)
	l.more(showRevoked, 4)
	l.moment.Store(momentBack)
	repair(l)
	repaired := time.Now()
	l.mu.Lock()
	l.normal = 0
	l.mu.Unlock()
	eventually(t, 2*answerWithin, "the service to be normal", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.normal >= 20
	})
	normal := time.Now()
	l.moment.Store(momentAfter)
	l.more(showToken, 10)
	l.more(showRevoked, 6)
	ended()

	rows = l.rows()
	const round = 10 * time.Millisecond
	t.Logf("away for %v, normal after %v more; %d revocations were reported done, %d were not\n%s",
		repaired.Sub(began).Round(round), normal.Sub(repaired).Round(round), len(l.revoked), l.failed, rows)
	if len(l.wrong) > 0 {
		some := l.wrong[:min(len(l.wrong), 5)]
		t.Errorf("%d answers are wrong, such as: %s", len(l.wrong), strings.Join(some, "\n"))
	}
	before, away := l.slowest[momentBefore], l.slowest[momentAway]
	if away > 4*storeWait+3*before {
		t.Errorf("a login took %v while the server was away, and %v before", away, before)
	}
	for _, moment := range []int{momentBefore, momentAfter} {
		for _, what := range []string{showLogin, showToken} {
			got := l.got[moment][what]
			if got["503"] > got[fmt.Sprint(f.good[moment][0])] {
				t.Errorf("a %s %s the fault: %v", what, momentNames[moment], got)
			}
		}
	}
	for i, token := range l.made[momentAway] {
		if i < 2 {
			l.expect("a login of while it was away", f.used, useRefresh(token, serviceIs))
		}
	}
	l.expect("a login of now", http.StatusOK, useRefresh(l.login(alice), serviceIs))
	var all sync.WaitGroup
	slots := make(chan struct{}, 8) // a refusal takes a second
	for _, send := range l.revoked {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			l.expect("a revoked credential", http.StatusUnauthorized, send)
		})
	}
	all.Wait()
	for i, m := range l.cluster.machines {
		if !m.service.running() {
			t.Errorf("machine %d has ended", i)
		}
		if log := readFile(t, m.logFile); !strings.Contains(log, "credential not checked: ") ||
			!strings.Contains(log, "state server is not usable") {
			t.Errorf("the log of machine %d does not say why", i)
		}
	}
	return rows
}
