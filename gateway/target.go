package gateway

import (
	"net/url"
	"path"
	"strings"
	"unicode/utf8"
)

// parseTarget parses a request target as the client sent it. Every server must accept a whole URL
// (RFC 9112 §3.2.2). Its host is dropped, as is that of the Host field.
func parseTarget(target, script, program string) (*url.URL, *errorResponse) {
	if !strings.HasPrefix(target, "/") {
		var ok bool
		if target, ok = withoutOrigin(target); !ok {
			return nil, badRequest("request target is not a path")
		}
	}
	raw, query, _ := strings.Cut(target, "?")
	p, err := url.PathUnescape(raw)
	if err != nil {
		return nil, badRequest("request path has a bad escape")
	}
	return decodedTarget(p, query, script, program)
}

// withoutOrigin removes scheme and host of an http or https URL. It rejects a URL without a host
// (RFC 9110 §4.2.1) or with a user (§4.2.4).
func withoutOrigin(target string) (string, bool) {
	scheme, rest, found := strings.Cut(target, "://")
	if !found || !strings.EqualFold(scheme, "http") && !strings.EqualFold(scheme, "https") {
		return "", false
	}
	host := rest
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		host = rest[:end]
	}
	u, err := url.Parse("//" + host)
	if err != nil || u.Hostname() == "" || u.User != nil {
		return "", false
	}
	rest = rest[len(host):]
	if !strings.HasPrefix(rest, "/") {
		rest = "/" + rest // RFC 9110 §4.2.3
	}
	return rest, true
}

// decodedTarget accepts a decoded path and a query. It rejects "*", which does not begin with a
// slash, and what is not printable text, which must not reach a log. Dots and double slashes are
// cleaned, as web servers do before they set SCRIPT_NAME.
func decodedTarget(p, query, script, program string) (*url.URL, *errorResponse) {
	if !strings.HasPrefix(p, "/") {
		return nil, badRequest("request target is not a path")
	}
	if hasControl(p) || hasControl(query) || hasTab(p) || hasTab(query) || !utf8.ValidString(p) {
		return nil, badRequest("request target is not printable text")
	}
	return &url.URL{Path: stripMount(cleanPath(p), script, program), RawQuery: query}, nil
}

// cleanPath is path.Clean, except that it keeps a slash at the end.
func cleanPath(p string) string {
	clean := path.Clean(p)
	if strings.HasSuffix(p, "/") && clean != "/" {
		clean += "/"
	}
	return clean
}

// stripMount removes the mount point from p. SCRIPT_NAME is the mount point only if it ends in the
// program's own name: nginx puts the whole path into it. A .htaccess rewrite leaves the program's
// name out of the path, so the program's folder is "/". Any other path is kept; the handler looks
// at its end.
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

func hasTab(s string) bool { return strings.IndexByte(s, '\t') >= 0 }

// hasControl reports control bytes other than tab, which header values may contain (RFC 9110 §5.5).
func hasControl(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return true
		}
	}
	return false
}
