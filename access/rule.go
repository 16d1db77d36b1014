package access

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unicode"
)

// Rule is one entry of the access section as it was written. Rules only allow:
// what a request gets is the union of all that match, so their order never matters.
type Rule struct {
	Allow        []string // pull, push (brings pull with it), delete, * (these three), catalog
	Types        []string // resource types without a class; empty = repository
	Repositories []string // patterns; empty = all
	To           []string // anyone, users, @group, account; never empty
	From         []string // addresses and prefixes; empty = from everywhere
	Services     []string // audiences; empty = all
	MinGID       *int     // the least id of a group that {group} stands for; nil = defaultMinGID
	Line         int      // where it stands
}

// defaultMinGID keeps system groups from becoming namespaces: GID_MIN of
// Debian's /etc/login.defs.
const defaultMinGID = 1000

const maxEntries = 1000 // in each list of a rule

// RuleError is what is wrong with one field of one rule.
type RuleError struct {
	Rule  int    // which one, from 0
	Field string // allow, repositories, …
	Err   error
	Hint  string // what to do about it; "" when the cause says it
}

func (e *RuleError) Error() string { return e.Field + ": " + e.Err.Error() }

// The words in "to" that are no names.
const (
	anyone = "anyone"
	users  = "users"
)

// rule is a Rule made ready for decisions.
type rule struct {
	actions  []string
	catalog  bool
	types    []string
	patterns []Pattern // nil = all
	from     []netip.Prefix
	services []string
	minGID   int
	source   *Rule
}

var repositoryType = []string{"repository"}

const catalogAction = "catalog"

// check says everything that is wrong with a rule. It builds nothing: the CGI
// door checks ten thousand rules to use one.
func (s *Rule) check(index int) []*RuleError {
	var errs []*RuleError
	note := func(field, hint string, err error) {
		if err != nil {
			errs = append(errs, &RuleError{Rule: index, Field: field, Err: err, Hint: hint})
		}
	}
	note("allow", "it is a list of pull, push, delete, catalog", s.checkActions())
	note("types", "", s.checkTypes())
	note("repositories", "", s.checkPatterns())
	note("to", "it is a list of anyone, users, \"@group\" and account names", s.checkPrincipals())
	note("from", "write addresses such as 192.0.2.7, or prefixes such as 10.0.0.0/8 and \"2001:db8::/32\"", s.checkPrefixes())
	note("services", "", checkList(s.Services, false))
	if s.MinGID != nil && *s.MinGID < 0 {
		note("min_gid", "", fmt.Errorf("%d is no group id", *s.MinGID))
	}
	if s.namesGroup() && (slices.Contains(s.To, anyone) || slices.Contains(s.To, users)) {
		// On Debian everybody is in a group of their own, and a namespace for
		// each group of each account is more than anybody means.
		note("to", "name the groups or accounts whose members get a namespace", errors.New("a rule with {group} cannot be for anyone or users"))
	}
	return errs
}

func (s *Rule) checkActions() error {
	if err := checkList(s.Allow, true); err != nil {
		return err
	}
	for _, a := range s.Allow {
		known := a == catalogAction || a == "*" || slices.Contains(repositoryActions[:], a)
		if !known && (len(s.Types) == 0 || strings.ContainsFunc(a, notLower)) { // other types have actions of their own
			return fmt.Errorf("unknown action %q", clipped(a))
		}
	}
	if len(s.Repositories) > 0 && !slices.ContainsFunc(s.Allow, func(a string) bool { return a != catalogAction }) {
		return errors.New("the catalog lists all repositories: it cannot be allowed for some of them")
	}
	return nil
}

func (s *Rule) checkTypes() error {
	for _, t := range s.Types {
		if strings.Contains(t, "(") {
			// distribution, registry/auth/token/accesscontroller.go: access is
			// looked up by type and name alone.
			return fmt.Errorf("%q has a class, which registries do not look at: what is granted on it opens the repository of that name", clipped(t))
		}
		if !isWord(t) || t == "registry" {
			return fmt.Errorf("%q is no resource type", clipped(t))
		}
	}
	return checkList(s.Types, false)
}

func (s *Rule) checkPatterns() error {
	for _, text := range s.Repositories {
		if err := checkPattern(text); err != nil {
			return err
		}
	}
	return checkList(s.Repositories, false)
}

func (s *Rule) checkPrincipals() error {
	if err := checkList(s.To, true); err != nil {
		return err
	}
	for _, who := range s.To {
		if who == "@" || strings.ContainsFunc(who, notInPrincipal) {
			return fmt.Errorf("%q is neither a group nor an account", clipped(who))
		}
	}
	return nil
}

// notInPrincipal leaves out what no account's or group's name holds, globs
// among them: somebody who writes * means users or anyone.
func notInPrincipal(r rune) bool {
	if !notLower(r) || isDigit(r) {
		return false
	}
	return !unicode.IsPrint(r) || strings.ContainsRune("*?/,:", r)
}

func (s *Rule) checkPrefixes() error {
	for _, text := range s.From {
		if _, err := ParsePrefix(text); err != nil {
			return err
		}
	}
	return checkList(s.From, false)
}

// ParsePrefix reads an address or a prefix. It refuses 10.0.0.1/8: it is not clear whether the host or the network was meant.
func ParsePrefix(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil && addr.Zone() == "" {
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is neither an address nor a prefix", clipped(text))
	}
	if p != p.Masked() {
		return netip.Prefix{}, fmt.Errorf("%q has bits beyond the prefix: %s or %s", text, p.Masked(), p.Addr())
	}
	return p, nil
}

// namesGroup reports whether {group} is in a pattern.
func (s *Rule) namesGroup() bool {
	return slices.ContainsFunc(s.Repositories, func(text string) bool { return strings.Contains(text, "{group}") })
}

// compile makes a rule ready that check has found nothing wrong with.
func (s *Rule) compile() rule {
	r := rule{source: s, types: s.Types, services: s.Services, minGID: defaultMinGID}
	if len(r.types) == 0 {
		r.types = repositoryType
	}
	if s.MinGID != nil {
		r.minGID = *s.MinGID
	}
	for _, a := range s.Allow {
		switch a {
		case catalogAction:
			r.catalog = true
		case "*":
			r.actions = appendNew(r.actions, repositoryActions[:])
		case "push":
			// A registry asks for both when something is pushed (distribution, registry/handlers/app.go).
			r.actions = appendNew(r.actions, []string{"pull", "push"})
		default:
			r.actions = appendNew(r.actions, []string{a})
		}
	}
	for _, text := range s.Repositories {
		p, _ := ParsePattern(text)
		r.patterns = append(r.patterns, p)
	}
	for _, text := range s.From {
		p, _ := ParsePrefix(text)
		r.from = append(r.from, p)
	}
	return r
}

func checkList(list []string, needed bool) error {
	if needed && len(list) == 0 {
		return errors.New("nothing is in it")
	}
	if len(list) > maxEntries {
		return fmt.Errorf("more than %d entries", maxEntries)
	}
	if slices.Contains(list, "") {
		return errors.New("an entry is empty")
	}
	return nil
}
