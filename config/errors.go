package config

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Error is one fault in a configuration.
type Error struct {
	Code  Code
	File  string // as it was given to Load
	Line  int    // 0 = none in particular
	Key   string // with its section: "pam.timeout"; "" for the file as a whole
	Cause string
	Hint  string // what to do; "" if the cause says it
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

// Errors are all faults of a configuration, in the order of its lines.
type Errors []Error

// Error joins the errors with line breaks.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// sorted puts errors without a line last: they are about missing keys.
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

// maxQuoted bounds the values that an error repeats.
const maxQuoted = 256

// quote quotes a value for an error, unless it may be a secret pasted into the wrong place.
func quote(v string) string {
	if isKeyMaterial(v) || len(v) > maxQuoted {
		return fmt.Sprintf("a value of %d bytes", len(v))
	}
	return strconv.Quote(v)
}

// isPlainName reports names that an error may repeat. A line of a key file or a password is longer
// than a key of config.yml or has other characters.
func isPlainName(key string) bool {
	if key == "" || len(key) > 32 {
		return false
	}
	return !strings.ContainsFunc(key, func(c rune) bool {
		return c != '_' && c != '-' && c != '.' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9')
	})
}

// isKeyMaterial reports a PEM file, or its base64, pasted in place of its path. A DER key is a
// SEQUENCE and starts with 0x30, so its base64 starts with M and one of A to P.
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
