package handler

import (
	"context"
	"errors"
	"time"
)

// Throttle stands in front of every password and slows down guessing. It is told how each check ended,
// whatever the reason: one that knew only of PAM's refusals would tell blacklisted accounts from
// others.
type Throttle interface {
	// Begin registers a password that is about to be checked. While an equal login is in flight, it
	// waits for that one's answer. Its error wraps ErrRefused, ErrBusy or ErrUnavailable, or is a
	// *Throttled; then the password is not checked.
	Begin(ctx context.Context, user string, password Secret, remote string) (Attempt, error)
}

// Attempt is one password to be checked. Unless Answer has one, exactly one of Succeed, Fail, Cancel and
// Unanswered is called.
type Attempt interface {
	// Answer is the account that an equal login in flight was let in as.
	Answer() (Account, bool)
	// Recheck says whether the password may still be checked, now that its turn has come. Its error is
	// a *Throttled or wraps ErrRefused.
	Recheck() error
	Succeed(Account)
	Fail()
	Cancel()     // no turn was to be had: PAM was not asked
	Unanswered() // PAM gave no answer
}

// Throttled says that there were too many wrong passwords.
type Throttled struct {
	After time.Duration // when to try again
	Cause string        // for the operator
}

func (e *Throttled) Error() string { return e.Cause }

// checkPassword holds a refusal back, so that the time it takes does not tell its cause.
func (e *Endpoint) checkPassword(ctx context.Context, req Request) (Account, error) {
	began := time.Now()
	account, err := e.checkThrottled(ctx, req)
	if errors.Is(err, ErrRefused) {
		holdBack(ctx, began, e.FailureDelay)
	}
	return account, err
}

func (e *Endpoint) checkThrottled(ctx context.Context, req Request) (Account, error) {
	if e.Throttle == nil {
		return e.decide(ctx, req, nil)
	}
	attempt, err := e.Throttle.Begin(ctx, req.User, req.Password, req.Remote)
	if err != nil {
		return Account{}, err
	}
	if account, ok := attempt.Answer(); ok {
		return account, nil
	}
	end := attempt.Unanswered // a panic is no answer
	defer func() { end() }()
	account, err := e.decide(ctx, req, attempt.Recheck)
	switch {
	case err == nil:
		end = func() { attempt.Succeed(account) }
	case errors.Is(err, ErrRefused):
		end = attempt.Fail
	case errors.Is(err, ErrBusy), errors.As(err, new(*Throttled)):
		end = attempt.Cancel
	}
	return account, err
}

// holdBack returns when a whole number of delays has passed since began. Whatever takes less than
// one delay takes the same time: a name that no directory knows, and a password whose hash takes
// fifty milliseconds.
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
