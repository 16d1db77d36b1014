// Package access holds the vocabulary of access: scopes, what may stand in
// them, and what of a request is granted. It is pure: no clock, no file, no
// network.
package access

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// The bounds of one request's scopes. The granted scopes travel inside the
// token, in a header of every later request, and web servers stop reading a
// header line at 8 KiB.
const (
	maxScopes     = 100 // different resources; a push with many mounts asks for a dozen
	maxScopeLen   = 512 // bytes; a repository name is at most 255, a host and the actions come on top
	maxActionsLen = 128 // bytes of the action list
	maxActions    = 16  // on one resource, all its scopes taken together; there are four
)

// ErrScope marks every error that ParseScopes returns.
var ErrScope = errors.New("invalid scope")

// Scope is one resource and the actions asked for or granted on it. Its JSON
// form is one entry of a registry token's "access" claim (distribution,
// registry/auth/token/types.go, ResourceActions).
type Scope struct {
	Type    string   `json:"type"`
	Class   string   `json:"class,omitempty"`
	Name    string   `json:"name"`
	Actions []string `json:"actions"`
}

// String is the form that a client sends: type[(class)]:name:action[,action].
func (s Scope) String() string {
	return s.resource() + ":" + strings.Join(s.Actions, ",")
}

func (s Scope) resource() string {
	if s.Class == "" {
		return s.Type + ":" + s.Name
	}
	return s.Type + "(" + s.Class + "):" + s.Name
}

// Format prints scopes the way they are sent in one parameter: with a space
// between them (RFC 6749 §3.3).
func Format(scopes []Scope) string {
	texts := make([]string, len(scopes))
	for i, s := range scopes {
		texts[i] = s.String()
	}
	return strings.Join(texts, " ")
}

// ParseScopes reads the scope parameters of one request. Clients repeat the
// parameter, join several scopes with spaces, do both at once, send empty
// values and ask for the same resource twice; the result has each resource
// once, in the order in which they were first named. Every error is an
// ErrScope and fit to be shown to the client.
func ParseScopes(params []string) ([]Scope, error) {
	var scopes []Scope
	seen := make(map[string]int)
	for _, param := range params {
		for text := range strings.FieldsFuncSeq(param, func(r rune) bool { return r == ' ' }) {
			s, err := parseScope(text)
			if err != nil {
				return nil, err
			}
			if at, ok := seen[s.resource()]; ok {
				scopes[at].Actions = appendNew(scopes[at].Actions, s.Actions)
				if len(scopes[at].Actions) > maxActions {
					return nil, fmt.Errorf("%w: more than %d actions on one resource", ErrScope, maxActions)
				}
				continue
			}
			if len(scopes) == maxScopes {
				return nil, fmt.Errorf("%w: more than %d in one request", ErrScope, maxScopes)
			}
			seen[s.resource()] = len(scopes)
			scopes = append(scopes, s)
		}
	}
	return scopes, nil
}

// parseScope reads one scope. A name may hold colons ("host:5000/app"), so
// the type ends at the first colon and the actions begin after the last.
func parseScope(text string) (Scope, error) {
	if len(text) > maxScopeLen {
		return Scope{}, fmt.Errorf("%w: %q… is longer than %d bytes", ErrScope, text[:32], maxScopeLen)
	}
	first, last := strings.IndexByte(text, ':'), strings.LastIndexByte(text, ':')
	if first < 0 || first == last {
		return Scope{}, fmt.Errorf("%w %q: it is not of the form type:name:actions", ErrScope, text)
	}
	kind, class, ok := splitClass(text[:first])
	if !ok {
		return Scope{}, fmt.Errorf("%w %q: the type is not of the form type or type(class)", ErrScope, text)
	}
	name := text[first+1 : last]
	if name == "" || strings.ContainsFunc(name, notInName) {
		return Scope{}, fmt.Errorf("%w %q: the name is empty or holds a character that no name may hold", ErrScope, text)
	}
	actions, ok := splitActions(text[last+1:])
	if !ok {
		return Scope{}, fmt.Errorf("%w %q: the actions are not words with commas between them", ErrScope, text)
	}
	return Scope{Type: kind, Class: class, Name: name, Actions: actions}, nil
}

// splitClass takes "repository(plugin)" apart (distribution,
// docs/spec/auth/scope.md, resourcetype).
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

func splitActions(text string) ([]string, bool) {
	if len(text) > maxActionsLen {
		return nil, false
	}
	var actions []string
	for action := range strings.SplitSeq(text, ",") {
		if action == "" {
			continue // the grammar allows an empty action; it grants nothing
		}
		if action != "*" && strings.ContainsFunc(action, notLower) {
			return nil, false
		}
		if actions = appendNew(actions, []string{action}); len(actions) > maxActions {
			return nil, false
		}
	}
	return actions, true
}

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

// notInName allows what repository names and the host in front of them are
// made of, an IPv6 address in brackets included.
func notInName(r rune) bool {
	if isDigit(r) || !notLower(r) || (r >= 'A' && r <= 'Z') {
		return false
	}
	return !strings.ContainsRune("._-/:[]", r)
}
