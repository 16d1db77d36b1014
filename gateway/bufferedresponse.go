package gateway

import (
	"bytes"
	"maps"
	"net/http"
	"strconv"
	"sync"
)

// bufferedResponse is an http.ResponseWriter that keeps the response in memory. Its handler must not
// use it after it has returned.
type bufferedResponse struct {
	header    http.Header
	committed http.Header // header as it was when the status was written
	status    int         // 0 = not yet written
	body      bytes.Buffer
}

var responses = sync.Pool{New: func() any { return &bufferedResponse{header: http.Header{}} }}

func newBufferedResponse() *bufferedResponse { return responses.Get().(*bufferedResponse) }

// recycle clears r and lets another request have it.
func (r *bufferedResponse) recycle() {
	clear(r.header)
	clear(r.body.Bytes()) // it may hold a token
	r.body.Reset()
	r.committed, r.status = nil, 0
	if r.body.Cap() <= maxReused {
		responses.Put(r)
	}
}

func (r *bufferedResponse) Header() http.Header { return r.header }

// WriteHeader does as net/http: the first final status counts. Informational ones are dropped,
// because CGI cannot carry them. A number that is no status panics, which gives a 500.
func (r *bufferedResponse) WriteHeader(status int) {
	if status < 100 || status > 999 {
		panic("invalid status code")
	}
	if r.status != 0 || status < 200 {
		return
	}
	r.status = status
	r.committed = r.header.Clone()
}

func (r *bufferedResponse) Write(p []byte) (int, error) {
	if r.status == 0 {
		r.WriteHeader(http.StatusOK)
	}
	if !r.mayHaveBody() {
		return 0, http.ErrBodyNotAllowed
	}
	return r.body.Write(p)
}

// mayHaveBody follows RFC 9110 §6.4.1.
func (r *bufferedResponse) mayHaveBody() bool {
	return r.status != http.StatusNoContent && r.status != http.StatusNotModified
}

// finish adds what the handler left out.
func (r *bufferedResponse) finish() {
	if r.status == 0 {
		r.WriteHeader(http.StatusOK)
	}
	// In CGI and FastCGI a field called Status is a second status line (RFC 3875 §6.3.3).
	r.committed.Del("Status")
	r.committed.Del("Transfer-Encoding")
	r.committed.Del("Content-Length")
	if !r.mayHaveBody() {
		return
	}
	r.committed.Set("Content-Length", strconv.Itoa(r.body.Len()))
	if r.committed.Get("Content-Type") == "" && r.body.Len() > 0 {
		r.committed.Set("Content-Type", http.DetectContentType(r.body.Bytes()))
	}
}

// sentLength is how many bytes of the body are sent in response to method.
func (r *bufferedResponse) sentLength(method string) int {
	if method == http.MethodHead || !r.mayHaveBody() {
		return 0
	}
	return r.body.Len()
}

// copyTo writes the finished response to w.
func (r *bufferedResponse) copyTo(w http.ResponseWriter) {
	maps.Copy(w.Header(), r.committed)
	w.WriteHeader(r.status)
	w.Write(r.body.Bytes()) // an error means that the client has gone
}

// writeDocument writes the finished response to method in the form of RFC 3875 §6.2.1. HEAD must
// get no body (§4.3.3): HAProxy answers 502 to one.
func (r *bufferedResponse) writeDocument(out *bytes.Buffer, method string) {
	out.WriteString("Status: ")
	out.Write(strconv.AppendInt(out.AvailableBuffer(), int64(r.status), 10))
	out.WriteByte(' ')
	out.WriteString(http.StatusText(r.status))
	out.WriteString("\r\n")
	r.committed.Write(out) // replaces newlines in values by spaces
	out.WriteString("\r\n")
	out.Write(r.body.Bytes()[:r.sentLength(method)])
}
