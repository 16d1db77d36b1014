package jwtsign

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"testing"
	"time"
)

// body is the claims of a refresh token in the form of this service, with edits.
func body(edits ...string) string {
	s := fmt.Sprintf(
		`{"iss":"myAuthService.com","sub":"alice","aud":"dockerauth:refresh","exp":%d,"iat":%d,"jti":"id1",`+
			`"uid":1000,"shadow":"digest","store":"store1"}`,
		noon.Unix()+3600, noon.Unix())
	for i := 0; i < len(edits); i += 2 {
		if !strings.Contains(s, edits[i]) {
			panic("no " + edits[i] + " in " + s)
		}
		s = strings.Replace(s, edits[i], edits[i+1], 1)
	}
	return s
}

func refreshHead(alg string) string { return fmt.Sprintf(`{"alg":"%s","typ":"refresh+jwt"}`, alg) }

func hs256(secret []byte, header, claims string) string {
	signed := encodeSegment([]byte(header)) + "." + encodeSegment([]byte(claims))
	m := hmac.New(sha256.New, secret)
	m.Write([]byte(signed))
	return signed + "." + encodeSegment(m.Sum(nil))
}

func TestVerifyRefreshRefuses(t *testing.T) {
	for _, c := range everyKey() {
		t.Run(c.name, func(t *testing.T) { refuseAll(t, c) })
	}
}

func refuseAll(t *testing.T, c namedKey) {
	k := load(t, c.key, "")
	s := fixed(k)
	foreignKey := map[string]crypto.Signer{"RS256": newEC(elliptic.P256(), false), "EdDSA": newEd25519()}[c.alg]
	if ec, ok := c.key.(*ecdsa.PrivateKey); ok {
		foreignKey = newEC(ec.Curve, false)
	}
	head := refreshHead(c.alg)
	good := forge(c.key, head, body())
	if got, by, err := s.VerifyRefresh(good); got != claimed(time.Hour) || by != k || err != nil {
		t.Fatalf("the forged good token is refused: %+v, %v", got, err)
	}
	parts := strings.Split(good, ".")
	accessToken, _, _ := s.AccessToken("alice", service, time.Hour, nil)
	elsewhere := fixed(k)
	elsewhere.Issuer = "other.example"
	foreign, _, _ := elsewhere.RefreshToken(alice, time.Hour)
	der := must(x509.MarshalPKIXPublicKey(c.key.Public()))
	at := func(claim string, offset int64) string { return fmt.Sprintf(`"%s":%d`, claim, noon.Unix()+offset) }
	const wrongHead, unspelled = "its header is not that of a refresh token",
		"it is not in the exact form of this service"
	const earlier = "it lacks uid or shadow: an earlier version issued it"

	for _, r := range []struct{ name, token, want string }{
		{"nothing", "", wrongHead},
		{"garbage", "garbage", wrongHead},
		{"dots", "...", wrongHead},
		{"a megabyte", strings.Repeat("x", 1<<20), "it has 1048576 bytes, the most is 4096"},
		{"a megabyte after a good header", parts[0] + "." + strings.Repeat("A", 1<<20), "it has 10486"},
		{"two parts", parts[0] + "." + parts[1], "it is no token"},
		{"four parts", good + "." + parts[2], "it is no token"},

		{"alg none, unsigned", encodeSegment([]byte(refreshHead("none"))) + "." + parts[1] + ".", wrongHead},
		{"alg None", encodeSegment([]byte(refreshHead("None"))) + "." + parts[1] + ".", wrongHead},
		{"a good one without its signature", parts[0] + "." + parts[1] + ".",
			"its signature is not by this service's key"},
		{"HS256 with the public key's PEM as secret", hs256(pemOf("PUBLIC KEY", der), refreshHead("HS256"), body()),
			wrongHead},
		{"HS256 with the public key's DER as secret", hs256(der, refreshHead("HS256"), body()), wrongHead},
		{"HS256 under the right header", hs256(der, head, body()), "its signature is not by this service's key"},
		{"another algorithm", forge(c.key, refreshHead("RS512"), body()), wrongHead},
		{"another key, same issuer", forge(foreignKey, head, body()), "its signature is not by this service's key"},
		{"a signature of another key under good claims", parts[0] + "." + parts[1] + "." +
			strings.Split(forge(foreignKey, head, body()), ".")[2], "its signature is not by this service's key"},
		{"other claims under a good signature", parts[0] + "." + encodeSegment([]byte(body("alice", "root1"))) + "." +
			parts[2], "its signature is not by this service's key"},

		{"an access token", accessToken, wrongHead},
		{"an access token under a refresh token's header",
			forge(c.key, head, body(`"jti":"id1"`, `"jti":"id1","access":[]`)), unspelled},
		{"a refresh token of the PHP service: kid, typ JWT, no exp",
			forge(c.key, `{"typ":"JWT","alg":"`+c.alg+`","kid":"`+k.KeyID()+`"}`,
				`{"iss":"myAuthService.com","sub":"alice","aud":"myDockerRegistry.com"}`), wrongHead},
		{"another service's refresh token", foreign, "it is from another issuer"},

		{"typ JWT", forge(c.key, `{"alg":"`+c.alg+`","typ":"JWT"}`, body()), wrongHead},
		{"typ in capitals", forge(c.key, `{"alg":"`+c.alg+`","typ":"REFRESH+JWT"}`, body()), wrongHead},
		{"typ with its media type", forge(c.key, `{"alg":"`+c.alg+`","typ":"application/refresh+jwt"}`, body()),
			wrongHead},
		{"no typ", forge(c.key, `{"alg":"`+c.alg+`"}`, body()), wrongHead},
		{"typ twice", forge(c.key, `{"alg":"`+c.alg+`","typ":"JWT","typ":"refresh+jwt"}`, body()), wrongHead},
		{"a kid", forge(c.key, `{"alg":"`+c.alg+`","kid":"`+k.KeyID()+`","typ":"refresh+jwt"}`, body()), wrongHead},
		{"crit", forge(c.key, `{"alg":"`+c.alg+`","crit":["exp"],"typ":"refresh+jwt"}`, body()), wrongHead},
		{"a header with a space", forge(c.key, `{"alg":"`+c.alg+`", "typ":"refresh+jwt"}`, body()), wrongHead},
		{"a header that is a list", forge(c.key, `[]`, body()), wrongHead},

		{"the registry's audience", forge(c.key, head, body("dockerauth:refresh", service)),
			"its audience is not that of refresh tokens"},
		{"a list of audiences", forge(c.key, head, body(`"dockerauth:refresh"`, `["dockerauth:refresh"]`)),
			"it is no token"},
		{"no audience", forge(c.key, head, body(`"aud":"dockerauth:refresh",`, "")), "it lacks a claim"},
		{"another issuer", forge(c.key, head, body("myAuthService.com", "evil.example")), "it is from another issuer"},
		{"an issuer in other letters", forge(c.key, head, body("myAuthService.com", "myauthservice.com")),
			"it is from another issuer"},
		{"no issuer", forge(c.key, head, body(`"iss":"myAuthService.com",`, "")), "it lacks a claim"},
		{"an empty subject", forge(c.key, head, body(`"alice"`, `""`)), "it lacks sub or jti"},
		{"no subject", forge(c.key, head, body(`"sub":"alice",`, "")), "it lacks sub or jti"},
		{"a subject that is null", forge(c.key, head, body(`"alice"`, "null")), "it lacks sub or jti"},
		{"a subject that is a number", forge(c.key, head, body(`"alice"`, "7")), "it is no token"},
		{"a subject that is a list", forge(c.key, head, body(`"alice"`, `["alice"]`)), "it is no token"},
		{"a subject that is not UTF-8", forge(c.key, head, body("alice", "al\xffice")), unspelled},
		{"an empty id", forge(c.key, head, body(`"id1"`, `""`)), "it lacks sub or jti"},
		{"no id", forge(c.key, head, body(`"jti":"id1",`, "")), "it lacks sub or jti"},

		{"a token of an earlier version: neither uid nor shadow",
			forge(c.key, head, body(`,"uid":1000,"shadow":"digest","store":"store1"`, "")), earlier},
		{"no uid", forge(c.key, head, body(`"uid":1000,`, "")), earlier},
		{"a uid that is null", forge(c.key, head, body("1000", "null")), earlier},
		{"a uid that is text", forge(c.key, head, body("1000", `"1000"`)), "it is no token"},
		{"a uid with an exponent", forge(c.key, head, body("1000", "1e3")), "it is no token"},
		{"a uid with a fraction", forge(c.key, head, body("1000", "1000.0")), "it is no token"},
		{"a uid of minus zero", forge(c.key, head, body("1000", "-0")), unspelled},
		{"a uid twice", forge(c.key, head, body(`"uid":1000`, `"uid":0,"uid":1000`)), unspelled},
		{"a uid in capitals", forge(c.key, head, body(`"uid"`, `"UID"`)), unspelled},
		{"no shadow", forge(c.key, head, body(`"shadow":"digest",`, "")), earlier},
		{"a shadow that is null", forge(c.key, head, body(`"digest"`, "null")), earlier},
		{"a shadow that is a number", forge(c.key, head, body(`"digest"`, "7")), "it is no token"},
		{"a shadow twice", forge(c.key, head, body(`"shadow"`, `"shadow":"none","shadow"`)), unspelled},
		{"an empty store", forge(c.key, head, body(`"store1"`, `""`)), unspelled},
		{"a store that is null", forge(c.key, head, body(`"store1"`, "null")), unspelled},
		{"the store before the shadow",
			forge(c.key, head, body(`,"store":"store1"`, "", `"shadow"`, `"store":"store1","shadow"`)), unspelled},

		{"expired a second ago", forge(c.key, head, body(at("exp", 3600), at("exp", -1))), "it has expired"},
		{"expiring now: exp is the first second it is refused", forge(c.key, head, body(at("exp", 3600), at("exp", 0))),
			"it has expired"},
		{"no exp", forge(c.key, head, body(at("exp", 3600)+",", "")), "it lacks a claim"},
		{"exp null", forge(c.key, head, body(at("exp", 3600), `"exp":null`)), "it lacks a claim"},
		{"exp as a string", forge(c.key, head, body(at("exp", 3600), `"exp":"9999999999"`)), "it is no token"},
		{"exp with a fraction", forge(c.key, head, body(at("exp", 3600), at("exp", 3600)+".5")), "it is no token"},
		{"exp beyond 64 bits", forge(c.key, head, body(at("exp", 3600), `"exp":99999999999999999999`)),
			"it is no token"},
		{"an nbf", forge(c.key, head, body(at("iat", 0), at("nbf", 0)+","+at("iat", 0))), unspelled},
		{"an nbf of 0", forge(c.key, head, body(at("iat", 0), `"nbf":0,`+at("iat", 0))), unspelled},
		{"no iat", forge(c.key, head, body(at("iat", 0)+",", "")), unspelled},

		{"sub twice", forge(c.key, head, body(`"sub":"alice"`, `"sub":"root","sub":"alice"`)), unspelled},
		{"sub in capitals", forge(c.key, head, body(`"sub"`, `"SUB"`)), unspelled},
		{"an unknown claim", forge(c.key, head, body(`"jti"`, `"adm":1,"jti"`)), unspelled},
		{"a letter escaped", forge(c.key, head, body("alice", `\u0061lice`)), unspelled},
		{"a space between claims", forge(c.key, head, body(",", ", ")), unspelled},
		{"claims in another order", forge(c.key, head, body(`"sub":"alice",`, "", `,"jti"`, `,"sub":"alice","jti"`)),
			unspelled},
		{"text after the claims", forge(c.key, head, body()+"{}"), "it is no token"},
		{"claims that are null", forge(c.key, head, "null"), "it lacks a claim"},
		{"claims that are no JSON", forge(c.key, head, "x"), "it is no token"},

		{"padded", good + "=", "it is no token"},
		{"standard base64", parts[0] + "." + parts[1] + "." + standard(parts[2]), ""},
		{"a line break in its signature", good[:len(good)-8] + "\n" + good[len(good)-8:], unspelled},
		{"a line break at its end", good + "\n", unspelled},
		{"a space before", " " + good, wrongHead},
		{"Bearer before", "Bearer " + good, wrongHead},
		{"another last letter, same bytes", sameBytes(good), ""},
	} {
		t.Run(r.name, func(t *testing.T) {
			if r.token == good {
				t.Skip("this signature has no such spelling")
			}
			got, by, err := s.VerifyRefresh(r.token)
			if err == nil || got != (RefreshClaims{}) || by != nil {
				t.Fatalf("taken: %+v, %v", got, err)
			}
			if !strings.HasPrefix(err.Error(), "verify refresh token: "+r.want) {
				t.Errorf("got %v, want %s", err, r.want)
			}
			for _, secret := range []string{"alice", "root", parts[1], parts[2]} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("error repeats the token: %v", err)
				}
			}
		})
	}
}

// standard converts base64url to standard base64. A signature without - and _ has no other form.
func standard(s string) string { return strings.NewReplacer("-", "+", "_", "/").Replace(s) }

// sameBytes changes bits of the last letter that a lax decoder ignores. Not every length has such
// bits.
func sameBytes(token string) string {
	last := token[len(token)-1]
	sig := token[strings.LastIndexByte(token, '.')+1:]
	want := must(base64.RawURLEncoding.DecodeString(sig))
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") {
		if got, err := base64.RawURLEncoding.DecodeString(sig[:len(sig)-1] + string(c)); err == nil &&
			bytes.Equal(got, want) && c != last {
			return token[:len(token)-1] + string(c)
		}
	}
	return token
}

// A Signer without an issuer must not accept every issuer.
func TestVerifyRefreshNeedsAnIssuer(t *testing.T) {
	key := newEd25519()
	s := fixed(load(t, key, ""))
	token := forge(key, refreshHead("EdDSA"), body())
	s.Issuer = ""
	if _, _, err := s.VerifyRefresh(token); err == nil || !strings.Contains(err.Error(), "no issuer") {
		t.Errorf("got %v", err)
	}
}

func TestVerifyRefreshOverTime(t *testing.T) {
	s := fixed(load(t, newEd25519(), ""))
	token, _, err := s.RefreshToken(alice, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		at   time.Duration
		ok   bool
	}{
		{"when the clock was set back by a day", -24 * time.Hour, true},
		{"at once", 0, true},
		{"in its last second", time.Hour - time.Second, true},
		{"a nanosecond before its end", time.Hour - time.Nanosecond, true},
		{"at its end", time.Hour, false},
	} {
		s.Now = func() time.Time { return noon.Add(c.at) }
		if _, _, err := s.VerifyRefresh(token); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// A token that a previous key signed verifies with that key, whose Derive its reader needs. What is
// refused with the current key is refused with a previous one.
func TestVerifyRefreshTriesPreviousKeys(t *testing.T) {
	ec, otherEC, ed := newEC(elliptic.P256(), false), newEC(elliptic.P256(), false), newEd25519()
	current, previous, oldest := load(t, ec, ""), load(t, otherEC, ""), load(t, ed, "")
	s := fixed(current)
	s.Previous = []*Key{oldest, previous}
	for _, c := range []struct {
		name  string
		token string
		by    *Key
	}{
		{"by the current key", forge(ec, refreshHead("ES256"), body()), current},
		{"by a previous key of the same kind", forge(otherEC, refreshHead("ES256"), body()), previous},
		{"by a previous key of another kind", forge(ed, refreshHead("EdDSA"), body()), oldest},
		{"by a key that is not configured", forge(newEC(elliptic.P256(), false), refreshHead("ES256"), body()), nil},
		{"by a previous key under the header of another kind", forge(ed, refreshHead("ES256"), body()), nil},
		{"by a previous key, expired", forge(otherEC, refreshHead("ES256"),
			body(fmt.Sprint(noon.Unix()+3600), fmt.Sprint(noon.Unix()-1))), nil},
		{"by a previous key, of another issuer", forge(otherEC, refreshHead("ES256"),
			body("myAuthService.com", "evil.example")), nil},
		{"by a previous key, in another form", forge(otherEC, refreshHead("ES256"), body(",", ", ")), nil},
		{"by a previous key, without uid", forge(ed, refreshHead("EdDSA"), body(`"uid":1000,`, "")), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := RefreshClaims{}
			if c.by != nil {
				want = claimed(time.Hour)
			}
			got, by, err := s.VerifyRefresh(c.token)
			if got != want || by != c.by || (err == nil) != (c.by != nil) {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
	token, _, err := s.RefreshToken(alice, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := fixed(current).VerifyRefresh(token); err != nil {
		t.Errorf("a previous key signed: %v", err)
	}
}

// For an ECDSA signature (r, s) anyone can compute the equal (r, n-s). It makes another token with
// the same claims, so only the id identifies a token, not its bytes.
func TestTwinSignatureIsTheSameToken(t *testing.T) {
	key := newEC(elliptic.P256(), false)
	s := fixed(load(t, key, ""))
	token, signed, err := s.RefreshToken(alice, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	_, _, sig, _ := split(token)
	twin := new(big.Int).Sub(key.Params().N, new(big.Int).SetBytes(sig[32:]))
	token = token[:strings.LastIndexByte(token, '.')+1] +
		encodeSegment(append(sig[:32:32], twin.FillBytes(make([]byte, 32))...))
	if got, _, err := s.VerifyRefresh(token); err != nil || got != signed {
		t.Errorf("got %+v, %v, want %+v", got, err, signed)
	}
}

// A token verifies only if RefreshToken writes it for its claims, for this issuer and within its
// dates. This holds for any header and claims, also if the key of the service signed them.
func FuzzVerifyRefresh(f *testing.F) {
	key, previous := newEd25519(), newEd25519() // signatures do not depend on chance
	s := fixed(load(f, key, ""))
	s.Previous = []*Key{load(f, previous, "")}
	genuine, _, err := s.RefreshToken(alice, time.Hour)
	if err != nil {
		f.Fatal(err)
	}
	header, claims, _, _ := split(genuine)
	seeds := []string{
		string(claims), body(), body("alice", "bob"), body("alice", `<\u003e&`), body(`"alice"`, `null`),
		body(",", ", "), body("alice", "é\u2028"),
		body(`"iat"`, `"IAT"`), body(`"jti":"id1"`, `"jti":"id1","access":null`), body(`"sub"`, `"sub":"x","sub"`),
		body(
			"1000",
			"-1",
		), body("1000", "1e3"), body(`"uid":1000,`, ""), body(`"digest"`, `""`), body(`,"store":"store1"`, ""),
		body(`"store1"`, `""`), body(`,"uid":1000,"shadow":"digest","store":"store1"`, ""),
		`{}`, `null`, `[]`, "",
	}
	heads := []string{string(header), refreshHead("none"), refreshHead("HS256"), `{"typ":"refresh+jwt","alg":"EdDSA"}`,
		`{"alg":"EdDSA","typ":"JWT"}`}
	if len(seeds) == 0 || len(heads) == 0 {
		f.Fatal("no seeds")
	}
	taken := 0
	for _, h := range heads {
		for _, c := range seeds {
			f.Add(h, c, "")
			if _, _, err := s.VerifyRefresh(forge(key, h, c)); err == nil {
				taken++
			}
		}
	}
	if taken == 0 {
		f.Fatal("no seed verifies: the property would hold of nothing")
	}
	f.Add("", "", genuine)
	f.Fuzz(func(t *testing.T, header, claims, token string) {
		for i, token := range []string{token, forge(key, header, claims), forge(previous, header, claims)} {
			got, by, err := s.VerifyRefresh(token)
			if err != nil {
				continue
			}
			signed := key
			if by == s.Previous[0] {
				signed = previous
			}
			if i > 0 && (by == s.Key) != (i == 1) {
				t.Fatal("taken, but not for the key that signed it")
			}
			if want := respell(t, token); token != forge(signed, refreshHead("EdDSA"), want) {
				t.Fatalf("taken, but this service would have written %s", want)
			}
			if got.Subject == "" || got.ID == "" {
				t.Fatalf("taken with subject %q and id %q", got.Subject, got.ID)
			}
		}
	})
}

// respell reads the claims of a token with other types and writes them in the form of the service.
func respell(t *testing.T, token string) string {
	_, claims, _, err := split(token)
	if err != nil {
		t.Fatalf("taken, but no token: %v", err)
	}
	var c map[string]any
	d := json.NewDecoder(bytes.NewReader(claims))
	d.UseNumber()
	if err := d.Decode(&c); err != nil {
		t.Fatalf("taken, but no claims: %v", err)
	}
	number := func(name string) int64 {
		n, err := strconv.ParseInt(fmt.Sprint(c[name]), 10, 64)
		if err != nil {
			t.Fatalf("taken with %s %v", name, c[name])
		}
		return n
	}
	text := func(name string) string { return string(must(json.Marshal(c[name].(string)))) }
	exp, iat := number("exp"), number("iat")
	if now := noon.Unix(); exp <= now {
		t.Fatalf("taken at %d with exp %d", now, exp)
	}
	store := ""
	if _, ok := c["store"]; ok {
		store = `,"store":` + text("store")
	}
	return fmt.Sprintf(`{"iss":"myAuthService.com","sub":%s,"aud":"dockerauth:refresh","exp":%d,"iat":%d,"jti":%s,`+
		`"uid":%d,"shadow":%s%s}`, text("sub"), exp, iat, text("jti"), number("uid"), text("shadow"), store)
}

func BenchmarkVerifyRefresh(b *testing.B) {
	for _, c := range everyKey() {
		s := &Signer{Key: load(b, c.key, ""), Issuer: issuer}
		token, _, err := s.RefreshToken(alice, time.Hour)
		if err != nil {
			b.Fatal(err)
		}
		for name, forget := range map[string]bool{"": false, ", the first time": true} {
			b.Run(c.name+name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if forget {
						s.verified.current = nil
					}
					if _, _, err := s.VerifyRefresh(token); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
