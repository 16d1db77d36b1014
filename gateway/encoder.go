package gateway

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/fcgi"
	"runtime"
)

// encoder makes answers FastCGI records, by means of net/http/fcgi. That needs a connection and a
// request, so it gets both, of our making and in memory. It takes 130 KiB while it is at
// it, which is why only as many are as there are processors: a thousand answers may come at once.
type encoder chan struct{}

func newEncoder() encoder { return make(encoder, runtime.GOMAXPROCS(0)) }

// answer is a as the answer to request id, from STDOUT to END_REQUEST.
func (e encoder) answer(id uint16, a *answer) []byte {
	request := encodePairs(map[string]string{"REQUEST_METHOD": http.MethodGet, "REQUEST_URI": "/", "SERVER_PROTOCOL": "HTTP/1.1"})
	var in []byte
	in = appendRecord(in, typeBegin, id, []byte{0, roleResponder, flagKeepConn, 0, 0, 0, 0, 0})
	in = appendStream(in, typeParams, id, request)
	in = appendRecord(in, typeStdin, id, nil)
	return e.play(in, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { a.send(w) }))
}

// values is the answer to GET_VALUES: there is one for all.
func (e encoder) values() []byte {
	return e.play(appendRecord(nil, typeGetValues, 0, nil), nil)
}

// play shows fcgi the records in, and returns those it answers. Without a handler that
// is all it answers before it reads on; with one, all up to END_REQUEST.
func (e encoder) play(in []byte, h http.Handler) []byte {
	e <- struct{}{}
	defer func() { <-e }()
	c := &memConn{in: bytes.NewReader(in), over: make(chan struct{}), closed: make(chan struct{})}
	if h == nil {
		close(c.over)
	}
	fcgi.Serve(&oneConn{c}, h) // returns at once; fcgi's goroutine closes c
	<-c.closed
	return c.out.Bytes()
}

// memConn is a connection of fcgi's. It has no deadlines, for nothing waits there.
type memConn struct {
	net.Conn // nil
	in       *bytes.Reader
	out      bytes.Buffer
	over     chan struct{} // nothing more is to be written
	closed   chan struct{}
}

func (c *memConn) Read(p []byte) (int, error) {
	if c.in.Len() == 0 {
		<-c.over // at the end fcgi closes
		return 0, io.EOF
	}
	return c.in.Read(p)
}

// Write is called by fcgi once for each record, whole (its writeRecord).
func (c *memConn) Write(p []byte) (int, error) {
	c.out.Write(p)
	if len(p) > 1 && p[1] == typeEnd {
		close(c.over)
	}
	return len(p), nil
}

func (c *memConn) Close() error {
	close(c.closed)
	return nil
}

// oneConn is a listener with one connection to give.
type oneConn struct{ c net.Conn }

func (l *oneConn) Accept() (net.Conn, error) {
	if l.c == nil {
		return nil, io.EOF
	}
	c := l.c
	l.c = nil
	return c, nil
}

func (l *oneConn) Close() error   { return nil }
func (l *oneConn) Addr() net.Addr { return nil }
