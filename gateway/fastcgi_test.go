package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// fcgiTest is a FastCGI server in a bubble.
type fcgiTest struct {
	*pipeListener
	*blockingHandler
	stop  func()
	ended chan error
}

// dial is connect for a FastCGI client.
func (p *pipeListener) dial(t testing.TB) *client { return newClient(t, p.connect()) }

// bubble serves h, or a blockingHandler, while test runs, and expects a shutdown without an error.
func bubble(t *testing.T, h http.Handler, test func(*testing.T, *fcgiTest)) {
	t.Helper()
	bubbleWith(t, h, Options{}, test)
}

func bubbleWith(t *testing.T, h http.Handler, o Options, test func(*testing.T, *fcgiTest)) {
	t.Helper()
	o.Program = program
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		s := &fcgiTest{newPipeListener(), newBlockingHandler(), stop, make(chan error, 1)}
		if h == nil {
			h = s.blockingHandler
		}
		go func() { s.ended <- ServeFastCGI(ctx, s.pipeListener, h, o) }()
		test(t, s)
		stop()
		if err := <-s.ended; err != nil {
			t.Error(err)
		}
	})
}

func TestFastCGIKeepsAConnectionForTheNextRequest(t *testing.T) {
	bubble(t, nil, func(t *testing.T, s *fcgiTest) {
		c := s.dial(t)
		for range 3 { // with the same id, as nginx does
			c.get(1, true, "/x")
			if got := c.reply(1).echoed(t); got.Path != "/x" {
				t.Errorf("path %q", got.Path)
			}
		}
		start := time.Now()
		<-c.gone
		if waited := time.Since(start); waited != idleTimeout {
			t.Errorf("connection was kept for %s", waited)
		}
	})
}

func TestFastCGIClosesAConnectionWithoutKeepConn(t *testing.T) {
	bubble(t, nil, func(t *testing.T, s *fcgiTest) {
		c := s.dial(t)
		start := time.Now()
		c.get(1, false, "/x")
		c.reply(1)
		<-c.gone
		if waited := time.Since(start); waited != 0 {
			t.Errorf("connection was kept for %s", waited)
		}
	})
}

func TestFastCGIRecordsMayBeSplitAnywhere(t *testing.T) {
	var stream []byte
	vars := testRequest{method: "POST", target: "/x?y", body: "12345"}.variables()
	stream = append(stream, beginRecord(1, roleResponder, flagKeepConn)...)
	pairs := encodePairs(vars)
	for i := range pairs { // a record for each byte: pairs straddle records
		stream = appendRecord(stream, typeParams, 1, pairs[i:i+1])
	}
	stream = appendRecord(stream, typeParams, 1, nil)
	stream = append(stream, wireVersion, typeStdin, 0, 1, 0, 5, 3, 0)
	stream = append(stream, "12345pad"...)
	stream = appendRecord(stream, typeStdin, 1, nil)

	for _, size := range []int{1, 7, 4096} {
		bubble(t, nil, func(t *testing.T, s *fcgiTest) {
			c := s.dial(t)
			for rest := stream; len(rest) > 0; rest = rest[min(size, len(rest)):] {
				c.raw(rest[:min(size, len(rest))])
			}
			got := c.reply(1).echoed(t)
			if got.Path != "/x" || got.Query != "y" || got.Read != 5 || got.Error != "" {
				t.Errorf("in pieces of %d: %+v", size, got)
			}
			c.Close()
		})
	}
}

func TestFastCGIParametersMayBeSplitAnywhere(t *testing.T) {
	bubble(t, nil, func(t *testing.T, s *fcgiTest) {
		c := s.dial(t)
		pairs := encodePairs(testRequest{method: "GET", target: "/x?y"}.variables())
		for i := range len(pairs) + 1 {
			c.begin(1, true)
			if i > 0 { // an empty record would end them
				c.raw(appendRecord(nil, typeParams, 1, pairs[:i]))
			}
			c.raw(appendStream(nil, typeParams, 1, pairs[i:]))
			c.stdin(1, nil)
			if got := c.reply(1).echoed(t); got.Path != "/x" || got.Query != "y" {
				t.Errorf("split after %d bytes: %+v", i, got)
			}
		}
		c.Close()
	})
}

func TestFastCGIAnAbortEndsItsRequestAndNotTheConnection(t *testing.T) {
	post := encodePairs(testRequest{method: "POST", target: "/held", chunked: true}.variables())
	params := func(c *client) { c.begin(1, true); c.raw(appendStream(nil, typeParams, 1, post)) }
	cases := []struct {
		name    string
		send    func(*client)
		started bool
	}{
		{"after BEGIN", func(c *client) { c.begin(1, true) }, false},
		{"within its parameters",
			func(c *client) { c.begin(1, true); c.raw(appendRecord(nil, typeParams, 1, post[:20])) }, false},
		{"within its body", func(c *client) { params(c); c.raw(appendRecord(nil, typeStdin, 1, []byte("half"))) },
			true},
		{"within the handler", func(c *client) { params(c); c.stdin(1, nil) }, true},
		{"with a large body that is not read", func(c *client) { params(c); c.stdin(1, make([]byte, 300<<10)) }, true},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, nil, func(t *testing.T, s *fcgiTest) {
				c := s.dial(t)
				tc.send(c)
				var r *http.Request
				if tc.started {
					r = <-s.entered
				}
				c.abort(2) // never began
				synctest.Wait()
				if r != nil && r.Context().Err() != nil {
					t.Error("the abort of another request cancelled it")
				}
				c.abort(1)
				if e := c.ended(); e != (end{1, statusComplete}) {
					t.Errorf("%+v", e)
				}
				if r != nil && r.Context().Err() == nil {
					t.Error("it was not cancelled")
				}
				c.abort(1) // has ended
				c.get(3, true, "/x")
				c.reply(3).echoed(t)
				c.Close()
			})
		})
	}
}

func TestFastCGIHandlerSeesATruncatedRecord(t *testing.T) {
	seen := make(chan error, 1)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(r.Body)
		seen <- err
	})
	bubble(t, h, func(t *testing.T, s *fcgiTest) {
		c := s.dial(t)
		c.begin(1, true)
		c.params(1, testRequest{method: "POST", target: "/", chunked: true}.variables())
		c.raw([]byte{wireVersion, typeStdin, 0, 1, 0xff, 0xff, 0xff, 0})
		c.raw([]byte("all there is"))
		c.Close()
		if err := <-seen; !errors.Is(err, errDisconnected) {
			t.Errorf("the handler saw %v", err)
		}
	})
}

func TestFastCGIIgnoresRecordsOfOtherTypes(t *testing.T) {
	bubble(t, nil, func(t *testing.T, s *fcgiTest) {
		c := s.dial(t)
		c.begin(1, true)
		for _, kind := range []byte{0, typeEnd, 6, 7, 8, 10, 11, 12, 255} {
			for _, id := range []uint16{0, 1, 2} {
				c.raw(appendRecord(nil, kind, id, []byte("no request")))
			}
		}
		c.params(1, testRequest{method: "GET", target: "/x"}.variables())
		c.stdin(1, nil)
		c.reply(1).echoed(t)
		c.Close()
	})
}

func TestFastCGICancelsARequest(t *testing.T) {
	body := strings.Repeat("x", 1000)
	stdin := func(c *client) { c.stdin(1, []byte(body)) }
	part := func(c *client) { c.raw(appendRecord(nil, typeStdin, 1, []byte(body[:10]))) }
	cases := []struct {
		name  string
		stdin func(*client) // nil = comes with the parameters, at once
		leave func(*client)
		ends  bool // with END_REQUEST
		took  time.Duration
	}{
		{"when it came at once and is aborted", nil, func(c *client) { c.abort(1) }, true, readOnDelay},
		{"when it came at once and the connection is lost", nil, func(c *client) { c.Close() }, false, readOnDelay},
		{"when it came at once and takes too long", nil, func(*client) {}, true, requestTimeout},
		{"when it is aborted", stdin, func(c *client) { c.abort(1) }, true, 0},
		{"when it is aborted within its body", part, func(c *client) { c.abort(1) }, true, 0},
		{"when the connection is lost", stdin, func(c *client) { c.Close() }, false, 0},
		{"when the connection is lost within its body", part, func(c *client) { c.Close() }, false, 0},
		{"when the connection is lost within a record", part, func(c *client) { c.raw([]byte{1, 5, 0}); c.Close() },
			false, 0},
		{"when it takes too long", stdin, func(*client) {}, true, requestTimeout},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, nil, func(t *testing.T, s *fcgiTest) {
				c := s.dial(t)
				vars := testRequest{method: "POST", target: "/held", body: body}.variables()
				if tc.stdin == nil {
					c.raw(request(1, vars, []byte(body)))
				} else {
					c.begin(1, true)
					c.params(1, vars)
					tc.stdin(c)
				}
				r := <-s.entered
				start := time.Now()
				tc.leave(c)
				<-r.Context().Done()
				if took := time.Since(start); took != tc.took {
					t.Errorf("took %s", took)
				}
				if tc.ends {
					c.reply(1)
					c.raw(request(1, testRequest{method: "GET", target: "/x"}.variables(), nil))
					c.reply(1).echoed(t)
				}
				c.Close()
			})
		})
	}
}

// A request that came at once is handled by the goroutine that reads, until it takes too long.
func TestFastCGIKeepsAConnectionAfterSlowRequests(t *testing.T) {
	slow := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d, err := time.ParseDuration(r.URL.Path[1:])
		if err != nil {
			t.Error(err)
		}
		time.Sleep(d) // of the bubble
		echo(w, r)
	})
	bubble(t, slow, func(t *testing.T, s *fcgiTest) {
		c := s.dial(t)
		start, want := time.Now(), time.Duration(0)
		for _, took := range []time.Duration{0, readOnDelay - 1, readOnDelay, readOnDelay + 1, 0, time.Second,
			time.Second, 0} {
			c.raw(request(1, testRequest{method: "GET", target: "/" + took.String()}.variables(), nil))
			if got := c.reply(1).echoed(t); got.Path != "/"+took.String() {
				t.Errorf("path %q", got.Path)
			}
			want += took
		}
		if took := time.Since(start); took != want {
			t.Errorf("took %s, want %s", took, want)
		}
		c.Close()
	})
}

// Buffers are used again. Nothing of a request may be in the answer to another one.
func TestFastCGIRequestsShareNothing(t *testing.T) {
	l, err := Listen("unix:" + socket(t))
	if err != nil {
		t.Fatal(err)
	}
	run(t, ServeFastCGI, l, echo)
	for _, mark := range strings.Split("abcdefgh", "") {
		t.Run("client "+mark, func(t *testing.T) {
			t.Parallel()
			c := newClient(t, dialTo(t, l))
			for i := range 100 {
				header := map[string]string{"Authorization": strings.Repeat(mark, 1+i*37%500)}
				for extra := range i % 5 {
					header[fmt.Sprintf("X-%s-%d", mark, extra)] = mark
				}
				c.raw(request(1, testRequest{method: "GET", target: "/" + mark, header: header}.variables(), nil))
				got := c.reply(1).echoed(t)
				if got.Auth != header["Authorization"] || got.Path != "/"+mark || len(got.Header) != len(header) {
					t.Errorf("request %d: %+v", i, got)
				}
			}
		})
	}
}

func TestFastCGIHandlerSeesAnAbortedBody(t *testing.T) {
	var seen error
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, seen = io.ReadAll(r.Body)
	})
	bubble(t, h, func(t *testing.T, s *fcgiTest) {
		c := s.dial(t)
		c.begin(1, true)
		c.params(1, testRequest{method: "POST", target: "/", chunked: true}.variables())
		c.raw(appendRecord(nil, typeStdin, 1, []byte("half")))
		c.abort(1)
		c.reply(1)
		if !errors.Is(seen, errAborted) {
			t.Errorf("the handler saw %v", seen)
		}
		c.Close()
	})
}

func TestFastCGIAnEarlyAnswerFreesTheRequestID(t *testing.T) {
	bubble(t, nil, func(t *testing.T, s *fcgiTest) {
		c := s.dial(t)
		c.begin(1, true)
		c.params(1, testRequest{method: "POST", target: "/unread", body: "12345"}.variables())
		if r := c.reply(1); r.status != 413 {
			t.Errorf("status %d", r.status)
		}
		c.get(1, true, "/x") // the first one's body never came
		c.reply(1).echoed(t)
		c.raw(appendRecord(nil, typeStdin, 1, []byte("late"))) // and what comes late is ignored
		c.get(1, true, "/y")
		c.reply(1).echoed(t)
		c.Close()
	})
}

func TestFastCGIReceivesAnUnreadBodyBeforeItCloses(t *testing.T) {
	bubble(t, nil, func(t *testing.T, s *fcgiTest) {
		c := s.dial(t)
		c.begin(1, false)
		c.params(1, testRequest{method: "POST", target: "/unread", chunked: true}.variables())
		if r := c.reply(1); r.status != 413 {
			t.Errorf("status %d", r.status)
		}
		c.stdin(1, bytes.Repeat([]byte("x"), 10<<20)) // fails if the other end has closed
		<-c.gone
	})
}

func TestFastCGILimitsTheUnreadBodyItReceives(t *testing.T) {
	bubble(t, nil, func(t *testing.T, s *fcgiTest) {
		c := s.dial(t)
		c.begin(1, true)
		c.params(1, testRequest{method: "POST", target: "/unread", chunked: true}.variables())
		c.Write(appendStream(nil, typeStdin, 1, make([]byte, maxDrainBytes+maxContent))) // is cut off
		start := time.Now()
		<-c.gone
		if waited := time.Since(start); waited != 0 {
			t.Errorf("connection was kept for %s", waited)
		}
	})
}

func TestFastCGIABodyEndsAtItsAnnouncedLength(t *testing.T) {
	bubble(t, nil, func(t *testing.T, s *fcgiTest) {
		c := s.dial(t)
		c.begin(1, true)
		c.params(1, testRequest{method: "POST", target: "/", body: "12345"}.variables())
		c.stdin(1, []byte("1234567"))
		if got := c.reply(1).echoed(t); got.Read != 5 || got.Error != "" {
			t.Errorf("%+v", got)
		}
		c.Close()
	})
}

// What looks like a second request is body, and the next request is the next BEGIN_REQUEST.
func TestFastCGIABodyWithoutALengthEndsWithItsStream(t *testing.T) {
	inner := beginRecord(2, roleResponder, 0)
	inner = appendStream(inner, typeParams, 2, encodePairs(testRequest{method: "GET", target: "/inner"}.variables()))
	inner = appendStream(inner, typeStdin, 2, nil)
	for _, length := range []string{"-1", "abc", "+5", "5 ", ""} {
		t.Run(length, func(t *testing.T) {
			bubble(t, nil, func(t *testing.T, s *fcgiTest) {
				c := s.dial(t)
				c.begin(1, true)
				c.params(1, with(map[string]string{"CONTENT_LENGTH": length}))
				c.stdin(1, inner)
				if got := c.reply(1).echoed(t); got.Length != -1 || got.Read != int64(len(inner)) || got.Error != "" {
					t.Errorf("%+v", got)
				}
				c.get(1, true, "/next")
				if got := c.reply(1).echoed(t); got.Path != "/next" {
					t.Errorf("path %q", got.Path)
				}
				c.Close()
			})
		})
	}
}

func TestFastCGIAContextEndsWithItsRequest(t *testing.T) {
	bubble(t, nil, func(t *testing.T, s *fcgiTest) {
		c := s.dial(t)
		c.get(1, true, "/held")
		r := <-s.entered
		close(s.release)
		c.reply(1)
		if r.Context().Err() == nil {
			t.Error("context has not ended")
		}
		c.Close()
	})
}

func TestFastCGIRejectsParametersInJSON(t *testing.T) {
	huge := testRequest{method: "GET", target: "/"}.variables()
	huge["HTTP_COOKIE"] = strings.Repeat("x", maxHeaderBytes)
	cases := []struct {
		name   string
		params []byte
		status int
	}{
		{"too large", encodePairs(huge), 431},
		{"none", nil, 400},
		{"truncated", []byte{1, 1, 'a'}, 400},
		{"truncated within a length", []byte{1, 0x80, 0}, 400},
		{"with lengths beyond their end", []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 'a'}, 400},
		{"without a method", encodePairs(map[string]string{"REQUEST_URI": "/"}), 400},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, nil, func(t *testing.T, s *fcgiTest) {
				c := s.dial(t)
				c.begin(1, true)
				c.raw(appendStream(nil, typeParams, 1, tc.params))
				c.stdin(1, nil)
				r := c.reply(1)
				if r.status != tc.status {
					t.Errorf("status %d, want %d", r.status, tc.status)
				}
				r.checkJSON(t)
				c.get(1, true, "/x") // the connection is still good
				c.reply(1).echoed(t)
				c.Close()
			})
		})
	}
}

func TestFastCGIClosesAConnectionWithMalformedRecords(t *testing.T) {
	get := encodePairs(testRequest{method: "GET", target: "/"}.variables())
	cases := []struct {
		name   string
		stream []byte
	}{
		{"another version", []byte{2, 1, 0, 1, 0, 8, 0, 0}},
		{"HTTP", []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")},
		{"a BEGIN of the wrong size", appendRecord(nil, typeBegin, 1, []byte{0, 1, 0})},
		{"a BEGIN for id 0", beginRecord(0, roleResponder, 0)},
		{"a second BEGIN", append(beginRecord(1, roleResponder, 1), beginRecord(1, roleResponder, 1)...)},
		{"STDIN before PARAMS",
			append(beginRecord(1, roleResponder, 1), appendRecord(nil, typeStdin, 1, []byte("x"))...)},
		{"the end of STDIN before PARAMS",
			append(beginRecord(1, roleResponder, 1), appendRecord(nil, typeStdin, 1, nil)...)},
		{"PARAMS twice", appendStream(appendStream(beginRecord(1, roleResponder, 1), typeParams, 1, get), typeParams,
			1, get)},
		{"the end of PARAMS twice",
			appendStream(appendStream(beginRecord(1, roleResponder, 1), typeParams, 1, get), typeParams, 1, nil)},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, nil, func(t *testing.T, s *fcgiTest) {
				c := s.dial(t)
				start := time.Now()
				c.Write(tc.stream) // may be cut off
				<-c.gone
				if took := time.Since(start); took != 0 {
					t.Errorf("took %s", took)
				}
				fresh := s.dial(t)
				fresh.get(1, false, "/x")
				fresh.reply(1).echoed(t)
			})
		})
	}
}

func TestFastCGIHasADeadlineForEveryWait(t *testing.T) {
	vars := testRequest{method: "POST", target: "/", body: "12345"}.variables()
	cases := []struct {
		name string
		send func(*client)
		took time.Duration
	}{
		{"the first byte", func(*client) {}, idleTimeout},
		{"the rest of the first header", func(c *client) { c.raw([]byte{1, 1, 0}) }, idleTimeout},
		{"parameters", func(c *client) { c.begin(1, true) }, paramsTimeout},
		{"the rest of the parameters",
			func(c *client) { c.begin(1, true); c.raw([]byte{1, typeParams, 0, 1, 9, 9, 0, 0, 'x'}) }, paramsTimeout},
		{"the rest of a body that is not read", func(c *client) {
			c.begin(1, true)
			c.params(1, testRequest{method: "POST", target: "/unread", body: "12345"}.variables())
			c.reply(1)
		}, bodyTimeout},
		{"the rest of a body", func(c *client) {
			c.begin(1, true)
			c.params(1, vars)
			if got := c.reply(1).echoed(t); got.Error != errSlowBody.Error() ||
				!errors.Is(errSlowBody, os.ErrDeadlineExceeded) {
				t.Errorf("the handler saw %q", got.Error)
			}
		}, bodyTimeout},
		{"the padding after a complete request", func(c *client) {
			c.begin(1, true)
			c.raw(appendRecord(nil, typeParams, 1, encodePairs(vars)))
			c.raw([]byte{wireVersion, typeParams, 0, 1, 0, 0, 200, 0, 'x'})
			c.reply(1)
		}, bodyTimeout},
		{"records of no request", func(c *client) {
			for range 1000 {
				c.raw(appendRecord(nil, typeStdin, 77, []byte("x")))
			}
		}, idleTimeout},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, nil, func(t *testing.T, s *fcgiTest) {
				c := s.dial(t)
				start := time.Now()
				tc.send(c)
				<-c.gone
				if took := time.Since(start); took != tc.took {
					t.Errorf("took %s, want %s", took, tc.took)
				}
			})
		})
	}
}

func TestFastCGIClosesAConnectionThatDoesNotRead(t *testing.T) {
	bubble(t, nil, func(t *testing.T, s *fcgiTest) {
		here, there := net.Pipe()
		s.conns <- there
		vars := testRequest{method: "GET", target: "/held"}.variables()
		here.Write(beginRecord(1, roleResponder, 1))
		here.Write(appendStream(nil, typeParams, 1, encodePairs(vars)))
		<-s.entered
		close(s.release) // and here is not read
		time.Sleep(writeTimeout - time.Nanosecond)
		here.Write(appendRecord(nil, typeStdin, 1, nil)) // still accepted
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if _, err := here.Write([]byte{wireVersion}); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("connection is still open: %v", err)
		}
	})
}

func TestFastCGIRefusesASecondRequestOnABusyConnection(t *testing.T) {
	for _, keep := range []bool{true, false} {
		bubble(t, nil, func(t *testing.T, s *fcgiTest) {
			c := s.dial(t)
			c.get(1, true, "/held")
			r := <-s.entered
			c.get(2, keep, "/x") // its other records are ignored
			if e := c.ended(); e != (end{2, statusCannotMultiplex}) {
				t.Errorf("%+v", e)
			}
			if r.Context().Err() != nil {
				t.Error("the first request was cancelled")
			}
			close(s.release)
			c.reply(1).echoed(t)
			if keep {
				c.get(2, false, "/x")
				c.reply(2).echoed(t)
			}
			<-c.gone
		})
	}
}

func TestFastCGIRefusesOtherRoles(t *testing.T) {
	for _, keep := range []bool{true, false} {
		bubble(t, nil, func(t *testing.T, s *fcgiTest) {
			c := s.dial(t)
			start := time.Now()
			c.raw(beginRecord(1, 2, map[bool]byte{true: flagKeepConn}[keep]))
			if e := c.ended(); e != (end{1, statusUnknownRole}) {
				t.Errorf("%+v", e)
			}
			if keep {
				c.get(1, false, "/x")
				c.reply(1).echoed(t)
			}
			<-c.gone
			if waited := time.Since(start); waited != 0 {
				t.Errorf("connection was kept for %s", waited)
			}
		})
	}
}

// A pipe gives each Write to a Read of its own.
func TestFastCGIAnAnswerIsOneWrite(t *testing.T) {
	big := strings.Repeat("0123456789", 15000)
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, big) })
	bubble(t, h, func(t *testing.T, s *fcgiTest) {
		here, there := net.Pipe()
		s.conns <- there
		go here.Write(fcgiGetX)
		buf := make([]byte, 1<<20)
		n, err := here.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		var kinds []byte
		var sizes []int
		var out []byte
		for rest := buf[:n]; len(rest) > 0; {
			h := parseHeader(rest)
			kinds, sizes = append(kinds, h.kind), append(sizes, h.content)
			if h.kind == typeStdout {
				out = append(out, rest[headerLen:headerLen+h.content]...)
			}
			rest = rest[headerLen+h.content+h.padding:]
		}
		r, err := parseCGI(out)
		if err != nil || r.status != 200 || string(r.body) != big {
			t.Errorf("status %d, %d bytes of body, %v", r.status, len(r.body), err)
		}
		if want := []byte{typeStdout, typeStdout, typeStdout, typeStdout, typeEnd}; !bytes.Equal(kinds, want) ||
			sizes[0] != maxContent || sizes[3] != 0 {
			t.Errorf("records of types %d and sizes %d", kinds, sizes)
		}
		here.Close()
	})
}

func TestFastCGIAnswersGetValues(t *testing.T) {
	bubble(t, nil, func(t *testing.T, s *fcgiTest) {
		c := s.dial(t)
		c.raw(appendRecord(nil, typeGetValues, 0, encodePairs(map[string]string{"FCGI_MPXS_CONNS": ""})))
		c.get(1, true, "/x")
		c.reply(1).echoed(t)
		got := map[string]string{}
		if !parsePairs(c.values, got) || got["FCGI_MPXS_CONNS"] != "0" {
			t.Errorf("values %q", got)
		}
		c.Close()
	})
}

func TestFastCGIHeldConnectionsAreEvicted(t *testing.T) {
	post := encodePairs(testRequest{method: "POST", target: "/x", chunked: true}.variables())
	cases := []struct {
		name   string
		occupy func(*client)
		took   time.Duration
	}{
		{"sending nothing", func(*client) {}, 0},
		{"half a header", func(c *client) { c.raw([]byte{wireVersion, typeBegin, 0}) }, 0},
		{"only a BEGIN", func(c *client) { c.begin(1, true) }, 0},
		{"half the parameters",
			func(c *client) { c.begin(1, true); c.raw(appendRecord(nil, typeParams, 1, post[:9])) }, 0},
		{"an idle connection", func(c *client) { c.get(1, true, "/x"); c.reply(1) }, 0},
		{"half a body", func(c *client) {
			c.begin(1, true)
			c.raw(appendStream(nil, typeParams, 1, post))
			c.raw(appendRecord(nil, typeStdin, 1, []byte("x")))
		}, 0},
		{"sending a body slowly", func(c *client) {
			c.begin(1, true)
			c.raw(appendStream(nil, typeParams, 1, post))
			go func() {
				for {
					time.Sleep(100 * time.Millisecond)
					if _, err := c.Write(appendRecord(nil, typeStdin, 1, []byte("x"))); err != nil {
						return
					}
				}
			}()
		}, 0},
		{"half a body that is not read", func(c *client) {
			c.begin(1, true)
			c.params(1, testRequest{method: "POST", target: "/unread", chunked: true}.variables())
			c.reply(1)
		}, 0},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			bubbleWith(t, nil, Options{MaxConns: fewConns}, func(t *testing.T, s *fcgiTest) {
				for range fewConns {
					tc.occupy(s.dial(t))
				}
				synctest.Wait()
				checkAnswersAtOnce(t, s, tc.took)
				time.Sleep(time.Second) // of the bubble: until the slow senders have noticed
			})
		})
	}
}

// checkAnswersAtOnce sends more requests than the limit, and leaves the connections open.
func checkAnswersAtOnce(t *testing.T, s *fcgiTest, want time.Duration) {
	t.Helper()
	start := time.Now()
	for range 2 * fewConns {
		c := s.dial(t)
		c.get(1, true, "/x")
		c.reply(1).echoed(t)
	}
	if took := time.Since(start); took != want {
		t.Errorf("took %s, want %s", took, want)
	}
}

func TestFastCGIAConnectionThatDoesNotReadIsEvicted(t *testing.T) {
	bubbleWith(t, nil, Options{MaxConns: fewConns}, func(t *testing.T, s *fcgiTest) {
		for range fewConns {
			mute, there := net.Pipe()
			s.conns <- there
			mute.Write(fcgiGetX)
		}
		synctest.Wait()
		// The new connection looks again a second after the last change: others read on then.
		checkAnswersAtOnce(t, s, readOnDelay+writeStallTimeout)
	})
}

func TestFastCGIARequestUnderWayIsNotEvicted(t *testing.T) {
	bubbleWith(t, nil, Options{MaxConns: fewConns}, func(t *testing.T, s *fcgiTest) {
		var conns []*client
		var under []*http.Request
		for range fewConns {
			c := s.dial(t)
			c.get(1, true, "/held")
			under = append(under, <-s.entered)
			conns = append(conns, c)
		}
		late := s.dial(t)
		go late.Write(fcgiGetX)
		synctest.Wait()
		for _, r := range under {
			if r.Context().Err() != nil {
				t.Error("a request in flight was cancelled")
			}
		}
		select {
		case <-late.ends:
			t.Error("the limit was exceeded")
		default:
		}
		close(s.release)
		for _, c := range conns {
			c.reply(1)
		}
		late.reply(1)
	})
}

func TestFastCGIShutdownFinishesRequestsUnderWay(t *testing.T) {
	bubble(t, nil, func(t *testing.T, p *fcgiTest) {
		idle := p.dial(t)
		idle.get(1, true, "/x")
		idle.reply(1)
		fresh := p.dial(t)
		partial := p.dial(t)
		partial.begin(1, true)
		busy := p.dial(t)
		busy.get(1, true, "/held")
		r := <-p.entered

		start := time.Now()
		p.stop()
		<-idle.gone
		<-p.closed
		if took := time.Since(start); took != 0 {
			t.Errorf("idle connection was kept for %s", took)
		}
		partial.params(1, testRequest{method: "GET", target: "/partial"}.variables())
		partial.stdin(1, nil)
		partial.reply(1).echoed(t)
		<-partial.gone
		<-fresh.gone
		if took := time.Since(start); took != firstRequestTimeout {
			t.Errorf("fresh connection was kept for %s", took)
		}
		if r.Context().Err() != nil {
			t.Error("request in flight was cancelled")
		}
		close(p.release)
		busy.reply(1).echoed(t)
		<-busy.gone
	})
}

func TestFastCGIShutdownHasALimit(t *testing.T) {
	cases := []struct {
		name   string
		listen bool // to the context
		took   time.Duration
	}{
		{"with a handler that ends with its context", true, defaultGrace},
		{"with a handler that does not", false, defaultGrace + handlerGrace},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				entered, release := make(chan struct{}), make(chan struct{})
				h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					close(entered)
					if tc.listen {
						<-r.Context().Done()
					} else {
						<-release
					}
				})
				ctx, stop := context.WithCancel(t.Context())
				p := newPipeListener()
				ended := make(chan error, 1)
				go func() { ended <- ServeFastCGI(ctx, p, h, Options{}) }()
				c := p.dial(t)
				c.get(1, true, "/x")
				<-entered
				start := time.Now()
				stop()
				if err := <-ended; err == nil {
					t.Error("no error")
				}
				if took := time.Since(start); took != tc.took {
					t.Errorf("took %s", took)
				}
				<-c.gone
				close(release)
			})
		})
	}
}

// FuzzFastCGIRecords: after any bytes the connection ends by itself, only records have been written
// back, no goroutine is left, and a well-formed request on a new connection is answered.
func FuzzFastCGIRecords(f *testing.F) {
	seeds := recordSeeds()
	if len(seeds) == 0 {
		f.Fatal("no seeds")
	}
	for _, s := range seeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		bubble(t, echo, func(t *testing.T, s *fcgiTest) {
			c := s.dial(t)
			start := time.Now()
			go c.Write(stream) // until the other end has enough
			<-c.gone
			if took := time.Since(start); took > bodyTimeout+requestTimeout+idleTimeout {
				t.Errorf("connection lived for %s", took)
			}
			if c.garbled != nil {
				t.Error(c.garbled)
			}
			c.Close()
			fresh := s.dial(t)
			fresh.get(1, false, "/x")
			checkSeen(t, fresh.reply(1).echoed(t))
			<-fresh.gone
		})
	})
}

func recordSeeds() [][]byte {
	get := encodePairs(testRequest{method: "GET", target: "/x"}.variables())
	post := encodePairs(testRequest{method: "POST", target: "/x", body: "12345"}.variables())
	begin := slices.Clip(beginRecord(1, roleResponder, flagKeepConn))
	request := slices.Clip(appendStream(appendStream(begin, typeParams, 1, post), typeStdin, 1, []byte("12345")))
	return [][]byte{
		nil,
		request,
		append(request, request...),
		request[:len(request)-9],
		append(appendRecord(begin, typeParams, 1, post), wireVersion, typeParams, 0, 1, 0, 0, 200, 0, 'x'),
		appendRecord(request, typeAbort, 1, nil),
		appendStream(appendStream(beginRecord(2, roleResponder, 0), typeParams, 2, get), typeStdin, 2, nil),
		append(begin, begin...),
		appendRecord(begin, typeStdin, 1, nil),
		appendRecord(begin, typeAbort, 1, nil),
		appendRecord(nil, typeGetValues, 0, nil),
		beginRecord(1, 3, 0),
		{2, 1, 0, 1, 0, 0, 0, 0},
		[]byte("GET / HTTP/1.1\r\n\r\n"),
	}
}
