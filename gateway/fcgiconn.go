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
	"sync"
	"time"
)

const (
	// paramsTimeout runs from BEGIN_REQUEST to the end of PARAMS, which a web server has at hand.
	paramsTimeout = 10 * time.Second

	// firstRequestTimeout is how long a connection that was accepted just before a shutdown may
	// take to begin. Web servers write as soon as they are connected.
	firstRequestTimeout = time.Second
)

var (
	errIdle         = errors.New("no further request")
	errProtocol     = errors.New("malformed FastCGI record")
	errAborted      = errors.New("request aborted by the web server")
	errDisconnected = errors.New("connection to the web server lost")
	errSlowParams   = errors.New("parameters took too long")
)

// fcgiConn is a web server's connection. It carries one request at a time: a second one is refused,
// as FastCGI 1.0 §5.5 allows. The handler starts when the PARAMS are complete and sane, and reads
// the body while it arrives.
//
// One goroutine reads. It never waits for the handler, so that it notices ABORT and a disconnect.
type fcgiConn struct {
	conn     *trackedConn
	handler  http.Handler
	o        Options
	base     context.Context // of all requests
	stopping context.Context // done at shutdown
	in       *bufio.Reader
	padding  int // of the last record, not read yet
	received int // bytes of content since the last BEGIN_REQUEST
	handlers sync.WaitGroup
	writeMu  sync.Mutex

	mu      sync.Mutex
	request *fcgiRequest // from BEGIN_REQUEST until it is answered and received; nil = none
	fresh   bool         // no BEGIN_REQUEST yet
	closing bool         // no request after this one
	idleBy  time.Time    // when the wait for the next request ends
}

// fcgiRequest is a request and how far it has come.
type fcgiRequest struct {
	id       uint16
	keepConn bool
	method   string // "" until the params are complete
	phase    requestPhase
	due      time.Time // when the phase must have ended
	params   []byte
	tooLarge bool // params were
	body     *body
	cancel   context.CancelFunc
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
	c := &fcgiConn{conn: nc, handler: h, o: o, base: base, stopping: stopping, fresh: true}
	c.in = bufio.NewReader(fcgiReader{c})
	c.update(func() { c.idleBy = time.Now().Add(idleTimeout) })
	defer context.AfterFunc(stopping, c.refresh)()
	defer context.AfterFunc(base, func() { nc.Close() })()
	c.closeWithError(protect(o.Log, c.readRecords))
	c.handlers.Wait()
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
	}
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
		r.cancel()
	}
}

// readRecord reads one record, except for its padding: what a record asks for must not wait for
// bytes that mean nothing.
func (c *fcgiConn) readRecord() (recordHeader, []byte, error) {
	if _, err := c.in.Discard(c.padding); err != nil {
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
	c.padding = h.padding
	if c.received += h.content; c.received > maxDrainBytes {
		return h, nil, fmt.Errorf("%w: request of more than %d bytes", errProtocol, maxDrainBytes)
	}
	if h.content == 0 {
		return h, nil, nil
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
		c.start(r)
	case h.kind == typeStdin && r.phase == readingParams:
		return fmt.Errorf("%w: STDIN before the end of PARAMS", errProtocol)
	case h.kind == typeStdin && len(content) > 0:
		c.update(func() { r.body.Write(content) })
	case h.kind == typeStdin:
		r.body.finish(io.EOF)
		c.update(func() { c.setComplete(r) })
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
	c.update(func() {
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
			c.request = &fcgiRequest{id: id, keepConn: keepConn, due: time.Now().Add(paramsTimeout)}
		}
	})
	if err != nil || status == statusComplete {
		return err
	}
	err = c.write(appendEnd(nil, id, status))
	c.update(func() { c.closing = c.closing || !keepConn })
	return err
}

func (r *fcgiRequest) addParams(p []byte) {
	r.tooLarge = r.tooLarge || len(r.params)+len(p) > maxHeaderBytes
	if !r.tooLarge {
		r.params = append(r.params, p...)
	}
}

// start starts the handler.
func (c *fcgiConn) start(r *fcgiRequest) {
	req, errResp := c.parseParams(r)
	length := int64(-1)
	if errResp == nil {
		length = req.length
	}
	r.params, r.body = nil, newBody(length)
	var ctx context.Context
	ctx, r.cancel = context.WithTimeout(c.base, requestTimeout)
	c.update(func() { r.phase, r.due = readingStdin, time.Now().Add(bodyTimeout) })
	c.handlers.Go(func() {
		res := orInternalError(c.o.Log, func() *bufferedResponse { return c.serve(ctx, r.body, req, errResp) })
		r.cancel()
		r.body.Close()
		err := protect(c.o.Log, func() error {
			c.send(r, res)
			return nil
		})
		if err != nil {
			c.conn.Close() // the reading goroutine notices
		}
	})
}

func (c *fcgiConn) parseParams(r *fcgiRequest) (*cgiRequest, *errorResponse) {
	if r.tooLarge {
		return nil, tooLarge("too many or too large header fields")
	}
	vars, ok := parsePairs(r.params)
	if !ok {
		return nil, badRequest("malformed FastCGI parameters")
	}
	r.method = vars["REQUEST_METHOD"]
	req, errResp := parseCGIEnv(vars, c.o.Program)
	if errResp == nil && req.length == 0 && usuallyHasBody(r.method) {
		req.length = -1 // the end of STDIN is more reliable
	}
	return req, errResp
}

func (c *fcgiConn) serve(ctx context.Context, b *body, req *cgiRequest, errResp *errorResponse) *bufferedResponse {
	var r *http.Request
	if errResp == nil {
		r, errResp = req.httpRequest(ctx, b, c.o)
	}
	if errResp != nil {
		return reject(errResp, c.o.Log)
	}
	return serveBuffered(c.handler, r, c.o.Log)
}

// send frees the id before it writes, since the web server may use the id again at once.
func (c *fcgiConn) send(r *fcgiRequest, res *bufferedResponse) {
	c.update(func() { r.answered = true })
	out := appendStream(nil, typeStdout, r.id, res.cgiDocument(r.method))
	if err := c.write(appendEnd(out, r.id, statusComplete)); err != nil {
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
		c.update(func() {
			c.request = nil
			c.closing = c.closing || !r.keepConn
		})
		return err
	}
	r.body.finish(errAborted)
	r.cancel()
	c.update(func() { c.setComplete(r) })
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

// refresh sets the deadline again, after stopping has begun.
func (c *fcgiConn) refresh() { c.update(func() {}) }

// update changes the state of c and sets the read deadline that follows from it. If that has
// passed, it ends a blocked Read. The connection limiter learns what c waits for.
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
	c.conn.setState(c.connState())
	c.conn.SetReadDeadline(c.deadline())
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

// fcgiReader reads from the connection, again when its deadline has been moved.
type fcgiReader struct{ c *fcgiConn }

func (r fcgiReader) Read(p []byte) (int, error) {
	for {
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
