package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"
)

// Bounds of the FastCGI door. The peer is a web server, not the public, but what
// it passes on is the public's.
const (
	// paramsTime runs from BEGIN to the end of PARAMS. A web server has them in hand when it begins.
	paramsTime = 10 * time.Second

	// writeTime is for one answer. A web server that does not take it in so long has forgotten us.
	writeTime = 30 * time.Second

	// idleTime is how long a kept-alive connection waits for its next request;
	// nginx closes its end of one after 60 s.
	idleTime = 60 * time.Second

	// maxConns lets a thousand people log in at once: web servers take a connection for each.
	maxConns = 1280

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
		conns:   map[*recordConn]struct{}{},
	}
	l = newPlaces(l, s.o.bound(maxConns), s.o.Log)
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
	running sync.WaitGroup

	mu    sync.Mutex
	conns map[*recordConn]struct{}
}

func (s *fastCGI) accept(l net.Listener) error {
	pause := time.Duration(0)
	for !s.stopping() {
		nc, err := l.Accept()
		if err == nil {
			pause = 0
			c := newRecordConn(nc.(*place), s)
			s.running.Add(1)
			go s.serve(c)
			continue
		}
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

// serve answers what comes on one connection, until it ends.
func (s *fastCGI) serve(c *recordConn) {
	defer s.running.Done()
	s.join(c)
	defer s.leave(c)
	c.receive()
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
