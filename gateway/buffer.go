package gateway

import (
	"bytes"
	"sync"
)

// maxReused is how much memory a buffer may have to be used again: a few requests are large.
const maxReused = 16 << 10

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// newBuffer returns an empty buffer.
func newBuffer() *bytes.Buffer { return buffers.Get().(*bytes.Buffer) }

// recycle clears b and lets another request have it. Nothing may use b or its bytes afterwards: it
// held passwords and tokens. b has not been read from.
func recycle(b *bytes.Buffer) {
	clear(b.Bytes())
	b.Reset()
	if b.Cap() <= maxReused {
		buffers.Put(b)
	}
}
