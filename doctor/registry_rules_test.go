package jwtsign

import (
	"crypto"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/x509"
	"fmt"
	"strings"
	"testing"
	"time"
)

// The table of what registries take, for the versions that cannot be started in tests too: e2e plays 2.8 and 3.1.
func TestWhichRegistryTakesWhichKeyByWhichName(t *testing.T) {
	keys := map[string]crypto.Signer{"RSA": rsa2048(), "EC": newEC(elliptic.P256(), false), "EC with a leading zero": newEC(elliptic.P256(), true), "Ed25519": newEd25519()}
	type row struct {
		key, named string
		jwks       bool
		takes      map[Registry]bool
	}
	yes := func(versions ...Registry) map[Registry]bool {
		takes := map[Registry]bool{}
		for _, v := range versions {
			takes[v] = true
		}
		return takes
	}
	all, new3 := yes(Registry28, Registry30, Registry31), yes(Registry30, Registry31)
	rows := []row{
		{"RSA", "x5c", false, all}, {"EC", "x5c", false, all}, {"EC with a leading zero", "x5c", false, all}, {"Ed25519", "x5c", false, new3},
		{"RSA", "libtrust", false, yes(Registry28)}, {"EC", "libtrust", false, yes(Registry28)}, {"EC with a leading zero", "libtrust", false, yes(Registry28)}, {"Ed25519", "libtrust", false, yes()},
		{"RSA", "thumbprint", false, new3}, {"EC", "thumbprint", false, yes(Registry31)}, {"Ed25519", "thumbprint", false, yes(Registry31)},
		{"RSA", "x5c", true, yes()}, {"EC", "x5c", true, yes()}, {"Ed25519", "x5c", true, yes()},
		{"RSA", "libtrust", true, new3}, {"EC with a leading zero", "libtrust", true, new3}, {"Ed25519", "thumbprint", true, new3},
	}
	for _, row := range rows {
		t.Run(fmt.Sprintf("%s by %s, JWKS %t", row.key, row.named, row.jwks), func(t *testing.T) {
			private := keys[row.key]
			cert := certify("dockerauth", private, nil, nil)
			key := loadWith(t, private, cert.pem)
			if row.named != "x5c" {
				key = load(t, private, KeyID(row.named))
			}
			trust := Trust{Bundle: []*x509.Certificate{cert.cert}}
			if row.jwks {
				trust = Trust{JWKS: []JWK{{KeyID: "another", Public: newEd25519().Public()}, {KeyID: key.KeyID(), Public: key.Public()}}}
			}
			token := accessToken(t, key, "i", "s")
			for _, v := range []Registry{Registry28, Registry30, Registry31} {
				err := trust.Starts(v)
				if err == nil {
					err = trust.Accept(v, "i", "s", token, noon)
				}
				if (err == nil) != row.takes[v] {
					t.Errorf("registry %s: %v", v, err)
				}
			}
		})
	}
	t.Run("a thumbprint by RFC 7638 of a coordinate that begins with zero", func(t *testing.T) { // which loadKey refuses, for this reason
		private := keys["EC with a leading zero"]
		cert := certify("dockerauth", private, nil, nil)
		id := must(Thumbprint(private.Public()))
		token := forge(private, `{"typ":"JWT","alg":"ES256","kid":"`+id+`"}`, claimsOf(accessToken(t, load(t, private, KeyIDLibtrust), "i", "s")))
		says(t, Trust{Bundle: []*x509.Certificate{cert.cert}}.Accept(Registry31, "i", "s", token, noon), "no key by the id")
	})
}

func TestWhatARegistryLooksAtBesidesTheKey(t *testing.T) {
	private := newEC(elliptic.P256(), false)
	cert, other := certify("dockerauth", private, nil, nil), certify("other", newEC(elliptic.P256(), false), nil, nil)
	key := loadWith(t, private, cert.pem)
	good := accessToken(t, key, "i", "s")
	ours := Trust{Bundle: []*x509.Certificate{cert.cert}}
	header := `{"typ":"JWT","alg":"ES256","kid":"` + must(LibtrustID(private.Public())) + `"}`
	minute := func(n int) time.Time { return noon.Add(time.Duration(n) * time.Minute) }
	tests := []struct {
		name    string
		trust   Trust
		version Registry
		token   string
		issuer  string
		service string
		now     time.Time
		says    string // "" = taken
	}{
		{"all as it should be", ours, Registry28, good, "i", "s", noon, ""},
		{"a minute too late is within the leeway", ours, Registry31, good, "i", "s", minute(2), ""},
		{"later is not", ours, Registry31, good, "i", "s", minute(3), "has expired"},
		{"a clock that is behind", ours, Registry28, good, "i", "s", minute(-3), "from the future"},
		{"another issuer", ours, Registry28, good, "I", "s", noon, `from issuer "i", it wants "I"`},
		{"another service", ours, Registry31, good, "i", "S", noon, `for service ["s"], it is "S"`},
		{"a stranger's bundle", Trust{Bundle: []*x509.Certificate{other.cert}}, Registry31, good, "i", "s", noon, "does not vouch"},
		{"a certificate that has expired since", ours, Registry31, good, "i", "s", noon.Add(24 * time.Hour), "does not vouch"},
		{"signed by another", ours, Registry31, good[:strings.LastIndexByte(good, '.')] + forge(other.key, headerOf(good), claimsOf(good))[strings.LastIndexByte(good, '.'):], "i", "s", noon, "not by the key"},
		{"algorithms without ours", Trust{Bundle: ours.Bundle, Algorithms: []string{"RS256"}}, Registry31, good, "i", "s", noon, "lack ES256"},
		{"which 2.8 does not know", Trust{Bundle: ours.Bundle, Algorithms: []string{"RS256"}}, Registry28, good, "i", "s", noon, ""},
		{"a list of audiences, to 2.8", ours, Registry28, forge(private, header, strings.Replace(claimsOf(good), `"s"`, `["s"]`, 1)), "i", "s", noon, "cannot read aud"},
		{"a list of audiences, to 3.x", Trust{JWKS: []JWK{{KeyID: must(LibtrustID(private.Public())), Public: private.Public()}}}, Registry31, forge(private, header, strings.Replace(claimsOf(good), `"s"`, `["s"]`, 1)), "i", "s", noon, ""},
		{"no token", ours, Registry31, "x.y", "i", "s", noon, "no token"},
		{"none", ours, Registry31, encodeSegment([]byte(`{"alg":"none","kid":"x"}`)) + "." + good[strings.IndexByte(good, '.')+1:], "i", "s", noon, "no key by the id x"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			says(t, tt.trust.Accept(tt.version, tt.issuer, tt.service, tt.token, tt.now), tt.says)
		})
	}
}

func TestARegistryThatWouldNotStart(t *testing.T) {
	ed := certify("ed", newEd25519(), nil, nil)
	says(t, Trust{}.Starts(Registry28), "needs a rootcertbundle")
	says(t, Trust{}.Starts(Registry31), "needs a rootcertbundle or a jwks")
	says(t, Trust{JWKS: []JWK{{KeyID: "x"}}}.Starts(Registry28), "needs a rootcertbundle")
	says(t, Trust{JWKS: []JWK{{KeyID: "x"}}}.Starts(Registry30), "")
	says(t, Trust{Bundle: []*x509.Certificate{ed.cert}}.Starts(Registry28), "knows RSA, P-256")
	says(t, Trust{Bundle: []*x509.Certificate{ed.cert}, Algorithms: []string{"EDDSA"}}.Starts(Registry31), `no signing algorithm "EDDSA"`)
}

func TestJWKSetsAreReadAsRegistriesReadThem(t *testing.T) {
	key := newEC(elliptic.P256(), true)
	x, y, _ := coordinates(&key.PublicKey)
	ec := fmt.Sprintf(`{"kty":"EC","crv":"P-256","kid":"ec","x":%q,"y":%q}`, encode(x), encode(y))
	r := rsa2048()
	rs := fmt.Sprintf(`{"kty":"RSA","kid":"rsa","n":%q,"e":"AQAB"}`, encode(r.N.Bytes()))
	ed := newEd25519()
	okp := fmt.Sprintf(`{"kty":"OKP","crv":"Ed25519","kid":"ed","x":%q}`, encode(ed.Public().(ed25519.PublicKey)))
	keys, err := ParseJWKS([]byte(`{"keys":[` + ec + "," + rs + "," + okp + `,{"kty":"oct","kid":"secret","k":"eA"},{"kty":"new"}]}`))
	if err != nil || len(keys) != 5 {
		t.Fatalf("%d keys, %v", len(keys), err)
	}
	if !key.PublicKey.Equal(keys[0].Public) || !r.PublicKey.Equal(keys[1].Public) || keys[0].KeyID != "ec" || keys[0].Secret || !ed.Public().(ed25519.PublicKey).Equal(keys[2].Public) || !keys[3].Secret || keys[4].Public != nil {
		t.Errorf("got %+v", keys)
	}
	for _, bad := range []string{"", "[]", `{"keys":{}}`, `{"keys":[{"kid":"x"}]}`, `{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}`, `{"keys":[{"kty":"EC","crv":"P-224"}]}`, `{"keys":[{"kty":"RSA","n":"%"}]}`} {
		if _, err := ParseJWKS([]byte(bad)); err == nil {
			t.Errorf("read %s", bad)
		}
	}
}

// accessToken is from noon, for a minute.
func accessToken(t *testing.T, key *Key, issuer, service string) string {
	t.Helper()
	s := Signer{Key: key, Issuer: issuer, Now: func() time.Time { return noon }}
	token, _, err := s.AccessToken("alice", service, time.Minute, nil)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func headerOf(token string) string {
	h, _, _, err := split(token)
	return string(must(h, err))
}

func claimsOf(token string) string {
	_, c, _, err := split(token)
	return string(must(c, err))
}

func says(t *testing.T, err error, want string) {
	t.Helper()
	if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
		t.Errorf("got %v, want %q", err, want)
	}
}
