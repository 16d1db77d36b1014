package config

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Set returns the text of a configuration with a key at its top set to a value in YAML, behind
// which a comment may stand; "" takes the key out. Everything else stays as it is. A new key comes
// after private_key. The error is about a text in which exchanging lines does something else.
func Set(text, key, value string) (string, error) {
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n" // a line may come after the last one
	}
	lines := strings.SplitAfter(text, "\n")
	from, to := span(lines, key)
	line := ""
	if value != "" {
		line = key + ": " + value
		if from < to && !strings.Contains(value, "#") {
			old := strings.TrimRight(strings.Join(lines[from:to], ""), "\r\n")
			if comment := trailingComment().FindStringSubmatch(old); comment != nil {
				line += " " + comment[1]
			}
		}
		line += "\n"
	}
	if from == to {
		_, from = span(lines, "private_key")
		to = from
	}
	edited := strings.Join(slices.Concat(lines[:from], []string{line}, lines[to:]), "")
	_, wanted := withoutKey(line, key)
	others, _ := withoutKey(text, key)
	left, set := withoutKey(edited, key)
	if others == nil || !reflect.DeepEqual(unplaced(others), unplaced(left)) ||
		!reflect.DeepEqual(valuesOf(wanted), valuesOf(set)) {
		return "", fmt.Errorf("%s cannot be set by exchanging its line", key)
	}
	return edited, nil
}

// trailingComment is behind the value of a line.
var trailingComment = lazyRegexp(`^[^"'#\n]*(?:"[^"\n]*"|'[^'\n]*')?\s+(#[^\n]*)$`)

// span are the lines of a key at the top and its value; from == to where there is none.
func span(lines []string, key string) (from, to int) {
	begin := regexp.MustCompile(`^` + regexp.QuoteMeta(key) + `\s*:`)
	from = slices.IndexFunc(lines, begin.MatchString)
	if from < 0 {
		return len(lines), len(lines)
	}
	more := regexp.MustCompile(`^(?:\s+[^#\s]|-\s)`)
	for to = from + 1; to < len(lines) && more.MatchString(lines[to]); to++ {
	}
	return from, to
}

// unplaced are fields without the numbers of their lines.
func unplaced(fields []field) []field {
	all := make([]field, len(fields))
	for i, f := range fields {
		all[i] = field{f.key, 0, valuesOf([]node{f.value})[0]}
	}
	return all
}

func valuesOf(nodes []node) []node {
	all := make([]node, len(nodes))
	for i, n := range nodes {
		all[i] = node{0, n.kind, n.text, valuesOf(n.items), unplaced(n.fields)}
	}
	return all
}

// The comment behind previous_keys says which of them is to sign next, and since when the others no
// longer do.
const (
	toSignNext = "# the first one signs after: dockerauth key rotate --switch"
	noLonger   = "no longer sign since "
)

// KeysComment is the comment behind previous_keys. next says that the first one is to sign next;
// since is when the others signed last, or zero where there are no others.
func KeysComment(next bool, since time.Time) string {
	date := noLonger + since.UTC().Format(time.RFC3339)
	switch {
	case next && since.IsZero():
		return toSignNext
	case next:
		return toSignNext + "; the others " + date
	}
	return "# " + date
}

var keysComment = lazyRegexp(`(?m)^previous_keys\s*:[^\n]*? (` + toSignNext + `)?` +
	`(?:(?:; the others |# )` + noLonger + `(\S+))?\s*$`)

// readKeysComment finds nothing where there is no such comment.
func readKeysComment(text []byte) (next bool, since time.Time) {
	if found := keysComment().FindSubmatch(text); found != nil {
		next = found[1] != nil
		since, _ = time.Parse(time.RFC3339, string(found[2]))
	}
	return next, since
}

// NextKeyFile is the key of previous_keys that is to sign next, or "". It is there so that every
// process knows it before one of them signs with it.
func (c *Config) NextKeyFile() string {
	if !c.source.next {
		return ""
	}
	return c.PreviousKeyFiles[0]
}

// PreviousEnd is when the last refresh token of the previous keys expires. It is zero where the
// configuration does not say since when they no longer sign.
func (c *Config) PreviousEnd() time.Time {
	if c.source.retired.IsZero() {
		return time.Time{}
	}
	return c.source.retired.Add(c.RefreshTokenTTL)
}
