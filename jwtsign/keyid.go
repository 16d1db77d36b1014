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

// KeyID is the rule by which a registry finds the public key of a token that carries no
// certificate.
type KeyID string

const (
	// KeyIDUnset leaves the choice to the key: libtrust, except for Ed25519, which only registries
	// that know thumbprints can read.
	KeyIDUnset KeyID = ""
	// KeyIDLibtrust is the id that registry 2.8 computes for every certificate in rootcertbundle,
	// and the PHP service's.
	KeyIDLibtrust KeyID = "libtrust"
	// KeyIDThumbprint is RFC 7638, which registry 3.x computes in place of the former.
	KeyIDThumbprint KeyID = "thumbprint"
)

// keyID is the kid of a key that has no certificate.
func keyID(public crypto.PublicKey, id KeyID) (string, error) {
	if id == KeyIDUnset {
		id = KeyIDLibtrust
		if _, ok := public.(ed25519.PublicKey); ok {
			id = KeyIDThumbprint
		}
	}
	switch id {
	case KeyIDLibtrust:
		// Also for Ed25519, when asked for: no registry computes it, but one with a JWKS file looks
		// for whatever kid is listed there.
		return LibtrustID(public)
	case KeyIDThumbprint:
		if err := checkCoordinates(public); err != nil {
			return "", err
		}
		return Thumbprint(public)
	}
	return "", problemf(`write "libtrust" (registry 2.8) or "thumbprint" (registry 3.x)`, "unknown key id rule")
}

// LibtrustID is the id that registry 2.8 gives a key: base32 of the first 30 bytes of SHA-256 over
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

// Thumbprint is the SHA-256 JWK thumbprint of RFC 7638, base64url: the hash of the key's required
// members in alphabetical order, without white space.
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

// checkCoordinates refuses the EC keys on whose thumbprint registry 3.1 and RFC 7638 disagree: 3.1
// computes it from big.Int.Bytes, which drops leading zero bytes that RFC 7518 §6.2.1.2 keeps. One
// P-256 key in 128 is such a key, and of P-521, whose first byte holds a single bit, three in four.
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
	return problemf("configure certificate, or make a new key, or set key_id: libtrust for registry 2.8",
		"registries compute another thumbprint for this key: a coordinate begins with a zero byte")
}

// coordinates are of full length, as RFC 7518 §6.2.1.2 writes them.
func coordinates(pub *ecdsa.PublicKey) (x, y []byte, err error) {
	point, err := pub.Bytes()
	if err != nil {
		return nil, nil, fmt.Errorf("encode public key: %w", err)
	}
	point = point[1:] // SEC 1 §2.3.3: 0x04, X, Y
	return point[:len(point)/2], point[len(point)/2:], nil
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func encodedLen(n int) int { return base64.RawURLEncoding.EncodedLen(n) }
