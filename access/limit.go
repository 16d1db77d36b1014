package access

// Limit is a part of what a credential may be used for: type:pattern:actions, such as
// repository:ci/**:pull. The pattern is that of rules, without placeholders; the action * stands for all.
type Limit struct {
	text string
}

// ParseLimit reads a limit. Its error says what to write.
func ParseLimit(text string) (Limit, error) { panic("TODO") }

// String is the text that was parsed.
func (l Limit) String() string { return l.text }

// Restrict returns the part of granted scopes that some limit allows, each scope with the actions that the
// limits that match it allow together.
func Restrict(granted []Scope, limits []Limit) []Scope { panic("TODO") }
