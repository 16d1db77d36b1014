package handler

import "context"

// Throttle slows down password guessing. It is told how each check ended: counting only refusals by
// PAM would reveal blacklisted accounts.
type Throttle interface {
	// Begin registers a password that is about to be checked. While an equal login is in flight, it
	// waits for the answer of that one. Its error wraps ErrRefused, ErrBusy or ErrUnavailable, or
	// is a *Throttled; then the password is not checked.
	Begin(ctx context.Context, user string, password Secret, remote string) (Attempt, error)
	// CountAddress counts a kept token that nobody has made, once for its repetitions. Its error is
	// a *Throttled.
	CountAddress(ctx context.Context, token Secret, remote string) error
}

// Attempt is one password to be checked. Unless Answer has one, exactly one of Succeed, Fail,
// Cancel and Unanswered is called.
type Attempt interface {
	// Answer is the account of an equal login that has just succeeded.
	Answer() (Account, bool)
	// Recheck reports whether the password may still be checked after the login has waited. Its
	// error is a *Throttled. After nil the login counts as one that PAM was asked about.
	Recheck() error
	Succeed(Account)
	Fail(reason error)
	Cancel()     // PAM was not asked, unless Recheck allowed it
	Unanswered() // PAM gave no answer
}
