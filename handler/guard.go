package handler

import (
	"context"
	"errors"
	"time"
)

// Guard stands before every password and keeps whoever guesses away. It is told how each one ended, whatever the reason: a guard that
// knew only of those that PAM refused would tell blacklisted accounts from others.
type Guard interface {
	// Begin takes note of a password that is about to be checked. Its error is an ErrRefused for one that was refused a moment ago, or a
	// *Throttled; then the password is not looked at.
	Begin(user string, password Secret, remote string) (Attempt, error)
}

// Attempt is one password on its way. Exactly one of Granted, Refused and Void is called.
type Attempt interface {
	// Still says whether the password may be looked at now that its turn has come; its error is a *Throttled.
	Still() error
	Granted()
	Refused()
	Void() // there was no answer: a directory was away, or there was no turn to be had
}

// Throttled says that there were too many wrong passwords.
type Throttled struct {
	After time.Duration // when to try again
	Cause string        // for the operator
}

func (e *Throttled) Error() string { return e.Cause }

// guarded asks about a password with the guard in front, and holds a refusal back, so that the time it takes does not tell its cause.
func (e *Endpoint) guarded(ctx context.Context, req Request, ask func(still func() error) (Account, error)) (Account, error) {
	began := time.Now()
	account, err := e.attempt(req, ask)
	if errors.Is(err, ErrRefused) {
		holdBack(ctx, began, e.FailureDelay)
	}
	return account, err
}

func (e *Endpoint) attempt(req Request, ask func(still func() error) (Account, error)) (Account, error) {
	if e.Guard == nil {
		return ask(nil)
	}
	attempt, err := e.Guard.Begin(req.User, req.Password, req.Remote)
	if err != nil {
		return Account{}, err
	}
	end := attempt.Void // a panic is no answer
	defer func() { end() }()
	account, err := ask(attempt.Still)
	switch {
	case err == nil:
		end = attempt.Granted
	case errors.Is(err, ErrRefused):
		end = attempt.Refused
	}
	return account, err
}

// holdBack returns when a whole number of delays has passed since began. So whatever takes less than one takes the same time: a name that
// no directory knows, and a password whose hash takes fifty milliseconds. It costs a timer, neither a thread nor a process.
func holdBack(ctx context.Context, began time.Time, delay time.Duration) {
	if delay <= 0 {
		return
	}
	timer := time.NewTimer(delay - time.Since(began)%delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
