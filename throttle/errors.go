package throttle

import (
	"errors"
	"fmt"
	"time"
)

var (
	// ErrRepeated means that the same password of the same user at the same address failed less
	// than a minute ago.
	ErrRepeated = errors.New("the same password failed a moment ago, PAM is not asked again")

	// ErrUnanswered means that PAM is not asked again so soon. It gave no answer to the equal login
	// that this one waited for, or to the last five logins of this user.
	ErrUnanswered = errors.New("pam gave no answer to the last logins of this user, and is not asked again so soon")

	errWait = errors.New("another attempt checks this password")
)

// Locked means that the password is not checked for some time.
type Locked struct {
	After time.Duration // more than 0
	Cause string        // for the operator
}

func (l *Locked) Error() string {
	return fmt.Sprintf("%s for another %s", l.Cause, l.After.Round(time.Second))
}
