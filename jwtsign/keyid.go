package jwtsign

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base32"
	"encoding/base64"
	"fmt"
	"math/big"
	"strings"
)

// KeyID is the rule by which a registry finds the public key of a token without a certificate.
type KeyID string

const (
	// KeyIDUnset is libtrust, except for Ed25519, which only registries with thumbprints can read.
	KeyIDUnset KeyID = ""
	// KeyIDLibtrust is the id that registry 2.8 computes for every certificate in rootcertbundle.
	// The PHP service used it.
	KeyIDLibtrust KeyID = "libtrust"
	// KeyIDThumbprint is the thumbprint of RFC 7638, which registry 3.x computes instead.
	KeyIDThumbprint KeyID = "thumbprint"
)

// keyID returns the kid of a key without a certificate.
func keyID(public crypto.PublicKey, id KeyID) (string, error) {
	if id == KeyIDUnset {
		id = KeyIDLibtrust
		if _, ok := public.(ed25519.PublicKey); ok {
			id = KeyIDThumbprint
		}
	}
	switch id {
	case KeyIDLibtrust:
		// Also for Ed25519, if configured: no registry computes it, but it may be listed in a JWKS
		// file.
		return LibtrustID(public)
	case KeyIDThumbprint:
		if err := checkCoordinates(public); err != nil {
			return "", err
		}
		return Thumbprint(public)
	}
	return "", problemf(CodeIDRule, `write "libtrust" (registry 2.8) or "thumbprint" (registry 3.x)`,
		"unknown key id rule")
}

// LibtrustID returns the id of a key in registry 2.8: base32 of the first 30 bytes of SHA-256 over
// its PKIX DER, in twelve groups of four joined by colons (docker/libtrust util.go,
// keyIDFromCryptoKey).
func LibtrustID(public crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return "", fmt.Errorf("encode public key: %w", err)
	}
	sum := sha256.Sum256(der)
	s := base32.StdEncoding.EncodeToString(sum[:30])
	groups := make([]string, 0, len(s)/4)
	for ; s != ""; s = s[4:] {
		groups = append(groups, s[:4])
	}
	return strings.Join(groups, ":"), nil
}

// Thumbprint returns the SHA-256 JWK thumbprint of a key (RFC 7638) in base64url.
func Thumbprint(public crypto.PublicKey) (string, error) {
	var jwk string
	switch pub := public.(type) {
	case *rsa.PublicKey:
		jwk = fmt.Sprintf(`{"e":"%s","kty":"RSA","n":"%s"}`, encode(big.NewInt(int64(pub.E)).Bytes()),
			encode(pub.N.Bytes()))
	case *ecdsa.PublicKey:
		x, y, err := coordinates(pub)
		if err != nil {
			return "", err
		}
		jwk = fmt.Sprintf(`{"crv":"%s","kty":"EC","x":"%s","y":"%s"}`, pub.Params().Name, encode(x), encode(y))
	case ed25519.PublicKey:
		// RFC 8037 §2
		jwk = fmt.Sprintf(`{"crv":"Ed25519","kty":"OKP","x":"%s"}`, encode(pub))
	default:
		return "", fmt.Errorf("no thumbprint for %T", public)
	}
	sum := sha256.Sum256([]byte(jwk))
	return encode(sum[:]), nil
}

// checkCoordinates refuses EC keys on whose thumbprint registry 3.1 and RFC 7638 disagree. 3.1 uses
// big.Int.Bytes, which drops leading zero bytes that RFC 7518 §6.2.1.2 keeps. This concerns one
// P-256 key in 128, and three in four of P-521, whose first byte has a single bit.
func checkCoordinates(public crypto.PublicKey) error {
	pub, ok := public.(*ecdsa.PublicKey)
	if !ok {
		return nil
	}
	x, y, err := coordinates(pub)
	if err != nil {
		return err
	}
	if x[0] != 0 && y[0] != 0 {
		return nil
	}
	return problemf(CodeIDRule, "configure certificate, or make a new key, or set key_id: libtrust for registry 2.8",
		"registries compute another thumbprint for this key: a coordinate begins with a zero byte")
}

// coordinates returns X and Y in full length (RFC 7518 §6.2.1.2).
func coordinates(pub *ecdsa.PublicKey) (x, y []byte, err error) {
	point, err := pub.Bytes()
	if err != nil {
		return nil, nil, fmt.Errorf("encode public key: %w", err)
	}
	point = point[1:] // SEC 1 §2.3.3: 0x04, X, Y
	return point[:len(point)/2], point[len(point)/2:], nil
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
