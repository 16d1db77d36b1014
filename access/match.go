package access

import (
	"net/netip"
	"slices"
	"strings"
)

// resource is a scope, split for matching.
type resource struct {
	kind    string   // the type without its class, which registries ignore
	name    string   // whole
	path    []string // split at its slashes
	catalog bool
}

func newResource(s Scope) *resource {
	return &resource{kind: s.Type, name: s.Name, path: strings.Split(s.Name, "/"), catalog: isCatalog(s)}
}

// isCatalog reports whether a scope is the one that a registry demands for its catalog. Registries
// use no other resource of this type (distribution, registry/handlers/app.go).
func isCatalog(s Scope) bool {
	return s.Type == "registry" && s.Class == "" && s.Name == "catalog"
}

// allows reports whether the rule allows an action on a resource that it covers.
func (r *compiledRule) allows(res *resource, action string) bool {
	if res.catalog {
		return r.catalog && action == "*"
	}
	return slices.Contains(r.actions, action)
}

// covers reports whether the rule matches the resource, the service and the address of the client.
// The caller knows already that it is for this client.
func (r *compiledRule) covers(c *client, res *resource) bool {
	return r.matchesResource(c, res) && r.matchesAddress(c) && r.matchesService(c)
}

func (s *Rule) matchesClient(c *client) bool {
	return slices.ContainsFunc(s.To, func(to string) bool {
		switch group, isGroup := strings.CutPrefix(to, "@"); {
		case to == anyone:
			return true // with or without an account
		case c.Name == "":
			return false
		case isGroup:
			return slices.ContainsFunc(c.Groups, func(g Group) bool { return g.Name == group })
		default:
			return to == users || to == c.Name
		}
	})
}

func (r *compiledRule) matchesAddress(c *client) bool {
	return len(r.from) == 0 || slices.ContainsFunc(r.from, func(p netip.Prefix) bool { return p.Contains(c.Remote) })
}

func (r *compiledRule) matchesService(c *client) bool {
	return len(r.services) == 0 || slices.Contains(r.services, c.Service)
}

func (r *compiledRule) matchesResource(c *client, res *resource) bool {
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
		if r.matchesPattern(&r.patterns[i], c, res) {
			return true
		}
	}
	return false
}

func (r *compiledRule) matchesPattern(p *pattern, c *client, res *resource) bool {
	if !p.groups {
		return p.match(res.path, c.user, "")
	}
	return slices.ContainsFunc(c.Groups, func(g Group) bool {
		return g.ID >= r.minGID && p.match(res.path, c.user, namespace(g.Name))
	})
}

// mayCover is a cheap test, false for most rules about another resource.
func (s *Rule) mayCover(res *resource) bool {
	if res.catalog {
		return slices.Contains(s.Allow, catalogAction)
	}
	return len(s.Repositories) == 0 ||
		slices.ContainsFunc(s.Repositories, func(p string) bool { return mayMatch(p, res.name) })
}
