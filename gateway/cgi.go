package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// drainTimeout is how long a CGI process stays after its response, to receive the rest of the body.
const drainTimeout = 10 * time.Second

// CGI answers the request that env and stdin describe. It writes exactly one response to stdout,
// complete and with a Status line. It returns once stdin is drained, within drainTimeout and
// maxDrainBytes.
//
// An error says that the response could not be written, or that the handler did not return in time.
// In the second case the handler is still running and the process should end.
func CGI(ctx context.Context, h http.Handler, env []string, stdin io.Reader, stdout io.Writer, o Options) error {
	o = o.withDefaults()
	vars := envMap(env)
	length := bodyLength(vars)
	b := newBody(length)
	drained := receiveBody(stdin, b, length, o)

	var late error
	res := orInternalError(o.Log, func() (res *bufferedResponse) {
		res, late = cgiResponse(ctx, h, vars, b, o)
		return res
	})
	var document bytes.Buffer
	res.writeDocument(&document, vars["REQUEST_METHOD"])
	// fcgiwrap never ends a CGI program whose client has gone.
	if err := writeWithin(writeTimeout, stdout, document.Bytes(), o); err != nil {
		return fmt.Errorf("write response: %w", err)
	}
	select {
	case <-drained:
	case <-ctx.Done(): // the process has been told to end
	case <-time.After(drainTimeout):
	}
	return late
}

var errLate = errors.New("serve CGI request: handler did not return in time")

// cgiResponse waits for the handler until the context has ended and handlerGrace is over.
func cgiResponse(
	ctx context.Context, h http.Handler, vars map[string]string, b *body, o Options,
) (*bufferedResponse, error) {
	req, errResp := parseCGIEnv(vars, o.Program)
	if errResp != nil {
		return reject(errResp, o.Log), nil
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	r, errResp := req.httpRequest(ctx, b, o)
	if errResp != nil {
		return reject(errResp, o.Log), nil
	}

	slow := time.AfterFunc(bodyTimeout, func() { b.finish(errSlowBody) })
	defer slow.Stop()
	defer context.AfterFunc(ctx, func() { b.finish(context.Cause(ctx)) })()

	done := make(chan *bufferedResponse, 1)
	go func() { done <- serveBuffered(h, r, nil, o.Log) }()
	select {
	case res := <-done:
		return res, nil
	case <-ctx.Done():
	}
	select {
	case res := <-done:
		return res, nil
	case <-time.After(handlerGrace):
		return reject(unavailable("no answer in time"), o.Log), errLate
	}
}

// receiveBody copies stdin to b until its length, its end or maxDrainBytes. The channel is closed
// when nothing is left to read. A goroutine does it, because stdin may be a pipe, which has no
// deadline.
func receiveBody(stdin io.Reader, b *body, length int64, o Options) <-chan struct{} {
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
		err := protect(o.Log, func() error {
			_, err := io.Copy(b, io.LimitReader(stdin, limit))
			return err
		})
		if err == nil {
			err = io.EOF
		}
		b.finish(err)
	}()
	return done
}

func writeWithin(d time.Duration, w io.Writer, p []byte, o Options) error {
	written := make(chan error, 1)
	go func() {
		written <- protect(o.Log, func() error {
			_, err := w.Write(p)
			return err
		})
	}()
	select {
	case err := <-written:
		return err
	case <-time.After(d):
		return errors.New("web server does not read")
	}
}

func envMap(env []string) map[string]string {
	vars := make(map[string]string, len(env))
	for _, entry := range env {
		if name, value, found := strings.Cut(entry, "="); found {
			vars[name] = value
		}
	}
	return vars
}
