package doctor

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"dockerauth/cli"
	"dockerauth/config"
)

// registered is a patient with a registry that was told to trust it.
func registered(t *testing.T) *patient {
	t.Helper()
	p := newPatientIn(t, planted)
	p.edit(t, "config.yml", "audience: registry.example.com", "audience: [other.example.com, registry.example.com]")
	if os.Geteuid() != 0 { // who has no right to ask pam_unix
		p.write(t, "pam.d/dockerauth", "auth required pam_userdb.so db=/x\naccount required pam_permit.so\n")
	}
	p.run(t, "cp", p.path("cert.pem"), p.path("bundle.pem"))
	p.write(t, "registry.yml",
		"version: 0.1\nauth:\n  token:\n    realm: https://auth.example.com/docker/v2/token\n    service: "+
			"registry.example.com\n"+
			"    issuer: auth.example.com\n    rootcertbundle: "+p.path("bundle.pem")+"\n")
	return p
}

func (p *patient) read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(p.path(name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestCheckNamesEachMistakeOfARegistrysConfiguration(t *testing.T) {
	edit := func(old, new string) func(*testing.T, *patient) {
		return func(t *testing.T, p *patient) { p.edit(t, "registry.yml", old, new) }
	}
	add := func(line string) func(*testing.T, *patient) { return edit("    service:", line+"    service:") }
	bundle := func(make func(t *testing.T, p *patient) string) func(*testing.T, *patient) {
		return func(t *testing.T, p *patient) { p.write(t, "bundle.pem", make(t, p)) }
	}
	otherCert := func(t *testing.T, change func(*x509.Certificate)) string {
		return selfSigned(t, newEC(elliptic.P256(), false), func(c *x509.Certificate) {
			c.Subject.CommonName = "other"
			if change != nil {
				change(c)
			}
		})
	}
	const realm = "https://auth.example.com/docker/v2/token"
	jwks := func(keys string) func(*testing.T, *patient) {
		return func(t *testing.T, p *patient) {
			p.write(t, "jwks.json", keys)
			p.edit(t, "registry.yml", "rootcertbundle: "+p.path("bundle.pem"), "jwks: "+p.path("jwks.json"))
		}
	}
	rotate := func(more string) func(*testing.T, *patient) {
		return shell("dockerauth key rotate --config config.yml && " + more)
	}
	tests := []mistake{
		{name: "not there", args: []string{"--registry-config", "/nonexistent/config.yml"},
			want: wanted{levelError, "registry", "registry-config-invalid", "no such file"}},
		{name: "no YAML", make: func(t *testing.T, p *patient) { p.write(t, "registry.yml", "auth: [") },
			want: wanted{levelError, "registry", "registry-config-invalid", "registry.yml:1: "}},
		{name: "no auth.token", make: edit("  token:", "  htpasswd:"),
			want: wanted{levelError, "registry", "registry-no-token-section", "has no section auth.token"}},
		{name: "two ways to authenticate", make: edit("auth:\n", "auth:\n  htpasswd: {realm: x}\n"),
			want: wanted{levelError, "registry", "registry-two-auths", `["htpasswd" "token"]`}},
		{name: "a key in other letters", make: edit("rootcertbundle", "rootCertBundle"),
			want: wanted{
				levelError,
				"registry",
				"registry-unknown-key",
				"registry.yml:7: registries do not read rootCertBundle",
			}},

		{name: "no realm", make: edit("    realm: "+realm+"\n", ""),
			want: wanted{levelError, "registry.realm", "registry-key-missing", "REGISTRY_AUTH_TOKEN_REALM"}},
		{name: "a realm that is no URL", make: edit(realm, "auth.example.com/docker/v2/token"),
			want: wanted{levelError, "registry.realm", "realm-invalid", "is no URL"}},
		{name: "a realm at another place", make: edit(realm, "https://auth.example.com/token"),
			want: wanted{levelError, "registry.realm", "realm-wrong-path", "does not end in /docker/v2/token"}},
		{name: "a realm with a query", make: edit(realm, realm+"?x=1"),
			want: wanted{levelError, "registry.realm", "realm-with-query", "more than host and path"}},
		{name: "a realm with a password", make: edit("https://auth", "https://me:geheim@auth"),
			want: wanted{
				levelError,
				"registry.realm",
				"realm-with-password",
				"a name or a password in it: registries tell it",
			}},
		{name: "a realm without TLS", make: edit("https:", "http:"),
			want: wanted{levelWarning, "registry.realm", "plain-http", "is not https"}},
		{name: "a realm without TLS on loopback", make: edit("https://auth.example.com", "http://localhost:5002"),
			want: wanted{levelOK, "registry.realm", "", "http://localhost:5002"}},

		{name: "a service in other case", make: edit("service: registry", "service: Registry"),
			want: wanted{levelError, "registry.service", "registry-value-differs",
				`registry.yml:5: service is "Registry.example.com", dockerauth's audience is "registry.example.com": ` +
					`they differ in upper and lower case: dockerauth answers "unknown service"`}},
		{name: "a service with a slash", make: edit("service: registry.example.com", "service: registry.example.com/"),
			want: wanted{
				levelError,
				"registry.service",
				"registry-value-differs",
				"they differ in a slash at the end",
			}},
		{name: "a service with a blank",
			make: edit("service: registry.example.com", `service: "registry.example.com "`),
			want: wanted{levelError, "registry.service", "registry-value-differs", "they differ in blanks at an end"}},
		{name: "a service with a scheme", make: edit("service: registry", "service: https://registry"),
			want: wanted{
				levelError,
				"registry.service",
				"registry-value-differs",
				"they differ in http:// or https:// at the beginning",
			}},
		{name: "a service with a typo", make: edit("service: registry", "service: regisrty"),
			want: wanted{levelError, "registry.service", "registry-value-differs", "they differ from letter 6 on"}},
		{name: "no service", make: edit("    service: registry.example.com\n", ""),
			want: wanted{levelError, "registry.service", "registry-key-missing", "there is no auth.token.service"}},
		{name: "an issuer that is none of dockerauth's", make: edit("issuer: auth", "issuer: auht"),
			want: wanted{levelError, "registry.issuer", "registry-value-differs",
				`issuer is "auht.example.com", dockerauth's issuer is "auth.example.com": ` +
					"they differ from letter 3 on"}},
		{name: "another issuer, to a version", make: edit("issuer: auth", "issuer: auht"),
			want: wanted{levelOK, "registry 2.8", "",
				"would take dockerauth's key, if issuer and service were equal, with these files"}},
		{name: "another service, to a version", make: edit("service: registry", "service: regisrty"),
			want: wanted{levelOK, "registry 3.1", "",
				"would take dockerauth's key, if issuer and service were equal, with these files"}},
		{name: "an issuer that is no text", make: edit("issuer: auth.example.com", "issuer: yes"),
			want: wanted{levelError, "registry.issuer", "registry-value-no-text", "no text to a registry"}},

		{name: "no bundle", make: func(t *testing.T, p *patient) {
			p.edit(t, "registry.yml", "    rootcertbundle: "+p.path("bundle.pem")+"\n", "")
		},
			want: wanted{levelError, "registry.rootcertbundle", "bundle-missing",
				"there is no auth.token.rootcertbundle"}},
		{name: "a bundle that is not there",
			make: func(t *testing.T, p *patient) { p.run(t, "rm", p.path("bundle.pem")) },
			want: wanted{levelError, "registry.rootcertbundle", "bundle-unreadable", "no such file"}},
		{name: "a bundle that is a folder", make: func(t *testing.T, p *patient) {
			p.run(t, "rm", p.path("bundle.pem"))
			p.run(t, "mkdir", p.path("bundle.pem"))
		}, want: wanted{levelError, "registry.rootcertbundle", "bundle-unreadable", "is not a file"}},
		{name: "a relative path",
			make: func(t *testing.T, p *patient) { p.edit(t, "registry.yml", p.path("bundle.pem"), "bundle.pem") },
			want: wanted{levelWarning, "registry.rootcertbundle", "bundle-relative", "is a relative path"}},
		{name: "an empty bundle", make: bundle(func(*testing.T, *patient) string { return "" }),
			want: wanted{levelError, "registry 3.1", "registry-not-starting", "would not start: it needs"}},
		{name: "dockerauth's private key",
			make: bundle(func(t *testing.T, p *patient) string {
				return p.read(t, "cert.pem") +
					p.read(t, "privkey.pem")
			}), want: wanted{levelError, "registry.rootcertbundle", "bundle-private-key", "holds a private key"}},
		{name: "another's bundle", make: bundle(func(t *testing.T, _ *patient) string { return otherCert(t, nil) }),
			want: wanted{levelError, "registry.rootcertbundle", "bundle-foreign",
				`"CN=other"`}},
		{name: "another certificate beside dockerauth's",
			make: bundle(func(t *testing.T, p *patient) string { return p.read(t, "cert.pem") + otherCert(t, nil) }),
			want: wanted{levelError, "registry.rootcertbundle", "bundle-foreign",
				`certificate 2 in it, "CN=other", is not dockerauth's: anyone who has its key can sign tokens`}},
		{name: "another certificate that has expired", make: bundle(func(t *testing.T, p *patient) string {
			return p.read(t, "cert.pem") +
				otherCert(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
		}),
			want: wanted{levelError, "registry.rootcertbundle", "bundle-foreign",
				"is not dockerauth's and has expired on"}},
		{name: "a CA", make: bundle(func(t *testing.T, p *patient) string {
			return p.read(t, "cert.pem") + otherCert(t, func(c *x509.Certificate) { c.IsCA = true })
		}), want: wanted{levelError, "registry.rootcertbundle", "bundle-ca",
			`certificate 2 in it, "CN=other", is one of a CA`}},
		{name: "a public CA's chain, as in the old guide", make: func(t *testing.T, p *patient) {
			ca := newEC(elliptic.P256(), false)
			parent := newTemplate(func(c *x509.Certificate) { c.Subject.CommonName, c.IsCA = "Some Public CA", true })
			leaf := certificatePEM(t,
				newTemplate(func(c *x509.Certificate) { c.Subject.CommonName = "auth.example.com" }), parent,
				p.key.Public(), ca)
			p.write(t, "cert.pem", leaf)
			p.write(t, "bundle.pem", leaf+certificatePEM(t, parent, parent, ca.Public(), ca))
		}, want: wanted{levelError, "registry.rootcertbundle", "bundle-ca",
			`certificate 2 in it, "CN=Some Public CA", is one of a CA`}},
		{name: "two keys that are being exchanged", make: bundle(func(t *testing.T, p *patient) string {
			return p.read(t, "cert.pem") + selfSigned(t, newEC(elliptic.P256(), false), nil)
		}), want: wanted{levelWarning, "registry.rootcertbundle", "bundle-second",
			`certificate 2 in it, "CN=dockerauth", is a second one, made as dockerauth's is, SHA-256 `}},
		{name: "a bundle that was left behind in an exchange of keys",
			make: bundle(func(t *testing.T,
				_ *patient) string {
				return selfSigned(t, newEC(elliptic.P256(), false), nil)
			}),
			want: wanted{levelError, "registry.rootcertbundle", "bundle-foreign",
				`certificate 1 in it, "CN=dockerauth", is not dockerauth's`}},
		{name: "two keys, of which one is a CA's", make: bundle(func(t *testing.T, p *patient) string {
			return p.read(t, "cert.pem") +
				selfSigned(t, newEC(elliptic.P256(), false), func(c *x509.Certificate) { c.IsCA = true })
		}), want: wanted{levelError, "registry.rootcertbundle", "bundle-ca", "is one of a CA"}},
		{name: "one that has dockerauth's name and that another signed",
			make: bundle(func(t *testing.T, p *patient) string {
				return p.read(t, "cert.pem") +
					certificatePEM(t, newTemplate(nil), newTemplate(nil), newEC(elliptic.P256(), false).Public(),
						newEC(elliptic.P256(), false))
			}),
			want: wanted{levelError, "registry.rootcertbundle", "bundle-foreign",
				"is not dockerauth's: anyone who has its key"}},
		{name: "an older certificate for dockerauth's key", make: bundle(func(t *testing.T, p *patient) string {
			return selfSigned(t, p.key, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
		}), want: wanted{levelError, "registry.rootcertbundle", "bundle-old-certificate",
			"is an older one for dockerauth's key and has expired"}},
		{
			name: "an older certificate beside the one that is in use",
			make: bundle(func(t *testing.T, p *patient) string {
				return p.read(t, "cert.pem") +
					selfSigned(t, p.key, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
			}),
			want: wanted{levelWarning, "registry.rootcertbundle", "bundle-old-certificate",
				"certificate 2 in it"},
		},
		{name: "Ed25519 and 2.8", make: func(t *testing.T, p *patient) {
			p.rekey(t, newEd25519())
			p.run(t, "cp", p.path("cert.pem"), p.path("bundle.pem"))
		}, want: wanted{levelWarning, "registry 2.8", "registry-not-starting", "would not start: it knows RSA"}},
		{name: "a key id that 3.x does not know",
			make: func(t *testing.T, p *patient) { p.edit(t, "config.yml", "certificate: cert.pem\n", "") },
			want: wanted{
				levelWarning,
				"registry 3.1",
				"registry-refusing",
				"would refuse dockerauth's tokens: it knows no key by the id",
			}},
		{name: "the same, to 2.8",
			make: func(t *testing.T, p *patient) { p.edit(t, "config.yml", "certificate: cert.pem\n", "") },
			want: wanted{levelOK, "registry 2.8", "", "would take dockerauth's tokens"}},

		{name: "a JWKS and a certificate in dockerauth's tokens",
			make: func(t *testing.T, p *patient) { jwks(jwksOf(p.key.Public()))(t, p) },
			want: wanted{levelError, "registry 3.1", "registry-refusing",
				"it has no rootcertbundle to hold it against"}},
		{name: "the bundle of a key that is being exchanged", make: rotate("true"),
			want: wanted{levelOK, "registry.rootcertbundle", "", "is for a key of previous_keys"}},
		{name: "the JWKS of a key that is being exchanged",
			make: then(rotate("dockerauth jwks --config config.yml >jwks.json && sed -i /^certificate/d config.yml"),
				func(t *testing.T, p *patient) { jwks(p.read(t, "jwks.json"))(t, p) }),
			want: wanted{levelOK, "registry.jwks", "", "has a key of previous_keys"}},
		{name: "a secret in a JWKS", make: jwks(`{"keys":[{"kty":"oct","kid":"x","k":"eA"}]}`),
			want: wanted{levelError, "registry.jwks", "jwks-private-key", "with its secret part"}},
		{name: "another's key in a JWKS",
			make: jwks(
				`{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"x","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`),
			want: wanted{levelError, "registry.jwks", "jwks-foreign", `the key "x" in it is not dockerauth's`}},
		{
			name: "a JWKS that is none",
			make: jwks("[]"),
			want: wanted{levelError, "registry.jwks", "bundle-unreadable", "it is no JWK set"},
		},
		{name: "a JWKS is not for 2.8", make: jwks(`{"keys":[]}`),
			want: wanted{levelOK, "registry 2.8", "", "is not meant: it does not know jwks"}},

		{name: "algorithms without dockerauth's", make: add("    signingalgorithms: [RS256]\n"),
			want: wanted{levelError, "registry.signingalgorithms", "algorithm-not-allowed",
				"they are RS256, and dockerauth's key signs with ES256"}},
		{name: "an algorithm that is none", make: add("    signingalgorithms: [es256]\n"),
			want: wanted{levelError, "registry.signingalgorithms", "algorithm-not-allowed", "es256"}},
		{name: "autoredirect", make: add("    autoredirect: true\n"),
			want: wanted{
				levelWarning,
				"registry.autoredirect",
				"autoredirect",
				"/auth/token",
			}},
		{name: "autoredirect to where we answer", make: func(t *testing.T, p *patient) {
			add("    autoredirect: true\n")(t, p)
			p.edit(t, "registry.yml", realm, "https://registry.example.com/auth/token")
		}, want: wanted{levelOK, "registry.autoredirect", "", "the realm is not used"}},
		{name: "autoredirect to where we do not", make: add("    autoredirect: true\n    autoredirectpath: /token\n"),
			want: wanted{levelError, "registry.autoredirect", "autoredirect-path", "registry.yml:6: autoredirectpath"}},
	}
	// The remedies that are words: what they say is done by writing what is right.
	inWords := []string{"no YAML", "no auth.token", "two ways to authenticate", "no realm", "no service", "no bundle",
		"a bundle that is a folder", "dockerauth's private key", "two keys that are being exchanged",
		"a JWKS and a certificate in dockerauth's tokens", "a secret in a JWKS", "another's key in a JWKS",
		"a JWKS that is none"}
	// 3.x is told that it is 3.x.
	isNewer := func(t *testing.T, p *patient) { add("    signingalgorithms: [EdDSA]\n")(t, p) }
	// A CA in the bundle and one behind the certificate are two faults.
	alsoFound := map[string][]string{
		"an empty bundle":                          {"registry-not-starting"}, // each version says it in its words
		"a public CA's chain, as in the old guide": {"signed-by-ca"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := registered(t)
			if slices.Contains(inWords, tt.name) {
				right := p.read(t, "registry.yml")
				tt.apply = func(t *testing.T, p *patient) {
					p.write(t, "registry.yml", right)
					shell("rm -rf bundle.pem && cp cert.pem bundle.pem")(t, p)
				}
			}
			tt.also = alsoFound[tt.name]
			if tt.name == "Ed25519 and 2.8" {
				tt.apply = isNewer
			}
			if tt.name == "not there" {
				tt.apply = func(t *testing.T, p *patient) {
					t.Skip("there is no other")
				}
			}
			if slices.Contains(tt.also, "signed-by-ca") {
				tt.apply = shell("dockerauth init --dir . --renew-certificate && cp cert.pem bundle.pem")
			}
			if len(tt.args) == 0 {
				tt.args = []string{"--registry-config", p.path("registry.yml")}
			}
			tt.try(t, p)
			findings, _ := p.check(t, tt.args...)
			if strings.Contains(listed(findings), "geheim") {
				t.Errorf("a password is in:\n%s", listed(findings))
			}
		})
	}
}

// jwksOf lists a P-256 key.
func jwksOf(public crypto.PublicKey) string {
	point, err := public.(*ecdsa.PublicKey).Bytes() // 4, X, Y
	if err != nil {
		panic(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	return fmt.Sprintf(`{"keys":[{"kty":"EC","crv":"P-256","kid":"x","x":%q,"y":%q}]}`, encode(point[1:33]),
		encode(point[33:]))
}

func TestCheckFindsNothingWrongWithARegistryThatIsRight(t *testing.T) {
	tests := []struct {
		name string
		make func(t *testing.T, p *patient)
	}{
		{"as in the README", nil},
		{"a key id, and nothing else than 3.x", func(t *testing.T, p *patient) {
			p.rekey(t, newRSA(2048))
			p.edit(t, "config.yml", "certificate: cert.pem", "key_id: thumbprint")
			p.run(t, "cp", p.path("cert.pem"), p.path("bundle.pem"))
			p.edit(t, "registry.yml", "    service:", "    signingalgorithms: [RS256]\n    service:")
		}},
		{"Ed25519, and nothing else than 3.x", func(t *testing.T, p *patient) {
			p.rekey(t, newEd25519())
			p.run(t, "cp", p.path("cert.pem"), p.path("bundle.pem"))
			p.edit(t, "registry.yml", "    service:", "    signingalgorithms: [EdDSA]\n    service:")
		}},
		{"two certificates for dockerauth's key", func(t *testing.T, p *patient) {
			p.write(t, "bundle.pem", p.read(t, "cert.pem")+selfSigned(t, p.key, nil))
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := registered(t)
			if tt.make != nil {
				tt.make(t, p)
			}
			findings, status := p.check(t, "--registry-config", p.path("registry.yml"))
			if status != cli.ExitDone {
				t.Errorf("status %d:\n%s", status, listed(findings))
			}
			wanted{levelOK, "registry 3.1", "", "would take dockerauth's tokens"}.in(t, findings)
		})
	}
}

func TestTheRealmIsHeldAgainstTheURL(t *testing.T) {
	for url, want := range map[string]level{
		"https://auth.example.com/docker/v2/token":  levelOK,
		"https://auth.example.com/docker/v2/token/": levelOK,
		"https://Auth.example.com/docker/v2/token":  levelWarning,
	} {
		p := registered(t)
		c := checkup{root: t.TempDir(), registryConfig: p.path("registry.yml"), url: url, now: time.Now}
		c.examineRegistry()
		if got := c.status(); (got == cli.ExitDone) != (want == levelOK) {
			t.Errorf("%s:\n%s", url, listed(c.list))
		}
	}
}

// A realm that clients can use is not replaced by a URL that is good on this machine only.
func TestARealmIsReplacedByNothingWeaker(t *testing.T) {
	const realm = "https://auth.example.com/docker/v2/token"
	for _, tt := range []struct{ name, realm, url, found, fix string }{
		{"found on this machine", realm, "http://localhost/docker/v2/token", "x", ""},
		{"given, without TLS", realm, "http://auth.example.com/docker/v2/token", "",
			"dockerauth check --url " + realm},
		{"given, of this machine", "http://auth.example.com/docker/v2/token", "http://localhost/docker/v2/token", "",
			"sed -i '4s|realm:.*|realm: https://auth.example.com/docker/v2/token|'"},
		{"a wrong path", "https://auth.example.com/token", "http://localhost/docker/v2/token", "x",
			"sed -i '4s|realm:.*|realm: https://auth.example.com/docker/v2/token|'"},
		{"no URL", "x", "http://localhost/docker/v2/token", "x", realm},
		{"without TLS", "http://auth.example.com:80/docker/v2/token", "http://localhost/docker/v2/token", "x",
			"realm: https://auth.example.com/docker/v2/token|"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := registered(t)
			p.edit(t, "registry.yml", realm, tt.realm)
			c := checkup{registryConfig: p.path("registry.yml"), url: tt.url, found: tt.found, now: time.Now,
				settings: &config.Config{Issuer: "auth.example.com", Audience: []string{"registry.example.com"}}}
			c.examineRegistry()
			if text := listed(c.list); strings.Contains(text, "realm: http:") || !strings.Contains(text, tt.fix) ||
				tt.fix == "" && c.status() != cli.ExitDone || strings.Contains(text, "|'"+p.path("registry.yml")+", ") {
				t.Error(text)
			}
		})
	}
}

func TestDifferencesAreShownToThoseWhoSeeNone(t *testing.T) {
	for _, tt := range [][3]string{
		{"a", "a", ""}, {"abc", "xyz", ""}, {"abc", "abcd", ""}, {"Ü", "ü", "case"}, {"a ", "a", "blanks"},
		{"a/", "a", "slash"}, {"http://a", "a", "http://"}, {"äbc", "äbd", "letter 3"},
	} {
		if got := difference(tt[0], tt[1]); (got == "") != (tt[2] == "") || !strings.Contains(got, tt[2]) {
			t.Errorf("%q and %q: %q", tt[0], tt[1], got)
		}
	}
}
