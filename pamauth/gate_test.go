package pamauth

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// slow is a conversation that takes its time, unless the context ends first.
type slow struct {
	takes     time.Duration
	now, most atomic.Int32
}

func (s *slow) Hold(ctx context.Context, l Login) (Account, error) {
	now := s.now.Add(1)
	defer s.now.Add(-1)
	for most := s.most.Load(); now > most && !s.most.CompareAndSwap(most, now); most = s.most.Load() {
	}
	select {
	case <-time.After(s.takes):
		return Account{Name: l.User}, nil
	case <-ctx.Done():
		return Account{}, fmt.Errorf("%w: %w", ErrBroken, ctx.Err())
	}
}

func TestGateLetsOnlySoManyThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slow{takes: time.Second}
		c := Deadline(10*time.Second, Gate(3, s))
		var in, busy atomic.Int32
		for range 40 {
			go func() {
				switch _, err := c.Hold(t.Context(), Login{User: "alice"}); {
				case err == nil:
					in.Add(1)
				case errors.Is(err, ErrBusy):
					busy.Add(1)
				default:
					t.Error(err)
				}
			}()
		}
		time.Sleep(11 * time.Second) // of the bubble's clock
		synctest.Wait()
		if s.most.Load() != 3 {
			t.Errorf("%d at once", s.most.Load())
		}
		// Ten seconds have room for ten rounds of three; the last round's end meets the deadline.
		if in.Load() < 27 || in.Load() > 30 || in.Load()+busy.Load() != 40 {
			t.Errorf("%d let in, %d busy", in.Load(), busy.Load())
		}
	})
}

func TestGateSaysWhatItWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Gate(1, &slow{takes: time.Hour})
		first, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { _, _ = c.Hold(first, Login{}) }()
		synctest.Wait()
		_, err := Deadline(2*time.Second, c).Hold(t.Context(), Login{})
		if !errors.Is(err, ErrBusy) || !strings.Contains(fmt.Sprint(err), "waited 2s with 1 of 1 conversations under way") {
			t.Errorf("got %v", err)
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the error does not tell why the waiting ended: %v", err)
		}
	})
}

func TestConversationThatCameTooLateToItsTurnIsNotBroken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Gate(1, &slow{takes: 6 * time.Second})
		go func() { _, _ = c.Hold(t.Context(), Login{}) }()
		synctest.Wait()
		_, err := Deadline(10*time.Second, c).Hold(t.Context(), Login{})
		if !errors.Is(err, ErrBusy) || errors.Is(err, ErrBroken) {
			t.Errorf("got %v", err)
		}
	})
}

func TestConversationThatHangsIsBrokenBehindAGateToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, err := Deadline(10*time.Second, Gate(1, &slow{takes: time.Hour})).Hold(t.Context(), Login{})
		if !errors.Is(err, ErrBroken) || errors.Is(err, ErrBusy) {
			t.Errorf("got %v", err)
		}
	})
}

func TestGateAsksNobodyWhenTheClientHasGone(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s := &slow{}
	_, err := Gate(1, s).Hold(ctx, Login{})
	if !errors.Is(err, ErrBusy) || !errors.Is(err, context.Canceled) || s.most.Load() != 0 {
		t.Errorf("got %v after %d conversations", err, s.most.Load())
	}
}

func TestNoDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		account, err := Deadline(0, &slow{takes: time.Hour}).Hold(t.Context(), Login{User: "alice"})
		if err != nil || account.Name != "alice" {
			t.Errorf("got %q, %v", account.Name, err)
		}
	})
}
