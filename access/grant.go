package access

import "strings"

// repositoryActions are what "*" means on a repository. A token lists them one by one, because zot
// does not know "*".
var repositoryActions = [...]string{"pull", "push", "delete"}

// grantAll grants everything requested, the catalog included, as a configuration without access
// rules does. It keeps the order of the request and leaves out a scope without a granted action.
func grantAll(requested []Scope) []Scope {
	granted := make([]Scope, 0, len(requested))
	for _, s := range requested {
		s.Actions = grantable(s)
		if len(s.Actions) > 0 {
			granted = append(granted, s)
		}
	}
	return granted
}

// grantable returns the actions of a scope that can be granted, with "*" expanded. The catalog
// keeps it, because a registry demands exactly registry:catalog:* (distribution,
// registry/handlers/app.go). On an unknown type "*" has no known meaning and is left out.
func grantable(s Scope) []string {
	if !isPath(s.Name) {
		return nil
	}
	if s.Type == "registry" {
		return s.Actions
	}
	actions := make([]string, 0, len(s.Actions))
	for _, a := range s.Actions {
		switch {
		case a != "*":
			actions = appendNew(actions, []string{a})
		case s.Type == "repository":
			actions = appendNew(actions, repositoryActions[:])
		}
	}
	return actions
}

// isPath reports whether no segment of a name is empty, "." or "..". A registry or proxy that
// cleans paths would read alice/../bob as bob, which is not in the namespace of alice.
func isPath(name string) bool {
	for segment := range strings.SplitSeq(name, "/") {
		if segment == "" || segment == "." || segment == ".." {
			return false
		}
	}
	return true
}
