package service

import (
	"testing"

	"dockerauth/access"
	"dockerauth/config"
)

func TestGroupsAreLookedUpIfAnythingNamesOne(t *testing.T) {
	rules, errs := access.NewPolicy([]access.Rule{{Allow: []string{"pull"}, To: []string{"@staff"}}})
	if len(errs) > 0 {
		t.Fatal(errs[0])
	}
	for name, cfg := range map[string]*config.Config{
		"a rule":           {Access: rules},
		"the blacklist":    {BlacklistedUsers: []string{"bob", "@staff"}},
		"passwords.except": {Passwords: access.Passwords{Except: access.Blacklist{"bob", "@staff"}}},
	} {
		if !WantsGroups(cfg) {
			t.Error(name)
		}
	}
	if WantsGroups(&config.Config{BlacklistedUsers: []string{"bob"}}) {
		t.Error("nothing does")
	}
}
