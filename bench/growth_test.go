package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"
)

// curve is the cost of a request as something grows.
type curve struct {
	Name, X, Unit string
	Flat          bool // the goal: within 10 %; else no worse than linear
	Points        []point
}

type point struct {
	X      int
	Y      summary
	Values []float64
}

var tenThousand = []int{1, 10, 100, 1000, 10000}

// curves lists what grows. prepare starts what is needed for one point, and returns a measurement
// of the cost of one request.
var curves = []struct {
	curve
	sizes   []int
	prepare func(t *testing.T, size int) func() float64
}{
	{curve{Name: "access rules, HTTP", X: "rules", Unit: "µs", Flat: true}, tenThousand, growRules},
	{curve{Name: "access rules, CGI login", X: "rules", Unit: "ms of CPU"}, tenThousand, growRulesCGI},
	{curve{Name: "kept tokens, refresh", X: "kept, and revoked", Unit: "µs", Flat: true}, tenThousand, growTokens},
	{curve{Name: "scopes of a request, HTTP", X: "scopes", Unit: "µs"}, []int{1, 4, 16, 64}, growScopes},
	{curve{Name: "groups of an account, login", X: "groups", Unit: "µs"}, []int{1, 10, 100, 1000}, growGroups},
	{curve{Name: "connections, HTTP", X: "connections", Unit: "µs"}, []int{1, 10, 100, 1000}, growConnections},
}

func measureGrowth(t *testing.T) {
	for _, c := range curves {
		t.Run(c.Name, func(t *testing.T) {
			var sides []func(bool)
			for _, size := range c.sizes {
				c.Points = append(c.Points, point{X: size})
			}
			for n, size := range c.sizes {
				p, measure := &c.Points[n], c.prepare(t, size)
				sides = append(sides, func(warm bool) {
					if v := measure(); !warm {
						p.Values = append(p.Values, v)
					}
				})
			}
			rounds := 3
			if c.Flat { // a narrow goal
				rounds = 5
			}
			interleave(rounds, sides...)
			for n := range c.Points {
				c.Points[n].Y = summarize(c.Points[n].Values)
			}
			progress("%s: %s times", c.Name, number(c.grown()))
			collected.Curves = append(collected.Curves, c.curve)
		})
	}
}

// perRequest turns requests a second into microseconds of each.
func perRequest(rate func() float64) func() float64 {
	return func() float64 { return 1e6 / rate() }
}

func manyRules(n int) string {
	var rules strings.Builder
	for i := range n {
		fmt.Fprintf(&rules, "  - allow: [pull, push]\n    repositories: [\"team%d/**\"]\n"+
			"    to: [user%[1]d, \"@team%[1]d\"]\n", i)
	}
	return rules.String()
}

func growRules(t *testing.T, size int) func() float64 {
	service, address := install(t, options{rules: manyRules(size)}).serveHTTP()
	return perRequest(throughput(t, service, ask(address, publicScope), connections))
}

func growRulesCGI(t *testing.T, size int) func() float64 {
	login := install(t, options{rules: manyRules(size)}).cgi("dockerauth")
	return func() float64 {
		var values []float64
		for range 7 {
			values = append(values, login.run(t).cpu)
		}
		return summarize(values).Median
	}
}

func growScopes(t *testing.T, size int) func() float64 {
	service, address := install(t, options{}).serveHTTP()
	scopes := make([]string, size)
	for n := range scopes {
		scopes[n] = fmt.Sprintf("repository:public/app%d:pull", n)
	}
	return perRequest(throughput(t, service, ask(address, scopes...), connections))
}

func growConnections(t *testing.T, size int) func() float64 {
	service, address := install(t, options{}).serveHTTP()
	return perRequest(throughput(t, service, ask(address, publicScope), size))
}

// growGroups needs an /etc/group of its own, and so a mount namespace.
func growGroups(t *testing.T, size int) func() float64 {
	if out, err := exec.Command("unshare", "--mount", "true").CombinedOutput(); err != nil {
		note("Groups were not measured: no mount namespace for an /etc/group: %s", strings.TrimSpace(string(out)))
		t.Skip("no mount namespace")
	}
	i := install(t, options{config: "pam: {confdir: pam.d, cache: 0s}\n", rules: "  - allow: [pull]\n" +
		"    repositories: [\"{group}/**\"]\n    to: [alice]\n"})
	groups := "root:x:0:\nalice:x:4000:\n"
	for n := range size {
		groups += fmt.Sprintf("team%d:x:%d:alice\n", n, 5000+n)
	}
	script := `mount --bind "$1/group" /etc/group; mount --bind "$1/passwd" /etc/passwd; shift; exec "$@"`
	i.write("group", groups)
	i.write("passwd", "root:x:0:0::/root:/bin/sh\nalice:x:4000:4000::/nonexistent:/bin/sh\n")
	service, address := i.serveHTTP("unshare", "--mount", "sh", "-euc", script, "sh", i.dir)
	r := ask(address, fmt.Sprintf("repository:team%d/app:pull", size-1))
	r.login = basic("alice")
	return perRequest(throughput(t, service, r, 2))
}

// growTokens fills the store with as many revoked logins as kept ones.
func growTokens(t *testing.T, size int) func() float64 {
	i := install(t, options{config: "state: state\npam: {confdir: pam.d, cache: 5m}\n"})
	i.makeState()
	service, address := i.serveHTTP()
	login := request{url: ask(address, loginScope).url + "&offline_token=true", login: basic("alice")}
	var revoked []string
	for range size {
		fetch(t, login)
		revoked = append(revoked, tokenID(t, fetch(t, login).Refresh))
	}
	cmd := exec.Command(i.path("dockerauth"), append([]string{"token", "revoke"}, revoked...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("revoke tokens: %v\n%s", err, out[max(0, len(out)-500):])
	}
	return perRequest(throughput(t, service, refresh(address, fetch(t, login).Refresh), connections))
}

func tokenID(t testing.TB, token string) string {
	t.Helper()
	var claims struct {
		ID string `json:"jti"`
	}
	if err := json.Unmarshal([]byte(payload(token)), &claims); err != nil || claims.ID == "" {
		t.Fatalf("read the ID of a refresh token: %v", err)
	}
	return claims.ID
}

// grown is how many times the cost of the first point the last one has.
func (c curve) grown() float64 { return c.Points[len(c.Points)-1].Y.Median / c.Points[0].Y.Median }

// met reports whether the goal holds: flat within 10 %, or between two points no worse than linear.
func (c curve) met() bool {
	for n := 1; n < len(c.Points); n++ {
		from, to := c.Points[n-1], c.Points[n]
		if !c.Flat && to.Y.Median/from.Y.Median > 1.1*float64(to.X)/float64(from.X) ||
			c.Flat && to.Y.Median > 1.1*c.Points[0].Y.Median {
			return false
		}
	}
	return true
}

func printCurves(w io.Writer, all []curve) {
	table := [][]string{{"what grows", "cost of a request", "last ÷ first", "goal", ""}}
	for _, c := range all {
		var points []string
		for _, p := range c.Points {
			points = append(points, fmt.Sprintf("%d: %s", p.X, number(p.Y.Median)))
		}
		goal, met := "≤ linear", "not met"
		if c.Flat {
			goal = "flat within 10 %"
		}
		if c.met() {
			met = "met"
		}
		table = append(table, []string{c.Name, strings.Join(points, ", ") + " " + c.Unit, number(c.grown()), goal, met})
	}
	printTable(w, table)
}
