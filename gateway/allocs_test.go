package gateway

import "testing"

// What a front end allocates for a request on a kept connection, with what net/http and the pipe
// do. The ceilings leave a margin for the race detector, under which pools forget.
func TestARequestAllocatesLittle(t *testing.T) {
	for _, tc := range []struct {
		name    string
		serve   serveFunc
		request []byte
		most    float64
	}{
		{"HTTP", ServeHTTP, []byte(getX), 34},
		{"FastCGI", ServeFastCGI, fcgiGetX, 36},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newPipeListener()
			run(t, tc.serve, p, noContent)
			c := p.connect()
			defer c.Close()
			buf := make([]byte, 4096)
			got := testing.AllocsPerRun(1000, func() {
				if _, err := c.Write(tc.request); err != nil {
					t.Fatal(err)
				}
				if _, err := c.Read(buf); err != nil {
					t.Fatal(err)
				}
			})
			if got > tc.most {
				t.Errorf("%v allocations, want at most %v", got, tc.most)
			}
		})
	}
}
