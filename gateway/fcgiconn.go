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

// Limits of one FastCGI connection. The peer is a web server, but what it passes on comes from
// anyone.
const (
	// paramsTimeout runs from BEGIN_REQUEST to the end of PARAMS, which a web server has at hand.
	paramsTimeout = 10 * time.Second

	// writeTimeout is for one answer.
	writeTimeout = 30 * time.Second

	// idleTimeout is how long a connection waits for its next request. nginx closes its end of an
	// idle connection after 60 s.
	idleTimeout = 60 * time.Second

	// firstRequestTimeout is how long a connection that was accepted just before a shutdown may
	// take to begin. Web servers write as soon as they are connected.
	firstRequestTimeout = time.Second
)

// pastDeadline as a read deadline ends a blocked Read at once.
var pastDeadline = time.Unix(1, 0)

var (
	errIdle         = errors.New("no further request")
	errProtocol     = errors.New("malformed FastCGI record")
	errAborted      = errors.New("request aborted by the web server")
	errDisconnected = errors.New("connection to the web server lost")
	errSlowParams   = errors.New("parameters took too long")
)

// fcgiConn is a web server's connection. It carries one request at a time: the others are told so,
// as FastCGI 1.0 §5.5 provides, and no web server sends them unless it is configured to. The
// handler starts when the PARAMS of a request are complete and sane, before its body is.
//
// One goroutine reads. It never waits for the handler, so that it hears an ABORT or a hang-up.
type fcgiConn struct {
	conn     *trackedConn
	handler  http.Handler
	o        Options
	base     context.Context // of all requests
	stopping context.Context // done at shutdown
	in       *bufio.Reader
	padding  int // of the last record, still to be read
	received int // bytes of content since the last BEGIN_REQUEST
	handlers sync.WaitGroup
	writing  sync.Mutex

	mu      sync.Mutex
	request *fcgiRequest // nil = none; set from BEGIN_REQUEST until it is answered and received
	fresh   bool         // no BEGIN_REQUEST yet
	closing bool         // no request after this one
	idleBy  time.Time    // when the wait for the next request ends
}

// fcgiRequest is one request and how far it has come.
type fcgiRequest struct {
	id       uint16
	keepConn bool
	stage    fcgiStage
	due      time.Time // when the stage must be over
	params   []byte
	tooLarge bool // params were
	body     *body
	cancel   context.CancelFunc
	answered bool // the answer is about to be written, and the id is free again
	written  bool // it was
}

type fcgiStage int

const (
	readingParams fcgiStage = iota
	readingStdin
	complete
)

// serveFCGI serves one connection until it ends and its handlers have returned. When stopping is
// done, the request under way is the last. When base is done, it is cancelled.
func serveFCGI(stopping, base context.Context, nc *trackedConn, h http.Handler, o Options) {
	c := &fcgiConn{conn: nc, handler: h, o: o, base: base, stopping: stopping, fresh: true}
	c.in = bufio.NewReader(fcgiReader{c})
	c.update(func() { c.idleBy = time.Now().Add(idleTimeout) })
	defer context.AfterFunc(stopping, func() { c.update(func() {}) })()
	defer context.AfterFunc(base, func() { c.conn.Close() })()
	for {
		h, content, err := c.readRecord()
		if err == nil {
			err = c.handleRecord(h, content)
		}
		if err != nil {
			c.closeWithError(err)
			break
		}
	}
	c.handlers.Wait()
}

// closeWithError cancels the request under way: its answer has nowhere to go.
func (c *fcgiConn) closeWithError(cause error) {
	c.conn.Close() // an answer under way must not wait for writeTimeout
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.request
	c.request = nil
	underWay := r != nil && !r.answered
	switch {
	case errors.Is(cause, errProtocol), errors.Is(cause, errSlowParams):
		c.o.Log.Warn("fastcgi connection closed", "cause", cause, "request", underWay)
	case underWay: // usually the client has hung up
		c.o.Log.Info("fastcgi connection lost", "cause", cause)
	}
	if r != nil && r.stage != readingParams {
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
		return c.write(appendRecord(nil, typeGetValuesResult, 0, encodePairs(map[string]string{"FCGI_MPXS_CONNS": "0"})))
	}
	r := c.find(h.id)
	if r == nil {
		return nil // FastCGI 1.0 §3.3: records of other requests are ignored, as is STDIN after an answer
	}
	switch {
	case h.kind == typeParams && r.stage != readingParams:
		return fmt.Errorf("%w: PARAMS after their end", errProtocol)
	case h.kind == typeParams && len(content) > 0:
		r.addParams(content)
	case h.kind == typeParams:
		c.start(r)
	case h.kind == typeStdin && r.stage == readingParams:
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
		default: // what is left of a request answered early is given up
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

// start lets the handler begin.
func (c *fcgiConn) start(r *fcgiRequest) {
	v, no := c.parseParams(r)
	length := int64(-1)
	if no == nil {
		length = v.length
	}
	r.params, r.body = nil, newBody(length)
	var ctx context.Context
	ctx, r.cancel = context.WithTimeout(c.base, requestTimeout)
	c.update(func() { r.stage, r.due = readingStdin, time.Now().Add(bodyTimeout) })
	c.handlers.Go(func() {
		a := c.answer(ctx, r.body, v, no)
		r.cancel()
		r.body.Close()
		c.send(r, a)
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
	v, no := parseCGIEnv(vars, c.o.Program)
	if no == nil && v.length == 0 && usuallyHasBody(vars["REQUEST_METHOD"]) {
		v.length = -1 // the stream has an end of its own, which is more reliable
	}
	return v, no
}

func (c *fcgiConn) answer(ctx context.Context, b *body, v *cgiRequest, no *errorResponse) *answer {
	if no != nil {
		return reject(no, c.o.Log)
	}
	r, err := v.request(ctx, b)
	if err != nil {
		return reject(badRequest("request makes no sense"), c.o.Log)
	}
	return serveBuffered(c.handler, r, c.o.Log)
}

// send frees the id before the answer leaves, since the web server may use it again at once.
func (c *fcgiConn) send(r *fcgiRequest, a *answer) {
	c.update(func() { r.answered = true })
	out := appendStream(nil, typeStdout, r.id, a.cgi())
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

// abort cancels r. The handler's answer, which it should give soon, ends the request (§5.4).
func (c *fcgiConn) abort(r *fcgiRequest) error {
	if r.stage == readingParams {
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
	r.stage = complete
	c.removeIfDone(r)
}

// removeIfDone forgets r when it has been answered and received. Until then the connection stays
// open: to close it while a body arrives costs the web server the answer. c.mu is held.
func (c *fcgiConn) removeIfDone(r *fcgiRequest) {
	if r.written && r.stage == complete && c.request == r {
		c.request = nil
	}
}

// write closes the connection when it fails, which the reading goroutine notices.
func (c *fcgiConn) write(p []byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	_, err := c.conn.Write(p)
	if err != nil {
		c.conn.Close()
	}
	return err
}

// update changes the state of c. Then it sets the read deadline that the new state asks for, which
// wakes a blocked Read if it is over, and tells the connection limiter whom c waits for.
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

// phase says whom c waits for. c.mu is held.
func (c *fcgiConn) connState() connState {
	switch r := c.request; {
	case r == nil, r.written:
		return stateReading
	case r.answered:
		return stateWriting
	case r.stage == complete, r.stage == readingStdin && r.body.ended():
		return stateHandling
	}
	return stateReading
}

// deadline is when c has waited too long for its web server; zero while only the handler works.
// c.mu is held.
func (c *fcgiConn) deadline() time.Time {
	switch r := c.request; {
	case r == nil && c.closing && !c.fresh:
		return pastDeadline
	case r == nil:
		return c.idleBy
	case r.stage != complete:
		return r.due
	}
	return time.Time{}
}

// fcgiReader reads from the connection until its deadline has really passed.
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
		case r.stage == readingParams:
			err = errSlowParams
		default:
			r.body.finish(errSlowBody)
			c.setComplete(r)
			c.closing = true
		}
	})
	return err
}
