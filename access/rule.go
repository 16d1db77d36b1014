package access

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unicode"
)

// Rule is one entry of the access section as written. Rules only allow, and a request gets the
// union of those that match. Their order does not matter.
type Rule struct {
	Allow        []string // pull, push (includes pull), delete, * (these three), catalog
	Types        []string // resource types without a class; empty = repository
	Repositories []string // patterns; empty = all
	To           []string // anyone, users, @group, account; never empty
	From         []string // addresses and prefixes; empty = all
	Services     []string // audiences; empty = all
	MinGID       *int     // the smallest group id that {group} stands for; nil = defaultMinGID
	Line         int      // in the configuration file
}

// defaultMinGID keeps system groups from becoming namespaces. It is GID_MIN in /etc/login.defs of
// Debian.
const defaultMinGID = 1000

const maxEntries = 1000 // in each list of a rule

// RuleError is an error in one field of one rule.
type RuleError struct {
	Rule  int    // its index, from 0
	Field string // allow, repositories, …
	Err   error
	Hint  string // what to do; "" if the cause says it
}

func (e *RuleError) Error() string { return e.Field + ": " + e.Err.Error() }

// The keywords in "to".
const (
	anyone = "anyone"
	users  = "users"
)

// compiledRule is a Rule prepared for decisions.
type compiledRule struct {
	actions  []string
	catalog  bool
	types    []string
	patterns []pattern // nil = all
	from     []netip.Prefix
	services []string
	minGID   int
	source   *Rule
}

var repositoryType = []string{"repository"}

const catalogAction = "catalog"

// check returns all errors of a rule. It builds nothing: the CGI front end checks ten thousand
// rules to use one.
func (s *Rule) check(index int) []*RuleError {
	var errs []*RuleError
	add := func(field, hint string, err error) {
		if err != nil {
			errs = append(errs, &RuleError{Rule: index, Field: field, Err: err, Hint: hint})
		}
	}
	add("allow", "it is a list of pull, push, delete, catalog", s.checkActions())
	add("types", "", s.checkTypes())
	add("repositories", "", s.checkPatterns())
	add("to", "it is a list of anyone, users, \"@group\" and account names", s.checkPrincipals())
	add("from", "write addresses such as 192.0.2.7, or prefixes such as 10.0.0.0/8 and \"2001:db8::/32\"",
		s.checkPrefixes())
	add("services", "", checkList(s.Services, false))
	if s.MinGID != nil && *s.MinGID < 0 {
		add("min_gid", "", fmt.Errorf("%d is not a group id", *s.MinGID))
	}
	if s.uses("{group}") && (slices.Contains(s.To, anyone) || slices.Contains(s.To, users)) {
		// On Debian every account has a group of its own, so this would be a namespace for every
		// group of every account.
		add("to", "name the groups or accounts whose members get a namespace",
			errors.New("a rule with {group} cannot be for anyone or users"))
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
			return fmt.Errorf("unknown action %q", truncated(a))
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
			// Registries look access up by type and name (distribution,
			// registry/auth/token/accesscontroller.go).
			return fmt.Errorf("%q has a class, which registries ignore: it would open the repository of that name",
				truncated(t))
		}
		if !isWord(t) || t == "registry" {
			return fmt.Errorf("%q is not a resource type", truncated(t))
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
	for _, name := range s.To {
		if name == "@" || strings.ContainsFunc(name, notInPrincipal) {
			return fmt.Errorf("%q is neither a group nor an account", truncated(name))
		}
	}
	return nil
}

// notInPrincipal reports the characters that no account or group name contains. Globs are among
// them:
// * is written for users or anyone.
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

// ParsePrefix parses an address or a prefix. An IPv4-mapped one becomes IPv4, since the addresses
// of IPv4 clients are. It refuses 10.0.0.1/8, which may mean the host or the network, and NAT64,
// whose clients have IPv4 addresses too.
func ParsePrefix(text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if addr, addrErr := netip.ParseAddr(text); addrErr == nil && addr.Zone() == "" {
		p, err = netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is neither an address nor a prefix", truncated(text))
	}
	if p != p.Masked() {
		return netip.Prefix{}, fmt.Errorf("%q has bits beyond the prefix: %s or %s", text, p.Masked(), p.Addr())
	}
	if nat64.Contains(p.Addr()) && p.Bits() >= nat64.Bits() {
		return netip.Prefix{}, fmt.Errorf("%q is NAT64: its clients have IPv4 addresses here", text)
	}
	if p.Addr().Is4In6() && p.Bits() >= mappedBits {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-mappedBits)
	}
	return p, nil
}

// mappedBits are before the IPv4 address in an IPv4-mapped one (RFC 4291 §2.5.5.2).
const mappedBits = 96

var nat64 = netip.MustParsePrefix("64:ff9b::/96") // RFC 6052 §2.1

// uses reports whether a pattern contains a placeholder.
func (s *Rule) uses(placeholder string) bool {
	return slices.ContainsFunc(s.Repositories, func(text string) bool { return strings.Contains(text, placeholder) })
}

// compile prepares a rule that check has accepted.
func (s *Rule) compile() compiledRule {
	r := compiledRule{source: s, types: s.Types, services: s.Services, minGID: defaultMinGID}
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
			// A registry demands both for a push (distribution, registry/handlers/app.go).
			r.actions = appendNew(r.actions, []string{"pull", "push"})
		default:
			r.actions = appendNew(r.actions, []string{a})
		}
	}
	for _, text := range s.Repositories {
		p, _ := parsePattern(text)
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
		return errors.New("the list is empty")
	}
	if len(list) > maxEntries {
		return fmt.Errorf("more than %d entries", maxEntries)
	}
	if slices.Contains(list, "") {
		return errors.New("an entry is empty")
	}
	return nil
}
