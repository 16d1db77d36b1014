package service

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"dockerauth/access"
	"dockerauth/cli"
	"dockerauth/config"
	"dockerauth/credentials"
	"dockerauth/handler"
)

// The lifetimes of tokens, and how long a rotated one is still accepted.
const (
	DefaultTokenTTL = "90d"
	DefaultOverlap  = "24h"

	minTokenTTL = time.Hour
	maxTokenTTL = 3650 * 24 * time.Hour
)

const (
	maxText = 200 // of notes and reasons, in bytes
	// maxLimits and maxScopes bound scopes and addresses, so that a record fits into every store.
	maxLimits = 32
	maxScopes = 4096 // bytes of all together
	maxScope  = 512  // bytes, as in a request
)

// TokenRequest is what "token issue" is asked for.
type TokenRequest struct {
	User    string
	Robot   string // "" = a personal token
	Scopes  []string
	Expires string
	From    []string
	Note    string
	Keep    bool
}

// Check says what is wrong with a request, and what to write. It looks at the request alone.
func (r TokenRequest) Check() error {
	_, _, err := r.parse()
	return err
}

// parse makes a record of a request, which ends after the lifetime.
func (r TokenRequest) parse() (credentials.Token, time.Duration, error) {
	t := credentials.Token{Kind: credentials.Personal, User: r.User, Robot: r.Robot, Note: r.Note, Keep: r.Keep}
	if r.Robot != "" {
		t.Kind, t.Keep = credentials.Robot, true
	}
	if r.User == "" {
		return t, 0, errors.New("--user is missing: the account that the token belongs to\n" +
			"  such as: dockerauth token issue --user alice --scope 'repository:alice/**:pull'")
	}
	if err := CheckUser(r.User); err != nil {
		return t, 0, err
	}
	if r.Robot != "" && !credentials.IsRobot(r.Robot) {
		return t, 0, fmt.Errorf("--robot %q is not a name\n  write up to %d lower-case letters and digits, and . _ - "+
			"behind the first", r.Robot, credentials.MaxRobot)
	}
	if len(r.Scopes) == 0 {
		return t, 0, errors.New("--scope is missing: what the token may be used for\n" +
			"  such as: --scope 'repository:ci/**:pull,push', or for all that the account may do: --scope " +
			"'repository:**:*'")
	}
	if len(r.Scopes) > maxLimits || len(r.From) > maxLimits {
		return t, 0, fmt.Errorf("more than %d scopes or addresses are given\n  use patterns and prefixes", maxLimits)
	}
	if len(strings.Join(r.Scopes, "")) > maxScopes ||
		slices.ContainsFunc(r.Scopes, func(s string) bool { return len(s) > maxScope }) {
		return t, 0, fmt.Errorf("a scope is longer than %d bytes, or all together than %d\n  use patterns", maxScope,
			maxScopes)
	}
	for _, text := range r.Scopes {
		limit, err := access.ParseLimit(text)
		if err != nil {
			cause, hint := cli.SplitHint(err)
			hint = cmp.Or(hint, "write TYPE:PATTERN:ACTION,ACTION, such as repository:ci/**:pull,push")
			return t, 0, fmt.Errorf("--scope: %s\n  %s", cause, hint)
		}
		if !slices.Contains(t.Scopes, limit.String()) {
			t.Scopes = append(t.Scopes, limit.String())
		}
	}
	for _, text := range r.From {
		prefix, err := parseFrom(text)
		if err != nil {
			return t, 0, err
		}
		if !slices.Contains(t.From, prefix) {
			t.From = append(t.From, prefix)
		}
	}
	ttl, err := parseTTL(r.Expires)
	if err != nil {
		return t, 0, err
	}
	return t, ttl, CheckText("--note", r.Note)
}

func parseTTL(text string) (time.Duration, error) {
	ttl, err := config.ParseDuration(text)
	switch {
	case err != nil:
		return 0, fmt.Errorf("--expires %q: %w\n  write a number with a unit: 12h, 90d, 52w", text, err)
	case ttl < minTokenTTL || ttl > maxTokenTTL:
		return 0, fmt.Errorf("--expires %q is out of bounds\n  write %s to %s", text,
			config.FormatDuration(minTokenTTL), config.FormatDuration(maxTokenTTL))
	}
	return ttl, nil
}

// ParseOverlap reads how long a rotated token is still accepted.
func ParseOverlap(text string) (time.Duration, error) {
	if text == "0" {
		return 0, nil
	}
	overlap, err := config.ParseDuration(text)
	switch {
	case err != nil:
		return 0, fmt.Errorf("--overlap %q: %w\n  write a number with a unit: 30m, 24h, 7d, or 0 for none", text, err)
	case overlap > maxTokenTTL:
		return 0, fmt.Errorf("--overlap %q is out of bounds\n  write %s at most", text,
			config.FormatDuration(maxTokenTTL))
	}
	return overlap, nil
}

func parseFrom(text string) (netip.Prefix, error) {
	prefix, err := access.ParsePrefix(text)
	switch {
	case err != nil:
		return prefix, fmt.Errorf("--from: %w\n  write an address or a prefix: 192.0.2.10, 10.0.0.0/8, 2001:db8::/32",
			err)
	case prefix.Bits() == 0:
		return prefix, fmt.Errorf("--from %q means everyone\n  leave it out", text)
	}
	return prefix, nil
}

// CheckText refuses notes and reasons that a log or a table would not show on one line.
func CheckText(flag, text string) error {
	switch {
	case len(text) > maxText:
		return fmt.Errorf("%s is longer than %d bytes\n  write less", flag, maxText)
	case !isOneLine(text):
		return fmt.Errorf("%s has characters that cannot be shown\n  write one line of plain text", flag)
	case tokenIn(text) != "":
		return fmt.Errorf("a token stands in %s, which logs and lists show\n  write its ID: the %d characters after %s",
			flag, credentials.IDLen, credentials.Prefix)
	}
	return nil
}

// tokenIn returns the ID of a token of which a text has more than the ID; "" = there is none.
func tokenIn(text string) (id string) {
	for _, part := range strings.Split(text, credentials.Prefix)[1:] {
		if len(part) > credentials.IDLen && !strings.ContainsFunc(part[:credentials.IDLen+1], notBase62) {
			return part[:credentials.IDLen]
		}
	}
	return ""
}

func isOneLine(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) })
}

// CheckUser refuses what no login would accept as a user name.
func CheckUser(name string) error {
	if !handler.ValidUser(name) {
		return fmt.Errorf("--user %q is not a user name\n  write the account's name as \"id\" shows it", name)
	}
	return nil
}

func notBase62(r rune) bool {
	return (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
}

// CheckTokenID refuses what cannot be the ID of a token.
func CheckTokenID(id string) error {
	if credentials.IsRefreshID(id) {
		return fmt.Errorf("%s is the ID of a login, not of a token\n  dockerauth logins lists logins", id)
	}
	return CheckIDs(id)
}

// CheckArguments refuses a command line with a token in it: the list of processes shows it, and it
// could end up in messages, records and the log.
func CheckArguments(args ...string) error {
	for _, arg := range args {
		if id := tokenIn(arg); id != "" {
			return fmt.Errorf("a token is given on the command line\n  others may have seen it in the list of "+
				"processes, so revoke it: dockerauth token revoke %s", id)
		}
	}
	return nil
}

// CheckIDs refuses what cannot be the IDs of tokens and logins. It does not repeat what may be a
// part of a token.
func CheckIDs(ids ...string) error {
	for _, id := range ids {
		if strings.HasPrefix(id, credentials.Prefix) {
			return fmt.Errorf("the %d characters after %s are the ID\n  dockerauth token list shows it",
				credentials.IDLen, credentials.Prefix)
		}
		if credentials.IsTokenID(id) || credentials.IsRefreshID(id) {
			continue
		}
		what := fmt.Sprintf("%q", id)
		if len(id) > credentials.RefreshIDLen { // it may be a secret
			what = fmt.Sprintf("a text of %d bytes", len(id))
		}
		return fmt.Errorf("%s is not an ID\n  dockerauth token list shows those of %d characters, and dockerauth "+
			"logins those of %d", what, credentials.IDLen, credentials.RefreshIDLen)
	}
	return nil
}
