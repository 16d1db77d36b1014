package access

import (
	"slices"
	"strings"
)

// maxSamples is as many as a person reads.
const maxSamples = 12

// SampleScopes returns scopes that show what the rules give to an account: a repository in its own
// namespace, one for each pattern, and the catalog if a rule allows it. They are examples, not a
// complete list.
func (p *Policy) SampleScopes(c Client) []Scope {
	texts := []string{"repository:" + c.Name + "/app:pull,push"}
	if p != nil {
		for i := range p.rules {
			texts = append(texts, p.rules[i].sampleScopes(c)...)
		}
	}
	var list []Scope
	for _, text := range texts {
		sample, err := parseScope(text)
		if err != nil { // the name cannot be part of a repository name
			continue
		}
		known := func(s Scope) bool { return s.resource() == sample.resource() }
		if at := slices.IndexFunc(list, known); at >= 0 {
			list[at].Actions = appendNew(list[at].Actions, sample.Actions)
		} else if len(list) < maxSamples {
			list = append(list, sample)
		}
	}
	return list
}

func (s *Rule) sampleScopes(c Client) []string {
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
	names := strings.NewReplacer("{user}", c.Name, "{group}", s.sampleGroup(c), "**", "app", "*", "app")
	for _, pattern := range patterns {
		texts = append(texts, kind+":"+names.Replace(pattern)+":"+strings.Join(actions, ","))
	}
	return texts
}

// sampleGroup returns the first group that {group} can stand for, or a placeholder.
func (s *Rule) sampleGroup(c Client) string {
	least := defaultMinGID
	if s.MinGID != nil {
		least = *s.MinGID
	}
	for _, group := range c.Groups {
		if group.ID >= least {
			return group.Name
		}
	}
	return "group"
}
