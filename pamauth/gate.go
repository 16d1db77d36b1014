package pamauth

import (
	"context"
	"errors"
	"net/netip"
	"time"
)

// Gate lets at most n conversations with a password through at once, and n account checks beside them. One that the context's end finds
// waiting gets ErrBusy; so does, at once, one that could only wait in vain.
//
// A password check costs a core and 16 MiB for a while (yescrypt): more at once than there are cores is slower and larger for everyone.
// An account check costs a few milliseconds and no such memory. It has seats of its own, because whoever has a refresh token
// should not wait behind a storm of passwords.
//
// Those who wait take turns by address, so that one address with a thousand logins is served its share and not first. An IPv6 address counts
// as its /48 network, since a customer may have that much.
//
// A conversation that has begun is held to its end or its deadline, also when its client has gone: else whoever hangs up in time would
// guess passwords that nobody counts.
//
// observer is told of the waiting; nil = nobody is.
func Gate(n int, next Conversation, observer Observer) Conversation {
	n = max(n, 1)
	return &gate{passwords: newHall(n), accounts: newHall(n), next: next, observer: orUnobserved(observer)}
}

type gate struct {
	passwords, accounts *hall
	next                Conversation
	observer            Observer
}

func (g *gate) Hold(ctx context.Context, l Login) (Account, error) {
	h := g.passwords
	if l.AccountOnly {
		h = g.accounts
	}
	came := time.Now()
	g.observer.Queued()
	err := h.enter(ctx, origin(l.Remote))
	g.observer.Dequeued(time.Since(came))
	if err != nil {
		return Account{}, err
	}
	began := time.Now()
	defer func() { h.leave(time.Since(began)) }()
	if l.Recheck != nil {
		if err := l.Recheck(); err != nil {
			return Account{}, err
		}
	}
	ctx, end := detach(ctx)
	defer end()
	account, err := g.next.Hold(ctx, l)
	// A conversation that got the last moments of a deadline and failed for want of time is not broken: it came too late to its turn.
	if errors.Is(err, context.DeadlineExceeded) && began.Sub(came) > time.Since(began) {
		return Account{}, h.busy(ctx, came)
	}
	return account, err
}

// detach keeps a context's deadline and nothing else that would end it.
func detach(ctx context.Context) (context.Context, context.CancelFunc) {
	free := context.WithoutCancel(ctx)
	if d, ok := ctx.Deadline(); ok {
		return context.WithDeadline(free, d)
	}
	return free, func() {}
}

// origin is whose turn a login takes. All that have no address are one.
func origin(remote string) netip.Prefix {
	address, err := netip.ParseAddr(remote)
	if err != nil {
		return netip.Prefix{}
	}
	address = address.Unmap().WithZone("")
	bits := address.BitLen()
	if address.Is6() {
		bits = 48
	}
	network, _ := address.Prefix(bits) // fails for a zone or too many bits
	return network
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
