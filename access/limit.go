package access

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Limit is a part of what a credential may be used for: type:pattern:actions, such as
// repository:ci/**:pull. The pattern is that of rules, without placeholders; the action * stands
// for all.
type Limit struct {
	text    string
	kind    string
	pattern pattern
	actions []string
}

// ParseLimit reads a limit. Its error says what to write. A limit that no registry could use is an
// error.
func ParseLimit(text string) (Limit, error) {
	l, err := parseLimit(text)
	if err != nil {
		return Limit{}, fmt.Errorf("scope %q: %w", truncated(text), err)
	}
	return l, nil
}

func parseLimit(text string) (Limit, error) {
	first, last := strings.IndexByte(text, ':'), strings.LastIndexByte(text, ':')
	if first < 0 || first == last {
		return Limit{}, errors.New("it is not of the form type:pattern:actions\n" +
			"  write repository:NAME/**:pull, repository:NAME:pull,push or registry:catalog:*")
	}
	l := Limit{text: text, kind: text[:first]}
	name := text[first+1 : last]
	var err error
	if l.actions, err = splitActions(text[last+1:]); err != nil {
		return Limit{}, err
	}
	switch {
	case strings.Contains(l.kind, "("):
		return Limit{}, errors.New("the type has a class, which registries ignore: write the type alone")
	case !isWord(l.kind):
		return Limit{}, errors.New("the type is not a word such as repository")
	case strings.Contains(name, "{"):
		return Limit{}, errors.New("placeholders are for rules: write the name itself")
	case len(l.actions) == 0 || slices.ContainsFunc(l.actions, notAction):
		return Limit{}, errors.New("the actions are not words with commas between them: write pull, or * for all")
	}
	if err := l.checkActions(name); err != nil {
		return Limit{}, err
	}
	l.pattern, err = parsePattern(name)
	return l, err
}

func (l *Limit) checkActions(name string) error {
	switch l.kind {
	case "registry":
		if name != "catalog" || !slices.Equal(l.actions, []string{"*"}) {
			return errors.New("the catalog is all that a registry has: write registry:catalog:*")
		}
	case "repository":
		if lower := strings.ToLower(name); lower != name {
			return fmt.Errorf("names of repositories have no upper case, so nothing matches it\n  write %q",
				strings.Replace(l.text, name, lower, 1))
		}
		for _, a := range l.actions {
			if a != "*" && !slices.Contains(repositoryActions[:], a) {
				return fmt.Errorf("unknown action %q: write pull, push, delete, or * for all", truncated(a))
			}
		}
		if slices.Contains(l.actions, "push") && !l.allows("pull") {
			return errors.New("a registry demands pull for a push: write pull,push")
		}
	}
	return nil
}

// String is the text that was parsed.
func (l Limit) String() string { return l.text }

func (l *Limit) allows(action string) bool {
	return slices.Contains(l.actions, "*") || slices.Contains(l.actions, action)
}

// Restrict returns the part of granted scopes that some limit allows, each scope with the actions
// that the limits that match it allow together.
func Restrict(granted []Scope, limits []Limit) []Scope {
	restricted := make([]Scope, 0, len(granted))
	for _, s := range granted {
		s.Actions = slices.DeleteFunc(slices.Clone(grantable(s)), func(a string) bool {
			return !slices.ContainsFunc(limits, func(l Limit) bool { return l.covers(s) && l.allows(a) })
		})
		if len(s.Actions) > 0 {
			restricted = append(restricted, s)
		}
	}
	return restricted
}

// covers reports whether the limit is for a resource. The class does not matter, as in rules:
// registries ignore it.
func (l *Limit) covers(s Scope) bool {
	return l.kind == s.Type && l.pattern.match(strings.Split(s.Name, "/"), "", "")
}
