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
	P256    Kind = "p256"    // read by every registry since 2.8; its signature costs a tenth of that of RSA
	RSA     Kind = "rsa"     // 3072 bits
	Ed25519 Kind = "ed25519" // registry 2.8 does not start with it
)

const (
	// rsaBits is the size recommended beyond 2030 (NIST SP 800-57 part 1, table 4).
	rsaBits = 3072
	// certificateYears is long because a change is work on two machines.
	certificateYears = 10
	// clockSkew backdates certificates, for registries whose clock is behind.
	clockSkew = time.Hour
	// maxCommonName is ub-common-name of RFC 5280, appendix A.1, in characters.
	maxCommonName = 64
	// plainCommonName replaces a longer issuer.
	plainCommonName = "dockerauth"
)

// GenerateKey makes a key without certificate and id. It cannot sign until it is written to a file
// and loaded.
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

// generateEC makes keys until all registries agree on the thumbprint of one.
func generateEC(curve elliptic.Curve) (crypto.Signer, error) {
	for {
		private, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil || checkCoordinates(private.Public()) == nil {
			return private, err
		}
	}
}

// PrivatePEM returns the secret key in PKCS#8, for the file that private_key names.
func (k *Key) PrivatePEM() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k.private)
	if err != nil {
		return nil, fmt.Errorf("encode private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// SelfSigned makes a certificate for the key, for the file that certificate names and for the
// rootcertbundle of a registry. It is no CA, so the registry trusts this key only. Its common name
// is the issuer if that fits.
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

// newSerial is a positive number of 128 random bits (RFC 5280 §4.1.2.2 allows 159).
func newSerial() (*big.Int, error) {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 128))
	if err != nil {
		return nil, err
	}
	return n.Add(n, big.NewInt(1)), nil
}
