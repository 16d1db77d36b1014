package jwtsign

import (
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
)

// Derive returns 32 secret bytes for a purpose (RFC 5869). Only holders of the key can compute
// them, and they reveal nothing of the key.
func (k *Key) Derive(purpose string) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k.private)
	if err != nil {
		return nil, fmt.Errorf("derive secret: %w", err)
	}
	defer clear(der)
	return hkdf.Key(sha256.New, der, nil, "dockerauth "+purpose, sha256.Size)
}
