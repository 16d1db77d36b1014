package handler

import (
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"dockerauth/access"
)

// step is an arrow of the request path, without what the endpoint asks.
type step struct {
	name string
	most float64 // allocations
	run  func()
}

func requestPath(t testing.TB) []step {
	anonymous := newRequest(t, http.MethodGet, "service=registry.example.com&scope=repository:public/app:pull")
	posted := newRequest(t, http.MethodPost, "")
	posted.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	refresh := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {strings.Repeat("x", 400)},
		"service": {
			"registry.example.com",
		}, "scope": {"repository:alice/app:pull,push"}, "client_id": {"docker"}}.Encode()
	scopes, _, err := access.ParseScopes([]string{"repository:public/app:pull"})
	if err != nil {
		t.Fatal(err)
	}
	req := Request{Service: "registry.example.com", Scopes: scopes, Remote: "192.0.2.7"}
	resp := Response{Token: strings.Repeat("x", 700), TokenID: "ABCDEFGHIJKLMNOPQRSTUVWXYZ", Granted: scopes}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	w := discarder{http.Header{}}
	decodes := func(r *http.Request) {
		if _, err := decode(r); err != nil {
			t.Fatal(err)
		}
	}
	return []step{
		{"decode an anonymous request", 10, func() { decodes(anonymous) }},
		{"decode a refresh", 26, func() {
			r := *posted
			r.Body = io.NopCloser(strings.NewReader(refresh))
			decodes(&r)
		}},
		{"encode", 7, func() { clear(w.header); writeResponse(w, req, resp, 15*time.Minute, time.Now()) }},
		{"log line", 11, func() { logRequest(log, anonymous, "granted", &req, &resp, nil, time.Millisecond) }},
	}
}

func newRequest(t testing.TB, method, query string) *http.Request {
	r, err := http.NewRequest(method, "/docker/v2/token?"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.RemoteAddr = "192.0.2.7:4711"
	return r
}

// discarder is a response that is thrown away.
type discarder struct{ header http.Header }

func (d discarder) Header() http.Header         { return d.header }
func (d discarder) WriteHeader(int)             {}
func (d discarder) Write(p []byte) (int, error) { return len(p), nil }

func BenchmarkRequestPath(b *testing.B) {
	for _, s := range requestPath(b) {
		b.Run(s.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.run()
			}
		})
	}
}

// The ceilings leave a margin for the race detector, under which pools forget.
func TestARequestTakesFewAllocations(t *testing.T) {
	for _, s := range requestPath(t) {
		if got := testing.AllocsPerRun(100, s.run); got > s.most {
			t.Errorf("%s: %v allocations, the most is %v", s.name, got, s.most)
		}
	}
}
