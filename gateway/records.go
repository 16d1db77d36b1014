package gateway

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/fcgi"
	"strconv"
	"sync"
	"time"
)

// recordConn stands between a web server's connection and net/http/fcgi, and is
// the handler that fcgi calls. It reads the records itself and shows fcgi, for each
// request whose PARAMS are complete and sane, a small well-formed one with an empty body:
//
//	BEGIN(keep) PARAMS(sanitised, with a number) PARAMS() STDIN()
//
// The rest stays here, found again by the number: the body (fcgi's read loop would stand still
// until the handler reads it, deaf to ABORT), the deadlines, and the cancelling. fcgi's answers
// pass through Write unchanged. Seen in fcgi's source and kept away from it: it starts the handler
// on the first STDIN, PARAMS complete or not; after ABORT it frees the request id while the handler goes on
// writing under it; it closes the connection under other requests.
type recordConn struct {
	net.Conn
	server   *fastCGI
	in       *bufio.Reader
	pending  []byte // made for fcgi, not yet read by it
	padding  int    // of the last record, still to be read
	ignored  int    // bytes of records nobody wanted, in a row
	closed   chan struct{}
	once     sync.Once
	handlers sync.WaitGroup
	writing  sync.Mutex

	mu        sync.Mutex
	exchanges map[uint16]*exchange // by request id, from BEGIN until answered and stdin is over
	shown     map[string]*exchange // by number, from PARAMS's end until the handler returns
	number    uint64
	fresh     bool      // no record yet
	closing   bool      // no exchange after these
	idleBy    time.Time // when it has waited long enough for the next exchange
}

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

var (
	errOver     = errors.New("connection is over")
	errProtocol = errors.New("malformed FastCGI record")
	errAborted  = errors.New("request aborted by the web server")
	errGone     = errors.New("connection to the web server lost")

	errSlowParams = errors.New("parameters took too long")
)

func newRecordConn(nc net.Conn, s *fastCGI) *recordConn {
	return &recordConn{
		Conn:      nc,
		server:    s,
		in:        bufio.NewReader(nc),
		closed:    make(chan struct{}),
		exchanges: map[uint16]*exchange{},
		shown:     map[string]*exchange{},
		fresh:     true,
		idleBy:    time.Now().Add(idleTime),
	}
}

// Read is what fcgi reads: records of our making.
func (c *recordConn) Read(p []byte) (int, error) {
	for len(c.pending) == 0 {
		if err := c.record(); err != nil {
			c.lose(err)
			return 0, io.EOF
		}
	}
	n := copy(p, c.pending)
	c.pending = c.pending[n:]
	return n, nil
}

// Close is called by fcgi after Read has ended, and only then.
func (c *recordConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { close(c.closed) })
	return err
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

// record takes in one record, all but its padding: what the record meant for fcgi
// must not wait for bytes that mean nothing.
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
		c.pending = appendRecord(c.pending, typeGetValues, 0, nil) // fcgi knows one answer for all
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
	inUse, n := c.inUse(h.id)
	switch {
	case inUse:
		return fmt.Errorf("%w: BEGIN_REQUEST for an id in use", errProtocol)
	case role != roleResponder:
		return c.reject(h.id, statusUnknownRole, keep)
	case n >= maxConcurrent:
		return c.reject(h.id, statusOverloaded, keep)
	}
	e := &exchange{id: h.id, keep: keep, due: time.Now().Add(paramsTime)}
	c.ignored = 0
	c.mu.Lock()
	c.fresh = false
	c.exchanges[h.id] = e
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

// paramsEnd shows the request to fcgi, which starts the handler.
func (c *recordConn) paramsEnd(e *exchange) error {
	if e.stage != inParams {
		return fmt.Errorf("%w: PARAMS after their end", errProtocol)
	}
	if e.no == nil {
		e.visit, e.no = c.readParams(e.params)
	}
	e.params = nil
	c.show(e)
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

func (c *recordConn) stdin(e *exchange, p []byte) error {
	if e.stage == inParams {
		return fmt.Errorf("%w: STDIN before the end of PARAMS", errProtocol)
	}
	e.body.feed(p)
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

// abort cancels. fcgi does not hear of it, so the handler's answer, which it
// should give soon, ends the request and frees its id (§5.4 leaves the moment to us).
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

// write closes the connection when it fails, which the reading side notices.
func (c *recordConn) write(p []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.Conn.SetWriteDeadline(time.Now().Add(writeTime))
	n, err := c.Conn.Write(p)
	if err != nil {
		c.Conn.Close()
	}
	return n, err
}

func (c *recordConn) writeEnd(id uint16, status byte) error {
	_, err := c.write(appendRecord(nil, typeEnd, id, []byte{0, 0, 0, 0, status, 0, 0, 0}))
	return err
}

func (c *recordConn) find(id uint16) *exchange {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.exchanges[id]
}

// inUse reports whether a request has this id, and how many are under way.
func (c *recordConn) inUse(id uint16) (bool, int) {
	c.mu.Lock()
	defer c.mu.Unlock()
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
