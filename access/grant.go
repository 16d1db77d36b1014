package access

import "strings"

// repositoryActions is what "*" means on a repository. A token names the
// actions one by one, since zot does not know "*".
var repositoryActions = [...]string{"pull", "push", "delete"}

// Everything grants all that is asked, as a configuration without access rules
// does: each account may do everything, but gets only what it asked for, the
// catalog included. A scope of which nothing is granted is left out; the order
// is that of the request.
func Everything(requested []Scope) []Scope {
	granted := make([]Scope, 0, len(requested))
	for _, s := range requested {
		s.Actions = explicit(s)
		if len(s.Actions) > 0 {
			granted = append(granted, s)
		}
	}
	return granted
}

// explicit is what of a scope's actions can be granted at all. It spells "*" out. The catalog keeps
// it: a registry demands exactly registry:catalog:* (distribution, registry/handlers/app.go). On a
// type that we do not know "*" has no meaning that could be spelled out, so it is left out.
func explicit(s Scope) []string {
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

// isPath reports whether every segment of a name is one. A registry or a proxy that cleans a path
// would take alice/../bob for bob, which is not in alice's namespace.
func isPath(name string) bool {
	for segment := range strings.SplitSeq(name, "/") {
		if segment == "" || segment == "." || segment == ".." {
			return false
		}
	}
	return true
}
