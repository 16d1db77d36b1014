package gateway

import (
	"bytes"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"runtime"
	"strconv"
	"strings"
)

// answer is a response that is held until it is whole.
type answer struct {
	header    http.Header
	committed http.Header // header as it was when the status was written
	status    int         // 0 = not yet written
	body      bytes.Buffer
}

func newBufferedResponse() *answer { return &answer{header: http.Header{}} }

func (a *answer) Header() http.Header { return a.header }

// WriteHeader follows net/http: the first final status counts, informational
// ones are dropped (no gateway interface can carry them), and a number that is
// no status panics, which the caller turns into a 500.
func (a *answer) WriteHeader(status int) {
	if status < 100 || status > 999 {
		panic("invalid status code")
	}
	if a.status != 0 || status < 200 {
		return
	}
	a.status = status
	a.committed = a.header.Clone()
}

func (a *answer) Write(p []byte) (int, error) {
	if a.status == 0 {
		a.WriteHeader(http.StatusOK)
	}
	if !a.mayHaveBody() {
		return 0, http.ErrBodyNotAllowed
	}
	return a.body.Write(p)
}

// mayHaveBody: RFC 9110 §6.4.1.
func (a *answer) mayHaveBody() bool {
	return a.status != http.StatusNoContent && a.status != http.StatusNotModified
}

// finish fills in what the handler left out.
func (a *answer) finish() {
	if a.status == 0 {
		a.WriteHeader(http.StatusOK)
	}
	// In CGI and FastCGI a header called Status is a second status line (RFC 3875 §6.3.3).
	a.committed.Del("Status")
	a.committed.Del("Transfer-Encoding")
	a.committed.Del("Content-Length")
	if !a.mayHaveBody() {
		return
	}
	a.committed.Set("Content-Length", strconv.Itoa(a.body.Len()))
	if a.committed.Get("Content-Type") == "" && a.body.Len() > 0 {
		a.committed.Set("Content-Type", http.DetectContentType(a.body.Bytes()))
	}
}

// sent is how many bytes of a body net/http sends.
func (a *answer) sent(method string) int {
	if method == http.MethodHead || !a.mayHaveBody() {
		return 0
	}
	return a.body.Len()
}

// send hands the whole answer to a door that has a ResponseWriter.
func (a *answer) send(w http.ResponseWriter) {
	maps.Copy(w.Header(), a.committed)
	w.WriteHeader(a.status)
	w.Write(a.body.Bytes()) // a peer that is gone cannot be told anything
}

// cgi is the whole answer as a CGI document response (RFC 3875 §6.2.1).
func (a *answer) cgi() []byte {
	var out bytes.Buffer
	fmt.Fprintf(&out, "Status: %d %s\r\n", a.status, http.StatusText(a.status))
	a.committed.Write(&out) // never fails on a buffer; makes newlines in values spaces
	out.WriteString("\r\n")
	out.Write(a.body.Bytes())
	return out.Bytes()
}

// hold lets h answer r. A panic becomes a 500, whatever h had written before.
func serveBuffered(h http.Handler, r *http.Request, log *slog.Logger) (a *answer) {
	a = newBufferedResponse()
	defer func() {
		if p := recover(); p != nil {
			log.Error("handler panicked", "panic", panicText(p), "stack", stack())
			a = internalError().answer()
		}
		a.finish()
	}()
	h.ServeHTTP(a, r)
	return a
}

// refuse logs no and makes it an answer.
func reject(no *errorResponse, log *slog.Logger) *answer {
	log.Warn("request refused by the door", "status", no.status, "reason", no.message)
	a := no.answer()
	a.finish()
	return a
}

// panicText keeps request data out of the log: the runtime's own errors hold
// numbers and types only, anything else may quote a password.
func panicText(p any) string {
	if err, ok := p.(runtime.Error); ok {
		return err.Error()
	}
	return fmt.Sprintf("%T", p)
}

// stack names the functions on the way to a panic. Not debug.Stack, which prints
// arguments as well.
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
