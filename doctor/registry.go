package doctor

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"dockerauth/cli"
	"dockerauth/config"
	"dockerauth/jwtsign"
)

// thenRestart ends a remedy in words that changes what a registry reads.
const thenRestart = ", and restart the registry"

// registryUnits are the names of Debian's and others' units.
var registryUnits = []string{"docker-registry.service", "docker-distribution.service", "registry.service"}

// restarted ends a command that changes what a registry reads.
func (c *checkup) restarted(command string) string {
	for _, name := range registryUnits {
		if readUnit(c.root, name).file != "" {
			return command + " && systemctl restart " + strings.TrimSuffix(name, ".service")
		}
	}
	return command + " # then restart the registry"
}

// setIn writes a value in the registry's configuration, in the line of the old one. It does not
// repeat that, which may be a secret.
func (c *checkup) setIn(s registrySetting, value string) string {
	if strings.ContainsAny(value, ":#{}[],&*!|>'%@` ") && !strings.HasPrefix(value, "http") {
		value = strconv.Quote(value)
	}
	return c.setRaw(s, value)
}

// setRaw is setIn for a value in YAML.
func (c *checkup) setRaw(s registrySetting, value string) string {
	if !c.isAlone(s) {
		return fmt.Sprintf("write %s: %s at %s:%d%s", s.Key, word(value), word(c.registryConfig), s.Line, thenRestart)
	}
	escaped := regexp.MustCompile(`[&|\\]`).ReplaceAllString(value, `\$0`)
	return c.restarted(fmt.Sprintf(`sed -i %s %s`, word(fmt.Sprintf("%ds|%s:.*|%[2]s: %s|", s.Line, s.Key, escaped)),
		word(c.registryConfig)))
}

// disable makes comments of settings. The command does nothing where other lines stand there by
// now.
func (c *checkup) disable(settings ...registrySetting) string {
	var edits []string
	for _, s := range settings {
		if !c.isAlone(s) {
			return fmt.Sprintf("take %s away at %s:%d%s", s.Key, c.registryConfig, s.Line, thenRestart)
		}
		edits = append(edits, fmt.Sprintf("%ds/^[[:blank:]]*%s:/#&/", s.Line, s.Key))
	}
	return c.restarted(fmt.Sprintf("sed -i '%s' %s", strings.Join(edits, ";"), word(c.registryConfig)))
}

// isAlone reports that the line of a setting has nothing else.
func (c *checkup) isAlone(s registrySetting) bool {
	data, err := os.ReadFile(c.registryConfig)
	if err != nil {
		return false
	}
	lines := strings.Split(string(data), "\n")
	return s.Line > 0 && s.Line <= len(lines) && strings.HasPrefix(strings.TrimSpace(lines[s.Line-1]), s.Key+":")
}

// likelyRealm is where clients should be sent. was is what the registry has.
func (c *checkup) likelyRealm(was *url.URL) string {
	host := "HOST"
	switch {
	case c.url != "" && !strings.Contains(c.url, "@") && !c.isWeaker(c.url, was):
		return c.url
	case was != nil && was.Host != "":
		host = was.Host
	case c.settings != nil && aHostName().MatchString(c.settings.Issuer):
		host = c.settings.Issuer
	}
	return "https://" + host + realmEnd
}

// isWeaker reports a URL that is no realm in the place of another: without its TLS, or on this
// machine only. A URL that check has found itself stands for less than what anybody has written.
func (c *checkup) isWeaker(text string, was *url.URL) bool {
	u, err := url.Parse(text)
	if err != nil {
		return true
	}
	if was == nil || was.Host == "" {
		return c.found != "" && (u.Scheme == "http" || onThisMachine(u.Hostname()))
	}
	return was.Scheme == "https" && u.Scheme == "http" ||
		onThisMachine(u.Hostname()) && !onThisMachine(was.Hostname())
}

var aHostName = lazyRegexp(`^[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$`)

// ownBundle is a command that makes the bundle a copy of dockerauth's certificate; "" without one.
func (c *checkup) ownBundle(t *registryToken) string {
	if c.config.CertificateFile == "" || t.RootCertBundle.Value == "" {
		return ""
	}
	return c.restarted(fmt.Sprintf("cp %s %s", word(c.config.CertificateFile), word(c.registryFile(t.RootCertBundle))))
}

// ownBundleOf is ownBundle for rootcertbundle, and "" for a JWKS.
func (c *checkup) ownBundleOf(s registrySetting) string {
	if c.config == nil || s.Key != "rootcertbundle" {
		return ""
	}
	return c.ownBundle(&registryToken{RootCertBundle: s})
}

// registryFile is where a file of the registry is looked for: beside its configuration, if its path
// is relative.
func (c *checkup) registryFile(s registrySetting) string {
	if filepath.IsAbs(s.Value) {
		return s.Value
	}
	return filepath.Join(filepath.Dir(c.registryConfig), s.Value)
}

// maxTrustFile is in bytes: all public CAs together take 220 kB.
const maxTrustFile = 8 << 20

// examineRegistry compares the registry's configuration with dockerauth's, and a token with its
// trust.
func (c *checkup) examineRegistry() {
	r, err := loadRegistryConfig(c.registryConfig)
	if err != nil {
		c.registryErrors(err)
		return
	}
	where := func(line int) string { return fmt.Sprintf("%s:%d", r.Path, line) }
	if r.Token == nil {
		c.fail("registry", "registry-no-token-section", fmt.Sprintf("%s has no section auth.token", r.Path),
			"the registry asks nobody for a token",
			"write one, as docs/registry.md shows "+
				"(REGISTRY_AUTH_TOKEN_… variables in the registry's environment are not seen from here)")
		return
	}
	if len(r.Auth) > 1 {
		c.fail("registry", "registry-two-auths", fmt.Sprintf("%s has %q under auth", r.Path, r.Auth),
			"a registry that is given two ways to authenticate does not start",
			"leave token alone there")
	}
	t := r.Token
	for _, s := range t.Misspelt {
		c.fail("registry", "registry-unknown-key", fmt.Sprintf("%s: registries do not read %s", where(s.Line), s.Key),
			"keys are written in lower case and without underlines",
			c.restarted(fmt.Sprintf("sed -i '%ds/%s/%s/' %s", s.Line, s.Key, s.Value, word(c.registryConfig))))
	}
	c.examineRealm(t, where)
	c.examineRedirect(t, where)
	if c.settings != nil {
		c.compare("registry.service", "service", t.Service, c.settings.Audience, "audience", where)
		c.compare("registry.issuer", "issuer", t.Issuer, []string{c.settings.Issuer}, "issuer", where)
	}
	if trust, whole := c.readTrust(t, where); whole && c.config != nil {
		c.examineTrust(t, trust)
	}
}

func (c *checkup) registryErrors(err error) {
	var errs config.Errors
	if !errors.As(err, &errs) {
		errs = config.Errors{{File: c.registryConfig, Cause: err.Error()}}
	}
	for _, e := range errs {
		hint := e.Hint
		e.Hint = ""
		c.fail(
			"registry",
			"registry-config-invalid",
			e.Error(),
			"what the registry does with dockerauth's tokens was not looked at",
			hint,
		)
	}
}

// requireText reports a setting that is missing or no text. For any other type a registry says
// "token auth requires a valid option string".
func (c *checkup) requireText(subject string, s registrySetting, where func(int) string) bool {
	switch {
	case s.Line == 0 || s.Value == "":
		hint := ""
		if s.Key == "realm" {
			hint = " (or is it in REGISTRY_AUTH_TOKEN_REALM, in the registry's environment?)"
		}
		c.fail(
			subject,
			"registry-key-missing",
			"there is no auth.token."+s.Key,
			"the registry does not start without it",
			fmt.Sprintf("write %s: %s below auth.token in %s%s", s.Key, word(c.wantedValue(s.Key)),
				word(c.registryConfig), hint),
		)
	case !s.Text:
		c.fail(
			subject,
			"registry-value-no-text",
			fmt.Sprintf("%s: %s is %s, which is no text to a registry", where(s.Line), s.Key, s.Value),
			"it does not start",
			c.setIn(s, c.wantedValue(s.Key)),
		)
	default:
		return true
	}
	return false
}

// wantedValue is what dockerauth has for a key of the registry.
func (c *checkup) wantedValue(key string) string {
	switch {
	case key == "realm":
		return c.likelyRealm(nil)
	case c.settings == nil:
	case key == "issuer":
		return c.settings.Issuer
	case key == "service":
		return c.settings.Audience[0]
	}
	return "the value that dockerauth's config.yml has"
}

// endpoints are the paths of the token endpoint.
var endpoints = [...]string{realmEnd, autoredirectEnd}

func isEndpoint(path string) bool {
	path = strings.TrimSuffix(path, "/")
	return strings.HasSuffix(path, endpoints[0]) || strings.HasSuffix(path, endpoints[1])
}

func (c *checkup) examineRealm(t *registryToken, where func(int) string) {
	const subject = "registry.realm"
	if !c.requireText(subject, t.Realm, where) {
		return
	}
	realm, place := t.Realm.Value, where(t.Realm.Line)
	u, err := url.Parse(realm)
	switch {
	case strings.Contains(realm, "@"):
		c.fail(subject, "realm-with-password", place+": the realm has a name or a password in it",
			"registries tell it to everybody", c.setIn(t.Realm, c.likelyRealm(u)))
		return
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		c.fail(subject, "realm-invalid", fmt.Sprintf("%s: %q is no URL", place, realm),
			"clients are sent there for a token", c.setIn(t.Realm, c.likelyRealm(nil)))
		return
	case !isEndpoint(u.Path):
		c.fail(subject, "realm-wrong-path", fmt.Sprintf("%s: %q does not end in %s", place, realm, endpoints[0]),
			"that is where dockerauth answers; elsewhere clients get 404", c.setIn(t.Realm, c.likelyRealm(u)))
		return
	case u.RawQuery != "" || u.Fragment != "":
		c.fail(subject, "realm-with-query", fmt.Sprintf("%s: %q has more than host and path", place, realm),
			"clients add their own query", c.setIn(t.Realm, c.likelyRealm(u)))
		return
	case u.Scheme == "http" && !onThisMachine(u.Hostname()):
		c.warn(subject, "plain-http", fmt.Sprintf("%s: %q is not https", place, realm),
			"passwords cross the network in the clear, and several clients refuse such a realm",
			c.setIn(t.Realm, c.likelyRealm(&url.URL{Scheme: "https", Host: strings.TrimSuffix(u.Host, ":"+u.Port())})))
	default:
		c.ok(subject, "clients are sent to %s", realm)
	}
	if c.url != "" && c.found == "" && !strings.Contains(c.url, "@") && !t.AutoRedirect.isTrue() &&
		strings.TrimSuffix(c.url, "/") != strings.TrimSuffix(realm, "/") {
		remedy := "dockerauth check --url " + word(realm)
		if !c.isWeaker(c.url, u) {
			remedy = c.setIn(t.Realm, c.url)
		}
		c.warn(
			subject,
			"realm-differs",
			fmt.Sprintf("%s: clients are sent to %q, not to %q, which --url names", place, realm, c.url),
			strings.TrimPrefix(difference(realm, c.url), ": "),
			remedy,
		)
	}
}

// examineRedirect looks at autoredirect, with which a registry names itself instead of its realm
// (accesscontroller.go, buildAutoRedirectURL).
func (c *checkup) examineRedirect(t *registryToken, where func(int) string) {
	const subject = "registry.autoredirect"
	if !t.AutoRedirect.isTrue() {
		return
	}
	path := autoredirectEnd
	if t.AutoRedirectPath.Value != "" {
		path = t.AutoRedirectPath.Value
	}
	if !isEndpoint(path) {
		c.fail(subject, "autoredirect-path",
			fmt.Sprintf("%s: autoredirectpath %q does not end in %s or %s", where(t.AutoRedirectPath.Line), path,
				endpoints[0], endpoints[1]),
			"that is where dockerauth answers; elsewhere clients get 404",
			c.disable(t.AutoRedirect, t.AutoRedirectPath))
		return
	}
	sentence := fmt.Sprintf("clients are sent to %s at the registry's own name, and the realm is not used", path)
	if u, err := url.Parse(t.Realm.Value); err == nil && strings.TrimSuffix(u.Path, "/") == path {
		c.ok(subject, "%s", sentence)
		return
	}
	c.warn(subject, "autoredirect", fmt.Sprintf("%s: autoredirect is true", where(t.AutoRedirect.Line)),
		sentence,
		c.disable(t.AutoRedirect))
}

// compare compares a text of the registry with dockerauth's, letter by letter, as the registry
// does.
func (c *checkup) compare(subject, key string, theirs registrySetting, ours []string, ourKey string,
	where func(int) string) {
	if !c.requireText(subject, theirs, where) {
		return
	}
	if slices.Contains(ours, theirs.Value) {
		c.ok(subject, "is dockerauth's %s, %q", ourKey, theirs.Value)
		return
	}
	near := nearest(theirs.Value, ours)
	why := "registries compare it letter by letter, and refuse every token"
	if key == "service" {
		why = "dockerauth answers \"unknown service\" to its clients, and nobody can log in"
	}
	c.fail(subject, "registry-value-differs",
		fmt.Sprintf("%s: %s is %q, dockerauth's %s is %q%s", where(theirs.Line), key, theirs.Value, ourKey, near,
			difference(theirs.Value, near)),
		why,
		c.setIn(theirs, near))
}

// nearest is the text with the longest common beginning, without http:// and spaces before it.
func nearest(text string, of []string) string {
	text = bare(text)
	return slices.MaxFunc(of, func(a, b string) int { return common(text, bare(a)) - common(text, bare(b)) })
}

func bare(text string) string {
	return strings.TrimPrefix(strings.TrimPrefix(strings.TrimSpace(text), "https://"), "http://")
}

// common counts the letters that two texts begin with, in any case.
func common(a, b string) (n int) {
	x, y := []rune(strings.ToLower(a)), []rune(strings.ToLower(b))
	for n < len(x) && n < len(y) && x[n] == y[n] {
		n++
	}
	return n
}

// difference says where two texts differ. It begins with a colon, or is empty.
func difference(a, b string) string {
	switch {
	case a == b:
		return ""
	case strings.EqualFold(a, b):
		return ": they differ in upper and lower case"
	case strings.TrimSpace(a) == strings.TrimSpace(b):
		return ": they differ in blanks at an end"
	case strings.TrimRight(a, "/") == strings.TrimRight(b, "/"):
		return ": they differ in a slash at the end"
	case bare(a) == bare(b):
		return ": they differ in http:// or https:// at the beginning"
	}
	n := 0
	for x, y := []rune(a), []rune(b); n < len(x) && n < len(y) && x[n] == y[n]; n++ {
	}
	if n == 0 || n == utf8.RuneCountInString(a) || n == utf8.RuneCountInString(b) {
		return ""
	}
	return fmt.Sprintf(": they differ from letter %d on", n+1)
}

// readTrust reads the files that decide whose tokens the registry takes. whole = it could read them
// all.
func (c *checkup) readTrust(t *registryToken, where func(int) string) (trust registryTrust, whole bool) {
	whole = true
	misspelt := slices.ContainsFunc(t.Misspelt, func(s registrySetting) bool { return s.Value == "rootcertbundle" })
	if t.RootCertBundle.Line == 0 && t.JWKS.Line == 0 && misspelt {
		return trust, false // a finding has said so
	}
	if t.RootCertBundle.Line == 0 && t.JWKS.Line == 0 {
		certificate := "dockerauth's certificate"
		if file := c.certificateFile(); file != "" {
			certificate = word(file)
		}
		c.fail("registry.rootcertbundle", "bundle-missing", "there is no auth.token.rootcertbundle",
			"the registry does not start without",
			fmt.Sprintf("write rootcertbundle: FILE below auth.token in %s, FILE being a copy of %s",
				word(c.registryConfig), certificate))
		return trust, false
	}
	for _, one := range []struct {
		setting registrySetting
		parse   func([]byte) error
	}{
		{t.RootCertBundle, func(data []byte) (err error) { trust.Bundle, err = parseBundle(data); return err }},
		{t.JWKS, func(data []byte) (err error) { trust.JWKS, err = parseJWKS(data); return err }},
	} {
		subject := "registry." + one.setting.Key
		if one.setting.Line == 0 {
			continue
		}
		if !c.requireText(subject, one.setting, where) {
			whole = false
			continue
		}
		data, err := c.readRegistryFile(subject, one.setting, where)
		if bytes.Contains(data, []byte("PRIVATE KEY-----")) {
			c.fail(subject, "bundle-private-key", fmt.Sprintf("%q holds a private key", one.setting.Value),
				"a registry has no use for it, and anyone who reads the file can sign tokens, as any account",
				cmp.Or(c.ownBundleOf(one.setting), "take it out")+", and make a new pair: it may have been read")
		}
		if err == nil {
			err = one.parse(data)
		}
		if err != nil {
			c.fail(
				subject,
				"bundle-unreadable",
				fmt.Sprintf("%s: %q: %s", where(one.setting.Line), one.setting.Value, cli.Cause(err)),
				"the registry does not start without that file",
				c.fileRemedy(one.setting),
			)
			whole = false
		}
	}
	for _, s := range t.SigningAlgorithms {
		trust.Algorithms = append(trust.Algorithms, s.Value)
	}
	return trust, whole
}

func (c *checkup) certificateFile() string {
	if c.settings == nil {
		return ""
	}
	return c.settings.CertificateFile
}

// fileRemedy is for a bundle or JWKS that cannot be read.
func (c *checkup) fileRemedy(s registrySetting) string {
	if c.certificateFile() == "" || s.Key != "rootcertbundle" {
		return fmt.Sprintf("correct %s, or its path at %s:%d", word(c.registryFile(s)), word(c.registryConfig), s.Line)
	}
	return c.restarted(fmt.Sprintf("install -D -m 0644 %s %s", word(c.certificateFile()), word(c.registryFile(s))))
}

// readRegistryFile looks for a relative path beside the configuration: the registry's own working
// folder is unknown.
func (c *checkup) readRegistryFile(subject string, s registrySetting, where func(int) string) ([]byte, error) {
	path := s.Value
	if !filepath.IsAbs(path) {
		c.warn(subject, "bundle-relative", fmt.Sprintf("%s: %q is a relative path", where(s.Line), path),
			"a registry looks for it in the folder in which it is started, which is not known here",
			c.setIn(s, c.registryFile(s)))
		path = c.registryFile(s)
	}
	data, err := jwtsign.ReadRegular(path, maxTrustFile, func(info fs.FileInfo) error {
		if !info.Mode().IsRegular() {
			return errors.New("is not a file")
		}
		return nil
	})
	if errors.Is(err, jwtsign.ErrTooLarge) {
		return nil, fmt.Errorf("is larger than %d bytes", maxTrustFile)
	}
	return data, err
}

func (c *checkup) examineTrust(t *registryToken, trust registryTrust) {
	key := c.config.Key
	if len(trust.Algorithms) > 0 && !slices.Contains(trust.Algorithms, key.Algorithm()) {
		c.fail("registry.signingalgorithms", "algorithm-not-allowed",
			fmt.Sprintf("they are %s, and dockerauth's key signs with %s", strings.Join(trust.Algorithms, ", "),
				key.Algorithm()),
			"the registry refuses every token",
			c.setRaw(t.SigningAlgorithms[0], "["+key.Algorithm()+"]"))
	}
	hasOurs := slices.ContainsFunc(trust.Bundle,
		func(cert *x509.Certificate) bool { return isSameKey(cert.PublicKey, key.Public()) })
	refused := c.isRefused(trust)
	for i, cert := range trust.Bundle {
		c.examineBundled(t, i+1, cert, hasOurs, refused)
	}
	for _, k := range trust.JWKS {
		c.examineListed(k)
	}
	c.predict(t, trust)
}

// isRefused reports that no version of the registry takes a token.
func (c *checkup) isRefused(trust registryTrust) bool {
	signer := jwtsign.Signer{Key: c.config.Key, Issuer: c.config.Issuer, Now: c.now}
	service := c.config.Audience[0]
	token, _, err := signer.AccessToken("", service, time.Minute, nil)
	return err == nil && !slices.ContainsFunc([]registryVersion{registry28, registry30, registry31},
		func(v registryVersion) bool {
			return trust.starts(v) == nil && trust.accept(v, signer.Issuer, service, token, c.now()) == nil
		})
}

// examineBundled looks for certificates that are a risk: anyone who holds the key of one in the
// bundle, or of one that it signed, can sign tokens.
func (c *checkup) examineBundled(t *registryToken, number int, cert *x509.Certificate, hasOurs, refused bool) {
	const subject = "registry.rootcertbundle"
	key := c.config.Key
	what := fmt.Sprintf("certificate %d in it, %q, ", number, cert.Subject.String())
	expired := ""
	if c.now().After(cert.NotAfter) {
		expired = " and has expired on " + cert.NotAfter.UTC().Format(time.DateOnly)
	}
	remedy := cmp.Or(
		c.ownBundle(t),
		"take it out: the bundle is a copy of dockerauth's certificate and of nothing else"+
			thenRestart,
	)
	switch chain := key.Chain(); {
	case len(chain) > 0 && bytes.Equal(cert.Raw, chain[0].Raw) && !issuesForOthers(cert):
		c.ok(subject, "has dockerauth's certificate")
	case isSameKey(cert.PublicKey, key.Public()) && !issuesForOthers(cert) && expired == "":
		c.ok(subject, "%sis for dockerauth's key", what)
	case isSameKey(cert.PublicKey, key.Public()) && !issuesForOthers(cert):
		what += "is an older one for dockerauth's key" + expired
		if refused {
			c.fail(subject, "bundle-old-certificate", what, "the registry refuses every token", remedy)
			return
		}
		c.warn(subject, "bundle-old-certificate", what, "registries refuse tokens that carry it", remedy)
	case c.isPreviousKey(cert.PublicKey) && !issuesForOthers(cert):
		c.ok(subject, "%sis for a key of previous_keys%s", what, expired)
	case isAuthority(cert):
		c.fail(subject, "bundle-ca", what+"is one of a CA"+expired, bundleWarning, remedy)
	case hasOurs && len(chain) > 0 && isMadeAs(cert, chain[0]):
		c.warn(subject, "bundle-second",
			fmt.Sprintf("%sis a second one, made as dockerauth's is, SHA-256 %s%s", what, fingerprint(cert),
				expired),
			"fine while keys are exchanged; anyone who has its key can sign tokens for the registry too",
			remedy)
	default:
		c.fail(subject, "bundle-foreign", what+"is not dockerauth's"+expired,
			"anyone who has its key can sign tokens for the registry, as any account",
			remedy)
	}
}

// issuesForOthers reports a CA certificate that another CA signed. A self-signed one that may sign
// is a warning already.
func issuesForOthers(cert *x509.Certificate) bool {
	return isAuthority(cert) && !bytes.Equal(cert.RawIssuer, cert.RawSubject)
}

// isMadeAs reports self-signed certificates that differ in their keys alone: during an exchange of
// keys there are two. It is no proof, since anybody can write the same name.
func isMadeAs(cert, ours *x509.Certificate) bool {
	selfSigned := bytes.Equal(cert.RawIssuer, cert.RawSubject) &&
		cert.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature) == nil
	return selfSigned && !isAuthority(cert) && bytes.Equal(cert.RawSubject, ours.RawSubject) &&
		bytes.Equal(cert.RawIssuer, ours.RawIssuer)
}

func isSameKey(a, b crypto.PublicKey) bool {
	key, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && key.Equal(b)
}

func (c *checkup) examineListed(k jwk) {
	const subject = "registry.jwks"
	switch {
	case k.Secret:
		c.fail(subject, "jwks-private-key", fmt.Sprintf("the key %q in it is there with its secret part", k.KeyID),
			"anyone who can read the file can sign tokens for the registry, as any account",
			"list the public key alone, and make a new pair"+thenRestart)
	case isSameKey(k.Public, c.config.Key.Public()):
		c.ok(subject, "has dockerauth's key, under the id %q", k.KeyID)
	case c.isPreviousKey(k.Public):
		c.ok(subject, "has a key of previous_keys, under the id %q", k.KeyID)
	default:
		c.fail(subject, "jwks-foreign", fmt.Sprintf("the key %q in it is not dockerauth's", k.KeyID),
			"anyone who has it can sign tokens for the registry, as any account",
			"take it out"+thenRestart+"; if its key is being exchanged, when that is done")
	}
}

// verdictCode is the code of what a version of the registry would do.
type verdictCode string

const (
	notStarting verdictCode = "registry-not-starting"
	refusing    verdictCode = "registry-refusing"
)

// predict signs a token and verifies it by the rules of each version. compare has looked at issuer
// and service.
func (c *checkup) predict(t *registryToken, trust registryTrust) {
	signer := jwtsign.Signer{Key: c.config.Key, Issuer: c.config.Issuer, Now: c.now}
	service := c.config.Audience[0]
	token, _, err := signer.AccessToken("", service, time.Minute, nil)
	if err != nil {
		cause, hint := cli.SplitHint(err)
		c.fail("registry", "token-unsigned", cause, "no token can be signed", hint)
		return
	}
	what := "dockerauth's tokens"
	if t.Issuer.Value != signer.Issuer || !slices.Contains(c.config.Audience, t.Service.Value) {
		what = "dockerauth's key, if issuer and service were equal"
	}
	var verdicts []finding
	accepted := false
	versions := []registryVersion{registry28, registry30, registry31}
	for _, v := range versions {
		f := finding{Level: levelOK, Subject: string(v)}
		if v == registry28 && versionMark(t) != "" {
			f.What = "is not meant: it does not know " + versionMark(t)
		} else if err := trust.starts(v); err != nil {
			f.Level, f.Code, f.What, f.Why = levelError, string(notStarting), "would not start", shortened(err)
		} else if err := trust.accept(v, signer.Issuer, service, token, c.now()); err != nil {
			f.Level, f.Code, f.What, f.Why = levelError, string(refusing), "would refuse dockerauth's tokens",
				shortened(err)
		} else {
			accepted = true
			f.What = fmt.Sprintf("would take %s, with these files (it reads them when it starts)", what)
		}
		verdicts = append(verdicts, f)
	}
	for i, v := range versions {
		f := &verdicts[i]
		switch {
		case f.Level == levelOK:
		case accepted:
			f.Level, f.Why = levelWarning, f.Why+"; harmless for other versions"
			f.Remedy = c.acceptance(trust) + thenRestart
			if v == registry28 {
				f.Remedy = fmt.Sprintf("write signingalgorithms: [%s] below auth.token in %s if it is 3.x; else %s",
					c.config.Key.Algorithm(), word(c.registryConfig), f.Remedy)
			} else if len(c.config.Key.Chain()) == 0 && t.RootCertBundle.Value != "" {
				made := filepath.Join(filepath.Dir(c.config.Path), "cert.pem")
				f.Remedy = c.restarted(fmt.Sprintf("%s && cp %s %s", c.makeCertificate(), word(made),
					word(c.registryFile(t.RootCertBundle))))
			}
		default:
			f.Remedy = c.acceptance(trust) + thenRestart
			if bundle := c.ownBundle(t); bundle != "" && c.config.Key.Algorithm() != "EdDSA" {
				f.Remedy = bundle
			}
		}
	}
	if !accepted && c.distrusts() {
		return // a finding has said why
	}
	c.addVerdicts(verdicts)
}

// distrusts reports an error in what the registry trusts.
func (c *checkup) distrusts() bool {
	subjects := []string{"registry.rootcertbundle", "registry.jwks", "registry.signingalgorithms"}
	return slices.ContainsFunc(c.list, func(f finding) bool {
		return f.Level == levelError && slices.Contains(subjects, f.Subject)
	})
}

// shortened leaves out what crypto/x509 supposes.
func shortened(err error) string {
	text, _, _ := strings.Cut(err.Error(), " (possibly because")
	return text
}

// addVerdicts joins versions with equal findings.
func (c *checkup) addVerdicts(verdicts []finding) {
	for len(verdicts) > 0 {
		one, versions := verdicts[0], []string{}
		verdicts = slices.DeleteFunc(verdicts, func(f finding) bool {
			version := f.Subject
			f.Subject = one.Subject
			if f == one {
				versions = append(versions, version)
			}
			return f == one
		})
		one.Subject = "registry " + strings.Join(versions, ", ")
		c.add(one)
	}
}

// versionMark is a key that shows that the configuration is for 3.x.
func versionMark(t *registryToken) string {
	switch {
	case len(t.SigningAlgorithms) > 0:
		return "signingalgorithms"
	case t.JWKS.Line > 0:
		return "jwks"
	case t.AutoRedirectPath.Line > 0:
		return "autoredirectpath"
	}
	return ""
}

// acceptance is what makes a registry take dockerauth's tokens.
func (c *checkup) acceptance(trust registryTrust) string {
	switch carries := len(c.config.Key.Chain()) > 0; {
	case carries && len(trust.Bundle) == 0:
		return "give it rootcertbundle, a copy of dockerauth's certificate, or leave certificate out of dockerauth's " +
			"config.yml"
	case carries && c.config.Key.Algorithm() == "EdDSA" && len(trust.Bundle) > 0 &&
		isSameKey(trust.Bundle[0].PublicKey, c.config.Key.Public()):
		return "make an RSA or P-256 key and a certificate for it"
	case carries:
		return "make rootcertbundle a copy of dockerauth's certificate, " + c.config.CertificateFile
	}
	return "name a certificate in dockerauth's config.yml and make rootcertbundle a copy of it, or choose key_id for " +
		"the registry's version"
}
