// Package credentials keeps tokens that can be taken back: what people and jobs use as a password,
// and what is known of refresh tokens. It knows neither HTTP nor PAM.
//
// A kept token is opaque text. The store has its SHA-256, so who reads the store cannot use one.
// Its record says who it belongs to and what it may be used for.
package credentials

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Kind is what a credential is for. It is also a word of the command line.
type Kind string

const (
	Personal Kind = "personal" // a person's kept token
	Robot    Kind = "robot"    // a job's kept token, which belongs to a person's account
	Refresh  Kind = "refresh"  // what docker login leaves on disk
)

// The errors of a credential that is not accepted. Their text is for the operator.
var (
	// ErrRefused: it is wrong, expired, revoked, or another's.
	ErrRefused = errors.New("credential refused")
	// ErrGuess is an ErrRefused: no token has this text, and none that the store knows had it.
	ErrGuess = fmt.Errorf("%w", ErrRefused)
	// ErrUnknown: the store could not say, or has lost what it knew.
	ErrUnknown = errors.New("credential not checked")
	// ErrNotFound: the store has no such record.
	ErrNotFound = errors.New("not found")
)

// Token is the record of a kept token.
type Token struct {
	ID       string         // public: in the log, in lists and in the text of the token itself
	Kind     Kind           // Personal or Robot
	User     string         // the account's name in the system
	Robot    string         // the robot's name; "" = Personal
	Scopes   []string       // as access.ParseLimit reads them
	From     []netip.Prefix // the addresses that it is accepted from; none = all
	Note     string
	Keep     bool      // a password change does not end it: always so for Robot
	State    State     // of the account when it was issued
	Created  time.Time // whole seconds
	Expires  time.Time
	Replaced string      // the ID of the token that follows it, after a rotation
	Revoked  *Revocation // nil = not revoked
	LastUse  time.Time   // the day; zero = never
	LastFrom string      // the address of that day's first use
}

// Revocation says when a credential was taken back, and why.
type Revocation struct {
	At     time.Time
	Reason string
}

// text has the reason behind a colon, if there is one.
func (r Revocation) text() string {
	text := r.At.UTC().Format(time.RFC3339)
	if r.Reason != "" {
		text += ": " + r.Reason
	}
	return text
}

// Login is the user name that clients send with the token: alice, or alice+jenkins for a robot.
func (t Token) Login() string {
	if t.Robot == "" {
		return t.User
	}
	return t.User + "+" + t.Robot
}

// ExpiresSoon reports whether it is time to warn of the end of a token.
func (t Token) ExpiresSoon(now time.Time) bool {
	const soon = 14 * 24 * time.Hour
	return t.Expires.Sub(now) < soon
}
