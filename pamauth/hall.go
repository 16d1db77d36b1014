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
	// maxWaiting is how many may wait in one hall. Each is a request held open, with its buffers; and of a thousand password checks at 50 ms the
	// last is done after twelve seconds on four cores. One address may have half of them, which is fewer than the connections of any door.
	maxWaiting = 1024
	// hopeless is how many times as long as there is time the waiting must look, before nobody waits that long. The estimate is rough.
	hopeless = 2
	// window is over about how many conversations their mean duration is taken: so few that after an outage, in which each took as long as it
	// was allowed to, a fraction of a second of answers is enough to know better.
	window = 4
)

// hall has seats, and queues before them that take turns: the queue that got a seat goes to the back.
type hall struct {
	seats int

	mu      sync.Mutex
	taken   int
	waiting int
	queues  map[netip.Prefix]*queue
	turns   list.List     // of the queues, which are never empty
	mean    time.Duration // that a seat was taken
}

// queue holds those who wait at one address, in the order in which they came.
type queue struct {
	origin  netip.Prefix
	waiters list.List     // of chan struct{}, closed when it has a seat
	turn    *list.Element // in hall.turns
}

func newHall(seats int) *hall {
	return &hall{seats: seats, queues: map[netip.Prefix]*queue{}}
}

// enter waits for a seat, which must be given back with leave.
func (h *hall) enter(ctx context.Context, from netip.Prefix) error {
	came := time.Now()
	if ctx.Err() != nil {
		return h.busy(ctx, came)
	}
	h.mu.Lock()
	if h.taken < h.seats {
		h.taken++
		h.mu.Unlock()
		return nil
	}
	if err := h.admit(ctx, from); err != nil {
		h.mu.Unlock()
		return err
	}
	q, place := h.line(from)
	h.mu.Unlock()
	select {
	case <-place.Value.(chan struct{}):
	case <-ctx.Done():
	}
	if ctx.Err() == nil {
		return nil
	}
	h.quit(q, place)
	return h.busy(ctx, came)
}

// admit refuses whom waiting would not help. An address may have as many waiting as there are places left: so one alone can have half of
// them, and there is always one for an address that comes anew.
func (h *hall) admit(ctx context.Context, from netip.Prefix) error {
	mine := 0
	if q := h.queues[from]; q != nil {
		mine = q.waiters.Len()
	}
	if mine >= maxWaiting-h.waiting {
		return fmt.Errorf("%w: %d wait already, %d of them from the same address", ErrBusy, h.waiting, mine)
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		return nil
	}
	before := h.turns.Len() // at least one from each address,
	if mine > 0 {
		before += mine - 1 // and all of the same
	}
	wait := h.mean * time.Duration(before) / time.Duration(h.seats)
	if wait > hopeless*time.Until(deadline) {
		return fmt.Errorf("%w: %d come before, for which %s is not enough when each takes %s",
			ErrBusy, before, time.Until(deadline).Round(time.Millisecond), h.mean.Round(time.Millisecond))
	}
	return nil
}

// line puts one more at the end of the queue of an address.
func (h *hall) line(from netip.Prefix) (*queue, *list.Element) {
	q := h.queues[from]
	if q == nil {
		q = &queue{origin: from}
		q.turn = h.turns.PushBack(q)
		h.queues[from] = q
	}
	h.waiting++
	return q, q.waiters.PushBack(make(chan struct{}))
}

// quit takes one out that waits no more. A seat that it got in the last moment goes to the next.
func (h *hall) quit(q *queue, place *list.Element) {
	h.mu.Lock()
	defer h.mu.Unlock()
	select {
	case <-place.Value.(chan struct{}):
		h.pass()
	default:
		h.remove(q, place)
	}
}

// leave gives back a seat that was taken for so long.
func (h *hall) leave(took time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mean += (took - h.mean) / window
	h.pass()
}

// pass gives a seat to whose turn it is.
func (h *hall) pass() {
	first := h.turns.Front()
	if first == nil {
		h.taken--
		return
	}
	q := first.Value.(*queue)
	h.turns.MoveToBack(first)
	next := q.waiters.Front()
	h.remove(q, next)
	close(next.Value.(chan struct{}))
}

func (h *hall) remove(q *queue, place *list.Element) {
	h.waiting--
	q.waiters.Remove(place)
	if q.waiters.Len() == 0 {
		h.turns.Remove(q.turn)
		delete(h.queues, q.origin)
	}
}

// busy is said to one whose context ended first.
func (h *hall) busy(ctx context.Context, came time.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return fmt.Errorf("%w: waited %s with %d of %d conversations under way: %w",
		ErrBusy, time.Since(came).Round(time.Millisecond), h.taken, h.seats, context.Cause(ctx))
}
