package access

import (
	"slices"
	"strings"
)

// Blacklist holds accounts, and "@name" for Unix groups of them, that get
// nothing whatever the rules say.
type Blacklist []string

// Find returns the entry that an account falls under, "" if there is none.
// Account names are compared without regard to case: a directory that does so
// would otherwise let a blacklisted account in under another spelling.
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

// NamesGroups reports whether the groups given to Find matter at all.
func (b Blacklist) NamesGroups() bool {
	return slices.ContainsFunc(b, func(entry string) bool { return strings.HasPrefix(entry, "@") })
}
