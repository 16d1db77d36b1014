package gateway

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/cgi"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// Limits on what a web server may say about one request. Apache passes at most 100 header fields of
// 8190 bytes, nginx 32 KiB of them, lighttpd 8 KiB.
const (
	maxHeaderFields = 256
	maxHeaderBytes  = 128 << 10 // names and values together
	maxMethodLen    = 32        // the longest registered method has 17 (UPDATEREDIRECTREF)
)

// maxRedirects is how many internal redirects Apache makes (LimitInternalRecursion). Each puts
// REDIRECT_ before the names.
const maxRedirects = 10

// redirected is a name with all of them; the others are its ends.
const redirected = "REDIRECT_REDIRECT_REDIRECT_REDIRECT_REDIRECT_" +
	"REDIRECT_REDIRECT_REDIRECT_REDIRECT_REDIRECT_HTTP_AUTHORIZATION"

// cgiRequest is a request from CGI variables, checked.
type cgiRequest struct {
	params map[string]string // the variables that cgi.RequestFromMap gets
	header http.Header
	url    *url.URL // path below the mount point, original query
	length int64    // of the body; -1 = not announced
	fix    string   // what makes the web server name the client; "" = it does
}

// httpRequest is q as the handler sees it.
func (q *cgiRequest) httpRequest(ctx context.Context, body io.ReadCloser, o Options) (*http.Request, *errorResponse) {
	r, err := cgi.RequestFromMap(q.params)
	if err != nil {
		return nil, badRequest("request makes no sense")
	}
	r.URL = q.url
	r.Header = q.header
	r.ContentLength = q.length
	r.Body = body
	if q.fix != "" {
		o.warnNoAddress(r, q.fix)
	}
	return r.WithContext(ctx), nil
}

// parseCGIEnv checks CGI variables (RFC 3875 §4.1). If SCRIPT_NAME ends in program, it is the mount
// point. What it returns shares no memory with vars: a name that is remembered must not keep the
// password that came with it.
func parseCGIEnv(vars map[string]string, program string) (*cgiRequest, *errorResponse) {
	method := vars["REQUEST_METHOD"]
	if len(method) > maxMethodLen || !isToken(method) {
		return nil, badRequest("no usable REQUEST_METHOD")
	}
	target, errResp := requestTarget(vars, program)
	if errResp != nil {
		return nil, errResp
	}
	target.Path, target.RawQuery = strings.Clone(target.Path), strings.Clone(target.RawQuery)
	header, errResp := headerFields(vars)
	if errResp != nil {
		return nil, errResp
	}
	addr, port := remoteAddr(vars)
	q := &cgiRequest{header: header, url: target, length: bodyLength(vars), params: map[string]string{
		"REQUEST_METHOD":  strings.Clone(method),
		"REQUEST_URI":     "/", // RequestFromMap fails on many; httpRequest sets the real one
		"SERVER_PROTOCOL": strings.Clone(serverProtocol(vars["SERVER_PROTOCOL"])),
		"REMOTE_ADDR":     addr,
		"REMOTE_PORT":     port,
		"HTTPS":           vars["HTTPS"], // RequestFromMap keeps no part of it
	}}
	if addr == "" {
		q.fix = addressFix(vars)
	}
	return q, nil
}

// bodyLength reads CONTENT_LENGTH. -1 means that the body ends with the stream.
//
// RFC 3875 §4.1.2 allows digits or nothing. Caddy sends "-1" for a chunked body, mod_cgid and
// HAProxy send nothing, fcgiwrap sends "". So what is no length says nothing about the body. That
// hides no second request: stdin and the STDIN stream of FastCGI hold one body, and end with it.
//
// A length beyond 63 bits is a length still, which no body reaches.
func bodyLength(vars map[string]string) int64 {
	text, isLength := vars["CONTENT_LENGTH"], false
	if text != "" {
		n, err := strconv.ParseUint(text, 10, 63) // ParseInt would accept a sign
		if isLength = err == nil || errors.Is(err, strconv.ErrRange); isLength && n > 0 {
			return int64(n)
		}
	}
	switch {
	case vars["HTTP_TRANSFER_ENCODING"] != "", text != "" && !isLength:
		return -1
	case text == "" && usuallyHasBody(vars["REQUEST_METHOD"]):
		return -1
	}
	return 0
}

func usuallyHasBody(method string) bool {
	return method == http.MethodPost || method == http.MethodPut || method == http.MethodPatch
}

// requestTarget takes path and query from REQUEST_URI, which is the client's own under every server
// tried. Tomcat leaves the query out of it, so QUERY_STRING counts where REQUEST_URI has no "?".
// Without REQUEST_URI, SCRIPT_NAME and PATH_INFO are the path.
func requestTarget(vars map[string]string, program string) (*url.URL, *errorResponse) {
	uri, script := vars["REQUEST_URI"], vars["SCRIPT_NAME"]
	if uri == "" {
		p := script + vars["PATH_INFO"] // decoded already (RFC 3875 §4.1.5)
		if p == "" {
			p = "/"
		}
		return decodedTarget(p, vars["QUERY_STRING"], script, program)
	}
	if query := vars["QUERY_STRING"]; query != "" && !strings.Contains(uri, "?") {
		uri += "?" + query
	}
	return parseTarget(uri, script, program)
}

// headerFields turns the variables that are header fields into a header. RequestFromMap would need
// a map of them.
func headerFields(vars map[string]string) (http.Header, *errorResponse) {
	header := make(http.Header, len(vars)/2)
	values := make([]string, 0, len(vars)+1) // of one element for each field
	size, ok := 0, true
	add := func(variable, field, value string) {
		values = append(values, strings.Clone(value))
		header[strings.Clone(field)] = values[len(values)-1 : len(values) : len(values)]
		size += len(variable) + len(value)
		ok = ok && !hasControl(value)
	}
	for name, value := range vars {
		if isHeaderVariable(name) {
			field := strings.ReplaceAll(strings.TrimPrefix(name, "HTTP_"), "_", "-")
			add(name, http.CanonicalHeaderKey(field), value)
		}
	}
	if kind := vars["CONTENT_TYPE"]; kind != "" {
		add("CONTENT_TYPE", "Content-Type", kind)
	}
	if secret := authorization(vars); secret != "" {
		add("", "Authorization", secret)
	}
	if !ok {
		return nil, badRequest("a header field has control bytes")
	}
	if len(values) > maxHeaderFields || size > maxHeaderBytes {
		return nil, tooLarge("too many or too large header fields")
	}
	return header, nil
}

// isHeaderVariable rejects fields that do harm or would come twice:
//   - Host: RequestFromMap fails on hostile values;
//   - Proxy: httpoxy, CVE-2016-5385;
//   - Remote-User: a client may send it, and nginx's stock fastcgi_params sets it unverified;
//   - Authorization: see authorization;
//   - Content-Type and Content-Length: CGI has variables of their own for them;
//   - Transfer-Encoding: it concerns the web server's connection.
func isHeaderVariable(name string) bool {
	switch name {
	case "HTTP_HOST", "HTTP_PROXY", "HTTP_REMOTE_USER", "HTTP_AUTHORIZATION",
		"HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH", "HTTP_TRANSFER_ENCODING":
		return false
	}
	field, found := strings.CutPrefix(name, "HTTP_")
	return found && isVariableName(field)
}

// isVariableName accepts the names of RFC 3875 §4.1.18. Other spellings, such as HTTP_Host or
// HTTP_REMOTE-USER, would bring back a field that isHeaderVariable rejects.
func isVariableName(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return s != ""
}

// authorization finds the field under the names that Apache gives it: HTTP_AUTHORIZATION, with one
// REDIRECT_ for each internal redirect since a rewrite rule saved it. An E= rule sets an empty
// variable when there is no such field, so an empty one is skipped.
func authorization(vars map[string]string) string {
	for n := maxRedirects; n >= 0; n-- {
		if value := vars[redirected[n*len("REDIRECT_"):]]; value != "" {
			return value
		}
	}
	return ""
}

// serverProtocol replaces what is no HTTP version: nothing depends on it, so no request fails for
// it.
func serverProtocol(text string) string {
	if _, _, ok := http.ParseHTTPVersion(text); ok {
		return text
	}
	return "HTTP/1.1"
}

// remoteAddr is empty for what is no address: nginx says "unix:" for a client of a unix socket.
func remoteAddr(vars map[string]string) (addr, port string) {
	ip, err := netip.ParseAddr(vars["REMOTE_ADDR"])
	if err != nil {
		return "", ""
	}
	ip = canonicalAddr(ip)
	n, err := strconv.ParseUint(vars["REMOTE_PORT"], 10, 16)
	if err != nil {
		return ip.String(), ""
	}
	return ip.String(), strconv.FormatUint(n, 10)
}

// isToken accepts a token of RFC 9110 §5.6.2.
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
