package gateway

import (
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"strings"
)

// serveBuffered lets h answer r. A panic becomes a 500, whatever h had written before.
func serveBuffered(h http.Handler, r *http.Request, log *slog.Logger) (res *bufferedResponse) {
	defer func() {
		if p := recover(); p != nil {
			log.Error("handler panicked", "panic", panicText(p), "stack", stack())
			res = internalError().response()
		}
	}()
	res = newBufferedResponse()
	h.ServeHTTP(res, r)
	res.finish()
	return res
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
