package access

import (
	"slices"
	"strings"
)

// maxExamples is what a person reads.
const maxExamples = 12

// Examples are scopes that an account may wish for: a repository in its own namespace, and one for each pattern and the catalog that the
// rules speak of. They are for showing what rules give, and cover not all that could be asked for.
func (p *Policy) Examples(who Who) []Scope {
	texts := []string{"repository:" + who.Name + "/app:pull,push"}
	if p != nil {
		for i := range p.sources {
			texts = append(texts, p.sources[i].examples(who)...)
		}
	}
	var list []Scope
	for _, text := range texts {
		parsed, err := ParseScopes([]string{text})
		if err != nil || len(parsed) != 1 { // a name that cannot be part of a repository's
			continue
		}
		known := func(s Scope) bool { return s.resource() == parsed[0].resource() }
		if at := slices.IndexFunc(list, known); at >= 0 {
			list[at].Actions = appendNew(list[at].Actions, parsed[0].Actions)
		} else if len(list) < maxExamples {
			list = append(list, parsed[0])
		}
	}
	return list
}

func (s *Rule) examples(who Who) []string {
	var texts, actions []string
	for _, action := range s.Allow {
		switch action {
		case catalogAction:
			texts = append(texts, "registry:catalog:*")
		case "*":
			actions = append(actions, "pull", "push", "delete")
		default:
			actions = append(actions, action)
		}
	}
	if len(actions) == 0 {
		return texts
	}
	kind, patterns := repositoryType[0], s.Repositories
	if len(s.Types) > 0 {
		kind = s.Types[0]
	}
	if len(patterns) == 0 {
		patterns = []string{"**"}
	}
	names := strings.NewReplacer("{user}", who.Name, "{group}", s.exampleGroup(who), "**", "app", "*", "app")
	for _, pattern := range patterns {
		texts = append(texts, kind+":"+names.Replace(pattern)+":"+strings.Join(actions, ","))
	}
	return texts
}

// exampleGroup is the first that {group} can stand for, or a word where there is none.
func (s *Rule) exampleGroup(who Who) string {
	least := defaultMinGID
	if s.MinGID != nil {
		least = *s.MinGID
	}
	for _, group := range who.Groups {
		if group.ID >= least {
			return group.Name
		}
	}
	return "group"
}
