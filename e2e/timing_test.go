package e2e

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	timingRounds = 40 // of each kind of refusal
	timingAtOnce = 8  // more would queue for PAM's slots, which would hide differences

	// timingChance is how often the test may fail by chance, over all kinds.
	timingChance = 0.001
)

// refusalKind is a reason for which a login is refused.
type refusalKind struct {
	name     string
	user     string
	password string
	logged   string // part of the reason in the service's log, which proves that the kind is the intended one

	took    []time.Duration
	answers map[string]int // by content of the answer
}

// TestRefusalsTakeTheSameTime guesses at accounts of pam_unix, by the shipped service file. It
// tries to tell from an answer's content and time which accounts exist, which are locked and which
// password was right. PAM itself reveals that: an unknown name takes 2 ms, a wrong password at
// least 40 ms for its hash.
func TestRefusalsTakeTheSameTime(t *testing.T) {
	names := makeAccounts(t, []unixAccount{
		{suffix: "ok"},
		{suffix: "expired", change: [][]string{{"chage", "-E", "2001-01-01"}}},
		{suffix: "locked", change: [][]string{{"usermod", "-L"}}},
	})
	kinds := []*refusalKind{
		{name: "wrong password", user: names["ok"], password: "wrong", logged: "PAM_AUTH_ERR"},
		{name: "unknown user", user: "e2e-nobody-at-all", password: "wrong", logged: "pam"},
		{name: "locked account, right password", user: names["locked"], password: unixPassword, logged: "PAM_AUTH_ERR"},
		{name: "expired account, right password", user: names["expired"], password: unixPassword,
			logged: "PAM_ACCT_EXPIRED"},
		{name: "blacklisted user", user: mallory, password: "wrong", logged: "blacklisted"},
		{name: "name that cannot be one", user: "../" + names["ok"], password: "wrong", logged: "the user name"},
	}
	s := openFrontend(t, httpFrontend, envOptions{pam: shippedPAM, groups: []uint32{lookupGroup(t, "shadow")}})
	guessAll(t, s, kinds)
	checkReasons(t, s, kinds)
	checkBytes(t, kinds)
	checkTimes(t, kinds)
}

// guess is one login that is refused, from its own address: the throttle is not under test here.
type guess struct {
	kind *refusalKind
	from net.IP
}

// guessAll sends all kinds in random order, so that other load on the machine affects them alike.
func guessAll(t *testing.T, s *testEnv, kinds []*refusalKind) {
	t.Helper()
	var guesses []guess
	for _, kind := range kinds {
		kind.answers = make(map[string]int)
		for range timingRounds {
			guesses = append(guesses, guess{kind, loopback(len(guesses))})
		}
	}
	rand.Shuffle(len(guesses), func(i, j int) { guesses[i], guesses[j] = guesses[j], guesses[i] })
	next := make(chan guess)
	var workers sync.WaitGroup
	var mu sync.Mutex
	var wrong problems
	for range timingAtOnce {
		workers.Go(func() {
			for g := range next {
				answer, err := g.send(s.address)
				if err != nil {
					wrong.add("%s: %v", g.kind.name, err)
					continue
				}
				mu.Lock()
				g.kind.took = append(g.kind.took, answer.took)
				g.kind.answers[withoutDate(answer)]++
				mu.Unlock()
			}
		})
	}
	for _, g := range guesses {
		next <- g
	}
	close(next)
	workers.Wait()
	wrong.report(t, "guesses were not answered with 401")
	if t.Failed() {
		t.FailNow()
	}
}

func (g guess) send(address string) (loadAnswer, error) {
	c := &steadyClient{address: address, from: g.from}
	defer c.hangUp()
	if err := c.connect(); err != nil {
		return loadAnswer{}, err
	}
	answer, err := c.ask(askGet(serviceIs, g.kind.user, g.kind.password))
	if err != nil {
		return answer, err
	}
	return answer, answer.denied(http.StatusUnauthorized, "UNAUTHORIZED")
}

// withoutDate is the whole answer except its Date.
func withoutDate(answer loadAnswer) string {
	var b strings.Builder
	fmt.Fprintln(&b, answer.Proto, answer.Status)
	header := answer.Header.Clone()
	header.Del("Date")
	_ = header.Write(&b)
	b.Write(answer.body)
	return b.String()
}

// checkReasons checks that each kind was refused for its own reason.
func checkReasons(t *testing.T, s *testEnv, kinds []*refusalKind) {
	t.Helper()
	logged := make(map[string]int)
	for _, line := range s.requestLines() {
		for _, kind := range kinds {
			if line["user"] == kind.user && line["outcome"] == "refused" &&
				strings.Contains(line["reason"].(string), kind.logged) {
				logged[kind.name]++
			}
		}
	}
	for _, kind := range kinds {
		if logged[kind.name] != timingRounds {
			t.Errorf("%s: %d of %d were refused for that reason (%q)", kind.name, logged[kind.name], timingRounds,
				kind.logged)
		}
	}
}

func checkBytes(t *testing.T, kinds []*refusalKind) {
	t.Helper()
	all := make(map[string]bool)
	for _, kind := range kinds {
		for answer := range kind.answers {
			all[answer] = true
		}
	}
	if len(all) == 1 {
		return
	}
	t.Errorf("there are %d different answers, want one", len(all))
	for answer := range all {
		t.Logf("%q", answer)
	}
}

// checkTimes compares the time of each kind with the first.
func checkTimes(t *testing.T, kinds []*refusalKind) {
	t.Helper()
	bound := separationByChance(timingRounds, timingChance/float64(len(kinds)-1))
	m := newMeasurements(t,
		fmt.Sprintf("how long a refusal takes, in ms; %d of each; told apart = how often the best guess by time "+
			"alone is right, 50 %% being chance, and at most %.0f %% allowed; %s",
			timingRounds, 100*(1+bound)/2, hardware(t)))
	m.head("refused for                    ", "    min", "    10%", " median", "    90%", "    max", "told apart")
	for _, kind := range kinds {
		d := separation(kinds[0].took, kind.took)
		cells := []string{kind.name}
		for _, q := range []float64{0, 0.1, 0.5, 0.9, 1} {
			cells = append(cells, fmt.Sprintf("%.1f", float64(quantile(kind.took, q).Microseconds())/1000))
		}
		m.row(append(cells, fmt.Sprintf("%.0f %%", 100*(1+d)/2))...)
		if d > bound {
			t.Errorf("%s: its time alone tells it from a wrong password in %.0f %% of all cases", kind.name,
				100*(1+d)/2)
		}
	}
}
