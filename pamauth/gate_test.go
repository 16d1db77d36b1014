package pamauth

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
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
		c := Deadline(10*time.Second, Gate(3, s, nil))
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
		c := Gate(1, &slow{takes: time.Hour}, nil)
		go func() { _, _ = c.Hold(t.Context(), Login{}) }()
		defer time.Sleep(time.Hour) // which brings it to its end
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
		c := Gate(1, &slow{takes: 6 * time.Second}, nil)
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
		_, err := Deadline(10*time.Second, Gate(1, &slow{takes: time.Hour}, nil)).Hold(t.Context(), Login{})
		if !errors.Is(err, ErrBroken) || errors.Is(err, ErrBusy) {
			t.Errorf("got %v", err)
		}
	})
}

func TestGateAsksNobodyWhenTheClientHasGone(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s := &slow{}
	_, err := Gate(1, s, nil).Hold(ctx, Login{})
	if !errors.Is(err, ErrBusy) || !errors.Is(err, context.Canceled) || s.most.Load() != 0 {
		t.Errorf("got %v after %d conversations", err, s.most.Load())
	}
}

// What was right when a login came may not be when its turn does.
func TestALoginIsAskedWhetherItStillMay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStepwise()
		c := Gate(1, s, nil)
		come(t, c, Login{User: "first"})
		<-s.began
		locked, asked := errors.New("locked meanwhile"), false
		answer := make(chan error, 1)
		go func() {
			_, err := c.Hold(t.Context(), Login{User: "second", Recheck: func() error { asked = true; return locked }})
			answer <- err
		}()
		synctest.Wait()
		if asked {
			t.Error("asked before its turn")
		}
		s.end <- struct{}{}
		if err := <-answer; !errors.Is(err, locked) || len(s.began) != 0 {
			t.Errorf("got %v, %d conversations", err, len(s.began))
		}
		come(t, c, Login{User: "third", Recheck: func() error { return nil }})
		if got := <-s.began; got != "third" {
			t.Errorf("%s began", got)
		}
		close(s.end)
	})
}

func TestNoDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		account, err := Deadline(0, &slow{takes: time.Hour}).Hold(t.Context(), Login{User: "alice"})
		if err != nil || account.Name != "alice" {
			t.Errorf("got %q, %v", account.Name, err)
		}
	})
}

// stepwise is a conversation that says who began and ends when it is told to.
type stepwise struct {
	began chan string
	end   chan struct{}
}

func newStepwise() *stepwise {
	return &stepwise{began: make(chan string, 4*maxWaiting), end: make(chan struct{})}
}

func (s *stepwise) Hold(_ context.Context, l Login) (Account, error) {
	s.began <- l.User
	<-s.end
	return Account{Name: l.User}, nil
}

// come lets logins come one after the other and wait.
func come(t *testing.T, c Conversation, logins ...Login) {
	t.Helper()
	for _, l := range logins {
		go func() { _, _ = c.Hold(t.Context(), l) }()
		synctest.Wait()
	}
}

func TestAddressesTakeTurns(t *testing.T) {
	tests := []struct {
		name   string
		logins []Login // user is the order of coming
		served string
	}{
		{"one address is served as it comes", []Login{
			{User: "1", Remote: "192.0.2.1"}, {User: "2", Remote: "192.0.2.1"}, {User: "3", Remote: "192.0.2.1"},
		}, "123"},
		{"another address does not wait for all of the first", []Login{
			{User: "1", Remote: "192.0.2.1"}, {User: "2", Remote: "192.0.2.1"}, {User: "3", Remote: "192.0.2.1"}, {User: "4", Remote: "192.0.2.1"},
			{User: "5", Remote: "192.0.2.2"}, {User: "6", Remote: "192.0.2.2"}, {User: "7", Remote: "192.0.2.3"},
		}, "1257364"},
		{"a network of IPv6 is one address", []Login{
			{User: "1", Remote: "2001:db8::1"}, {User: "2", Remote: "2001:db8::2"}, {User: "3", Remote: "2001:db8:0:3::3"}, {User: "4", Remote: "2001:db8:1::1"},
		}, "1243"},
		{"IPv4 written as IPv6 is IPv4", []Login{
			{User: "1", Remote: "192.0.2.1"}, {User: "2", Remote: "192.0.2.1"}, {User: "3", Remote: "::ffff:192.0.2.1"}, {User: "4", Remote: "::ffff:192.0.2.2"},
		}, "1243"},
		{"what is no address is one", []Login{
			{User: "1"}, {User: "2"}, {User: "3", Remote: "nonsense"}, {User: "4", Remote: "192.0.2.1"},
		}, "1243"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStepwise()
				come(t, Gate(1, s, nil), tt.logins...)
				served := ""
				for range tt.logins {
					served += <-s.began
					s.end <- struct{}{}
				}
				if served != tt.served {
					t.Errorf("served %s, want %s", served, tt.served)
				}
			})
		})
	}
}

func TestAccountChecksDoNotWaitForPasswords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStepwise()
		c := Gate(1, s, nil)
		come(t, c, Login{User: "1"}, Login{User: "2"}, Login{User: "3", AccountOnly: true}, Login{User: "4", AccountOnly: true})
		if first, second := <-s.began, <-s.began; first != "1" || second != "3" || len(s.began) != 0 {
			t.Errorf("%s, %s and %d more began", first, second, len(s.began))
		}
		close(s.end)
	})
}

func TestOneAddressLeavesRoomForOthersToWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStepwise()
		c := Gate(1, s, nil).(*gate)
		storm := func(remote string, n int) (refused int) {
			answers := make(chan error, n)
			for range n {
				go func() {
					_, err := c.Hold(t.Context(), Login{Remote: remote})
					answers <- err
				}()
			}
			synctest.Wait()
			for range len(answers) {
				if err := <-answers; !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), "from the same address") {
					t.Errorf("got %v", err)
				}
				refused++
			}
			return refused
		}
		storm("192.0.2.1", 1) // takes the seat
		before := 0
		for i, remote := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"} {
			storm(remote, maxWaiting)
			got := c.passwords.waiting - before
			if want := maxWaiting >> (i + 1); got != want {
				t.Errorf("%d of %s wait, want %d", got, remote, want)
			}
			before = c.passwords.waiting
		}
		if refused := storm("192.0.2.4", 1); refused != 0 {
			t.Error("an address that comes anew is not let in")
		}
		if _, err := c.Hold(t.Context(), Login{Remote: "192.0.2.1"}); !errors.Is(err, ErrBusy) {
			t.Errorf("got %v", err)
		}
		close(s.end)
	})
}

func TestGateIsNeverFullerThanItsBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStepwise()
		c := Gate(1, s, nil).(*gate)
		for i := range maxWaiting + 10 {
			go func() { _, _ = c.Hold(t.Context(), Login{Remote: fmt.Sprintf("2001:db8:%x::1", i)}) }()
		}
		synctest.Wait()
		if got := c.passwords.waiting; got != maxWaiting {
			t.Errorf("%d wait", got)
		}
		close(s.end)
	})
}

func TestNobodyWaitsInVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStepwise()
		gated := Gate(1, s, nil).(*gate)
		gated.passwords.mean = 2 * time.Second
		c := Deadline(10*time.Second, gated)
		answers := make(chan error, 20)
		ask := func(c Conversation) {
			go func() {
				_, err := c.Hold(t.Context(), Login{})
				answers <- err
			}()
			synctest.Wait()
		}
		// Five fit into ten seconds. Twice as many may try beside the one that has the seat, and then one who has ten before him.
		for range 1 + 2*5 + 1 {
			ask(c)
		}
		if len(answers) != 0 {
			t.Fatalf("sent away: %v", <-answers)
		}
		ask(c)
		if len(answers) != 1 {
			t.Fatal("one without hope waits")
		}
		if err := <-answers; !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), "11 come before, for which 10s is not enough when each takes 2s") {
			t.Errorf("got %v", err)
		}
		ask(gated)
		if len(answers) != 0 {
			t.Errorf("one that has no deadline is sent away: %v", <-answers)
		}
		close(s.end)
	})
}

func TestGateKnowsHowLongConversationsTake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slow{}
		c := Gate(2, s, nil).(*gate)
		for _, takes := range []time.Duration{10 * time.Second, 50 * time.Millisecond} { // an outage, and its end
			s.takes = takes
			for range 20 {
				if _, err := c.Hold(t.Context(), Login{}); err != nil {
					t.Fatal(err)
				}
			}
			if mean := c.passwords.mean; mean < takes*9/10 || mean > takes*2 {
				t.Errorf("%s for conversations that take %s", mean, takes)
			}
		}
	})
}

func TestNobodyIsSentAwayFromAFreeSeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slow{takes: 10 * time.Second}
		c := Gate(1, s, nil)
		for range 10 {
			_, _ = Deadline(10*time.Second, c).Hold(t.Context(), Login{})
		}
		s.takes = time.Millisecond // the directory is back
		if _, err := Deadline(2*time.Millisecond, c).Hold(t.Context(), Login{}); err != nil {
			t.Error(err)
		}
	})
}

func TestPanicGivesItsSeatBack(t *testing.T) {
	c := Gate(1, conversationFunc(func(_ context.Context, l Login) (Account, error) {
		if l.User == "" {
			panic("no user")
		}
		return Account{Name: l.User}, nil
	}), nil)
	func() {
		defer func() { _ = recover() }()
		_, _ = c.Hold(t.Context(), Login{})
	}()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := c.Hold(ctx, Login{User: "alice"}); err != nil {
		t.Error(err)
	}
}

// conversationFunc is a function that is a Conversation.
type conversationFunc func(context.Context, Login) (Account, error)

func (f conversationFunc) Hold(ctx context.Context, l Login) (Account, error) { return f(ctx, l) }

func TestGateIsEmptyWhenAllHaveGone(t *testing.T) {
	s := &slow{takes: 50 * time.Microsecond}
	c := Gate(3, s, nil).(*gate)
	var all sync.WaitGroup
	for i := range 2000 {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i%7)*3*time.Millisecond) // some of them never, some in time, some just about
			defer cancel()
			_, err := c.Hold(ctx, Login{Remote: fmt.Sprintf("192.0.2.%d", i%50), AccountOnly: i%2 == 0})
			if err != nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, ErrBusy) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if s.most.Load() > 6 {
		t.Errorf("%d at once", s.most.Load())
	}
	for _, h := range []*hall{c.passwords, c.accounts} {
		if h.taken != 0 || h.waiting != 0 || len(h.queues) != 0 || h.turns.Len() != 0 {
			t.Errorf("%d seats are taken, %d wait in %d queues, %d of which take turns", h.taken, h.waiting, len(h.queues), h.turns.Len())
		}
	}
}
