package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// fcgiMaxConns lets a thousand people log in at once: web servers use a connection for each.
const fcgiMaxConns = 1280

// ServeFastCGI serves FastCGI until ctx is done. Then it stops accepting, closes idle connections,
// waits up to Grace for requests in flight, and returns nil. If that is not enough, it cancels
// them, closes their connections and returns an error.
func ServeFastCGI(ctx context.Context, l net.Listener, h http.Handler, o Options) error {
	o = o.withDefaults()
	stopping, stop := context.WithCancel(ctx)
	defer stop()
	base, cancel := context.WithCancel(context.WithoutCancel(ctx)) // requests outlive ctx
	defer cancel()
	limiter := newConnLimiter(l, o.maxConns(fcgiMaxConns), o.Log)
	closeListener := sync.OnceFunc(func() { limiter.Close() })
	defer context.AfterFunc(stopping, closeListener)()

	var conns sync.WaitGroup
	var failed error
	for failed == nil {
		var nc net.Conn
		if nc, failed = limiter.Accept(); failed == nil {
			conns.Go(func() { serveFCGIConn(stopping, base, nc.(*trackedConn), h, o) })
		}
	}
	err := fmt.Errorf("accept connection: %w", failed)
	if ctx.Err() != nil {
		err = nil // it is only that the listener was closed
	}
	stop()
	closeListener()
	return errors.Join(err, waitForConns(&conns, o.Grace, cancel))
}

func waitForConns(conns *sync.WaitGroup, grace time.Duration, cancel func()) error {
	finished := make(chan struct{})
	go func() {
		conns.Wait()
		close(finished)
	}()
	select {
	case <-finished:
		return nil
	case <-time.After(grace):
	}
	cancel()
	select {
	case <-finished:
	case <-time.After(handlerGrace):
	}
	return fmt.Errorf("stop fastcgi: requests were still in flight after %s", grace)
}
