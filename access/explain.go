package access

import (
	"fmt"
	"slices"
	"strings"
)

// Decision says whether one action is granted, and why.
type Decision struct {
	Resource string // type:name
	Action   string
	Granted  bool
	Line     int    // of the rule that grants it, or of the closest one; 0 = none
	Reason   string // why the closest rule does not grant it, or why there is none
	// Elsewhere: the closest rule grants it to this client from other addresses.
	Elsewhere bool
}

// Explain returns what Grant does with every action of a scope.
func (p *Policy) Explain(c Client, s Scope) []Decision {
	var decisions []Decision
	wanted := grantable(s)
	if len(wanted) == 0 {
		reason := "nothing is asked for, or only what * cannot stand for on this type"
		if !isPath(s.Name) {
			reason = `nothing is granted on a name with a part that is empty, "." or ".."`
		}
		return []Decision{{Resource: s.resource(), Action: strings.Join(s.Actions, ","), Reason: reason}}
	}
	cl, res := newClient(c), newResource(s)
	for _, action := range wanted {
		f := p.explain(cl, res, action)
		f.Resource, f.Action = s.resource(), action
		decisions = append(decisions, f)
	}
	return decisions
}

func (p *Policy) explain(c *client, res *resource, action string) Decision {
	var f Decision
	switch {
	case p == nil && c.Name != "":
		f.Granted, f.Reason = true, "there is no access section, so every account gets what it asks for"
		return f
	case p == nil:
		f.Reason = "there is no access section, so only accounts get something"
		return f
	case len(p.rules) == 0:
		f.Reason = "the access section has no rules"
		return f
	}
	var closest mismatch
	for i := range p.rules {
		r := p.rules[i].compile()
		l := r.mismatch(c, res, action)
		if len(l.words) == 0 {
			return Decision{Granted: true, Line: r.source.Line}
		}
		if i == 0 || l.weight < closest.weight {
			closest, f.Line = l, r.source.Line
		}
	}
	f.Reason = strings.Join(closest.words, "; ")
	f.Elsewhere = closest.address && len(closest.words) == 1
	return f
}

// mismatch lists the reasons why a rule does not grant an action. The lowest weight is the closest
// rule.
type mismatch struct {
	words   []string
	weight  int
	address bool // is one of the reasons
}

func (l *mismatch) add(weight int, words string) {
	l.words = append(l.words, words)
	l.weight += weight
}

// mismatch weighs the reasons. A rule for another address or service is closest, then one for
// another account, then one that allows too little, then one for another resource.
func (r *compiledRule) mismatch(c *client, res *resource, action string) (l mismatch) {
	if !r.matchesResource(c, res) {
		l.add(4, r.resourceMismatch(c, res))
	} else if !r.allows(res, action) {
		l.add(3, "it allows "+strings.Join(r.source.Allow, ", "))
	}
	if !r.source.matchesClient(c) {
		l.add(2, "it is for "+strings.Join(r.source.To, ", "))
	}
	if !r.matchesAddress(c) {
		l.add(1, "it is for clients from "+strings.Join(r.source.From, ", "))
		l.address = true
	}
	if !r.matchesService(c) {
		l.add(1, "it is for the services "+strings.Join(r.source.Services, ", "))
	}
	return l
}

func (r *compiledRule) resourceMismatch(c *client, res *resource) string {
	switch {
	case res.catalog:
		return "it does not allow catalog"
	case len(r.actions) == 0:
		return "it is about the catalog"
	case !slices.Contains(r.types, res.kind):
		return "it is about the type " + strings.Join(r.types, ", ")
	}
	text := "it is about " + strings.Join(r.source.Repositories, ", ")
	if r.source.uses("{user}") && c.user == "" && c.Name != "" {
		text += fmt.Sprintf(" ({user} stands for nothing here: %q cannot be part of a repository's name)", c.Name)
	}
	return text
}

// HasType reports whether a rule is about a type of resources besides repositories.
func (p *Policy) HasType(kind string) bool {
	return p != nil && slices.ContainsFunc(p.rules, func(r Rule) bool { return slices.Contains(r.Types, kind) })
}
