package gateway

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
)

// A pipe gives each Write to a Read of its own, so the first Read returns the first Write.
func TestHTTPAnAnswerIsOneWrite(t *testing.T) {
	big := strings.Repeat("0123456789", 3000)
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/none" {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		io.WriteString(w, big)
	})
	httpBubble(t, h, func(t *testing.T, p *pipeListener, _ func()) {
		c := p.connect()
		buf := make([]byte, 64<<10)
		for _, tc := range []struct {
			name, method, request string
			status, body          int
		}{
			{"a large answer", "GET", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 200, len(big)},
			{"to a POST", "POST", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n123", 200, len(big)},
			{"no body because of the method", "HEAD", "HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", 200, 0},
			{"no body because of the status", "GET", "GET /none HTTP/1.1\r\nHost: x\r\n\r\n", 204, 0},
			{"the last", "GET", "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 200, len(big)},
		} {
			io.WriteString(c, tc.request)
			n, err := c.Read(buf)
			if err != nil {
				t.Fatalf("%s: %v", tc.name, err)
			}
			res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(buf[:n])), &http.Request{Method: tc.method})
			if err != nil {
				t.Fatalf("%s: %v: %q", tc.name, err, buf[:n])
			}
			body, err := io.ReadAll(res.Body)
			if err != nil || res.StatusCode != tc.status || len(body) != tc.body {
				t.Errorf("%s: status %d, want %d; the first Write has %d bytes of the body, want %d: %v",
					tc.name, res.StatusCode, tc.status, len(body), tc.body, err)
			}
		}
		if n, err := c.Read(buf); !errors.Is(err, io.EOF) {
			t.Errorf("after the last: %d bytes, %v", n, err)
		}
	})
}
