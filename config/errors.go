package config

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Error is one thing wrong with a configuration.
type Error struct {
	File  string // as it was given to Load
	Line  int    // 0: no particular one
	Key   string // with its section: "pam.timeout"; "" for the file as a whole
	Cause string
	Hint  string // what to do; "" where the cause says it
}

// Error is FILE:LINE: KEY: cause, and the hint on a line of its own.
func (e Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		b.WriteByte(':')
		b.WriteString(strconv.Itoa(e.Line))
	}
	b.WriteString(": ")
	if e.Key != "" {
		b.WriteString(e.Key + ": ")
	}
	b.WriteString(e.Cause)
	if e.Hint != "" {
		b.WriteString("\n  " + e.Hint)
	}
	return b.String()
}

// Errors is everything wrong with a configuration, from its first line to its last.
type Errors []Error

// Error is every error, each beginning a line.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// sorted puts what has no line of its own last: it is about something that is missing.
func (e Errors) sorted() Errors {
	slices.SortStableFunc(e, func(a, b Error) int { return order(a) - order(b) })
	return e
}

func order(e Error) int {
	if e.Line == 0 {
		return math.MaxInt
	}
	return e.Line
}

const pathHint = "write the path of the file, and keep the key out of config.yml"

// maxQuoted bounds what an error repeats of a file.
const maxQuoted = 256

// quote repeats a value in an error, except one that may be a secret pasted into the wrong place.
func quote(v string) string {
	if isKeyMaterial(v) || len(v) > maxQuoted {
		return fmt.Sprintf("a value of %d bytes", len(v))
	}
	return strconv.Quote(v)
}

// isPlainName holds for keys that an error may repeat. A line of a key file or a password is
// longer, or has other letters, than any name that could have been meant.
func isPlainName(key string) bool {
	if key == "" || len(key) > 32 {
		return false
	}
	return !strings.ContainsFunc(key, func(c rune) bool {
		return c != '_' && c != '-' && c != '.' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9')
	})
}

// isKeyMaterial holds for a PEM file, or the base64 in one, pasted where its path belongs. Every
// DER key is a SEQUENCE, whose first byte is 0x30, and so its base64 begins with M and one of A to
// P.
func isKeyMaterial(v string) bool {
	if strings.Contains(v, "-----") {
		return true
	}
	v = strings.Join(strings.Fields(v), "")
	if len(v) < 40 || v[0] != 'M' || v[1] < 'A' || v[1] > 'P' {
		return false
	}
	return !strings.ContainsFunc(v, func(c rune) bool {
		return c != '+' && c != '/' && c != '=' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9')
	})
}
