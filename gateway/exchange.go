package gateway

import (
	"context"
	"net/http"
	"net/http/fcgi"
	"strconv"
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
	answered bool // END_REQUEST is about to be written: the id is free again
	written  bool // it was
}

type stage int

const (
	inParams stage = iota
	inBody
	received
)

// numberParam carries the exchange's number through fcgi. No variable from
// outside has this name: only those that wantedHeader knows are passed on.
const numberParam = "GATEWAY_EXCHANGE"

// show gives the request to fcgi, which starts the handler.
func (c *recordConn) show(e *exchange) {
	length := int64(-1)
	params := map[string]string{"REQUEST_METHOD": http.MethodGet, "REQUEST_URI": "/", "SERVER_PROTOCOL": "HTTP/1.1"}
	if e.no == nil {
		length, params = e.visit.length, e.visit.params
	}
	e.body = newBody(length)
	e.ctx, e.cancel = context.WithTimeout(c.server.base, requestTime)

	c.mu.Lock()
	c.number++
	number := strconv.FormatUint(c.number, 10)
	c.shown[number] = e
	e.stage, e.due = inBody, time.Now().Add(bodyTime)
	c.mu.Unlock()
	c.rearm()

	params[numberParam] = number
	c.handlers.Add(1)
	c.pending = appendRecord(c.pending, typeBegin, e.id, []byte{0, roleResponder, flagKeepConn, 0, 0, 0, 0, 0})
	c.pending = appendStream(c.pending, typeParams, e.id, appendPairs(nil, params))
	c.pending = appendRecord(c.pending, typeStdin, e.id, nil)
}

// ServeHTTP is called by fcgi with what show made.
func (c *recordConn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer c.handlers.Done()
	e := c.take(fcgi.ProcessEnv(r)[numberParam])
	defer e.cancel()
	defer e.body.Close()
	if e.no != nil {
		refuse(e.no, c.server.o.Log).send(w)
		return
	}
	r = r.WithContext(e.ctx)
	e.visit.dress(r)
	r.Body = e.body
	hold(c.server.handler, r, c.server.o.Log).send(w)
}

func (c *recordConn) take(number string) *exchange {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.shown[number]
	delete(c.shown, number)
	return e
}

// Write is called by fcgi once for each record, whole (its writeRecord). The one
// that ends a request frees the id before it leaves, since the web server may use it again
// at once, and lets the connection end after it has left.
func (c *recordConn) Write(p []byte) (int, error) {
	e := c.ending(p)
	n, err := c.write(p)
	if err == nil && e != nil {
		c.settle(e)
	}
	return n, err
}

func (c *recordConn) ending(p []byte) *exchange {
	if len(p) < headerLen || p[1] != typeEnd {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.exchanges[parseHeader(p).id]
	if e != nil {
		e.answered = true
	}
	return e
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
// here and in show, both of which the reading goroutine calls.
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
