package pamauth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// slowFake takes a while, unless the context ends first.
type slowFake struct {
	takes     time.Duration
	now, most atomic.Int32
}

func (s *slowFake) Authenticate(ctx context.Context, l Login) (Account, error) {
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

func TestLimitBoundsConcurrency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slowFake{takes: time.Second}
		c := Deadline(10*time.Second, Limit(NewSlots(3), s, nil))
		var in, busy atomic.Int32
		for range 40 {
			go func() {
				switch _, err := c.Authenticate(t.Context(), Login{User: "alice"}); {
				case err == nil:
					in.Add(1)
				case errors.Is(err, ErrBusy):
					busy.Add(1)
				default:
					t.Error(err)
				}
			}()
		}
		time.Sleep(11 * time.Second) // by the fake clock
		synctest.Wait()
		if s.most.Load() != 3 {
			t.Errorf("%d at once", s.most.Load())
		}
		// Ten rounds of three fit into ten seconds; the last round ends at the deadline.
		if in.Load() < 27 || in.Load() > 30 || in.Load()+busy.Load() != 40 {
			t.Errorf("%d let in, %d busy", in.Load(), busy.Load())
		}
	})
}

func TestABusyErrorTellsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Limit(NewSlots(1), &slowFake{takes: time.Hour}, nil)
		go func() { _, _ = c.Authenticate(t.Context(), Login{}) }()
		defer time.Sleep(time.Hour) // until it ends
		synctest.Wait()
		_, err := Deadline(2*time.Second, c).Authenticate(t.Context(), Login{})
		if !errors.Is(err, ErrBusy) || !strings.Contains(fmt.Sprint(err), "waited 2s, 1 of 1 slots in use") {
			t.Errorf("got %v", err)
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the error does not wrap the context's: %v", err)
		}
	})
}

func TestALoginThatSpentItsTimeWaitingIsBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Limit(NewSlots(1), &slowFake{takes: 6 * time.Second}, nil)
		go func() { _, _ = c.Authenticate(t.Context(), Login{}) }()
		synctest.Wait()
		_, err := Deadline(10*time.Second, c).Authenticate(t.Context(), Login{})
		if !errors.Is(err, ErrBusy) || errors.Is(err, ErrBroken) {
			t.Errorf("got %v", err)
		}
	})
}

func TestAHangingConversationBehindALimitIsBroken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Deadline(10*time.Second, Limit(NewSlots(1), &slowFake{takes: time.Hour}, nil))
		_, err := c.Authenticate(t.Context(), Login{})
		if !errors.Is(err, ErrBroken) || errors.Is(err, ErrBusy) {
			t.Errorf("got %v", err)
		}
	})
}

func TestLimitStartsNothingForACancelledLogin(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s := &slowFake{}
	_, err := Limit(NewSlots(1), s, nil).Authenticate(ctx, Login{})
	if !errors.Is(err, ErrBusy) || !errors.Is(err, context.Canceled) || s.most.Load() != 0 {
		t.Errorf("got %v after %d conversations", err, s.most.Load())
	}
}

func TestALoginIsRecheckedWhenItsTurnComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStepFake()
		c := Limit(NewSlots(1), s, nil)
		arrive(t, c, Login{User: "first"})
		<-s.started
		locked, checked := errors.New("locked meanwhile"), false
		answer := make(chan error, 1)
		go func() {
			recheck := func() error { checked = true; return locked }
			_, err := c.Authenticate(t.Context(), Login{User: "second", Recheck: recheck})
			answer <- err
		}()
		synctest.Wait()
		if checked {
			t.Error("checked before its turn")
		}
		s.end <- struct{}{}
		if err := <-answer; !errors.Is(err, locked) || len(s.started) != 0 {
			t.Errorf("got %v, %d conversations", err, len(s.started))
		}
		arrive(t, c, Login{User: "third", Recheck: func() error { return nil }})
		if got := <-s.started; got != "third" {
			t.Errorf("%s started", got)
		}
		close(s.end)
	})
}

// Locked logins take no time. If they counted, a wait would look shorter than it is.
func TestALoginThatIsNotLetOnDoesNotCountForTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Limit(NewSlots(1), &slowFake{takes: time.Second}, nil)
		_, _ = c.Authenticate(t.Context(), Login{User: "first"})
		before := c.(*limiter).passwords.mean
		for range 10 {
			recheck := func() error { return errors.New("locked") }
			if _, err := c.Authenticate(t.Context(), Login{User: "locked", Recheck: recheck}); err == nil {
				t.Error("a locked login was let on")
			}
		}
		if after := c.(*limiter).passwords.mean; before == 0 || after != before {
			t.Errorf("a conversation takes %s, and after locked logins %s", before, after)
		}
	})
}

func TestNoDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		account, err := Deadline(0, &slowFake{takes: time.Hour}).Authenticate(t.Context(), Login{User: "alice"})
		if err != nil || account.Name != "alice" {
			t.Errorf("got %q, %v", account.Name, err)
		}
	})
}

// stepFake reports the user of each call, and returns when the test lets it.
type stepFake struct {
	started chan string
	end     chan struct{}
}

func newStepFake() *stepFake {
	return &stepFake{started: make(chan string, 4*maxQueued), end: make(chan struct{})}
}

func (s *stepFake) Authenticate(_ context.Context, l Login) (Account, error) {
	s.started <- l.User
	<-s.end
	return Account{Name: l.User}, nil
}

// arrive sends logins one after the other, without waiting for their answers.
func arrive(t *testing.T, c Authenticator, logins ...Login) {
	t.Helper()
	for _, l := range logins {
		go func() { _, _ = c.Authenticate(t.Context(), l) }()
		synctest.Wait()
	}
}

func TestAddressesTakeTurns(t *testing.T) {
	tests := []struct {
		name   string
		logins []Login // user is the order of arrival
		served string
	}{
		{"one address is served in order of arrival", []Login{
			{User: "1", Remote: "192.0.2.1"}, {User: "2", Remote: "192.0.2.1"}, {User: "3", Remote: "192.0.2.1"},
		}, "123"},
		{"another address does not wait for all logins of the first", []Login{
			{User: "1", Remote: "192.0.2.1"}, {User: "2", Remote: "192.0.2.1"}, {User: "3", Remote: "192.0.2.1"},
			{User: "4", Remote: "192.0.2.1"}, {User: "5", Remote: "192.0.2.2"}, {User: "6", Remote: "192.0.2.2"},
			{User: "7", Remote: "192.0.2.3"},
		}, "1257364"},
		{"an IPv6 network counts as one address", []Login{
			{User: "1", Remote: "2001:db8::1"}, {User: "2", Remote: "2001:db8::2"},
			{User: "3", Remote: "2001:db8:0:3::3"}, {User: "4", Remote: "2001:db8:1::1"},
		}, "1243"},
		{"invalid addresses count as one", []Login{
			{User: "1"}, {User: "2"}, {User: "3", Remote: "nonsense"}, {User: "4", Remote: "192.0.2.1"},
		}, "1243"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStepFake()
				arrive(t, Limit(NewSlots(1), s, nil), tt.logins...)
				served := ""
				for range tt.logins {
					served += <-s.started
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
		s := newStepFake()
		c := Limit(NewSlots(1), s, nil)
		arrive(t, c, Login{User: "1"}, Login{User: "2"},
			Login{User: "3", AccountOnly: true}, Login{User: "4", AccountOnly: true})
		if first, second := <-s.started, <-s.started; first != "1" || second != "3" || len(s.started) != 0 {
			t.Errorf("%s, %s and %d more started", first, second, len(s.started))
		}
		close(s.end)
	})
}

func TestOneAddressCannotFillTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStepFake()
		c := Limit(NewSlots(1), s, nil).(*limiter)
		storm := func(remote string, n int) (refused int) {
			answers := make(chan error, n)
			for range n {
				go func() {
					_, err := c.Authenticate(t.Context(), Login{Remote: remote})
					answers <- err
				}()
			}
			synctest.Wait()
			for range len(answers) {
				if err := <-answers; !errors.Is(err, ErrBusy) ||
					!strings.Contains(err.Error(), "from the same address") {
					t.Errorf("got %v", err)
				}
				refused++
			}
			return refused
		}
		storm("192.0.2.1", 1) // takes the slot
		before := 0
		for i, remote := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"} {
			storm(remote, maxQueued)
			got := c.passwords.waiting - before
			if want := maxQueued >> (i + 1); got != want {
				t.Errorf("%d of %s wait, want %d", got, remote, want)
			}
			before = c.passwords.waiting
		}
		if refused := storm("192.0.2.4", 1); refused != 0 {
			t.Error("a new address is rejected")
		}
		if _, err := c.Authenticate(t.Context(), Login{Remote: "192.0.2.1"}); !errors.Is(err, ErrBusy) {
			t.Errorf("got %v", err)
		}
		close(s.end)
	})
}

func TestTheQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStepFake()
		c := Limit(NewSlots(1), s, nil).(*limiter)
		for i := range maxQueued + 10 {
			go func() { _, _ = c.Authenticate(t.Context(), Login{Remote: fmt.Sprintf("2001:db8:%x::1", i)}) }()
		}
		synctest.Wait()
		if got := c.passwords.waiting; got != maxQueued {
			t.Errorf("%d wait", got)
		}
		close(s.end)
	})
}

func TestALoginThatCannotBeServedInTimeIsRejected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStepFake()
		limited := Limit(NewSlots(1), s, nil).(*limiter)
		limited.passwords.mean = 2 * time.Second
		c := Deadline(10*time.Second, limited)
		answers := make(chan error, 20)
		ask := func(c Authenticator) {
			go func() {
				_, err := c.Authenticate(t.Context(), Login{})
				answers <- err
			}()
			synctest.Wait()
		}
		// Five fit into ten seconds. Twice as many may try, besides the one that has the slot and
		// the one that has ten ahead.
		for range 1 + 2*5 + 1 {
			ask(c)
		}
		if len(answers) != 0 {
			t.Fatalf("rejected: %v", <-answers)
		}
		ask(c)
		if len(answers) != 1 {
			t.Fatal("a login that cannot be served in time waits")
		}
		if err := <-answers; !errors.Is(err, ErrBusy) ||
			!strings.Contains(err.Error(), "11 logins are ahead and take 2s each, but only 10s is left") {
			t.Errorf("got %v", err)
		}
		ask(limited)
		if len(answers) != 0 {
			t.Errorf("a login without a deadline is rejected: %v", <-answers)
		}
		close(s.end)
	})
}

func TestTheMeanDurationFollowsConversations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slowFake{}
		c := Limit(NewSlots(2), s, nil).(*limiter)
		for _, takes := range []time.Duration{10 * time.Second, 50 * time.Millisecond} { // an outage, and after it
			s.takes = takes
			for range 20 {
				if _, err := c.Authenticate(t.Context(), Login{}); err != nil {
					t.Fatal(err)
				}
			}
			if mean := c.passwords.mean; mean < takes*9/10 || mean > takes*2 {
				t.Errorf("%s for conversations that take %s", mean, takes)
			}
		}
	})
}

func TestAFreeSlotIsAlwaysGiven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slowFake{takes: 10 * time.Second}
		c := Limit(NewSlots(1), s, nil)
		for range 10 {
			_, _ = Deadline(10*time.Second, c).Authenticate(t.Context(), Login{})
		}
		s.takes = time.Millisecond // the directory server is back
		if _, err := Deadline(2*time.Millisecond, c).Authenticate(t.Context(), Login{}); err != nil {
			t.Error(err)
		}
	})
}

func TestAPanicReleasesItsSlot(t *testing.T) {
	c := Limit(NewSlots(1), authenticatorFunc(func(_ context.Context, l Login) (Account, error) {
		if l.User == "" {
			panic("no user")
		}
		return Account{Name: l.User}, nil
	}), nil)
	func() {
		defer func() { _ = recover() }()
		_, _ = c.Authenticate(t.Context(), Login{})
	}()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := c.Authenticate(ctx, Login{User: "alice"}); err != nil {
		t.Error(err)
	}
}

// authenticatorFunc is a function that implements Authenticator.
type authenticatorFunc func(context.Context, Login) (Account, error)

func (f authenticatorFunc) Authenticate(ctx context.Context, l Login) (Account, error) {
	return f(ctx, l)
}

func TestTheQueueEndsEmpty(t *testing.T) {
	s := &slowFake{takes: 50 * time.Microsecond}
	c := Limit(NewSlots(3), s, nil).(*limiter)
	var all sync.WaitGroup
	for i := range 2000 {
		all.Go(func() {
			timeout := time.Duration(i%7) * 3 * time.Millisecond // for some too short, for some just enough
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			defer cancel()
			_, err := c.Authenticate(ctx, Login{Remote: fmt.Sprintf("192.0.2.%d", i%50), AccountOnly: i%2 == 0})
			if err != nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, ErrBusy) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if s.most.Load() > 6 {
		t.Errorf("%d at once", s.most.Load())
	}
	for _, q := range []*fairQueue{c.passwords, c.accounts} {
		if q.inUse != 0 || q.waiting != 0 || len(q.queues) != 0 || q.roundRobin.Len() != 0 {
			t.Errorf("%d slots in use, %d waiting in %d queues, %d of which are served",
				q.inUse, q.waiting, len(q.queues), q.roundRobin.Len())
		}
	}
}

func TestSlotsThatAreResized(t *testing.T) {
	tests := []struct {
		name         string
		before, now  int
		begun, later int // conversations that have begun at once, and after two of the first have ended
	}{
		{"more slots are given to waiters at once", 2, 5, 5, 7},
		{"with fewer slots none begins until enough have ended", 4, 2, 4, 4},
		{"the same number changes nothing", 3, 3, 3, 5},
		{"there is always one", 1, 0, 1, 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, slots := newStepFake(), NewSlots(tt.before)
				arrive(t, Limit(slots, s, nil), slices.Repeat([]Login{{User: "alice"}}, 10)...)
				slots.Resize(tt.now)
				synctest.Wait()
				if got := len(s.started); got != tt.begun {
					t.Errorf("%d have begun, want %d", got, tt.begun)
				}
				for range 2 {
					s.end <- struct{}{}
					synctest.Wait()
				}
				if got := len(s.started); got != tt.later {
					t.Errorf("%d have begun after two ends, want %d", got, tt.later)
				}
				close(s.end)
			})
		})
	}
}

// Wrappers of two configurations ask PAM with one limit.
func TestWrappersThatShareSlotsHaveOneLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, slots := newStepFake(), NewSlots(3)
		for range 4 {
			arrive(t, Limit(slots, s, nil), Login{User: "alice"}, Login{User: "bob"})
		}
		if got := len(s.started); got != 3 {
			t.Errorf("%d at once, want 3", got)
		}
		close(s.end)
	})
}
