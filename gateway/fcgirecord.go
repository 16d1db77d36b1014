package gateway

import (
	"bytes"
	"encoding/binary"
	"sync"
)

// The part of the wire format (FastCGI 1.0 §3.3, §8) that is in use.
const (
	typeBegin  = 1
	typeAbort  = 2
	typeEnd    = 3
	typeParams = 4
	typeStdin  = 5
	typeStdout = 6

	typeGetValues       = 9
	typeGetValuesResult = 10

	roleResponder = 1
	flagKeepConn  = 1

	statusComplete        = 0
	statusCannotMultiplex = 1
	statusUnknownRole     = 3

	wireVersion = 1
	headerLen   = 8
	beginLen    = 8
	maxContent  = 65535
)

type recordHeader struct {
	version, kind byte
	id            uint16
	content       int
	padding       int
}

func parseHeader(p []byte) recordHeader {
	return recordHeader{p[0], p[1], binary.BigEndian.Uint16(p[2:]), int(binary.BigEndian.Uint16(p[4:])), int(p[6])}
}

// appendRecord appends one record with up to maxContent bytes of content. It has no padding, which
// §3.3 recommends for speed and does not require.
func appendRecord(out []byte, kind byte, id uint16, content []byte) []byte {
	return append(appendHeader(out, kind, id, len(content)), content...)
}

func appendHeader(out []byte, kind byte, id uint16, content int) []byte {
	out = append(out, wireVersion, kind)
	out = binary.BigEndian.AppendUint16(out, id)
	out = binary.BigEndian.AppendUint16(out, uint16(content))
	return append(out, 0, 0)
}

// appendEnd appends the END_REQUEST record of request id.
func appendEnd(out []byte, id uint16, status byte) []byte {
	return appendRecord(out, typeEnd, id, []byte{0, 0, 0, 0, status, 0, 0, 0})
}

// appendStream appends content as records of one kind, then the empty record that ends the stream.
func appendStream(out []byte, kind byte, id uint16, content []byte) []byte {
	for len(content) > 0 {
		n := min(len(content), maxContent)
		out = appendRecord(out, kind, id, content[:n])
		content = content[n:]
	}
	return appendRecord(out, kind, id, nil)
}

// writeResponse writes res as the STDOUT of request id, and its end.
func writeResponse(out *bytes.Buffer, id uint16, res *bufferedResponse, method string) {
	out.Write(appendHeader(out.AvailableBuffer(), typeStdout, id, 0))
	res.writeDocument(out, method)
	first := out.Bytes()
	size := len(first) - headerLen
	if size <= maxContent {
		appendHeader(first[:0], typeStdout, id, size)
		out.Write(appendRecord(out.AvailableBuffer(), typeStdout, id, nil))
	} else {
		content := bytes.Clone(first[headerLen:])
		out.Reset()
		out.Write(appendStream(nil, typeStdout, id, content))
	}
	out.Write(appendEnd(out.AvailableBuffer(), id, statusComplete))
}

func encodePairs(pairs map[string]string) (out []byte) {
	for name, value := range pairs {
		out = appendLength(out, len(name))
		out = appendLength(out, len(value))
		out = append(out, name...)
		out = append(out, value...)
	}
	return out
}

func appendLength(out []byte, n int) []byte {
	if n < 1<<7 {
		return append(out, byte(n))
	}
	return binary.BigEndian.AppendUint32(out, uint32(n)|1<<31)
}

const (
	usualPairs = 24 // variables that a web server sends
	manyPairs  = 100
)

var pairMaps = sync.Pool{New: func() any { return make(map[string]string, usualPairs) }}

// withPairs calls f with the name-value pairs in p (§3.4), which are parts of one string. They are
// gone afterwards, since they hold passwords. ok is false if p is malformed.
func withPairs(p []byte, f func(pairs map[string]string, ok bool)) {
	pairs := pairMaps.Get().(map[string]string)
	f(pairs, parsePairs(p, pairs))
	if len(pairs) <= manyPairs { // a map does not become smaller
		clear(pairs)
		pairMaps.Put(pairs)
	}
}

// parsePairs parses name-value pairs. If a name comes twice, the last counts, as in php-fpm: nginx
// sends both when a configuration repeats a variable of the stock file.
func parsePairs(p []byte, pairs map[string]string) bool {
	for rest := string(p); rest != ""; {
		var name, value int
		var ok bool
		if name, rest, ok = cutLength(rest); !ok {
			return false
		}
		if value, rest, ok = cutLength(rest); !ok || value > len(rest)-name {
			return false
		}
		pairs[rest[:name]] = rest[name : name+value]
		rest = rest[name+value:]
	}
	return true
}

func cutLength(p string) (n int, rest string, ok bool) {
	if p == "" {
		return 0, "", false
	}
	if p[0] < 1<<7 {
		return int(p[0]), p[1:], true
	}
	if len(p) < 4 {
		return 0, "", false
	}
	return int(p[0]&^(1<<7))<<24 | int(p[1])<<16 | int(p[2])<<8 | int(p[3]), p[4:], true
}
