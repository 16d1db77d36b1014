package service

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"sync"
)

// lineHandler formats each record in a buffer of its own, and writes it afterwards. slog's own
// handlers write within a lock, so that one write that takes long would hold up all requests.
type lineHandler struct {
	out     io.Writer
	make    func(io.Writer) slog.Handler
	buffers *sync.Pool // of *lineBuffer
}

type lineBuffer struct {
	line    bytes.Buffer
	handler slog.Handler // writes to line
}

// maxKeptLine is what a buffer may have grown to and be used again, in bytes.
const maxKeptLine = 16 << 10

func newLineHandler(out io.Writer, make func(io.Writer) slog.Handler) *lineHandler {
	return &lineHandler{out, make, &sync.Pool{New: func() any {
		b := &lineBuffer{}
		b.handler = make(&b.line)
		return b
	}}}
}

func (h *lineHandler) Enabled(ctx context.Context, level slog.Level) bool {
	b := h.buffers.Get().(*lineBuffer)
	defer h.buffers.Put(b)
	return b.handler.Enabled(ctx, level)
}

func (h *lineHandler) Handle(ctx context.Context, record slog.Record) error {
	b := h.buffers.Get().(*lineBuffer)
	err := b.handler.Handle(ctx, record)
	if err == nil {
		_, err = h.out.Write(b.line.Bytes())
	}
	if b.line.Reset(); b.line.Cap() <= maxKeptLine {
		h.buffers.Put(b)
	}
	return err
}

func (h *lineHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return newLineHandler(h.out, func(w io.Writer) slog.Handler { return h.make(w).WithAttrs(attrs) })
}

func (h *lineHandler) WithGroup(name string) slog.Handler {
	return newLineHandler(h.out, func(w io.Writer) slog.Handler { return h.make(w).WithGroup(name) })
}
