package jwtsign

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"
	"unicode/utf8"
)

// Kind is a kind of key that GenerateKey makes.
type Kind string

const (
	P256    Kind = "p256"    // every registry since 2.8 reads it, and its signature costs a tenth of RSA's
	RSA     Kind = "rsa"     // 3072 bits
	Ed25519 Kind = "ed25519" // stops a 2.8 registry from starting
)

const (
	// rsaBits is what is advised beyond 2030 (NIST SP 800-57 part 1, table 4), for which a
	// certificate of ten years is made.
	rsaBits = 3072
	// certificateYears: nobody but the registry sees the certificate, and to change it is work on
	// two machines.
	certificateYears = 10
	// clockSkew: a registry whose clock is behind must not refuse a certificate that was made just
	// now.
	clockSkew = time.Hour
	// maxCommonName is ub-common-name of RFC 5280, appendix A.1, in characters.
	maxCommonName = 64
	// plainCommonName is for an issuer that is longer.
	plainCommonName = "dockerauth"
)

// GenerateKey makes a key that has no certificate and no id yet: it is for writing to files, not
// for signing.
func GenerateKey(kind Kind) (*Key, error) {
	private, err := generate(kind)
	if err != nil {
		return nil, fmt.Errorf("generate key: %w", err)
	}
	method, err := methodFor(private.Public())
	if err != nil {
		return nil, fmt.Errorf("generate key: %w", err)
	}
	return &Key{private: private, method: method}, nil
}

func generate(kind Kind) (crypto.Signer, error) {
	switch kind {
	case P256:
		return generateEC(elliptic.P256())
	case RSA:
		return rsa.GenerateKey(rand.Reader, rsaBits)
	case Ed25519:
		_, private, err := ed25519.GenerateKey(rand.Reader)
		return private, err
	}
	return nil, fmt.Errorf("unknown kind %q", kind)
}

// generateEC makes keys until there is one whose thumbprint all registries agree on.
func generateEC(curve elliptic.Curve) (crypto.Signer, error) {
	for {
		private, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil || checkCoordinates(private.Public()) == nil {
			return private, err
		}
	}
}

// PrivatePEM is the key as a file for private_key (PKCS#8). It is the secret itself.
func (k *Key) PrivatePEM() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k.private)
	if err != nil {
		return nil, fmt.Errorf("encode private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// SelfSigned makes a certificate for the key, as a file for certificate and for a registry's
// rootcertbundle. It is no CA: in the bundle it vouches for this one key and for nothing that the
// key's holder might sign. issuer becomes its common name, where it has room.
func (k *Key) SelfSigned(issuer string, now time.Time) ([]byte, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, fmt.Errorf("make certificate: %w", err)
	}
	if utf8.RuneCountInString(issuer) > maxCommonName {
		issuer = plainCommonName
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: issuer},
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              now.AddDate(certificateYears, 0, 0),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true, // written, critical, and CA:FALSE
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k.private)
	if err != nil {
		return nil, fmt.Errorf("make certificate: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

// newSerial is positive and of 128 random bits (RFC 5280 §4.1.2.2 allows 159).
func newSerial() (*big.Int, error) {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 128))
	if err != nil {
		return nil, err
	}
	return n.Add(n, big.NewInt(1)), nil
}
