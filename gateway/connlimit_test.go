package gateway

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// fewConns is the connection limit in tests that have to reach it.
const fewConns = 8

const getX = "GET /x HTTP/1.1\r\nHost: x\r\n\r\n"

// ask sends getX on c and returns the answer.
func ask(t testing.TB, c net.Conn) reply {
	t.Helper()
	if _, err := io.WriteString(c, getX); err != nil {
		t.Fatalf("write request: %v", err)
	}
	return readReply(t, c)
}

func readReply(t testing.TB, c net.Conn) reply {
	t.Helper()
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("read response: %v", err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("read response: %v", err)
	}
	return reply{res.StatusCode, res.Header, body}
}

// waitClosed waits until the other end has closed c.
func waitClosed(t testing.TB, c net.Conn) {
	t.Helper()
	if n, err := c.Read(make([]byte, 1)); n > 0 || err == nil {
		t.Error("connection is not closed")
	}
}

// Nothing that clients do with all connections keeps a new client out for long. A request that
// waits for its handler is the exception.
func TestHTTPHeldConnectionsAreEvicted(t *testing.T) {
	cases := []struct {
		name   string
		occupy func(t *testing.T, c net.Conn)
		took   time.Duration
	}{
		{"sending nothing", func(*testing.T, net.Conn) {}, 0},
		{"half a request line", func(_ *testing.T, c net.Conn) { io.WriteString(c, "GET /") }, 0},
		{"sending a header slowly", func(_ *testing.T, c net.Conn) {
			io.WriteString(c, "GET / HTTP/1.1\r\n")
			go func() {
				for i := 0; ; i++ {
					time.Sleep(100 * time.Millisecond)
					if _, err := fmt.Fprintf(c, "X-%d: a\r\n", i); err != nil {
						return
					}
				}
			}()
		}, 0},
		{"an idle connection", func(t *testing.T, c net.Conn) { ask(t, c) }, 0},
		{"half a next request", func(t *testing.T, c net.Conn) { ask(t, c); io.WriteString(c, "GET") }, 0},
		{"half a body", func(_ *testing.T, c net.Conn) {
			io.WriteString(c, "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1")
		}, 0},
		{"sending a body slowly", func(_ *testing.T, c net.Conn) {
			io.WriteString(c, "POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
			go func() {
				for {
					time.Sleep(100 * time.Millisecond)
					if _, err := io.WriteString(c, "1\r\nx\r\n"); err != nil {
						return
					}
				}
			}()
		}, 0},
		{"half a body that is not read", func(_ *testing.T, c net.Conn) {
			io.WriteString(c, "POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1")
		}, 0},
		{"not reading the response", func(_ *testing.T, c net.Conn) { io.WriteString(c, getX) }, writeStallTimeout},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			httpBubbleWith(t, echo, Options{MaxConns: fewConns}, func(t *testing.T, p *pipeListener, _ func()) {
				var held []net.Conn
				for range fewConns {
					c := p.connect()
					tc.occupy(t, c)
					held = append(held, c)
				}
				synctest.Wait()
				start := time.Now()
				for range 2 * fewConns { // more than the limit: the new ones are evicted, too
					c := p.connect()
					ask(t, c)
					held = append(held, c)
				}
				if took := time.Since(start); took != tc.took {
					t.Errorf("took %s, want %s", took, tc.took)
				}
				for _, c := range held {
					c.Close()
				}
				time.Sleep(time.Second) // of the bubble: until the slow senders have noticed
			})
		})
	}
}

func TestHTTPOnlyTheLongestIdleConnectionIsEvicted(t *testing.T) {
	httpBubbleWith(t, echo, Options{MaxConns: 3}, func(t *testing.T, p *pipeListener, _ func()) {
		first, second, third := p.connect(), p.connect(), p.connect()
		ask(t, first)   // has been idle for less time than the others now
		synctest.Wait() // all are idle now; one that has not begun to read is not evicted
		fourth := p.connect()
		ask(t, fourth)
		waitClosed(t, second)
		for _, c := range []net.Conn{first, third, fourth} {
			ask(t, c)
			c.Close()
		}
	})
}

func TestHTTPARequestUnderWayIsNotEvicted(t *testing.T) {
	k := &blockingHandler{}
	httpBubbleWith(t, k, Options{MaxConns: 2}, func(t *testing.T, p *pipeListener, _ func()) {
		*k = *newBlockingHandler() // its channels are the bubble's
		const getHeld = "GET /held HTTP/1.1\r\nHost: x\r\n\r\n"
		const postHeld = "POST /held HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1" // held unread
		var under []*http.Request
		var conns []net.Conn
		for _, request := range []string{getHeld, postHeld} {
			c := p.connect()
			io.WriteString(c, request)
			under = append(under, <-k.entered)
			conns = append(conns, c)
		}
		late, answered := p.connect(), make(chan struct{})
		go func() {
			ask(t, late)
			close(answered)
		}()
		synctest.Wait()
		select {
		case <-answered:
			t.Error("the limit was exceeded")
		default:
		}
		for _, r := range under {
			if r.Context().Err() != nil {
				t.Errorf("%s was cancelled", r.Method)
			}
		}
		go io.WriteString(conns[1], "23456789")
		close(k.release)
		readReply(t, conns[0])
		readReply(t, conns[1])
		<-answered // after one of them has been answered
		for _, c := range append(conns, late) {
			c.Close()
		}
	})
}

func TestHTTPShutdownClosesAConnectionBeyondTheLimit(t *testing.T) {
	k := &blockingHandler{}
	httpBubbleWith(t, k, Options{MaxConns: 1}, func(t *testing.T, p *pipeListener, stop func()) {
		*k = *newBlockingHandler() // its channels are the bubble's
		c := p.connect()
		io.WriteString(c, "GET /held HTTP/1.1\r\nHost: x\r\n\r\n")
		<-k.entered
		late := p.connect()
		stop()
		waitClosed(t, late)
		close(k.release)
		readReply(t, c)
	})
}

// server is a front end with a listener, and a client for it.
type server struct {
	name      string
	serve     serveFunc
	bound     int
	send      func(testing.TB, net.Conn)
	readReply func(testing.TB, net.Conn)
}

var servers = []server{
	{"HTTP", ServeHTTP, httpMaxConns,
		func(_ testing.TB, c net.Conn) { io.WriteString(c, getX) },
		func(t testing.TB, c net.Conn) { readReply(t, c) }},
	{"FastCGI", ServeFastCGI, fcgiMaxConns,
		func(_ testing.TB, c net.Conn) { c.Write(fcgiGetX) },
		func(t testing.TB, c net.Conn) { newClient(t, c).reply(1) }},
}

// fcgiGetX is a request that asks to keep the connection.
var fcgiGetX = request(1, testRequest{method: "GET", target: "/x"}.variables(), nil)

// Far more connections than the limit have sent a request before any is read. None of them is idle.
func TestEveryRequestOfARushIsAnswered(t *testing.T) {
	const rush = 20 * fewConns
	for _, srv := range servers {
		t.Run(srv.name, func(t *testing.T) {
			l, err := Listen("tcp:127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			var conns []net.Conn
			for range rush {
				c := dialTo(t, l) // waits in the backlog
				srv.send(t, c)
				conns = append(conns, c)
			}
			runWith(t, srv.serve, l, echo, Options{MaxConns: fewConns})
			for _, c := range conns {
				srv.readReply(t, c)
			}
		})
	}
}

// If anything here waited for a timeout, the last idle connection would be closed before it sends
// its request.
func TestThousandsOfSilentConnectionsKeepNobodyOut(t *testing.T) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	for _, srv := range servers {
		t.Run(srv.name, func(t *testing.T) {
			bound := connsForFiles(srv.bound, limit.Cur)
			idle := 2 * bound
			if limit.Cur < uint64(idle+bound+100) {
				t.Skipf("%d open files do not suffice for both ends of %d connections", limit.Cur, idle)
			}
			l, err := Listen("tcp:127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			run(t, srv.serve, l, echo)
			var conns []net.Conn
			for range idle {
				conns = append(conns, dialTo(t, l))
			}
			late := dialTo(t, l)
			srv.send(t, late)
			srv.readReply(t, late)
			waitClosed(t, conns[0])
			srv.send(t, conns[idle-1])
			srv.readReply(t, conns[idle-1])
		})
	}
}

func TestAConnectionWithUnreadBytesIsNotIdle(t *testing.T) {
	l, err := net.Listen("unix", socket(t))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := newConnLimiter(l, 1, slog.New(slog.DiscardHandler))
	peer, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	nc, err := p.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	c := nc.(*trackedConn)
	if p.evict(); p.evicting != nil {
		t.Fatal("it was evicted before its first Read")
	}
	c.beginRead() // as its goroutine does before it blocks in Read
	io.WriteString(peer, "x")
	if p.evict(); p.evicting != nil {
		t.Fatal("it was evicted with an unread byte")
	}
	if _, err := c.Conn.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if p.evict(); p.evicting != c {
		t.Fatal("it was idle, and was not evicted")
	}
}

// lateConn is evicted while it reads.
type lateConn struct {
	net.Conn
	told  func()
	got   int
	until time.Time
}

func (c *lateConn) Read([]byte) (int, error)          { c.told(); return c.got, nil }
func (c *lateConn) SetReadDeadline(t time.Time) error { c.until = t; return nil }

func TestAnEvictedConnectionThatReceivesARequestStays(t *testing.T) {
	p := newConnLimiter(nil, 1, slog.New(slog.DiscardHandler))
	late := &lateConn{told: p.evict}
	nc, err := p.admit(late)
	if err != nil {
		t.Fatal(err)
	}
	owners := time.Unix(4711, 0)
	nc.SetReadDeadline(owners)
	late.got = 1
	if n, err := nc.Read(make([]byte, 1)); n != 1 || err != nil {
		t.Errorf("read %d bytes, %v", n, err)
	}
	if !late.until.Equal(owners) || p.conns.Len() != 1 {
		t.Errorf("read deadline %s, %d connections", late.until, p.conns.Len())
	}
	late.got = 0
	if n, err := nc.Read(make([]byte, 1)); n != 0 || !errors.Is(err, net.ErrClosed) {
		t.Errorf("read %d bytes, %v", n, err)
	}
	if !late.until.Equal(pastDeadline) || p.conns.Len() != 0 {
		t.Errorf("read deadline %s, %d connections", late.until, p.conns.Len())
	}
}

func TestWithoutFilesAnIdleConnectionIsEvicted(t *testing.T) {
	httpBubbleWith(t, echo, Options{MaxConns: fewConns}, func(t *testing.T, p *pipeListener, _ func()) {
		first := p.connect()
		synctest.Wait()
		p.failures <- syscall.EMFILE
		waitClosed(t, first)
		ask(t, p.connect())
	})
}

func accept(t *testing.T, l net.Listener, p *pipeListener) (here net.Conn) {
	t.Helper()
	var call sync.WaitGroup
	call.Go(func() { p.connect() })
	here, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	call.Wait()
	return here
}

func TestAConnectionIsCountedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pipeListener := newPipeListener()
		p := newConnLimiter(pipeListener, 2, slog.New(slog.DiscardHandler))
		first := accept(t, p, pipeListener)
		accept(t, p, pipeListener)
		first.Close()
		first.Close()
		accept(t, p, pipeListener)
		late := make(chan error)
		go func() {
			_, err := p.Accept()
			late <- err
		}()
		pipeListener.connect()
		synctest.Wait()
		p.Close()
		if err := <-late; !errors.Is(err, net.ErrClosed) {
			t.Errorf("a third connection was accepted: %v", err)
		}
	})
}

func TestTheLimitIsLoggedOncePerInterval(t *testing.T) {
	var out bytes.Buffer
	o := Options{MaxConns: 1, Log: slog.New(slog.NewTextHandler(&out, nil))}
	httpBubbleWith(t, echo, o, func(t *testing.T, p *pipeListener, _ func()) {
		fill := func() {
			for range 3 {
				ask(t, p.connect())
			}
		}
		fill()
		time.Sleep(warnInterval) // of the bubble
		fill()
		if n := strings.Count(out.String(), "\n"); n != 2 {
			t.Errorf("%d lines: %s", n, out.String())
		}
	})
}

func TestALowFileLimitReducesConnections(t *testing.T) {
	cases := []struct {
		files uint64
		want  int
	}{
		{1 << 62, 1000}, {^uint64(0), 1000}, {1000 + reservedFiles, 1000}, {999 + reservedFiles, 999}, {1024,
			1024 - reservedFiles},
		{reservedFiles, reservedFiles / 4}, {64, 16}, {1, 1}, {0, 1},
	}
	for _, c := range cases {
		if got := connsForFiles(1000, c.files); got != c.want {
			t.Errorf("with %d files there are %d connections, want %d", c.files, got, c.want)
		}
	}
}
