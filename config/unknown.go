package config

import (
	"fmt"
	"slices"
	"strings"
)

// unknown reports a key that nobody knows, with the one that may have been meant.
func (r *reader) unknown(prefix string, f field, known []string) {
	key, cause := prefix, "unknown key"
	switch {
	case !isPlainName(f.key):
		cause = fmt.Sprintf("unknown key of %d bytes", len(f.key))
	case prefix == "":
		key = f.key
	default:
		key = prefix + "." + f.key
	}
	r.fail(f.line, key, cause, meant(prefix, f.key, known))
}

func meant(prefix, key string, known []string) string {
	if best := closest(key, known); best != "" {
		return "did you mean " + best + "?"
	}
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

// closest is the known key that takes the fewest changes of a letter, at most two and fewer than
// half of its letters; "" if there is none.
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

// distance is Levenshtein's: letters put in, taken out or changed.
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
