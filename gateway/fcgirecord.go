package gateway

import "encoding/binary"

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
	out = append(out, wireVersion, kind)
	out = binary.BigEndian.AppendUint16(out, id)
	out = binary.BigEndian.AppendUint16(out, uint16(len(content)))
	out = append(out, 0, 0)
	return append(out, content...)
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

// parsePairs parses name-value pairs (§3.4). If a name comes twice, the last counts, as in php-fpm:
// nginx sends both when a configuration repeats a variable of the stock file.
func parsePairs(p []byte) (map[string]string, bool) {
	pairs := map[string]string{}
	for len(p) > 0 {
		var name, value int
		var ok bool
		if name, p, ok = cutLength(p); !ok {
			return nil, false
		}
		if value, p, ok = cutLength(p); !ok || value > len(p)-name {
			return nil, false
		}
		pairs[string(p[:name])] = string(p[name : name+value])
		p = p[name+value:]
	}
	return pairs, true
}

func cutLength(p []byte) (n int, rest []byte, ok bool) {
	if len(p) == 0 {
		return 0, nil, false
	}
	if p[0] < 1<<7 {
		return int(p[0]), p[1:], true
	}
	if len(p) < 4 {
		return 0, nil, false
	}
	return int(binary.BigEndian.Uint32(p) &^ (1 << 31)), p[4:], true
}
