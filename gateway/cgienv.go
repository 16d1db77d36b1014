package gateway

import (
	"context"
	"io"
	"net/http"
	"net/http/cgi"
	"net/netip"
	"net/url"
	"path"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Bounds on what a web server may say about one request. Apache passes at most
// 100 headers of 8190 bytes, nginx 32 KiB of them, lighttpd 8 KiB.
const (
	maxHeaderFields = 256
	maxHeaderBytes  = 128 << 10 // names and values together
	maxMethodLen    = 32        // longer than any registered method (UPDATEREDIRECTREF, 17)
)

// maxRedirects is how often Apache redirects internally (LimitInternalRecursion),
// each time putting REDIRECT_ before the names.
const maxRedirects = 10

// visit is a request as CGI variables describe it, made safe.
type cgiRequest struct {
	params map[string]string // what cgi.RequestFromMap may see: it cannot fail on these
	url    *url.URL          // path below the mount, original query
	length int64             // of the body; -1 = nobody announced it
}

// request is the visit as the handler sees it.
func (v *cgiRequest) request(ctx context.Context, body io.ReadCloser) (*http.Request, error) {
	r, err := cgi.RequestFromMap(v.params)
	if err != nil {
		return nil, err
	}
	r.URL = v.url
	r.Host = ""
	r.ContentLength = v.length
	r.Body = body
	return r.WithContext(ctx), nil
}

// readVariables turns CGI variables (RFC 3875 §4.1) into a visit. program is the
// base name by which SCRIPT_NAME is known to mean this program.
func parseCGIEnv(vars map[string]string, program string) (*cgiRequest, *errorResponse) {
	method := vars["REQUEST_METHOD"]
	if len(method) > maxMethodLen || !isToken(method) {
		return nil, badRequest("no usable REQUEST_METHOD")
	}
	length, no := bodyLength(vars)
	if no != nil {
		return nil, no
	}
	target, no := requestTarget(vars, program)
	if no != nil {
		return nil, no
	}
	params, no := headerFields(vars)
	if no != nil {
		return nil, no
	}
	params["REQUEST_METHOD"] = method
	params["REQUEST_URI"] = "/" // RequestFromMap fails on many; request puts the real one in place
	params["SERVER_PROTOCOL"] = serverProtocol(vars["SERVER_PROTOCOL"])
	params["REMOTE_ADDR"], params["REMOTE_PORT"] = remoteAddr(vars)
	if vars["HTTPS"] != "" {
		params["HTTPS"] = vars["HTTPS"]
	}
	return &cgiRequest{params, target, length}, nil
}

// bodyLength reads CONTENT_LENGTH. Absent, empty (nginx with fcgiwrap) and "0"
// say nothing about a body that came in chunks: mod_cgid passes podman's POST
// without a length, and then only the end of stdin ends it. Any length that comes with a
// refusal is -1.
func bodyLength(vars map[string]string) (int64, *errorResponse) {
	text := vars["CONTENT_LENGTH"]
	if text != "" {
		n, err := strconv.ParseUint(text, 10, 63) // ParseInt would take a sign
		if err != nil {
			return -1, badRequest("CONTENT_LENGTH is not a number")
		}
		if n > 0 {
			return int64(n), nil
		}
	}
	if vars["HTTP_TRANSFER_ENCODING"] != "" {
		return -1, nil
	}
	if text == "" && usuallyHasBody(vars["REQUEST_METHOD"]) {
		return -1, nil
	}
	return 0, nil
}

func usuallyHasBody(method string) bool {
	return method == http.MethodPost || method == http.MethodPut || method == http.MethodPatch
}

// requestTarget takes path and query from REQUEST_URI, which is the client's own
// under every server tried, and only where it is missing from SCRIPT_NAME and PATH_INFO.
func requestTarget(vars map[string]string, program string) (*url.URL, *errorResponse) {
	uri := vars["REQUEST_URI"]
	if uri == "" {
		p := vars["SCRIPT_NAME"] + vars["PATH_INFO"] // decoded already (RFC 3875 §4.1.5)
		if p == "" {
			p = "/"
		}
		return safeTarget(p, vars["QUERY_STRING"], vars["SCRIPT_NAME"], program)
	}
	raw, query, _ := strings.Cut(uri, "?")
	p, err := url.PathUnescape(raw)
	if err != nil {
		return nil, badRequest("request path has a bad escape")
	}
	return safeTarget(p, query, vars["SCRIPT_NAME"], program)
}

// safeTarget refuses what is no path of ours: absolute URIs and "*" do not begin
// with a slash, and what is not printable text has no business in a log. Dots and double
// slashes are cleaned away, since web servers do the same before they compare with SCRIPT_NAME.
func safeTarget(p, query, script, program string) (*url.URL, *errorResponse) {
	if !strings.HasPrefix(p, "/") {
		return nil, badRequest("request target is not a path")
	}
	if hasControl(p) || hasControl(query) || strings.Contains(p+query, "\t") || !utf8.ValidString(p) {
		return nil, badRequest("request target is not printable text")
	}
	return &url.URL{Path: stripMount(cleanPath(p), script, program), RawQuery: query}, nil
}

// cleanPath is path.Clean with the last slash left in place.
func cleanPath(p string) string {
	clean := path.Clean(p)
	if strings.HasSuffix(p, "/") && clean != "/" {
		clean += "/"
	}
	return clean
}

// belowMount takes the mount point off p. SCRIPT_NAME is worth something only
// where it ends in the program's own name: nginx puts the whole path into it.
// A .htaccess rewrite leaves the program's name out of the path; there the folder of the
// program is "/". Any other path stays, and the handler looks at its end.
func stripMount(p, script, program string) string {
	if program == "" || path.Base(script) != program {
		return p
	}
	script = path.Clean(script)
	if rest, found := strings.CutPrefix(p, script); found && (rest == "" || rest[0] == '/') {
		if rest == "" {
			return "/"
		}
		return rest
	}
	if strings.TrimSuffix(p, "/") == strings.TrimSuffix(path.Dir(script), "/") {
		return "/"
	}
	return p
}

// headerVariables picks the variables that become header fields.
func headerFields(vars map[string]string) (map[string]string, *errorResponse) {
	params := make(map[string]string, len(vars))
	size := 0
	for name, value := range vars {
		if !isHeaderVariable(name) {
			continue
		}
		if hasControl(value) {
			return nil, badRequest("a header field has control bytes")
		}
		params[name] = value
		size += len(name) + len(value)
	}
	if secret := authorization(vars); hasControl(secret) {
		return nil, badRequest("a header field has control bytes")
	} else if secret != "" {
		params["HTTP_AUTHORIZATION"] = secret
		size += len(secret)
	}
	if len(params) > maxHeaderFields || size > maxHeaderBytes {
		return nil, tooLarge("too many or too large header fields")
	}
	return params, nil
}

// wantedHeader leaves out what would do harm or come twice: Host (RequestFromMap
// fails on hostile ones), Proxy (httpoxy, CVE-2016-5385), Remote-User (a client may send
// it, and nginx's stock fastcgi_params sets the variable unverified), Authorization (chosen below), and
// the two that CGI passes under names of their own.
func isHeaderVariable(name string) bool {
	switch name {
	case "CONTENT_TYPE":
		return true
	case "HTTP_HOST", "HTTP_PROXY", "HTTP_REMOTE_USER", "HTTP_AUTHORIZATION",
		"HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH", "HTTP_TRANSFER_ENCODING":
		return false
	}
	field, found := strings.CutPrefix(name, "HTTP_")
	return found && isVariableName(field)
}

// isVariable holds for the form that RFC 3875 §4.1.18 gives names. In any other,
// HTTP_Host or HTTP_REMOTE-USER, a field left out above would come back.
func isVariableName(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return s != ""
}

// authorization finds the header under the names Apache gives it: as it is, or
// with one REDIRECT_ for each internal redirect since a rewrite rule saved it. An
// E= rule without the header sets an empty variable, which counts for nothing.
func authorization(vars map[string]string) string {
	name := "HTTP_AUTHORIZATION"
	for range maxRedirects + 1 {
		if value := vars[name]; value != "" {
			return value
		}
		name = "REDIRECT_" + name
	}
	return ""
}

// serverProtocol must not fail a request: nothing depends on it.
func serverProtocol(text string) string {
	if _, _, ok := http.ParseHTTPVersion(text); ok {
		return text
	}
	return "HTTP/1.1"
}

// remoteAddr keeps what is an address: nginx says "unix:" for a client that came
// through a unix socket.
func remoteAddr(vars map[string]string) (addr, port string) {
	ip, err := netip.ParseAddr(vars["REMOTE_ADDR"])
	if err != nil {
		return "", ""
	}
	n, err := strconv.ParseUint(vars["REMOTE_PORT"], 10, 16)
	if err != nil {
		return ip.String(), ""
	}
	return ip.String(), strconv.FormatUint(n, 10)
}

// hasControl reports control bytes other than tab, which is legal in header
// values (RFC 9110 §5.5).
func hasControl(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return true
		}
	}
	return false
}

// isToken: RFC 9110 §5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		alnum := '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !alnum && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return s != ""
}
