package throttle

import (
	"errors"
	"fmt"
	"time"
)

var (
	// ErrRepeated means that the same password of the same user at the same address failed less
	// than a minute ago.
	ErrRepeated = errors.New("the same password failed a moment ago")

	// ErrUnanswered means that PAM is not asked again so soon. It gave no answer to the equal login
	// that this one waited for, or to the last five logins of this user.
	ErrUnanswered = errors.New("pam gave no answer to the last logins of this user, and is not asked again so soon")

	errWait = errors.New("another attempt checks this password")
)

// Repeated is an ErrRepeated with what is known of the failure.
type Repeated struct {
	Reason Reason
	After  time.Duration // when the password is checked again; at least 0
}

func (r *Repeated) Error() string        { return ErrRepeated.Error() }
func (r *Repeated) Is(target error) bool { return target == ErrRepeated }

// Reason is the caller's number for why a password failed, at most MaxReason; 0 = not known. The
// number is stored, and a text is not: it could hold a name.
type Reason uint8

// MaxReason is what there is space for beside the outcome in a record.
const MaxReason Reason = 1<<6 - 1

// Locked means that the password is not checked for some time.
type Locked struct {
	After time.Duration // more than 0
	Cause string        // for the operator
}

func (l *Locked) Error() string {
	return fmt.Sprintf("%s for another %s", l.Cause, l.After.Round(time.Second))
}
