package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// tokenRequest is a client's request to the token service and its result, without passwords and
// tokens.
type tokenRequest struct {
	method  string
	grant   string // POST: grant_type
	account string // the user name of the credentials: Basic user or username
	refresh bool   // the credential is a refresh token, in either of its two forms
	offline bool   // asks for a refresh token
	chunked bool   // a body without Content-Length
	scopes  []string
	status  int
}

// tap is a proxy between clients and the token service. It changes nothing and records requests.
type tap struct {
	mu      sync.Mutex
	seen    []tokenRequest
	all     int // requests ever seen
	renewed int // granted refreshes ever seen
}

// startTap returns the tap, and the realm that leads through it to realm.
func startTap(t testing.TB, realm string) (*tap, string) {
	t.Helper()
	target, err := url.Parse(realm)
	if err != nil {
		t.Fatal(err)
	}
	path := target.Path
	target.Path = ""
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	tp := &tap{}
	server := httptest.NewServer(tp.recording(proxy))
	t.Cleanup(server.Close)
	_, port, _ := strings.Cut(server.Listener.Addr().String(), ":")
	return tp, fmt.Sprintf("http://localhost:%s%s", port, path)
}

func (tp *tap) recording(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		q := readTokenRequest(r, string(body))
		r.Body = io.NopCloser(bytes.NewReader(body)) // ContentLength stays as it came, -1 for chunked
		answer := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(answer, r)
		q.status = answer.status
		tp.mu.Lock()
		defer tp.mu.Unlock()
		tp.seen = append(tp.seen, q)
		tp.all++
		if grantedRefresh(q) {
			tp.renewed++
		}
	})
}

func readTokenRequest(r *http.Request, body string) tokenRequest {
	form, _ := url.ParseQuery(body)
	query := r.URL.Query()
	q := tokenRequest{
		method:  r.Method,
		grant:   form.Get("grant_type"),
		account: form.Get("username"),
		offline: query.Get("offline_token") == "true" || form.Get("access_type") == "offline",
		chunked: r.ContentLength < 0,
		scopes:  append(query["scope"], form["scope"]...),
	}
	q.refresh = form.Get("refresh_token") != ""
	if user, password, ok := r.BasicAuth(); ok {
		q.account = user
		q.refresh = q.refresh || user == "" && password != ""
	}
	return q
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// take returns the requests since the last take.
func (tp *tap) take() []tokenRequest {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	seen := tp.seen
	tp.seen = nil
	return seen
}

// totals are the counts since the start.
func (tp *tap) totals() (all, renewed int) {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	return tp.all, tp.renewed
}

func count(seen []tokenRequest, is func(tokenRequest) bool) int {
	n := 0
	for _, q := range seen {
		if is(q) {
			n++
		}
	}
	return n
}

func wasGranted(q tokenRequest) bool     { return q.status == http.StatusOK }
func wasRefused(q tokenRequest) bool     { return q.status == http.StatusUnauthorized }
func byPassword(q tokenRequest) bool     { return q.account != "" && !q.refresh }
func grantedRefresh(q tokenRequest) bool { return q.refresh && wasGranted(q) }
