package gateway

import (
	"container/list"
	"errors"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"
)

// places is a listener whose connections have so many places. When all are taken and one
// more comes, the connection that has waited longest for a request has to go: one that is silent, or kept for a
// next one, or still sending its headers. So whoever opens connections only to hold them takes
// nothing from those who have something to ask. Without such a one the newcomer waits, and the rest in the backlog.
//
// A request under way is never cut off for a newcomer while it waits for us. While it waits for its peer,
// for more of its body or to take the answer, it may for crowdedTime: else a body that
// dribbles held its place for bodyTime, and so many of them held all places.
//
// There is no bound for each peer: behind a proxy they all have one address.
type places struct {
	net.Listener
	max    int
	log    *slog.Logger
	change chan struct{} // there may be a place now; sent when wanted
	closed chan struct{}
	once   sync.Once

	warned time.Time

	mu      sync.Mutex
	taken   list.List // of *place, by since
	wanted  bool      // a connection waits for a place
	leaving *place    // was told to go, and has not noticed yet
}

const (
	// crowdedTime is what a request gets for its body, and again for its answer, while others have
	// no place. A form of 64 KiB takes 5 s at 100 kbit/s.
	crowdedTime = 5 * time.Second

	// crowdedEvery is how often the log says that places are scarce.
	crowdedEvery = time.Minute
)

func newPlaces(l net.Listener, n int, log *slog.Logger) *places {
	return &places{Listener: l, max: n, log: log, change: make(chan struct{}, 1), closed: make(chan struct{})}
}

// Accept returns a *place. When it is files that are scarce, it makes room, too: whoever
// calls Accept tries again after such an error.
func (p *places) Accept() (net.Conn, error) {
	nc, err := p.Listener.Accept()
	if err == nil {
		return p.admit(nc)
	}
	if outOfFiles(err) {
		p.evict()
	}
	return nil, err
}

func outOfFiles(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

func (p *places) Close() error {
	p.once.Do(func() { close(p.closed) })
	return p.Listener.Close()
}

// admit finds a place for nc, however long it takes.
func (p *places) admit(nc net.Conn) (net.Conn, error) {
	c := &place{Conn: nc, places: p}
	for {
		wait := p.enter(c)
		if wait == 0 {
			return c, nil
		}
		p.warn()
		select {
		case <-p.change:
		case <-time.After(wait):
		case <-p.closed:
			nc.Close()
			return nil, net.ErrClosed
		}
	}
}

// enter gives c a place, or says when to look again, should nothing change before.
func (p *places) enter(c *place) (wait time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.taken.Len() >= p.max {
		p.wanted = true
		return p.expel(time.Now())
	}
	p.wanted = false
	c.seat = p.taken.PushBack(c)
	return 0
}

func (p *places) evict() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expel(time.Now())
}

// expel tells one connection to go, or says how long none has to as things are. p.mu is held.
func (p *places) expel(now time.Time) (wait time.Duration) {
	if p.leaving != nil {
		return crowdedTime
	}
	victim, wait := p.victim(now)
	switch {
	case victim == nil:
	case victim.phase == waiting:
		p.leaving = victim
		victim.Conn.SetReadDeadline(longAgo) // not Close: its Read may just have got a request
	default:
		p.remove(victim)
		go victim.Conn.Close() // waits for its Read to return
	}
	return wait
}

// victim is who has to go first, or nobody within wait as things are. p.mu is held.
func (p *places) victim(now time.Time) (victim *place, wait time.Duration) {
	var slow *place
	for seat := p.taken.Front(); seat != nil; seat = seat.Next() {
		switch c := seat.Value.(*place); {
		case c.phase == parting, c.silent():
			return c, crowdedTime
		case slow == nil && c.stalled():
			slow = c
		}
	}
	if slow == nil {
		return nil, crowdedTime
	}
	if left := crowdedTime - now.Sub(slow.since); left > 0 {
		return nil, left
	}
	return slow, crowdedTime
}

// remove gives up the place of c. p.mu is held.
func (p *places) remove(c *place) {
	if c.seat != nil {
		p.taken.Remove(c.seat)
		c.seat = nil
	}
	if p.leaving == c {
		p.leaving = nil
	}
	p.wake()
}

// wake lets whoever waits for a place look again. p.mu is held.
func (p *places) wake() {
	if !p.wanted {
		return
	}
	select {
	case p.change <- struct{}{}:
	default:
	}
}

// warn tells the operator now and then. Only Accept calls it.
func (p *places) warn() {
	if now := time.Now(); now.Sub(p.warned) >= crowdedEvery {
		p.warned = now
		p.log.Warn("all connections that may be open are: new ones take the places of silent ones, or wait", "connections", p.max)
	}
}

// place is a connection that has one.
type place struct {
	net.Conn
	places *places

	// Of places.mu:
	seat     *list.Element // nil = given up
	phase    phase
	since    time.Time // of the phase
	reading  bool      // a Read is under way
	writing  bool      // a Write is
	deadline time.Time // of Read, as the owner set it
}

// phase says whom a connection waits for.
type phase int

const (
	waiting   phase = iota // for its peer: the first byte, the next request, the rest of the headers
	receiving              // for its peer: the rest of a body
	working                // for us
	answering              // for its peer, to take the answer
	parting                // for nobody: everything is said
)

func (c *place) become(next phase) {
	now := time.Now()
	c.places.mu.Lock()
	defer c.places.mu.Unlock()
	if c.seat == nil {
		return
	}
	c.phase, c.since = next, now
	c.places.taken.MoveToBack(c.seat)
	c.places.wake()
}

// silent: there is no request, and none to be read. The accepting goroutine may be far ahead of those
// that read: in a rush most have not begun to, or have not been woken yet. places.mu is held.
func (c *place) silent() bool { return c.phase == waiting && c.reading && !hasUnread(c.Conn) }

// stalled: a request is under way, and its peer holds it up. places.mu is held.
func (c *place) stalled() bool {
	return c.phase != working && (c.writing || c.reading && c.phase != waiting)
}

func (c *place) Read(b []byte) (int, error) {
	c.begin(&c.reading)
	n, err := c.Conn.Read(b)
	if c.endRead(n) {
		return 0, &net.OpError{Op: "read", Err: net.ErrClosed}
	}
	return n, err
}

func (c *place) Write(b []byte) (int, error) {
	c.begin(&c.writing)
	n, err := c.Conn.Write(b)
	c.places.mu.Lock()
	defer c.places.mu.Unlock()
	c.writing = false
	return n, err
}

func (c *place) begin(what *bool) {
	c.places.mu.Lock()
	defer c.places.mu.Unlock()
	*what = true
	c.places.wake()
}

// endRead reports whether c has to go. Whoever was told to and has something to say by now may stay.
func (c *place) endRead(n int) (gone bool) {
	p := c.places
	p.mu.Lock()
	defer p.mu.Unlock()
	c.reading = false
	switch {
	case p.leaving != c:
	case n > 0:
		p.leaving = nil
		c.Conn.SetReadDeadline(c.deadline)
		p.wake()
	default:
		p.remove(c)
	}
	return c.seat == nil
}

func (c *place) SetReadDeadline(t time.Time) error {
	c.places.mu.Lock()
	defer c.places.mu.Unlock()
	c.deadline = t
	if c.places.leaving == c {
		return nil
	}
	return c.Conn.SetReadDeadline(t)
}

func (c *place) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *place) Close() error {
	err := c.Conn.Close()
	c.places.mu.Lock()
	defer c.places.mu.Unlock()
	c.places.remove(c)
	return err
}

// CloseWrite is how net/http says goodbye when it has not read everything. It
// closes half a second later.
func (c *place) CloseWrite() error {
	c.become(parting)
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// hasUnread reports that nc has bytes which nobody has read yet: it does not wait for its
// peer, only its goroutine has not been woken yet. What cannot be asked has none.
func hasUnread(nc net.Conn) bool {
	s, ok := nc.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return false
	}
	n := 0
	raw.Control(func(fd uintptr) { // RawConn.Read would wait for the Read that is under way
		n, _, _ = syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	})
	return n > 0
}
