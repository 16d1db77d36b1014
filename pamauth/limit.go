package pamauth

import (
	"context"
	"errors"
	"net/netip"
	"time"
)

// Slots are the conversations that may run at once. They belong to a process: wrappers that share
// them, such as those of an old and a new configuration, have one limit together.
type Slots struct{ passwords, accounts *fairQueue }

// NewSlots returns slots for n conversations, at least one.
func NewSlots(n int) *Slots {
	n = max(n, 1)
	return &Slots{passwords: newFairQueue(n), accounts: newFairQueue(n)}
}

// Resize changes the number. With fewer slots, conversations that run go on, and none begins until
// enough have ended.
func (s *Slots) Resize(n int) {
	n = max(n, 1)
	s.passwords.resize(n)
	s.accounts.resize(n)
}

// Limit runs a conversation with a password in each of the slots, and as many account checks beside
// them. ErrBusy is the answer to a login whose context ends while it waits, and at once to one
// whose wait would be useless.
//
// A password check takes a core and 16 MiB for a while (yescrypt): with more checks at once than
// cores, all of them take longer and use more memory. An account check takes a few milliseconds. It
// has slots of its own, so that refresh tokens do not wait behind a storm of passwords.
//
// Slots are given to addresses in turn, so that one address with a thousand logins does not delay
// the others. An IPv6 address counts as its /48 network, since a customer may have that much.
//
// A conversation that has started runs to its end or its deadline, even if its client disconnects:
// if disconnecting cancelled it, clients could guess passwords uncounted.
//
// observer is told of the waiting; nil = no observer.
func Limit(slots *Slots, next Authenticator, observer Observer) Authenticator {
	return &limiter{Slots: slots, next: next, observer: orNoObserver(observer)}
}

type limiter struct {
	*Slots
	next     Authenticator
	observer Observer
}

func (m *limiter) Authenticate(ctx context.Context, l Login) (Account, error) {
	q := m.passwords
	if l.AccountOnly {
		q = m.accounts
	}
	queued := time.Now()
	m.observer.Queued()
	err := q.acquire(ctx, networkOf(l.Remote))
	m.observer.Dequeued(time.Since(queued))
	if err != nil {
		return Account{}, err
	}
	started, ran := time.Now(), false
	defer func() { q.release(time.Since(started), ran) }()
	if l.Recheck != nil {
		if err := l.Recheck(); err != nil {
			return Account{}, err
		}
	}
	ran = true
	ctx, cancel := withDeadlineOnly(ctx)
	defer cancel()
	account, err := m.next.Authenticate(ctx, l)
	// It waited longer than it ran: the queue is too long, PAM need not be at fault.
	if errors.Is(err, context.DeadlineExceeded) && started.Sub(queued) > time.Since(started) {
		return Account{}, q.busy(ctx, queued)
	}
	return account, err
}

// Recheck asks the login whether PAM may still be asked, where there is no Limit to do so.
func Recheck(next Authenticator) Authenticator { return rechecker{next} }

type rechecker struct{ next Authenticator }

func (r rechecker) Authenticate(ctx context.Context, l Login) (Account, error) {
	if l.Recheck != nil {
		if err := l.Recheck(); err != nil {
			return Account{}, err
		}
	}
	return r.next.Authenticate(ctx, l)
}

// withDeadlineOnly keeps a context's deadline, and nothing else that would end it.
func withDeadlineOnly(ctx context.Context) (context.Context, context.CancelFunc) {
	uncancelled := context.WithoutCancel(ctx)
	if d, ok := ctx.Deadline(); ok {
		return context.WithDeadline(uncancelled, d)
	}
	return uncancelled, func() {}
}

// networkOf is the network whose queue a login joins. Logins without an address share one.
func networkOf(remote string) netip.Prefix {
	address, err := netip.ParseAddr(remote)
	if err != nil {
		return netip.Prefix{}
	}
	network, _ := address.Prefix(min(address.BitLen(), 48)) // never too many
	return network
}
