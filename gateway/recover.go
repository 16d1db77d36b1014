package gateway

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"strings"
)

// serveBuffered lets h answer r, and write to header; nil = one of the response's own. A panic
// becomes a 500, whatever h had written before.
func serveBuffered(h http.Handler, r *http.Request, header http.Header, log *slog.Logger) *bufferedResponse {
	return orInternalError(log, func() *bufferedResponse {
		res := newBufferedResponse(header)
		h.ServeHTTP(res, r)
		res.finish()
		return res
	})
}

// orInternalError returns a 500 if respond panics.
func orInternalError(log *slog.Logger, respond func() *bufferedResponse) (res *bufferedResponse) {
	err := protect(log, func() error {
		res = respond()
		return nil
	})
	if err != nil {
		return internalError().response()
	}
	return res
}

// errPanicked is logged already.
var errPanicked = errors.New("recovered from a panic")

// protect calls f and turns a panic into errPanicked. Every goroutine that has data of a request
// runs within it: the runtime would end the process and print the value of the panic.
func protect(log *slog.Logger, f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			log.Error("recovered from a panic", "panic", panicText(p), "stack", stack())
			err = errPanicked
		}
	}()
	return f()
}

// panicText keeps request data out of the log. The runtime's own errors hold numbers and types
// only. Anything else may quote a password.
func panicText(p any) string {
	if err, ok := p.(runtime.Error); ok {
		return err.Error()
	}
	return fmt.Sprintf("%T", p)
}

// stack names the functions that led to a panic. debug.Stack would print their arguments as well.
func stack() string {
	pc := make([]uintptr, 64)
	frames := runtime.CallersFrames(pc[:runtime.Callers(3, pc)])
	var lines []string
	for {
		f, more := frames.Next()
		lines = append(lines, fmt.Sprintf("%s %s:%d", f.Function, f.File, f.Line))
		if !more {
			return strings.Join(lines, "\n")
		}
	}
}
