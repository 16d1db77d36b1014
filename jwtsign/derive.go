package jwtsign

import (
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
)

// Derive returns 32 secret bytes that only the holders of this key can make, others for each
// purpose (RFC 5869). They tell nothing of the key.
func (k *Key) Derive(purpose string) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k.private)
	if err != nil {
		return nil, fmt.Errorf("derive secret: %w", err)
	}
	defer clear(der)
	return hkdf.Key(sha256.New, der, nil, "dockerauth "+purpose, sha256.Size)
}
