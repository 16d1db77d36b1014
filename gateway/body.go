package gateway

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
)

// body is a request body between the goroutine that receives it and the handler
// that reads it. Receiving never waits for reading: a handler that ignores its
// body must not keep the door from hearing that the web server has gone.
type body struct {
	mu     sync.Mutex
	change sync.Cond
	want   int64 // as announced; -1 = until the end
	got    int64
	unread []byte
	end    error // why nothing more will come; nil = more may
}

// errSlowBody satisfies errors.Is(err, os.ErrDeadlineExceeded), like the error
// that net/http gives when ReadTimeout is over.
var errSlowBody = fmt.Errorf("read request body: %w", os.ErrDeadlineExceeded)

func newBody(want int64) *body {
	b := &body{want: want}
	b.change.L = &b.mu
	if want == 0 {
		b.end = io.EOF
	}
	return b
}

// Write adds p and never fails. What is beyond the announced length, beyond maxBody or after the
// end is thrown away.
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
	over := b.got+int64(len(p)) > maxBody
	p = p[:min(int64(len(p)), maxBody-b.got)]
	b.got += int64(len(p))
	b.unread = append(b.unread, p...)
	switch {
	case over:
		b.end = &http.MaxBytesError{Limit: maxBody}
	case b.got == b.want:
		b.end = io.EOF
	}
	b.change.Broadcast()
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
	b.change.Broadcast()
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
		b.change.Wait()
	}
	if len(b.unread) == 0 {
		return 0, b.end
	}
	n := copy(p, b.unread)
	b.unread = b.unread[n:]
	return n, nil
}

// Close forgets what was not read; Read fails afterwards, as in net/http.
func (b *body) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.unread = nil
	b.end = http.ErrBodyReadAfterClose
	b.change.Broadcast()
	return nil
}
