package doctor

import (
	"crypto"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"dockerauth/jwtsign"
)

// The table of what registries take, for the versions that cannot be started in tests too: e2e
// runs against 2.8 and 3.1.
func TestWhichRegistryTakesWhichKeyByWhichName(t *testing.T) {
	keys := map[string]crypto.Signer{"RSA": newRSA(2048), "EC": newEC(elliptic.P256(), false),
		"EC with a leading zero": newEC(elliptic.P256(), true), "Ed25519": newEd25519()}
	type row struct {
		key, named string
		jwks       bool
		takes      map[registryVersion]bool
	}
	yes := func(versions ...registryVersion) map[registryVersion]bool {
		takes := map[registryVersion]bool{}
		for _, v := range versions {
			takes[v] = true
		}
		return takes
	}
	all, new3 := yes(registry28, registry30, registry31), yes(registry30, registry31)
	rows := []row{
		{"RSA", "x5c", false, all}, {"EC", "x5c", false, all}, {"EC with a leading zero", "x5c", false, all},
		{"Ed25519", "x5c", false, new3},
		{"RSA", "libtrust", false, yes(registry28)}, {"EC", "libtrust", false, yes(registry28)},
		{"EC with a leading zero", "libtrust", false, yes(registry28)}, {"Ed25519", "libtrust", false, yes()},
		{"RSA", "thumbprint", false, new3}, {"EC", "thumbprint", false, yes(registry31)},
		{"Ed25519", "thumbprint", false, yes(registry31)},
		{"RSA", "x5c", true, yes()}, {"EC", "x5c", true, yes()}, {"Ed25519", "x5c", true, yes()},
		{"RSA", "libtrust", true, new3}, {"EC with a leading zero", "libtrust", true, new3},
		{"Ed25519", "thumbprint", true, new3},
	}
	for _, row := range rows {
		t.Run(fmt.Sprintf("%s by %s, JWKS %t", row.key, row.named, row.jwks), func(t *testing.T) {
			private := keys[row.key]
			cert := certify(t, private)
			key := loadKey(t, private, pemOf(cert), jwtsign.KeyIDUnset)
			if row.named != "x5c" {
				key = loadKey(t, private, "", jwtsign.KeyID(row.named))
			}
			trust := registryTrust{Bundle: []*x509.Certificate{cert}}
			if row.jwks {
				trust = registryTrust{JWKS: []jwk{{KeyID: "another", Public: newEd25519().Public()},
					{KeyID: key.KeyID(), Public: key.Public()}}}
			}
			token := accessToken(t, key, "i", "s")
			for _, v := range []registryVersion{registry28, registry30, registry31} {
				err := trust.starts(v)
				if err == nil {
					err = trust.accept(v, "i", "s", token, noon)
				}
				if (err == nil) != row.takes[v] {
					t.Errorf("registry %s: %v", v, err)
				}
			}
		})
	}
	// which loadKey refuses, for this reason
	t.Run("a thumbprint by RFC 7638 of a coordinate that begins with zero", func(t *testing.T) {
		private := keys["EC with a leading zero"]
		cert := certify(t, private)
		id := must(jwtsign.Thumbprint(private.Public()))
		token := forge(private, `{"typ":"JWT","alg":"ES256","kid":"`+id+`"}`,
			claimsOf(accessToken(t, loadKey(t, private, "", jwtsign.KeyIDLibtrust), "i", "s")))
		says(t, registryTrust{Bundle: []*x509.Certificate{cert}}.accept(registry31, "i", "s", token, noon),
			"no key by the id")
	})
}

func TestWhatARegistryLooksAtBesidesTheKey(t *testing.T) {
	private := newEC(elliptic.P256(), false)
	cert, other := certify(t, private), certify(t, newEC(elliptic.P256(), false))
	key := loadKey(t, private, pemOf(cert), jwtsign.KeyIDUnset)
	good := accessToken(t, key, "i", "s")
	ours := registryTrust{Bundle: []*x509.Certificate{cert}}
	header := `{"typ":"JWT","alg":"ES256","kid":"` + must(jwtsign.LibtrustID(private.Public())) + `"}`
	minute := func(n int) time.Time { return noon.Add(time.Duration(n) * time.Minute) }
	tests := []struct {
		name    string
		trust   registryTrust
		version registryVersion
		token   string
		issuer  string
		service string
		now     time.Time
		says    string // "" = taken
	}{
		{"all as it should be", ours, registry28, good, "i", "s", noon, ""},
		{"a minute too late is within the leeway", ours, registry31, good, "i", "s", minute(2), ""},
		{"later is not", ours, registry31, good, "i", "s", minute(3), "has expired"},
		{"a clock that is behind", ours, registry28, good, "i", "s", minute(-3), "from the future"},
		{"another issuer", ours, registry28, good, "I", "s", noon, `from issuer "i", it wants "I"`},
		{"another service", ours, registry31, good, "i", "S", noon, `for service ["s"], it is "S"`},
		{"another's bundle", registryTrust{Bundle: []*x509.Certificate{other}}, registry31, good, "i", "s", noon,
			"does not vouch"},
		{"a certificate that has expired since", ours, registry31, good, "i", "s", noon.Add(24 * time.Hour),
			"does not vouch"},
		{"signed by another", ours, registry31, good[:strings.LastIndexByte(good, '.')] +
			forge(newEC(elliptic.P256(), false), headerOf(good), claimsOf(good))[strings.LastIndexByte(good, '.'):],
			"i", "s", noon, "not by the key"},
		{"algorithms without dockerauth's", registryTrust{Bundle: ours.Bundle, Algorithms: []string{"RS256"}},
			registry31, good, "i", "s", noon, "lack ES256"},
		{"which 2.8 does not know", registryTrust{Bundle: ours.Bundle, Algorithms: []string{"RS256"}}, registry28, good,
			"i", "s", noon, ""},
		{"a list of audiences, to 2.8", ours, registry28,
			forge(private, header, strings.Replace(claimsOf(good), `"s"`, `["s"]`, 1)), "i", "s", noon,
			"cannot read aud"},
		{"a list of audiences, to 3.x",
			registryTrust{JWKS: []jwk{{KeyID: must(jwtsign.LibtrustID(private.Public())), Public: private.Public()}}},
			registry31, forge(private, header, strings.Replace(claimsOf(good), `"s"`, `["s"]`, 1)), "i", "s", noon, ""},
		{"no token", ours, registry31, "x.y", "i", "s", noon, "no token"},
		{"none", ours, registry31, encode([]byte(`{"alg":"none","kid":"x"}`)) + "." +
			good[strings.IndexByte(good, '.')+1:], "i", "s", noon, "no key by the id x"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			says(t, tt.trust.accept(tt.version, tt.issuer, tt.service, tt.token, tt.now), tt.says)
		})
	}
}

func TestARegistryThatWouldNotStart(t *testing.T) {
	ed := certify(t, newEd25519())
	says(t, registryTrust{}.starts(registry28), "needs a rootcertbundle")
	says(t, registryTrust{}.starts(registry31), "needs a rootcertbundle or a jwks")
	says(t, registryTrust{JWKS: []jwk{{KeyID: "x"}}}.starts(registry28), "needs a rootcertbundle")
	says(t, registryTrust{JWKS: []jwk{{KeyID: "x"}}}.starts(registry30), "")
	says(t, registryTrust{Bundle: []*x509.Certificate{ed}}.starts(registry28), "knows RSA, P-256")
	says(t, registryTrust{Bundle: []*x509.Certificate{ed}, Algorithms: []string{"EDDSA"}}.starts(registry31),
		`no signing algorithm "EDDSA"`)
}

func TestJWKSetsAreReadAsRegistriesReadThem(t *testing.T) {
	key := newEC(elliptic.P256(), true)
	point := must(key.PublicKey.Bytes()) // 4, X, Y
	x, y := point[1:33], point[33:]
	ec := fmt.Sprintf(`{"kty":"EC","crv":"P-256","kid":"ec","x":%q,"y":%q}`, encode(x), encode(y))
	r := newRSA(2048)
	rs := fmt.Sprintf(`{"kty":"RSA","kid":"rsa","n":%q,"e":"AQAB"}`, encode(r.N.Bytes()))
	ed := newEd25519()
	okp := fmt.Sprintf(`{"kty":"OKP","crv":"Ed25519","kid":"ed","x":%q}`, encode(ed.Public().(ed25519.PublicKey)))
	keys,
		err := parseJWKS([]byte(`{"keys":[` + ec + "," + rs + "," + okp +
		`,{"kty":"oct","kid":"secret","k":"eA"},{"kty":"new"}]}`))
	if err != nil || len(keys) != 5 {
		t.Fatalf("%d keys, %v", len(keys), err)
	}
	if !key.PublicKey.Equal(keys[0].Public) || !r.PublicKey.Equal(keys[1].Public) || keys[0].KeyID != "ec" ||
		keys[0].Secret || !ed.Public().(ed25519.PublicKey).Equal(keys[2].Public) || !keys[3].Secret ||
		keys[4].Public != nil {
		t.Errorf("got %+v", keys)
	}
	for _, bad := range []string{"", "[]", `{"keys":{}}`, `{"keys":[{"kid":"x"}]}`,
		`{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}`, `{"keys":[{"kty":"EC","crv":"P-224"}]}`,
		`{"keys":[{"kty":"RSA","n":"%"}]}`} {
		if _, err := parseJWKS([]byte(bad)); err == nil {
			t.Errorf("read %s", bad)
		}
	}
}

// noon is the present of these tests.
var noon = time.Now().Truncate(time.Second)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// certify makes a certificate for a key that ends an hour after noon.
func certify(t *testing.T, key crypto.Signer) *x509.Certificate {
	t.Helper()
	text := selfSigned(t, key, func(c *x509.Certificate) { c.NotAfter = noon.Add(time.Hour) })
	return must(parseBundle([]byte(text)))[0]
}

func pemOf(cert *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}))
}

// loadKey puts a key and its certificate, "" for none, into files.
func loadKey(t *testing.T, key crypto.Signer, certificate string, id jwtsign.KeyID) *jwtsign.Key {
	t.Helper()
	private := filepath.Join(t.TempDir(), "privkey.pem")
	writeTestFile(t, private,
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(key))})))
	chain := ""
	if certificate != "" {
		chain = filepath.Join(filepath.Dir(private), "cert.pem")
		writeTestFile(t, chain, certificate)
	}
	return must(jwtsign.LoadKey(private, chain, id))
}

// accessToken is from noon, for a minute.
func accessToken(t *testing.T, key *jwtsign.Key, issuer, service string) string {
	t.Helper()
	s := jwtsign.Signer{Key: key, Issuer: issuer, Now: func() time.Time { return noon }}
	token, _, err := s.AccessToken("alice", service, time.Minute, nil)
	return must(token, err)
}

// forge signs a header and claims with ES256, as anyone who has a key can.
func forge(key crypto.Signer, header, claims string) string {
	signed := encode([]byte(header)) + "." + encode([]byte(claims))
	return signed + "." + encode(must(jwt.SigningMethodES256.Sign(signed, key)))
}

func headerOf(token string) string { return part(token, 0) }

func claimsOf(token string) string { return part(token, 1) }

func part(token string, n int) string {
	return string(must(base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[n])))
}

func says(t *testing.T, err error, want string) {
	t.Helper()
	if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
		t.Errorf("got %v, want %q", err, want)
	}
}
