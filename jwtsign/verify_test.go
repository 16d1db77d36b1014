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
		`{"iss":"myAuthService.com","sub":"alice","aud":"dockerauth:refresh","exp":%d,"iat":%d,"jti":"id1"}`,
		noon.Unix()+3600, noon.Unix()-30)
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
	if sub, id, err := s.VerifyRefresh(good); sub != "alice" || id != "id1" || err != nil {
		t.Fatalf("the forged good token is refused: %q, %q, %v", sub, id, err)
	}
	parts := strings.Split(good, ".")
	accessToken, _, _ := s.AccessToken("alice", service, time.Hour, nil)
	elsewhere := fixed(k)
	elsewhere.Issuer = "other.example"
	foreign, _, _ := elsewhere.RefreshToken("alice", time.Hour)
	der := must(x509.MarshalPKIXPublicKey(c.key.Public()))
	at := func(claim string, offset int64) string { return fmt.Sprintf(`"%s":%d`, claim, noon.Unix()+offset) }
	const wrongHead, unspelled = "its header is not that of a refresh token",
		"it is not in the exact form of this service"

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
		{"no id", forge(c.key, head, body(`,"jti":"id1"`, "")), "it lacks sub or jti"},

		{"expired a second ago", forge(c.key, head, body(at("exp", 3600), at("exp", -1))), "it has expired"},
		{"expiring now: exp is the first second it is refused", forge(c.key, head, body(at("exp", 3600), at("exp", 0))),
			"it has expired"},
		{"no exp", forge(c.key, head, body(at("exp", 3600)+",", "")), "it lacks a claim"},
		{"exp null", forge(c.key, head, body(at("exp", 3600), `"exp":null`)), "it lacks a claim"},
		{"exp as a string", forge(c.key, head, body(at("exp", 3600), `"exp":"9999999999"`)), "it is no token"},
		{"exp with a fraction", forge(c.key, head, body(at("exp", 3600), at("exp", 3600)+".5")), "it is no token"},
		{"exp beyond 64 bits", forge(c.key, head, body(at("exp", 3600), `"exp":99999999999999999999`)),
			"it is no token"},
		{"an nbf", forge(c.key, head, body(at("iat", -30), at("nbf", -30)+","+at("iat", -30))), unspelled},
		{"an nbf of 0", forge(c.key, head, body(at("iat", -30), `"nbf":0,`+at("iat", -30))), unspelled},
		{"no iat", forge(c.key, head, body(at("iat", -30)+",", "")), unspelled},

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
			sub, id, err := s.VerifyRefresh(r.token)
			if err == nil || sub != "" || id != "" {
				t.Fatalf("taken: %q, %q, %v", sub, id, err)
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
	token, _, err := s.RefreshToken("alice", time.Hour)
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

// For an ECDSA signature (r, s) anyone can compute the equal (r, n-s). It makes another token with
// the same claims, so only the id identifies a token, not its bytes.
func TestTwinSignatureIsTheSameToken(t *testing.T) {
	key := newEC(elliptic.P256(), false)
	s := fixed(load(t, key, ""))
	token, id, err := s.RefreshToken("alice", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	_, _, sig, _ := split(token)
	twin := new(big.Int).Sub(key.Params().N, new(big.Int).SetBytes(sig[32:]))
	token = token[:strings.LastIndexByte(token, '.')+1] +
		encodeSegment(append(sig[:32:32], twin.FillBytes(make([]byte, 32))...))
	if _, got, err := s.VerifyRefresh(token); err != nil || got != id {
		t.Errorf("id %q, %v, want %q", got, err, id)
	}
}

// A token verifies only if RefreshToken writes it for its claims, for this issuer and within its
// dates. This holds for any header and claims, also if the key of the service signed them.
func FuzzVerifyRefresh(f *testing.F) {
	key := newEd25519() // signatures do not depend on chance
	s := fixed(load(f, key, ""))
	genuine, _, err := s.RefreshToken("alice", time.Hour)
	if err != nil {
		f.Fatal(err)
	}
	header, claims, _, _ := split(genuine)
	seeds := []string{
		string(claims), body(), body("alice", "bob"), body("alice", `<\u003e&`), body(`"alice"`, `null`),
		body(",", ", "), body("alice", "é\u2028"),
		body(`"iat"`, `"IAT"`), body(`"jti":"id1"`, `"jti":"id1","access":null`), body(`"sub"`, `"sub":"x","sub"`),
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
		for _, token := range []string{token, forge(key, header, claims)} {
			sub, id, err := s.VerifyRefresh(token)
			if err != nil {
				continue
			}
			if want := respell(t, token); token != forge(key, refreshHead("EdDSA"), want) {
				t.Fatalf("taken, but this service would have written %s", want)
			}
			if sub == "" || id == "" {
				t.Fatalf("taken with subject %q and id %q", sub, id)
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
	return fmt.Sprintf(`{"iss":"myAuthService.com","sub":%s,"aud":"dockerauth:refresh","exp":%d,"iat":%d,"jti":%s}`,
		text("sub"), exp, iat, text("jti"))
}
