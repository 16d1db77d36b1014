package e2e

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
	"math/big"
	"testing"
	"time"
)

// keyKind names a kind of signing key in test names.
type keyKind string

const (
	rsa2048 keyKind = "RSA-2048"
	p256    keyKind = "P-256"
	p384    keyKind = "P-384"
	// p256Short is one of 128 keys: registries compute a wrong thumbprint for it.
	p256Short keyKind = "P-256 with a zero byte first"
	p521      keyKind = "P-521"
	ed        keyKind = "Ed25519"
)

func makeKey(t testing.TB, kind keyKind) crypto.Signer {
	t.Helper()
	switch kind {
	case rsa2048:
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		return key
	case p256:
		return fullLength(t, elliptic.P256())
	case p256Short:
		return generateEC(t, elliptic.P256(), false)
	case p384:
		return fullLength(t, elliptic.P384())
	case p521:
		return fullLength(t, elliptic.P521())
	case ed:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	t.Fatalf("make key: unknown kind %q", kind)
	return nil
}

// fullLength makes a key whose coordinates need all their bytes: for others, distribution 3.1
// computes a wrong thumbprint (registry/auth/token/util.go takes big.Int.Bytes; RFC 7638 §3.1 with
// RFC 7518 §6.2.1.2 keeps leading zeros).
func fullLength(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	return generateEC(t, curve, true)
}

func generateEC(t testing.TB, curve elliptic.Curve, full bool) *ecdsa.PrivateKey {
	t.Helper()
	for {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		point, err := key.PublicKey.Bytes() // 4, X, Y
		if err != nil {
			t.Fatal(err)
		}
		if size := len(point) / 2; (point[1] != 0 && point[1+size] != 0) == full {
			return key
		}
	}
}

// makeCertificate makes a self-signed certificate. It is no CA: in a registry's rootcertbundle it
// certifies this one key and nothing else.
func makeCertificate(t testing.TB, key crypto.Signer) *x509.Certificate {
	t.Helper()
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "dockerauth e2e"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
	}
	return signCertificate(t, template, template, key.Public(), key)
}

func signCertificate(t testing.TB, template, parent *x509.Certificate, public, by any) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, by)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func pemKey(t testing.TB, key crypto.Signer) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func pemCertificate(c *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
}
