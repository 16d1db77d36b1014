package access

import (
	"iter"
	"slices"
	"strings"
)

// Policy is the access section of a configuration. A nil Policy is a configuration without one:
// every account gets what it asks for.
type Policy struct {
	rules        []Rule
	index        *index // nil = not indexed
	allowsAnyone bool   // if it is indexed
}

// NewPolicy checks the rules and returns all errors found. Without rules, the policy grants
// nothing. It keeps the slice.
func NewPolicy(rules []Rule) (*Policy, []*RuleError) {
	var errs []*RuleError
	for i := range rules {
		errs = append(errs, rules[i].check(i)...)
	}
	if len(errs) > 0 {
		return nil, errs
	}
	return &Policy{rules: rules}, nil
}

// AllowsAnyone reports whether some rule is for clients without credentials.
func (p *Policy) AllowsAnyone() bool {
	if p != nil && p.index != nil {
		return p.allowsAnyone
	}
	return p.anyRule(func(s *Rule) bool { return slices.Contains(s.To, anyone) })
}

// NamesGroups reports whether Client.Groups is used by any rule.
func (p *Policy) NamesGroups() bool {
	isGroup := func(name string) bool { return strings.HasPrefix(name, "@") }
	return p.anyRule(func(s *Rule) bool { return slices.ContainsFunc(s.To, isGroup) || s.uses("{group}") })
}

func (p *Policy) anyRule(is func(*Rule) bool) bool {
	if p == nil {
		return false
	}
	for i := range p.rules {
		if is(&p.rules[i]) {
			return true
		}
	}
	return false
}

// Principals returns the accounts and groups that rules name, each with the line of the first rule
// that names it.
func (p *Policy) Principals() (accounts, groups map[string]int) {
	accounts, groups = map[string]int{}, map[string]int{}
	if p == nil {
		return accounts, groups
	}
	add := func(lines map[string]int, name string, line int) {
		if _, known := lines[name]; !known {
			lines[name] = line
		}
	}
	for _, s := range p.rules {
		for _, name := range s.To {
			group, isGroup := strings.CutPrefix(name, "@")
			switch {
			case isGroup:
				add(groups, group, s.Line)
			case name != anyone && name != users:
				add(accounts, name, s.Line)
			}
		}
	}
	return accounts, groups
}

// Grant returns the part of a request that is granted: the requested actions that some rule allows,
// in the order of the request. It leaves out a scope without a granted action.
func (p *Policy) Grant(c Client, requested []Scope) []Scope {
	if p == nil {
		return grantAll(requested)
	}
	cl := newClient(c)
	granted := make([]Scope, 0, len(requested))
	for _, s := range requested {
		s.Actions = p.grant(cl, s)
		if len(s.Actions) > 0 {
			granted = append(granted, s)
		}
	}
	return granted
}

func (p *Policy) grant(c *client, s Scope) []string {
	wanted := grantable(s)
	left := slices.Clone(wanted)
	res := newResource(s)
	for r := range p.candidates(c, res) {
		if len(left) == 0 {
			break
		}
		if r.covers(c, res) {
			left = slices.DeleteFunc(left, func(a string) bool { return r.allows(res, a) })
		}
	}
	if len(left) == 0 {
		return wanted
	}
	return slices.DeleteFunc(slices.Clone(wanted), func(a string) bool { return slices.Contains(left, a) })
}

// candidates yields the rules for this client that may match the resource. It may yield a rule more
// than once.
func (p *Policy) candidates(c *client, res *resource) iter.Seq[*compiledRule] {
	return func(yield func(*compiledRule) bool) {
		if p.index != nil {
			p.index.visit(c, res.path, yield)
			return
		}
		for i := range p.rules {
			s := &p.rules[i]
			if !s.mayCover(res) || !s.matchesClient(c) {
				continue
			}
			if r := s.compile(); !yield(&r) {
				return
			}
		}
	}
}

// Index prepares the policy for many requests. Without it rules are compiled as needed, which is
// cheaper for one request.
func (p *Policy) Index() {
	if p == nil {
		return
	}
	p.allowsAnyone = p.AllowsAnyone()
	p.index = &index{}
	for i := range p.rules {
		r := p.rules[i].compile()
		if len(r.patterns) == 0 || r.catalog {
			p.index.add(&r)
			continue
		}
		for at := range r.patterns {
			p.index.node(r.patterns[at].segments).add(&r)
		}
	}
}
