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
	"math/big"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// noon is the current time in every test.
var noon = time.Date(2030, 1, 2, 12, 0, 0, 0, time.UTC)

var rsa2048 = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// newEC makes a key with or without a coordinate that begins with a zero byte.
func newEC(curve elliptic.Curve, leadingZero bool) *ecdsa.PrivateKey {
	for {
		k := must(ecdsa.GenerateKey(curve, rand.Reader))
		x, y, _ := coordinates(&k.PublicKey)
		if (x[0] == 0 || y[0] == 0) == leadingZero {
			return k
		}
	}
}

func newEd25519() ed25519.PrivateKey {
	_, k, err := ed25519.GenerateKey(rand.Reader)
	return must(k, err)
}

func pkcs8(key any) []byte {
	return pemOf("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(key)))
}

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// write puts data into a file in a new folder.
func write(t testing.TB, data []byte, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file.pem")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // independent of the umask
		t.Fatal(err)
	}
	return path
}

func load(t testing.TB, key crypto.Signer, id KeyID) *Key {
	t.Helper()
	k, err := LoadKey(write(t, pkcs8(key), 0o600), "", id)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func loadWith(t testing.TB, key crypto.Signer, chain ...[]byte) *Key {
	t.Helper()
	k, err := loadKey(write(t, pkcs8(key), 0o600), write(t, join(chain...), 0o644), "", noon)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func join(parts ...[]byte) (all []byte) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// authority is a certificate with the key that issues others.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
	pem  []byte
}

// certify makes a certificate for public, by itself when by is nil. Its dates are an hour around
// noon unless change says otherwise.
func certify(name string, key crypto.Signer, by *authority, change func(*x509.Certificate)) *authority {
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             noon.Add(-time.Hour),
		NotAfter:              noon.Add(time.Hour),
		BasicConstraintsValid: true,
	}
	if change != nil {
		change(template)
	}
	parent, signer := template, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der := must(x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer))
	return &authority{cert: must(x509.ParseCertificate(der)), key: key, pem: pemOf("CERTIFICATE", der)}
}

func isCA(c *x509.Certificate) {
	c.IsCA = true
	c.KeyUsage = x509.KeyUsageCertSign
}
