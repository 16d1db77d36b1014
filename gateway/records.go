package gateway

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// recordConn is a web server's connection. It calls the handler once the PARAMS of a request are
// complete and sane. net/http/fcgi is not used: it starts the handler on the first STDIN, PARAMS
// complete or not. It does not hear ABORT while the handler leaves its body unread, and then frees
// the request id under a handler that still writes. It closes the connection under other requests.
// It has no deadlines, and takes 130 KiB for each request.
type recordConn struct {
	net.Conn
	place    *place // the same
	server   *fastCGI
	in       *bufio.Reader
	padding  int // of the last record, still to be read
	ignored  int // bytes of records nobody wanted, in a row
	handlers sync.WaitGroup
	writing  sync.Mutex

	mu        sync.Mutex
	exchanges map[uint16]*exchange // by request id, from BEGIN until answered and stdin is over
	fresh     bool                 // no BEGIN yet
	closing   bool                 // no exchange after these
	idleBy    time.Time            // when it has waited long enough for the next exchange
}

var (
	errOver     = errors.New("connection is over")
	errProtocol = errors.New("malformed FastCGI record")
	errAborted  = errors.New("request aborted by the web server")
	errGone     = errors.New("connection to the web server lost")

	errSlowParams = errors.New("parameters took too long")
)

func newRecordConn(nc *place, s *fastCGI) *recordConn {
	return &recordConn{
		Conn:      nc,
		place:     nc,
		server:    s,
		in:        bufio.NewReader(nc),
		exchanges: map[uint16]*exchange{},
		fresh:     true,
		idleBy:    time.Now().Add(idleTime),
	}
}

// receive takes in records until the connection is over.
func (c *recordConn) receive() {
	for {
		if err := c.record(); err != nil {
			c.lose(err)
			return
		}
	}
}

// lose cancels what is still under way; its answers have nowhere to go.
func (c *recordConn) lose(cause error) {
	c.Conn.Close() // answers under way must not wait for writeTime
	c.mu.Lock()
	defer c.mu.Unlock()
	switch n := c.unanswered(); {
	case errors.Is(cause, errProtocol), errors.Is(cause, errSlowParams):
		c.server.o.Log.Warn("fastcgi connection ended by us", "cause", cause, "requests", n)
	case n > 0: // usually the client has hung up
		c.server.o.Log.Info("fastcgi connection lost", "cause", cause, "requests", n)
	}
	for id, e := range c.exchanges {
		delete(c.exchanges, id)
		if e.cancel != nil {
			e.body.finish(errGone)
			e.cancel()
		}
	}
}

// record takes in one record, all but its padding: what the record asks for must
// not wait for bytes that mean nothing.
func (c *recordConn) record() error {
	if err := c.chunks(c.padding, func([]byte) error { return nil }); err != nil {
		return err
	}
	if err := c.await(headerLen); err != nil {
		return err
	}
	head, _ := c.in.Peek(headerLen)
	h := parseHeader(head)
	c.in.Discard(headerLen)
	if h.version != wireVersion {
		return fmt.Errorf("%w: version %d", errProtocol, h.version)
	}
	c.padding = h.padding
	return c.content(h)
}

func (c *recordConn) content(h recordHeader) error {
	switch h.kind {
	case typeBegin:
		return c.begin(h)
	case typeGetValues:
		values := encodePairs(map[string]string{"FCGI_MPXS_CONNS": "1"})
		if err := c.write(appendRecord(nil, typeGetValuesResult, 0, values)); err != nil {
			return err
		}
	}
	e := c.find(h.id)
	switch {
	case e == nil: // "the application ignores" records of other ids (§3.3), and stdin after an answer
	case h.kind == typeParams && h.content > 0:
		return c.chunks(h.content, func(p []byte) error { return c.param(e, p) })
	case h.kind == typeParams:
		return c.paramsEnd(e)
	case h.kind == typeStdin && h.content > 0:
		return c.chunks(h.content, func(p []byte) error { return c.stdin(e, p) })
	case h.kind == typeStdin:
		return c.stdinEnd(e)
	case h.kind == typeAbort:
		c.abort(e)
	}
	return c.chunks(h.content, c.ignore)
}

func (c *recordConn) ignore(p []byte) error {
	c.ignored += len(p)
	if c.ignored > drainBytes {
		return fmt.Errorf("%w: too many bytes that nobody asked for", errProtocol)
	}
	return nil
}

func (c *recordConn) begin(h recordHeader) error {
	if h.content != beginLen || h.id == 0 {
		return fmt.Errorf("%w: BEGIN_REQUEST", errProtocol)
	}
	if err := c.await(beginLen); err != nil {
		return err
	}
	p, _ := c.in.Peek(beginLen)
	role, keep := int(p[0])<<8|int(p[1]), p[2]&flagKeepConn != 0
	c.in.Discard(beginLen)
	c.ignored = 0

	inUse, n := c.greet(h.id)
	switch {
	case inUse:
		return fmt.Errorf("%w: BEGIN_REQUEST for an id in use", errProtocol)
	case role != roleResponder:
		return c.reject(h.id, statusUnknownRole, keep)
	case n >= maxConcurrent:
		return c.reject(h.id, statusOverloaded, keep)
	}
	c.mu.Lock()
	c.exchanges[h.id] = &exchange{id: h.id, keep: keep, due: time.Now().Add(paramsTime)}
	c.mu.Unlock()
	c.rearm()
	return nil
}

// reject ends a request that never began.
func (c *recordConn) reject(id uint16, status byte, keep bool) error {
	if err := c.writeEnd(id, status); err != nil {
		return err
	}
	c.mu.Lock()
	c.closing = c.closing || !keep
	c.mu.Unlock()
	c.rearm()
	return nil
}

func (c *recordConn) param(e *exchange, p []byte) error {
	if e.stage != inParams {
		return fmt.Errorf("%w: PARAMS after their end", errProtocol)
	}
	if len(e.params)+len(p) > maxVariableSize {
		e.params = nil
		e.no = tooLarge("too many or too large header fields")
	}
	if e.no != nil {
		return c.ignore(p)
	}
	e.params = append(e.params, p...)
	return nil
}

func (c *recordConn) paramsEnd(e *exchange) error {
	if e.stage != inParams {
		return fmt.Errorf("%w: PARAMS after their end", errProtocol)
	}
	if e.no == nil {
		e.visit, e.no = c.readParams(e.params)
	}
	e.params = nil
	c.start(e)
	return nil
}

func (c *recordConn) readParams(params []byte) (*visit, *refusal) {
	vars, ok := parsePairs(params)
	if !ok {
		return nil, badRequest("malformed FastCGI parameters")
	}
	v, no := readVariables(vars, c.server.o.Program)
	if no == nil && v.length == 0 && usuallyHasBody(vars["REQUEST_METHOD"]) {
		v.length = -1 // the stream has an end of its own, which is more reliable
	}
	return v, no
}

func (c *recordConn) stdin(e *exchange, p []byte) error {
	if e.stage == inParams {
		return fmt.Errorf("%w: STDIN before the end of PARAMS", errProtocol)
	}
	e.body.feed(p)
	if e.body.ended() {
		c.rearm()
	}
	return c.ignore(p)
}

func (c *recordConn) stdinEnd(e *exchange) error {
	if e.stage == inParams {
		return fmt.Errorf("%w: STDIN before the end of PARAMS", errProtocol)
	}
	e.body.finish(io.EOF)
	c.mu.Lock()
	c.receivedAll(e)
	c.mu.Unlock()
	c.rearm()
	return nil
}

// abort cancels. The handler's answer, which it should give soon, ends the
// request and frees its id (§5.4 leaves the moment to us).
func (c *recordConn) abort(e *exchange) {
	c.mu.Lock()
	started := e.stage != inParams
	c.receivedAll(e)
	if !started {
		delete(c.exchanges, e.id)
		c.closing = c.closing || !e.keep
	}
	c.mu.Unlock()
	if started {
		e.body.finish(errAborted)
		e.cancel()
	} else {
		c.writeEnd(e.id, statusComplete) // a failure is seen by the next read
	}
	c.rearm()
}

// write closes the connection when it fails, which the reading side notices.
func (c *recordConn) write(p []byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.Conn.SetWriteDeadline(time.Now().Add(writeTime))
	_, err := c.Conn.Write(p)
	if err != nil {
		c.Conn.Close()
	}
	return err
}

func (c *recordConn) writeEnd(id uint16, status byte) error {
	return c.write(appendEnd(nil, id, status))
}

func (c *recordConn) find(id uint16) *exchange {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.exchanges[id]
}
