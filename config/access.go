package config

import (
	"fmt"
	"math"
	"slices"
	"strconv"

	"dockerauth/access"
)

const rulesHint = `write a list of rules: - {allow: [pull], repositories: ["public/**"], to: [anyone]}`

// access reads the rules. A section without rules grants nothing. Without the section, everything
// is granted.
func (r *reader) access(key string, v node) *access.Policy {
	if v.kind == kindNull {
		v = node{line: v.line, kind: kindList}
	}
	if v.kind != kindList {
		r.failType(v, key, "a list", rulesHint)
		return nil
	}
	rules := make([]access.Rule, 0, len(v.items))
	before := len(r.errs)
	for i := range v.items {
		rules = append(rules, r.rule(key, &v.items[i]))
	}
	if len(r.errs) > before {
		return nil
	}
	policy, wrong := access.NewPolicy(rules)
	for _, e := range wrong {
		r.failAs(CodeRule, v.items[e.Rule].lineOf(e.Field), key+"."+e.Field, e.Err.Error(), e.Hint)
	}
	return policy
}

// lineOf returns the line of a key of a section, or that of the section if the key is missing.
func (n *node) lineOf(key string) int {
	for _, f := range n.fields {
		if f.key == key {
			return f.line
		}
	}
	return n.line
}

// rule reads one rule. It does not use section, which makes a string and a map entry for every key:
// there may be thousands of rules.
func (r *reader) rule(section string, v *node) access.Rule {
	rule := access.Rule{Line: v.line}
	if v.kind != kindSection {
		r.failAs(CodeType, v.line, section, fmt.Sprintf("a rule is %s, not a section", v.kind), rulesHint)
		return rule
	}
	for i, f := range v.fields {
		if !slices.Contains(ruleKeys, f.key) {
			r.unknownKey(section, f, ruleKeys)
			continue
		}
		if slices.ContainsFunc(v.fields[:min(i, len(ruleKeys))], func(g field) bool { return g.key == f.key }) {
			r.failAs(CodeTwice, f.line, section+"."+f.key, fmt.Sprintf("is already set on line %d", v.lineOf(f.key)),
				fmt.Sprintf("delete line %d or line %d", v.lineOf(f.key), f.line))
			continue
		}
		r.ruleKey(&rule, f)
	}
	return rule
}

func (r *reader) ruleKey(rule *access.Rule, f field) {
	switch v := f.value; f.key {
	case "allow":
		rule.Allow = r.list("access.allow", v)
	case "repositories":
		rule.Repositories = r.nonEmptyList("access.repositories", v)
	case "to":
		rule.To = r.list("access.to", v)
	case "from":
		rule.From = r.nonEmptyList("access.from", v)
	case "services":
		rule.Services = r.nonEmptyList("access.services", v)
	case "types":
		rule.Types = r.nonEmptyList("access.types", v)
	case "min_gid":
		rule.MinGID = r.groupID("access.min_gid", v)
	}
}

func (r *reader) groupID(key string, v node) *int {
	n, err := strconv.Atoi(v.text)
	if v.kind != kindNumber || err != nil || strconv.Itoa(n) != v.text || n < 0 || n > math.MaxInt32 {
		r.fail(v.line, key, "is not a group id", "write a number such as 1000")
		return nil
	}
	return &n
}
