package gateway

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// httpBubble is bubble for the HTTP front end.
func httpBubble(t *testing.T, h http.Handler, test func(t *testing.T, p *pipeListener, stop func())) {
	t.Helper()
	httpBubbleWith(t, h, Options{}, test)
}

func httpBubbleWith(t *testing.T, h http.Handler, o Options, test func(t *testing.T, p *pipeListener, stop func())) {
	t.Helper()
	o.Program = program
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		p := newPipeListener()
		ended := make(chan error, 1)
		go func() { ended <- ServeHTTP(ctx, p, h, o) }()
		test(t, p, stop)
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestHTTPHasADeadlineForEveryWait(t *testing.T) {
	cases := []struct {
		name string
		send string
		took time.Duration
	}{
		{"a request", "", httpHeaderTimeout},
		{"the rest of the headers", "GET / HTTP/1.1\r\nHost: x\r\n", httpHeaderTimeout},
		{"the rest of a body", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n123",
			httpHeaderTimeout + bodyTimeout},
		{"the rest of a body that is not read", "POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n123",
			httpHeaderTimeout + bodyTimeout},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			httpBubble(t, echo, func(t *testing.T, p *pipeListener, _ func()) {
				c := p.connect()
				start := time.Now()
				io.WriteString(c, tc.send)
				io.Copy(io.Discard, c)
				if took := time.Since(start); took < tc.took ||
					took > tc.took+time.Second { // net/http lingers half a second
					t.Errorf("took %s, want %s", took, tc.took)
				}
			})
		})
	}
}

func TestHTTPHandlerSeesASlowBody(t *testing.T) {
	var seen error
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, seen = io.ReadAll(r.Body) })
	httpBubble(t, h, func(t *testing.T, p *pipeListener, _ func()) {
		c := p.connect()
		io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n123")
		io.Copy(io.Discard, c)
		if !errors.Is(seen, os.ErrDeadlineExceeded) {
			t.Errorf("the handler saw %v", seen)
		}
	})
}

func TestHTTPKeepsAConnectionForTheNextRequest(t *testing.T) {
	httpBubble(t, echo, func(t *testing.T, p *pipeListener, _ func()) {
		c := p.connect()
		in := bufio.NewReader(c)
		for range 2 {
			io.WriteString(c, "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n123")
			res, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(res.Body)
			if s := (reply{body: body}).echoed(t); s.Read != 3 || s.Remote != ":0" {
				t.Errorf("%+v", s)
			}
		}
		start := time.Now()
		in.ReadByte()
		if waited := time.Since(start); waited != idleTimeout {
			t.Errorf("connection was kept for %s", waited)
		}
	})
}

func TestHTTPClosesAConnectionWhoseFramingIsAmbiguous(t *testing.T) {
	const chunks = "3\r\n123\r\n0\r\n\r\n"
	cases := []struct{ name, request string }{
		{"Content-Length beside chunks",
			"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks},
		{"chunks before Content-Length",
			"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n" + chunks},
		{"Transfer-Encoding in HTTP/1.0",
			"POST /x HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n123"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			httpBubble(t, echo, func(t *testing.T, p *pipeListener, _ func()) {
				c := p.connect()
				go io.WriteString(c, tc.request+getX) // the second request is not to be answered
				in := bufio.NewReader(c)
				res, err := http.ReadResponse(in, nil)
				if err != nil {
					t.Fatal(err)
				}
				body, _ := io.ReadAll(res.Body)
				if s := (reply{body: body}).echoed(t); s.Read != 3 || !res.Close {
					t.Errorf("read %d bytes of the body, Connection: close is %t", s.Read, res.Close)
				}
				if rest, err := io.ReadAll(in); len(rest) > 0 || err != nil {
					t.Errorf("after the answer came %q, %v", rest, err)
				}
			})
		})
	}
}

func TestHTTPDoesNotAskForABodyThatIsNotRead(t *testing.T) {
	httpBubble(t, echo, func(t *testing.T, p *pipeListener, _ func()) {
		c := p.connect()
		io.WriteString(c, "POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
		line, err := bufio.NewReader(c).ReadString('\n')
		if err != nil || !strings.HasPrefix(line, "HTTP/1.1 413 ") {
			t.Errorf("%q, %v", line, err)
		}
		c.Close()
	})
}

func TestHTTPCancelsARequestWhoseClientDisconnects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newBlockingHandler()
		ctx, stop := context.WithCancel(t.Context())
		p := newPipeListener()
		ended := make(chan error, 1)
		go func() { ended <- ServeHTTP(ctx, p, k, Options{}) }()
		c := p.connect()
		io.WriteString(c, "GET /held HTTP/1.1\r\nHost: x\r\n\r\n")
		r := <-k.entered
		c.Close()
		<-r.Context().Done()
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestHTTPShutdownFinishesRequestsUnderWay(t *testing.T) {
	cases := []struct {
		name    string
		release bool
		fails   bool
		took    time.Duration
	}{
		{"in time", true, false, 0},
		{"but not beyond the grace periods", false, true, defaultGrace + handlerGrace},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newBlockingHandler()
				ctx, stop := context.WithCancel(t.Context())
				p := newPipeListener()
				ended := make(chan error, 1)
				go func() { ended <- ServeHTTP(ctx, p, k, Options{}) }()
				c := p.connect()
				io.WriteString(c, "GET /held HTTP/1.1\r\nHost: x\r\n\r\n")
				r := <-k.entered
				start := time.Now()
				stop()
				<-p.closed
				if tc.release {
					if r.Context().Err() != nil {
						t.Error("request in flight was cancelled")
					}
					close(k.release)
					res, err := http.ReadResponse(bufio.NewReader(c), nil)
					if err != nil || res.StatusCode != 200 {
						t.Errorf("%+v, %v", res, err)
					}
					io.Copy(io.Discard, c)
				}
				if err := <-ended; (err != nil) != tc.fails {
					t.Error(err)
				}
				<-r.Context().Done() // otherwise a goroutine would be left
				// net/http looks for idle connections every 500 ms at most.
				if took := time.Since(start); took < tc.took || took > tc.took+time.Second {
					t.Errorf("took %s", took)
				}
			})
		})
	}
}

func TestAnHTTPHandlerWhoseContextHasEndedStillAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		entered := make(chan struct{})
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			close(entered)
			<-r.Context().Done()
			time.Sleep(handlerGrace / 4) // such as the end of a PAM conversation
			w.WriteHeader(http.StatusServiceUnavailable)
		})
		ctx, stop := context.WithCancel(t.Context())
		p := newPipeListener()
		ended := make(chan error, 1)
		go func() { ended <- ServeHTTP(ctx, p, h, Options{}) }()
		c := p.connect()
		io.WriteString(c, "GET /held HTTP/1.1\r\nHost: x\r\n\r\n")
		<-entered
		stop()
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || res.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("got %+v, %v", res, err)
		} else {
			io.Copy(io.Discard, res.Body)
		}
		if err := <-ended; err == nil {
			t.Error("no error although requests were in flight")
		}
		c.Close()
	})
}

func TestServersContinueAfterATemporaryError(t *testing.T) {
	for _, srv := range servers {
		synctest.Test(t, func(t *testing.T) {
			ctx, stop := context.WithCancel(t.Context())
			l := newPipeListener()
			ended := make(chan error, 1)
			go func() { ended <- srv.serve(ctx, l, echo, Options{MaxConns: fewConns}) }()
			for range fewConns {
				l.failures <- syscall.EMFILE
				l.failures <- syscall.ENOBUFS
			}
			c := l.connect()
			srv.send(t, c)
			srv.readReply(t, c)
			c.Close()
			stop()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}

func TestServersReportAListenerThatFails(t *testing.T) {
	for name, serve := range map[string]serveFunc{"FastCGI": ServeFastCGI, "HTTP": ServeHTTP} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				broken := errors.New("broken")
				l := newPipeListener()
				go func() { l.failures <- broken }()
				err := serve(t.Context(), l, echo, Options{})
				if !errors.Is(err, broken) || !strings.HasPrefix(fmt.Sprint(err), "accept connection: ") {
					t.Errorf("%v", err)
				}
			})
		})
	}
}
