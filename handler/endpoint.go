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
	// CheckAccount checks only the account. stateKey is the key for its State.
	CheckAccount(ctx context.Context, user, remote string, stateKey Secret) (Account, error)
	// LookUp returns what the system has of a name, without PAM. One that it does not have has no
	// groups.
	LookUp(ctx context.Context, user, remote string) (Account, error)
}

// Signer signs tokens.
type Signer interface {
	// AccessToken returns a compact JWT and its id. entries becomes the "access" claim.
	AccessToken(subject, audience string, ttl time.Duration, entries any) (token, id string, err error)
}

// Endpoint answers token requests. All fields but Throttle, Blacklist, Passwords and Policy must
// be set.
type Endpoint struct {
	Authenticator Authenticator
	Throttle      Throttle // nil = none
	Credentials   Credentials
	Signer        Signer
	Audiences     []string         // services that tokens are issued for
	Blacklist     access.Blacklist // checked with the name the client sent and the one PAM returned
	Passwords     access.Passwords
	Policy        *access.Policy // nil = every account gets what it asks for
	AccessTTL     time.Duration
	FailureDelay  time.Duration // a refusal is answered after a whole number of these; 0 = at once
}
