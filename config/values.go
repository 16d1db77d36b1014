package config

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"dockerauth/jwtsign"
)

const (
	// docker raises an expires_in below 60 to 60 (distribution auth/session.go,
	// minimumTokenLifetimeSeconds).
	minAccessTTL = time.Minute
	// An access token cannot be revoked: for this long a removed account may still push.
	maxAccessTTL = 24 * time.Hour
	// The refresh tokens of the PHP service did not expire at all.
	maxRefreshTTL = 3650 * day

	minPAMTimeout = time.Second
	maxPAMTimeout = 14 * time.Second // docker login gives up after 15

	// For this long a changed password or a locked account is still accepted.
	maxCache = 5 * time.Minute

	// One yescrypt check takes 16 MiB: this many take 4 GiB.
	maxConcurrency = 256

	// maxName bounds values that go into a token, and so into a header of at most 8 KiB.
	maxName = 255
	maxPath = 4095 // Linux, PATH_MAX less its NUL

	// Each key of previous_keys may cost a refused refresh token one more verification.
	maxPreviousKeys = 4
)

// settings is a parsed config.yml. The files that it names have not been read.
type settings struct {
	config     Config
	keyID      jwtsign.KeyID
	lines      map[string]int // of each key in the file
	previous   []int          // the line of each of previous_keys
	configFile string         // absolute
}

// reader reads the nodes of one file into settings and collects all errors.
type reader struct {
	settings
	file string
	dir  string // of relative paths
	errs Errors

	mistyped []mistyped
}

// fail reports a wrong value.
func (r *reader) fail(line int, key, cause, hint string) { r.failAs(CodeValue, line, key, cause, hint) }

func (r *reader) failAs(code Code, line int, key, cause, hint string) {
	r.errs = append(r.errs, Error{Code: code, File: r.file, Line: line, Key: key, Cause: cause, Hint: hint})
}

// failType reports a value of a wrong type.
func (r *reader) failType(v node, key, wanted, hint string) {
	r.failAs(CodeType, v.line, key, fmt.Sprintf("is %s, not %s", v.kind, wanted), hint)
}

// failEmpty reports a key without a value. A key that is needed cannot be left out.
func (r *reader) failEmpty(line int, key, cause string) {
	if hint, isNeeded := neededKeys[key]; isNeeded {
		r.failAs(CodeMissingKey, line, key, cause, hint)
		return
	}
	r.failAs(CodeValue, line, key, cause, "write a value, or delete the line")
}

// text reads a text for log lines and tokens: not empty, without control characters, without spaces
// around it. ok is false after an error.
func (r *reader) text(key string, v node, most int) (text string, ok bool) {
	if v.kind == kindNull {
		r.failEmpty(v.line, key, "has no value")
		return "", false
	}
	if v.kind == kindNumber || v.kind == kindBool {
		r.failType(v, key, "a text", "put it in quotes")
		return "", false
	}
	if v.kind != kindText {
		r.failType(v, key, "a text", "write one value on one line")
		return "", false
	}
	if v.text == "" {
		r.failEmpty(v.line, key, "is empty")
		return "", false
	}
	if code, cause, hint := badText(v.text, most); cause != "" {
		r.failAs(code, v.line, key, cause, hint)
		return "", false
	}
	return v.text, true
}

func badText(s string, most int) (code Code, cause, hint string) {
	if isShortWord(s) && len(s) <= most {
		return "", "", "" // the common case: there may be a hundred thousand texts
	}
	switch {
	case isKeyMaterial(s):
		return CodePastedKey, "holds a key or certificate", pathHint
	case len(s) > most:
		return CodeValue, fmt.Sprintf("has %d bytes, the most is %d", len(s), most), "shorten it"
	case strings.ContainsFunc(s, isControl):
		return CodeValue, "has a line break or another control character", "write it on one line"
	case strings.TrimSpace(s) != s:
		return CodeValue, "begins or ends with a space", "remove the space"
	}
	return "", "", ""
}

// isShortWord reports short, printable ASCII without spaces and dashes. Such a text is never
// refused.
func isShortWord(s string) bool {
	if s == "" || len(s) >= 40 {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' || s[i] == '-' {
			return false
		}
	}
	return true
}

// isControl includes invisible characters and those that end a line in some programs.
func isControl(c rune) bool {
	return unicode.IsControl(c) || unicode.In(c, unicode.Zl, unicode.Zp, unicode.Cf)
}

func (r *reader) name(key string, v node) string {
	s, _ := r.text(key, v, maxName)
	return s
}

func (r *reader) names(key string, v node) []string {
	if v.kind != kindList {
		r.failType(v, key, "a list",
			`write it in brackets: ["one", "two"]; none is []`)
		return nil
	}
	names := make([]string, 0, len(v.items))
	for _, item := range v.items {
		if s, ok := r.text(key, item, maxName); ok {
			names = append(names, s)
		}
	}
	return names
}

// audience reads one name or several. Names may contain a space ("Docker registry"). They are
// compared unchanged.
func (r *reader) audience(key string, v node) []string {
	if v.kind != kindList {
		v = node{line: v.line, kind: kindList, items: []node{v}}
	}
	if len(v.items) == 0 {
		r.failEmpty(v.line, key, "is an empty list")
		return nil
	}
	var names []string
	for _, item := range v.items {
		s, ok := r.text(key, item, maxName)
		switch {
		case !ok:
		case s == jwtsign.RefreshAudience:
			r.fail(item.line, key, quote(s)+" is reserved for refresh tokens", "give the registry another service name")
		case slices.Contains(names, s):
			r.fail(item.line, key, quote(s)+" is listed twice", "keep one of them")
		}
		names = append(names, s)
	}
	return names
}

func (r *reader) path(key string, v node) string {
	if isKeyMaterial(v.text) {
		r.failAs(CodePastedKey, v.line, key, "holds a key or certificate, not the path of one", pathHint)
		return ""
	}
	s, ok := r.text(key, v, maxPath)
	if !ok || filepath.IsAbs(s) {
		return s
	}
	return filepath.Join(r.dir, s)
}

// previousKeys reads paths, and remembers the line of each.
func (r *reader) previousKeys(key string, v node) (paths []string) {
	if v.kind != kindList {
		r.failType(v, key, "a list", `write it in brackets: ["privkey-old.pem"]; none is []`)
		return nil
	}
	if len(v.items) > maxPreviousKeys {
		r.fail(v.line, key, fmt.Sprintf("lists %d keys, the most is %d", len(v.items), maxPreviousKeys),
			"take out those that have not signed for longer than refresh_token_ttl")
		return nil
	}
	for _, item := range v.items {
		if path := r.path(key, item); path != "" {
			paths, r.previous = append(paths, path), append(r.previous, item.line)
		}
	}
	return paths
}

// state reads a path or, as it is, the address of a server; "" is allowed.
func (r *reader) state(key string, v node) string {
	if v.kind == kindText && IsStateServer(v.text) {
		s, _ := r.text(key, v, maxPath)
		return s
	}
	return r.pathOrNone(key, v)
}

// pathOrNone reads a path; "" is allowed.
func (r *reader) pathOrNone(key string, v node) string {
	if v.kind == kindText && v.text == "" {
		return ""
	}
	return r.path(key, v)
}

func (r *reader) choice(key string, v node, options ...string) string {
	s, ok := r.text(key, v, maxName)
	if ok && !slices.Contains(options, s) {
		r.fail(v.line, key, quote(s)+" is unknown", "write one of: "+strings.Join(options, ", "))
	}
	return s
}

func (r *reader) level(key string, v node) slog.Level {
	switch r.choice(key, v, "debug", "info", "warn", "error") {
	case "debug":
		return slog.LevelDebug
	case "warn":
		return slog.LevelWarn
	case "error":
		return slog.LevelError
	}
	return slog.LevelInfo
}

// service reads the name of a file in /etc/pam.d. It refuses "other", which PAM uses for services
// without a file (pam.conf(5)).
func (r *reader) service(key string, v node) string {
	s, ok := r.text(key, v, maxName)
	if !ok {
		return ""
	}
	bad := strings.ContainsFunc(s, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-'
	})
	switch {
	case bad || s[0] == '.' || s[0] == '-':
		r.fail(v.line, key, quote(s)+" cannot name a service", "use a to z, 0 to 9, and . _ - except at the start")
	case s == "other":
		r.fail(v.line, key, `"other" answers for services that have no file`,
			"make a file of its own for this service, /etc/pam.d/dockerauth")
	}
	return s
}

func (r *reader) concurrency(key string, v node) int {
	if v.kind != kindNumber {
		r.failType(v, key, "a number", "write 0 for the number of processor cores")
		return 0
	}
	n, err := strconv.Atoi(v.text)
	if err != nil || strconv.Itoa(n) != v.text || n < 0 || n > maxConcurrency {
		r.fail(v.line, key, fmt.Sprintf("is not a whole number from 0 to %d", maxConcurrency),
			"write 0 for the number of processor cores")
		return 0
	}
	if n == 0 {
		return runtime.GOMAXPROCS(0) // cores, or the CPU limit of a container
	}
	return n
}

// durationOrNone reads a duration; 0 needs no unit.
func (r *reader) durationOrNone(key string, v node, most time.Duration, why string) time.Duration {
	if v.kind == kindNumber && v.text == "0" {
		return 0
	}
	return r.duration(key, v, 0, most, why)
}

func (r *reader) duration(key string, v node, least, most time.Duration, why string) time.Duration {
	if v.kind == kindNumber {
		r.fail(v.line, key, "has no unit", "write s, m, h, d or w behind the number: 90s, 15m, 90d")
		return 0
	}
	s, ok := r.text(key, v, maxName)
	if !ok {
		return 0
	}
	d, err := ParseDuration(s)
	switch {
	case err != nil:
		r.fail(v.line, key, fmt.Sprintf("%s: %v", quote(s), err),
			"write a number and s, m, h, d or w, the larger first: 15m, 90d, 1h30m")
		return 0
	case d < least:
		r.fail(v.line, key, fmt.Sprintf("%s is less than %s", quote(s), FormatDuration(least)),
			fmt.Sprintf("write %s or more", FormatDuration(least)))
		return 0
	case d > most:
		r.fail(v.line, key, fmt.Sprintf("%s is more than %s", quote(s), FormatDuration(most)), why)
		return 0
	}
	return d
}

// list reads one text or several.
func (r *reader) list(key string, v node) []string {
	if v.kind == kindText {
		v = node{line: v.line, kind: kindList, items: []node{v}}
	}
	return r.names(key, v)
}

// nonEmptyList refuses an empty list for a key whose absence means "all": the two are easily
// confused.
func (r *reader) nonEmptyList(key string, v node) []string {
	if v.kind == kindList && len(v.items) == 0 {
		r.fail(v.line, key, "is an empty list", "leave the key out if there is no restriction")
	}
	return r.list(key, v)
}
