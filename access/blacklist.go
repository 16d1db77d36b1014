package access

import (
	"slices"
	"strings"
)

// Blacklist holds the accounts, and "@name" for Unix groups, that get nothing, independent of the
// rules.
type Blacklist []string

// Find returns the entry that matches an account, "" if there is none. It ignores the case of
// account names: a directory that ignores case would otherwise accept another spelling.
func (b Blacklist) Find(name string, groups []Group) (entry string) {
	for _, entry := range b {
		if group, isGroup := strings.CutPrefix(entry, "@"); isGroup {
			if slices.ContainsFunc(groups, func(g Group) bool { return g.Name == group }) {
				return entry
			}
		} else if strings.EqualFold(entry, name) {
			return entry
		}
	}
	return ""
}

// NamesGroups reports whether an entry is a group, so that Find needs the groups of the account.
func (b Blacklist) NamesGroups() bool {
	return slices.ContainsFunc(b, func(entry string) bool { return strings.HasPrefix(entry, "@") })
}
