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

// fewPlaces is the bound in tests that have to reach it.
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

// isClosed waits until the other end of c has closed.
func waitClosed(t testing.TB, c net.Conn) {
	t.Helper()
	if n, err := c.Read(make([]byte, 1)); n > 0 || err == nil {
		t.Error("connection is not closed")
	}
}

// What can be done with a connection short of waiting for us keeps nobody out, or only for
// so long, not even when it is done with all of them.
func TestHTTPNobodyHoldsAllPlaces(t *testing.T) {
	cases := []struct {
		name   string
		occupy func(t *testing.T, c net.Conn)
		took   time.Duration
	}{
		{"saying nothing", func(*testing.T, net.Conn) {}, 0},
		{"half a request line", func(_ *testing.T, c net.Conn) { io.WriteString(c, "GET /") }, 0},
		{"dribbling headers", func(_ *testing.T, c net.Conn) {
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
		{"a kept connection", func(t *testing.T, c net.Conn) { ask(t, c) }, 0},
		{"half a next request", func(t *testing.T, c net.Conn) { ask(t, c); io.WriteString(c, "GET") }, 0},
		{"half a body", func(_ *testing.T, c net.Conn) {
			io.WriteString(c, "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1")
		}, 0},
		{"dribbling a body", func(_ *testing.T, c net.Conn) {
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
		{"half a body nobody reads", func(_ *testing.T, c net.Conn) {
			io.WriteString(c, "POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1")
		}, 0},
		{"not taking the answer", func(_ *testing.T, c net.Conn) { io.WriteString(c, getX) }, writeStallTimeout},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			httpBubbleWith(t, echo, Options{MaxConns: fewConns}, func(t *testing.T, p *pipeListener, _ func()) {
				var held []net.Conn
				for range fewConns {
					c := p.call()
					tc.occupy(t, c)
					held = append(held, c)
				}
				synctest.Wait()
				start := time.Now()
				for range 2 * fewConns { // more than places: the newcomers do not hold them either
					c := p.call()
					ask(t, c)
					held = append(held, c)
				}
				if took := time.Since(start); took != tc.took {
					t.Errorf("took %s, want %s", took, tc.took)
				}
				for _, c := range held {
					c.Close()
				}
				time.Sleep(time.Second) // of the bubble: until the dribblers have noticed
			})
		})
	}
}

func TestHTTPTheLongestSilentGoesAndOnlyThat(t *testing.T) {
	httpBubbleWith(t, echo, Options{MaxConns: 3}, func(t *testing.T, p *pipeListener, _ func()) {
		first, second, third := p.call(), p.call(), p.call()
		ask(t, first)   // and is younger than the others again
		synctest.Wait() // all are silent now: whoever has not begun to read yet is passed over
		fourth := p.call()
		ask(t, fourth)
		waitClosed(t, second)
		for _, c := range []net.Conn{first, third, fourth} {
			ask(t, c)
			c.Close()
		}
	})
}

func TestHTTPARequestUnderWayIsNotCutOff(t *testing.T) {
	k := &blockingHandler{}
	httpBubbleWith(t, k, Options{MaxConns: 2}, func(t *testing.T, p *pipeListener, _ func()) {
		*k = *newBlockingHandler() // its channels are the bubble's
		const getHeld = "GET /held HTTP/1.1\r\nHost: x\r\n\r\n"
		const postHeld = "POST /held HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1" // held unread
		var under []*http.Request
		var conns []net.Conn
		for _, request := range []string{getHeld, postHeld} {
			c := p.call()
			io.WriteString(c, request)
			under = append(under, <-k.entered)
			conns = append(conns, c)
		}
		late, answered := p.call(), make(chan struct{})
		go func() {
			ask(t, late)
			close(answered)
		}()
		synctest.Wait()
		select {
		case <-answered:
			t.Error("there was a place too many")
		default:
		}
		for _, r := range under {
			if r.Context().Err() != nil {
				t.Errorf("%s was cut off", r.Method)
			}
		}
		go io.WriteString(conns[1], "23456789")
		close(k.release)
		readReply(t, conns[0])
		readReply(t, conns[1])
		<-answered // in the place of one of them
		for _, c := range append(conns, late) {
			c.Close()
		}
	})
}

func TestHTTPShutdownDoesNotWaitForAPlace(t *testing.T) {
	k := &blockingHandler{}
	httpBubbleWith(t, k, Options{MaxConns: 1}, func(t *testing.T, p *pipeListener, stop func()) {
		*k = *newBlockingHandler() // its channels are the bubble's
		c := p.call()
		io.WriteString(c, "GET /held HTTP/1.1\r\nHost: x\r\n\r\n")
		<-k.entered
		late := p.call()
		stop()
		waitClosed(t, late)
		close(k.release)
		readReply(t, c)
	})
}

// realDoor is a long-lived door behind real sockets.
type listenerFrontend struct {
	name      string
	serve     server
	bound     int
	send      func(testing.TB, net.Conn)
	readReply func(testing.TB, net.Conn)
}

var listenerFrontends = []listenerFrontend{
	{"HTTP", ServeHTTP, httpMaxConns,
		func(_ testing.TB, c net.Conn) { io.WriteString(c, getX) },
		func(t testing.TB, c net.Conn) { readReply(t, c) }},
	{"FastCGI", ServeFastCGI, fcgiMaxConns,
		func(_ testing.TB, c net.Conn) { c.Write(fcgiGetX) },
		func(t testing.TB, c net.Conn) { newClient(t, c).reply(1) }},
}

// fcgiGetX is a request on a connection that is to be kept.
var fcgiGetX = func() []byte {
	get := encodePairs(testRequest{method: "GET", target: "/x"}.variables())
	request := appendStream(beginRecord(1, roleResponder, flagKeepConn), typeParams, 1, get)
	return appendRecord(request, typeStdin, 1, nil)
}()

// In a rush there are more connections than places, and all have sent their request before
// anybody has read one: none of them is silent.
func TestARushIsAnsweredToTheLast(t *testing.T) {
	const rush = 20 * fewConns
	for _, door := range listenerFrontends {
		t.Run(door.name, func(t *testing.T) {
			l, err := Listen("tcp:127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			var conns []net.Conn
			for range rush {
				c := dialTCP(t, l) // waits in the backlog
				door.send(t, c)
				conns = append(conns, c)
			}
			runWith(t, door.serve, l, echo, Options{MaxConns: fewConns})
			for _, c := range conns {
				door.readReply(t, c)
			}
		})
	}
}

// Real sockets, as many as may be: nothing here waits for a timeout, or the last silent
// connection would be closed when the request has been answered.
func TestThousandsOfSilentConnectionsKeepNobodyOut(t *testing.T) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	for _, door := range listenerFrontends {
		t.Run(door.name, func(t *testing.T) {
			bound := connsForLimit(door.bound, limit.Cur)
			idle := 2 * bound
			if limit.Cur < uint64(idle+bound+100) {
				t.Skipf("%d open files do not suffice for both ends of %d connections", limit.Cur, idle)
			}
			l, err := Listen("tcp:127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			run(t, door.serve, l, echo)
			var conns []net.Conn
			for range idle {
				conns = append(conns, dialTCP(t, l))
			}
			honest := dialTCP(t, l)
			door.send(t, honest)
			door.readReply(t, honest)
			waitClosed(t, conns[0])
			door.send(t, conns[idle-1])
			door.readReply(t, conns[idle-1])
		})
	}
}

func TestAConnectionWithBytesToReadIsNotSilent(t *testing.T) {
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
		t.Fatal("nobody has tried to read from it, and it had to go")
	}
	c.beginRead() // as its goroutine does before it sleeps in Read
	io.WriteString(peer, "x")
	if p.evict(); p.evicting != nil {
		t.Fatal("it had a byte to read, and had to go")
	}
	if _, err := c.Conn.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if p.evict(); p.evicting != c {
		t.Fatal("it was silent, and did not have to go")
	}
}

// lateConn is told to go while it reads.
type lateConn struct {
	net.Conn
	told  func()
	got   int
	until time.Time
}

func (c *lateConn) Read([]byte) (int, error)          { c.told(); return c.got, nil }
func (c *lateConn) SetReadDeadline(t time.Time) error { c.until = t; return nil }

func TestWhoIsToldToGoMayStayWithARequest(t *testing.T) {
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
		t.Errorf("it reads until %s, %d places are taken", late.until, p.conns.Len())
	}
	late.got = 0
	if n, err := nc.Read(make([]byte, 1)); n != 0 || !errors.Is(err, net.ErrClosed) {
		t.Errorf("read %d bytes, %v", n, err)
	}
	if !late.until.Equal(pastDeadline) || p.conns.Len() != 0 {
		t.Errorf("it reads until %s, %d places are taken", late.until, p.conns.Len())
	}
}

func TestWithoutFilesTheLongestSilentGoes(t *testing.T) {
	httpBubbleWith(t, echo, Options{MaxConns: fewConns}, func(t *testing.T, p *pipeListener, _ func()) {
		first := p.call()
		synctest.Wait()
		p.failures <- syscall.EMFILE
		waitClosed(t, first)
		ask(t, p.call())
	})
}

func accept(t *testing.T, l net.Listener, p *pipeListener) (here net.Conn) {
	t.Helper()
	var call sync.WaitGroup
	call.Go(func() { p.call() })
	here, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	call.Wait()
	return here
}

func TestAPlaceIsGivenUpOnce(t *testing.T) {
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
		pipeListener.call()
		synctest.Wait()
		p.Close()
		if err := <-late; !errors.Is(err, net.ErrClosed) {
			t.Errorf("a third connection got in: %v", err)
		}
	})
}

func TestTheLogSaysNowAndThenThatPlacesAreScarce(t *testing.T) {
	var out bytes.Buffer
	o := Options{MaxConns: 1, Log: slog.New(slog.NewTextHandler(&out, nil))}
	httpBubbleWith(t, echo, o, func(t *testing.T, p *pipeListener, _ func()) {
		crowd := func() {
			for range 3 {
				ask(t, p.call())
			}
		}
		crowd()
		time.Sleep(warnInterval) // of the bubble
		crowd()
		if n := strings.Count(out.String(), "\n"); n != 2 {
			t.Errorf("%d lines: %s", n, out.String())
		}
	})
}

func TestFewFilesMeanFewPlaces(t *testing.T) {
	cases := []struct {
		files uint64
		want  int
	}{
		{1 << 62, 1000}, {^uint64(0), 1000}, {1000 + reservedFDs, 1000}, {999 + reservedFDs, 999}, {1024, 1024 - reservedFDs},
		{reservedFDs, reservedFDs / 4}, {64, 16}, {1, 1}, {0, 1},
	}
	for _, c := range cases {
		if got := connsForLimit(1000, c.files); got != c.want {
			t.Errorf("with %d files there are %d places, want %d", c.files, got, c.want)
		}
	}
}
