package access

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"path"
	"slices"
	"strings"
	"testing"
)

// readmeRules are those of the README's first example.
var readmeRules = []Rule{
	{Allow: []string{"pull"}, Repositories: []string{"public/**"}, To: []string{"anyone"}, Line: 2},
	{Allow: []string{"pull"}, To: []string{"users"}, Line: 5},
	{Allow: []string{"pull", "push", "delete"}, Repositories: []string{"{user}/**"}, To: []string{"users"}, Line: 7},
	{Allow: []string{"push"}, Repositories: []string{"{group}/**"}, To: []string{"@developers", "alice"}, Line: 10},
	{Allow: []string{"catalog"}, To: []string{"@registry-admins"}, From: []string{"10.0.0.0/8", "2001:db8::/32"},
		Services: []string{"registry.example.com"}, Line: 13},
}

func mustPolicy(t testing.TB, rules []Rule) *Policy {
	t.Helper()
	p, errs := NewPolicy(rules)
	if len(errs) > 0 {
		t.Fatal(errs[0])
	}
	return p
}

func clientOf(name string, groups ...string) Client {
	c := Client{Name: name, Service: "registry.example.com", Remote: netip.MustParseAddr("10.1.2.3")}
	for i, g := range groups {
		c.Groups = append(c.Groups, Group{Name: g, ID: 1000 + i})
	}
	return c
}

func TestRulesDecide(t *testing.T) {
	outside := clientOf("root2", "registry-admins")
	outside.Remote = netip.MustParseAddr("192.0.2.1")
	mapped := clientOf("root2", "registry-admins")
	mapped.Remote = netip.MustParseAddr("::ffff:10.1.2.3")
	elsewhere := clientOf("root2", "registry-admins")
	elsewhere.Service = "other.example.com"
	unknown := clientOf("root2", "registry-admins")
	unknown.Remote = netip.Addr{}
	zoned := clientOf("bob")
	zoned.Remote = netip.MustParseAddr("fe80::1%eth0")
	system := Client{Name: "alice", Groups: []Group{{"docker", 999}}}
	from := func(prefix string) []Rule {
		return []Rule{{Allow: []string{"pull"}, To: []string{"users"}, From: []string{prefix}}}
	}
	tests := []struct {
		name       string
		rules      []Rule
		who        Client
		asked, got string
	}{
		{"anyone pulls what is public", readmeRules, clientOf(""), "repository:public/app:pull,push",
			"repository:public/app:pull"},
		{"** matches no segment too", readmeRules, clientOf(""), "repository:public:pull", "repository:public:pull"},
		{"a pattern matches whole names", readmeRules, clientOf(""), "repository:publicity/app:pull", ""},
		{"anyone gets nothing else", readmeRules, clientOf(""), "repository:alice/app:pull registry:catalog:*", ""},
		{"anyone includes logged-in accounts", readmeRules[:1], clientOf("bob"), "repository:public/app:pull",
			"repository:public/app:pull"},
		{"every account pulls everything", readmeRules, clientOf("bob"), "repository:x/y/z:pull,push",
			"repository:x/y/z:pull"},
		{"the account's own namespace", readmeRules, clientOf("bob"), "repository:bob/app:pull,push,delete",
			"repository:bob/app:pull,push,delete"},
		{"a star is expanded and reduced", readmeRules, clientOf("bob"), "repository:carol/app:*",
			"repository:carol/app:pull"},
		{"the namespace of a group of the account", readmeRules, clientOf("bob", "developers", "web"),
			"repository:web/app:push,pull", "repository:web/app:push,pull"},
		{"not that of another group", readmeRules, clientOf("bob", "developers"), "repository:web/app:push", ""},
		{"not without being named", readmeRules, clientOf("carol", "web"), "repository:web/app:push", ""},
		{"named by account", readmeRules, clientOf("alice", "web"), "repository:web/app:push",
			"repository:web/app:push"},
		{"system groups are no namespaces", readmeRules, system, "repository:docker/app:push", ""},
		{"unless min_gid says so",
			[]Rule{{Allow: []string{"push"}, Repositories: []string{"{group}/**"}, To: []string{"alice"},
				MinGID: new(int)}}, system, "repository:docker/app:push", "repository:docker/app:push"},
		{"the catalog, for an admin", readmeRules, clientOf("root2", "registry-admins"), "registry:catalog:*",
			"registry:catalog:*"},
		{"the catalog needs exactly *", readmeRules, clientOf("root2", "registry-admins"), "registry:catalog:pull", ""},
		{"the catalog has no class", readmeRules, clientOf("root2", "registry-admins"), "registry(plugin):catalog:*",
			""},
		{"an account in capitals is another", []Rule{{Allow: []string{"pull"}, To: []string{"bob", "@web"}}},
			clientOf("Bob", "Web"), "repository:a:pull", ""},
		{"from an address with a zone",
			[]Rule{{Allow: []string{"pull"}, To: []string{"users"}, From: []string{"fe80::/64"}}},
			zoned, "repository:a:pull", "repository:a:pull"},
		{"from an address within, written as IPv6", readmeRules, mapped, "registry:catalog:*", "registry:catalog:*"},
		{"from a prefix written as IPv6", from("::ffff:10.0.0.0/104"), clientOf("bob"), "repository:a:pull",
			"repository:a:pull"},
		{"from an address written as IPv6", from("::ffff:10.1.2.3"), clientOf("bob"), "repository:a:pull",
			"repository:a:pull"},
		{"from an address written as an IPv6 prefix", from("::ffff:a01:203/128"), clientOf("bob"),
			"repository:a:pull", "repository:a:pull"},
		{"from IPv4 at all, written as IPv6", from("::ffff:0:0/96"), clientOf("bob"), "repository:a:pull",
			"repository:a:pull"},
		{"not from outside of a prefix written as IPv6", from("::ffff:10.0.0.0/104"), outside, "repository:a:pull", ""},
		{"not from IPv4 by a prefix of IPv6", from("::/0"), clientOf("bob"), "repository:a:pull", ""},
		{"not from an unknown address by a prefix of all", from("::ffff:0:0/96"), unknown, "repository:a:pull", ""},
		{"not from an address outside", readmeRules, outside, "registry:catalog:*", ""},
		{"not from an unknown address", readmeRules, unknown, "registry:catalog:*", ""},
		{"not for another service", readmeRules, elsewhere, "registry:catalog:*", ""},
		{"the order of the request stays", readmeRules, clientOf("bob"),
			"repository:z:push,pull repository:bob/a:push,pull repository:a:pull",
			"repository:z:pull repository:bob/a:push,pull repository:a:pull"},
		{"push includes pull", []Rule{{Allow: []string{"push"}, To: []string{"users"}}}, clientOf("bob"),
			"repository:a:pull,push", "repository:a:pull,push"},
		{"the union of two rules", []Rule{{Allow: []string{"pull"}, To: []string{"bob"}},
			{Allow: []string{"delete"}, To: []string{"users"}}}, clientOf("bob"), "repository:a:delete,pull,push",
			"repository:a:delete,pull"},
		{"no rules grant nothing", []Rule{}, clientOf("bob"), "repository:a:pull registry:catalog:*", ""},
		{"another type is not a repository", []Rule{{Allow: []string{"*"}, To: []string{"users"}}}, clientOf("bob"),
			"artifact:a:pull registry:other:*", ""},
		{"a class makes no difference, because registries ignore it",
			[]Rule{{Allow: []string{"pull"}, Repositories: []string{"a"}, To: []string{"users"}}}, clientOf("bob"),
			"repository(plugin):a:pull repository(plugin):b:pull", "repository(plugin):a:pull"},
		{"unless a rule says so",
			[]Rule{{Allow: []string{"pull", "look"}, Types: []string{"artifact"}, To: []string{"users"}}},
			clientOf("bob"), "artifact:a:look repository:a:pull", "artifact:a:look"},
		{"a name that cannot be a path component gets no namespace", readmeRules[2:3], clientOf("Bob"),
			"repository:Bob/app:push repository:bob/app:push", ""},
		{"a name with a glob in it gets no namespace", readmeRules[2:3], clientOf("*"), "repository:x/app:push", ""},
		{"an account with the name of a group and its @ is not in it", readmeRules[4:], clientOf("@registry-admins"),
			"registry:catalog:*", ""},
		{"an account named anyone has only the rules for anyone",
			[]Rule{{Allow: []string{"pull"}, To: []string{"anyone"}}}, clientOf("anyone"), "repository:a:pull",
			"repository:a:pull"},
		{"a star within a segment",
			[]Rule{{Allow: []string{"pull"}, Repositories: []string{"team/app-*"}, To: []string{"anyone"}}},
			clientOf(""), "repository:team/app-1:pull repository:team/app:pull repository:team/app-1/x:pull",
			"repository:team/app-1:pull"},
		{"a star is one segment",
			[]Rule{{Allow: []string{"pull"}, Repositories: []string{"*/app"}, To: []string{"anyone"}}}, clientOf(""),
			"repository:a/app:pull repository:a/b/app:pull repository:app:pull", "repository:a/app:pull"},
		{"** in the middle",
			[]Rule{{Allow: []string{"pull"}, Repositories: []string{"a/**/z"}, To: []string{"anyone"}}}, clientOf(""),
			"repository:a/z:pull repository:a/b/c/z:pull repository:a/z/b:pull",
			"repository:a/z:pull repository:a/b/c/z:pull"},
		{"a path out of the namespace, and the rest of the request", readmeRules[2:3], clientOf("bob"),
			"repository:bob/../carol/app:push repository:bob/app:push", "repository:bob/app:push"},
		{"a name with an empty part", readmeRules[2:3], clientOf("bob"),
			"repository:bob//app:push repository:bob/:push repository:/bob:push repository:/:push", ""},
		{"a name with a part that is a dot", readmeRules[2:3], clientOf("bob"),
			"repository:bob/./app:push repository:bob/.:push repository:bob/..:push", ""},
		{"such names, of every type and class",
			[]Rule{{Allow: []string{"pull", "look"}, Types: []string{"repository", "artifact"}, To: []string{"users"}}},
			clientOf("bob"), "artifact:..:look repository(plugin):a/../b:pull repository:.:pull artifact:a/b:look",
			"artifact:a/b:look"},
		{"dots that are part of a name, and a host with a port", readmeRules[1:2], clientOf("bob"),
			"repository:a.b/..c/d..:pull repository:localhost:5000/a:pull repository:[::1]:5000/a:pull",
			"repository:a.b/..c/d..:pull repository:localhost:5000/a:pull repository:[::1]:5000/a:pull"},
		{"{user} within a segment",
			[]Rule{{Allow: []string{"pull"}, Repositories: []string{"home-{user}/**"}, To: []string{"users"}}},
			clientOf("bob"), "repository:home-bob/a:pull repository:home-bobby/a:pull", "repository:home-bob/a:pull"},
	}
	for _, tt := range tests {
		for _, indexed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, indexed %v", tt.name, indexed), func(t *testing.T) {
				p := mustPolicy(t, tt.rules)
				if indexed {
					p.Index()
				}
				asked := mustParse(t, tt.asked)
				if got := Format(p.Grant(tt.who, asked)); got != tt.got {
					t.Errorf("got %q, want %q", got, tt.got)
				}
				if Format(asked) != tt.asked {
					t.Errorf("the request was changed to %q", Format(asked))
				}
			})
		}
	}
}

func TestAMistakeInARuleIsNamed(t *testing.T) {
	good := Rule{Allow: []string{"pull"}, To: []string{"users"}}
	with := func(change func(*Rule)) Rule { r := good; change(&r); return r }
	negative := -1
	tests := []struct {
		name string
		rule Rule
		want string
	}{
		{"no action", with(func(r *Rule) { r.Allow = nil }), "allow: the list is empty"},
		{"an unknown action", with(func(r *Rule) { r.Allow = []string{"pul"} }), `allow: unknown action "pul"`},
		{"no principal", with(func(r *Rule) { r.To = nil }), "to: the list is empty"},
		{"an empty name", with(func(r *Rule) { r.To = []string{""} }), "to: an entry is empty"},
		{"a group without a name", with(func(r *Rule) { r.To = []string{"@"} }), `to: "@" is neither`},
		{"a star for a name", with(func(r *Rule) { r.To = []string{"*"} }), `to: "*" is neither`},
		{"an empty segment", with(func(r *Rule) { r.Repositories = []string{"a//b"} }), "a segment is empty"},
		{"a slash at the end", with(func(r *Rule) { r.Repositories = []string{"a/"} }), "a segment is empty"},
		{"** joined to text", with(func(r *Rule) { r.Repositories = []string{"a**"} }), "** stands alone"},
		{"an unknown placeholder", with(func(r *Rule) { r.Repositories = []string{"{usr}/**"} }),
			"neither {user} nor {group}"},
		{"a regular expression", with(func(r *Rule) { r.Repositories = []string{"a(b|c)"} }),
			"character that no repository name holds"},
		{"an invalid address", with(func(r *Rule) { r.From = []string{"10.0.0.300"} }),
			"neither an address nor a prefix"},
		{"a prefix with host bits", with(func(r *Rule) { r.From = []string{"10.0.0.1/8"} }),
			"bits beyond the prefix: 10.0.0.0/8 or 10.0.0.1"},
		{"an IPv4-mapped prefix with host bits", with(func(r *Rule) { r.From = []string{"::ffff:10.0.0.1/104"} }),
			"bits beyond the prefix: ::ffff:10.0.0.0/104 or ::ffff:10.0.0.1"},
		{"an IPv4-mapped prefix with the bits of IPv4", with(func(r *Rule) { r.From = []string{"::ffff:10.0.0.0/8"} }),
			"bits beyond the prefix"},
		{"a prefix of NAT64", with(func(r *Rule) { r.From = []string{"64:ff9b::/96"} }), "IPv4 addresses"},
		{"an address of NAT64", with(func(r *Rule) { r.From = []string{"64:ff9b::192.0.2.1"} }), "IPv4 addresses"},
		{"an address with a zone", with(func(r *Rule) { r.From = []string{"fe80::1%eth0"} }),
			"neither an address nor a prefix"},
		{"the catalog of some repositories",
			with(func(r *Rule) { r.Allow, r.Repositories = []string{"catalog"}, []string{"a"} }),
			"lists all repositories"},
		{"{group} for all users", with(func(r *Rule) { r.Repositories = []string{"{group}/**"} }),
			"cannot be for anyone or users"},
		{"an invalid type", with(func(r *Rule) { r.Types = []string{"Repo"} }), "not a resource type"},
		{"a type with a class", with(func(r *Rule) { r.Types = []string{"repository(plugin)"} }), "registries ignore"},
		{"a negative id", with(func(r *Rule) { r.MinGID = &negative }), "min_gid: -1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, errs := NewPolicy([]Rule{good, tt.rule})
			if len(errs) != 1 || errs[0].Rule != 1 || !strings.Contains(errs[0].Error(), tt.want) {
				t.Errorf("got %v, want %q of rule 1", errs, tt.want)
			}
		})
	}
}

func TestExplainNamesTheRuleOrTheClosestOne(t *testing.T) {
	p := mustPolicy(t, readmeRules)
	const noPath = `refused 0 nothing is granted on a name with a part that is empty, "." or ".."`
	tests := []struct {
		name   string
		policy *Policy
		who    Client
		ask    string
		want   []string // "granted LINE" or "refused LINE reason"
	}{
		{"a way out of one's namespace", p, clientOf("bob"), "repository:bob/../carol:push,pull", []string{noPath}},
		{"the same without rules", nil, clientOf("bob"), "repository:bob//carol:push,pull", []string{noPath}},
		{"without rules", nil, clientOf("bob"), "repository:carol:pull", []string{"granted 0"}},
		{"granted by two rules", p, clientOf("bob"), "repository:bob/app:pull,push",
			[]string{"granted 5", "granted 7"}},
		{"the wrong repository", p, clientOf("bob"), "repository:carol/app:push", []string{"refused 5 it allows pull"}},
		{"not in the group", p, clientOf("bob"), "registry:catalog:*",
			[]string{"refused 13 it is for @registry-admins"}},
		{"nothing asked", p, clientOf("bob"), "artifact:x:*",
			[]string{"refused 0 nothing is asked for, or only what * cannot stand for on this type"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			scopes := mustParse(t, tt.ask)
			var got []string
			for _, f := range tt.policy.Explain(tt.who, scopes[0]) {
				if f.Granted {
					got = append(got, fmt.Sprintf("granted %d", f.Line))
				} else {
					got = append(got, fmt.Sprintf("refused %d %s", f.Line, f.Reason))
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// The oracle decides as documented, by trying every rule, every pattern and every way to match a
// pattern with a name.

func oracleGrant(rules []Rule, w Client, s Scope, action string) bool {
	if !oraclePath(s.Name) {
		return false
	}
	return slices.ContainsFunc(rules, func(r Rule) bool {
		if !oracleFor(r, w) || len(r.Services) > 0 && !slices.Contains(r.Services, w.Service) {
			return false
		}
		if !slices.Contains(r.Allow, action) && !slices.Contains(r.Allow, "*") &&
			!(action == "pull" && slices.Contains(r.Allow, "push")) {
			return false
		}
		return len(r.Repositories) == 0 || slices.ContainsFunc(r.Repositories,
			func(p string) bool { return oracleOn(p, w, s.Name) })
	})
}

// oraclePath reports whether cleaning a path leaves the name as it is.
func oraclePath(name string) bool { return name != "" && path.Clean("/"+name) == "/"+name }

func oracleFor(r Rule, w Client) bool {
	for _, to := range r.To {
		inGroup := slices.ContainsFunc(w.Groups, func(g Group) bool { return to == "@"+g.Name })
		if to == "anyone" || w.Name != "" && (to == "users" || to == w.Name || inGroup) {
			return true
		}
	}
	return false
}

func oracleOn(pattern string, w Client, name string) bool {
	if !strings.Contains(pattern, "{group}") {
		return oracleMatch(pattern, w.Name, "", name)
	}
	return slices.ContainsFunc(w.Groups, func(g Group) bool {
		return g.ID >= 1000 &&
			oracleMatch(pattern, w.Name, g.Name, name)
	})
}

func oracleMatch(pattern, user, group, name string) bool {
	if pattern == "" || name == "" {
		return pattern == name
	}
	first, rest, more := strings.Cut(pattern, "/")
	if first == "**" {
		for n := name; ; {
			if more && oracleMatch(rest, user, group, n) || !more {
				return true
			}
			_, after, found := strings.Cut(n, "/")
			if !found {
				return oracleEmpty(rest)
			}
			n = after
		}
	}
	segment, after, moreName := strings.Cut(name, "/")
	if !oracleSegment(first, user, group, segment) {
		return false
	}
	switch {
	case more && moreName:
		return oracleMatch(rest, user, group, after)
	case more:
		return oracleEmpty(rest)
	}
	return !moreName
}

// oracleEmpty reports whether a pattern matches an empty rest.
func oracleEmpty(pattern string) bool {
	return strings.Trim(strings.ReplaceAll(pattern, "**", ""), "/") == ""
}

func oracleSegment(pattern, user, group, text string) bool {
	for placeholder, value := range map[string]string{"{user}": user, "{group}": group} {
		if rest, found := strings.CutPrefix(pattern, placeholder); found {
			after, has := strings.CutPrefix(text, value)
			return value != "" && has && oracleSegment(rest, user, group, after)
		}
	}
	switch {
	case pattern == "":
		return text == ""
	case pattern[0] == '*':
		return oracleSegment(pattern[1:], user, group, text) || text != "" &&
			oracleSegment(pattern, user, group, text[1:])
	}
	return text != "" && text[0] == pattern[0] && oracleSegment(pattern[1:], user, group, text[1:])
}

func TestDecisionsEqualThoseOfASimpleOracle(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	pick := func(from ...string) string { return from[r.IntN(len(from))] }
	some := func(n int, f func() string) (list []string) {
		for range n {
			list = append(list, f())
		}
		return list
	}
	name := func() string {
		return strings.Join(some(1+r.IntN(4), func() string {
			return pick("a", "b", "ab", "alice", "web", pick("a", "a", "", ".", "..", "..a"))
		}), "/")
	}
	pattern := func() string {
		return strings.Join(some(1+r.IntN(4),
			func() string { return pick("a", "b", "ab", "*", "**", "a*", "*b", "{user}", "{user}*", "a*b*") }), "/")
	}
	granted := 0
	for range 20000 {
		rules := make([]Rule, r.IntN(4))
		if r.IntN(20) == 0 {
			rules = make([]Rule, 5*maxFew) // an index has another form then
		}
		for i := range rules {
			rules[i] = Rule{Allow: []string{pick("pull", "push", "delete", "*")},
				To: []string{pick("anyone", "users", "alice", "@web", "@db")}, Repositories: some(r.IntN(3), pattern)}
			if len(rules[i].Repositories) > 0 && rules[i].To[0] != "anyone" && rules[i].To[0] != "users" &&
				r.IntN(3) == 0 {
				rules[i].Repositories[0] = pick("{group}/**", "*/{group}", "x{group}/*")
			}
		}
		w := Client{Name: pick("", "alice", "b", "Alice")}
		if w.Name != "" {
			w.Groups = []Group{{pick("web", "a"), 999 + r.IntN(2)}, {"ab", 2000}}[:r.IntN(3)]
		}
		if w.Name == "Alice" {
			w.Name = "alice" // the oracle supports only names that are path components
		}
		s := Scope{Type: "repository", Name: name(), Actions: []string{"push", "pull", "delete"}}
		var want []string
		for _, a := range s.Actions {
			if oracleGrant(rules, w, s, a) {
				want = append(want, a)
			}
		}
		p := mustPolicy(t, rules)
		if r.IntN(2) == 0 {
			p.Index()
		}
		var got []string
		for _, g := range p.Grant(w, []Scope{s}) {
			got = g.Actions
		}
		if !slices.Equal(got, want) {
			t.Fatalf("seed %d: %+v asks %s under %+v: got %q, want %q", seed, w, s, rules, got, want)
		}
		for _, f := range p.Explain(w, s) {
			if f.Granted != slices.Contains(want, f.Action) {
				t.Fatalf("seed %d: explain differs: %+v", seed, f)
			}
		}
		granted += len(want)
	}
	if granted == 0 {
		t.Error("nothing was ever granted: this test compares nothing")
	}
}

// A pattern that parses prints as itself, and matches exactly the names that the oracle matches.
func FuzzPattern(f *testing.F) {
	seeds := []struct{ pattern, name string }{
		{"public/**", "public/a/b"}, {"{user}/**", "alice/x"}, {"*/{group}-x/**", "a/web-x"}, {"a*b*c", "abbc"},
		{"**/a/**/b", "a/a/b/b"}, {"a**", "a"}, {"", ""},
	}
	if len(seeds) == 0 {
		f.Fatal("no seeds")
	}
	for _, s := range seeds {
		f.Add(s.pattern, s.name)
	}
	f.Fuzz(func(t *testing.T, text, name string) {
		p, err := parsePattern(text)
		if err != nil {
			return
		}
		if p.String() != text {
			t.Fatalf("%q prints as %q", text, p)
		}
		if name == "" || strings.ContainsFunc(name, notInName) || len(name) > 40 || len(text) > 40 ||
			strings.Contains("/"+name+"/", "//") {
			return // no scope has such a name, or the oracle would take too long
		}
		if got, want := p.match(strings.Split(name, "/"), "alice", "web"),
			oracleMatch(text, "alice", "web", name); got != want {
			t.Fatalf("%q on %q: %v, want %v", text, name, got, want)
		}
	})
}

// Whether a rule is for anyone is asked with each request: an indexed policy does not look at them.
func TestWhetherAnyoneIsAllowed(t *testing.T) {
	for _, tt := range []struct {
		to   []string
		want bool
	}{{[]string{"anyone"}, true}, {[]string{"users", "anyone"}, true}, {[]string{"users"}, false},
		{[]string{"alice", "@anyone"}, false}} {
		p := mustPolicy(t, []Rule{{Allow: []string{"push"}, To: []string{"users"}},
			{Allow: []string{"pull"}, To: tt.to}})
		if got := p.AllowsAnyone(); got != tt.want {
			t.Errorf("%q: %v", tt.to, got)
		}
		if p.Index(); p.AllowsAnyone() != tt.want {
			t.Errorf("%q with an index: %v", tt.to, !tt.want)
		}
	}
	p := mustPolicy(t, make([]Rule, 0))
	if p.Index(); p.AllowsAnyone() || (*Policy)(nil).AllowsAnyone() {
		t.Error("without rules")
	}
	rules := make([]Rule, 1000)
	for i := range rules {
		rules[i] = Rule{Allow: []string{"pull"}, To: []string{"users"}}
	}
	p = mustPolicy(t, rules)
	p.Index()
	for i := range p.rules { // unseen
		p.rules[i].To = []string{"anyone"}
	}
	if p.AllowsAnyone() {
		t.Error("the rules were looked at again")
	}
}

// The cost of a decision among ten thousand rules, in the worst shapes for the index: all for
// all users, all below one folder, all with a glob in front.
func BenchmarkGrantAmongTenThousandRules(b *testing.B) {
	shapes := map[string]func(i int) Rule{
		"a group's folder": func(i int) Rule {
			return Rule{Repositories: []string{fmt.Sprintf("{group}/t%d/**", i)}, To: []string{"@staff"}}
		},
		"an account's": func(i int) Rule {
			return Rule{Repositories: []string{fmt.Sprintf("{user}/t%d/**", i)}, To: []string{"users"}}
		},
		"any folder": func(i int) Rule {
			return Rule{Repositories: []string{fmt.Sprintf("**/t%d", i)},
				To: []string{"users"}}
		},
		"part of a name": func(i int) Rule {
			return Rule{Repositories: []string{fmt.Sprintf("team%d-*/**", i)}, To: []string{"users"}}
		},
		"a team each": func(i int) Rule {
			return Rule{Repositories: []string{fmt.Sprintf("team%d/**", i)}, To: []string{fmt.Sprintf("@team%d", i)}}
		},
		"all for everyone": func(i int) Rule {
			return Rule{Repositories: []string{fmt.Sprintf("team%d/**", i)}, To: []string{"users"}}
		},
		"below one folder": func(i int) Rule {
			return Rule{Repositories: []string{fmt.Sprintf("teams/t%d/**", i)}, To: []string{"users"}}
		},
		"a glob in front": func(i int) Rule {
			return Rule{Repositories: []string{fmt.Sprintf("*/t%d/**", i)}, To: []string{"users"}}
		},
	}
	for name, shape := range shapes {
		for _, indexed := range []bool{true, false} {
			b.Run(fmt.Sprintf("%s/indexed=%v", name, indexed), func(b *testing.B) {
				rules := make([]Rule, 10000)
				for i := range rules {
					rules[i] = shape(i)
					rules[i].Allow = []string{"push"}
				}
				p := mustPolicy(b, rules)
				if indexed {
					p.Index()
				}
				w := clientOf("alice", "team1", "team2", "team9999", "staff")
				asked := []Scope{{Type: "repository", Name: "teams/none/app", Actions: []string{"pull", "push"}}}
				for b.Loop() {
					p.Grant(w, asked)
				}
			})
		}
	}
}
