package handler

import (
	"context"
	"time"

	"dockerauth/access"
)

// Authenticator checks accounts. Its errors match ErrRefused, ErrUnavailable or ErrBusy
// (errors.Is); any other counts as ErrUnavailable.
type Authenticator interface {
	// Authenticate checks the password and the account. It returns an error of login.Recheck
	// unchanged.
	Authenticate(ctx context.Context, login Login) (Account, error)
	// CheckAccount checks only the account.
	CheckAccount(ctx context.Context, user, remote string) (Account, error)
}

// Signer signs tokens and verifies refresh tokens.
type Signer interface {
	// AccessToken returns a compact JWT and its id. entries becomes the "access" claim.
	AccessToken(subject, audience string, ttl time.Duration, entries any) (token, id string, err error)
	// RefreshToken returns a compact JWT that no registry accepts, and its id.
	RefreshToken(subject string, ttl time.Duration) (token, id string, err error)
	// VerifyRefresh returns the subject and the id of a valid refresh token.
	VerifyRefresh(token string) (subject, id string, err error)
}

// Endpoint answers token requests. All fields but Throttle, Blacklist and Policy must be set.
type Endpoint struct {
	Authenticator Authenticator
	Throttle      Throttle // nil = none
	Signer        Signer
	Audiences     []string         // services that tokens are issued for
	Blacklist     access.Blacklist // checked with the name the client sent and the one PAM returned
	Policy        *access.Policy   // nil = every account gets what it asks for
	AccessTTL     time.Duration
	RefreshTTL    time.Duration
	FailureDelay  time.Duration // a refusal is answered after a whole number of these; 0 = at once
}
