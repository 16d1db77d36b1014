package gateway

import "bytes"

// whole makes one Write of what net/http writes in pieces of 4 KiB: a process that is killed between two of them would leave half an answer, which no
// proxy can take back and ask somebody else for. One Write is taken by the kernel whole, since answers fit into the socket's buffer.
type responseCoalescer struct {
	pending bool
	body    int // bytes behind the headers
	buf     []byte
}

var endOfHeaders = []byte("\r\n\r\n")

// expect says that an answer comes, with so many bytes behind its headers.
func (w *responseCoalescer) expect(body int) { w.pending, w.body = true, body }

// add takes a piece in, and returns what is to be written now: nothing, or all.
func (w *responseCoalescer) add(piece []byte) []byte {
	if !w.pending {
		return piece
	}
	w.buf = append(w.buf, piece...)
	end := bytes.Index(w.buf, endOfHeaders)
	if end < 0 || len(w.buf) < end+len(endOfHeaders)+w.body {
		return nil
	}
	all := w.buf
	w.pending, w.buf = false, nil
	return all
}
