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
	Types        []string // resource types; empty = repository
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

// The bounds of one rule.
const maxEntries = 1000 // in each of its lists

// RuleError is what is wrong with one field of one rule.
type RuleError struct {
	Rule  int    // which one, from 0
	Field string // allow, repositories, …
	Err   error
	Hint  string // what to do about it; "" when the cause says it
}

func (e *RuleError) Error() string { return e.Field + ": " + e.Err.Error() }

// rule is a Rule that was read.
type rule struct {
	actions  []string
	catalog  bool
	types    []string
	patterns []Pattern // nil = all
	anyone   bool
	users    bool
	names    []string
	groups   []string
	from     []netip.Prefix
	services []string
	minGID   int
	source   *Rule
}

var repositoryType = []string{"repository"}

const catalogAction = "catalog"

// compile reads a rule and says everything that is wrong with it.
func compile(index int, source *Rule) (rule, []*RuleError) {
	r := rule{source: source, types: source.Types, services: source.Services, minGID: defaultMinGID}
	var errs []*RuleError
	note := func(field, hint string, err error) {
		if err != nil {
			errs = append(errs, &RuleError{Rule: index, Field: field, Err: err, Hint: hint})
		}
	}
	if len(r.types) == 0 {
		r.types = repositoryType
	}
	note("allow", "it is a list of pull, push, delete, catalog", r.readActions(source.Allow))
	note("types", "", checkTypes(source.Types))
	note("repositories", "", r.readPatterns(source.Repositories))
	note("to", "it is a list of anyone, users, \"@group\" and account names", r.readPrincipals(source.To))
	note("from", "write addresses such as 192.0.2.7, or prefixes such as 10.0.0.0/8 and \"2001:db8::/32\"", r.readPrefixes(source.From))
	note("services", "", checkServices(source.Services))
	note("min_gid", "", r.readMinGID(source.MinGID))
	if len(errs) == 0 {
		note("to", "name the groups or accounts whose members get a namespace", r.checkGroupPattern())
	}
	return r, errs
}

func (r *rule) readActions(allow []string) error {
	if err := checkList(allow, true); err != nil {
		return err
	}
	for _, a := range allow {
		switch {
		case a == catalogAction:
			r.catalog = true
		case a == "push":
			// A registry asks for both when something is pushed (distribution, registry/handlers/app.go).
			r.actions = appendNew(r.actions, []string{"pull", "push"})
		case a == "*":
			r.actions = appendNew(r.actions, repositoryActions[:])
		case slices.Contains(repositoryActions[:], a):
			r.actions = appendNew(r.actions, []string{a})
		case len(r.source.Types) > 0 && a != "" && !strings.ContainsFunc(a, notLower):
			r.actions = appendNew(r.actions, []string{a}) // other types have actions of their own
		default:
			return fmt.Errorf("unknown action %q", clipped(a))
		}
	}
	if r.catalog && len(r.actions) == 0 && len(r.source.Repositories) > 0 {
		return errors.New("the catalog lists all repositories: it cannot be allowed for some of them")
	}
	return nil
}

func checkTypes(types []string) error {
	if err := checkList(types, false); err != nil {
		return err
	}
	for _, t := range types {
		if _, _, ok := splitClass(t); !ok || t == "registry" {
			return fmt.Errorf("%q is no resource type", clipped(t))
		}
	}
	return nil
}

func (r *rule) readPatterns(texts []string) error {
	if err := checkList(texts, false); err != nil {
		return err
	}
	for _, text := range texts {
		p, err := ParsePattern(text)
		if err != nil {
			return err
		}
		r.patterns = append(r.patterns, p)
	}
	return nil
}

func (r *rule) readPrincipals(to []string) error {
	if err := checkList(to, true); err != nil {
		return err
	}
	for _, who := range to {
		group, isGroup := strings.CutPrefix(who, "@")
		switch {
		case who == "anyone":
			r.anyone = true
		case who == "users":
			r.users = true
		case group == "" || strings.ContainsFunc(who, notInPrincipal):
			return fmt.Errorf("%q is neither a group nor an account", clipped(who))
		case isGroup:
			r.groups = append(r.groups, group)
		default:
			r.names = append(r.names, who)
		}
	}
	return nil
}

// notInPrincipal leaves out what no account's or group's name holds, globs
// among them: somebody who writes * means users or anyone.
func notInPrincipal(r rune) bool {
	return !unicode.IsPrint(r) || strings.ContainsRune("*?/,:", r)
}

func (r *rule) readPrefixes(from []string) error {
	if err := checkList(from, false); err != nil {
		return err
	}
	for _, text := range from {
		p, err := parsePrefix(text)
		if err != nil {
			return err
		}
		r.from = append(r.from, p)
	}
	return nil
}

// parsePrefix refuses 10.0.0.1/8: it is not clear whether the host or the network was meant.
func parsePrefix(text string) (netip.Prefix, error) {
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

func checkServices(services []string) error {
	return checkList(services, false)
}

func (r *rule) readMinGID(id *int) error {
	if id == nil {
		return nil
	}
	if *id < 0 {
		return fmt.Errorf("%d is no group id", *id)
	}
	r.minGID = *id
	return nil
}

// checkGroupPattern wants names beside {group}: on Debian everybody is in a
// group of their own, and a namespace for each group of each account is more
// than anybody means.
func (r *rule) checkGroupPattern() error {
	if !slices.ContainsFunc(r.patterns, func(p Pattern) bool { return p.groups }) {
		return nil
	}
	if r.anyone || r.users {
		return errors.New("a rule with {group} cannot be for anyone or users")
	}
	return nil
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
