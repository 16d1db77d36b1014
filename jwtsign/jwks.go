package jwtsign

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"math/big"
)

// jwk is a public key of a JWK set (RFC 7517 §4, RFC 7518 §6, RFC 8037 §2).
type jwk struct {
	Type      string `json:"kty"`
	Use       string `json:"use"`
	Algorithm string `json:"alg"`
	ID        string `json:"kid"`
	Curve     string `json:"crv,omitempty"`
	X         string `json:"x,omitempty"`
	Y         string `json:"y,omitempty"`
	N         string `json:"n,omitempty"`
	E         string `json:"e,omitempty"`
}

// JWKSet returns the public keys as the file that "jwks" of a registry 3.x names. Each is there
// under both ids that tokens may bear, since key_id may have been another one when it signed. The
// ids are those of RFC 7638 and of libtrust: the registry looks a kid up as it stands here, and
// computes none itself.
func JWKSet(keys ...*Key) ([]byte, error) {
	set := struct {
		Keys []jwk `json:"keys"`
	}{[]jwk{}}
	for _, key := range keys {
		one, err := key.jwk()
		if err != nil {
			return nil, fmt.Errorf("make JWK set: %w", err)
		}
		for _, id := range []func(crypto.PublicKey) (string, error){LibtrustID, Thumbprint} {
			if one.ID, err = id(key.Public()); err != nil {
				return nil, fmt.Errorf("make JWK set: %w", err)
			}
			set.Keys = append(set.Keys, one)
		}
	}
	text, err := json.MarshalIndent(set, "", "  ")
	return append(text, '\n'), err
}

// jwk has coordinates in full length: registries refuse a set with shorter ones.
func (k *Key) jwk() (jwk, error) {
	one := jwk{Use: "sig", Algorithm: k.Algorithm()}
	switch pub := k.Public().(type) {
	case *rsa.PublicKey:
		one.Type, one.N, one.E = "RSA", encode(pub.N.Bytes()), encode(big.NewInt(int64(pub.E)).Bytes())
	case *ecdsa.PublicKey:
		x, y, err := coordinates(pub)
		if err != nil {
			return one, err
		}
		one.Type, one.Curve, one.X, one.Y = "EC", pub.Params().Name, encode(x), encode(y)
	case ed25519.PublicKey:
		one.Type, one.Curve, one.X = "OKP", "Ed25519", encode(pub)
	default:
		return one, fmt.Errorf("no JWK for %T", pub)
	}
	return one, nil
}
