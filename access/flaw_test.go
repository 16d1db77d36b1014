package access

import (
	"strings"
	"testing"
)

// flawless is a rule without a flaw, of which a test changes a part.
func flawless(change func(*Rule)) Rule {
	rule := Rule{Allow: []string{"pull"}, To: []string{"users"}, Line: 7}
	change(&rule)
	return rule
}

func names(list ...string) func(*Rule) {
	return func(s *Rule) { s.Repositories = list }
}

func TestRulesThatMatchNoRequestAreNamed(t *testing.T) {
	long := strings.Repeat("a", 250)
	tests := []struct {
		name   string
		change func(*Rule)
		want   FlawKind // "" = no flaw
		says   string   // a value that it names
		write  string
	}{
		{"upper case", names("Team/**"), FlawPattern, `"Team/**"`, "team/**"},
		{"upper case in a part of a segment", names("team/App-*"), FlawPattern, `"team/App-*"`, "team/app-*"},
		{"a segment that ends with a dash", names("team-/**"), FlawPattern, `"team-/**"`, ""},
		{"a segment that begins with a dot", names(".team/app"), FlawPattern, `".team/app"`, ""},
		{"two dots", names("team..a/**"), FlawPattern, `"team..a/**"`, ""},
		{"three underscores before a star", names("team___*"), FlawPattern, `"team___*"`, ""},
		{"a dot behind a placeholder", names("{user}./**"), FlawPattern, `"{user}./**"`, ""},
		{"a folder above", names("team/../app"), FlawPattern, `"team/../app"`, ""},
		{"longer than a name", names(long + "/aaaaa"), FlawPattern, "255", ""},
		{"host and port", names("registry.example.com:5000/team/**"), FlawPattern, "host", "team/**"},
		{"a tag", names("app:latest"), FlawPattern, "tag", "app"},
		{"a scope", names("repository:team/app:pull"), FlawPattern, "scope", "team/app"},
		{"the catalog as a repository", names("registry:catalog"), FlawPattern, "catalog",
			"allow: [catalog], without repositories"},
		{"an account without a namespace", func(s *Rule) {
			s.Repositories, s.To = []string{"{user}/**"}, []string{"Bob", "al@ice"}
		}, FlawPattern, `"Bob, al@ice"`, ""},
		{"a mistyped type", func(s *Rule) { s.Types = []string{"repositroy"} }, FlawType, `"repositroy"`, "repository"},
		{"the plural of the type", func(s *Rule) { s.Types = []string{"repositories"} },
			FlawType, `"repositories"`, "repository"},
		{"an action that no repository has",
			func(s *Rule) { s.Types, s.Allow = []string{"repository"}, []string{"write"} },
			FlawAction, `"write"`, ""},
		{"the unspecified address", func(s *Rule) { s.From = []string{"0.0.0.0"} }, FlawAddress, `"0.0.0.0"`, ""},
		{"a multicast address", func(s *Rule) { s.From = []string{"ff02::/16"} }, FlawAddress, `"ff02::/16"`, ""},
		{"a broadcast address", func(s *Rule) { s.From = []string{"255.255.255.255"} },
			FlawAddress, `"255.255.255.255"`, ""},
		{"a service of another name", func(s *Rule) { s.Services = []string{"regisrty"} },
			FlawService, `"regisrty"`, "registry"},
		{"blacklisted accounts", func(s *Rule) { s.To = []string{"Mallory", "@banned"} },
			FlawNobody, `"Mallory, @banned"`, ""},
		{"a least group id without groups", func(s *Rule) { id := 500; s.MinGID = &id }, FlawNoEffect, `"500"`, ""},

		{"all repositories", func(*Rule) {}, "", "", ""},
		{"usual patterns", names("public/**", "*", "**", "app-*", "*-dev", "a.b/c_d/e__f/g--h",
			"{user}/**", "team/{user}-*",
			"**/cache", "x*y*z"), "", "", ""},
		{"an account without a namespace, among others", func(s *Rule) {
			s.Repositories, s.To = []string{"{user}/**"}, []string{"Bob", "alice"}
		}, "", "", ""},
		{"another type with actions of its own",
			func(s *Rule) { s.Types, s.Allow = []string{"artifact"}, []string{"look"} },
			"", "", ""},
		{"every action", func(s *Rule) { s.Types, s.Allow = []string{"repository"}, []string{"*", "catalog"} },
			"", "", ""},
		{"addresses", func(s *Rule) {
			s.From = []string{"0.0.0.0/0", "10.0.0.0/8", "::1", "fe80::/10", "::ffff:10.0.0.0/104"}
		},
			"", "", ""},
		{"a service", func(s *Rule) { s.Services = []string{"registry"} }, "", "", ""},
		{"a blacklisted account among others", func(s *Rule) { s.To = []string{"mallory", "alice"} }, "", "", ""},
		{"every account", func(s *Rule) { s.To = []string{"users", "anyone"} }, "", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			policy, errs := NewPolicy([]Rule{flawless(tt.change)})
			if len(errs) > 0 {
				t.Fatal(errs[0])
			}
			flaws := policy.Flaws(Blacklist{"mallory", "@banned"}, []string{"registry"})
			if tt.want == "" {
				if len(flaws) > 0 {
					t.Errorf("found %+v", flaws)
				}
				return
			}
			if len(flaws) != 1 || flaws[0].Kind != tt.want || flaws[0].Line != 7 || flaws[0].Write != tt.write ||
				!strings.Contains(flaws[0].What+flaws[0].Why, tt.says) {
				t.Errorf("found %+v", flaws)
			}
		})
	}
}

func TestASectionWithoutRulesAllowsNothing(t *testing.T) {
	policy, _ := NewPolicy(nil)
	if flaws := policy.Flaws(nil, nil); len(flaws) != 1 || flaws[0].Kind != FlawNoRules {
		t.Errorf("found %+v", flaws)
	}
	if flaws := (*Policy)(nil).Flaws(nil, nil); flaws != nil {
		t.Errorf("without a section: %+v", flaws)
	}
}

// A flawed pattern matches no name that a registry could have.
func FuzzFlawedPatternsMatchNothing(f *testing.F) {
	for _, seed := range [][2]string{{"Team/**", "team/app"}, {"a-*", "a-b"}, {"*", "app"}, {"a..*", "a.b"},
		{"{user}.x", "alice.x"}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, text, name string) {
		p, err := parsePattern(text)
		rule := flawless(names(text))
		why, _ := rule.patternFlaw(text)
		if err != nil || why == "" || len(name) > maxNameLen {
			return
		}
		for part := range strings.SplitSeq(name, "/") {
			if !isPathComponent(part) {
				return
			}
		}
		if p.match(strings.Split(name, "/"), "alice", "group") {
			t.Fatalf("%q matches %q, and is said not to: %s", text, name, why)
		}
	})
}
