package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"

	"dockerauth/jwtsign"
	"dockerauth/service"
)

// registryProbe asks one registry from outside, without reading its configuration.
type registryProbe struct {
	*checkup
	httpClient
	ping string // URL of /v2/
}

// examineRegistryURL asks the registry at --registry where it sends clients, whether it takes
// dockerauth's tokens, and what time it has.
func (c *checkup) examineRegistryURL() {
	ctx, cancel := context.WithTimeout(context.Background(), probeTimeout)
	defer cancel()
	c.probeRegistry(newHTTPClient(ctx, nil, requestTimeout, c.now))
}

func (c *checkup) probeRegistry(a httpClient) {
	u, err := url.Parse(c.registry)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" || u.User != nil ||
		strings.Trim(u.Path, "/") != "" {
		c.fail("registry", "registry-url-invalid", "--registry is not the URL of a registry", "",
			registryURLRemedy(c.registry))
		return
	}
	v := &registryProbe{checkup: c, httpClient: a, ping: u.Scheme + "://" + u.Host + "/v2/"}
	r, err := v.ask(http.MethodGet, v.ping, nil, nil)
	if err != nil {
		what, why, remedy := describeRegistryError(err)
		c.fail("registry", "registry-unreachable", what, why, remedy)
		return
	}
	c.compareClocks("registry.clock", r.header.Get("Date"))
	realm, service, ok := v.challenge(r)
	if !ok {
		return
	}
	c.service = service
	v.compareRealm(realm, u.Scheme)
	v.compareService(service)
	v.presentTokens(service)
}

// registryURLRemedy names what is wrong with a URL. It repeats only a host and a port: others may
// hold a password.
func registryURLRemedy(text string) string {
	if aHostAndPort().MatchString(text) {
		scheme := "https"
		if host, _, _ := strings.Cut(text, ":"); onThisMachine(host) {
			scheme = "http"
		}
		return fmt.Sprintf("dockerauth check --registry %s://%s", scheme, text)
	}
	return "give it with http:// or https:// and without a path, such as https://registry.example.com"
}

var aHostAndPort = lazyRegexp(`^[A-Za-z0-9.-]+(:[0-9]+)?$`)

// challenge reads where clients are sent.
func (v *registryProbe) challenge(r response) (realm, service string, ok bool) {
	const subject = "registry"
	header := r.header.Get("WWW-Authenticate")
	scheme, params, _ := strings.Cut(header, " ")
	switch {
	case r.isRedirect():
		v.fail(subject, "redirected", fmt.Sprintf("/v2/ is redirected (%d) to %s", r.status, r.location()),
			"it is that server that clients talk to",
			"give its URL to --registry")
	case r.status == http.StatusOK:
		v.fail(subject, "registry-open", "it lets everybody in without a token", "everybody may pull, push and delete",
			"put the auth.token section into the registry's configuration and restart it")
	case r.status != http.StatusUnauthorized:
		v.fail(subject, "unexpected-answer", fmt.Sprintf("/v2/ is answered with %d and %s", r.status, r.kind()),
			"a registry that wants tokens answers 401",
			"see whether the URL is the registry's, and what its log says")
	case !strings.EqualFold(scheme, "Bearer"):
		v.fail(subject, "registry-other-auth", "it does not ask for a token, but "+quoteShort(header),
			"it never sends clients to this service",
			"replace the registry's auth section by one with token")
	default:
		values := challengeParams(params)
		realm, service = values["realm"], values["service"]
		if realm == "" || service == "" {
			v.fail(subject, "registry-no-realm", "its challenge names no realm or no service: "+quoteShort(header),
				"clients do not know what to ask",
				"set realm and service in the registry's auth.token section")
			return "", "", false
		}
		v.ok(subject, "it sends clients to %s for the service %s", quoteShort(realm), quoteShort(service))
		return realm, service, true
	}
	return "", "", false
}

// challengeParams reads name="value" pairs (RFC 9110 §11.2), as registries write them.
func challengeParams(text string) map[string]string {
	values := map[string]string{}
	for text != "" {
		name, rest, found := strings.Cut(text, "=")
		if !found {
			break
		}
		var value string
		if quoted, isQuoted := strings.CutPrefix(rest, `"`); isQuoted {
			value, rest, _ = strings.Cut(quoted, `"`)
			_, rest, _ = strings.Cut(rest, ",")
		} else {
			value, rest, _ = strings.Cut(rest, ",")
		}
		values[strings.ToLower(strings.TrimSpace(name))] = value
		text = rest
	}
	return values
}

func (v *registryProbe) compareRealm(realm, scheme string) {
	const subject = "registry.realm"
	if scheme == "https" && strings.HasPrefix(realm, "http:") {
		v.warn(subject, "plain-http", "it is plain HTTP, and the registry is not",
			"crane, ko, kaniko and cosign refuse it, and passwords travel in the clear",
			"serve the endpoint by https, and change realm in the registry's configuration")
	}
	if v.found != "" { // clients ask there, and not where a web server was found to have it
		if found, err := url.Parse(v.url); err == nil && v.realm == "" {
			v.realm = realm
			v.askWhereClientsAsk(*found)
		}
		return
	}
	// the endpoint answers with and without
	if v.url != "" && strings.TrimSuffix(v.url, "/") != strings.TrimSuffix(realm, "/") {
		v.warn(subject, "realm-differs", fmt.Sprintf("clients are sent to %s, not to %q", quoteShort(realm), v.url),
			"what --url finds is not what they meet",
			"use the same URL as realm and for --url")
	}
}

func (v *registryProbe) compareService(service string) {
	const subject = "registry.service"
	switch {
	case v.config == nil:
	case slices.Contains(v.config.Audience, service):
		v.ok(subject, "%q is among dockerauth's audiences", service)
	default:
		v.fail(subject, "registry-value-differs",
			fmt.Sprintf("the registry calls itself %s, dockerauth's audience is %s", quoteShort(service),
				quotedList(v.config.Audience)),
			"requests for it are answered 400, and it refuses tokens for another",
			"make service in the registry's auth.token section and audience in config.yml equal, letter by letter")
	}
}

func quotedList(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = fmt.Sprintf("%q", name)
	}
	return strings.Join(quoted, ", ")
}

// presentTokens shows the registry a token without a subject that grants nothing, and one of the
// greatest length.
func (v *registryProbe) presentTokens(service string) {
	if v.config == nil || !slices.Contains(v.config.Audience, service) {
		return
	}
	signer := jwtsign.Signer{Key: v.config.Key, Issuer: v.config.Issuer}
	token, _, err := signer.AccessToken("", service, time.Minute, nil)
	if err != nil {
		v.fail(
			"registry.token",
			"token-unsigned",
			"a token cannot be signed: "+err.Error(),
			"",
			"see the findings on the key",
		)
		return
	}
	const subject = "registry.token"
	r, err := v.present(token)
	switch {
	case err != nil:
		what, why, remedy := describeRegistryError(err)
		v.fail(subject, "registry-unreachable", what, why, remedy)
		return
	case r.status == http.StatusOK:
		v.ok(subject, "the registry takes dockerauth's tokens")
	case r.status == http.StatusUnauthorized:
		remedy := "its issuer must be " + quoteShort(v.config.Issuer) +
			", and its rootcertbundle hold a copy of dockerauth's certificate; restart it after a change"
		if v.registryConfig == "" {
			remedy += "; check --registry-config says which of them it is"
		}
		v.fail(subject, "token-refused", "the registry refuses dockerauth's token: "+quoteShort(r.answer.message()),
			"docker login fails with 401, as every push and pull does, although dockerauth's log says that the token "+
				"was granted",
			remedy)
	default:
		v.fail(
			subject,
			"unexpected-answer",
			fmt.Sprintf("dockerauth's token is answered with %d and %s", r.status, r.kind()),
			"a registry answers 200 or 401",
			"see the registry's log",
		)
	}
	v.presentLongToken()
}

// maxTokenSize is the length of the longest token that is issued.
const maxTokenSize = service.MaxTokenSize

func (v *registryProbe) presentLongToken() {
	const subject = "registry.header"
	r, err := v.present(strings.Repeat("x", maxTokenSize))
	switch {
	case err == nil && r.status == http.StatusUnauthorized && r.isJSON():
		v.ok(subject, "a token of %d bytes arrives", maxTokenSize)
	case err == nil:
		v.warn(
			subject,
			"long-token-refused",
			fmt.Sprintf("a token of %d bytes is answered with %d and %s", maxTokenSize, r.status, r.kind()),
			"a push with many mounts needs one as long",
			"in the web server before the registry: large_client_header_buffers 4 16k (nginx), LimitRequestFieldSize "+
				"16380 (Apache)",
		)
	default:
		what, why, remedy := describeRegistryError(err)
		v.warn(
			subject,
			"long-token-refused",
			fmt.Sprintf("with a token of %d bytes %s", maxTokenSize, what),
			why,
			remedy,
		)
	}
}

// describeRegistryError says why a registry gave no answer.
func describeRegistryError(err error) (what, why, remedy string) {
	what, why, remedy = describeTransportError(err)
	if errors.Is(err, syscall.ECONNREFUSED) {
		remedy = "start the registry (its own log says why it ended), or correct the port"
	}
	return what, why, remedy
}

func (v *registryProbe) present(token string) (response, error) {
	return v.ask(http.MethodGet, v.ping, http.Header{"Authorization": {"Bearer " + token}}, nil)
}
