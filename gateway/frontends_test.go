package gateway

import (
	"strings"
	"testing"
)

// What the handler sees, whichever door the request came through.
func TestEveryDoorShowsTheSameRequest(t *testing.T) {
	const form = "grant_type=refresh_token&service=registry"
	cases := []struct {
		name        string
		testRequest testRequest
		want        echoed
	}{
		{
			"a GET keeps its query as it was",
			testRequest{method: "GET", target: "/docker/v2/token?service=a%20b&scope=repository:a/b:pull&scope="},
			echoed{Method: "GET", Path: "/docker/v2/token", Query: "service=a%20b&scope=repository:a/b:pull&scope="},
		},
		{
			"Authorization arrives",
			testRequest{method: "GET", target: "/auth/token", header: map[string]string{"Authorization": "Basic YWxpY2U6cHc="}},
			echoed{Method: "GET", Path: "/auth/token", Auth: "Basic YWxpY2U6cHc="},
		},
		{
			"a body with a length is read to its end",
			testRequest{method: "POST", target: "/docker/v2/token", body: form},
			echoed{Method: "POST", Path: "/docker/v2/token", Length: int64(len(form)), Read: int64(len(form))},
		},
		{
			"a chunked body without a length is read to its end",
			testRequest{method: "POST", target: "/docker/v2/token", body: form, chunked: true},
			echoed{Method: "POST", Path: "/docker/v2/token", Length: -1, Read: int64(len(form))},
		},
		{
			"a slash at the end stays, double slashes and dots go",
			testRequest{method: "GET", target: "//evil.example/../docker//v2/token/"},
			echoed{Method: "GET", Path: "/docker/v2/token/"},
		},
		{
			"an escaped path is decoded once",
			testRequest{method: "GET", target: "/docker/v2/t%6fken%2525"},
			echoed{Method: "GET", Path: "/docker/v2/token%25"},
		},
		{
			"the query begins at the first question mark",
			testRequest{method: "GET", target: "/docker/v2/token?a=?b"},
			echoed{Method: "GET", Path: "/docker/v2/token", Query: "a=?b"},
		},
		{
			"a strange method is the handler's business",
			testRequest{method: "BREW", target: "/docker/v2/token"},
			echoed{Method: "BREW", Path: "/docker/v2/token"},
		},
		{
			"Proxy, Remote-User and Host do not arrive",
			testRequest{method: "GET", target: "/docker/v2/token", header: map[string]string{
				"Host": "evil.example", "Proxy": "http://evil.example", "Remote-User": "root", "X-Other": "stays"}},
			echoed{Method: "GET", Path: "/docker/v2/token"},
		},
	}
	for _, th := range frontends(t) {
		for _, c := range cases {
			t.Run(th.name+"/"+c.name, func(t *testing.T) {
				r := th.play(t, c.testRequest)
				got := r.echoed(t)
				checkSeen(t, got)
				if got.Header.Get("X-Other") != c.testRequest.header["X-Other"] {
					t.Errorf("X-Other is %q", got.Header.Get("X-Other"))
				}
				if th.name != "HTTP" && got.Remote != "192.0.2.7:4711" {
					t.Errorf("remote address %q", got.Remote)
				}
				got.Header, got.Remote, got.Deadline = nil, "", false
				if !equal(got, c.want) {
					t.Errorf("the handler saw\n%+v, want\n%+v", got, c.want)
				}
			})
		}
	}
}

func equal(a, b echoed) bool {
	return a.Method == b.Method && a.Path == b.Path && a.Query == b.Query && a.Host == b.Host &&
		a.Auth == b.Auth && a.Length == b.Length && a.Read == b.Read && a.Error == b.Error
}

// checkSeen holds for every request that ever reaches a handler.
func checkSeen(t testing.TB, s echoed) {
	t.Helper()
	if !strings.HasPrefix(s.Path, "/") || hasControl(s.Path+s.Query) {
		t.Errorf("path %q, query %q", s.Path, s.Query)
	}
	if s.Host != "" {
		t.Errorf("host %q", s.Host)
	}
	for _, name := range []string{"Proxy", "Remote-User", "Host"} {
		if v, ok := s.Header[name]; ok {
			t.Errorf("header %s: %q", name, v)
		}
	}
	if len(s.Header["Content-Type"]) > 1 {
		t.Errorf("Content-Type twice: %q", s.Header["Content-Type"])
	}
	if !s.Deadline {
		t.Error("context without a deadline")
	}
}

func TestEveryDoorAnswersInJSONWhenItAnswersItself(t *testing.T) {
	cases := []struct {
		name        string
		testRequest testRequest
		status      int
	}{
		{"an absolute URI is refused", testRequest{method: "GET", target: "http://evil.example/docker/v2/token"}, 400},
		{"the asterisk is refused", testRequest{method: "OPTIONS", target: "*"}, 400},
		{"an escaped NUL is refused", testRequest{method: "GET", target: "/docker/v2/token%00"}, 400},
		{"an escaped newline is refused", testRequest{method: "GET", target: "/docker/v2/token%0aSet-Cookie:x"}, 400},
		{"a path that is no text is refused", testRequest{method: "GET", target: "/docker/%ff"}, 400},
		{"a panic in mid-answer is a whole 500", testRequest{method: "GET", target: "/panic"}, 500},
		{"a panic with a value of its own is a whole 500", testRequest{method: "GET", target: "/panic/value"}, 500},
		{"a panic does not mind a body", testRequest{method: "POST", target: "/panic", body: strings.Repeat("x", 100<<10)}, 500},
	}
	for _, th := range frontends(t) {
		for _, c := range cases {
			t.Run(th.name+"/"+c.name, func(t *testing.T) {
				r := th.play(t, c.testRequest)
				if r.status != c.status {
					t.Errorf("status %d, want %d", r.status, c.status)
				}
				r.checkJSON(t)
				if strings.Contains(string(r.body), "pw-in-panic") {
					t.Errorf("the client sees the panic: %q", r.body)
				}
			})
		}
	}
}

func TestEveryDoorTakesInABodyNobodyReads(t *testing.T) {
	body := strings.Repeat("x", 10<<20)
	for _, th := range frontends(t) {
		for _, chunked := range []bool{false, true} {
			t.Run(th.name, func(t *testing.T) {
				if r := th.play(t, testRequest{method: "POST", target: "/unread", body: body, chunked: chunked}); r.status != 413 {
					t.Errorf("status %d", r.status)
				}
			})
		}
	}
}

func TestEveryDoorBoundsTheBodyItKeeps(t *testing.T) {
	body := strings.Repeat("x", maxBody+1)
	for _, th := range frontends(t) {
		t.Run(th.name, func(t *testing.T) {
			s := th.play(t, testRequest{method: "POST", target: "/", body: body}).echoed(t)
			if s.Read != maxBody || s.Error != "http: request body too large" {
				t.Errorf("read %d bytes, then %q", s.Read, s.Error)
			}
		})
	}
}

func TestEveryDoorFillsInWhatTheHandlerLeftOut(t *testing.T) {
	for _, th := range frontends(t) {
		t.Run(th.name, func(t *testing.T) {
			r := th.play(t, testRequest{method: "GET", target: "/nothing"})
			if r.status != 200 || len(r.body) != 0 || r.header.Get("Content-Length") != "0" {
				t.Errorf("an answer of nothing: %+v", r)
			}
			r = th.play(t, testRequest{method: "GET", target: "/gone"})
			if r.status != 204 || len(r.body) != 0 || r.header.Get("Content-Length") != "" {
				t.Errorf("an answer without content: %+v", r)
			}
		})
	}
}
