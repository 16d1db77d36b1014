package pamauth

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
)

// Coalesce lets equal logins at the same moment share one call of next: a client with six
// connections sends six. Throttling may already do so for passwords; it does not for account
// checks.
//
// The call has a context of its own, without values or deadline, which is cancelled only when every
// login has left. So a deadline belongs inside: Coalesce(Deadline(…)). A login that joins later has
// the rest of its time. A login whose context ends still waits for the call: the answer about a
// password that PAM was asked about must be counted.
//
// observer is told how each call ends; nil = no observer.
func Coalesce(next Authenticator, observer Observer) Authenticator {
	return &coalescer{secret: newSecret(), next: next, observer: orNoObserver(observer), calls: map[callKey]*call{}}
}

type coalescer struct {
	secret   secret
	next     Authenticator
	observer Observer

	mu    sync.Mutex
	calls map[callKey]*call // that are running
}

// callKey is of logins that share a call. A token ends with a change of the account, so its check
// joins none that began before the change. Of a password PAM is asked once all the same.
type callKey struct {
	login digest
	files fileStamps // zero for a password
}

// call is one call of next, and the logins that wait for it.
type call struct {
	ctx     context.Context
	cancel  context.CancelFunc // when every login has left
	waiting int                // coalescer.mu
	done    chan struct{}      // closed when account and err are set
	account Account
	err     error
}

func (c *coalescer) Authenticate(ctx context.Context, l Login) (Account, error) {
	for ctx.Err() == nil {
		k := c.join(l)
		select {
		case <-k.done:
			if k.cancelled() { // it was before this login joined, and so is no answer to it
				continue
			}
		case <-ctx.Done():
			c.leave(k)
			<-k.done
		}
		return k.account.clone(), k.err
	}
	return Account{}, fmt.Errorf("%w: no time left: %w", ErrBusy, context.Cause(ctx))
}

// join finds the call for a login, or starts it.
func (c *coalescer) join(l Login) *call {
	key := callKey{login: c.secret.digest(l)}
	if l.AccountOnly {
		key.files = stampFiles()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.calls[key]
	if k == nil {
		k = &call{done: make(chan struct{})}
		k.ctx, k.cancel = context.WithCancel(context.Background())
		c.calls[key] = k
		go c.run(k, key, l)
	}
	k.waiting++
	return k
}

// run ends the call even if next panics, which would otherwise end the whole process.
func (c *coalescer) run(k *call, key callKey, l Login) {
	defer func() {
		if p := recover(); p != nil {
			k.err = fmt.Errorf("%w: panic of type %T in %s", ErrBroken, p, panicLocation())
		}
		c.observer.Ended(k.err)
		c.mu.Lock()
		delete(c.calls, key)
		c.mu.Unlock()
		close(k.done)
	}()
	k.err = errNoReturn
	k.account, k.err = c.next.Authenticate(k.ctx, l)
}

// errNoReturn stays when next ends by runtime.Goexit.
var errNoReturn = fmt.Errorf("%w: it ended without an answer", ErrBroken)

// panicLocation is where the panic happened that the caller has recovered. Neither the value nor
// debug.Stack may be logged: a value may quote a password.
func panicLocation() string {
	pc := make([]uintptr, 64)
	frames := runtime.CallersFrames(pc[:runtime.Callers(3, pc)]) // without the deferred function
	for {
		f, more := frames.Next()
		if !more || !strings.HasPrefix(f.Function, "runtime.") {
			return fmt.Sprintf("%s %s:%d", f.Function, f.File, f.Line)
		}
	}
}

// leave cancels the call when no login is left. It may have gone too far for that, so later equal
// logins join it all the same: PAM must not be asked about one password twice at once.
func (c *coalescer) leave(k *call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if k.waiting--; k.waiting == 0 {
		k.cancel()
	}
}

// cancelled reports whether the call ended because every login had left.
func (k *call) cancelled() bool {
	return k.ctx.Err() != nil && errors.Is(k.err, context.Canceled)
}
