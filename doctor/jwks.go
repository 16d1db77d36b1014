package doctor

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
)

// jwk is a key of a JWK set (RFC 7517).
type jwk struct {
	KeyID  string
	Public crypto.PublicKey // nil: of a kind that dockerauth does not sign with
	Secret bool             // the set has the private half too, or a symmetric key
}

// parseJWKS reads the file that "jwks" of a registry names. Errors repeat nothing of it.
func parseJWKS(data []byte) ([]jwk, error) {
	var set struct {
		Keys []struct{ Kid, Kty, Crv, N, E, X, Y, D, K string }
	}
	if json.Unmarshal(data, &set) != nil {
		return nil, errors.New("it is no JWK set: {\"keys\": […]}")
	}
	keys := make([]jwk, len(set.Keys))
	for i, k := range set.Keys {
		keys[i] = jwk{KeyID: k.Kid, Secret: k.D != "" || k.K != ""}
		var err error
		switch k.Kty {
		case "RSA":
			keys[i].Public, err = rsaJWK(k.N, k.E)
		case "EC":
			keys[i].Public, err = ecJWK(k.Crv, k.X, k.Y)
		case "OKP":
			keys[i].Public, err = edJWK(k.Crv, k.X)
		case "":
			err = errors.New("no kty")
		}
		if err != nil {
			return nil, fmt.Errorf("key %d of it cannot be read: %w", i+1, err)
		}
	}
	return keys, nil
}

var errNumbers = errors.New("its numbers are wrong")

func rsaJWK(n, e string) (crypto.PublicKey, error) {
	modulus, err1 := base64.RawURLEncoding.DecodeString(n)
	exponent, err2 := base64.RawURLEncoding.DecodeString(e)
	if err1 != nil || err2 != nil || len(modulus) == 0 || len(exponent) == 0 || len(exponent) > 4 {
		return nil, errNumbers
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(modulus), E: int(new(big.Int).SetBytes(exponent).Int64())}, nil
}

func ecJWK(name, x, y string) (crypto.PublicKey, error) {
	var curve elliptic.Curve
	switch name {
	case "P-256":
		curve = elliptic.P256()
	case "P-384":
		curve = elliptic.P384()
	case "P-521":
		curve = elliptic.P521()
	default:
		return nil, errors.New("no such curve")
	}
	left, err1 := base64.RawURLEncoding.DecodeString(x)
	right, err2 := base64.RawURLEncoding.DecodeString(y)
	if size := (curve.Params().BitSize + 7) / 8; err1 != nil || err2 != nil || len(left) != size || len(right) != size {
		return nil, errNumbers
	}
	pub, err := ecdsa.ParseUncompressedPublicKey(curve, append(append([]byte{4}, left...), right...))
	if err != nil {
		return nil, errNumbers
	}
	return pub, nil
}

func edJWK(curve, x string) (crypto.PublicKey, error) {
	if curve != "Ed25519" {
		return nil, nil
	}
	point, err := base64.RawURLEncoding.DecodeString(x)
	if err != nil || len(point) != ed25519.PublicKeySize {
		return nil, errNumbers
	}
	return ed25519.PublicKey(point), nil
}
