package pamauth

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// events is an Observer that notes what it hears.
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

func TestAnObserverHearsOfEachStep(t *testing.T) {
	gone, hangUp := context.WithCancel(t.Context())
	hangUp()
	asked := func(account Account, err error) Conversation {
		return conversationFunc(func(context.Context, Login) (Account, error) { return account, err })
	}
	for name, tt := range map[string]struct {
		asked  Conversation
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
		"a login without time": {asked(Account{}, ErrRefused), gone, 1, nil},
	} {
		t.Run(name, func(t *testing.T) {
			heard := &events{}
			gate := Gate(1, tt.asked, heard)
			c := Cache(time.Minute, Share(Deadline(time.Minute, gate), heard), heard)
			for range tt.logins {
				_, _ = c.Hold(tt.ctx, Login{User: "alice", Password: "p"})
			}
			if !slices.Equal(heard.list, tt.want) {
				t.Errorf("heard %q, want %q", heard.list, tt.want)
			}
		})
	}
}

func TestAnObserverHearsOfALoginThatGivesUpWaiting(t *testing.T) {
	heard := &events{}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Gate(1, nil, heard).Hold(ctx, Login{}); err == nil {
		t.Fatal("it had its turn")
	}
	if want := []string{"queued", "dequeued"}; !slices.Equal(heard.list, want) {
		t.Errorf("heard %q, want %q", heard.list, want)
	}
}

func TestAnObserverHearsOfAPanic(t *testing.T) {
	heard := &events{}
	c := Share(conversationFunc(func(context.Context, Login) (Account, error) { panic("a fault") }), heard)
	if _, err := c.Hold(t.Context(), Login{User: "alice", Password: "p"}); err == nil || len(heard.list) != 1 {
		t.Errorf("%v, heard %q", err, heard.list)
	}
}
