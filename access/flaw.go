package access

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// FlawKind is the kind of a flaw. Programs depend on it, so it stays when the words change.
type FlawKind string

// The flaws of rules.
const (
	FlawNoRules  FlawKind = "access-allows-nothing"
	FlawPattern  FlawKind = "pattern-never-matches"
	FlawNobody   FlawKind = "rule-for-nobody"
	FlawType     FlawKind = "type-unknown"
	FlawAction   FlawKind = "action-unknown"
	FlawAddress  FlawKind = "address-impossible"
	FlawService  FlawKind = "service-not-in-audience"
	FlawNoEffect FlawKind = "min-gid-without-group"
)

// Flaw is a part of a rule that no request can match. It is no error: the rule does no harm.
type Flaw struct {
	Kind  FlawKind
	Line  int    // of the rule; 0 = of the section
	What  string // the part, such as `"Team/**" in repositories`
	Why   string // no request matches it
	Write string // what is probably meant; "" = not known
}

// Flaws returns the parts of the rules that no request can match. blacklist and audiences are those
// of the configuration.
func (p *Policy) Flaws(blacklist Blacklist, audiences []string) []Flaw {
	if p == nil {
		return nil
	}
	if len(p.rules) == 0 {
		return []Flaw{{Kind: FlawNoRules, What: "the section access has no rules",
			Why: "nobody is granted anything", Write: "access: [{allow: [pull], to: [users]}], or no section access"}}
	}
	var flaws []Flaw
	for i := range p.rules {
		flaws = append(flaws, p.rules[i].flaws(blacklist, audiences)...)
	}
	return flaws
}

func (s *Rule) flaws(blacklist Blacklist, audiences []string) (flaws []Flaw) {
	add := func(kind FlawKind, field, value, why, write string) {
		if why != "" {
			flaws = append(flaws, Flaw{Kind: kind, Line: s.Line, What: fmt.Sprintf("%q in %s", truncated(value), field),
				Why: why, Write: write})
		}
	}
	for _, text := range s.Repositories {
		why, write := s.patternFlaw(text)
		add(FlawPattern, "repositories", text, why, write)
	}
	for _, kind := range s.Types {
		if isMistypedRepository(kind) {
			add(FlawType, "types", kind, "registries ask for the type repository", "repository")
		}
	}
	if len(s.Types) > 0 && !slices.ContainsFunc(s.Types, func(kind string) bool { return kind != repositoryType[0] }) {
		for _, action := range s.Allow {
			if action != catalogAction && action != "*" && !slices.Contains(repositoryActions[:], action) {
				add(FlawAction, "allow", action, "registries ask for pull, push and delete on a repository", "")
			}
		}
	}
	for _, text := range s.From {
		add(FlawAddress, "from", text, addressFlaw(text), "")
	}
	for _, service := range s.Services {
		if !slices.Contains(audiences, service) {
			add(FlawService, "services", service, "it is not in audience, so no token is for it",
				strings.Join(audiences, " or "))
		}
	}
	if !slices.ContainsFunc(s.To, func(name string) bool { return !blacklist.holds(name) }) {
		add(FlawNobody, "to", strings.Join(s.To, ", "), "blacklisted_users has it, and comes before every rule", "")
	}
	if s.MinGID != nil && !s.uses("{group}") {
		add(FlawNoEffect, "min_gid", fmt.Sprint(*s.MinGID), "it is for {group}, which repositories does not have", "")
	}
	return flaws
}

// holds reports that a word of "to" is blacklisted as a whole.
func (b Blacklist) holds(name string) bool {
	if name == anyone || name == users {
		return false
	}
	return slices.ContainsFunc(b, func(entry string) bool {
		if strings.HasPrefix(entry, "@") {
			return entry == name
		}
		return strings.EqualFold(entry, name)
	})
}

// patternFlaw says why no name matches a pattern, and what is probably meant. A name consists of
// path components (distribution, reference/regexp.go) and has at most 255 bytes.
func (s *Rule) patternFlaw(text string) (why, write string) {
	if strings.Contains(text, ":") {
		return colonFlaw(text)
	}
	if lower := strings.ToLower(text); lower != text {
		return "a repository's name has no upper case", lower
	}
	p, err := parsePattern(text)
	if err != nil {
		return "", "" // an error already
	}
	least := 0
	for i := range p.segments {
		if !p.segments[i].isPossible() {
			return "between its slashes a repository's name begins and ends with a letter or digit, and has " +
				". _ __ or - between them", ""
		}
		least += p.segments[i].leastLength() + 1
	}
	if least-1 > maxNameLen {
		return fmt.Sprintf("a repository's name has at most %d bytes", maxNameLen), ""
	}
	if strings.Contains(text, "{user}") && s.namesOnlyAccounts() &&
		!slices.ContainsFunc(s.To, func(name string) bool { return namespace(name) != "" }) {
		return fmt.Sprintf("{user} stands for nothing: a repository's name cannot contain %q",
			strings.Join(s.To, ", ")), ""
	}
	return "", ""
}

// maxNameLen is distribution's (reference/reference.go, RepositoryNameTotalLengthMax).
const maxNameLen = 255

// colonFlaw is about a host, a tag, or a whole scope in place of a name.
func colonFlaw(text string) (why, write string) {
	first, rest, slash := strings.Cut(text, "/")
	switch kind, name, _ := strings.Cut(text, ":"); {
	case kind == "registry":
		return "the catalog is no repository", "allow: [catalog], without repositories"
	case kind == "repository":
		name, _, _ = strings.Cut(name, ":")
		return "it is a scope: repositories lists names", name
	case slash && strings.Contains(first, ":"):
		return "clients ask for a name without the registry's host and port", rest
	default:
		name, _, _ := strings.Cut(text, ":")
		return "a scope names no tag", name
	}
}

func (s *Rule) namesOnlyAccounts() bool {
	return !slices.ContainsFunc(s.To, func(name string) bool {
		return name == anyone || name == users || strings.HasPrefix(name, "@")
	})
}

// isPossible reports that a path component can match the segment.
func (s *segment) isPossible() bool {
	if s.doubleStar || s.star {
		return true
	}
	pieces := s.pieces
	if pieces == nil {
		pieces = []piece{{text: s.literal}}
	}
	for i, p := range pieces {
		if p.kind != pieceLiteral {
			continue
		}
		text := p.text
		if i > 0 {
			text = "a" + text // a name may go on here
		}
		if i < len(pieces)-1 {
			text += "a"
		}
		if !isPathComponent(text) {
			return false
		}
	}
	return true
}

// leastLength is that of the shortest text that the segment matches. It counts {user} and {group}
// as one byte.
func (s *segment) leastLength() int {
	if s.pieces == nil {
		return len(s.literal)
	}
	n := 0
	for _, p := range s.pieces {
		switch p.kind {
		case pieceLiteral:
			n += len(p.text)
		case pieceUser, pieceGroup:
			n++
		}
	}
	return n
}

// isMistypedRepository reports a type that is meant to be repository.
func isMistypedRepository(kind string) bool {
	if kind == repositoryType[0] {
		return false
	}
	switch kind {
	case "repo", "repos", "repositories", "image", "images":
		return true
	}
	return isNear(kind, repositoryType[0])
}

// isNear reports that one letter more, less or other, or two in another order, make a of b.
func isNear(a, b string) bool {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	a, b = a[i:], b[i:]
	rest := func(text string) string { return text[min(1, len(text)):] }
	return rest(a) == b || a == rest(b) || rest(a) == rest(b) ||
		len(a) > 1 && len(b) > 1 && a[0] == b[1] && a[1] == b[0] && a[2:] == b[2:]
}

// addressFlaw says why no client has an address.
func addressFlaw(text string) string {
	p, err := ParsePrefix(text)
	if err != nil {
		return "" // an error already
	}
	addr := p.Addr()
	switch {
	case addr.IsUnspecified() && p.IsSingleIP():
		return "no client has the unspecified address"
	case addr.IsMulticast():
		return "no client has a multicast address"
	case reserved.Overlaps(p) && p.Bits() >= reserved.Bits():
		return "no client has a reserved address"
	}
	return ""
}

var reserved = netip.MustParsePrefix("240.0.0.0/4") // RFC 1112 §4, with broadcast
