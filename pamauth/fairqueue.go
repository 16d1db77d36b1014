package pamauth

import (
	"container/list"
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"
)

const (
	// maxQueued is how many logins may wait in one fairQueue. Each is an open request with its
	// buffers. Of a thousand password checks at 50 ms, the last ends after twelve seconds on four
	// cores. One address may have half of them, which is less than any front end's connections.
	maxQueued = 1024
	// rejectFactor: a login is rejected at once when the estimated wait is this many times the time
	// that it has left. The estimate is rough.
	rejectFactor = 2
	// meanWindow is over how many conversations their mean duration is taken. After an outage, in
	// which each took as long as it was allowed, it forgets that in a fraction of a second.
	meanWindow = 4
)

// fairQueue gives out a number of slots. Logins wait in one queue for each network, and the queues
// are served in turn.
type fairQueue struct {
	mu         sync.Mutex
	slots      int
	inUse      int
	waiting    int
	queues     map[netip.Prefix]*networkQueue
	roundRobin list.List     // of the queues, which are never empty
	mean       time.Duration // that a slot is in use
}

// networkQueue holds the logins that wait from one network, in the order of arrival.
type networkQueue struct {
	network netip.Prefix
	waiters list.List     // of chan struct{}, closed when it has a slot
	element *list.Element // in fairQueue.roundRobin
}

func newFairQueue(slots int) *fairQueue {
	return &fairQueue{slots: slots, queues: map[netip.Prefix]*networkQueue{}}
}

// acquire waits for a slot, which must be given back with release.
func (f *fairQueue) acquire(ctx context.Context, network netip.Prefix) error {
	queued := time.Now()
	if ctx.Err() != nil {
		return f.busy(ctx, queued)
	}
	f.mu.Lock()
	if f.inUse < f.slots {
		f.inUse++
		f.mu.Unlock()
		return nil
	}
	if err := f.checkWait(ctx, network); err != nil {
		f.mu.Unlock()
		return err
	}
	q, waiter := f.enqueue(network)
	f.mu.Unlock()
	select {
	case <-waiter.Value.(chan struct{}):
	case <-ctx.Done():
	}
	if ctx.Err() == nil {
		return nil
	}
	f.cancel(q, waiter)
	return f.busy(ctx, queued)
}

// checkWait rejects a login that would wait for nothing. A network may have as many logins waiting
// as there are free places: alone it gets half of them, and there is one for each new network.
func (f *fairQueue) checkWait(ctx context.Context, network netip.Prefix) error {
	same := 0
	if q := f.queues[network]; q != nil {
		same = q.waiters.Len()
	}
	if same >= maxQueued-f.waiting {
		return fmt.Errorf("%w: %d logins are waiting, %d of them from the same address", ErrBusy, f.waiting, same)
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		return nil
	}
	ahead := f.roundRobin.Len() // at least one of each network,
	if same > 0 {
		ahead += same - 1 // and all of its own
	}
	wait := f.mean * time.Duration(ahead) / time.Duration(f.slots)
	if left := time.Until(deadline); wait > rejectFactor*left {
		return fmt.Errorf("%w: %d logins are ahead and take %s each, but only %s is left",
			ErrBusy, ahead, f.mean.Round(time.Millisecond), left.Round(time.Millisecond))
	}
	return nil
}

func (f *fairQueue) enqueue(network netip.Prefix) (*networkQueue, *list.Element) {
	q := f.queues[network]
	if q == nil {
		q = &networkQueue{network: network}
		q.element = f.roundRobin.PushBack(q)
		f.queues[network] = q
	}
	f.waiting++
	return q, q.waiters.PushBack(make(chan struct{}))
}

// cancel removes a waiter. A slot that it got in the last moment goes to the next one.
func (f *fairQueue) cancel(q *networkQueue, waiter *list.Element) {
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-waiter.Value.(chan struct{}):
		f.handOff()
	default:
		f.remove(q, waiter)
	}
}

// release gives back a slot. If a conversation ran in it, its duration counts for the mean.
func (f *fairQueue) release(took time.Duration, ran bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if ran {
		f.mean += (took - f.mean) / meanWindow
	}
	f.handOff()
}

// resize gives new slots to waiters at once.
func (f *fairQueue) resize(slots int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.slots = slots
	for f.inUse < f.slots && f.waiting > 0 {
		f.inUse++
		f.handOff()
	}
}

// handOff gives a slot in use to the next waiter, if any and if there still is such a slot.
func (f *fairQueue) handOff() {
	first := f.roundRobin.Front()
	if first == nil || f.inUse > f.slots {
		f.inUse--
		return
	}
	q := first.Value.(*networkQueue)
	f.roundRobin.MoveToBack(first)
	next := q.waiters.Front()
	f.remove(q, next)
	close(next.Value.(chan struct{}))
}

func (f *fairQueue) remove(q *networkQueue, waiter *list.Element) {
	f.waiting--
	q.waiters.Remove(waiter)
	if q.waiters.Len() == 0 {
		f.roundRobin.Remove(q.element)
		delete(f.queues, q.network)
	}
}

// busy is the error of a login whose context ended before it had an answer.
func (f *fairQueue) busy(ctx context.Context, queued time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return fmt.Errorf("%w: waited %s, %d of %d slots in use: %w",
		ErrBusy, time.Since(queued).Round(time.Millisecond), f.inUse, f.slots, context.Cause(ctx))
}
