package gateway

import (
	"bytes"
	"maps"
	"net/http"
	"strconv"
	"sync"
)

// bufferedResponse is an http.ResponseWriter that keeps the response in memory. A handler must not
// use it after it has returned, nor change a Header of before WriteHeader after that.
type bufferedResponse struct {
	header   http.Header // of the response
	borrowed bool        // header is that of another http.ResponseWriter
	late     http.Header // for a handler that asks after WriteHeader; it is not sent
	status   int         // 0 = not yet written
	body     bytes.Buffer
}

var responses = sync.Pool{New: func() any { return &bufferedResponse{} }}

// newBufferedResponse returns an empty response. Its header is written to header; nil = one of its
// own.
func newBufferedResponse(header http.Header) *bufferedResponse {
	r := responses.Get().(*bufferedResponse)
	if header != nil {
		r.header, r.borrowed = header, true
	} else if r.header == nil {
		r.header = http.Header{}
	}
	return r
}

// recycle clears r and lets another request have it.
func (r *bufferedResponse) recycle() {
	clear(r.body.Bytes()) // it may hold a token
	r.body.Reset()
	if r.body.Cap() > maxReused {
		return
	}
	if r.borrowed {
		r.header = nil
	}
	clear(r.header)
	r.borrowed, r.late, r.status = false, nil, 0
	responses.Put(r)
}

func (r *bufferedResponse) Header() http.Header {
	if r.status == 0 {
		return r.header
	}
	if r.late == nil {
		r.late = r.header.Clone()
	}
	return r.late
}

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
	r.header.Del("Status")
	r.header.Del("Transfer-Encoding")
	r.header.Del("Content-Length")
	if !r.mayHaveBody() {
		return
	}
	r.header.Set("Content-Length", strconv.Itoa(r.body.Len()))
	if r.header.Get("Content-Type") == "" && r.body.Len() > 0 {
		r.header.Set("Content-Type", http.DetectContentType(r.body.Bytes()))
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
	if !r.borrowed { // w may have what a handler wrote before it panicked
		clear(w.Header())
		maps.Copy(w.Header(), r.header)
	}
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
	r.header.Write(out) // replaces newlines in values by spaces
	out.WriteString("\r\n")
	out.Write(r.body.Bytes()[:r.sentLength(method)])
}
