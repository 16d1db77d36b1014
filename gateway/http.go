package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Bounds of the HTTP door.
const (
	// httpHeaderTime is for the request line and the headers.
	httpHeaderTimeout = 10 * time.Second

	// httpHeaderBytes is net/http's bound on them: what nginx takes, in four buffers of 8 KiB. All
	// connections may hold so much at once.
	httpMaxHeaderBytes = 32 << 10

	// httpMaxConns lets a thousand people log in at once, each on a connection of his own.
	httpMaxConns = 1280
)

// ServeHTTP serves plain HTTP/1.1, meant for a proxy in front or for a try at
// home, until ctx is done; shutting down is as in ServeFastCGI.
//
// What net/http refuses before any handler is called (a malformed request line, too large
// headers, an unknown transfer coding) it answers itself, in text/plain and out of our reach.
func ServeHTTP(ctx context.Context, l net.Listener, h http.Handler, o Options) error {
	o = o.withDefaults()
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	server := &http.Server{
		Handler:                      &httpHandler{h, o},
		BaseContext:                  func(net.Listener) context.Context { return base },
		ConnContext:                  withConn,
		ConnState:                    onConnState,
		ReadHeaderTimeout:            httpHeaderTimeout,
		ReadTimeout:                  httpHeaderTimeout + bodyTimeout,
		WriteTimeout:                 bodyTimeout + requestTimeout + writeTimeout,
		IdleTimeout:                  idleTimeout,
		MaxHeaderBytes:               httpMaxHeaderBytes,
		DisableGeneralOptionsHandler: true, // "OPTIONS *" gets its answer from us, in JSON
		ErrorLog:                     slog.NewLogLogger(o.Log.Handler(), slog.LevelWarn),
	}
	connLimiter := newConnLimiter(l, o.bound(httpMaxConns), o.Log)
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(connLimiter) }()
	select {
	case err := <-failed:
		return errors.Join(fmt.Errorf("accept connection: %w", err), finishHTTP(server, o.Grace, cancel))
	case <-ctx.Done():
		return finishHTTP(server, o.Grace, cancel)
	}
}

func finishHTTP(server *http.Server, grace time.Duration, cancel func()) error {
	within, done := context.WithTimeout(context.Background(), grace)
	defer done()
	err := server.Shutdown(within)
	if err == nil {
		return nil
	}
	cancel()
	server.Close()
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("stop http: requests were still under way after %s", grace)
	}
	return fmt.Errorf("stop http: %w", err)
}

type connKey struct{}

func withConn(ctx context.Context, nc net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, nc)
}

// keepPlace hears when an answer has left and the connection is kept for the next request.
func onConnState(nc net.Conn, state http.ConnState) {
	if state == http.StateIdle {
		nc.(*trackedConn).setState(stateReading)
	}
}

// httpDoor makes a request of net/http look like those of the other doors.
type httpHandler struct {
	handler http.Handler
	o       Options
}

func (d *httpHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
	defer cancel()
	trackedConn := r.Context().Value(connKey{}).(*trackedConn)
	trackedConn.setState(stateHandling)
	defer trackedConn.setState(stateWriting) // net/http writes a short answer when this has returned
	in := newHTTPBody(r.Body, trackedConn)
	a := d.answer(r.WithContext(ctx), in)
	in.drain(r) // before the answer: net/http gives up the body when it sends the first byte
	if maySmuggle(r) {
		a.committed.Set("Connection", "close")
	}
	trackedConn.answer.expect(a.sent(r.Method))
	trackedConn.setState(stateWriting) // a long answer is written now: whoever does not read it may lose his place
	a.send(w)
}

// maySmuggle reports whether r may have had Content-Length beside Transfer-Encoding. A proxy that
// believes the other one takes the rest for a request of its own, so the connection must be closed
// (RFC 9112 §6.1, §6.3). net/http removes Content-Length from a chunked request, and
// Transfer-Encoding from an HTTP/1.0 request, without a trace. Hence the wider condition: few
// clients send chunks, and HTTP/1.0 keeps no connection by default.
func maySmuggle(r *http.Request) bool {
	return len(r.TransferEncoding) > 0 || !r.ProtoAtLeast(1, 1)
}

func (d *httpHandler) answer(r *http.Request, in *httpBody) *answer {
	if r.URL.Host != "" || r.URL.Opaque != "" {
		return reject(badRequest("request target is not a path"), d.o.Log)
	}
	target, no := safeTarget(r.URL.Path, r.URL.RawQuery, "", "")
	if no != nil {
		return reject(no, d.o.Log)
	}
	r.URL = target
	r.Host = ""
	r.Body = in
	r.Header = r.Header.Clone()
	r.Header.Del("Proxy")
	r.Header.Del("Remote-User")
	r.RemoteAddr = clientAddr(r, d.o.Trusted, d.o.Log)
	return serveBuffered(d.handler, r, d.o.Log)
}

// httpBody is the body as the handler reads it.
type httpBody struct {
	kept        io.Reader // all, up to maxBody
	all         io.ReadCloser
	trackedConn *trackedConn
	touched     bool
}

func newHTTPBody(all io.ReadCloser, trackedConn *trackedConn) *httpBody {
	return &httpBody{kept: http.MaxBytesReader(nil, all, maxBody), all: all, trackedConn: trackedConn}
}

func (b *httpBody) Read(p []byte) (int, error) {
	if !b.touched {
		b.touched = true
		b.trackedConn.setState(stateReading)
	}
	n, err := b.kept.Read(p)
	if err != nil {
		b.trackedConn.setState(stateHandling) // net/http begins to read ahead, and that is no waiting
	}
	return n, err
}

func (b *httpBody) Close() error { return nil } // drain has yet to read

// drain takes in what the handler left, within drainBytes and ReadTimeout: net/http
// itself would close the connection after 256 KiB, and many clients then report the broken
// connection instead of the answer. A client that waits for "100 Continue" is not asked to go on.
func (b *httpBody) drain(r *http.Request) {
	if b.all == http.NoBody || r.Header.Get("Expect") != "" && !b.touched {
		return
	}
	b.trackedConn.setState(stateReading)
	io.CopyN(io.Discard, b.all, maxDrainBytes)
}
