package doctor

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"dockerauth/jwtsign"
)

// registryVersion is a version of the registry, where its rules about tokens differ (distribution
// registry/auth/token at v2.8.2, v3.0.0, v3.1.2).
type registryVersion string

const (
	registry28 registryVersion = "2.8"
	registry30 registryVersion = "3.0"
	registry31 registryVersion = "3.1" // and later
)

// leeway is what registries allow for clocks that differ (token.go, Leeway).
const leeway = 60 * time.Second

// registryTrust is what a registry knows about who may sign tokens.
type registryTrust struct {
	Bundle     []*x509.Certificate // rootcertbundle
	JWKS       []jwk               // of 3.x
	Algorithms []string            // signingalgorithms, of 3.x; none = all
}

// parseBundle reads a rootcertbundle as registries do: it skips what is no certificate
// (accesscontroller.go, getRootCerts).
func parseBundle(data []byte) ([]*x509.Certificate, error) {
	var bundle []*x509.Certificate
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("parse certificate %d: %w", len(bundle)+1, err)
		}
		bundle = append(bundle, c)
	}
	return bundle, nil
}

// starts says why a registry of that version would not start with this trust (accesscontroller.go,
// newAccessController).
func (t registryTrust) starts(version registryVersion) error {
	if version == registry28 {
		if len(t.Bundle) == 0 {
			return errors.New("it needs a rootcertbundle with at least one certificate")
		}
		for _, c := range t.Bundle {
			if !libtrustKnows(c.PublicKey) {
				return fmt.Errorf("it knows RSA, P-256, P-384 and P-521, and the bundle has a certificate with "+
					"another key (%T)", c.PublicKey)
			}
		}
		return nil
	}
	if len(t.Bundle) == 0 && len(t.JWKS) == 0 {
		return errors.New("it needs a rootcertbundle or a jwks with at least one key")
	}
	for _, name := range t.Algorithms {
		if !slices.Contains(registryAlgorithms(), name) {
			return fmt.Errorf("it knows no signing algorithm %q", name)
		}
	}
	return nil
}

// libtrustKnows is FromCryptoPublicKey of docker/libtrust key.go.
func libtrustKnows(public crypto.PublicKey) bool {
	switch pub := public.(type) {
	case *rsa.PublicKey:
		return true
	case *ecdsa.PublicKey:
		return pub.Curve == elliptic.P256() || pub.Curve == elliptic.P384() || pub.Curve == elliptic.P521()
	}
	return false
}

func registryAlgorithms() []string {
	return []string{"EdDSA", "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256",
		"PS384", "PS512"}
}

// accept says why a registry of that version, with this trust, issuer and service, would refuse a
// token; nil = it would take it. The order of the checks is the registry's, and so is that the
// first of x5c and kid decides alone. dockerauth puts no jwk into the header.
func (t registryTrust) accept(version registryVersion, issuer, service, token string, now time.Time) error {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return errors.New("it is no token")
	}
	var header struct {
		Alg, Kid string
		X5c      []string
	}
	if err := decodePart(parts[0], &header); err != nil {
		return err
	}
	if version != registry28 && len(t.Algorithms) > 0 && !slices.Contains(t.Algorithms, header.Alg) {
		return fmt.Errorf("its signingalgorithms lack %s", header.Alg)
	}
	key, err := t.key(version, header.X5c, header.Kid, now)
	if err != nil {
		return err
	}
	if err := verify(version, header.Alg, parts, key); err != nil {
		return err
	}
	return checkClaims(version, parts[1], issuer, service, now)
}

func decodePart(part string, into any) error {
	data, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return errors.New("it is no token")
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("it does not have the form of a token: %w", err)
	}
	return nil
}

// key is token.go, VerifySigningKey.
func (t registryTrust) key(version registryVersion, x5c []string, kid string, now time.Time) (crypto.PublicKey, error) {
	if len(x5c) > 0 {
		return t.certified(x5c, now)
	}
	if kid == "" {
		return nil, errors.New("the token names no key")
	}
	if version != registry28 {
		for _, k := range slices.Backward(t.JWKS) { // of two with one id the later counts
			if k.KeyID == kid {
				return k.Public, nil
			}
		}
	}
	for _, c := range slices.Backward(t.Bundle) {
		if idAt(version, c.PublicKey) == kid {
			return c.PublicKey, nil
		}
	}
	return nil, fmt.Errorf("it knows no key by the id %s", kid)
}

// certified verifies a token's certificate chain by the bundle.
func (t registryTrust) certified(x5c []string, now time.Time) (crypto.PublicKey, error) {
	if len(t.Bundle) == 0 {
		return nil, errors.New("tokens carry a certificate, and it has no rootcertbundle to hold it against")
	}
	chain := make([]*x509.Certificate, len(x5c))
	for i, text := range x5c {
		der, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, errors.New("the certificate in the token is no base64")
		}
		if chain[i], err = x509.ParseCertificate(der); err != nil {
			return nil, fmt.Errorf("parse the certificate in the token: %w", err)
		}
	}
	options := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
	for _, c := range t.Bundle {
		options.Roots.AddCert(c)
	}
	for _, c := range chain[1:] {
		options.Intermediates.AddCert(c)
	}
	if _, err := chain[0].Verify(options); err != nil {
		return nil, fmt.Errorf("its bundle does not vouch for the certificate in dockerauth's tokens: %w", err)
	}
	return chain[0].PublicKey, nil
}

// idAt is the id that a version gives a key of its bundle; "" = none. 2.8: libtrust. 3.0: RFC 7638,
// but for EC keys it takes the curve's base point for the key's own, so all keys of a curve have
// one id. 3.1: RFC 7638, but without leading zero bytes of a coordinate.
func idAt(version registryVersion, public crypto.PublicKey) string {
	var id string
	pub, ec := public.(*ecdsa.PublicKey)
	_, ed := public.(ed25519.PublicKey)
	switch {
	case version == registry28:
		id, _ = jwtsign.LibtrustID(public) // a key without an encoding has no id
	case version == registry30 && ec:
		id = ecThumbprint(pub.Params().Name, pub.Params().Gx.Bytes(), pub.Params().Gy.Bytes())
	case version == registry30 && ed:
	case ec:
		point, err := pub.Bytes() // 4, X, Y
		if err != nil {
			return ""
		}
		x, y := point[1:1+len(point)/2], point[1+len(point)/2:]
		id = ecThumbprint(pub.Params().Name, bytes.TrimLeft(x, "\x00"), bytes.TrimLeft(y, "\x00"))
	default:
		id, _ = jwtsign.Thumbprint(public)
	}
	return id
}

func ecThumbprint(curve string, x, y []byte) string {
	sum := sha256.Sum256(fmt.Appendf(nil, `{"crv":"%s","kty":"EC","x":"%s","y":"%s"}`, curve,
		base64.RawURLEncoding.EncodeToString(x), base64.RawURLEncoding.EncodeToString(y)))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func verify(version registryVersion, algorithm string, parts []string, key crypto.PublicKey) error {
	method := jwt.GetSigningMethod(algorithm)
	if method == nil || strings.HasPrefix(algorithm, "HS") || version == registry28 &&
		!strings.HasPrefix(algorithm, "RS") && !strings.HasPrefix(algorithm, "ES") {
		return fmt.Errorf("it knows no signatures by %s", algorithm)
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		return errors.New("it is no token")
	}
	if err := method.Verify(parts[0]+"."+parts[1], signature, key); err != nil {
		return fmt.Errorf("the signature is not by the key that it knows under that name: %w", err)
	}
	return nil
}

// checkClaims is token.go, Verify. 2.8 reads aud as one text, 3.x takes a list too.
func checkClaims(version registryVersion, part, issuer, service string, now time.Time) error {
	var c struct {
		Iss      string
		Aud      json.RawMessage
		Exp, Nbf int64
	}
	if err := decodePart(part, &c); err != nil {
		return err
	}
	audiences := make([]string, 1)
	if json.Unmarshal(c.Aud, &audiences[0]) != nil &&
		(version == registry28 || json.Unmarshal(c.Aud, &audiences) != nil) {
		return errors.New("it cannot read aud")
	}
	switch {
	case c.Iss != issuer:
		return fmt.Errorf("the token is from issuer %q, it wants %q", c.Iss, issuer)
	case !slices.Contains(audiences, service):
		return fmt.Errorf("the token is for service %q, it is %q", audiences, service)
	case now.After(time.Unix(c.Exp, 0).Add(leeway)):
		return errors.New("the token has expired")
	case now.Before(time.Unix(c.Nbf, 0).Add(-leeway)):
		return errors.New("the token is from the future; compare the clocks")
	}
	return nil
}
