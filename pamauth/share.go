package pamauth

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
)

// Share lets equal logins that are under way at the same moment share one conversation: a client with six connections sends six.
//
// The conversation has a context of its own, without values or deadline, and ends early only when nobody waits for it any more. So a Deadline
// belongs inside: Share(Deadline(…)). Whoever joins later has the rest of its time.
func Share(next Conversation) Conversation {
	return &share{secret: newSecret(), next: next, underWay: map[digest]*talk{}}
}

type share struct {
	secret secret
	next   Conversation

	mu       sync.Mutex
	underWay map[digest]*talk
}

// talk is one conversation and those who wait for its answer.
type talk struct {
	key     digest
	waiting int // share.mu
	giveUp  context.CancelFunc
	done    chan struct{} // closed when there is an answer
	account Account
	err     error
}

func (s *share) Hold(ctx context.Context, l Login) (Account, error) {
	if ctx.Err() != nil {
		return Account{}, fmt.Errorf("%w: no time left: %w", ErrBusy, context.Cause(ctx))
	}
	t := s.join(l)
	select {
	case <-t.done:
	case <-ctx.Done():
		if !s.leave(t) {
			return Account{}, fmt.Errorf("%w: given up, but others wait for the same answer: %w", ErrBroken, context.Cause(ctx))
		}
		<-t.done // it was told to end, and knows best how far it came
	}
	return clone(t.account), t.err
}

// join finds the conversation about a login, or begins it.
func (s *share) join(l Login) *talk {
	key := s.secret.of(l)
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.underWay[key]; t != nil {
		t.waiting++
		return t
	}
	ctx, cancel := context.WithCancel(context.Background())
	t := &talk{key: key, waiting: 1, giveUp: cancel, done: make(chan struct{})}
	s.underWay[key] = t
	go s.run(ctx, t, l)
	return t
}

// run finishes the talk whatever becomes of the conversation. A panic would end the whole process from here.
func (s *share) run(ctx context.Context, t *talk, l Login) {
	defer func() {
		if fault := recover(); fault != nil {
			t.err = fmt.Errorf("%w: panic: %v\n%s", ErrBroken, fault, debug.Stack())
		}
		s.mu.Lock()
		s.forget(t)
		s.mu.Unlock()
		t.giveUp()
		close(t.done)
	}()
	t.err = errNoReturn
	t.account, t.err = s.next.Hold(ctx, l)
}

// errNoReturn stays when the conversation leaves by runtime.Goexit.
var errNoReturn = fmt.Errorf("%w: it ended without an answer", ErrBroken)

// leave says whether nobody is left. Then the conversation ends, and who comes with the same login begins another.
func (s *share) leave(t *talk) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	t.waiting--
	if t.waiting > 0 {
		return false
	}
	s.forget(t)
	t.giveUp()
	return true
}

func (s *share) forget(t *talk) {
	if s.underWay[t.key] == t {
		delete(s.underWay, t.key)
	}
}
