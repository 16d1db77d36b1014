package gateway

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
)

// body is a request body between the goroutine that receives it and the handler that reads it.
// Receiving never waits for reading: while a handler ignores its body, the front end must still
// notice that the web server disconnects.
type body struct {
	mu      sync.Mutex
	changed sync.Cond
	want    int64 // announced length; -1 = until the end
	got     int64
	unread  []byte
	end     error // why nothing more will come; nil = more may
}

// errSlowBody satisfies errors.Is(err, os.ErrDeadlineExceeded), as does the error that net/http
// returns after ReadTimeout.
var errSlowBody = fmt.Errorf("read request body: %w", os.ErrDeadlineExceeded)

func newBody(want int64) *body {
	b := &body{want: want}
	b.changed.L = &b.mu
	if want == 0 {
		b.end = io.EOF
	}
	return b
}

// Write adds p and never fails. It discards what is beyond the announced length or maxBody, and
// what comes after the end.
func (b *body) Write(p []byte) (int, error) {
	n := len(p)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.end != nil || n == 0 {
		return n, nil
	}
	if b.want >= 0 {
		p = p[:min(int64(len(p)), b.want-b.got)]
	}
	tooLong := b.got+int64(len(p)) > maxBody
	p = p[:min(int64(len(p)), maxBody-b.got)]
	b.got += int64(len(p))
	b.unread = append(b.unread, p...)
	switch {
	case tooLong:
		b.end = &http.MaxBytesError{Limit: maxBody}
	case b.got == b.want:
		b.end = io.EOF
	}
	b.changed.Broadcast()
	return n, nil
}

// finish says why nothing more will come: io.EOF or a cause. The first cause stays.
func (b *body) finish(cause error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.end != nil {
		return
	}
	if errors.Is(cause, io.EOF) && b.got < b.want {
		cause = io.ErrUnexpectedEOF
	}
	b.end = cause
	b.changed.Broadcast()
}

// ended reports that nothing more will come.
func (b *body) ended() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.end != nil
}

func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(p) > 0 && len(b.unread) == 0 && b.end == nil {
		b.changed.Wait()
	}
	if len(b.unread) == 0 {
		return 0, b.end
	}
	n := copy(p, b.unread)
	b.unread = b.unread[n:]
	return n, nil
}

// Close drops what has not been read. Read fails afterwards, as in net/http.
func (b *body) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.unread = nil
	b.end = http.ErrBodyReadAfterClose
	b.changed.Broadcast()
	return nil
}
