package config

import (
	"fmt"
	"slices"
	"strings"

	"dockerauth/jwtsign"
)

// unknownKey reports an unknown key and suggests the one that may be meant.
func (r *reader) unknownKey(prefix string, f field, known []string) {
	key, cause := prefix, "unknown key"
	switch {
	case !isPlainName(f.key):
		cause = fmt.Sprintf("unknown key of %d bytes", len(f.key))
	case prefix == "":
		key = f.key
	default:
		key = prefix + "." + f.key
	}
	if best := closest(f.key, known); best != "" && isPlainName(f.key) {
		r.mistyped = append(r.mistyped, mistyped{len(r.errs), f, strings.TrimPrefix(prefix+"."+best, ".")})
		cause += ", perhaps " + best + " is meant"
	}
	r.failAs(CodeUnknownKey, f.line, key, cause, suggest(prefix, f.key, known))
}

// mistyped is an unknown key that resembles a known one.
type mistyped struct {
	at    int // its error in the list
	field field
	meant string // with its section
}

// resolveMistyped gives each a remedy, when it is known which keys the file has. A key that is
// missing only because it is mistyped is no second fault.
func (r *reader) resolveMistyped() {
	for _, m := range r.mistyped {
		if line, isSet := r.lines[m.meant]; isSet {
			r.errs[m.at].Hint = fmt.Sprintf("delete line %d: %s is set on line %d", m.field.line, m.meant, line)
			continue
		}
		key := m.meant[strings.LastIndex(m.meant, ".")+1:]
		r.errs[m.at].Hint = fmt.Sprintf(`sed -i '%ds/\b%s\b/%s/' %s`, m.field.line, sedEscaped(m.field.key), key,
			jwtsign.ShellWord(r.configFile))
	}
	r.errs = slices.DeleteFunc(r.errs, func(e Error) bool {
		return e.Code == CodeMissingKey && e.Line == 0 &&
			slices.ContainsFunc(r.mistyped, func(m mistyped) bool { return m.meant == e.Key })
	})
}

func suggest(prefix, key string, known []string) string {
	for _, s := range []struct {
		prefix string
		keys   []string
	}{{"", topKeys}, {"pam", pamKeys}, {"log", logKeys}} {
		if s.prefix == prefix || !slices.Contains(s.keys, key) {
			continue
		}
		if s.prefix == "" {
			return key + " is not in " + prefix + ": begin its line in the first column"
		}
		return key + " is in " + s.prefix + ": write it below that, indented"
	}
	return "known are " + strings.Join(known, ", ")
}

// closest returns the known key with the smallest distance, which is at most two and less than half
// its length; "" if there is none.
func closest(key string, known []string) string {
	key = strings.ReplaceAll(strings.ToLower(key), "-", "_")
	if len(key) > 64 {
		return ""
	}
	best, least := "", 3
	for _, k := range known {
		if d := distance(key, k); d < least && 2*d < len(k) {
			best, least = k, d
		}
	}
	return best
}

// distance is the Levenshtein distance of two words.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
