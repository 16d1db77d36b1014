package access

import (
	"iter"
	"slices"
	"strings"
)

// index finds the rules that may concern a request without looking at all of
// them: a tree of the segments with which their patterns begin, as far as
// those are literals, *, {user} or {group} (and after a ** by the last one), and
// in each node the rules by who they are for.
type index struct {
	literal map[string]*index
	one     *index             // below *
	user    *index             // below {user}
	group   *index             // below {group}
	tail    map[string]*index  // below **, by the literal with which the pattern ends
	rules   map[string][]*rule // by principal, as written in "to"
}

// Index prepares the policy for many requests. Without it rules are made ready
// as they are needed, which is cheaper for one request.
func (p *Policy) Index() {
	if p == nil {
		return
	}
	p.lookup = &index{}
	for i := range p.sources {
		r := p.sources[i].compile()
		if len(r.patterns) == 0 || r.catalog {
			p.lookup.put(&r)
			continue
		}
		for at := range r.patterns {
			p.lookup.below(r.patterns[at].segments).put(&r)
		}
	}
}

// below is the node for a pattern.
func (n *index) below(segments []segment) *index {
	for _, s := range segments {
		switch {
		case s.one:
			n = grow(&n.one)
		case s.isOnly(pieceUser):
			n = grow(&n.user)
		case s.isOnly(pieceGroup):
			n = grow(&n.group)
		case s.any && segments[len(segments)-1].literal != "":
			return growIn(&n.tail, segments[len(segments)-1].literal)
		case s.any || s.pieces != nil:
			return n
		default:
			n = growIn(&n.literal, s.literal)
		}
	}
	return n
}

func grow(n **index) *index {
	if *n == nil {
		*n = &index{}
	}
	return *n
}

func growIn(m *map[string]*index, key string) *index {
	if *m == nil {
		*m = make(map[string]*index)
	}
	if (*m)[key] == nil {
		(*m)[key] = &index{}
	}
	return (*m)[key]
}

func (s *segment) isOnly(kind pieceKind) bool {
	return len(s.pieces) == 1 && s.pieces[0].kind == kind
}

func (n *index) put(r *rule) {
	if n.rules == nil {
		n.rules = make(map[string][]*rule)
	}
	for _, principal := range r.source.To {
		n.rules[principal] = append(n.rules[principal], r)
	}
}

// candidates are the rules for this client that may be about the resource, some
// of them perhaps more than once.
func (p *Policy) candidates(who *asker, res *resource) iter.Seq[*rule] {
	return func(yield func(*rule) bool) {
		if p.lookup != nil {
			p.lookup.visit(who, res.path, yield)
			return
		}
		for i := range p.sources {
			s := &p.sources[i]
			if !s.mayCover(res) || !s.isFor(who) {
				continue
			}
			if r := s.compile(); !yield(&r) {
				return
			}
		}
	}
}

// mayCover leaves out most of the rules that are about something else.
func (s *Rule) mayCover(res *resource) bool {
	if res.catalog {
		return slices.Contains(s.Allow, catalogAction)
	}
	return len(s.Repositories) == 0 || slices.ContainsFunc(s.Repositories, func(p string) bool { return mayMatch(p, res.name) })
}

// visit yields what is in the node and on all ways further down; false = enough.
func (n *index) visit(who *asker, path []string, yield func(*rule) bool) bool {
	if n == nil {
		return true
	}
	if !n.yieldRules(who, yield) {
		return false
	}
	if len(path) == 0 {
		return true
	}
	if n.tail != nil && !n.tail[path[len(path)-1]].yieldRules(who, yield) {
		return false
	}
	first, rest := path[0], path[1:]
	if n.user != nil && first == who.user && !n.user.visit(who, rest, yield) {
		return false
	}
	if n.group != nil && who.isIn(first) && !n.group.visit(who, rest, yield) {
		return false
	}
	return n.literal[first].visit(who, rest, yield) && n.one.visit(who, rest, yield)
}

func (n *index) yieldRules(who *asker, yield func(*rule) bool) bool {
	if n == nil || len(n.rules) == 0 {
		return true
	}
	for principal := range who.principals() {
		for _, r := range n.rules[principal] {
			if !yield(r) {
				return false
			}
		}
	}
	return true
}

func (w *Who) isIn(group string) bool {
	return slices.ContainsFunc(w.Groups, func(g Group) bool { return g.Name == group })
}

// principals are the words in "to" that mean this client.
func (w *Who) principals() iter.Seq[string] {
	return func(yield func(string) bool) {
		if !yield(anyone) || w.Name == "" {
			return
		}
		if !yield(users) {
			return
		}
		// An account may be called like one of the words, or like a group with its @.
		isWord := w.Name == anyone || w.Name == users || strings.HasPrefix(w.Name, "@")
		if !isWord && !yield(w.Name) {
			return
		}
		for _, g := range w.Groups {
			if !yield("@" + g.Name) {
				return
			}
		}
	}
}
