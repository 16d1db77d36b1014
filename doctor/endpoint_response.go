package doctor

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// isSound reports what is wrong with an answer, from any server.
func (p *endpointProbe) isSound(subject string, r response) bool {
	switch {
	case r.isRedirect():
		p.fail(subject, "redirected", fmt.Sprintf("it is redirected (%d) to %s", r.status, r.location()),
			"clients turn a redirected POST into a GET, and some show no password to another host",
			"give clients the final URL as realm, or take the redirect out")
		return false
	case !r.isJSON():
		why, remedy := p.usualCause(r)
		if line := p.newLine(); line != "" {
			why = p.server.kind + " logs " + quoteShort(line)
		}
		p.fail(subject, "not-json", fmt.Sprintf("the answer (%d) is not JSON, but %s", r.status, r.kind()), why, remedy)
		return false
	}
	return true
}

// examineHeaders looks whether the headers that matter have come through. It sees an error and an
// answer that may be none, since web servers add headers to one or the other. It reports once what
// is wrong with both.
func (p *endpointProbe) examineHeaders(r response) {
	const subject, remedy = "url.headers", "keep the web server or the proxy from changing headers"
	if slices.ContainsFunc(p.list, func(f finding) bool { return f.Subject == subject }) {
		return
	}
	if media := r.media(); media != "application/json" {
		p.warn(subject, "wrong-content-type", "the answer is JSON, but its Content-Type is "+quoteShort(media),
			"clients show an error's source instead of its text", remedy)
	}
	if !strings.Contains(strings.Join(r.header.Values("Cache-Control"), ","), "no-store") {
		p.warn(
			subject,
			"cacheable",
			"Cache-Control: no-store is missing",
			"a cache on the way may hand one user's token to another",
			remedy,
		)
	}
}

func (r response) kind() string {
	switch {
	case r.isProgram():
		return "the program itself, as a download"
	case r.isHTML():
		return "a web page"
	case len(r.body) == 0:
		return "an empty page"
	case r.isJSON():
		return "JSON"
	}
	return "something else, " + quoteShort(r.media())
}

// usualCause names the usual cause of an answer that is not the endpoint's.
func (p *endpointProbe) usualCause(r response) (why, remedy string) {
	errorLog := p.readErrorLog()
	if r.isProgram() {
		return "the web server does not run it",
			"Apache: a2enmod cgi, restart, and SetHandler cgi-script or ScriptAlias for the program"
	}
	switch r.status {
	case http.StatusBadRequest:
		return "the web server does not understand the request, or replaces the service's errors",
			"write https:// if this is an HTTPS port; take ErrorDocument, fastcgi_intercept_errors or " +
				"proxy_intercept_errors away from this URL"
	case http.StatusUnauthorized:
		return "the web server itself asks for a password",
			"take AuthType and Require valid-user (nginx: auth_basic) away from this URL: the service asks for itself"
	case http.StatusForbidden:
		return "the web server refuses the file or the folder",
			"Require all granted and, for a drop-in folder, AllowOverride FileInfo AuthConfig Options=ExecCGI; " +
				"the log says which: " + errorLog
	case http.StatusNotFound:
		return "the web server maps this URL to nothing",
			"see whether the site's configuration has the URL and is enabled (a2enconf dockerauth), and whether " +
				".htaccess is read (AllowOverride, a2enmod rewrite)"
	case http.StatusMethodNotAllowed:
		return "the web server does not let this method through", "allow GET and POST for this URL"
	case http.StatusLengthRequired:
		return "the web server wants a Content-Length, which podman and skopeo do not send",
			"let it take chunked bodies"
	case http.StatusInternalServerError:
		return "it is the web server's page for a program that does not start or an .htaccess that asks for more " +
				"than it may",
			errorLog + " # a drop-in folder needs AllowOverride FileInfo AuthConfig Options=ExecCGI"
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return "the web server does not reach the service",
			errorLog + "; systemctl status dockerauth.socket dockerauth"
	case http.StatusOK:
		return "the web server serves something else here", "correct the URL, or what the web server maps it to"
	}
	return "the web server answers in the service's place", errorLog
}
