package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

const (
	// drainTime is how long a CGI process stays after its answer, only to take in
	// the rest of the body.
	drainTimeout = 10 * time.Second

	// cgiWriteTime is how long the web server may take to accept the answer.
	// fcgiwrap never ends a CGI program whose client has gone.
	cgiWriteTimeout = 30 * time.Second
)

// CGI answers the one request that env and stdin describe and writes the answer
// to stdout: always exactly one, always with a Status line, never half of it. It
// returns once stdin is drained, within drainTime and drainBytes.
//
// The error says that the answer could not be written, or that the handler did
// not return in time; then the handler is still running and the process should end.
func CGI(ctx context.Context, h http.Handler, env []string, stdin io.Reader, stdout io.Writer, o Options) error {
	o = o.withDefaults()
	vars := variables(env)
	length, _ := bodyLength(vars) // a bad one is refused below, and drained all the same
	b := newBody(length)
	drained := receive(stdin, b, length)

	a, late := cgiAnswer(ctx, h, vars, b, o)
	if err := writeWithin(cgiWriteTimeout, stdout, a.cgi()); err != nil {
		return fmt.Errorf("write answer: %w", err)
	}
	select {
	case <-drained:
	case <-ctx.Done(): // the process has been told to end
	case <-time.After(drainTimeout):
	}
	return late
}

var errLate = errors.New("answer request: handler did not return in time")

// cgiAnswer waits for the handler until the context ends and lastWord is over.
func cgiAnswer(ctx context.Context, h http.Handler, vars map[string]string, b *body, o Options) (*answer, error) {
	v, no := parseCGIEnv(vars, o.Program)
	if no != nil {
		return reject(no, o.Log), nil
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	r, err := v.request(ctx, b)
	if err != nil {
		return reject(badRequest("request makes no sense"), o.Log), nil
	}

	slow := time.AfterFunc(bodyTimeout, func() { b.finish(errSlowBody) })
	defer slow.Stop()
	defer context.AfterFunc(ctx, func() { b.finish(context.Cause(ctx)) })()

	held := make(chan *answer, 1)
	go func() { held <- serveBuffered(h, r, o.Log) }()
	select {
	case a := <-held:
		return a, nil
	case <-ctx.Done():
	}
	select {
	case a := <-held:
		return a, nil
	case <-time.After(handlerGrace):
		return reject(unavailable("no answer in time"), o.Log), errLate
	}
}

// receive moves stdin into b, or nowhere once b is full or closed, until its
// length, its end or drainBytes. The channel is closed when there is nothing left to read.
// A goroutine, because stdin may be a pipe that knows no deadline.
func receive(stdin io.Reader, b *body, length int64) <-chan struct{} {
	done := make(chan struct{})
	if stdin == nil || length == 0 {
		b.finish(io.EOF)
		close(done)
		return done
	}
	limit := int64(maxDrainBytes)
	if length > 0 {
		limit = min(limit, length)
	}
	go func() {
		defer close(done)
		_, err := io.Copy(b, io.LimitReader(stdin, limit))
		if err == nil {
			err = io.EOF
		}
		b.finish(err)
	}()
	return done
}

func writeWithin(d time.Duration, w io.Writer, p []byte) error {
	written := make(chan error, 1)
	go func() {
		_, err := w.Write(p)
		written <- err
	}()
	select {
	case err := <-written:
		return err
	case <-time.After(d):
		return errors.New("web server does not read")
	}
}

func variables(env []string) map[string]string {
	vars := make(map[string]string, len(env))
	for _, entry := range env {
		if name, value, found := strings.Cut(entry, "="); found {
			vars[name] = value
		}
	}
	return vars
}
