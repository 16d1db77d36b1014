package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"time"

	"dockerauth/config"
	"dockerauth/handler"
	"dockerauth/throttle"
)

// failureDelay is longer than a wrong password takes in all but the slowest directories, and no
// longer than a person minds.
const failureDelay = time.Second

// throttleAdapter translates between handler and throttle.
type throttleAdapter struct{ *throttle.Throttle }

func (t throttleAdapter) Begin(ctx context.Context, user string, password handler.Secret,
	remote string) (handler.Attempt, error) {
	a, err := t.Throttle.Begin(ctx, user, password.Reveal(), remote)
	if err != nil {
		return nil, throttleError(err, remote)
	}
	return attempt{a, remote}, nil
}

func (t throttleAdapter) CountAddress(ctx context.Context, token handler.Secret, remote string) error {
	if err := t.Throttle.CountAddress(ctx, token.Reveal(), remote); err != nil {
		return throttleError(err, remote)
	}
	return nil
}

// attempt is throttle's attempt in handler's words.
type attempt struct {
	*throttle.Attempt
	remote string
}

// Answer takes none of an earlier version's, which lacks State.
func (a attempt) Answer() (account handler.Account, ok bool) {
	b := a.Attempt.Answer()
	return account, b != nil && json.Unmarshal(b, &account) == nil && account.State != nil
}

func (a attempt) Succeed(account handler.Account) {
	b, _ := json.Marshal(account) // names and numbers: this cannot fail
	a.Attempt.Succeed(b)
}

func (a attempt) Fail(reason error) { a.Attempt.Fail(reasonOf(reason)) }

func (a attempt) Recheck() error {
	if err := a.Attempt.Recheck(); err != nil {
		return throttleError(err, a.remote)
	}
	return nil
}

// throttleError is throttle's error in handler's words.
func throttleError(err error, remote string) error {
	var locked *throttle.Locked
	var repeated *throttle.Repeated
	switch {
	case errors.As(err, &locked):
		cause := locked.Error()
		if remote == "" {
			cause += noAddress
		}
		return &handler.Throttled{After: locked.After, Cause: cause}
	case errors.As(err, &repeated):
		return handler.Failure(handler.ErrRefused, rememberedError(repeated))
	case errors.Is(err, throttle.ErrUnanswered):
		return handler.Failure(handler.ErrUnavailable, err)
	default: // the client has gone while it waited
		return handler.Failure(handler.ErrBusy, err)
	}
}

// noAddress is added to the reason of a lock: without an address all clients count as one.
const noAddress = "; the request has no client address, so all clients without one are locked together\n" +
	"  let the web server send REMOTE_ADDR, or the proxy X-Forwarded-For (trusted_proxies)"

// rememberedReasons are parts of the errors with which a login is refused. A refusal is remembered
// by its place here, also by other processes and after an upgrade: the list only grows.
var rememberedReasons = []string{
	"", // any other
	"is blacklisted",
	"pam refused the login: authenticate: PAM_AUTH_ERR (7)",
	"pam refused the login: authenticate: PAM_USER_UNKNOWN (10)",
	"pam refused the login: authenticate: PAM_PERM_DENIED (6)",
	"pam refused the login: authenticate: PAM_MAXTRIES (11)",
	"pam refused the login: authenticate: PAM_NEW_AUTHTOK_REQD (12)",
	"pam refused the login: authenticate: PAM_ACCT_EXPIRED (13)",
	"pam refused the login: authenticate: PAM_CRED_EXPIRED (16)",
	"pam refused the login: authenticate: PAM_AUTHTOK_EXPIRED (27)",
	"pam refused the login: account: PAM_AUTH_ERR (7)",
	"pam refused the login: account: PAM_USER_UNKNOWN (10)",
	"pam refused the login: account: PAM_PERM_DENIED (6)",
	"pam refused the login: account: PAM_MAXTRIES (11)",
	"pam refused the login: account: PAM_NEW_AUTHTOK_REQD (12)",
	"pam refused the login: account: PAM_ACCT_EXPIRED (13)",
	"pam refused the login: account: PAM_CRED_EXPIRED (16)",
	"pam refused the login: account: PAM_AUTHTOK_EXPIRED (27)",
	"a module asked for more than the one password",
	"the user name is empty, too long or contains an invalid character",
	"the password is empty, too long or contains a NUL",
	"may use personal and robot tokens only",
	"a personal or robot token was sent as the user name",
}

func reasonOf(err error) throttle.Reason {
	for i, part := range rememberedReasons[1:] {
		if strings.Contains(err.Error(), part) {
			return throttle.Reason(i + 1)
		}
	}
	return 0
}

// rememberedError is what the log says of a login that was refused without asking PAM.
func rememberedError(r *throttle.Repeated) error {
	first := r.Error()
	if 0 < r.Reason && int(r.Reason) < len(rememberedReasons) {
		first = rememberedReasons[r.Reason]
	}
	return fmt.Errorf("%s (remembered, asked again in %d s)", first, int(math.Ceil(r.After.Seconds())))
}

// newThrottle is nil where there is no store to count in.
func newThrottle(cfg *config.Config, log *slog.Logger, o runtimeOptions) (handler.Throttle, error) {
	records := o.state.counters()
	if records == nil {
		return nil, nil
	}
	secret, err := cfg.Key.Derive("throttle")
	if err != nil {
		return nil, err
	}
	report := func(err error) {
		o.state.failed.Store(true)
		log.Error("refused passwords are not counted", "reason", err.Error())
	}
	return throttleAdapter{&throttle.Throttle{
		Store: records, Secret: secret, ConfigVersion: cfg.Version(), Delay: failureDelay, Timeout: cfg.PAM.Timeout,
		Report: report, Checks: o.checks,
	}}, nil
}
