package gateway

import (
	"maps"
	"math"
	"net/http/cgi"
	"strings"
	"testing"
	"unsafe"
)

// recordedEnvs are variables that real web servers sent (Debian 12: Apache 2.4, mod_fcgid 2.3.9,
// nginx 1.22, fcgiwrap 1.1, lighttpd 1.4.69), without those about the server itself.
var recordedEnvs = []struct {
	name string
	vars map[string]string
	path string // below the mount point
	len  int64
}{
	{"Apache mod_cgid", map[string]string{
		"GATEWAY_INTERFACE": "CGI/1.1", "HTTP_ACCEPT": "*/*", "HTTP_AUTHORIZATION": "Basic YWxpY2U6cHc=",
		"HTTP_HOST": "127.0.0.1:18080", "HTTP_USER_AGENT": "curl/7.88.1", "PATH_INFO": "/docker/v2/token",
		"QUERY_STRING": "service=x&scope=a%3Ab:pull", "REMOTE_ADDR": "127.0.0.1", "REMOTE_PORT": "38374",
		"REQUEST_METHOD": "GET", "REQUEST_SCHEME": "http",
		"REQUEST_URI": "/cgi-bin/dockerauth/docker/v2/token?service=x&scope=a%3Ab:pull",
		"SCRIPT_NAME": "/cgi-bin/dockerauth", "SERVER_PROTOCOL": "HTTP/1.1",
		"SERVER_SOFTWARE": "Apache/2.4.71 (Debian) mod_fcgid/2.3.9",
	}, "/docker/v2/token", 0},
	{"Apache mod_cgid, chunked POST", map[string]string{
		"CONTENT_TYPE": "application/x-www-form-urlencoded", "GATEWAY_INTERFACE": "CGI/1.1", "HTTP_ACCEPT": "*/*",
		"HTTP_AUTHORIZATION": "Basic YWxpY2U6cHc=", "HTTP_HOST": "127.0.0.1:18080",
		"HTTP_TRANSFER_ENCODING": "chunked", "PATH_INFO": "/docker/v2/token",
		"QUERY_STRING": "service=x&scope=a%3Ab:pull", "REMOTE_ADDR": "127.0.0.1", "REMOTE_PORT": "38398",
		"REQUEST_METHOD": "POST", "REQUEST_URI": "/cgi-bin/dockerauth/docker/v2/token?service=x&scope=a%3Ab:pull",
		"SCRIPT_NAME": "/cgi-bin/dockerauth", "SERVER_PROTOCOL": "HTTP/1.1",
	}, "/docker/v2/token", -1},
	{"Apache .htaccess, rewritten, Authorization saved by E= alone", map[string]string{
		"GATEWAY_INTERFACE": "CGI/1.1", "HTTP_ACCEPT": "*/*", "HTTP_HOST": "127.0.0.1:18080",
		"QUERY_STRING": "service=x&scope=a%3Ab:pull", "REDIRECT_HTTP_AUTHORIZATION": "Basic YWxpY2U6cHc=",
		"REDIRECT_QUERY_STRING": "service=x&scope=a%3Ab:pull", "REDIRECT_STATUS": "200",
		"REDIRECT_URL": "/hta2/docker/v2/token", "REMOTE_ADDR": "127.0.0.1", "REMOTE_PORT": "38384",
		"REQUEST_METHOD": "GET", "REQUEST_URI": "/hta2/docker/v2/token?service=x&scope=a%3Ab:pull",
		"SCRIPT_NAME": "/hta2/dockerauth", "SERVER_PROTOCOL": "HTTP/1.1",
	}, "/hta2/docker/v2/token", 0},
	{"Apache mod_fcgid", map[string]string{
		"CONTENT_LENGTH": "28", "CONTENT_TYPE": "application/x-www-form-urlencoded", "CONTEXT_PREFIX": "/fdump",
		"GATEWAY_INTERFACE": "CGI/1.1", "HTTP_AUTHORIZATION": "Basic YWxpY2U6cHc=", "HTTP_CONNECTION": "close",
		"HTTP_HOST": "127.0.0.1:18080", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PATH_INFO": "/docker/v2/token",
		"PATH_TRANSLATED": "/srv/docker/v2/token", "QUERY_STRING": "service=x&scope=a%3Ab:pull",
		"REMOTE_ADDR": "127.0.0.1", "REMOTE_PORT": "38616", "REQUEST_METHOD": "POST",
		"REQUEST_URI": "/fdump/docker/v2/token?service=x&scope=a%3Ab:pull", "SCRIPT_FILENAME": "/srv/fdump",
		"SCRIPT_NAME": "/fdump", "SERVER_ADMIN": "[no address given]", "SERVER_PROTOCOL": "HTTP/1.1",
		"SERVER_SIGNATURE": "",
	}, "/fdump/docker/v2/token", 28},
	{"Apache mod_proxy_fcgi", map[string]string{
		"CONTENT_LENGTH": "28", "CONTENT_TYPE": "application/x-www-form-urlencoded", "GATEWAY_INTERFACE": "CGI/1.1",
		"HTTP_AUTHORIZATION": "Basic YWxpY2U6cHc=", "HTTP_HOST": "127.0.0.1:18080", "PATH_INFO": "/docker/v2/token",
		"QUERY_STRING": "service=x&scope=a%3Ab:pull", "REMOTE_ADDR": "127.0.0.1", "REMOTE_PORT": "38660",
		"REQUEST_METHOD": "POST", "REQUEST_URI": "/pdump/docker/v2/token?service=x&scope=a%3Ab:pull",
		"SCRIPT_FILENAME": "proxy:fcgi://pdump//srv/pdump", "SCRIPT_NAME": "/pdump", "SERVER_PROTOCOL": "HTTP/1.1",
		"proxy-nokeepalive": "1",
	}, "/pdump/docker/v2/token", 28},
	{"nginx, FastCGI", map[string]string{
		"CONTENT_LENGTH": "", "CONTENT_TYPE": "", "DOCUMENT_URI": "/dump/docker/v2/token",
		"GATEWAY_INTERFACE": "CGI/1.1", "HTTP_AUTHORIZATION": "Basic YWxpY2U6cHc=", "HTTP_HOST": "127.0.0.1",
		"QUERY_STRING": "service=x&scope=a%3Ab:pull", "REDIRECT_STATUS": "200", "REMOTE_ADDR": "127.0.0.1",
		"REMOTE_PORT": "36916", "REMOTE_USER": "alice", "REQUEST_METHOD": "GET",
		"REQUEST_URI": "/dump/docker/v2/token?service=x&scope=a%3Ab:pull", "SCRIPT_NAME": "/dump/docker/v2/token",
		"SERVER_NAME": "", "SERVER_PROTOCOL": "HTTP/1.1",
	}, "/dump/docker/v2/token", 0},
	{"nginx, FastCGI, a chunked POST that nginx has buffered", map[string]string{
		"CONTENT_LENGTH": "28", "CONTENT_TYPE": "application/x-www-form-urlencoded",
		"HTTP_AUTHORIZATION": "Basic YWxpY2U6cHc=", "HTTP_CONTENT_TYPE": "application/x-www-form-urlencoded",
		"HTTP_TRANSFER_ENCODING": "chunked", "QUERY_STRING": "service=x&scope=a%3Ab:pull",
		"REMOTE_ADDR": "127.0.0.1", "REMOTE_PORT": "45932", "REMOTE_USER": "alice", "REQUEST_METHOD": "POST",
		"REQUEST_URI": "/dump/docker/v2/token?service=x&scope=a%3Ab:pull", "SCRIPT_NAME": "/dump/docker/v2/token",
		"SERVER_PROTOCOL": "HTTP/1.1",
	}, "/dump/docker/v2/token", 28},
	{"nginx with fcgiwrap", map[string]string{
		"FCGI_ROLE": "RESPONDER", "CONTENT_TYPE": "", "CONTENT_LENGTH": "",
		"HTTP_AUTHORIZATION": "Basic YWxpY2U6cHc=", "HTTP_HOST": "127.0.0.1",
		"QUERY_STRING": "service=x&scope=a%3Ab:pull", "REDIRECT_STATUS": "200", "REMOTE_ADDR": "127.0.0.1",
		"REMOTE_PORT": "36680", "REMOTE_USER": "alice", "REQUEST_METHOD": "GET",
		"REQUEST_URI": "/wrap/docker/v2/token?service=x&scope=a%3Ab:pull", "SCRIPT_FILENAME": "/srv/dockerauth",
		"SCRIPT_NAME": "/wrap/docker/v2/token", "SERVER_PROTOCOL": "HTTP/1.1", "_": "/usr/sbin/fcgiwrap",
	}, "/wrap/docker/v2/token", 0},
	{"lighttpd mod_cgi", map[string]string{
		"CONTENT_LENGTH": "0", "GATEWAY_INTERFACE": "CGI/1.1", "HTTP_AUTHORIZATION": "Basic YWxpY2U6cHc=",
		"HTTP_CONTENT_LENGTH": "0", "HTTP_HOST": "127.0.0.1:18082", "PATH_INFO": "/docker/v2/token",
		"QUERY_STRING": "service=x&scope=a%3Ab:pull", "REDIRECT_STATUS": "200", "REMOTE_ADDR": "127.0.0.1",
		"REMOTE_PORT": "51450", "REQUEST_METHOD": "GET",
		"REQUEST_URI": "/cgi-bin/dockerauth/docker/v2/token?service=x&scope=a%3Ab:pull",
		"SCRIPT_NAME": "/cgi-bin/dockerauth", "SERVER_PROTOCOL": "HTTP/1.1", "SERVER_SOFTWARE": "lighttpd/1.4.69",
	}, "/docker/v2/token", 0},
	{"lighttpd mod_fastcgi", map[string]string{
		"CONTENT_LENGTH": "0", "GATEWAY_INTERFACE": "CGI/1.1", "HTTP_AUTHORIZATION": "Basic YWxpY2U6cHc=",
		"HTTP_HOST": "127.0.0.1:18082", "PATH_INFO": "/docker/v2/token", "PATH_TRANSLATED": "/srv/docker/v2/token",
		"QUERY_STRING": "service=x&scope=a%3Ab:pull", "REMOTE_ADDR": "127.0.0.1", "REMOTE_PORT": "51654",
		"REQUEST_METHOD": "GET", "REQUEST_URI": "/dump/docker/v2/token?service=x&scope=a%3Ab:pull",
		"SCRIPT_FILENAME": "/srv/dump", "SCRIPT_NAME": "/dump", "SERVER_PROTOCOL": "HTTP/1.1",
	}, "/dump/docker/v2/token", 0},
}

func TestVariablesOfRealWebServersAreUnderstood(t *testing.T) {
	for _, c := range recordedEnvs {
		t.Run(c.name, func(t *testing.T) {
			req, errResp := parseCGIEnv(c.vars, program)
			if errResp != nil {
				t.Fatal(errResp.message)
			}
			r, errResp := req.httpRequest(t.Context(), nil, Options{}.withDefaults())
			if errResp != nil {
				t.Fatal(errResp.message)
			}
			if r.URL.Path != c.path || r.URL.RawQuery != "service=x&scope=a%3Ab:pull" {
				t.Errorf("URL %q", r.URL)
			}
			if user, pw, ok := r.BasicAuth(); !ok || user != "alice" || pw != "pw" {
				t.Errorf("credentials %q %q %v", user, pw, ok)
			}
			if r.ContentLength != c.len {
				t.Errorf("length %d, want %d", r.ContentLength, c.len)
			}
			if r.RemoteAddr != "127.0.0.1:"+c.vars["REMOTE_PORT"] || r.Host != "" ||
				r.Method != c.vars["REQUEST_METHOD"] {
				t.Errorf("from %q for %q, method %q", r.RemoteAddr, r.Host, r.Method)
			}
			if got := strings.Join(r.Header["Content-Type"], ","); got != c.vars["CONTENT_TYPE"] {
				t.Errorf("Content-Type %q", got)
			}
		})
	}
}

// The strings of a request that is remembered must not keep a password that came with it.
func TestARequestSharesNoMemoryWithItsVariables(t *testing.T) {
	for _, c := range recordedEnvs {
		t.Run(c.name, func(t *testing.T) {
			text := encodePairs(c.vars)
			vars := map[string]string{}
			if !parsePairs(text, vars) {
				t.Fatal("they do not parse")
			}
			var first, last uintptr
			for name, value := range vars {
				for _, s := range []string{name, value} {
					at := uintptr(unsafe.Pointer(unsafe.StringData(s)))
					if s != "" && (first == 0 || at < first) {
						first = at
					}
					last = max(last, at)
				}
			}
			if last-first > uintptr(len(text)) {
				t.Fatalf("they are parts of more than one string of %d bytes: %d", len(text), last-first)
			}
			req, errResp := parseCGIEnv(vars, program)
			if errResp != nil {
				t.Fatal(errResp.message)
			}
			r, errResp := req.httpRequest(t.Context(), nil, Options{}.withDefaults())
			if errResp != nil {
				t.Fatal(errResp.message)
			}
			kept := []string{r.Method, r.URL.Path, r.URL.RawQuery, r.Proto, r.RemoteAddr, r.RequestURI, req.fix}
			for name, values := range r.Header {
				kept = append(append(kept, name), values...)
			}
			for _, s := range kept {
				if at := uintptr(unsafe.Pointer(unsafe.StringData(s))); s != "" && first <= at && at <= last {
					t.Errorf("%q is part of the variables", s)
				}
			}
		})
	}
}

// with returns sane variables with changes; "-" removes one.
func with(changes map[string]string) map[string]string {
	vars := map[string]string{
		"REQUEST_METHOD": "POST", "SERVER_PROTOCOL": "HTTP/1.1", "REQUEST_URI": "/docker/v2/token?a=b",
		"SCRIPT_NAME": "/docker/v2/token", "REMOTE_ADDR": "192.0.2.1", "REMOTE_PORT": "1024",
	}
	maps.Copy(vars, changes)
	maps.DeleteFunc(vars, func(_, v string) bool { return v == "-" })
	return vars
}

func TestPathBelowTheMountPoint(t *testing.T) {
	cases := []struct{ name, uri, script, info, program, want string }{
		{"the program's URL is the mount point", "/cgi-bin/dockerauth/docker/v2/token", "/cgi-bin/dockerauth",
			"/docker/v2/token", "dockerauth", "/docker/v2/token"},
		{"the program's URL itself is the root", "/cgi-bin/dockerauth", "/cgi-bin/dockerauth", "", "dockerauth", "/"},
		{"the program's URL with a slash is the root", "/cgi-bin/dockerauth/", "/cgi-bin/dockerauth", "/",
			"dockerauth", "/"},
		{"the program at the root", "/dockerauth/auth/token", "/dockerauth", "/auth/token", "dockerauth",
			"/auth/token"},
		{"a program of another name", "/x/token.cgi/auth/token", "/x/token.cgi", "/auth/token", "token.cgi",
			"/auth/token"},
		{"a longer name is not the program", "/cgi-bin/dockerauthority/docker/v2/token", "/cgi-bin/dockerauth", "",
			"dockerauth", "/cgi-bin/dockerauthority/docker/v2/token"},
		{"slashes and dots do not hide the mount point", "//cgi-bin/./dockerauth//auth/token", "/cgi-bin/dockerauth",
			"", "dockerauth", "/auth/token"},
		{"an escaped mount point is the mount point", "/cgi%2dbin/docker%61uth/auth/token", "/cgi-bin/dockerauth", "",
			"dockerauth", "/auth/token"},
		{"a rewritten path is kept", "/registry/docker/v2/token", "/registry/dockerauth", "", "dockerauth",
			"/registry/docker/v2/token"},
		{"the folder of a rewritten program is the root", "/registry/", "/registry/dockerauth", "", "dockerauth", "/"},
		{"the folder of a rewritten program without the slash is the root", "/registry", "/registry/dockerauth", "",
			"dockerauth", "/"},
		{"the root of a rewritten site is the root", "/", "/dockerauth", "", "dockerauth", "/"},
		{"nginx's SCRIPT_NAME is no mount point", "/docker/v2/token", "/docker/v2/token", "", "dockerauth",
			"/docker/v2/token"},
		{"nginx's SCRIPT_NAME with the program's name in it is no mount point", "/dockerauth/docker/v2/token",
			"/dockerauth/docker/v2/token", "", "dockerauth", "/dockerauth/docker/v2/token"},
		{"a FastCGI mount point without the program's name is kept", "/auth/docker/v2/token", "/auth",
			"/docker/v2/token", "dockerauth", "/auth/docker/v2/token"},
		{"a slash at the end is kept", "/docker/v2/token/", "", "/docker/v2/token/", "dockerauth", "/docker/v2/token/"},
		{"no SCRIPT_NAME at all", "/docker/v2/token", "", "", "dockerauth", "/docker/v2/token"},
		{"no program name", "/cgi-bin/dockerauth/auth/token", "/cgi-bin/dockerauth", "/auth/token", "",
			"/cgi-bin/dockerauth/auth/token"},
		{"without REQUEST_URI, SCRIPT_NAME and PATH_INFO count, decoded already", "", "/cgi-bin/dockerauth", "/a%20b",
			"dockerauth", "/a%20b"},
		{"without any of the three it is the root", "", "", "", "dockerauth", "/"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			req, errResp := parseCGIEnv(with(map[string]string{"REQUEST_URI": c.uri, "SCRIPT_NAME": c.script,
				"PATH_INFO": c.info}), c.program)
			if errResp != nil {
				t.Fatal(errResp.message)
			}
			if req.url.Path != c.want {
				t.Errorf("path %q, want %q", req.url.Path, c.want)
			}
		})
	}
}

func TestQueryIsTheOriginalOne(t *testing.T) {
	cases := []struct{ name, uri, query, want string }{
		{"REQUEST_URI's query counts", "/t?scope=a&scope=b", "rewritten=1", "scope=a&scope=b"},
		{"an empty one counts too", "/t?", "rewritten=1", ""},
		{"without a question mark it is QUERY_STRING, as under Tomcat", "/t", "a=b", "a=b"},
		{"without any question mark there is none", "/t", "", ""},
		{"a whole URL without a question mark has that of QUERY_STRING", "http://h", "a=b", "a=b"},
		{"an escaped question mark begins no query", "/t%3fa=b", "c=d", "c=d"},
		{"a QUERY_STRING with a question mark", "/t", "?a=b", "?a=b"},
		{"bad escapes are left to the handler", "/t?a=%zz", "", "a=%zz"},
		{"a hash is part of it", "/t?a=#b", "", "a=#b"},
		{"without REQUEST_URI it is QUERY_STRING", "", "a=b", "a=b"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			req, errResp := parseCGIEnv(with(map[string]string{"REQUEST_URI": c.uri, "QUERY_STRING": c.query}), program)
			if errResp != nil {
				t.Fatal(errResp.message)
			}
			if req.url.RawQuery != c.want {
				t.Errorf("query %q, want %q", req.url.RawQuery, c.want)
			}
		})
	}
}

func TestBadVariablesAreRejected(t *testing.T) {
	many := map[string]string{}
	for i := range maxHeaderFields + 1 {
		many["HTTP_X_"+strings.Repeat("A", i+1)] = "1"
	}
	cases := []struct {
		name   string
		vars   map[string]string
		status int
	}{
		{"no method", map[string]string{"REQUEST_METHOD": "-"}, 400},
		{"a method with a space", map[string]string{"REQUEST_METHOD": "GET /"}, 400},
		{"a method with a newline", map[string]string{"REQUEST_METHOD": "GET\n"}, 400},
		{"a method that is too long", map[string]string{"REQUEST_METHOD": strings.Repeat("A", maxMethodLen+1)}, 400},
		{"a newline in QUERY_STRING", map[string]string{"REQUEST_URI": "/docker", "QUERY_STRING": "a\nb"}, 400},
		{"a tab in QUERY_STRING", map[string]string{"REQUEST_URI": "/docker", "QUERY_STRING": "a\tb"}, 400},
		{"a scheme alone", map[string]string{"REQUEST_URI": "http://"}, 400},
		{"a URL with a bad host", map[string]string{"REQUEST_URI": "http://evil example/docker"}, 400},
		{"a URL with a backslash in its host", map[string]string{"REQUEST_URI": "http://evil\\docker/v2/token"}, 400},
		{"a URL with a newline in its host", map[string]string{"REQUEST_URI": "http://evil\n/docker"}, 400},
		{"a URL with a bad port", map[string]string{"REQUEST_URI": "http://evil:x/docker"}, 400},
		{"a URL with a bad escape", map[string]string{"REQUEST_URI": "http://evil/docker/%zz"}, 400},
		{"a URL after a space", map[string]string{"REQUEST_URI": " http://evil/docker"}, 400},
		{"an asterisk", map[string]string{"REQUEST_URI": "*"}, 400},
		{"an authority", map[string]string{"REQUEST_URI": "evil.example:443"}, 400},
		{"a query alone", map[string]string{"REQUEST_URI": "?a=b"}, 400},
		{"a bad escape", map[string]string{"REQUEST_URI": "/docker/%zz"}, 400},
		{"an incomplete escape", map[string]string{"REQUEST_URI": "/docker/%2"}, 400},
		{"an escaped NUL", map[string]string{"REQUEST_URI": "/docker/%00"}, 400},
		{"a newline in the path", map[string]string{"REQUEST_URI": "/docker\n/token"}, 400},
		{"a tab in the path", map[string]string{"REQUEST_URI": "/docker%09"}, 400},
		{"a newline in the query", map[string]string{"REQUEST_URI": "/docker?a\nb"}, 400},
		{"a DEL in the query", map[string]string{"REQUEST_URI": "/docker?a\x7f"}, 400},
		{"bytes that are not UTF-8", map[string]string{"REQUEST_URI": "/docker/%c3%28"}, 400},
		{"a relative SCRIPT_NAME and no REQUEST_URI",
			map[string]string{"REQUEST_URI": "-", "SCRIPT_NAME": "dockerauth"}, 400},
		{"a newline in a header", map[string]string{"HTTP_USER_AGENT": "a\nb"}, 400},
		{"a NUL in the credentials", map[string]string{"REDIRECT_HTTP_AUTHORIZATION": "Basic \x00"}, 400},
		{"too many headers", many, 431},
		{"a header that is too large", map[string]string{"HTTP_COOKIE": strings.Repeat("a", maxHeaderBytes)}, 431},
		{"credentials that are too large",
			map[string]string{"HTTP_AUTHORIZATION": strings.Repeat("a", maxHeaderBytes+1)}, 431},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			req, errResp := parseCGIEnv(with(c.vars), program)
			if errResp == nil {
				t.Fatalf("read as %+v", req)
			}
			if errResp.status != c.status {
				t.Errorf("status %d, want %d", errResp.status, c.status)
			}
		})
	}
}

func TestOddButHarmlessVariablesAreAccepted(t *testing.T) {
	cases := []struct {
		name string
		vars map[string]string
	}{
		{"a hostile Host", map[string]string{"HTTP_HOST": "evil.example/%zz?\x00#[::1"}},
		{"no protocol", map[string]string{"SERVER_PROTOCOL": "-"}},
		{"an unknown protocol", map[string]string{"SERVER_PROTOCOL": "SPDY/3"}},
		{"a server side include", map[string]string{"SERVER_PROTOCOL": "INCLUDED"}},
		{"a peer without address", map[string]string{"REMOTE_ADDR": "unix:", "REMOTE_PORT": ""}},
		{"a port that is out of range", map[string]string{"REMOTE_PORT": "99999"}},
		{"invalid header names", map[string]string{"HTTP_": "x", "HTTP_A B": "x", "HTTP_A\n": "x"}},
		{"a tab in a header", map[string]string{"HTTP_USER_AGENT": "a\tb"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			req, errResp := parseCGIEnv(with(c.vars), program)
			if errResp != nil {
				t.Fatal(errResp.message)
			}
			r, err := cgi.RequestFromMap(req.params)
			if err != nil {
				t.Fatal(err)
			}
			if r.Host != "" || len(r.Header) > 1 {
				t.Errorf("host %q, header %q", r.Host, r.Header)
			}
		})
	}
}

func TestAuthorizationIsFoundUnderApachesNames(t *testing.T) {
	cases := []struct {
		name string
		vars map[string]string
		want string
	}{
		{"under its own name", map[string]string{"HTTP_AUTHORIZATION": "A"}, "A"},
		{"after one redirect", map[string]string{"REDIRECT_HTTP_AUTHORIZATION": "B"}, "B"},
		{"after two", map[string]string{"REDIRECT_REDIRECT_HTTP_AUTHORIZATION": "C"}, "C"},
		{"the name with fewest redirects counts",
			map[string]string{"HTTP_AUTHORIZATION": "A", "REDIRECT_HTTP_AUTHORIZATION": "B"}, "A"},
		{"an empty one is skipped", map[string]string{"HTTP_AUTHORIZATION": "", "REDIRECT_HTTP_AUTHORIZATION": "B"},
			"B"},
		{"nowhere", map[string]string{"HTTP_X_AUTHORIZATION": "X", "AUTHORIZATION": "Y"}, ""},
		{"more redirects than Apache makes",
			map[string]string{strings.Repeat("REDIRECT_", maxRedirects+1) + "HTTP_AUTHORIZATION": "D"}, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			req, errResp := parseCGIEnv(with(c.vars), program)
			if errResp != nil {
				t.Fatal(errResp.message)
			}
			if got := req.header["Authorization"]; strings.Join(got, ",") != c.want || len(got) > 1 {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestBodyLength(t *testing.T) {
	cases := []struct {
		name, method, length, coding string
		want                         int64
	}{
		{"announced", "POST", "5", "-", 5},
		{"announced although it came in chunks", "POST", "5", "chunked", 5},
		{"a POST without one", "POST", "-", "-", -1},
		{"a POST with an empty one", "POST", "", "-", -1},
		{"a POST of nothing", "POST", "0", "-", 0},
		{"a POST of nothing that came in chunks", "POST", "0", "chunked", -1},
		{"a GET without one", "GET", "-", "-", 0},
		{"a GET with an empty one, as nginx sends it", "GET", "", "-", 0},
		{"a GET in chunks", "GET", "-", "chunked", -1},
		{"a GET with one", "GET", "5", "-", 5},
		{"a GET of nothing", "GET", "0", "-", 0},
		{"a large one", "POST", "1000000000", "-", 1e9},
		{"one with zeros before it", "POST", "005", "-", 5},
		{"beyond 63 bits it is a length that no body reaches", "POST", "9223372036854775808", "-", math.MaxInt64},
		{"Caddy's word for a chunked body", "POST", "-1", "-", -1},
		{"Caddy's word for a GET without an end", "GET", "-1", "-", -1},
		{"a negative zero is no length", "POST", "-0", "-", -1},
		{"a sign is no length", "POST", "+5", "-", -1},
		{"a word is no length", "POST", "abc", "-", -1},
		{"a space before it is no length", "POST", " 5", "-", -1},
		{"a space after it is no length", "POST", "5 ", "-", -1},
		{"a space is no length", "POST", " ", "-", -1},
		{"two of them are no length", "POST", "5, 5", "-", -1},
		{"a hexadecimal one is no length", "POST", "0x5", "-", -1},
		{"an exponent is no length", "POST", "1e9", "-", -1},
		{"a fraction is no length", "POST", "5.0", "-", -1},
		{"digits of another script are no length", "POST", "\u0665", "-", -1},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			n := bodyLength(with(map[string]string{"REQUEST_METHOD": c.method, "CONTENT_LENGTH": c.length,
				"HTTP_TRANSFER_ENCODING": c.coding}))
			if n != c.want {
				t.Errorf("got %d, want %d", n, c.want)
			}
		})
	}
}
