package pamauth

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
)

// Share lets equal logins that are under way at the same moment share one conversation: a client with six connections sends six.
//
// The conversation has a context of its own, without values or deadline, which ends early only when nobody waits for it any more. So a Deadline
// belongs inside: Share(Deadline(…)). Whoever joins later has the rest of its time. Whoever leaves hears all the same what comes of it: of
// a password that PAM has been asked about, the answer must come to be counted.
// observer is told how each conversation ends; nil = nobody is.
func Share(next Conversation, observer Observer) Conversation {
	return &share{secret: newSecret(), next: next, observer: orUnobserved(observer), underWay: map[digest]*talk{}}
}

type share struct {
	secret   secret
	next     Conversation
	observer Observer

	mu       sync.Mutex
	underWay map[digest]*talk
}

// talk is one conversation and those who wait for its answer.
type talk struct {
	key     digest
	waiting int // share.mu
	giveUp  context.CancelFunc
	given   bool          // up, because nobody waited; share.mu
	done    chan struct{} // closed when there is an answer
	account Account
	err     error
}

func (s *share) Hold(ctx context.Context, l Login) (Account, error) {
	for ctx.Err() == nil {
		t := s.join(l)
		select {
		case <-t.done:
		case <-ctx.Done():
			s.leave(t)
			<-t.done
			return clone(t.account), t.err
		}
		if !s.ended(t) {
			return clone(t.account), t.err
		}
	}
	return Account{}, fmt.Errorf("%w: no time left: %w", ErrBusy, context.Cause(ctx))
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
		s.observer.Ended(t.err)
		s.mu.Lock()
		delete(s.underWay, t.key)
		s.mu.Unlock()
		t.giveUp()
		close(t.done)
	}()
	t.err = errNoReturn
	t.account, t.err = s.next.Hold(ctx, l)
}

// errNoReturn stays when the conversation leaves by runtime.Goexit.
var errNoReturn = fmt.Errorf("%w: it ended without an answer", ErrBroken)

// leave tells the conversation to end when nobody is left. It may have gone too far for that, so who comes with the same login waits for its
// end all the same: of one password PAM must not be asked twice at once.
func (s *share) leave(t *talk) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t.waiting--
	if t.waiting == 0 {
		t.given = true
		t.giveUp()
	}
}

// ended says whether the conversation was told to end a moment before the last one joined it, and did: then it has no answer for him.
func (s *share) ended(t *talk) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return t.given && errors.Is(t.err, context.Canceled)
}
