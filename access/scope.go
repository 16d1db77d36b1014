// Package access parses the scopes of a request and decides which part of them an account is
// granted.
//
// A [Policy] is made of [Rule] values, which only allow. A request gets the union of all rules that
// match the [Client], its address, the service and the resource. The package is pure: it uses no
// clock, no file and no network.
package access

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// The bounds of the scopes of one request. The token carries the granted ones in a header, and web
// servers read at most 8 KiB of a header line.
const (
	maxScopes     = 100 // different resources; a push with many mounts asks for a dozen
	maxScopeLen   = 512 // bytes; a repository name has at most 255, host and actions are added
	maxActionsLen = 128 // bytes of the action list
	maxActions    = 16  // on one resource in all its scopes; four exist
)

// ErrScope marks every error that ParseScopes returns.
var ErrScope = errors.New("invalid scope")

// Malformed is a scope that does not parse. Text is as the client sent it, at most maxScopeLen
// bytes.
type Malformed struct{ Text, Cause string }

func (m *Malformed) Error() string { return fmt.Sprintf("%v %q: %s", ErrScope, m.Text, m.Cause) }

// Scope is one resource with the actions requested or granted on it. Its JSON form is one entry of
// the "access" claim of a registry token (distribution, registry/auth/token/types.go,
// ResourceActions).
type Scope struct {
	Type    string   `json:"type"`
	Class   string   `json:"class,omitempty"`
	Name    string   `json:"name"`
	Actions []string `json:"actions"`
}

// String is the form that a client sends: type[(class)]:name:action[,action].
func (s Scope) String() string { return Format([]Scope{s}) }

func (s Scope) resource() string {
	if s.Class == "" {
		return s.Type + ":" + s.Name
	}
	return s.Type + "(" + s.Class + "):" + s.Name
}

// Format joins scopes with spaces, as one parameter holds them (RFC 6749 §3.3).
func Format(scopes []Scope) string {
	var text []byte
	for i, s := range scopes {
		if i > 0 {
			text = append(text, ' ')
		}
		if text = append(text, s.Type...); s.Class != "" {
			text = append(append(append(text, '('), s.Class...), ')')
		}
		text = append(append(append(text, ':'), s.Name...), ':')
		for n, action := range s.Actions {
			if n > 0 {
				text = append(text, ',')
			}
			text = append(text, action...)
		}
	}
	return string(text)
}

// ParseScopes parses the scope parameters of one request. Clients repeat the parameter, join scopes
// with spaces, send empty values and name the same resource twice. The result has each resource
// once, in the order of the first mention.
//
// Clients also send scopes that do not parse, such as "::", "*" and actions with an underscore. One
// that is nearly right is not corrected: it is among the malformed, each once, and grants nothing.
//
// An error means that a bound is exceeded. It is an ErrScope and may be shown to the client.
func ParseScopes(params []string) (scopes []Scope, malformed []*Malformed, err error) {
	type resource struct{ kind, class, name string }
	seen := make(map[resource]int)
	bad := make(map[string]bool)
	for _, param := range params {
		for text := range strings.FieldsFuncSeq(param, func(r rune) bool { return r == ' ' }) {
			s, err := parseScope(text)
			r := resource{s.Type, s.Class, s.Name}
			if m := (*Malformed)(nil); errors.As(err, &m) {
				if !bad[text] {
					malformed = append(malformed, m)
				}
				bad[text] = true
			} else if err != nil {
				return nil, nil, err
			} else if at, ok := seen[r]; ok {
				scopes[at].Actions = appendNew(scopes[at].Actions, s.Actions)
				if len(scopes[at].Actions) > maxActions {
					return nil, nil, errManyActions
				}
			} else {
				seen[r] = len(scopes)
				scopes = append(scopes, s)
			}
			if len(scopes)+len(malformed) > maxScopes {
				return nil, nil, fmt.Errorf("%w: more than %d in one request", ErrScope, maxScopes)
			}
		}
	}
	return scopes, malformed, nil
}

var errManyActions = fmt.Errorf("%w: more than %d actions on one resource", ErrScope, maxActions)

// parseScope parses one scope. A name may contain colons ("host:5000/app"), so the type ends at the
// first colon and the actions start after the last. The error is a *Malformed, or an ErrScope if a
// bound is exceeded.
func parseScope(text string) (Scope, error) {
	if len(text) > maxScopeLen {
		return Scope{}, fmt.Errorf("%w: %q… is longer than %d bytes", ErrScope, text[:32], maxScopeLen)
	}
	first, last := strings.IndexByte(text, ':'), strings.LastIndexByte(text, ':')
	if first < 0 || first == last {
		return Scope{}, &Malformed{text, "it is not of the form type:name:actions"}
	}
	actions, err := splitActions(text[last+1:])
	if err != nil {
		return Scope{}, err
	}
	kind, class, ok := splitClass(text[:first])
	name := text[first+1 : last]
	switch {
	case !ok:
		return Scope{}, &Malformed{text, "the type is not of the form type or type(class)"}
	case name == "" || strings.ContainsFunc(name, notInName):
		return Scope{}, &Malformed{text, "the name is empty or holds a character that no name may hold"}
	case slices.ContainsFunc(actions, notAction):
		return Scope{}, &Malformed{text, "the actions are not words with commas between them"}
	}
	return Scope{Type: kind, Class: class, Name: name, Actions: actions}, nil
}

// splitClass splits "repository(plugin)" (distribution, docs/spec/auth/scope.md, resourcetype).
func splitClass(text string) (kind, class string, ok bool) {
	kind, rest, hasClass := strings.Cut(text, "(")
	if !isWord(kind) {
		return "", "", false
	}
	if !hasClass {
		return kind, "", true
	}
	class, closed := strings.CutSuffix(rest, ")")
	if !closed || !isWord(class) {
		return "", "", false
	}
	return kind, class, true
}

// splitActions leaves out empty actions, which the grammar allows.
func splitActions(text string) ([]string, error) {
	if len(text) > maxActionsLen {
		return nil, fmt.Errorf("%w: actions longer than %d bytes", ErrScope, maxActionsLen)
	}
	var actions []string
	for action := range strings.SplitSeq(text, ",") {
		if action == "" {
			continue
		}
		if actions = appendNew(actions, []string{action}); len(actions) > maxActions {
			return nil, errManyActions
		}
	}
	return actions, nil
}

func notAction(text string) bool { return text != "*" && strings.ContainsFunc(text, notLower) }

func appendNew(have, more []string) []string {
	for _, a := range more {
		if !slices.Contains(have, a) {
			have = append(have, a)
		}
	}
	return have
}

func isWord(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return notLower(r) && !isDigit(r) })
}

func notLower(r rune) bool { return r < 'a' || r > 'z' }
func isDigit(r rune) bool  { return r >= '0' && r <= '9' }

// notInName reports the characters that neither a repository name nor the host in front of it
// contains. The host may be an IPv6 address in brackets.
func notInName(r rune) bool {
	if isDigit(r) || !notLower(r) || (r >= 'A' && r <= 'Z') {
		return false
	}
	return !strings.ContainsRune("._-/:[]", r)
}
