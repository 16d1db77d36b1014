package gateway

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
)

// client is the web server's end of a FastCGI connection. It reads at all times, as web servers do.
type client struct {
	net.Conn
	t       testing.TB
	ends    chan end      // END_REQUEST records, in order
	gone    chan struct{} // closed when the other end has closed
	mu      sync.Mutex
	stdout  map[uint16]*bytes.Buffer
	values  []byte // GET_VALUES_RESULT
	garbled error  // the server sent something else than records
}

type end struct {
	id     uint16
	status byte
}

func newClient(t testing.TB, nc net.Conn) *client {
	c := &client{Conn: nc, t: t, ends: make(chan end, 1<<10), gone: make(chan struct{}),
		stdout: map[uint16]*bytes.Buffer{}}
	go c.read()
	return c
}

func (c *client) read() {
	defer close(c.gone)
	for {
		head := make([]byte, headerLen)
		if _, err := io.ReadFull(c.Conn, head); err != nil {
			c.note(err)
			return
		}
		h := parseHeader(head)
		content := make([]byte, h.content+h.padding)
		if _, err := io.ReadFull(c.Conn, content); err != nil {
			c.note(err)
			return
		}
		c.take(h, content[:h.content])
	}
}

func (c *client) note(err error) {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		c.mu.Lock()
		c.garbled = err
		c.mu.Unlock()
	}
}

func (c *client) take(h recordHeader, content []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case h.version != wireVersion:
		c.garbled = errors.New("record of another version")
	case h.kind == typeStdout:
		if c.stdout[h.id] == nil {
			c.stdout[h.id] = &bytes.Buffer{}
		}
		c.stdout[h.id].Write(content)
	case h.kind == typeGetValuesResult:
		c.values = append(c.values, content...)
	case h.kind == typeEnd && len(content) == 8:
		c.ends <- end{h.id, content[4]}
	default:
		c.garbled = errors.New("record of a type that no application sends")
	}
}

func (c *client) raw(p []byte) {
	c.t.Helper()
	if _, err := c.Write(p); err != nil {
		c.t.Fatalf("write records: %v", err)
	}
}

func beginRecord(id uint16, role, flags byte) []byte {
	return appendRecord(nil, typeBegin, id, []byte{0, role, flags, 0, 0, 0, 0, 0})
}

// request is a whole request that asks to keep the connection.
func request(id uint16, vars map[string]string, body []byte) []byte {
	out := appendStream(beginRecord(id, roleResponder, flagKeepConn), typeParams, id, encodePairs(vars))
	return appendStream(out, typeStdin, id, body)
}

func (c *client) begin(id uint16, keep bool) {
	c.t.Helper()
	flags := byte(0)
	if keep {
		flags = flagKeepConn
	}
	c.raw(beginRecord(id, roleResponder, flags))
}

func (c *client) params(id uint16, vars map[string]string) {
	c.t.Helper()
	c.raw(appendStream(nil, typeParams, id, encodePairs(vars)))
}

func (c *client) stdin(id uint16, body []byte) {
	c.t.Helper()
	c.raw(appendStream(nil, typeStdin, id, body))
}

func (c *client) abort(id uint16) {
	c.t.Helper()
	c.raw(appendRecord(nil, typeAbort, id, nil))
}

// get sends a request without a body.
func (c *client) get(id uint16, keep bool, target string) {
	c.t.Helper()
	c.begin(id, keep)
	c.params(id, testRequest{method: "GET", target: target}.variables())
	c.stdin(id, nil)
}

// ended waits for the next END_REQUEST.
func (c *client) ended() end {
	c.t.Helper()
	select {
	case e := <-c.ends:
		return e
	case <-c.gone:
	}
	select {
	case e := <-c.ends:
		return e
	default:
		c.t.Fatal("connection ended before the request did")
		return end{}
	}
}

// reply waits for the next END_REQUEST, which must be for id and say that the request is complete.
func (c *client) reply(id uint16) reply {
	c.t.Helper()
	if e := c.ended(); e.id != id || e.status != statusComplete {
		c.t.Fatalf("request %d ended with status %d, want %d with 0", e.id, e.status, id)
	}
	return c.answer(id)
}

// answer parses what has come for id, and removes it.
func (c *client) answer(id uint16) reply {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.garbled != nil {
		c.t.Fatal(c.garbled)
	}
	out := c.stdout[id]
	delete(c.stdout, id)
	if out == nil {
		c.t.Fatalf("no answer to request %d", id)
	}
	r, err := parseCGI(out.Bytes())
	if err != nil {
		c.t.Fatalf("answer to request %d: %v", id, err)
	}
	return r
}
