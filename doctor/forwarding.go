package doctor

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// parameters are what dockerauth needs to know of a request, with nginx's variables for them
// (RFC 3875 §4.1). The client's address is for examineAddress.
var parameters = [][2]string{{"REQUEST_METHOD", "$request_method"}, {"REQUEST_URI", "$request_uri"},
	{"CONTENT_TYPE", "$content_type"}, {"CONTENT_LENGTH", "$content_length"}, {addressParameter, "$remote_addr"}}

const addressParameter = "REMOTE_ADDR"

func variableOf(name string) string {
	for _, parameter := range parameters {
		if parameter[0] == name {
			return parameter[1]
		}
	}
	return ""
}

// answersItself recognises dockerauth by its own errors, for a request that has not arrived as it
// was sent, and says what is missing.
func (p *endpointProbe) answersItself(r response) bool {
	message := r.answer.message()
	switch {
	case strings.HasPrefix(message, "no usable REQUEST_METHOD"),
		r.status == http.StatusMethodNotAllowed && strings.HasPrefix(message, "only GET"):
		p.parametersMissing()
	case strings.HasPrefix(message, "there is nothing here: the token endpoint is "+realmEnd),
		r.status == http.StatusOK && strings.HasPrefix(string(r.body),
			"This is the token service of a Docker registry."):
		p.pathLost()
	case r.answer.code() == "BAD_REQUEST" && strings.HasPrefix(message, "service is missing"), p.readsForms(r):
		p.queryLost()
	default:
		return false
	}
	return true
}

// readsForms finds out whether dockerauth answers, although not to the query: it takes a form's
// service from the body.
func (p *endpointProbe) readsForms(r response) bool {
	if r.status != http.StatusUnauthorized && r.status != http.StatusOK || !r.isJSON() {
		return false
	}
	form := url.Values{"service": {unknownService}, "client_id": {checkAccount}, "grant_type": {"refresh_token"}}
	header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	r, err := p.ask(http.MethodPost, p.base.String(), header, strings.NewReader(form.Encode()))
	return err == nil && r.answer.code() == "BAD_REQUEST" && strings.Contains(r.answer.message(), unknownService)
}

// parametersMissing is for a web server that says too little of a request.
func (p *endpointProbe) parametersMissing() {
	p.fail("url.get", "parameters-missing", p.lost("REQUEST_METHOD"),
		"dockerauth cannot tell what it is asked, and nobody can log in", p.passParameters("REQUEST_METHOD"))
}

// lost says that a parameter does not reach dockerauth, and where.
func (p *endpointProbe) lost(name string) string {
	if p.handover == nil || p.route == nil {
		return "dockerauth answers, and the web server does not pass " + name + " on to it"
	}
	return fmt.Sprintf("%s: dockerauth answers, and %s does not pass %s on to it", p.route.place, p.server.kind, name)
}

func (p *endpointProbe) queryLost() {
	p.fail("url.get", "query-lost", p.lost("REQUEST_URI"),
		"dockerauth does not know the service and the scope, and grants nothing", p.passParameters("REQUEST_URI"))
}

// pathLost is for requests that arrive for another path.
func (p *endpointProbe) pathLost() {
	const why = "dockerauth is asked for another path, and nobody can log in"
	_, ok := p.mount()
	switch {
	case !ok:
		p.fail("url.get", "url-wrong-path",
			fmt.Sprintf("dockerauth answers, and its endpoint is not at %s", p.base.Path),
			"clients that are sent there cannot log in", "dockerauth check --url "+p.endpointNearby())
	case p.handover != nil && p.route != nil && p.route.protocol == "http":
		p.fail("url.get", "path-lost",
			fmt.Sprintf("%s: %s passes another path on than %s", p.route.place, p.server.kind, p.base.Path), why,
			fmt.Sprintf("in %s write the address without a path: proxy_pass http://%s; then: %s", p.route.place,
				p.route.target, p.server.reload()))
	default:
		p.fail("url.get", "path-lost", p.lost("REQUEST_URI"), why, p.passParameters("REQUEST_URI"))
	}
}

// endpointNearby is the endpoint at the root, or in a folder of the URL's path.
func (p *endpointProbe) endpointNearby() string {
	u := *p.base
	query := url.Values{"service": {unknownService}, "client_id": {checkAccount}}.Encode()
	folder := ""
	for _, name := range strings.Split(strings.Trim(p.base.Path, "/"), "/") {
		u.Path, u.RawQuery = folder+realmEnd, query
		r, err := p.ask(http.MethodGet, u.String(), nil, nil)
		if err == nil && strings.Contains(r.answer.message(), unknownService) {
			break
		}
		folder += "/" + name
	}
	u.Path, u.RawQuery = folder+realmEnd, ""
	return u.String()
}

// passParameters makes the web server pass a parameter on, and all others that it does not.
func (p *endpointProbe) passParameters(name string) string {
	if p.handover == nil || p.route == nil || p.route.protocol != "fastcgi" {
		return "beside fastcgi_pass of nginx write: include fastcgi_params; of other web servers take away what " +
			"removes " + name + " (Apache: ProxyFCGISetEnvIf)"
	}
	if p.server.kind == "nginx" {
		for _, d := range p.inForce("fastcgi_param") {
			if d.args[0] == name && d.args[1] == variableOf(name) {
				return p.server.reload() // the file is right, and not what runs
			}
			if d.args[0] == name {
				return sedLine(d.place, name+"[^;]*;", name+" "+variableOf(name)+";") + " && " + p.server.reload()
			}
		}
		return p.route.insert(p.missingParameters()...) + " && " + p.server.reload()
	}
	for _, d := range p.route.setting("ProxyFCGISetEnvIf") {
		if slices.Contains(d.args, "!"+name) || slices.Contains(d.args, name) {
			return fmt.Sprintf("sed -i %dd %s && %s", d.line, word(realPath(d.file)), p.server.reload())
		}
	}
	return fmt.Sprintf("see what removes %s at %s, then: %s", name, p.route.place, p.server.reload())
}

// missingParameters are nginx's directives for what is missing.
func (p *endpointProbe) missingParameters() (lines []string) {
	for _, parameter := range parameters {
		if p.route.passes[parameter[0]] == "" {
			lines = append(lines, "fastcgi_param "+parameter[0]+" "+parameter[1]+";")
		}
	}
	folder := filepath.Dir(p.server.file)
	if _, err := os.Stat(filepath.Join(p.root, folder, "fastcgi_params")); err == nil && len(lines) > 2 {
		return []string{"include fastcgi_params;"}
	}
	return lines
}

// examineAddress looks whether the service is told who asks. No answer shows that, so only the
// configuration of this machine's web server does.
func (p *endpointProbe) examineAddress() {
	const subject = "url.address"
	if p.handover == nil || p.route == nil {
		return
	}
	const why = "all clients have one address: five wrong passwords lock a user out everywhere"
	what := fmt.Sprintf("%s: %s does not pass the client's address on", p.route.place, p.server.kind)
	passes := p.route.passes
	switch {
	case p.route.protocol == "fastcgi" && passes != nil && !strings.HasPrefix(passes[addressParameter], "$"):
		p.fail(subject, "client-address-missing", what, why, p.passParameters(addressParameter))
		return
	case p.route.protocol == "http" && !p.route.forward:
		p.fail(
			subject,
			"client-address-missing",
			what,
			why,
			p.route.insert("proxy_set_header X-Forwarded-For $remote_addr;")+" && "+
				p.server.reload(),
		)
		return
	case p.route.protocol == "http":
		p.examineProxyTrust(why)
		return
	}
	p.ok(subject, "%s passes the client's address on (%s)", p.server.kind, p.route.place)
}

// examineProxyTrust looks whether dockerauth takes the client's address from the web server.
func (p *endpointProbe) examineProxyTrust(why string) {
	if p.config == nil {
		return
	}
	var peer netip.Addr // the zero Addr is a client of a Unix socket
	entry := "unix"
	if !p.route.isSocket() {
		address, err := netip.ParseAddrPort(p.route.target)
		if err != nil || !address.Addr().IsLoopback() {
			return // from which address it asks is not known
		}
		peer = address.Addr()
		entry = peer.String()
	}
	if p.config.TrustedProxies.Trust(peer) {
		p.ok("url.address", "%s passes the client's address on (%s)", p.server.kind, p.route.place)
		return
	}
	remedy := fmt.Sprintf(`printf '\ntrusted_proxies: ["%s"]\n' >>%s`, entry, p.config.Path)
	if len(p.config.TrustedProxies) > 0 {
		remedy = fmt.Sprintf("in %s add %q to trusted_proxies", p.config.Path, entry)
	}
	p.fail("url.address", "proxy-not-trusted", fmt.Sprintf("trusted_proxies in %s lacks %q, from where %s asks (%s)",
		p.config.Path, entry, p.server.kind, p.route.place), why, remedy)
}

// switchBack finds a directive in force that has a harmful value, and makes a command that gives it
// the other one; "" = there is none.
func (p *endpointProbe) switchBack(good, bad string, names ...string) string {
	for _, name := range names {
		for _, d := range p.inForce(name) {
			if len(d.args) == 1 && strings.EqualFold(d.args[0], bad) {
				return sedLine(d.place, `\b`+d.args[0]+`\b`, good) + " && " + p.server.reload()
			}
		}
	}
	return ""
}

// inForce are the directives of a name for the URL, none where they are not known.
func (p *endpointProbe) inForce(name string) []directive {
	if p.handover == nil || p.route == nil || p.route.setting == nil {
		return nil
	}
	return p.route.setting(name)
}

// passAuthorization makes the web server pass the Authorization header on.
func (p *endpointProbe) passAuthorization() string {
	if command := p.switchBack("on", "off", "fastcgi_pass_request_headers", "proxy_pass_request_headers",
		"CGIPassAuth"); command != "" {
		return command
	}
	for _, name := range []string{"proxy_set_header", "fastcgi_param", "RequestHeader"} {
		for _, d := range p.inForce(name) {
			if slices.ContainsFunc(d.args, func(arg string) bool {
				return strings.EqualFold(arg, "Authorization") || arg == "HTTP_AUTHORIZATION"
			}) {
				return fmt.Sprintf("sed -i %dd %s && %s", d.line, word(realPath(d.file)), p.server.reload())
			}
		}
	}
	if p.handover != nil && p.server.kind == "Apache" {
		if p.route != nil && p.route.protocol != "http" && p.route.insert != nil {
			return p.route.insert("CGIPassAuth On") + " && " + p.server.reload()
		}
		if p.config != nil {
			file := filepath.Join(filepath.Dir(p.config.Path), ".htaccess")
			if _, err := os.Stat(file); err == nil {
				return "sed -i '1i CGIPassAuth On' " + word(file)
			}
		}
	}
	return "Apache: \"CGIPassAuth On\" for the program or its folder (mod_fcgid at server level: \"FcgidPassHeader " +
		"Authorization\"); nginx: fastcgi_pass_request_headers on, or proxy_set_header Authorization " +
		"$http_authorization"
}
