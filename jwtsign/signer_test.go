package jwtsign

import (
	"crypto"
	"crypto/elliptic"
	"crypto/x509"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	issuer  = "myAuthService.com"
	service = "myDockerRegistry.com"
)

// grant is an access entry of a registry (distribution registry/auth/token/token.go,
// ResourceActions).
type grant struct {
	Type    string   `json:"type"`
	Name    string   `json:"name"`
	Actions []string `json:"actions"`
}

func fixed(k *Key) *Signer {
	return &Signer{Key: k, Issuer: issuer, Now: func() time.Time { return noon }, NewID: func() string { return "id1" }}
}

// alice are the claims of refresh tokens in tests.
var alice = RefreshClaims{Subject: "alice", UID: 1000, Shadow: "digest", Store: "store1"}

// claimed is alice with what fixed adds.
func claimed(ttl time.Duration) RefreshClaims {
	c := alice
	c.ID, c.Issued, c.Expires = "id1", time.Unix(noon.Unix(), 0), time.Unix(noon.Unix(), 0).Add(ttl)
	return c
}

type namedKey struct {
	name string
	key  crypto.Signer
	alg  string
}

func everyKey() []namedKey {
	return []namedKey{
		{"RSA", rsa2048(), "RS256"},
		{"P-256", newEC(elliptic.P256(), false), "ES256"},
		{"P-256 with a leading zero", newEC(elliptic.P256(), true), "ES256"},
		{"P-384", newEC(elliptic.P384(), false), "ES384"},
		{"P-521", newEC(elliptic.P521(), false), "ES512"},
		{"Ed25519", newEd25519(), "EdDSA"},
	}
}

func TestAccessTokenByteForByte(t *testing.T) {
	access := []grant{{"repository", "a/b", []string{"pull", "push"}}}
	wantClaims := fmt.Sprintf(
		`{"iss":"myAuthService.com","sub":"alice","aud":"myDockerRegistry.com",`+
			`"exp":%d,"nbf":%d,"iat":%[2]d,"jti":"id1",`+
			`"access":[{"type":"repository","name":"a/b","actions":["pull","push"]}]}`, noon.Unix()+900, noon.Unix()-30)
	for _, c := range everyKey() {
		t.Run(c.name, func(t *testing.T) {
			k := load(t, c.key, "")
			token, id, err := fixed(k).AccessToken("alice", service, 15*time.Minute, access)
			if err != nil || id != "id1" {
				t.Fatalf("id %q, %v", id, err)
			}
			header, claims, _, err := split(token)
			if err != nil {
				t.Fatal(err)
			}
			if want := fmt.Sprintf(`{"alg":"%s","kid":"%s","typ":"JWT"}`, c.alg, k.KeyID()); string(header) != want {
				t.Errorf("header\n got %s\nwant %s", header, want)
			}
			if string(claims) != wantClaims {
				t.Errorf("claims\n got %s\nwant %s", claims, wantClaims)
			}
			r := registry{issuer: issuer, service: service, now: noon,
				byKID: map[string]crypto.PublicKey{k.KeyID(): c.key.Public()}}
			if err := r.accept(token); err != nil {
				t.Errorf("a registry says %v", err)
			}
		})
	}
}

func TestAccessTokenCarriesItsCertificate(t *testing.T) {
	for _, c := range everyKey() {
		t.Run(c.name, func(t *testing.T) {
			self := certify("self", c.key, nil, nil)
			root := certify("root", newEC(elliptic.P256(), false), nil, isCA)
			middle := certify("middle", newEC(elliptic.P256(), false), root, isCA)
			leaf := certify("leaf", c.key, middle, nil)
			for _, set := range []struct {
				name   string
				chain  [][]byte
				bundle *authority
				length int
			}{
				{"self-signed, no CA", [][]byte{self.pem}, self, 1},
				{"a chain, of which the registry has the root", [][]byte{leaf.pem, middle.pem, root.pem}, root, 2},
				{"a leaf, of which the registry has the issuer", [][]byte{leaf.pem}, middle, 1},
			} {
				k := loadWith(t, c.key, set.chain...)
				token, _, err := fixed(k).AccessToken("alice", service, time.Minute, nil)
				if err != nil {
					t.Fatal(err)
				}
				header, _, _, err := split(token)
				if err != nil || strings.Contains(string(header), "kid") || strings.Count(string(header), "MII")+
					strings.Count(string(header), "MIH") < set.length {
					t.Errorf("%s: header %s, %v", set.name, header, err)
				}
				roots := x509.NewCertPool()
				roots.AddCert(set.bundle.cert)
				if err := (registry{issuer: issuer, service: service, now: noon,
					roots: roots}).accept(token); err != nil {
					t.Errorf("%s: a registry says %v", set.name, err)
				}
			}
		})
	}
}

func TestAccessIsNeverNull(t *testing.T) {
	s := fixed(load(t, newEC(elliptic.P256(), false), ""))
	var none []grant
	for name, access := range map[string]any{"nil": nil, "a nil list": none, "an empty list": []grant{}} {
		token, _, err := s.AccessToken("alice", service, time.Minute, access)
		if err != nil {
			t.Fatal(err)
		}
		_, claims, _, _ := split(token)
		if !strings.HasSuffix(string(claims), `"access":[]}`) {
			t.Errorf("%s: claims %s", name, claims)
		}
	}
}

// The header of a refresh token names no key for a registry, and its audience is no registry.
func TestRefreshTokenByteForByte(t *testing.T) {
	for _, c := range everyKey() {
		t.Run(c.name, func(t *testing.T) {
			k := load(t, c.key, "")
			s := fixed(k)
			want := claimed(90 * 24 * time.Hour)
			token, signed, err := s.RefreshToken(alice, 90*24*time.Hour)
			if err != nil || signed != want {
				t.Fatalf("got %+v, %v, want %+v", signed, err, want)
			}
			header, claims, sig, err := split(token)
			if err != nil {
				t.Fatal(err)
			}
			if want := fmt.Sprintf(`{"alg":"%s","typ":"refresh+jwt"}`, c.alg); string(header) != want {
				t.Errorf("header\n got %s\nwant %s", header, want)
			}
			text := fmt.Sprintf(
				`{"iss":"myAuthService.com","sub":"alice","aud":"dockerauth:refresh","exp":%d,"iat":%d,"jti":"id1",`+
					`"uid":1000,"shadow":"digest","store":"store1"}`, noon.Unix()+90*86400, noon.Unix())
			if string(claims) != text {
				t.Errorf("claims\n got %s\nwant %s", claims, text)
			}
			if !verifySignature(c.key.Public(), c.alg, token[:strings.LastIndexByte(token, '.')], sig) {
				t.Error("signature")
			}
			if got, by, err := s.VerifyRefresh(token); got != want || by != k || err != nil {
				t.Errorf("verified as %+v, %v", got, err)
			}
			r := registry{issuer: issuer, service: service, now: noon,
				byKID: map[string]crypto.PublicKey{k.KeyID(): c.key.Public()}}
			if r.accept(token) == nil {
				t.Error("a registry took it")
			}
		})
	}
}

// An account without uid, an empty password state and no store are values of their own.
func TestRefreshClaimsSurvive(t *testing.T) {
	s := fixed(load(t, newEd25519(), ""))
	for _, c := range []struct {
		claims RefreshClaims
		text   string
	}{
		{RefreshClaims{Subject: "alice", UID: -1, Shadow: "none"}, `"uid":-1,"shadow":"none"}`},
		{RefreshClaims{Subject: "alice"}, `"uid":0,"shadow":""}`},
		{RefreshClaims{Subject: "alice", UID: math.MaxUint32, Shadow: `"<é`, Store: "s"},
			`"uid":4294967295,"shadow":"\"\u003cé","store":"s"}`},
	} {
		token, signed, err := s.RefreshToken(c.claims, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if _, claims, _, _ := split(token); !strings.HasSuffix(string(claims), c.text) {
			t.Errorf("claims %s, want … %s", claims, c.text)
		}
		if got, _, err := s.VerifyRefresh(token); got != signed || err != nil {
			t.Errorf("verified as %+v, %v, want %+v", got, err, signed)
		}
		signed.ID, signed.Issued, signed.Expires = "", time.Time{}, time.Time{}
		if signed != c.claims {
			t.Errorf("signed as %+v, want %+v", signed, c.claims)
		}
	}
}

// Refresh tokens do not contain the certificate: with x5c a registry could verify them.
func TestRefreshTokenCarriesNoCertificate(t *testing.T) {
	key := newEC(elliptic.P256(), false)
	s := fixed(loadWith(t, key, certify("self", key, nil, nil).pem))
	token, _, err := s.RefreshToken(alice, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if header, _, _, _ := split(token); string(header) != `{"alg":"ES256","typ":"refresh+jwt"}` {
		t.Errorf("header %s", header)
	}
}

func TestSignerRefuses(t *testing.T) {
	k := load(t, newEC(elliptic.P256(), false), "")
	access := func(s *Signer, subject, audience string, ttl time.Duration, list any) error {
		_, _, err := s.AccessToken(subject, audience, ttl, list)
		return err
	}
	refresh := func(s *Signer, subject string, ttl time.Duration) error {
		_, _, err := s.RefreshToken(RefreshClaims{Subject: subject, Shadow: "none"}, ttl)
		return err
	}
	s, anonymous := fixed(k), fixed(k)
	odd := func(c RefreshClaims) error {
		_, _, err := s.RefreshToken(c, time.Hour)
		return err
	}
	anonymous.Issuer = ""
	for _, c := range []struct {
		name string
		err  error
		want string
	}{
		{"no audience", access(s, "alice", "", time.Minute, nil), "sign access token: no audience"},
		{"the audience of refresh tokens", access(s, "alice", RefreshAudience, time.Minute, nil),
			`audience "dockerauth:refresh" is reserved for refresh tokens`},
		{"no issuer", access(anonymous, "alice", service, time.Minute, nil), "sign access token: no issuer"},
		{"no issuer to refresh at", refresh(anonymous, "alice", time.Minute), "sign refresh token: no issuer"},
		{"a refresh token without a subject", refresh(s, "", time.Minute), "sign refresh token: no subject"},
		{"a subject that JSON cannot hold", access(s, "al\xffice", service, time.Minute, nil),
			`"al\xffice" is not UTF-8`},
		{"a password state that JSON cannot hold", odd(RefreshClaims{Subject: "alice", Shadow: "\xff"}),
			`"\xff" is not UTF-8`},
		{"a store that JSON cannot hold", odd(RefreshClaims{Subject: "alice", Store: "\xff"}),
			`"\xff" is not UTF-8`},
		{"no lifetime", access(s, "alice", service, 0, nil), "lifetime 0s is under a second"},
		{"a lifetime in the past", refresh(s, "alice", -time.Hour), "lifetime -1h0m0s is under a second"},
		{"access that JSON cannot hold", access(s, "alice", service, time.Minute, math.NaN()),
			"sign access token: encode access: "},
		{"a refresh token that VerifyRefresh would not read",
			refresh(s, strings.Repeat("x", maxRefreshToken), time.Hour), "the most is 4096"},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.want) {
			t.Errorf("%s: got %v, want … %s …", c.name, c.err, c.want)
		}
	}
	if err := access(s, "", service, time.Minute, nil); err != nil {
		t.Errorf("an access token without a subject: %v", err)
	}
}

// golang-jwt formats aud by a package variable. Changes to it must not affect the tokens.
func TestAudienceIsAStringWithAnySettingOfTheLibrary(t *testing.T) {
	for _, list := range []bool{true, false} {
		was := jwt.MarshalSingleStringAsArray
		jwt.MarshalSingleStringAsArray = list
		token, _,
			err := fixed(load(t, newEC(elliptic.P256(), false), "")).AccessToken("alice", service, time.Minute, nil)
		jwt.MarshalSingleStringAsArray = was
		if err != nil {
			t.Fatal(err)
		}
		if _, claims, _, _ := split(token); !strings.Contains(string(claims), `"aud":"myDockerRegistry.com"`) {
			t.Errorf("claims %s", claims)
		}
	}
}

func TestDefaultClockAndID(t *testing.T) {
	s := &Signer{Key: load(t, newEC(elliptic.P256(), false), ""), Issuer: issuer}
	before := time.Now().Unix()
	token, signed, err := s.RefreshToken(alice, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if len(signed.ID) < 26 { // 26 letters of base32 are 130 bits
		t.Errorf("id %q is short", signed.ID)
	}
	if got, _, err := s.VerifyRefresh(token); got != signed || err != nil {
		t.Errorf("verified as %+v, %v, want %+v", got, err, signed)
	}
	_, claims, _, _ := split(token)
	if !strings.Contains(string(claims), fmt.Sprintf(`"exp":%d,`, before+3600)) &&
		!strings.Contains(string(claims), fmt.Sprintf(`"exp":%d,`, before+3601)) {
		t.Errorf("claims %s, want exp an hour after %d", claims, before)
	}
}

func TestOneSignerServesManyAtOnce(t *testing.T) {
	for _, c := range everyKey() {
		s := &Signer{Key: load(t, c.key, ""), Issuer: issuer}
		var wg sync.WaitGroup
		ids := make([]string, 16)
		for i := range ids {
			wg.Go(func() {
				token, signed, err := s.RefreshToken(alice, time.Hour)
				if err != nil {
					t.Error(err)
					return
				}
				if got, _, err := s.VerifyRefresh(token); got != signed || err != nil {
					t.Errorf("got %+v, %v, want %+v", got, err, signed)
				}
				if _, _, err := s.AccessToken("alice", service, time.Hour, []grant{}); err != nil {
					t.Error(err)
				}
				ids[i] = signed.ID
			})
		}
		wg.Wait()
		seen := map[string]bool{}
		for _, id := range ids {
			if seen[id] {
				t.Errorf("id %q twice", id)
			}
			seen[id] = true
		}
	}
}

func BenchmarkLoadKey(b *testing.B) {
	for _, c := range everyKey() {
		path := write(b, pkcs8(c.key), 0o600)
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := LoadKey(path, "", ""); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAccessToken(b *testing.B) {
	for _, c := range everyKey() {
		s := &Signer{Key: load(b, c.key, ""), Issuer: issuer}
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _,
					err := s.AccessToken("alice", service, time.Minute,
					[]grant{{"repository", "a/b", []string{"pull"}}}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
