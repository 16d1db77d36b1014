package pamauth

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Gate lets at most n conversations through at once, in the order in which they came; one that the context's end finds waiting gets
// ErrBusy. One password check costs a core and 16 MiB for a while (yescrypt): more at once than there are cores is slower and larger for everyone.
func Gate(n int, next Conversation) Conversation {
	return gate{seats: make(chan struct{}, max(n, 1)), next: next}
}

type gate struct {
	seats chan struct{}
	next  Conversation
}

func (g gate) Hold(ctx context.Context, l Login) (Account, error) {
	came := time.Now()
	if ctx.Err() != nil {
		return Account{}, g.busy(ctx, came)
	}
	select {
	case g.seats <- struct{}{}:
		defer func() { <-g.seats }()
	case <-ctx.Done():
		return Account{}, g.busy(ctx, came)
	}
	began := time.Now()
	account, err := g.next.Hold(ctx, l)
	// A conversation that got the last moments of a deadline and failed for want of time is not broken: it came too late to its turn.
	if errors.Is(err, context.DeadlineExceeded) && began.Sub(came) > time.Since(began) {
		return Account{}, g.busy(ctx, came)
	}
	return account, err
}

func (g gate) busy(ctx context.Context, came time.Time) error {
	return fmt.Errorf("%w: waited %s with %d of %d conversations under way: %w",
		ErrBusy, time.Since(came).Round(time.Millisecond), len(g.seats), cap(g.seats), context.Cause(ctx))
}

// Deadline gives each conversation d, waiting included when a Gate comes after it. d ≤ 0 means none.
func Deadline(d time.Duration, next Conversation) Conversation { return deadline{d, next} }

type deadline struct {
	d    time.Duration
	next Conversation
}

func (s deadline) Hold(ctx context.Context, l Login) (Account, error) {
	if s.d <= 0 {
		return s.next.Hold(ctx, l)
	}
	ctx, cancel := context.WithTimeout(ctx, s.d)
	defer cancel()
	return s.next.Hold(ctx, l)
}
