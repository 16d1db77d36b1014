package handler

import (
	"context"
	"time"

	"dockerauth/access"
)

// Authenticator decides who is let in. Its errors are ErrRefused,
// ErrUnavailable or ErrBusy (errors.Is); any other counts as ErrUnavailable.
type Authenticator interface {
	// Authenticate asks whether the password is this user's and the account
	// is in order. An error of the login's own is passed on as it is.
	Authenticate(ctx context.Context, login Login) (Account, error)
	// CheckAccount asks only whether the account is in order.
	CheckAccount(ctx context.Context, user, remote string) (Account, error)
}

// Signer makes tokens and knows its own again.
type Signer interface {
	// AccessToken returns a compact JWT and its id. entries becomes the "access" claim.
	AccessToken(subject, audience string, ttl time.Duration, entries any) (token, id string, err error)
	// RefreshToken returns a compact JWT that no registry accepts, and its id.
	RefreshToken(subject string, ttl time.Duration) (token, id string, err error)
	// VerifyRefresh returns the subject and the id of a refresh token that is
	// genuine and has not expired.
	VerifyRefresh(token string) (subject, id string, err error)
}

// Endpoint answers token requests. All fields but Throttle, Blacklist and Policy must be set.
type Endpoint struct {
	Authenticator Authenticator
	Throttle      Throttle // nil = none
	Signer        Signer
	Audiences     []string         // the services that tokens are issued for
	Blacklist     access.Blacklist // asked about the name that the client sent, and the one that PAM gave back
	Policy        *access.Policy   // nil = every account gets what it asks for
	AccessTTL     time.Duration
	RefreshTTL    time.Duration
	FailureDelay  time.Duration // a refused password is answered after a whole number of these; 0 = at once
}
