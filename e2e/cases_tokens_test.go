package e2e

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"strings"
	"time"
)

// Tokens are read and made with the standard library alone, so that a mistake in the service's JWT
// code cannot cancel itself out.

type tokenClaims struct {
	Issuer    string       `json:"iss"`
	Subject   string       `json:"sub"`
	Audience  string       `json:"aud"` // a string: a list fails to decode, as in a 2.8 registry
	Expires   int64        `json:"exp"`
	NotBefore int64        `json:"nbf"`
	IssuedAt  int64        `json:"iat"`
	ID        string       `json:"jti"`
	Access    *[]accessOne `json:"access"`
}

type accessOne struct {
	Type    string   `json:"type"`
	Class   string   `json:"class"`
	Name    string   `json:"name"`
	Actions []string `json:"actions"`
}

// scopes prints the access claim in the form of a requested scope.
func (c tokenClaims) scopes() string {
	if c.Access == nil {
		return "(no access claim)"
	}
	var all []string
	for _, a := range *c.Access {
		class := ""
		if a.Class != "" {
			class = "(" + a.Class + ")"
		}
		all = append(all, a.Type+class+":"+a.Name+":"+strings.Join(a.Actions, ","))
	}
	return strings.Join(all, " ")
}

// verify checks an RS256 or ES256 signature and returns the claims.
func verify(token string, key crypto.PublicKey) (tokenClaims, error) {
	var claims tokenClaims
	header, payload, signature, err := split(token)
	if err != nil {
		return claims, err
	}
	digest := sha256.Sum256([]byte(token[:strings.LastIndexByte(token, '.')]))
	switch k := key.(type) {
	case *rsa.PublicKey:
		if header["alg"] != "RS256" {
			return claims, fmt.Errorf("alg %v, want RS256", header["alg"])
		}
		if err := rsa.VerifyPKCS1v15(k, crypto.SHA256, digest[:], signature); err != nil {
			return claims, err
		}
	case *ecdsa.PublicKey:
		half := len(signature) / 2
		r, s := new(big.Int).SetBytes(signature[:half]), new(big.Int).SetBytes(signature[half:])
		if header["alg"] != "ES256" || !ecdsa.Verify(k, digest[:], r, s) {
			return claims, errors.New("no ES256 signature of this key")
		}
	default:
		return claims, fmt.Errorf("cannot verify with a %T", key)
	}
	return claims, json.Unmarshal(payload, &claims)
}

func split(token string) (header map[string]any, payload, signature []byte, err error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, nil, nil, fmt.Errorf("token has %d parts, want 3", len(parts))
	}
	var raw [3][]byte
	for i, p := range parts {
		if raw[i], err = base64.RawURLEncoding.DecodeString(p); err != nil {
			return nil, nil, nil, err
		}
	}
	return header, raw[1], raw[2], json.Unmarshal(raw[0], &header)
}

// forgeries are placeholders for tokens: two that the service issued, and an attacker's variations
// of them.
func forgeries() map[string]func(c *client) string {
	return map[string]func(c *client) string{
		"refresh": func(c *client) string { return c.fetched("refresh") },
		"access":  func(c *client) string { return c.fetched("access") },
		"refresh-alg-none": func(c *client) string {
			return c.forge(`"RS256"`, `"none"`, func([]byte) []byte { return nil })
		},
		"refresh-hs256-public-key": func(c *client) string {
			return c.forge(`"RS256"`, `"HS256"`, func(text []byte) []byte {
				der, _ := x509.MarshalPKIXPublicKey(c.key.Public())
				mac := hmac.New(sha256.New, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
				mac.Write(text)
				return mac.Sum(nil)
			})
		},
		"refresh-unknown-key": func(c *client) string {
			unknown, _ := rsa.GenerateKey(rand.Reader, 2048)
			return c.forge("", "", rs256(unknown))
		},
		"refresh-other-audience": func(c *client) string {
			return c.forge(`"aud":"[^"]*"`, `"aud":"`+audience+`"`, rs256(c.key))
		},
		"refresh-other-issuer": func(c *client) string {
			return c.forge(`"iss":"[^"]*"`, `"iss":"https://elsewhere.example"`, rs256(c.key))
		},
		"refresh-expired": func(c *client) string {
			return c.forge(`"exp":[0-9]*`, fmt.Sprintf(`"exp":%d`, time.Now().Add(-time.Minute).Unix()), rs256(c.key))
		},
		"refresh-everlasting": func(c *client) string { return c.forge(`"exp":[0-9]*,`, ``, rs256(c.key)) },
		"refresh-plain-jwt":   func(c *client) string { return c.forge(`"refresh\+jwt"`, `"JWT"`, rs256(c.key)) },
		"refresh-cut-short":   func(c *client) string { t := c.fetched("refresh"); return t[:len(t)-8] },
		// Not forged and accepted: the others fail because of their change alone.
		"refresh-of-bob": func(c *client) string {
			return c.forge(`"sub":"alice"`, `"sub":"`+bob+`"`, rs256(c.key))
		},
		"refresh-of-carol": func(c *client) string {
			return c.forge(`"sub":"alice"`, `"sub":"`+carol+`"`, rs256(c.key))
		},
		"refresh-of-mallory": func(c *client) string {
			return c.forge(`"sub":"alice"`, `"sub":"`+mallory+`"`, rs256(c.key))
		},
		"refresh-of-unknown-user": func(c *client) string {
			return c.forge(`"sub":"alice"`, `"sub":"nobody-by-that-name"`, rs256(c.key))
		},
	}
}

// fetched is alice's access or refresh token, requested at first use.
func (c *client) fetched(kind string) string {
	if c.tokens[kind] == "" {
		_, body, err := c.exchange(asAlice("service=" + audience + "&offline_token=true")(c))
		if err != nil {
			c.t.Fatalf("log alice in: %v", err)
		}
		c.nextRequestLine()
		var got tokenAnswer
		if err := json.Unmarshal(body, &got); err != nil || got.Token == "" || got.RefreshToken == nil {
			c.t.Fatalf("log alice in: %v: %s", err, body)
		}
		c.tokens["access"], c.tokens["refresh"] = got.Token, *got.RefreshToken
		c.keepSecret(got.Token, *got.RefreshToken)
	}
	return c.tokens[kind]
}

// forge changes alice's refresh token at the one place that matches and signs it again. All else
// stays, even the order of the fields, so that the change alone explains the result.
func (c *client) forge(match, change string, sign func(text []byte) []byte) string {
	parts := strings.Split(c.fetched("refresh"), ".")
	pattern, found := regexp.MustCompile(match), match == ""
	for i, part := range parts[:2] {
		text, err := base64.RawURLEncoding.DecodeString(part)
		if err != nil {
			c.t.Fatalf("alice's refresh token: %v", err)
		}
		if match != "" && pattern.Match(text) {
			found = true
			parts[i] = base64.RawURLEncoding.EncodeToString(pattern.ReplaceAll(text, []byte(change)))
		}
	}
	if !found {
		c.t.Fatalf("forge a token: alice's has nothing like %q", match)
	}
	text := parts[0] + "." + parts[1]
	token := text + "." + base64.RawURLEncoding.EncodeToString(sign([]byte(text)))
	c.keepSecret(token)
	return token
}

func rs256(key crypto.Signer) func(text []byte) []byte {
	return func(text []byte) []byte {
		digest := sha256.Sum256(text)
		signature, err := key.Sign(rand.Reader, digest[:], crypto.SHA256)
		if err != nil {
			panic(err) // an RSA key signs SHA-256
		}
		return signature
	}
}
