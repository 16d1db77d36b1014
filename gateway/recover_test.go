package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
)

const panicValue = "pw-in-panic"

// checkPanicLog fails unless the log names the place of one panic, and not its value.
func checkPanicLog(t *testing.T, log string) {
	t.Helper()
	if strings.Count(log, `msg="recovered from a panic"`) != 1 || !strings.Contains(log, "recover_test.go:") {
		t.Errorf("log: %s", log)
	}
	if strings.Contains(log, panicValue) {
		t.Errorf("the log has the value: %s", log)
	}
}

// panicker panics at its n-th call.
type panicker struct {
	n     int32
	calls atomic.Int32
}

func (p *panicker) call() {
	if p.calls.Add(1) == p.n {
		panic(panicValue)
	}
}

// panickingHandler is a log handler, for a panic wherever a front end logs.
type panickingHandler struct {
	slog.Handler
	first *panicker
}

func (h panickingHandler) Handle(ctx context.Context, r slog.Record) error {
	h.first.call()
	return h.Handler.Handle(ctx, r)
}

func panickingLog(out io.Writer) *slog.Logger {
	return slog.New(panickingHandler{slog.NewTextHandler(out, nil), &panicker{n: 1}})
}

// addressless is a login that the front end logs before it calls the handler.
var addressless = with(map[string]string{"REMOTE_ADDR": ""})

func TestCGIAnswersAfterAPanicOutsideOfTheHandler(t *testing.T) {
	var log, out bytes.Buffer
	o := Options{Log: panickingLog(&log), Program: program}
	if err := CGI(t.Context(), echo, environ(addressless), nil, &out, o); err != nil {
		t.Fatal(err)
	}
	r, err := parseCGI(out.Bytes())
	if err != nil || r.status != 500 {
		t.Errorf("status %d, %v", r.status, err)
	}
	r.checkJSON(t)
	checkPanicLog(t, log.String())
}

type panickingReader struct{}

func (panickingReader) Read([]byte) (int, error) { panic(panicValue) }

func TestCGIAnswersAfterAPanicWhileTheBodyIsReceived(t *testing.T) {
	var log, out bytes.Buffer
	o := Options{Log: slog.New(slog.NewTextHandler(&log, nil)), Program: program}
	if err := CGI(t.Context(), echo, environ(with(nil)), panickingReader{}, &out, o); err != nil {
		t.Fatal(err)
	}
	r, err := parseCGI(out.Bytes())
	if err != nil || r.echoed(t).Error != errPanicked.Error() {
		t.Errorf("%+v, %v", r, err)
	}
	checkPanicLog(t, log.String())
}

type panickingWriter struct{}

func (panickingWriter) Write([]byte) (int, error) { panic(panicValue) }

func TestCGIReportsAPanicWhileItWrites(t *testing.T) {
	var log bytes.Buffer
	o := Options{Log: slog.New(slog.NewTextHandler(&log, nil)), Program: program}
	vars := environ(testRequest{method: "GET", target: "/"}.variables())
	if err := CGI(t.Context(), echo, vars, nil, panickingWriter{}, o); !errors.Is(err, errPanicked) {
		t.Errorf("got %v", err)
	}
	checkPanicLog(t, log.String())
}

// panickingConn panics in one Read or Write.
type panickingConn struct {
	net.Conn
	read, write *panicker
}

func (c panickingConn) Read(p []byte) (int, error) {
	c.read.call()
	return c.Conn.Read(p)
}

func (c panickingConn) Write(p []byte) (int, error) {
	c.write.call()
	return c.Conn.Write(p)
}

func TestFastCGIAPanicEndsItsConnectionOnly(t *testing.T) {
	tests := []struct {
		name        string
		read, write int32
	}{
		{"in the first read", 1, 0}, {"in a later read", 2, 0}, {"in the write of an answer", 0, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var log bytes.Buffer
			o := Options{Log: slog.New(slog.NewTextHandler(&log, nil))}
			bubbleWith(t, nil, o, func(t *testing.T, s *fcgiTest) {
				here, there := net.Pipe()
				s.conns <- panickingConn{there, &panicker{n: tt.read}, &panicker{n: tt.write}}
				bad := newClient(t, here)
				bad.Write(bytes.Join([][]byte{ // is cut off
					beginRecord(1, roleResponder, flagKeepConn),
					appendStream(nil, typeParams, 1, encodePairs(testRequest{method: "GET", target: "/x"}.variables())),
					appendStream(nil, typeStdin, 1, nil),
				}, nil))
				<-bad.gone
				good := s.dial(t)
				good.get(1, false, "/x")
				good.reply(1).echoed(t)
			})
			checkPanicLog(t, log.String())
		})
	}
}

func TestFastCGIAnswersAfterAPanicOutsideOfTheHandler(t *testing.T) {
	var log bytes.Buffer
	bubbleWith(t, nil, Options{Log: panickingLog(&log)}, func(t *testing.T, s *fcgiTest) {
		c := s.dial(t)
		c.begin(1, true)
		c.params(1, addressless)
		c.stdin(1, nil)
		r := c.reply(1)
		if r.status != 500 {
			t.Errorf("status %d", r.status)
		}
		r.checkJSON(t)
		c.get(1, true, "/x") // the connection is still good
		c.reply(1).echoed(t)
		c.Close()
	})
	checkPanicLog(t, log.String())
}

func TestHTTPAnswersAfterAPanicOutsideOfTheHandler(t *testing.T) {
	var log bytes.Buffer
	l, err := Listen("tcp:127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	runWith(t, ServeHTTP, l, echo, Options{
		Log:     slog.New(slog.NewTextHandler(&log, nil)),
		Trusted: func(netip.Addr) bool { panic(panicValue) },
	})
	header := map[string]string{"X-Forwarded-For": "192.0.2.1"}
	r := testRequest{method: "GET", target: "/x", header: header}.sendHTTPOn(t, dialTo(t, l))
	if r.status != 500 {
		t.Errorf("status %d", r.status)
	}
	r.checkJSON(t)
	checkPanicLog(t, log.String())
}

// net/http would log the value of a panic that it recovers.
func TestHTTPAPanicWhileItDrainsEndsItsConnectionOnly(t *testing.T) {
	var log bytes.Buffer
	h := &httpHandler{echo, Options{Log: slog.New(slog.NewTextHandler(&log, nil))}.withDefaults()}
	listener := newConnLimiter(newPipeListener(), 1, h.o.Log)
	conn := &trackedConn{limiter: listener}
	ctx := context.WithValue(t.Context(), connKey{}, conn)
	r, err := http.NewRequestWithContext(ctx, "POST", "/unread", panickingReader{})
	if err != nil {
		t.Fatal(err)
	}
	r.RequestURI = "/unread"
	defer func() {
		if p := recover(); p != http.ErrAbortHandler { //nolint:errorlint // net/http compares it so
			t.Errorf("panic with %v, want http.ErrAbortHandler", p)
		}
		checkPanicLog(t, log.String())
	}()
	h.ServeHTTP(httptest.NewRecorder(), r)
}
