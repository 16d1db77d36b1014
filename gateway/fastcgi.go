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

// ServeFastCGI serves until ctx is done. Then it stops accepting, closes what is
// idle, lets what is under way finish within Grace, and returns nil; when that
// was not enough it cancels the requests, closes the connections and returns an error.
func ServeFastCGI(ctx context.Context, l net.Listener, h http.Handler, o Options) error {
	o = o.withDefaults()
	stopping, stop := context.WithCancel(ctx)
	defer stop()
	base, cancel := context.WithCancel(context.WithoutCancel(ctx)) // requests outlive ctx
	defer cancel()
	l = newConnLimiter(l, o.bound(fcgiMaxConns), o.Log)
	defer context.AfterFunc(stopping, func() { l.Close() })()

	var conns sync.WaitGroup
	failed := acceptFCGI(l, func(nc *trackedConn) {
		conns.Go(func() { serveFCGI(stopping, base, nc, h, o) })
	})
	if ctx.Err() != nil {
		failed = nil // the listener was closed
	}
	stop()
	return errors.Join(failed, finishFCGI(&conns, o.Grace, cancel))
}

func acceptFCGI(l net.Listener, serve func(*trackedConn)) error {
	for {
		nc, err := l.Accept()
		if err != nil {
			return fmt.Errorf("accept connection: %w", err)
		}
		serve(nc.(*trackedConn))
	}
}

func finishFCGI(conns *sync.WaitGroup, grace time.Duration, cancel func()) error {
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
	return fmt.Errorf("stop fastcgi: requests were still under way after %s", grace)
}
