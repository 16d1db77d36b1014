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

// Retired is the comment behind previous_keys that says since when these keys no longer sign.
func Retired(since time.Time) string {
	return "# no longer sign since " + since.UTC().Format(time.RFC3339)
}

var retired = lazyRegexp(`(?m)^previous_keys\s*:[^\n]* # no longer sign since (\S+)\s*$`)

// retiredSince is zero where there is no such comment.
func retiredSince(text []byte) (since time.Time) {
	if found := retired().FindSubmatch(text); found != nil {
		since, _ = time.Parse(time.RFC3339, string(found[1]))
	}
	return since
}

// PreviousEnd is when the last refresh token of the previous keys expires. It is zero where the
// configuration does not say since when they no longer sign.
func (c *Config) PreviousEnd() time.Time {
	if c.source.retired.IsZero() {
		return time.Time{}
	}
	return c.source.retired.Add(c.RefreshTokenTTL)
}
