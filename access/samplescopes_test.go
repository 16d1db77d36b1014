package access

import "testing"

func TestSampleScopesShowWhatTheRulesGive(t *testing.T) {
	staff, alice := Group{Name: "staff", ID: 1001}, "alice"
	tests := []struct {
		name  string
		rules []Rule // nil = no access section
		who   Client
		want  string
	}{
		{"without rules, the own namespace", nil, Client{Name: alice}, "repository:alice/app:pull,push"},
		{"a star becomes a word",
			[]Rule{{Allow: []string{"pull"}, Repositories: []string{"public/**", "app-*"}, To: []string{users}}},
			Client{Name: alice},
			"repository:alice/app:pull,push repository:public/app:pull repository:app-app:pull"},
		{"the own namespace is one scope with all actions",
			[]Rule{{Allow: []string{"*"}, Repositories: []string{"{user}/**"}, To: []string{users}}},
			Client{Name: alice},
			"repository:alice/app:pull,push,delete"},
		{"a group is one from min_gid on",
			[]Rule{{Allow: []string{"push"}, Repositories: []string{"{group}/x"}, To: []string{alice}}},
			Client{Name: alice, Groups: []Group{{Name: "adm", ID: 4}, staff}},
			"repository:alice/app:pull,push repository:staff/x:push"},
		{"without a group, a placeholder",
			[]Rule{{Allow: []string{"push"}, Repositories: []string{"{group}/x"}, To: []string{alice}}},
			Client{Name: alice},
			"repository:alice/app:pull,push repository:group/x:push"},
		{"the catalog", []Rule{{Allow: []string{"catalog"}, To: []string{users}}}, Client{Name: alice},
			"repository:alice/app:pull,push registry:catalog:*"},
		{"no pattern is all of them", []Rule{{Allow: []string{"pull"}, To: []string{users}}}, Client{Name: alice},
			"repository:alice/app:pull,push repository:app:pull"},
		{"another type",
			[]Rule{{Allow: []string{"pull"}, Types: []string{"chart"}, Repositories: []string{"web"},
				To: []string{users}}}, Client{Name: alice},
			"repository:alice/app:pull,push chart:web:pull"},
		{"a name that no repository can have", nil, Client{Name: "a b"}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var p *Policy
			if test.rules != nil {
				var errs []*RuleError
				if p, errs = NewPolicy(test.rules); len(errs) > 0 {
					t.Fatal(errs)
				}
			}
			if got := Format(p.SampleScopes(test.who)); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func TestSampleScopesAreFewEnoughToRead(t *testing.T) {
	rule := Rule{Allow: []string{"pull"}, To: []string{users}}
	for r := 'a'; r <= 'z'; r++ {
		rule.Repositories = append(rule.Repositories, string(r))
	}
	p, errs := NewPolicy([]Rule{rule})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	if got := len(p.SampleScopes(Client{Name: "alice"})); got != maxSamples {
		t.Errorf("%d, want %d", got, maxSamples)
	}
}
