package gateway

import (
	"strconv"
	"strings"
	"testing"
)

func TestEveryFrontendShowsTheSameRequest(t *testing.T) {
	const form = "grant_type=refresh_token&service=registry"
	cases := []struct {
		name    string
		request testRequest
		want    echoed
	}{
		{
			"a GET keeps its original query",
			testRequest{method: "GET", target: "/docker/v2/token?service=a%20b&scope=repository:a/b:pull&scope="},
			echoed{Method: "GET", Path: "/docker/v2/token", Query: "service=a%20b&scope=repository:a/b:pull&scope="},
		},
		{
			"Authorization arrives",
			testRequest{method: "GET", target: "/auth/token",
				header: map[string]string{"Authorization": "Basic YWxpY2U6cHc="}},
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
			"a slash at the end is kept, double slashes and dots are cleaned",
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
			"a whole URL is its path and query (RFC 9112 §3.2.2)",
			testRequest{method: "GET", target: "http://evil.example:80/docker/./v2/t%6fken?service=a%20b&scope=c"},
			echoed{Method: "GET", Path: "/docker/v2/token", Query: "service=a%20b&scope=c"},
		},
		{
			"a whole URL may be of https, and its host an IPv6 address",
			testRequest{method: "POST", target: "HTTPS://[2001:db8::1]/docker/v2/token", body: form},
			echoed{Method: "POST", Path: "/docker/v2/token", Length: int64(len(form)), Read: int64(len(form))},
		},
		{
			"a whole URL without a path is that of the root",
			testRequest{method: "GET", target: "http://evil.example?a=//b"},
			echoed{Method: "GET", Path: "/", Query: "a=//b"},
		},
		{
			"a path that looks like a URL is a path",
			testRequest{method: "GET", target: "/http://evil.example/docker/v2/token"},
			echoed{Method: "GET", Path: "/http:/evil.example/docker/v2/token"},
		},
		{
			"an unknown method is left to the handler",
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
	for _, tr := range transports(t) {
		for _, c := range cases {
			t.Run(tr.name+"/"+c.name, func(t *testing.T) {
				r := tr.send(t, c.request)
				got := r.echoed(t)
				checkSeen(t, got)
				if got.Header.Get("X-Other") != c.request.header["X-Other"] {
					t.Errorf("X-Other is %q", got.Header.Get("X-Other"))
				}
				if tr.name != "HTTP" && got.Remote != "192.0.2.7:4711" {
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

// checkSeen checks what holds for every request that reaches a handler.
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

func TestEveryFrontendSendsItsOwnErrorsInJSON(t *testing.T) {
	cases := []struct {
		name    string
		request testRequest
		status  int
	}{
		{"a URL of another scheme is rejected", testRequest{method: "GET", target: "ftp://h/docker/v2/token"}, 400},
		{"a URL with a user is rejected", testRequest{method: "GET", target: "http://pw-in-panic@h/docker"}, 400},
		{"a URL without a host is rejected", testRequest{method: "GET", target: "http:///docker/v2/token"}, 400},
		{"a URL with a port and no host is rejected", testRequest{method: "GET", target: "http://:80/docker"}, 400},
		{"a URL without slashes is rejected", testRequest{method: "GET", target: "http:docker/v2/token"}, 400},
		{"an escaped newline in a URL is rejected", testRequest{method: "GET", target: "http://h/%0aX:y"}, 400},
		{"the asterisk is rejected", testRequest{method: "OPTIONS", target: "*"}, 400},
		{"an escaped NUL is rejected", testRequest{method: "GET", target: "/docker/v2/token%00"}, 400},
		{"an escaped newline is rejected", testRequest{method: "GET", target: "/docker/v2/token%0aSet-Cookie:x"}, 400},
		{"a path that is not UTF-8 is rejected", testRequest{method: "GET", target: "/docker/%ff"}, 400},
		{"a panic within the response is a complete 500", testRequest{method: "GET", target: "/panic"}, 500},
		{"a panic with its own value is a complete 500", testRequest{method: "GET", target: "/panic/value"}, 500},
		{"a panic with an unread body is a complete 500",
			testRequest{method: "POST", target: "/panic", body: strings.Repeat("x", 100<<10)}, 500},
	}
	for _, tr := range transports(t) {
		for _, c := range cases {
			t.Run(tr.name+"/"+c.name, func(t *testing.T) {
				r := tr.send(t, c.request)
				if r.status != c.status {
					t.Errorf("status %d, want %d", r.status, c.status)
				}
				r.checkJSON(t)
				if strings.Contains(string(r.body), "pw-in-panic") {
					t.Errorf("the client sees the panic's value: %q", r.body)
				}
				if got := r.header.Get("X-Half"); got != "" {
					t.Errorf("the client sees a header field from before the panic: %q", got)
				}
			})
		}
	}
}

func TestEveryFrontendReceivesABodyThatIsNotRead(t *testing.T) {
	body := strings.Repeat("x", 10<<20)
	for _, tr := range transports(t) {
		for _, chunked := range []bool{false, true} {
			t.Run(tr.name, func(t *testing.T) {
				if r := tr.send(t,
					testRequest{method: "POST", target: "/unread", body: body, chunked: chunked}); r.status != 413 {
					t.Errorf("status %d", r.status)
				}
			})
		}
	}
}

func TestEveryFrontendLimitsTheBodyItKeeps(t *testing.T) {
	body := strings.Repeat("x", maxBody+1)
	for _, tr := range transports(t) {
		t.Run(tr.name, func(t *testing.T) {
			s := tr.send(t, testRequest{method: "POST", target: "/", body: body}).echoed(t)
			if s.Read != maxBody || s.Error != "http: request body too large" {
				t.Errorf("read %d bytes, then %q", s.Read, s.Error)
			}
		})
	}
}

// RFC 9110 §9.3.2, RFC 3875 §4.3.3
func TestEveryFrontendSendsNoBodyToHEAD(t *testing.T) {
	for _, tr := range transports(t) {
		t.Run(tr.name, func(t *testing.T) {
			for target, status := range map[string]int{"/x": 200, "/unread": 413, "/panic": 500, "/docker/%ff": 400} {
				r := tr.send(t, testRequest{method: "HEAD", target: target})
				length := r.header.Get("Content-Length")
				if n, err := strconv.Atoi(length); r.status != status || err != nil || n == 0 || len(r.body) > 0 {
					t.Errorf("%s: status %d, Content-Length %q, body %q", target, r.status, length, r.body)
				}
			}
		})
	}
}

func TestEveryFrontendCompletesTheResponse(t *testing.T) {
	for _, tr := range transports(t) {
		t.Run(tr.name, func(t *testing.T) {
			r := tr.send(t, testRequest{method: "GET", target: "/nothing"})
			if r.status != 200 || len(r.body) != 0 || r.header.Get("Content-Length") != "0" {
				t.Errorf("empty response: %+v", r)
			}
			r = tr.send(t, testRequest{method: "GET", target: "/gone"})
			if r.status != 204 || len(r.body) != 0 || r.header.Get("Content-Length") != "" ||
				r.header.Get("X-Late") != "" {
				t.Errorf("response without content: %+v", r)
			}
		})
	}
}
