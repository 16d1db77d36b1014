package pamauth

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// events is an Observer that records what it is told.
type events struct {
	mu   sync.Mutex
	list []string
}

func (e *events) add(event string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, event)
}

func (e *events) CacheHit()              { e.add("hit") }
func (e *events) Queued()                { e.add("queued") }
func (e *events) Dequeued(time.Duration) { e.add("dequeued") }
func (e *events) Ended(err error)        { e.add(fmt.Sprint("ended: ", err)) }

func TestAnObserverIsToldOfEachStep(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	asked := func(account Account, err error) Authenticator {
		return authenticatorFunc(func(context.Context, Login) (Account, error) { return account, err })
	}
	for name, tt := range map[string]struct {
		asked  Authenticator
		ctx    context.Context
		logins int
		want   []string
	}{
		"a login that PAM accepts": {asked(Account{Name: "a"}, nil), t.Context(), 1,
			[]string{"queued", "dequeued", "ended: <nil>"}},
		"the same login again": {asked(Account{Name: "a"}, nil), t.Context(), 2,
			[]string{"queued", "dequeued", "ended: <nil>", "hit"}},
		"a login that PAM refuses": {asked(Account{}, ErrRefused), t.Context(), 1,
			[]string{"queued", "dequeued", "ended: " + ErrRefused.Error()}},
		"a login without time": {asked(Account{}, ErrRefused), ctx, 1, nil},
	} {
		t.Run(name, func(t *testing.T) {
			observed := &events{}
			limited := Limit(NewSlots(1), tt.asked, observed)
			c := Cache(time.Minute, Coalesce(Deadline(time.Minute, limited), observed), observed)
			for range tt.logins {
				_, _ = c.Authenticate(tt.ctx, Login{User: "alice", Password: "p"})
			}
			if !slices.Equal(observed.list, tt.want) {
				t.Errorf("got %q, want %q", observed.list, tt.want)
			}
		})
	}
}

func TestAnObserverIsToldOfALoginThatGivesUpWaiting(t *testing.T) {
	observed := &events{}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Limit(NewSlots(1), nil, observed).Authenticate(ctx, Login{}); err == nil {
		t.Fatal("it was let through")
	}
	if want := []string{"queued", "dequeued"}; !slices.Equal(observed.list, want) {
		t.Errorf("got %q, want %q", observed.list, want)
	}
}

func TestAnObserverIsToldOfAPanic(t *testing.T) {
	observed := &events{}
	c := Coalesce(authenticatorFunc(func(context.Context, Login) (Account, error) { panic("a fault") }), observed)
	if _, err := c.Authenticate(t.Context(), Login{User: "alice", Password: "p"}); err == nil ||
		len(observed.list) != 1 {
		t.Errorf("%v, got %q", err, observed.list)
	}
}
