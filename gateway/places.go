package gateway

import (
	"container/list"
	"errors"
	"log/slog"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"
)

// places is a listener whose connections have so many places. When all are taken and one
// more comes, the connection that has waited longest for its peer has to go: it is silent, or kept for a next
// request, or its peer dribbles headers or a body, or does not take the answer. So whoever opens connections only to hold
// them takes nothing from those who have something to ask. A request that waits for us is never cut off; if all
// do, the newcomer waits, and the rest in the backlog.
//
// A body gets no more patience than headers: with some seconds for each, a few hundred dribbled bodies a second would
// hold all places. As it is, an honest peer has until as many newcomers have come as there are places.
//
// There is no bound for each peer: behind a proxy they all have one address.
type places struct {
	net.Listener
	max    int
	log    *slog.Logger
	change chan struct{} // there may be a place now
	closed chan struct{}

	warned time.Time

	mu      sync.Mutex
	taken   list.List // of *place, by the time they became what they are
	leaving *place    // was told to go, and has not noticed yet
}

const (
	// takingTime is what a peer gets to take an answer while others have no place. Answers fit
	// into the socket's buffer; only who has left many there without reading needs any time at all.
	takingTime = time.Second

	// crowdedEvery is how often the log says that places are scarce.
	crowdedEvery = time.Minute

	minAcceptPause = 5 * time.Millisecond
	maxAcceptPause = time.Second
)

func newPlaces(l net.Listener, n int, log *slog.Logger) *places {
	return &places{Listener: l, max: n, log: log, change: make(chan struct{}, 1), closed: make(chan struct{})}
}

// Accept returns a *place. It tries again after an error that passes; when files are scarce, a
// connection has to go.
func (p *places) Accept() (net.Conn, error) {
	for pause := minAcceptPause; ; pause = min(2*pause, maxAcceptPause) {
		nc, err := p.Listener.Accept()
		if err == nil {
			return p.admit(nc)
		}
		if !isTemporary(err) {
			return nil, err
		}
		p.evict()
		p.log.Error("cannot accept a connection, trying again", "error", err)
		select {
		case <-time.After(pause):
		case <-p.closed:
			return nil, net.ErrClosed
		}
	}
}

// isTemporary reports errors of accept(2) that pass when files or memory are freed. (The net package
// handles ECONNABORTED.)
func isTemporary(err error) bool {
	return slices.ContainsFunc([]syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM},
		func(e syscall.Errno) bool { return errors.Is(err, e) })
}

// Close is called once: net/http and ServeFastCGI see to that.
func (p *places) Close() error {
	close(p.closed)
	return p.Listener.Close()
}

// admit finds a place for nc, however long it takes.
func (p *places) admit(nc net.Conn) (net.Conn, error) {
	c := &place{Conn: nc, places: p}
	for !p.enter(c) {
		p.warn()
		select {
		case <-p.change:
		case <-time.After(takingTime): // nothing tells when somebody has been stuck for too long
		case <-p.closed:
			nc.Close()
			return nil, net.ErrClosed
		}
	}
	return c, nil
}

// enter gives c a place, or tells another connection to go.
func (p *places) enter(c *place) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.taken.Len() >= p.max {
		p.expel()
		return false
	}
	c.seat = p.taken.PushBack(c)
	return true
}

func (p *places) evict() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expel()
}

// expel tells one connection to go, if any has to. p.mu is held.
func (p *places) expel() {
	if p.leaving != nil {
		return
	}
	switch victim := p.victim(time.Now()); {
	case victim == nil:
	case victim.silent():
		p.leaving = victim
		victim.Conn.SetReadDeadline(pastDeadline) // not Close: its Read may just have got something
	default:
		p.remove(victim)
		go victim.Conn.Close() // waits for its Write to return
	}
}

// victim is who has to go first. p.mu is held.
func (p *places) victim(now time.Time) *place {
	for seat := p.taken.Front(); seat != nil; seat = seat.Next() {
		c := seat.Value.(*place)
		if c.phase == parting || c.stuck(now) || c.silent() && !hasUnread(c.Conn) {
			return c
		}
	}
	return nil
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
	answer whole // of the goroutine that writes

	// Of places.mu:
	seat     *list.Element // nil = given up
	phase    phase
	reading  bool      // a Read is under way
	writing  time.Time // since when a Write is under way; zero = none
	deadline time.Time // of Read, as the owner set it
}

// phase says whom a connection waits for.
type phase int

const (
	waiting   phase = iota // for its peer: the first byte, the next request, the rest of one
	working                // for us
	answering              // for its peer, to take the answer
	parting                // for nobody: everything is said
)

// become says that c waits for somebody else from now on.
func (c *place) become(next phase) {
	c.places.mu.Lock()
	defer c.places.mu.Unlock()
	if c.seat == nil || c.phase == next {
		return
	}
	c.phase = next
	c.places.taken.MoveToBack(c.seat)
	c.places.wake()
}

// silent: it waits for bytes. Whether there are some is another question: the accepting goroutine may be far ahead
// of those that read; in a rush most have not begun to, or have not been woken yet. places.mu is held.
func (c *place) silent() bool { return c.phase == waiting && c.reading }

// stuck: its peer takes nothing. places.mu is held.
func (c *place) stuck(now time.Time) bool {
	return c.phase != working && !c.writing.IsZero() && now.Sub(c.writing) >= takingTime
}

func (c *place) Read(b []byte) (int, error) {
	c.beginRead()
	n, err := c.Conn.Read(b)
	if c.endRead(n) {
		return 0, &net.OpError{Op: "read", Err: net.ErrClosed}
	}
	return n, err
}

func (c *place) Write(b []byte) (int, error) {
	now := c.answer.add(b)
	if len(now) == 0 {
		return len(b), nil
	}
	c.noteWrite(time.Now())
	defer c.noteWrite(time.Time{})
	if _, err := c.Conn.Write(now); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (c *place) noteWrite(since time.Time) {
	c.places.mu.Lock()
	defer c.places.mu.Unlock()
	c.writing = since
}

func (c *place) beginRead() {
	c.places.mu.Lock()
	defer c.places.mu.Unlock()
	c.reading = true
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
