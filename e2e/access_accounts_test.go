package e2e

import (
	"crypto/rand"
	"fmt"
	"strings"
	"testing"
)

// accountSet holds the accounts and groups that the rules below name. They exist on this machine,
// so the service sees what NSS answers. In rules and repositories a name has a leading %, since
// braces belong to the syntax of rules.
type accountSet struct {
	// short name → full name; all have unixPassword, in the site's own database
	names             map[string]string
	*strings.Replacer // short names to names
}

// newAccountSet makes them. ann is in the groups guild (primary), team and system (an id below
// 1000), ben in none of them, adm in admins, fay in remote, ola in other, zed in admins and banned.
func newAccountSet(t *testing.T) accountSet {
	t.Helper()
	groups := makeGroups(t, []string{"guild", "team", "admins", "remote", "other", "banned"}, []string{"system"})
	also := func(names ...string) []string {
		var list []string
		for _, n := range names {
			list = append(list, groups[n])
		}
		return []string{"usermod", "-a", "-G", strings.Join(list, ",")}
	}
	accounts := makeAccounts(t, []unixAccount{
		// Without this, the group that useradd makes for ann would remain after userdel.
		{suffix: "ann", change: [][]string{{"usermod", "-g", groups["guild"]}, {"groupdel"}, also("team", "system")}},
		{suffix: "ben"},
		{suffix: "adm", change: [][]string{also("admins")}},
		{suffix: "fay", change: [][]string{also("remote")}},
		{suffix: "ola", change: [][]string{also("other")}},
		{suffix: "zed", change: [][]string{also("admins", "banned")}},
	})
	var pairs []string
	for short, name := range accounts {
		pairs = append(pairs, "%"+short, name)
	}
	for short, name := range groups {
		pairs = append(pairs, "@"+short, "@"+name, "%"+short, name)
	}
	return accountSet{accounts, strings.NewReplacer(pairs...)}
}

// makeGroups adds groups with unused names and removes them when the test ends.
func makeGroups(t *testing.T, ordinary, system []string) map[string]string {
	t.Helper()
	needRoot(t, "groups in /etc/group")
	need(t, "groups in /etc/group", "groupadd", "groupdel")
	names := make(map[string]string)
	add := func(short string, options ...string) {
		name := fmt.Sprintf("e2e%s%s", strings.ToLower(rand.Text()[:8]), short)
		mustRun(t, "groupadd", append(options, name)...)
		t.Cleanup(func() { mustRun(t, "groupdel", name) })
		names[short] = name
	}
	for _, short := range ordinary {
		add(short)
	}
	for _, short := range system {
		add(short, "--system")
	}
	return names
}

// passwords are for the site's database.
func (a accountSet) passwords() map[string]string {
	all := make(map[string]string)
	for _, name := range a.names {
		all[name] = unixPassword
	}
	return all
}

// name is the full name of an account; "" stays "".
func (a accountSet) name(t testing.TB, short string) string {
	t.Helper()
	name, known := a.names[short]
	if short != "" && !known {
		t.Fatalf("there is no account %q: the test would treat it as anonymous", short)
	}
	return name
}

// named replaces short names by full names.
func (a accountSet) named(t testing.TB, text string) string {
	t.Helper()
	text = a.Replace(text)
	if strings.Contains(text, "%") {
		t.Fatalf("a name is not known: %s", text)
	}
	return text
}
