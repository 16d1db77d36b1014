package handler

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"dockerauth/access"
)

// KeptPrefix is how every kept token begins: a personal or a robot token, which is used as a
// password. What begins so is never given to PAM, and stars replace it in the log.
const KeptPrefix = "dka_"

// Kind is what a credential is for, as the log has it.
type Kind string

const (
	Personal Kind = "personal"
	Robot    Kind = "robot"
	Refresh  Kind = "refresh"
)

// Credential is a kept token or a refresh token that is known, or has just been made.
type Credential struct {
	ID     string // public; "" = none
	Kind   Kind
	User   string         // the account that it belongs to
	Robot  string         // the name of a robot; "" = the account's own
	Limits []access.Limit // what a kept token may be used for
	// StateKey is the key for State of the account.
	StateKey Secret
	// Check reports whether the account is still the one that the credential was made for.
	Check func(*State) error
	// Note notes a use, and returns at once; nil = nothing to note.
	Note func(client, remote string)
	// IsGuess is set beside an ErrRefused: no token has such a text.
	IsGuess bool
}

// isKept reports that the credential is a kept token.
func (c Credential) isKept() bool { return c.ID != "" && c.Kind != Refresh }

// Credentials knows what clients may use in place of a password. Its errors match ErrRefused or
// ErrUnavailable; beside one, ID and Kind may be set, for the log, and IsGuess.
type Credentials interface {
	// ParseKept finds out, without asking a store, that a text is no kept token.
	ParseKept(token Secret) error
	// Kept finds a kept token that was sent as the password of a login.
	Kept(ctx context.Context, token Secret, login, remote string) (Credential, error)
	// Refresh finds a refresh token.
	Refresh(ctx context.Context, token Secret) (Credential, error)
	// NewRefresh makes a refresh token for an account that has just sent its password.
	NewRefresh(ctx context.Context, account Account) (token Secret, c Credential, err error)
}

// checkKept accepts a kept token if its account is still in order. A refusal is delayed like that
// of a password.
func (e *Endpoint) checkKept(ctx context.Context, req Request) (Account, Credential, error) {
	began := time.Now()
	account, credential, err := e.checkKeptCounted(ctx, req)
	if errors.Is(err, ErrRefused) {
		holdBack(ctx, began, e.FailureDelay)
	}
	return account, credential, err
}

// checkKeptCounted counts a guess against the client's address. A token that was made here is none,
// also when it has ended: jobs repeat it, and failures of their neighbours do not concern it.
func (e *Endpoint) checkKeptCounted(ctx context.Context, req Request) (Account, Credential, error) {
	token := req.Password
	if req.Grant == GrantRefresh {
		token = req.RefreshToken // refused unseen: who guesses learns nothing
	}
	if err := e.Credentials.ParseKept(token); err != nil {
		return Account{}, Credential{}, err
	}
	account, credential, err := e.decideKept(ctx, req)
	if credential.IsGuess && errors.Is(err, ErrRefused) && e.Throttle != nil {
		if err := e.Throttle.CountAddress(ctx, token, req.Remote); err != nil {
			return Account{}, credential, err
		}
	}
	return account, credential, err
}

func (e *Endpoint) decideKept(ctx context.Context, req Request) (Account, Credential, error) {
	if req.Grant == GrantRefresh {
		return Account{}, Credential{}, refuse("a personal or robot token was sent as a refresh token")
	}
	credential, err := e.Credentials.Kept(ctx, req.Password, req.User, req.Remote)
	if err != nil {
		return Account{}, credential, err
	}
	account, err := e.checkHolder(ctx, credential, req.Remote)
	return account, credential, err
}

// checkRefresh accepts a refresh token if its account is still in order.
func (e *Endpoint) checkRefresh(ctx context.Context, req Request) (Account, Credential, error) {
	credential, err := e.Credentials.Refresh(ctx, req.RefreshToken)
	if err != nil {
		return Account{}, credential, err
	}
	account, err := e.checkHolder(ctx, credential, req.Remote)
	return account, credential, err
}

// checkHolder returns the account of a credential.
func (e *Endpoint) checkHolder(ctx context.Context, c Credential, remote string) (Account, error) {
	account, err := e.decideHolder(ctx, c, remote)
	if err != nil {
		return Account{}, fmt.Errorf("%s token %s of %q: %w", c.Kind, c.ID, c.User, err)
	}
	return account, nil
}

func (e *Endpoint) decideHolder(ctx context.Context, c Credential, remote string) (Account, error) {
	if err := e.checkUser(c.User); err != nil {
		return Account{}, err
	}
	account, err := e.Authenticator.CheckAccount(ctx, c.User, remote, c.StateKey)
	if err != nil {
		return Account{}, err
	}
	if err := c.Check(account.State); err != nil {
		return Account{}, err
	}
	if err := e.checkAccount(account); err != nil {
		return Account{}, err
	}
	if !c.isKept() && !e.Passwords.Allow(account.Name, account.Groups) {
		return Account{}, refuseTokensOnly(account.Name)
	}
	return account, nil
}

func refuseTokensOnly(user string) error {
	return refuse("%q may use personal and robot tokens only, by the section passwords\n"+
		"  dockerauth token issue makes them", user)
}

// subject is the name in the access token and the log: that of the account, and of its robot.
func subject(account Account, c Credential) string {
	if c.Robot == "" {
		return account.Name
	}
	return account.Name + "+" + c.Robot
}

// isKept reports a text that is, or was to be, a kept token: one that is pasted may have blanks
// before it.
func (s Secret) isKept() bool {
	return strings.HasPrefix(strings.TrimLeft(string(s), " \t\r\n\u00a0\ufeff"), KeptPrefix)
}
