package access

import "slices"

// index finds the rules that may concern a request without trying all of them. It is a tree of the
// leading segments of their patterns, as far as those are literals, *, {user} or {group}; after a
// ** the last segment decides. Each node holds its rules by principal: in a list while there are
// few, as in most nodes. A map takes ten times as much memory, which the collector looks through.
type index struct {
	literal map[string]*index
	star    *index                     // below *
	user    *index                     // below {user}
	group   *index                     // below {group}
	suffix  map[string]*index          // below **, by the literal that ends the pattern
	few     []ruleFor                  // nil = none, or rules has them
	rules   map[string][]*compiledRule // by principal
}

// maxFew is how many a look at each of them costs less than a map.
const maxFew = 8

type ruleFor struct {
	principal string // as written in "to"
	rule      *compiledRule
}

// node returns the node for a pattern, and makes it if needed.
func (n *index) node(segments []segment) *index {
	for _, s := range segments {
		switch {
		case s.star:
			n = child(&n.star)
		case s.isOnly(pieceUser):
			n = child(&n.user)
		case s.isOnly(pieceGroup):
			n = child(&n.group)
		case s.doubleStar && segments[len(segments)-1].literal != "":
			return childIn(&n.suffix, segments[len(segments)-1].literal)
		case s.doubleStar || s.pieces != nil:
			return n
		default:
			n = childIn(&n.literal, s.literal)
		}
	}
	return n
}

func child(n **index) *index {
	if *n == nil {
		*n = &index{}
	}
	return *n
}

func childIn(m *map[string]*index, key string) *index {
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

func (n *index) add(r *compiledRule) {
	for _, principal := range r.source.To {
		n.few = append(n.few, ruleFor{principal, r})
		if n.rules == nil && len(n.few) <= maxFew {
			continue
		}
		if n.rules == nil {
			n.rules = make(map[string][]*compiledRule)
		}
		for _, f := range n.few {
			n.rules[f.principal] = append(n.rules[f.principal], f.rule)
		}
		n.few = nil
	}
}

// visit yields the rules of the node and of all matching nodes below it. It returns false after
// yield has.
func (n *index) visit(c *client, path []string, yield func(*compiledRule) bool) bool {
	if n == nil {
		return true
	}
	if !n.yieldRules(c, yield) {
		return false
	}
	if len(path) == 0 {
		return true
	}
	if n.suffix != nil && !n.suffix[path[len(path)-1]].yieldRules(c, yield) {
		return false
	}
	first, rest := path[0], path[1:]
	if n.user != nil && first == c.user && !n.user.visit(c, rest, yield) {
		return false
	}
	if n.group != nil && c.isIn(first) && !n.group.visit(c, rest, yield) {
		return false
	}
	return n.literal[first].visit(c, rest, yield) && n.star.visit(c, rest, yield)
}

func (n *index) yieldRules(c *client, yield func(*compiledRule) bool) bool {
	if n == nil {
		return true
	}
	for _, f := range n.few {
		if slices.Contains(c.principals, f.principal) && !yield(f.rule) {
			return false
		}
	}
	if len(n.rules) == 0 {
		return true
	}
	for _, principal := range c.principals {
		for _, r := range n.rules[principal] {
			if !yield(r) {
				return false
			}
		}
	}
	return true
}
