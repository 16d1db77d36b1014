package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/fcgi"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Bounds of the FastCGI door. The peer is a web server, not the public, but what
// it passes on is the public's.
const (
	// paramsTime runs from BEGIN to the end of PARAMS. A web server has them in hand when it begins.
	paramsTime = 10 * time.Second

	// writeTime is for one record. A web server that takes none of it for so long has forgotten us.
	writeTime = 30 * time.Second

	// idleTime is how long a kept-alive connection waits for its next request;
	// nginx closes its end of one after 60 s.
	idleTime = 60 * time.Second

	// maxConns: each costs 70 KiB, most of it net/http/fcgi's record buffer. More wait in the
	// listener's backlog, and while they do no connection is kept alive.
	maxConns = 256

	// maxConcurrent requests on one connection. No web server tried sends more than one at a time.
	maxConcurrent = 8
)

// ServeFastCGI serves until ctx is done. Then it stops accepting, closes what is
// idle, lets what is under way finish within Grace, and returns nil; when that
// was not enough it cancels the requests, closes the connections and returns an error.
func ServeFastCGI(ctx context.Context, l net.Listener, h http.Handler, o Options) error {
	base, cancel := context.WithCancel(context.WithoutCancel(ctx)) // under way outlives ctx
	defer cancel()
	s := &fastCGI{
		handler: h,
		o:       o.withDefaults(),
		base:    base,
		stopped: make(chan struct{}),
		slots:   make(chan struct{}, maxConns),
		conns:   map[*recordConn]struct{}{},
	}
	failed := make(chan error, 1)
	go func() { failed <- s.accept(l) }()
	var err error
	select {
	case <-ctx.Done():
		s.stop(l)
		<-failed // whatever Accept says now, it is because l is closed
	case err = <-failed:
		s.stop(l)
	}
	return errors.Join(err, s.finish(cancel))
}

type fastCGI struct {
	handler http.Handler
	o       Options
	base    context.Context // of all requests
	stopped chan struct{}   // closed by stop
	slots   chan struct{}
	crowded atomic.Bool // somebody waits for a slot
	running sync.WaitGroup

	mu    sync.Mutex
	conns map[*recordConn]struct{}
}

func (s *fastCGI) accept(l net.Listener) error {
	pause := time.Duration(0)
	for s.acquire() {
		nc, err := l.Accept()
		if err == nil {
			pause = 0
			c := newRecordConn(nc, s)
			s.running.Add(1)
			go s.serve(c)
			continue
		}
		<-s.slots
		if !passing(err) {
			return fmt.Errorf("accept connection: %w", err)
		}
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		s.o.Log.Error("cannot accept a connection, trying again", "error", err)
		select {
		case <-time.After(pause):
		case <-s.stopped:
		}
	}
	return nil
}

// passing reports errors of Accept that concern one connection or this moment.
func passing(err error) bool {
	for _, e := range []syscall.Errno{syscall.ECONNABORTED, syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// acquire takes a slot for the next connection; false when stopped.
func (s *fastCGI) acquire() bool {
	select {
	case s.slots <- struct{}{}:
		return true
	default:
	}
	s.crowded.Store(true)
	defer s.crowded.Store(false)
	s.each((*recordConn).rearm) // idle ones leave
	select {
	case s.slots <- struct{}{}:
		return true
	case <-s.stopped:
		return false
	}
}

// serve runs one connection through fcgi.Serve, from its first byte on: fcgi
// takes 64 KiB for each connection, even for one that never says anything.
func (s *fastCGI) serve(c *recordConn) {
	defer s.running.Done()
	defer func() { <-s.slots }()
	s.join(c)
	defer s.leave(c)
	if err := c.await(1); err != nil {
		c.Conn.Close()
		return
	}
	fcgi.Serve(&oneConn{c}, c) // returns at once; c's child goes on by itself
	<-c.closed
	c.handlers.Wait()
}

func (s *fastCGI) join(c *recordConn) {
	s.mu.Lock()
	s.conns[c] = struct{}{}
	s.mu.Unlock()
	c.rearm()
}

func (s *fastCGI) leave(c *recordConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

func (s *fastCGI) each(do func(*recordConn)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		do(c)
	}
}

func (s *fastCGI) stop(l net.Listener) {
	close(s.stopped)
	l.Close()
	s.each((*recordConn).rearm)
}

// leaving reports that connections should end with the requests they have.
func (s *fastCGI) leaving() bool { return s.stopping() || s.crowded.Load() }

func (s *fastCGI) stopping() bool {
	select {
	case <-s.stopped:
		return true
	default:
		return false
	}
}

// finish waits for what is under way.
func (s *fastCGI) finish(cancel func()) error {
	finished := make(chan struct{})
	go func() {
		s.running.Wait()
		close(finished)
	}()
	select {
	case <-finished:
		return nil
	case <-time.After(s.o.Grace):
	}
	cancel()
	s.each(func(c *recordConn) { c.Conn.Close() })
	select {
	case <-finished:
	case <-time.After(lastWord):
	}
	return fmt.Errorf("stop fastcgi: requests were still under way after %s", s.o.Grace)
}

// oneConn is a listener with one connection to give.
type oneConn struct{ c *recordConn }

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
