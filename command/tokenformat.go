package command

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode"

	"dockerauth/cli"
	"dockerauth/credentials"
)

const timeLayout = "2006-01-02 15:04:05 -0700"

// maxScopes is how many characters of scopes a list shows.
const maxScopes = 40

// tokenJSON is a token without its hash and the state of its account.
type tokenJSON struct {
	ID       string           `json:"id"`
	Kind     credentials.Kind `json:"kind"`
	User     string           `json:"user"`
	Robot    string           `json:"robot"` // "" = none
	Login    string           `json:"login"`
	Scopes   []string         `json:"scopes"`
	From     []netip.Prefix   `json:"from"` // none = all
	Note     string           `json:"note"`
	Keep     bool             `json:"keep"`
	Created  time.Time        `json:"created"`
	Expires  time.Time        `json:"expires"`
	Replaced string           `json:"replaced_by"`
	Revoked  *revokedJSON     `json:"revoked"`  // null = it is not
	LastUse  *time.Time       `json:"last_use"` // null = never
	LastFrom string           `json:"last_from"`
}

type revokedJSON struct {
	At     time.Time `json:"at"`
	Reason string    `json:"reason"`
}

func newTokenJSON(t credentials.Token) tokenJSON {
	j := tokenJSON{ID: t.ID, Kind: t.Kind, User: t.User, Robot: t.Robot, Login: t.Login(),
		Scopes: append([]string{}, t.Scopes...), From: append([]netip.Prefix{}, t.From...), Note: t.Note, Keep: t.Keep,
		Created: t.Created.UTC(), Expires: t.Expires.UTC(), Replaced: t.Replaced, LastUse: orNull(t.LastUse),
		LastFrom: t.LastFrom}
	if t.Revoked != nil {
		j.Revoked = &revokedJSON{t.Revoked.At.UTC(), t.Revoked.Reason}
	}
	return j
}

// loginJSON is a refresh token in use.
type loginJSON struct {
	ID      string     `json:"id"`
	User    string     `json:"user"`
	Client  string     `json:"client"`
	Remote  string     `json:"address"`
	First   *time.Time `json:"since"`
	Last    *time.Time `json:"last_use"`
	Expires *time.Time `json:"expires"`
}

func newLoginJSON(l credentials.Login) loginJSON {
	return loginJSON{l.ID, l.User, l.Client, l.Remote, orNull(l.First), orNull(l.Last), orNull(l.Expires)}
}

func orNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func printJSON(streams cli.Streams, value any) int {
	encoder := json.NewEncoder(streams.Out)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return cli.Fail(streams.Err, err)
	}
	return cli.ExitDone
}

// printTable aligns columns. Empty cells at the end of a line leave no blanks.
func printTable(streams cli.Streams, rows [][]string) int {
	var b strings.Builder
	table := cli.NewTable(&b)
	for _, row := range rows {
		for i, cell := range row {
			row[i] = printable(cell)
		}
		fmt.Fprintln(table, strings.Join(row, "\t"))
	}
	_ = table.Flush() // a Builder takes all
	for line := range strings.Lines(b.String()) {
		if _, err := fmt.Fprintln(streams.Out, strings.TrimRight(line, " \n")); err != nil {
			return cli.Fail(streams.Err, err)
		}
	}
	return cli.ExitDone
}

// printable quotes a text with characters that a terminal may act on, or that would break a table.
// Clients choose some of the texts, and so does anyone who may write to the store.
func printable(text string) string {
	if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }) {
		return strconv.Quote(text)
	}
	return text
}

// short is as much of the scopes as fits, and how many more there are.
func short(scopes []string) string {
	text := ""
	for i, scope := range scopes {
		if more := len(scopes) - i; i > 0 && len(text)+1+len(scope) > maxScopes {
			return fmt.Sprintf("%s +%d", text, more)
		}
		text = strings.TrimSpace(text + " " + scope)
	}
	return text
}

func addresses(t credentials.Token) string {
	if len(t.From) == 0 {
		return "all addresses"
	}
	var list []string
	for _, prefix := range t.From {
		text := prefix.String()
		if prefix.IsSingleIP() {
			text = prefix.Addr().String()
		}
		list = append(list, text)
	}
	return strings.Join(list, ", ")
}

func day(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.DateOnly)
}

// lastUse is the day, which the store has in UTC.
func lastUse(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return day(t.UTC())
}

// until is when something ends, seen from now.
func until(left time.Duration) string {
	switch {
	case left <= 0:
		return "over"
	case left < time.Minute:
		return "in less than a minute"
	}
	return "in " + period(left)
}

// period is a time to come, rounded, in the unit that matters.
func period(d time.Duration) string {
	const day = 24 * time.Hour
	size, unit := day, "day"
	switch {
	case d < 2*time.Hour:
		size, unit = time.Minute, "minute"
	case d < 2*day:
		size, unit = time.Hour, "hour"
	}
	n := int(d.Round(size) / size)
	if n != 1 {
		unit += "s"
	}
	return fmt.Sprintf("%d %s", n, unit)
}
