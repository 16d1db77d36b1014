package cli

import "strings"

// Closest returns the word that a mistyped one may stand for: the one that it begins, or the one at
// the smallest distance, at most two and less than half its length. "" = there is none.
func Closest(typed string, words []string) string {
	if len(typed) > 32 {
		return ""
	}
	typed = strings.ToLower(typed)
	best, least := "", 3
	for _, word := range words {
		d := distance(typed, word)
		if len(typed) > 1 && strings.HasPrefix(word, typed) {
			d = min(d, 1)
		}
		if d < least && (2*d < len(word)) {
			best, least = word, d
		}
	}
	return best
}

// distance counts the letters to add, to remove or to change, and the neighbours to swap.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			change := rows[i-1][j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			rows[i][j] = min(change, rows[i-1][j]+1, rows[i][j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
