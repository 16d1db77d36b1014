package gateway

import (
	"context"
	"time"
)

// exchange is one request and its answer.
type exchange struct {
	id       uint16
	keep     bool // connection
	stage    stage
	due      time.Time // when the stage must be over
	params   []byte
	no       *refusal // instead of calling the handler
	visit    *visit
	body     *body
	ctx      context.Context
	cancel   context.CancelFunc
	answered bool // the answer is about to be written: the id is free again
	written  bool // it was
}

// ours reports that e waits for us, and not for its web server. The mu of its connection is held.
func (e *exchange) ours() bool {
	return !e.answered && (e.stage == received || e.stage == inBody && e.body.ended())
}

type stage int

const (
	inParams stage = iota
	inBody
	received
)

// start lets the handler begin; the body is yet to come.
func (c *recordConn) start(e *exchange) {
	length := int64(-1)
	if e.no == nil {
		length = e.visit.length
	}
	e.body = newBody(length)
	e.ctx, e.cancel = context.WithTimeout(c.server.base, requestTime)
	c.mu.Lock()
	e.stage, e.due = inBody, time.Now().Add(bodyTime)
	c.mu.Unlock()
	c.rearm()
	c.handlers.Add(1)
	go c.handle(e)
}

func (c *recordConn) handle(e *exchange) {
	defer c.handlers.Done()
	a := c.answer(e)
	e.cancel()
	e.body.Close()
	c.send(e, a.fastCGI(e.id))
}

func (c *recordConn) answer(e *exchange) *answer {
	if e.no != nil {
		return refuse(e.no, c.server.o.Log)
	}
	r, err := e.visit.request(e.ctx, e.body)
	if err != nil {
		return refuse(badRequest("request makes no sense"), c.server.o.Log)
	}
	return hold(c.server.handler, r, c.server.o.Log)
}

// send frees the id before the answer leaves, since the web server may use it again
// at once, and lets the connection end after it has left.
func (c *recordConn) send(e *exchange, records []byte) {
	c.mu.Lock()
	e.answered = true
	c.mu.Unlock()
	c.rearm()
	if err := c.write(records); err == nil {
		c.settle(e)
	}
}

func (c *recordConn) settle(e *exchange) {
	c.mu.Lock()
	e.written = true
	c.forget(e)
	c.closing = c.closing || !e.keep
	c.idleBy = time.Now().Add(idleTime)
	c.mu.Unlock()
	c.rearm()
}

// receivedAll: nothing more of e is expected. c.mu is held; e.stage changes only
// here and in start, both of which the reading goroutine calls.
func (c *recordConn) receivedAll(e *exchange) {
	e.stage = received
	c.forget(e)
}

// forget drops e once both directions are through. c.mu is held.
func (c *recordConn) forget(e *exchange) {
	if e.written && e.stage == received && c.exchanges[e.id] == e {
		delete(c.exchanges, e.id)
	}
}

// greet notes that somebody speaks FastCGI, and reports whether a request has
// this id and how many are under way.
func (c *recordConn) greet(id uint16) (inUse bool, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fresh = false
	e := c.exchanges[id]
	return e != nil && !e.answered, c.unanswered()
}

// unanswered counts the requests under way. c.mu is held.
func (c *recordConn) unanswered() int {
	n := 0
	for _, e := range c.exchanges {
		if !e.answered {
			n++
		}
	}
	return n
}
