package gateway

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"
)

// BenchmarkHTTP is what the HTTP front end costs for a small request.
func BenchmarkHTTP(b *testing.B) {
	b.Run("kept connection", func(b *testing.B) {
		l := loopback(b)
		run(b, ServeHTTP, l, noContent)
		b.RunParallel(func(pb *testing.PB) {
			c := dialTo(b, l)
			in := bufio.NewReader(c)
			for pb.Next() {
				benchGet(b, c, in)
			}
		})
	})
	b.Run("new connection", func(b *testing.B) {
		l := loopback(b)
		run(b, ServeHTTP, l, noContent)
		for b.Loop() {
			c, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				b.Fatal(err)
			}
			benchGet(b, c, bufio.NewReader(c))
			c.Close()
		}
	})
}

var noContent = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })

func loopback(b *testing.B) net.Listener {
	l, err := Listen("tcp:127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	return l
}

func benchGet(b *testing.B, c net.Conn, in *bufio.Reader) {
	if _, err := io.WriteString(c, "GET /x HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		b.Fatal(err)
	}
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		b.Fatal(err)
	}
	res.Body.Close()
}

// BenchmarkFastCGI is what the FastCGI front end costs for a small request.
func BenchmarkFastCGI(b *testing.B) {
	l := loopback(b)
	run(b, ServeFastCGI, l, noContent)
	vars := testRequest{method: "GET", target: "/x"}.variables()
	for name, keep := range map[string]byte{"kept connection": flagKeepConn, "new connection": 0} {
		request := beginRecord(1, roleResponder, keep)
		request = appendStream(request, typeParams, 1, encodePairs(vars))
		request = appendRecord(request, typeStdin, 1, nil)
		b.Run(name, func(b *testing.B) {
			var c *client
			for b.Loop() {
				if keep == 0 || c == nil {
					c = newClient(b, dialTo(b, l))
				}
				c.raw(request)
				c.reply(1)
				if keep == 0 {
					<-c.gone
					c.Close()
				}
			}
		})
	}
}
