package doctor

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// examineURL asks the running endpoint through the web server, as docker would.
func (c *checkup) examineURL() {
	ctx, cancel := context.WithTimeout(context.Background(), probeTimeout)
	defer cancel()
	c.probeURL(newHTTPClient(ctx, nil, requestTimeout, c.now).dialTo(c.dial))
}

func (c *checkup) probeURL(a httpClient) {
	base, err := parseRealm(c.url)
	if err != nil {
		c.fail("url", "url-invalid", err.Error(), "",
			"give the realm of the registry's auth.token section, such as https://auth.example.com/docker/v2/token")
		return
	}
	p := &endpointProbe{checkup: c, httpClient: a, base: base, service: c.service}
	if c.config != nil {
		p.service = c.config.Audience[0]
	}
	p.run()
}

// parseRealm reads a URL that a registry may send clients to. Its errors do not repeat it: it may
// hold a password.
func parseRealm(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "":
		return nil, errors.New("it is not a URL with http:// or https:// and a host")
	case u.User != nil:
		return nil, errors.New("there is a user name in the URL")
	case u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("there is a query or a fragment in the URL")
	case strings.Trim(u.Path, "/") == "":
		return nil, errors.New("there is no path in the URL")
	}
	return u, nil
}

func (p *endpointProbe) run() {
	here := p.locate()
	r, err := p.identify()
	if r.local {
		p.handover = here
	}
	if err != nil {
		if p.wrongProtocol() { // the two wait for each other
			return
		}
		what, why, remedy := describeTransportError(err)
		if errors.Is(err, syscall.ECONNREFUSED) && onThisMachine(p.base.Hostname()) {
			remedy = p.startWebServer(remedy)
		}
		p.fail("url", "url-unreachable", what, why, remedy)
		return
	}
	p.examineTLS(r.tls)
	p.compareClocks("url.clock", r.header.Get("Date"))
	p.examineFiles() // of a folder that is served instead of run, too
	if !p.isDockerauth(r) || !p.examineAnonymous() {
		return
	}
	p.examineAddress()
	if p.examineAuthorization() {
		p.examineAudiences()
	}
	p.examineForms()
	p.examineMethods()
	p.examineAlias()
}

// unknownService is a service that nobody configures. The endpoint is recognised by its error for
// it.
const unknownService = "unknown-to-everybody.dockerauth-check.invalid"

func (p *endpointProbe) identify() (response, error) {
	return p.get(url.Values{"service": {unknownService}, "client_id": {checkAccount}}, "")
}

// examineTLS looks at what is between the client and the web server.
func (p *endpointProbe) examineTLS(state *tls.ConnectionState) {
	if state == nil {
		if onThisMachine(p.base.Hostname()) || p.dial != "" {
			p.ok("url", "plain HTTP, on this machine only")
			return
		}
		p.warn("url", "plain-http", "plain HTTP",
			"passwords travel in the clear, and crane, ko, kaniko and cosign refuse such a realm for a registry with "+
				"https",
			"serve it by https")
		return
	}
	end := state.PeerCertificates[0].NotAfter
	if left := end.Sub(p.now()); left < expiresSoon {
		p.warn("url.tls", "web-certificate-expires",
			fmt.Sprintf("the web server's certificate ends on %s, in %d days", day(end), int(left/(24*time.Hour))),
			"from then on docker refuses it", "renew it, and see why that was not done by itself")
		return
	}
	p.ok("url.tls", "the web server's certificate is good until %s", day(end))
}

func onThisMachine(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || (err == nil && addr.IsLoopback())
}

// isDockerauth reports that dockerauth answers, and is ready to.
func (p *endpointProbe) isDockerauth(r response) bool {
	if r.status == http.StatusNotFound && !r.isJSON() && p.notEnabled() {
		return false
	}
	if p.answersItself(r) || r.status >= 400 && (!r.isJSON() || r.answer.message() == notRunning) && p.findCause() ||
		!p.isSound("url.get", r) {
		return false
	}
	switch {
	case r.status == http.StatusServiceUnavailable && r.answer.message() == notRunning:
		p.fail("url.get", "service-not-running", "the web server answers that the service is not running", nobodyLogsIn,
			p.startOrRead())
	case r.local && p.config == nil && r.answer.code() == "UNAVAILABLE":
		p.notAsked("url.get", "the endpoint, which is unavailable without a usable configuration", "")
	case r.status == http.StatusBadRequest && r.answer.code() == "BAD_REQUEST" &&
		strings.Contains(r.answer.message(), unknownService):
		p.ok("url.get", "dockerauth answers, after %s", r.took.Round(time.Millisecond))
		p.examineHeaders(r)
		return true
	case r.status == http.StatusServiceUnavailable && r.answer.code() == "UNAVAILABLE":
		p.fail("url.get", "unavailable", "the service is unavailable: "+quoteShort(r.answer.message()),
			"nobody can log in", p.readLog())
	default:
		p.fail("url.get", "other-program",
			fmt.Sprintf("another program answers: a service that does not exist is answered with %d", r.status),
			"clients would show it their passwords",
			"correct the URL, or what the web server maps it to")
	}
	return false
}

// notRunning is what the shipped configurations of nginx and HAProxy answer in the service's place.
const notRunning = "the service is not running"

// readLog shows the end of the log that says why the service is unavailable.
func (p *endpointProbe) readLog() string {
	switch {
	case p.config != nil && p.config.Log.File != "":
		return "tail -n 20 " + p.config.Log.File
	case readUnit(p.root, serviceUnit).file != "":
		return "journalctl -n 20 -u " + serviceUnit
	}
	return p.readErrorLog()
}

// readErrorLog shows the end of the web server's error log.
func (p *endpointProbe) readErrorLog() string {
	if p.handover != nil && p.site.errorLog != "" {
		return "tail -n 20 " + p.site.errorLog
	}
	return "tail -n 20 /var/log/nginx/error.log /var/log/apache2/error.log"
}

// startOrRead is for a service that does not run, as far as that is seen from here.
func (p *endpointProbe) startOrRead() string {
	if readUnit(p.root, socketUnit).file != "" {
		return "systemctl start " + socketUnit
	}
	return p.readErrorLog()
}

// startWebServer starts the one that is installed here; otherwise = there are several or none.
func (p *endpointProbe) startWebServer(otherwise string) string {
	var units []string
	for _, name := range []string{"apache2", "caddy", "haproxy", "httpd", "lighttpd", "nginx"} {
		if readUnit(p.root, name+".service").file != "" {
			units = append(units, name)
		}
	}
	if len(units) != 1 {
		return otherwise
	}
	return "systemctl start " + units[0]
}

// examineAnonymous asks without credentials, as docker does first.
func (p *endpointProbe) examineAnonymous() bool {
	const subject = "url.anonymous"
	r, err := p.get(p.params(), "")
	if err != nil {
		return p.connectionBroke(subject, err)
	}
	if !p.isSound(subject, r) {
		return false
	}
	p.examineHeaders(r)
	switch {
	case r.status == http.StatusUnauthorized && !strings.HasPrefix(r.header.Get("WWW-Authenticate"), "Basic "):
		p.fail(subject, "no-challenge", "WWW-Authenticate: Basic is missing from the 401",
			"some clients do not send their password then",
			"keep the web server or the proxy from changing headers")
	case r.status == http.StatusUnauthorized:
		p.ok(subject, "without credentials it asks for some")
	case r.status == http.StatusOK && r.answer.Token != "":
		p.ok(subject, "without credentials it gives what the rules give to anyone")
		p.examineToken(r.answer.Token)
	case r.status == http.StatusBadRequest && p.service != "" &&
		strings.Contains(r.answer.message(), "unknown service"):
		p.fail(subject, "unknown-service", "it does not know the service "+quoteShort(p.service),
			"it runs with another config.yml, or has not read this one yet",
			p.configInForce())
		return false // the endpoint looks at nothing else then
	case r.status == http.StatusBadRequest && p.service == "":
		p.fail(
			subject,
			"service-unknown-here",
			"it has several audiences, and which is not known here",
			"without one it does not answer",
			"name its configuration with --config, or the registry with --registry",
		)
		return false
	default:
		p.fail(subject, "unexpected-answer", fmt.Sprintf("it answers %d: %s", r.status, quoteShort(r.answer.message())),
			"a client without credentials is answered 401, or 200",
			p.readLog())
	}
	return true
}

// examineAudiences asks for the other services in the configuration: a service that knows them has
// read it. It shows an invalid token, so that even where anyone may pull no token is given, and no
// line is logged.
func (p *endpointProbe) examineAudiences() {
	if p.config == nil {
		return
	}
	for _, service := range p.config.Audience[1:] {
		r, err := p.presentTokenFor(url.Values{"service": {service}, "client_id": {checkAccount}}, 16)
		if err != nil {
			p.connectionBroke("url.service", err)
			return
		}
		if r.status == http.StatusBadRequest {
			p.fail("url.service", "unknown-service", "it does not know the service "+quoteShort(service),
				"it runs with another config.yml, or has not read this one yet",
				p.configInForce())
		}
	}
}

// examineMethods asks for what is never granted, to see whether an error passes through unchanged.
func (p *endpointProbe) examineMethods() {
	const subject = "url.errors"
	r, err := p.ask(http.MethodDelete, p.base.String(), nil, nil)
	switch {
	case err != nil:
		p.connectionBroke(subject, err)
	case r.status == http.StatusMethodNotAllowed && r.answer.code() == "METHOD_NOT_ALLOWED":
		p.ok(subject, "errors pass through as the service makes them")
	default:
		remedy := p.switchBack("off", "on", "fastcgi_intercept_errors", "proxy_intercept_errors", "ProxyErrorOverride")
		if remedy == "" {
			remedy = "take ErrorDocument, fastcgi_intercept_errors or proxy_intercept_errors away from this URL"
		}
		p.warn(subject, "errors-replaced",
			fmt.Sprintf("DELETE is answered with %d and %s, not by the service", r.status, r.kind()),
			"if other errors are replaced too, clients cannot read them", remedy)
	}
}

// examineAlias looks whether registries with autoredirect are served as well.
func (p *endpointProbe) examineAlias() {
	mount, ok := p.mount()
	if !ok || strings.HasSuffix(strings.TrimSuffix(p.base.Path, "/"), autoredirectEnd) {
		return
	}
	alias := *p.base
	alias.Path = mount + autoredirectEnd
	alias.RawQuery = url.Values{"service": {unknownService}, "client_id": {checkAccount}}.Encode()
	r, err := p.ask(http.MethodGet, alias.String(), nil, nil)
	if err == nil && strings.Contains(r.answer.message(), unknownService) {
		p.ok("url.autoredirect", "%s%s answers as well, for registries with autoredirect", mount, autoredirectEnd)
		return
	}
	p.ok("url.autoredirect", "%s%s does not answer, which only registries with \"autoredirect: true\" would need",
		mount, autoredirectEnd)
}
