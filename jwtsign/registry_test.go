package jwtsign

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"
)

// This file verifies tokens as a registry does. It follows the RFCs, uses only the standard library
// and shares no code with the signer.

var digests = map[string]func(string) (crypto.Hash, []byte){
	"RS256": sum256, "ES256": sum256, "HS256": sum256,
	"ES384": func(s string) (crypto.Hash, []byte) { d := sha512.Sum384([]byte(s)); return crypto.SHA384, d[:] },
	"ES512": func(s string) (crypto.Hash, []byte) { d := sha512.Sum512([]byte(s)); return crypto.SHA512, d[:] },
}

func sum256(s string) (crypto.Hash, []byte) {
	d := sha256.Sum256([]byte(s))
	return crypto.SHA256, d[:]
}

// verifySignature follows RFC 7518 §3.3 and §3.4, RFC 8037 §3.1.
func verifySignature(public crypto.PublicKey, alg, signed string, sig []byte) bool {
	switch pub := public.(type) {
	case *rsa.PublicKey:
		h, d := digests["RS256"](signed)
		return alg == "RS256" && rsa.VerifyPKCS1v15(pub, h, d, sig) == nil
	case *ecdsa.PublicKey:
		size := (pub.Params().BitSize + 7) / 8
		want := map[int]string{256: "ES256", 384: "ES384", 521: "ES512"}[pub.Params().BitSize]
		if alg != want || len(sig) != 2*size {
			return false
		}
		_, d := digests[alg](signed)
		return ecdsa.Verify(pub, d, new(big.Int).SetBytes(sig[:size]), new(big.Int).SetBytes(sig[size:]))
	case ed25519.PublicKey:
		return alg == "EdDSA" && ed25519.Verify(pub, []byte(signed), sig)
	}
	return false
}

// forge signs any header and claims, as anyone with a key can.
func forge(key crypto.Signer, header, claims string) string {
	signed := encodeSegment([]byte(header)) + "." + encodeSegment([]byte(claims))
	return signed + "." + encodeSegment(signBytes(key, signed))
}

func signBytes(key crypto.Signer, signed string) []byte {
	switch k := key.(type) {
	case *rsa.PrivateKey:
		h, d := digests["RS256"](signed)
		return must(rsa.SignPKCS1v15(rand.Reader, k, h, d))
	case *ecdsa.PrivateKey:
		size := (k.Params().BitSize + 7) / 8
		_, d := digests[map[int]string{256: "ES256", 384: "ES384", 521: "ES512"}[k.Params().BitSize]](signed)
		r, s, err := ecdsa.Sign(rand.Reader, k, d)
		must(r, err)
		return append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...)
	case ed25519.PrivateKey:
		return ed25519.Sign(k, []byte(signed))
	}
	panic(fmt.Sprintf("%T", key))
}

func encodeSegment(b []byte) string {
	return strings.TrimRight(base64.URLEncoding.EncodeToString(b), "=")
}

// split parses the compact serialization (RFC 7515 §7.1) and decodes each part strictly.
func split(token string) (header, claims, signature []byte, err error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, nil, nil, fmt.Errorf("%d parts", len(parts))
	}
	var out [3][]byte
	for i, p := range parts {
		out[i], err = base64.RawURLEncoding.Strict().DecodeString(p)
		if err != nil || encodeSegment(out[i]) != p {
			return nil, nil, nil, fmt.Errorf("part %d is not base64url: %w", i, err)
		}
	}
	return out[0], out[1], out[2], nil
}

// registry verifies like distribution's token.go: first the key from the first source in the
// header, then iss, aud and dates.
type registry struct {
	issuer, service string
	now             time.Time
	byKID           map[string]crypto.PublicKey
	roots           *x509.CertPool
}

func (r registry) accept(token string) error {
	header, claims, sig, err := split(token)
	if err != nil {
		return err
	}
	var h struct {
		Typ, Alg, Kid string
		JWK           json.RawMessage
		X5C           []string
	}
	if err := json.Unmarshal(header, &h); err != nil {
		return err
	}
	public, err := r.key(h.X5C, h.JWK, h.Kid)
	if err != nil {
		return err
	}
	if !verifySignature(public, h.Alg, token[:strings.LastIndexByte(token, '.')], sig) {
		return errors.New("signature")
	}
	var c struct {
		Iss, Sub      string
		Aud           string // 2.8: a list is an error
		Exp, Nbf, Iat int64
		Jti           string
		Access        []struct {
			Type, Name string
			Actions    []string
		}
	}
	if err := json.Unmarshal(claims, &c); err != nil {
		return err
	}
	switch now := r.now.Unix(); {
	case c.Iss != r.issuer:
		return errors.New("issuer")
	case c.Aud != r.service:
		return errors.New("audience")
	case now < c.Nbf || now < c.Iat:
		return errors.New("not yet")
	case now >= c.Exp:
		return errors.New("expired")
	}
	return nil
}

func (r registry) key(x5c []string, jwk json.RawMessage, kid string) (crypto.PublicKey, error) {
	switch {
	case len(x5c) > 0:
		return r.certified(x5c)
	case len(jwk) > 0:
		return nil, errors.New("jwk")
	case kid != "" && r.byKID[kid] != nil:
		return r.byKID[kid], nil
	}
	return nil, errors.New("unable to get token signing key")
}

func (r registry) certified(x5c []string) (crypto.PublicKey, error) {
	var chain []*x509.Certificate
	for _, s := range x5c {
		der, err := base64.StdEncoding.Strict().DecodeString(s)
		if err != nil {
			return nil, err
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		chain = append(chain, c)
	}
	intermediates := x509.NewCertPool()
	for _, c := range chain[1:] {
		intermediates.AddCert(c)
	}
	_, err := chain[0].Verify(
		x509.VerifyOptions{Roots: r.roots, Intermediates: intermediates, CurrentTime: r.now,
			KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	return chain[0].PublicKey, err
}
