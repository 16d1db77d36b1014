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
type connLimiter struct {
	net.Listener
	max    int
	log    *slog.Logger
	change chan struct{} // there may be a place now
	closed chan struct{}

	warned time.Time

	mu       sync.Mutex
	conns    list.List    // of *place, by the time they became what they are
	evicting *trackedConn // was told to go, and has not noticed yet
}

const (
	// takingTime is what a peer gets to take an answer while others have no place. Answers fit
	// into the socket's buffer; only who has left many there without reading needs any time at all.
	writeStallTimeout = time.Second

	// crowdedEvery is how often the log says that places are scarce.
	warnInterval = time.Minute

	minAcceptDelay = 5 * time.Millisecond
	maxAcceptDelay = time.Second
)

func newConnLimiter(l net.Listener, n int, log *slog.Logger) *connLimiter {
	return &connLimiter{Listener: l, max: n, log: log, change: make(chan struct{}, 1), closed: make(chan struct{})}
}

// Accept returns a *place. It tries again after an error that passes; when files are scarce, a
// connection has to go.
func (p *connLimiter) Accept() (net.Conn, error) {
	for pause := minAcceptDelay; ; pause = min(2*pause, maxAcceptDelay) {
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
func (p *connLimiter) Close() error {
	close(p.closed)
	return p.Listener.Close()
}

// admit finds a place for nc, however long it takes.
func (p *connLimiter) admit(nc net.Conn) (net.Conn, error) {
	c := &trackedConn{Conn: nc, connLimiter: p}
	for !p.enter(c) {
		p.warn()
		select {
		case <-p.change:
		case <-time.After(writeStallTimeout): // nothing tells when somebody has been stuck for too long
		case <-p.closed:
			nc.Close()
			return nil, net.ErrClosed
		}
	}
	return c, nil
}

// enter gives c a place, or tells another connection to go.
func (p *connLimiter) enter(c *trackedConn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conns.Len() >= p.max {
		p.evictOne()
		return false
	}
	c.elem = p.conns.PushBack(c)
	return true
}

func (p *connLimiter) evict() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.evictOne()
}

// expel tells one connection to go, if any has to. p.mu is held.
func (p *connLimiter) evictOne() {
	if p.evicting != nil {
		return
	}
	switch evictionCandidate := p.evictionCandidate(time.Now()); {
	case evictionCandidate == nil:
	case evictionCandidate.isIdle():
		p.evicting = evictionCandidate
		evictionCandidate.Conn.SetReadDeadline(pastDeadline) // not Close: its Read may just have got something
	default:
		p.remove(evictionCandidate)
		go evictionCandidate.Conn.Close() // waits for its Write to return
	}
}

// victim is who has to go first. p.mu is held.
func (p *connLimiter) evictionCandidate(now time.Time) *trackedConn {
	for elem := p.conns.Front(); elem != nil; elem = elem.Next() {
		c := elem.Value.(*trackedConn)
		if c.connState == stateClosing || c.isWriteStalled(now) || c.isIdle() && !hasUnread(c.Conn) {
			return c
		}
	}
	return nil
}

// remove gives up the place of c. p.mu is held.
func (p *connLimiter) remove(c *trackedConn) {
	if c.elem != nil {
		p.conns.Remove(c.elem)
		c.elem = nil
	}
	if p.evicting == c {
		p.evicting = nil
	}
	p.wake()
}

// wake lets whoever waits for a place look again. p.mu is held.
func (p *connLimiter) wake() {
	select {
	case p.change <- struct{}{}:
	default:
	}
}

// warn tells the operator now and then. Only Accept calls it.
func (p *connLimiter) warn() {
	if now := time.Now(); now.Sub(p.warned) >= warnInterval {
		p.warned = now
		p.log.Warn("all connections that may be open are: new ones take the places of silent ones, or wait", "connections", p.max)
	}
}

// place is a connection that has one.
type trackedConn struct {
	net.Conn
	connLimiter *connLimiter
	answer      responseCoalescer // of the goroutine that writes

	// Of places.mu:
	elem      *list.Element // nil = given up
	connState connState
	reading   bool      // a Read is under way
	writing   time.Time // since when a Write is under way; zero = none
	deadline  time.Time // of Read, as the owner set it
}

// phase says whom a connection waits for.
type connState int

const (
	stateReading  connState = iota // for its peer: the first byte, the next request, the rest of one
	stateHandling                  // for us
	stateWriting                   // for its peer, to take the answer
	stateClosing                   // for nobody: everything is said
)

// become says that c waits for somebody else from now on.
func (c *trackedConn) setState(next connState) {
	c.connLimiter.mu.Lock()
	defer c.connLimiter.mu.Unlock()
	if c.elem == nil || c.connState == next {
		return
	}
	c.connState = next
	c.connLimiter.conns.MoveToBack(c.elem)
	c.connLimiter.wake()
}

// silent: it waits for bytes. Whether there are some is another question: the accepting goroutine may be far ahead
// of those that read; in a rush most have not begun to, or have not been woken yet. places.mu is held.
func (c *trackedConn) isIdle() bool { return c.connState == stateReading && c.reading }

// stuck: its peer takes nothing. places.mu is held.
func (c *trackedConn) isWriteStalled(now time.Time) bool {
	return c.connState != stateHandling && !c.writing.IsZero() && now.Sub(c.writing) >= writeStallTimeout
}

func (c *trackedConn) Read(b []byte) (int, error) {
	c.beginRead()
	n, err := c.Conn.Read(b)
	if c.endRead(n) {
		return 0, &net.OpError{Op: "read", Err: net.ErrClosed}
	}
	return n, err
}

func (c *trackedConn) Write(b []byte) (int, error) {
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

func (c *trackedConn) noteWrite(since time.Time) {
	c.connLimiter.mu.Lock()
	defer c.connLimiter.mu.Unlock()
	c.writing = since
}

func (c *trackedConn) beginRead() {
	c.connLimiter.mu.Lock()
	defer c.connLimiter.mu.Unlock()
	c.reading = true
	c.connLimiter.wake()
}

// endRead reports whether c has to go. Whoever was told to and has something to say by now may stay.
func (c *trackedConn) endRead(n int) (gone bool) {
	p := c.connLimiter
	p.mu.Lock()
	defer p.mu.Unlock()
	c.reading = false
	switch {
	case p.evicting != c:
	case n > 0:
		p.evicting = nil
		c.Conn.SetReadDeadline(c.deadline)
		p.wake()
	default:
		p.remove(c)
	}
	return c.elem == nil
}

func (c *trackedConn) SetReadDeadline(t time.Time) error {
	c.connLimiter.mu.Lock()
	defer c.connLimiter.mu.Unlock()
	c.deadline = t
	if c.connLimiter.evicting == c {
		return nil
	}
	return c.Conn.SetReadDeadline(t)
}

func (c *trackedConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *trackedConn) Close() error {
	err := c.Conn.Close()
	c.connLimiter.mu.Lock()
	defer c.connLimiter.mu.Unlock()
	c.connLimiter.remove(c)
	return err
}

// CloseWrite is how net/http says goodbye when it has not read everything. It
// closes half a second later.
func (c *trackedConn) CloseWrite() error {
	c.setState(stateClosing)
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
