package gateway

import "bytes"

// responseCoalescer makes one write of a response that net/http writes in pieces of 4 KiB. The
// kernel takes one write whole, since responses fit into the socket's buffer. A process killed
// between two writes would leave half a response, and a proxy could not ask another machine.
type responseCoalescer struct {
	pending bool
	bodyLen int // bytes after the header
	buf     []byte
}

var endOfHeader = []byte("\r\n\r\n")

// begin announces a response with bodyLen bytes after its header.
func (c *responseCoalescer) begin(bodyLen int) { c.pending, c.bodyLen = true, bodyLen }

// add takes the next piece and returns what is to be written now: nothing, or the whole response.
// A piece that begin has not announced is returned as it is.
func (c *responseCoalescer) add(piece []byte) []byte {
	if !c.pending {
		return piece
	}
	if len(c.buf) > 0 || !c.isComplete(piece) {
		c.buf = append(c.buf, piece...)
		piece = c.buf
	}
	if !c.isComplete(piece) {
		return nil
	}
	c.pending, c.buf = false, nil
	return piece
}

func (c *responseCoalescer) isComplete(p []byte) bool {
	end := bytes.Index(p, endOfHeader)
	return end >= 0 && len(p) >= end+len(endOfHeader)+c.bodyLen
}
