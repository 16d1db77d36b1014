package pamauth

import (
	"context"
	"time"
)

// Deadline gives each conversation d, with the wait for a slot if Limit comes after it. d ≤ 0 means
// no deadline.
func Deadline(d time.Duration, next Authenticator) Authenticator {
	if d <= 0 {
		return next
	}
	return deadline{d, next}
}

type deadline struct {
	d    time.Duration
	next Authenticator
}

func (s deadline) Authenticate(ctx context.Context, l Login) (Account, error) {
	ctx, cancel := context.WithTimeout(ctx, s.d)
	defer cancel()
	return s.next.Authenticate(ctx, l)
}
