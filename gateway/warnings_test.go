package gateway

import (
	"bytes"
	"log/slog"
	"net/http"
	"strings"
	"testing"
)

// loggedOptions log to out.
func loggedOptions(out *bytes.Buffer) Options {
	return Options{Log: slog.New(slog.NewTextHandler(out, nil))}.withDefaults()
}

// checkOnce fails unless the log has one line, with these words.
func checkOnce(t *testing.T, log string, words ...string) {
	t.Helper()
	if strings.Count(log, "\n") != 1 || !strings.Contains(log, "level=WARN") {
		t.Errorf("not one warning: %s", log)
	}
	for _, word := range words {
		if !strings.Contains(log, word) {
			t.Errorf("the log does not say %q: %s", word, log)
		}
	}
	if strings.Contains(log, "secret-claim") {
		t.Errorf("the log quotes the client: %s", log)
	}
}

func TestAnUntrustedProxyIsReportedOnceByEachFrontend(t *testing.T) {
	for _, frontend := range []string{"the admin's", "the service's"} { // in one process
		var out bytes.Buffer
		o := loggedOptions(&out)
		o.Trusted = trustTestNet(false)
		clientAddr(forwardedRequest("10.0.0.1:99", "192.0.2.1"), o)
		clientAddr(forwardedRequest("192.0.2.9:99"), o)
		if out.Len() > 0 {
			t.Fatalf("%s: warned without a reason: %s", frontend, out.String())
		}
		clientAddr(forwardedRequest("192.0.2.9:99", "secret-claim"), o)
		o.Trusted = nil
		clientAddr(forwardedRequest("192.0.2.8:99", "192.0.2.1"), o)
		checkOnce(t, out.String(), "192.0.2.9:99", "trusted_proxies")
	}
}

func TestATrustedProxyThatNamesNoAddressIsReportedOnce(t *testing.T) {
	var out bytes.Buffer
	o := loggedOptions(&out)
	o.Trusted = trustTestNet(false)
	clientAddr(forwardedRequest("10.0.0.1:99", "unknown, 192.0.2.1"), o) // written by the client
	if out.Len() > 0 {
		t.Fatalf("warned without a reason: %s", out.String())
	}
	clientAddr(forwardedRequest("10.0.0.1:99", "192.0.2.1, secret-claim"), o)
	clientAddr(forwardedRequest("10.0.0.1:99", "unknown"), o)
	checkOnce(t, out.String(), "10.0.0.1:99", "append the address")
}

func TestALoginWithoutAnAddressIsReportedOnceWithTheDirective(t *testing.T) {
	tests := []struct{ name, software, addr, fix string }{
		{"no name, which nginx sends", "", "", "fastcgi_param REMOTE_ADDR $remote_addr;"},
		{"nginx", "nginx/1.26.3", "", "fastcgi_param REMOTE_ADDR $remote_addr;"},
		{"nginx on a unix socket", "nginx/1.26.3", "unix:", "set_real_ip_from unix:;"},
		{"Apache", "Apache/2.4.71 (Debian)", "", "Apache: "},
		{"lighttpd", "lighttpd/1.4.79", "", "lighttpd: "},
		{"Caddy", "Caddy/v2.6.2", "", "env REMOTE_ADDR {remote_host}"},
		{"HAProxy", "HAProxy 3.0.11", "", "set-param REMOTE_ADDR %[src]"},
		{"another one", "secret-claim", "", "REMOTE_ADDR"},
		{"no address", "nginx/1.26.3", "secret-claim", "real_ip_header"},
		{"an address with a port", "nginx/1.26.3", "192.0.2.1:99", "real_ip_header"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			o := loggedOptions(&out)
			send := func(changes map[string]string) {
				t.Helper()
				vars := with(map[string]string{"SERVER_SOFTWARE": tt.software, "REMOTE_ADDR": tt.addr})
				for name, value := range changes {
					vars[name] = value
				}
				req, errResp := parseCGIEnv(vars, program)
				if errResp != nil {
					t.Fatal(errResp.message)
				}
				r, errResp := req.httpRequest(t.Context(), nil, o)
				if errResp != nil {
					t.Fatal(errResp.message)
				}
				if vars["REMOTE_ADDR"] == tt.addr && r.RemoteAddr != ":0" {
					t.Errorf("address %q", r.RemoteAddr)
				}
			}
			send(map[string]string{"REQUEST_METHOD": "GET"}) // a health check
			send(map[string]string{"REMOTE_ADDR": "192.0.2.1"})
			if out.Len() > 0 {
				t.Fatalf("warned without a reason: %s", out.String())
			}
			send(map[string]string{"REQUEST_METHOD": "GET", "HTTP_AUTHORIZATION": "Basic c2VjcmV0LWNsYWltOnB3"})
			send(nil)
			checkOnce(t, out.String(), tt.fix)
		})
	}
}

func TestALoginFromAUnixSocketWithoutAForwardedAddressIsReportedOnce(t *testing.T) {
	var out bytes.Buffer
	l, err := Listen("unix:" + socket(t))
	if err != nil {
		t.Fatal(err)
	}
	runWith(t, ServeHTTP, l, echo, Options{Log: slog.New(slog.NewTextHandler(&out, nil)), Trusted: trustTestNet(true)})
	for i, header := range []map[string]string{
		nil,
		{"Authorization": "Basic c2VjcmV0LWNsYWltOnB3", "X-Forwarded-For": "192.0.2.1"},
		{"Authorization": "Basic c2VjcmV0LWNsYWltOnB3"},
		{"Authorization": "Basic c2VjcmV0LWNsYWltOnB3"},
	} {
		r := testRequest{method: http.MethodGet, target: "/", header: header}.sendHTTPOn(t, dialTo(t, l)).echoed(t)
		if want := map[bool]string{true: "192.0.2.1:0", false: ":0"}[i == 1]; r.Remote != want {
			t.Errorf("request %d: address %q, want %q", i, r.Remote, want)
		}
		if i < 2 && out.Len() > 0 {
			t.Fatalf("request %d: warned without a reason: %s", i, out.String())
		}
	}
	checkOnce(t, out.String(), "X-Forwarded-For", "unix in trusted_proxies")
}
