package access

import (
	"net/netip"
	"slices"
	"strings"
)

// Group is a Unix group that an account is in.
type Group struct {
	Name string
	ID   int
}

// Who asks, from where, and for which service.
type Who struct {
	Name    string     // as PAM gave it back; "" = nobody, the anonymous client
	Groups  []Group    // primary and supplementary
	Remote  netip.Addr // the zero Addr = not known: no rule with an address matches
	Service string     // the audience of the token
}

// Policy is the access section. A nil Policy is a configuration without one:
// every account gets what it asks for.
type Policy struct {
	sources []Rule
	lookup  *index // nil = not indexed
}

// NewPolicy reads the rules; without any, nobody gets anything. The errors are
// all that were found. The policy keeps the rules.
func NewPolicy(rules []Rule) (*Policy, []*RuleError) {
	var errs []*RuleError
	for i := range rules {
		errs = append(errs, rules[i].check(i)...)
	}
	if len(errs) > 0 {
		return nil, errs
	}
	return &Policy{sources: rules}, nil
}

// AllowsAnyone reports whether a client without credentials may get something.
// Without rules it may not.
func (p *Policy) AllowsAnyone() bool {
	return p.has(func(s *Rule) bool { return slices.Contains(s.To, anyone) })
}

// NamesGroups reports whether Who.Groups matters at all.
func (p *Policy) NamesGroups() bool {
	isGroup := func(who string) bool { return strings.HasPrefix(who, "@") }
	return p.has(func(s *Rule) bool { return slices.ContainsFunc(s.To, isGroup) || s.namesGroup() })
}

func (p *Policy) has(what func(*Rule) bool) bool {
	if p == nil {
		return false
	}
	for i := range p.sources {
		if what(&p.sources[i]) {
			return true
		}
	}
	return false
}

// Principals returns the accounts and groups that rules name, with the line of
// the first rule that does.
func (p *Policy) Principals() (accounts, groups map[string]int) {
	accounts, groups = map[string]int{}, map[string]int{}
	if p == nil {
		return accounts, groups
	}
	note := func(lines map[string]int, name string, line int) {
		if _, there := lines[name]; !there {
			lines[name] = line
		}
	}
	for _, s := range p.sources {
		for _, who := range s.To {
			group, isGroup := strings.CutPrefix(who, "@")
			switch {
			case isGroup:
				note(groups, group, s.Line)
			case who != anyone && who != users:
				note(accounts, who, s.Line)
			}
		}
	}
	return accounts, groups
}

// Grant returns what of a request is granted: the actions asked for that some
// rule allows, in the order asked. A scope of which nothing is granted is left out.
func (p *Policy) Grant(who Who, requested []Scope) []Scope {
	if p == nil {
		return Everything(requested)
	}
	asks := newAsker(who)
	granted := make([]Scope, 0, len(requested))
	for _, s := range requested {
		s.Actions = p.grant(asks, s)
		if len(s.Actions) > 0 {
			granted = append(granted, s)
		}
	}
	return granted
}

func (p *Policy) grant(who *asker, s Scope) []string {
	wanted := explicit(s)
	left := slices.Clone(wanted)
	res := newResource(s)
	for r := range p.candidates(who, res) {
		if len(left) == 0 {
			break
		}
		if r.covers(who, res) {
			left = slices.DeleteFunc(left, func(a string) bool { return r.allows(res, a) })
		}
	}
	return slices.DeleteFunc(slices.Clone(wanted), func(a string) bool { return slices.Contains(left, a) })
}

// asker is Who with what every rule would otherwise work out again.
type asker struct {
	Who
	user string // what {user} stands for; "" = nothing
}

func newAsker(who Who) *asker {
	who.Remote = who.Remote.Unmap().WithZone("")
	return &asker{Who: who, user: namespace(who.Name)}
}

// resource is a scope's, taken apart.
type resource struct {
	kind    string   // the type; the class is not looked at, since registries do not
	name    string   // whole
	path    []string // cut at its slashes
	catalog bool
}

func newResource(s Scope) *resource {
	return &resource{kind: s.Type, name: s.Name, path: strings.Split(s.Name, "/"), catalog: isCatalog(s)}
}

// isCatalog: a registry asks for exactly this when its catalog is read, and no
// other resource of the type is known to it (distribution, registry/handlers/app.go).
func isCatalog(s Scope) bool {
	return s.Type == "registry" && s.Class == "" && s.Name == "catalog"
}

// allows is for a resource that the rule covers.
func (r *rule) allows(res *resource, action string) bool {
	if res.catalog {
		return r.catalog && action == "*"
	}
	return slices.Contains(r.actions, action)
}

// covers reports whether the rule speaks of this resource and service, and of
// clients from there. That it is for this client is known of candidates.
func (r *rule) covers(who *asker, res *resource) bool {
	return r.isOn(who, res) && r.isFrom(who) && r.isAbout(who)
}

func (s *Rule) isFor(who *asker) bool {
	return slices.ContainsFunc(s.To, func(to string) bool {
		switch group, isGroup := strings.CutPrefix(to, "@"); {
		case to == anyone:
			return true // those who are logged in included
		case who.Name == "":
			return false
		case isGroup:
			return slices.ContainsFunc(who.Groups, func(g Group) bool { return g.Name == group })
		default:
			return to == users || to == who.Name
		}
	})
}

func (r *rule) isFrom(who *asker) bool {
	return len(r.from) == 0 || slices.ContainsFunc(r.from, func(p netip.Prefix) bool { return p.Contains(who.Remote) })
}

func (r *rule) isAbout(who *asker) bool {
	return len(r.services) == 0 || slices.Contains(r.services, who.Service)
}

func (r *rule) isOn(who *asker, res *resource) bool {
	if res.catalog {
		return r.catalog
	}
	if !slices.Contains(r.types, res.kind) {
		return false
	}
	if len(r.patterns) == 0 {
		return len(r.actions) > 0
	}
	for i := range r.patterns {
		if r.matches(&r.patterns[i], who, res) {
			return true
		}
	}
	return false
}

func (r *rule) matches(p *Pattern, who *asker, res *resource) bool {
	if !p.groups {
		return p.match(res.path, who.user, "")
	}
	return slices.ContainsFunc(who.Groups, func(g Group) bool {
		return g.ID >= r.minGID && p.match(res.path, who.user, namespace(g.Name))
	})
}

// namespace is a name where it can be a segment of a repository's name, and ""
// otherwise. Names are not lower-cased to make them fit: Alice and alice are
// two accounts to Unix, and one would get what is the other's.
func namespace(name string) string {
	if !isPathComponent(name) {
		return ""
	}
	return name
}

// isPathComponent: lower-case letters and digits, with single separators
// between them: a dot, one or two underscores, any number of dashes
// (distribution, reference/regexp.go, path-component).
func isPathComponent(name string) bool {
	alnum := func(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }
	if name == "" || !alnum(name[0]) || !alnum(name[len(name)-1]) {
		return false
	}
	for i := 0; i < len(name); {
		if alnum(name[i]) {
			i++
			continue
		}
		end := i
		for end < len(name) && !alnum(name[end]) {
			end++
		}
		switch sep := name[i:end]; {
		case sep == "." || sep == "_" || sep == "__":
		case strings.Trim(sep, "-") == "":
		default:
			return false
		}
		i = end
	}
	return true
}
