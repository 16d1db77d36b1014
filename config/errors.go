package config

import (
	"encoding/base64"
	"fmt"
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
		return maxFile + 2 // more lines than a file has
	}
	return e.Line
}

// maxQuoted bounds what an error repeats of a file.
const maxQuoted = 256

// quote repeats a value in an error, except one that may be a secret pasted into the wrong place.
func quote(v string) string {
	if isKeyMaterial(v) || len(v) > maxQuoted {
		return fmt.Sprintf("a value of %d bytes", len(v))
	}
	return strconv.Quote(v)
}

// name repeats a key that nobody knows. A line of a key file or a password is not repeated: it is longer or has other letters than any
// name that could have been meant.
func name(key string) string {
	if len(key) > 32 {
		return "a key of " + strconv.Itoa(len(key)) + " bytes"
	}
	for _, c := range key {
		if c != '_' && c != '-' && c != '.' && c != ' ' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			return "a key of " + strconv.Itoa(len(key)) + " bytes"
		}
	}
	return strconv.Quote(key)
}

// isKeyMaterial holds for a PEM file, and for the base64 of one, pasted where its path belongs: base64 that decodes to what could be
// an ASN.1 sequence.
func isKeyMaterial(v string) bool {
	if strings.Contains(v, "-----") {
		return true
	}
	v = strings.Join(strings.Fields(v), "")
	if len(v) < 40 {
		return false
	}
	der, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(v, "="))
	return err == nil && der[0] == 0x30
}
