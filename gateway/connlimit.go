package gateway

import (
	"container/list"
	"errors"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// writeStallTimeout is how long a peer may take nothing of a response while the limit is
	// reached. Responses fit into the socket's buffer, so only a peer that has left many unread
	// needs any time.
	writeStallTimeout = time.Second

	// warnInterval is how often the log says that the limit is reached.
	warnInterval = time.Minute

	minAcceptDelay = 5 * time.Millisecond
	maxAcceptDelay = time.Second
)

// pastDeadline as a read deadline ends a blocked Read at once.
var pastDeadline = time.Unix(1, 0)

// connLimiter is a listener with a limit on open connections. At the limit, a new connection evicts
// the one that has waited longest for its peer: for a request, for the rest of one, or to have a
// response read. So connections that are only held open do not keep others out.
//
// A connection whose request is being handled is never evicted. While there is no other, the new
// one waits, and later ones wait in the kernel's backlog.
//
// Slow bodies are evicted like slow headers. Otherwise a few hundred slow bodies a second would
// hold all connections. A peer has until as many others have connected as the limit allows.
//
// There is no limit for each peer: behind a proxy all clients have one address.
//
// A connection has a mutex of its own. For one that all requests take several times, a thousand of
// them would queue.
type connLimiter struct {
	net.Listener
	max     int
	log     *slog.Logger
	freed   chan struct{} // a connection has ended, or may be evicted now
	closed  chan struct{}
	warned  time.Time     // of the accepting goroutine
	changes atomic.Uint64 // of states, counted

	mu       sync.Mutex   // locked before those of connections
	conns    list.List    // of *trackedConn
	evicting *trackedConn // told to end, and has not noticed yet
}

func newConnLimiter(l net.Listener, limit int, log *slog.Logger) *connLimiter {
	return &connLimiter{
		Listener: l,
		max:      limit,
		log:      log,
		freed:    make(chan struct{}, 1),
		closed:   make(chan struct{}),
	}
}

// Accept returns a *trackedConn. After a temporary error it evicts a connection and tries again.
func (l *connLimiter) Accept() (net.Conn, error) {
	for delay := minAcceptDelay; ; delay = min(2*delay, maxAcceptDelay) {
		nc, err := l.Listener.Accept()
		if err == nil {
			return l.admit(nc)
		}
		if !isTemporary(err) {
			return nil, err
		}
		l.evict()
		l.log.Error("cannot accept a connection, trying again", "error", err)
		select {
		case <-time.After(delay):
		case <-l.closed:
			return nil, net.ErrClosed
		}
	}
}

// isTemporary reports errors of accept(2) that pass when files or memory are freed. The net package
// handles ECONNABORTED.
func isTemporary(err error) bool {
	temporary := []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM}
	return slices.ContainsFunc(temporary, func(e syscall.Errno) bool { return errors.Is(err, e) })
}

// Close must be called once only; net/http and ServeFastCGI do.
func (l *connLimiter) Close() error {
	err := l.Listener.Close()
	close(l.closed)
	return err
}

// admit waits until nc is within the limit.
func (l *connLimiter) admit(nc net.Conn) (net.Conn, error) {
	c := &trackedConn{Conn: nc, limiter: l}
	for !l.add(c) {
		l.warn()
		select {
		case <-l.freed:
		case <-time.After(writeStallTimeout): // nothing else reports a write that stalls
		case <-l.closed:
			nc.Close()
			return nil, net.ErrClosed
		}
	}
	return c, nil
}

// add counts c, or evicts another connection and reports false.
func (l *connLimiter) add(c *trackedConn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conns.Len() >= l.max {
		l.evictOne()
		return false
	}
	c.elem, c.since = l.conns.PushBack(c), l.changes.Add(1)
	return true
}

func (l *connLimiter) evict() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.evictOne()
}

// evictOne tells one connection to end, if any may. l.mu is held.
func (l *connLimiter) evictOne() {
	if l.evicting != nil {
		return
	}
	c, stuck := l.evictionCandidate(time.Now())
	switch {
	case c == nil:
	case c.tellToEnd():
		l.evicting = c
	case stuck:
		l.remove(c)
		go c.Conn.Close() // waits for its Write to return
	}
}

// evictionCandidate is the connection to evict next, or nil: of those that may be evicted, the one
// that has been in its state for longest. stuck reports that it is about to end or takes nothing.
// l.mu is held.
func (l *connLimiter) evictionCandidate(now time.Time) (longest *trackedConn, stuck bool) {
	var first uint64
	for elem := l.conns.Front(); elem != nil; elem = elem.Next() {
		c := elem.Value.(*trackedConn)
		since, isIdle, isStuck := c.waits(now)
		isLonger := longest == nil || since < first
		if isLonger && (isStuck || isIdle && !hasUnread(c.Conn)) {
			longest, first, stuck = c, since, isStuck
		}
	}
	return longest, stuck
}

// remove no longer counts c. l.mu is held.
func (l *connLimiter) remove(c *trackedConn) {
	if c.elem != nil {
		l.conns.Remove(c.elem)
		c.elem = nil
		c.setRemoved()
	}
	if l.evicting == c {
		l.evicting = nil
	}
	l.wake()
}

// noticed hears that c, which was evicted, has ended its Read. It stays counted if it has received
// something.
func (l *connLimiter) noticed(c *trackedConn, stays bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !stays {
		l.remove(c)
	}
	if l.evicting == c {
		l.evicting = nil
	}
	l.wake()
}

// wake lets admit try again.
func (l *connLimiter) wake() {
	select {
	case l.freed <- struct{}{}:
	default:
	}
}

// warn tells the operator, at most once in warnInterval.
func (l *connLimiter) warn() {
	if now := time.Now(); now.Sub(l.warned) >= warnInterval {
		l.warned = now
		l.log.Warn("connection limit reached; evicting idle connections", "connections", l.max)
	}
}

// trackedConn is a connection that counts for a connLimiter. Its owner reports what it waits for
// with setState.
type trackedConn struct {
	net.Conn
	limiter  *connLimiter
	response responseCoalescer // of the writing goroutine

	elem *list.Element // nil = no longer counted; guarded by limiter.mu

	mu           sync.Mutex
	removed      bool // no longer counted
	state        connState
	since        uint64    // number of the change to state, of those of all connections
	inRead       bool      // a Read is blocked, or about to be
	evicted      bool      // told to end, and has not noticed yet
	writeStart   time.Time // of the Write that is blocked; zero = none
	readDeadline time.Time // as the owner set it
}

// connState says what a connection waits for.
type connState int

const (
	stateReading  connState = iota // its peer to send: the first byte, the next request, the rest of one
	stateHandling                  // the handler
	stateWriting                   // its peer to read the response
	stateClosing                   // nothing more
)

func (c *trackedConn) setState(next connState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.removed || c.state == next {
		return
	}
	c.state, c.since = next, c.limiter.changes.Add(1)
	c.limiter.wake()
}

func (c *trackedConn) setRemoved() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.removed = true
}

// waits reports since when c has been in its state, whether it is idle, and whether it is about to
// end or its peer takes nothing.
func (c *trackedConn) waits(now time.Time) (since uint64, idle, stuck bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.since, c.isIdle(), c.state == stateClosing || c.isWriteStalled(now)
}

// tellToEnd ends the Read of an idle connection. It reports false for others.
func (c *trackedConn) tellToEnd() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.isIdle() {
		return false
	}
	c.evicted = true
	c.Conn.SetReadDeadline(pastDeadline) // not Close: its Read may just have got a request
	return true
}

// isIdle reports that c waits for bytes. Some may have arrived already, see hasUnread: in a rush
// many connections have a request, and their goroutines have not been woken yet. c.mu is held.
func (c *trackedConn) isIdle() bool { return c.state == stateReading && c.inRead }

// isWriteStalled reports that the peer takes nothing. c.mu is held.
func (c *trackedConn) isWriteStalled(now time.Time) bool {
	return c.state != stateHandling && !c.writeStart.IsZero() && now.Sub(c.writeStart) >= writeStallTimeout
}

func (c *trackedConn) Read(b []byte) (int, error) {
	c.beginRead()
	n, err := c.Conn.Read(b)
	if c.endRead(n) {
		return 0, &net.OpError{Op: "read", Err: net.ErrClosed}
	}
	return n, err
}

func (c *trackedConn) beginRead() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inRead = true
	c.limiter.wake()
}

// endRead reports whether c has been evicted. One that has received something meanwhile stays.
func (c *trackedConn) endRead(n int) (evicted bool) {
	c.mu.Lock()
	removed, told := c.removed, c.evicted
	c.inRead, c.evicted = false, false
	if told && n > 0 {
		c.Conn.SetReadDeadline(c.readDeadline)
	}
	c.mu.Unlock()
	if told {
		c.limiter.noticed(c, n > 0)
	}
	return removed || told && n == 0
}

func (c *trackedConn) Write(b []byte) (int, error) {
	out := c.response.add(b)
	if len(out) == 0 {
		return len(b), nil
	}
	c.setWriteStart(time.Now())
	defer c.setWriteStart(time.Time{})
	if _, err := c.Conn.Write(out); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (c *trackedConn) setWriteStart(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writeStart = t
}

// SetReadDeadline keeps t for a connection that turns out not to be idle. net/http and fcgiConn do
// not call SetDeadline.
func (c *trackedConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.readDeadline = t
	if c.evicted {
		return nil
	}
	return c.Conn.SetReadDeadline(t)
}

func (c *trackedConn) Close() error {
	err := c.Conn.Close()
	c.limiter.mu.Lock()
	defer c.limiter.mu.Unlock()
	c.limiter.remove(c)
	return err
}

// CloseWrite is called by net/http when it has not read everything. It closes half a second later.
func (c *trackedConn) CloseWrite() error {
	c.setState(stateClosing)
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// hasUnread reports that nc has bytes that have not been read.
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
	raw.Control(func(fd uintptr) { // RawConn.Read would wait for the Read that is blocked
		n, _, _ = syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	})
	return n > 0
}
