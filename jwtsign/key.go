// Package jwtsign signs tokens for Docker registries, and signs and verifies refresh tokens.
//
// [LoadKey] reads a private key and its certificate, and a [Signer] makes tokens with it.
// Registries find the public key by the certificate or the key id in the header of the token. Only
// a Signer with the same key and issuer accepts a refresh token. The package knows no users and no
// HTTP.
package jwtsign

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"sync"

	"github.com/golang-jwt/jwt/v5"
)

// minRSABits is the minimum for RS256 (RFC 7518 §3.3).
const minRSABits = 2048

// maxRSABits bounds the time of a signature, for which a client waits. Twice the size takes six
// times as long.
const maxRSABits = 8192

// Key is a private key with the header fields of its tokens. It does not change and is safe for
// concurrent use.
type Key struct {
	private crypto.Signer
	method  jwt.SigningMethod
	kid     string              // "" with a certificate
	chain   []*x509.Certificate // x5c (RFC 7515 §4.1.6): the key's own certificate first
	header  string              // of tokens for registries, encoded; "" in a key that signs none

	mu      sync.Mutex
	derived map[string][]byte // by purpose
}

// Algorithm is the JWS name of the signatures this key makes: RS256, ES256, ES384, ES512 or EdDSA.
func (k *Key) Algorithm() string { return k.method.Alg() }

// Public is the key that verifies what this one signed.
func (k *Key) Public() crypto.PublicKey { return k.private.Public() }

// Equal reports whether two keys are the same.
func (k *Key) Equal(other *Key) bool {
	public, ok := k.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(other.Public())
}

// KeyID is the kid of the tokens of this key, "" if they carry a certificate.
func (k *Key) KeyID() string { return k.kid }

// Chain is the x5c of the tokens of this key: its certificate, then intermediates. It is nil if
// they have a kid.
func (k *Key) Chain() []*x509.Certificate { return append([]*x509.Certificate(nil), k.chain...) }

// methodFor returns the algorithm that registries accept for a key: RS256 and the ECDSA of the
// curve since 2.8, EdDSA since 3.0 (distribution registry/auth/token/token.go,
// defaultSigningAlgorithms). It refuses other keys.
func methodFor(public crypto.PublicKey) (jwt.SigningMethod, error) {
	switch pub := public.(type) {
	case *rsa.PublicKey:
		return rsaMethod(pub)
	case *ecdsa.PublicKey:
		return ecMethod(pub)
	case ed25519.PublicKey:
		return jwt.SigningMethodEdDSA, nil
	}
	return nil, problemf(CodeUnsuitable, keyCommand, "keys of this kind cannot sign tokens (%T)", public)
}

func rsaMethod(pub *rsa.PublicKey) (jwt.SigningMethod, error) {
	bits := pub.N.BitLen()
	if bits < minRSABits {
		return nil, problemf(CodeUnsuitable, keyCommand, "RSA key has %d bits, the least is %d", bits, minRSABits)
	}
	if bits > maxRSABits {
		return nil, problemf(CodeUnsuitable, keyCommand, "RSA key has %d bits, the most is %d", bits, maxRSABits)
	}
	return jwt.SigningMethodRS256, nil
}

func ecMethod(pub *ecdsa.PublicKey) (jwt.SigningMethod, error) {
	switch pub.Curve {
	case elliptic.P256():
		return jwt.SigningMethodES256, nil
	case elliptic.P384():
		return jwt.SigningMethodES384, nil
	case elliptic.P521():
		return jwt.SigningMethodES512, nil
	}
	return nil, problemf(CodeUnsuitable, keyCommand, "curve %s has no JWS algorithm, use P-256, P-384 or P-521",
		pub.Params().Name)
}

// setHeader encodes the header of tokens for registries: all have the same one. A registry uses
// only the first of x5c, jwk and kid, so the header has one of them.
func (k *Key) setHeader() {
	text, _ := json.Marshal(struct { // strings only: it cannot fail
		Algorithm string   `json:"alg"`
		ID        string   `json:"kid,omitempty"`
		Type      string   `json:"typ"`
		Chain     []string `json:"x5c,omitempty"`
	}{k.method.Alg(), k.kid, "JWT", encodeChain(k.chain)})
	k.header = encode(text)
}

// refreshHeader names no key, so that a registry finds none to verify a refresh token with
// (distribution registry/auth/token/token.go: "unable to get token signing key").
func (k *Key) refreshHeader() string {
	return encode([]byte(`{"alg":"` + k.method.Alg() + `","typ":"` + refreshType + `"}`))
}

// encodeChain encodes x5c in standard base64 with padding (RFC 7515 §4.1.6), unlike all other parts
// of a token.
func encodeChain(chain []*x509.Certificate) []string {
	x5c := make([]string, len(chain))
	for i, c := range chain {
		x5c[i] = base64.StdEncoding.EncodeToString(c.Raw)
	}
	return x5c
}
