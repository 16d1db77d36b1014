package gateway

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	// paramsTimeout runs from BEGIN_REQUEST to the end of PARAMS, which a web server has at hand.
	paramsTimeout = 10 * time.Second

	// firstRequestTimeout is how long a connection that was accepted just before a shutdown may
	// take to begin. Web servers write as soon as they are connected.
	firstRequestTimeout = time.Second

	// readOnDelay is how long a handler may take before another goroutine reads on. ABORT and a
	// disconnect are noticed so much later. Most requests take a hundredth of that, and a goroutine
	// for each costs as much as reading it.
	readOnDelay = 10 * time.Millisecond
)

var (
	errIdle         = errors.New("no further request")
	errProtocol     = errors.New("malformed FastCGI record")
	errAborted      = errors.New("request aborted by the web server")
	errDisconnected = errors.New("connection to the web server lost")
	errSlowParams   = errors.New("parameters took too long")
	errHandedOver   = errors.New("another goroutine reads on")
)

// fcgiConn is a web server's connection. It carries one request at a time: a second one is refused,
// as FastCGI 1.0 §5.5 allows. The handler starts when the PARAMS are complete and sane, and reads
// the body while it arrives.
//
// One goroutine at a time reads, so that ABORT and a disconnect are noticed. When it has the whole
// request, it calls the handler itself. If that takes longer than readOnDelay, another one reads
// on. A handler whose body is still arriving has a goroutine of its own.
type fcgiConn struct {
	conn       *trackedConn
	handler    http.Handler
	o          Options
	base       context.Context // of its requests
	stopping   context.Context // done at shutdown
	goroutines sync.WaitGroup  // besides that of serveFCGIConn
	writeMu    sync.Mutex

	// Of the goroutine that reads:
	in       *bufio.Reader
	rest     int          // bytes of the last record that are still in in, or to come
	received int          // bytes of content since the last BEGIN_REQUEST
	ready    *fcgiRequest // its PARAMS are complete, and its handler has not started; nil = none

	mu      sync.Mutex
	request *fcgiRequest // from BEGIN_REQUEST until it is answered and received; nil = none
	fresh   bool         // no BEGIN_REQUEST yet
	closing bool         // no request after this one
	idleBy  time.Time    // when the wait for the next request ends
	state   connState    // as conn knows it
	readBy  time.Time    // read deadline of conn; zero = none
}

// fcgiRequest is a request and how far it has come.
type fcgiRequest struct {
	id       uint16
	keepConn bool
	method   string // "" until the params are complete
	phase    requestPhase
	due      time.Time // when the phase must have ended
	params   *bytes.Buffer
	tooLarge bool                     // params were
	call     func() *bufferedResponse // its handler; nil = it has returned
	body     *body
	ctx      *requestContext
	answered bool // the response is about to be written, and the id is free again
	written  bool // the response has been written
}

type requestPhase int

const (
	readingParams requestPhase = iota
	readingStdin
	complete
)

// serveFCGIConn serves nc until it ends and its handler has returned. When stopping is done, the
// request in flight is the last. When base is done, it is cancelled.
func serveFCGIConn(stopping, base context.Context, nc *trackedConn, h http.Handler, o Options) {
	ctx, cancel := context.WithCancel(base) // one for all requests would be a lock for all
	defer cancel()
	c := &fcgiConn{conn: nc, handler: h, o: o, base: ctx, stopping: stopping, fresh: true}
	c.in = bufio.NewReader(fcgiReader{c})
	c.idleBy = time.Now().Add(idleTimeout)
	defer context.AfterFunc(stopping, c.refresh)()
	defer context.AfterFunc(ctx, func() { nc.Close() })()
	c.readOn()
	c.goroutines.Wait()
}

// readOn reads until the connection ends, or another goroutine reads on.
func (c *fcgiConn) readOn() {
	if err := protect(c.o.Log, c.readRecords); !errors.Is(err, errHandedOver) {
		c.closeWithError(err)
	}
}

func (c *fcgiConn) readRecords() error {
	for {
		h, content, err := c.readRecord()
		if err != nil {
			return err
		}
		if err := c.handleRecord(h, content); err != nil {
			return err
		}
		if r := c.ready; r != nil && r.phase == complete {
			c.ready = nil
			if !c.handleFirst(r) {
				return errHandedOver
			}
		}
	}
}

// handleFirst handles r before it reads on. It reports false if that took too long, and another
// goroutine reads.
func (c *fcgiConn) handleFirst(r *fcgiRequest) bool {
	c.goroutines.Add(1)
	slow := time.AfterFunc(readOnDelay, func() {
		defer c.goroutines.Done()
		c.readOn()
	})
	c.handle(r)
	if !slow.Stop() {
		return false
	}
	c.goroutines.Done()
	return true
}

// closeWithError cancels the request in flight: its response has no receiver.
func (c *fcgiConn) closeWithError(cause error) {
	c.conn.Close() // a Write in flight must not wait for writeTimeout
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.request
	c.request = nil
	inFlight := r != nil && !r.answered
	switch {
	case errors.Is(cause, errProtocol), errors.Is(cause, errSlowParams):
		c.o.Log.Warn("fastcgi connection closed", "cause", cause, "request", inFlight)
	case inFlight: // usually the client has hung up
		c.o.Log.Info("fastcgi connection lost", "cause", cause)
	}
	if r != nil && r.phase != readingParams {
		r.body.finish(errDisconnected)
		r.ctx.end()
	}
}

// readRecord reads one record, except for its padding: what a record asks for must not wait for
// bytes that mean nothing. The content is valid until the next call.
func (c *fcgiConn) readRecord() (recordHeader, []byte, error) {
	if _, err := c.in.Discard(c.rest); err != nil {
		return recordHeader{}, nil, err
	}
	head, err := c.in.Peek(headerLen)
	if err != nil {
		return recordHeader{}, nil, err
	}
	h := parseHeader(head)
	c.in.Discard(headerLen)
	if h.version != wireVersion {
		return h, nil, fmt.Errorf("%w: version %d", errProtocol, h.version)
	}
	c.rest = h.padding
	if c.received += h.content; c.received > maxDrainBytes {
		return h, nil, fmt.Errorf("%w: request of more than %d bytes", errProtocol, maxDrainBytes)
	}
	if h.content <= c.in.Size() {
		c.rest += h.content
		content, err := c.in.Peek(h.content)
		return h, content, err
	}
	var content bytes.Buffer // grows with what arrives, not with what is announced
	_, err = io.CopyN(&content, c.in, int64(h.content))
	return h, content.Bytes(), err
}

func (c *fcgiConn) handleRecord(h recordHeader, content []byte) error {
	switch h.kind {
	case typeBegin:
		return c.begin(h.id, content)
	case typeGetValues:
		values := encodePairs(map[string]string{"FCGI_MPXS_CONNS": "0"})
		return c.write(appendRecord(nil, typeGetValuesResult, 0, values))
	}
	r := c.find(h.id)
	if r == nil {
		return nil // §3.3: records of other requests are ignored, as is STDIN after the response
	}
	switch {
	case h.kind == typeParams && r.phase != readingParams:
		return fmt.Errorf("%w: PARAMS after their end", errProtocol)
	case h.kind == typeParams && len(content) > 0:
		r.addParams(content)
	case h.kind == typeParams:
		c.prepare(r)
	case h.kind == typeStdin && r.phase == readingParams:
		return fmt.Errorf("%w: STDIN before the end of PARAMS", errProtocol)
	case h.kind == typeStdin && len(content) > 0:
		c.change(func() { r.body.Write(content) })
	case h.kind == typeStdin:
		r.body.finish(io.EOF)
		c.change(func() { c.setComplete(r) })
	case h.kind == typeAbort:
		return c.abort(r)
	}
	return nil
}

func (c *fcgiConn) find(id uint16) *fcgiRequest {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.request == nil || c.request.id != id {
		return nil
	}
	return c.request
}

func (c *fcgiConn) begin(id uint16, content []byte) error {
	if len(content) != beginLen || id == 0 {
		return fmt.Errorf("%w: BEGIN_REQUEST", errProtocol)
	}
	c.received = 0
	role, keepConn := int(content[0])<<8|int(content[1]), content[2]&flagKeepConn != 0
	status := byte(statusComplete)
	var err error
	c.change(func() {
		c.fresh = false
		busy := c.request != nil && !c.request.answered
		switch {
		case busy && c.request.id == id:
			err = fmt.Errorf("%w: BEGIN_REQUEST for an id in use", errProtocol)
		case role != roleResponder:
			status = statusUnknownRole
		case busy:
			status = statusCannotMultiplex
		default: // the rest of a request that was answered early is ignored from here on
			c.request = &fcgiRequest{
				id:       id,
				keepConn: keepConn,
				due:      time.Now().Add(paramsTimeout),
				params:   newBuffer(),
			}
		}
	})
	if err != nil || status == statusComplete {
		return err
	}
	err = c.write(appendEnd(nil, id, status))
	c.change(func() { c.closing = c.closing || !keepConn })
	return err
}

func (r *fcgiRequest) addParams(p []byte) {
	r.tooLarge = r.tooLarge || r.params.Len()+len(p) > maxHeaderBytes
	if !r.tooLarge {
		r.params.Write(p)
	}
}

// prepare parses the params of r. Its handler may start.
func (c *fcgiConn) prepare(r *fcgiRequest) {
	req, errResp := c.parseParams(r)
	length := int64(-1)
	if errResp == nil {
		length = req.length
	}
	r.params, r.body, r.ctx = nil, newBody(length), newRequestContext(c.base)
	r.call = func() *bufferedResponse { return c.serve(r.ctx, r.body, req, errResp) }
	c.change(func() { r.phase, r.due = readingStdin, time.Now().Add(bodyTimeout) })
	c.ready = r
}

func (c *fcgiConn) parseParams(r *fcgiRequest) (req *cgiRequest, errResp *errorResponse) {
	defer recycle(r.params)
	if r.tooLarge {
		return nil, tooLarge("too many or too large header fields")
	}
	withPairs(r.params.Bytes(), func(vars map[string]string, ok bool) {
		if !ok {
			errResp = badRequest("malformed FastCGI parameters")
			return
		}
		r.method = strings.Clone(vars["REQUEST_METHOD"])
		req, errResp = parseCGIEnv(vars, c.o.Program)
	})
	if errResp == nil && req.length == 0 && usuallyHasBody(r.method) {
		req.length = -1 // the end of STDIN is more reliable
	}
	return req, errResp
}

// handle answers r.
func (c *fcgiConn) handle(r *fcgiRequest) {
	res := orInternalError(c.o.Log, r.call)
	r.call = nil // r may stay until its body has come
	r.ctx.end()
	r.body.Close()
	err := protect(c.o.Log, func() error {
		c.send(r, res)
		return nil
	})
	if err != nil {
		c.conn.Close() // the reading goroutine notices
		return
	}
	res.recycle()
}

func (c *fcgiConn) serve(ctx context.Context, b *body, req *cgiRequest, errResp *errorResponse) *bufferedResponse {
	var r *http.Request
	if errResp == nil {
		r, errResp = req.httpRequest(ctx, b, c.o)
	}
	if errResp != nil {
		return reject(errResp, c.o.Log)
	}
	return serveBuffered(c.handler, r, nil, c.o.Log)
}

// send frees the id before it writes, since the web server may use the id again at once.
func (c *fcgiConn) send(r *fcgiRequest, res *bufferedResponse) {
	c.change(func() { r.answered = true })
	out := newBuffer()
	defer recycle(out)
	writeResponse(out, r.id, res, r.method)
	if err := c.write(out.Bytes()); err != nil {
		return
	}
	c.update(func() {
		r.written = true
		c.removeIfDone(r)
		c.closing = c.closing || !r.keepConn
		c.idleBy = time.Now().Add(idleTimeout)
	})
}

// abort cancels r. The handler's response, which should come soon, ends the request (§5.4).
func (c *fcgiConn) abort(r *fcgiRequest) error {
	if r.phase == readingParams {
		err := c.write(appendEnd(nil, r.id, statusComplete))
		c.change(func() {
			c.request = nil
			c.closing = c.closing || !r.keepConn
		})
		return err
	}
	r.body.finish(errAborted)
	r.ctx.end()
	c.change(func() { c.setComplete(r) })
	return nil
}

// setComplete notes that nothing more of r will come. c.mu is held.
func (c *fcgiConn) setComplete(r *fcgiRequest) {
	r.phase = complete
	c.removeIfDone(r)
}

// removeIfDone removes r once it has been answered and received. The connection stays open until
// then: a web server that is still sending a body would lose the response. c.mu is held.
func (c *fcgiConn) removeIfDone(r *fcgiRequest) {
	if r.written && r.phase == complete && c.request == r {
		c.request = nil
	}
}

// write closes the connection if it fails, so that the reading goroutine notices.
func (c *fcgiConn) write(p []byte) error {
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	c.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	_, err := c.conn.Write(p)
	if err != nil {
		c.conn.Close()
	}
	return err
}

// change changes the state of c. The connection limiter learns what c waits for. While the caller
// is the goroutine that reads, the next Read sets the deadline.
func (c *fcgiConn) change(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
	c.report()
}

// report tells the connection limiter what c waits for. c.mu is held.
func (c *fcgiConn) report() {
	if now := c.connState(); now != c.state {
		c.state = now
		c.conn.setState(now)
	}
}

// refresh sets the deadline again: a Read is about to begin, or the server to stop.
func (c *fcgiConn) refresh() { c.update(func() {}) }

// update is change for what may shorten a Read: it ends one that is blocked for too long already. A
// later deadline need not be set, since expire looks again when an earlier one has passed.
func (c *fcgiConn) update(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
	if c.stopping.Err() != nil && !c.closing {
		c.closing = true
		if soon := time.Now().Add(firstRequestTimeout); c.fresh && soon.Before(c.idleBy) {
			c.idleBy = soon
		}
	}
	c.report()
	if d := c.deadline(); !d.IsZero() && (c.readBy.IsZero() || d.Before(c.readBy)) {
		c.setReadDeadline(d)
	}
}

// setReadDeadline sets that of conn. c.mu is held.
func (c *fcgiConn) setReadDeadline(d time.Time) {
	c.readBy = d
	c.conn.SetReadDeadline(d)
}

// connState says what c waits for. c.mu is held.
func (c *fcgiConn) connState() connState {
	switch r := c.request; {
	case r == nil, r.written:
		return stateReading
	case r.answered:
		return stateWriting
	case r.phase == complete, r.phase == readingStdin && r.body.ended():
		return stateHandling
	}
	return stateReading
}

// deadline is when c has waited too long for the web server. It is zero while only the handler
// works. c.mu is held.
func (c *fcgiConn) deadline() time.Time {
	switch r := c.request; {
	case r == nil && c.closing && !c.fresh:
		return pastDeadline
	case r == nil:
		return c.idleBy
	case r.phase != complete:
		return r.due
	}
	return time.Time{}
}

// fcgiReader reads from the connection, again when its deadline has been moved. The handler of a
// request that is still arriving starts before that.
type fcgiReader struct{ c *fcgiConn }

func (r fcgiReader) Read(p []byte) (int, error) {
	if ready := r.c.ready; ready != nil {
		r.c.ready = nil
		r.c.goroutines.Go(func() { r.c.handle(ready) })
	}
	for {
		r.c.refresh()
		n, err := r.c.conn.Read(p)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		if err := r.c.expire(time.Now()); err != nil {
			return 0, err
		}
	}
}

// expire handles a deadline that has passed. An error ends the connection: a request whose
// parameters are cut short cannot be answered. A body cut short is the handler's to answer.
func (c *fcgiConn) expire(now time.Time) (err error) {
	c.update(func() {
		c.setReadDeadline(time.Time{})
		if d := c.deadline(); d.IsZero() || d.After(now) {
			return // it was moved in the meantime
		}
		switch r := c.request; {
		case r == nil:
			err = errIdle
		case r.phase == readingParams:
			err = errSlowParams
		default:
			r.body.finish(errSlowBody)
			c.setComplete(r)
			c.closing = true
		}
	})
	return err
}
