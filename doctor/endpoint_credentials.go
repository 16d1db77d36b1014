package doctor

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// longHeader is how many bytes of credentials must arrive: more than any refresh token has, and
// well under what Apache (8190) and nginx (8 KiB) take by default.
const longHeader = 4 << 10

// The two answers that tell whether credentials arrived. handler has the same texts.
const (
	answerMissing = "authentication required"
	answerRefused = "authentication failed"
)

// examineAuthorization sends an invalid refresh token. Its user name is empty, so PAM is not asked
// and the throttle does not count. The account in the query makes it clear that credentials were
// meant, even where rules grant something to anyone. It reports that the service sees credentials.
func (p *endpointProbe) examineAuthorization() bool {
	const subject = "url.authorization"
	r, err := p.presentToken(longHeader)
	if err != nil {
		return p.connectionBroke(subject, err)
	}
	switch {
	case r.answer.message() == answerRefused:
		p.ok(subject, "credentials arrive, of 4 KB too")
		return true
	case r.answer.message() == answerMissing:
		p.fail(
			subject,
			"authorization-dropped",
			"the Authorization header does not arrive",
			"the web server keeps it, and nobody can log in",
			p.passAuthorization(),
		)
	default:
		p.presentShortToken(subject, r)
	}
	return false
}

// presentShortToken finds out whether the length was refused.
func (p *endpointProbe) presentShortToken(subject string, long response) {
	r, err := p.presentToken(16)
	if err != nil {
		p.connectionBroke(subject, err)
		return
	}
	if r.answer.message() == answerRefused {
		p.fail(subject, "header-too-long",
			fmt.Sprintf("an Authorization header of 4 KB is answered with %d and %s", long.status, long.kind()),
			"the web server takes only shorter ones, and refresh tokens and registry tokens are long",
			"Apache: LimitRequestFieldSize 8190; nginx: large_client_header_buffers 4 8k; the same in every proxy on "+
				"the way")
		return
	}
	if p.isSound(subject, r) {
		p.fail(
			subject,
			"unexpected-answer",
			fmt.Sprintf("credentials are answered with %d: %s", r.status, quoteShort(r.answer.message())),
			"wrong ones are answered with 401",
			p.readLog(),
		)
	}
}

func (p *endpointProbe) presentToken(size int) (response, error) {
	return p.presentTokenFor(p.params(), size)
}

func (p *endpointProbe) presentTokenFor(params url.Values, size int) (response, error) {
	params.Set("account", checkAccount)
	token := base64.StdEncoding.EncodeToString([]byte(":" + strings.Repeat("x", size*3/4)))
	return p.get(params, "Basic "+token)
}

// examineForms posts a grant that does not exist, with and without Content-Length, as podman and
// skopeo do. The second fails wherever the first does.
func (p *endpointProbe) examineForms() {
	if !p.examineForm("url.post", func(r io.Reader) io.Reader { return r }, "the body of a POST",
		"see whether something on the way drops it") {
		return
	}
	p.examineForm("url.chunked", func(r io.Reader) io.Reader { return struct{ io.Reader }{r} },
		"a body without Content-Length (chunked)",
		"let the web server or the proxy read the whole body first (nginx: fastcgi_request_buffering on, "+
			"proxy_request_buffering on) and pass its length on")
}

const unsupportedGrant = "unsupported_grant_type" // RFC 6749 §5.2

func (p *endpointProbe) examineForm(subject string, disguise func(io.Reader) io.Reader, body, remedy string) bool {
	params := p.params()
	params.Set("grant_type", checkAccount)
	header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	r, err := p.ask(http.MethodPost, p.base.String(), header, disguise(strings.NewReader(params.Encode())))
	if err != nil {
		return p.connectionBroke(subject, err)
	}
	if !p.isSound(subject, r) {
		return false
	}
	switch {
	case r.status == http.StatusBadRequest && r.answer.Error == unsupportedGrant:
		p.ok(subject, "%s arrives", body)
		return true
	case strings.Contains(r.answer.message(), "grant_type is missing"), r.answer.message() == "the body ended early":
		if command := p.switchBack("on", "off", "fastcgi_pass_request_body", "proxy_pass_request_body"); command != "" {
			remedy = command
		}
		p.fail(subject, "body-dropped", body+" does not arrive",
			"containerd, helm, podman and skopeo log in or renew their login by it", remedy)
	default:
		p.fail(
			subject,
			"body-altered",
			fmt.Sprintf("%s is answered with %d: %s", body, r.status, quoteShort(r.answer.message())),
			"it did not arrive as it was sent",
			remedy,
		)
	}
	return false
}

// examineToken compares what an anonymous client got with the configuration.
func (p *endpointProbe) examineToken(token string) {
	if p.config == nil {
		return
	}
	var claims struct {
		Issuer   string `json:"iss"`
		Audience string `json:"aud"`
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		p.fail("url.token", "no-token", "what it gives is no token", "", "see what answers at this URL")
		return
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err == nil {
		err = json.Unmarshal(payload, &claims)
	}
	switch {
	case err != nil:
		p.fail("url.token", "no-token", "what it gives is no token", "", "see what answers at this URL")
	case claims.Issuer != p.config.Issuer || claims.Audience != p.service:
		p.fail("url.token", "token-of-another",
			fmt.Sprintf("its token is from %s for %s, not from %q for %q", quoteShort(claims.Issuer),
				quoteShort(claims.Audience), p.config.Issuer, p.service),
			"it runs with another config.yml",
			p.configInForce())
	default:
		p.ok("url.token", "its token is from %q for %q, as configured", claims.Issuer, claims.Audience)
	}
}
