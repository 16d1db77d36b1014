package handler

import (
	"context"
)

// Throttle stands in front of every password and slows down guessing. It is told how each check
// ended, whatever the reason: one that knew only of PAM's refusals would tell blacklisted accounts
// from others.
type Throttle interface {
	// Begin registers a password that is about to be checked. While an equal login is in flight, it
	// waits for that one's answer. Its error wraps ErrRefused, ErrBusy or ErrUnavailable, or is a
	// *Throttled; then the password is not checked.
	Begin(ctx context.Context, user string, password Secret, remote string) (Attempt, error)
}

// Attempt is one password to be checked. Unless Answer has one, exactly one of Succeed, Fail,
// Cancel and Unanswered is called.
type Attempt interface {
	// Answer is the account that an equal login in flight was let in as.
	Answer() (Account, bool)
	// Recheck says whether the password may still be checked, now that its turn has come. Its error
	// is a *Throttled or wraps ErrRefused.
	Recheck() error
	Succeed(Account)
	Fail()
	Cancel()     // no turn was to be had: PAM was not asked
	Unanswered() // PAM gave no answer
}
