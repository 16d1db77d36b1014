package access

import (
	"fmt"
	"slices"
	"strings"
)

// Finding says of one action whether it is granted and why.
type Finding struct {
	Resource string // type:name
	Action   string
	Granted  bool
	Line     int    // of the rule that grants it, or of the nearest miss; 0 = none
	Reason   string // what the nearest miss lacked, or that there is no rule near
}

// Explain says of every action of a scope what Grant does with it.
func (p *Policy) Explain(who Who, s Scope) []Finding {
	var findings []Finding
	wanted := explicit(s)
	if len(wanted) == 0 {
		reason := "nothing is asked for, or only what * cannot stand for on this type"
		if !isPath(s.Name) {
			reason = `nothing is granted on a name with a part that is empty, "." or ".."`
		}
		return []Finding{{Resource: s.resource(), Action: strings.Join(s.Actions, ","), Reason: reason}}
	}
	asks, res := newAsker(who), newResource(s)
	for _, action := range wanted {
		f := p.explain(asks, res, action)
		f.Resource, f.Action = s.resource(), action
		findings = append(findings, f)
	}
	return findings
}

func (p *Policy) explain(who *asker, res *resource, action string) Finding {
	var f Finding
	switch {
	case p == nil && who.Name != "":
		f.Granted, f.Reason = true, "there is no access section, so every account gets what it asks for"
		return f
	case p == nil:
		f.Reason = "there is no access section, so only accounts get something"
		return f
	case len(p.sources) == 0:
		f.Reason = "the access section has no rules"
		return f
	}
	var nearest lack
	for i := range p.sources {
		r := p.sources[i].compile()
		l := r.lacks(who, res, action)
		if len(l.words) == 0 {
			return Finding{Granted: true, Line: r.source.Line}
		}
		if i == 0 || l.weight < nearest.weight {
			nearest, f.Line = l, r.source.Line
		}
	}
	f.Reason = strings.Join(nearest.words, "; ")
	return f
}

// lack is in how many respects a rule misses, and how far.
type lack struct {
	words  []string
	weight int
}

func (l *lack) add(weight int, words string) {
	l.words = append(l.words, words)
	l.weight += weight
}

// lacks: a rule about another resource is farther off than one that allows too
// little, that farther than one for somebody else, and nearest is one that
// would do from another place.
func (r *rule) lacks(who *asker, res *resource, action string) (l lack) {
	if !r.isOn(who, res) {
		l.add(4, r.lacksResource(who, res))
	} else if !r.allows(res, action) {
		l.add(3, "it allows "+strings.Join(r.source.Allow, ", "))
	}
	if !r.source.isFor(who) {
		l.add(2, "it is for "+strings.Join(r.source.To, ", "))
	}
	if !r.isFrom(who) {
		l.add(1, "it is for clients from "+strings.Join(r.source.From, ", "))
	}
	if !r.isAbout(who) {
		l.add(1, "it is for the services "+strings.Join(r.source.Services, ", "))
	}
	return l
}

func (r *rule) lacksResource(who *asker, res *resource) string {
	switch {
	case res.catalog:
		return "it does not allow catalog"
	case len(r.actions) == 0:
		return "it is about the catalog"
	case !slices.Contains(r.types, res.kind):
		return "it is about the type " + strings.Join(r.types, ", ")
	}
	text := "it is about " + strings.Join(r.source.Repositories, ", ")
	if r.usesUser() && who.user == "" && who.Name != "" {
		text += fmt.Sprintf(" ({user} stands for nothing here: %q cannot be part of a repository's name)", who.Name)
	}
	return text
}

func (r *rule) usesUser() bool {
	return slices.ContainsFunc(r.source.Repositories, func(text string) bool { return strings.Contains(text, "{user}") })
}
