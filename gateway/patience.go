package gateway

import (
	"errors"
	"os"
	"time"
)

// How long a recordConn waits for its web server. There is one deadline, that of
// the blocked read; every change of state sets it anew, and one in the past wakes the reader.

// freshTime is how long a connection that was accepted just before a shutdown
// may take to begin. Web servers write as soon as they are connected.
const freshTime = time.Second

// longAgo as a deadline means now.
var longAgo = time.Unix(1, 0)

// await returns when n bytes are buffered.
func (c *recordConn) await(n int) error {
	for {
		_, err := c.in.Peek(n)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		if err := c.expire(time.Now()); err != nil {
			return err
		}
	}
}

// chunks hands over the next n bytes as they come.
func (c *recordConn) chunks(n int, use func([]byte) error) error {
	for n > 0 {
		if err := c.await(1); err != nil {
			return err
		}
		p, _ := c.in.Peek(min(n, c.in.Buffered()))
		if err := use(p); err != nil {
			return err
		}
		n -= len(p)
		c.in.Discard(len(p))
	}
	return nil
}

// rearm sets the read deadline that the present state asks for, and lets others
// know whether the place of this connection is to be had.
func (c *recordConn) rearm() {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !c.fresh:
		c.closing = c.closing || c.server.stopping()
	case c.server.stopping():
		c.closing = true
		if soon := time.Now().Add(freshTime); soon.Before(c.idleBy) {
			c.idleBy = soon
		}
	}
	c.place.become(c.phase())
	c.Conn.SetReadDeadline(c.deadline())
}

// phase says whom the connection waits for: for us as soon as one request does. c.mu is held.
func (c *recordConn) phase() phase {
	next := waiting
	for _, e := range c.exchanges {
		switch {
		case e.ours():
			return working
		case e.answered && !e.written:
			next = answering
		}
	}
	return next
}

// deadline is the next moment at which something has taken too long; zero for
// never, which is so while only handlers are at work. c.mu is held.
func (c *recordConn) deadline() time.Time {
	if c.over() {
		return longAgo
	}
	var next time.Time
	sooner := func(t time.Time) {
		if next.IsZero() || t.Before(next) {
			next = t
		}
	}
	idle := true
	for _, e := range c.exchanges {
		if e.stage != received {
			sooner(e.due)
		}
		idle = idle && e.written
	}
	if idle {
		sooner(c.idleBy)
	}
	return next
}

// over reports that the connection is to be closed and nothing is under way.
// An unread body is: leaving before its end would cost the web server the answer.
func (c *recordConn) over() bool {
	if c.fresh || !c.closing {
		return false
	}
	for _, e := range c.exchanges {
		if !e.written || e.stage != received {
			return false
		}
	}
	return true
}

// expire deals with what has taken too long. An error ends the connection: there
// is no way to answer a request whose parameters are torn.
func (c *recordConn) expire(now time.Time) error {
	for _, e := range c.overdue(now) {
		if e.stage == inParams {
			return errSlowParams
		}
		e.body.finish(errSlowBody) // the handler's to answer
		c.mu.Lock()
		c.receivedAll(e)
		c.closing = true
		c.mu.Unlock()
	}
	c.rearm()
	c.mu.Lock()
	defer c.mu.Unlock()
	if d := c.deadline(); !d.IsZero() && !d.After(now) {
		return errOver
	}
	return nil
}

func (c *recordConn) overdue(now time.Time) []*exchange {
	c.mu.Lock()
	defer c.mu.Unlock()
	var late []*exchange
	for _, e := range c.exchanges {
		if e.stage != received && !e.due.After(now) {
			late = append(late, e)
		}
	}
	return late
}
