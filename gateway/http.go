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

// Limits of the HTTP front end.
const (
	// httpHeaderTimeout is for the request line and the header.
	httpHeaderTimeout = 10 * time.Second

	// httpMaxHeaderBytes is what nginx accepts, in four buffers of 8 KiB. All connections may hold
	// so much at once.
	httpMaxHeaderBytes = 32 << 10

	// httpMaxConns lets a thousand people log in at once, each on a connection.
	httpMaxConns = 1280
)

// ServeHTTP serves HTTP/1.1 until ctx is done, and shuts down as ServeFastCGI does. It has no TLS:
// it is meant for a proxy in front, or for a trial.
//
// net/http itself answers some requests before any handler is called, in text/plain: a malformed
// request line, a header that is too large, an unknown transfer coding.
func ServeHTTP(ctx context.Context, l net.Listener, h http.Handler, o Options) error {
	o = o.withDefaults()
	base, cancel := context.WithCancel(context.WithoutCancel(ctx)) // requests outlive ctx
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
		DisableGeneralOptionsHandler: true, // "OPTIONS *" is answered in JSON, too
		ErrorLog:                     slog.NewLogLogger(o.Log.Handler(), slog.LevelWarn),
	}
	limiter := newConnLimiter(l, o.maxConns(httpMaxConns), o.Log)
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(limiter) }()
	select {
	case err := <-failed:
		return errors.Join(fmt.Errorf("accept connection: %w", err), shutdownHTTP(server, o.Grace, cancel))
	case <-ctx.Done():
		return shutdownHTTP(server, o.Grace, cancel)
	}
}

func shutdownHTTP(server *http.Server, grace time.Duration, cancel func()) error {
	within, done := context.WithTimeout(context.Background(), grace)
	defer done()
	err := server.Shutdown(within)
	if err == nil {
		return nil
	}
	cancel()
	end, done := context.WithTimeout(context.Background(), handlerGrace)
	defer done()
	_ = server.Shutdown(end) // waits for handlers as before
	server.Close()
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("stop http: requests were still in flight after %s", grace)
	}
	return fmt.Errorf("stop http: %w", err)
}

type connKey struct{}

func withConn(ctx context.Context, nc net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, nc)
}

// onConnState hears when a response has been sent and the connection waits for the next request.
func onConnState(nc net.Conn, state http.ConnState) {
	if state == http.StateIdle {
		nc.(*trackedConn).setState(stateReading)
	}
}

// httpHandler makes a request of net/http look like those of the other front ends.
type httpHandler struct {
	handler http.Handler
	o       Options
}

// ServeHTTP aborts the response after a panic, since net/http would log the panic's value.
func (h *httpHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	err := protect(h.o.Log, func() error {
		h.respond(w, r)
		return nil
	})
	if err != nil {
		panic(http.ErrAbortHandler)
	}
}

func (h *httpHandler) respond(w http.ResponseWriter, r *http.Request) {
	ctx := newRequestContext(r.Context())
	defer ctx.end()
	conn := r.Context().Value(connKey{}).(*trackedConn)
	conn.setState(stateHandling)
	body := newHTTPBody(r.Body, conn)
	res := orInternalError(h.o.Log, func() *bufferedResponse { return h.serve(r.WithContext(ctx), body, w.Header()) })
	body.drain(r) // first, because net/http drops the body when it sends the first byte
	if maySmuggle(r) {
		res.header.Set("Connection", "close")
	}
	conn.response.begin(res.sentLength(r.Method))
	// net/http sends a long response now and a short one after this returns. A peer that stalls may
	// be evicted.
	conn.setState(stateWriting)
	res.copyTo(w)
	res.recycle()
}

// maySmuggle reports whether r may have had Content-Length beside Transfer-Encoding. A proxy that
// believes the other one takes the rest for a request of its own, so the connection must be closed
// (RFC 9112 §6.1, §6.3). net/http removes Content-Length from a chunked request, and
// Transfer-Encoding from an HTTP/1.0 request, without a trace. Hence the wider condition: few
// clients send chunks, and HTTP/1.0 keeps no connection by default.
func maySmuggle(r *http.Request) bool {
	return len(r.TransferEncoding) > 0 || !r.ProtoAtLeast(1, 1)
}

func (h *httpHandler) serve(r *http.Request, body *httpBody, header http.Header) *bufferedResponse {
	target, errResp := parseTarget(r.RequestURI, "", "")
	if errResp != nil {
		return reject(errResp, h.o.Log)
	}
	r.URL = target
	r.Host = ""
	if body != nil {
		r.Body = body
	}
	r.Header.Del("Proxy")
	r.Header.Del("Remote-User")
	r.RemoteAddr = clientAddr(r, h.o)
	if r.RemoteAddr == ":0" {
		h.o.warnNoAddress(r, unixFix)
	}
	return serveBuffered(h.handler, r, header, h.o.Log)
}

// httpBody is a request body as the handler reads it. It is nil if there is none.
type httpBody struct {
	all     io.ReadCloser
	limited io.Reader // all, up to maxBody
	conn    *trackedConn
	touched bool
}

func newHTTPBody(all io.ReadCloser, conn *trackedConn) *httpBody {
	if all == http.NoBody {
		return nil
	}
	return &httpBody{all: all, limited: http.MaxBytesReader(nil, all, maxBody), conn: conn}
}

func (b *httpBody) Read(p []byte) (int, error) {
	if !b.touched {
		b.touched = true
		b.conn.setState(stateReading)
	}
	n, err := b.limited.Read(p)
	if err != nil {
		b.conn.setState(stateHandling) // net/http reads ahead from here on, but waits for nothing
	}
	return n, err
}

// Close leaves the rest to drain.
func (b *httpBody) Close() error { return nil }

// drain receives what the handler left, within maxDrainBytes and ReadTimeout. net/http itself would
// close the connection after 256 KiB, and many clients then report that instead of the response.
// drain reads nothing if the client waits for "100 Continue", so that it is not asked to go on.
func (b *httpBody) drain(r *http.Request) {
	if b == nil || r.Header.Get("Expect") != "" && !b.touched {
		return
	}
	b.conn.setState(stateReading)
	io.CopyN(io.Discard, b.all, maxDrainBytes)
}
