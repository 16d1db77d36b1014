package jwtsign

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
)

// Derive returns 32 secret bytes for a purpose (RFC 5869). Only holders of the key can compute
// them, and they reveal nothing of the key. It remembers them: encoding the key takes longer than a
// signature.
func (k *Key) Derive(purpose string) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if secret, ok := k.derived[purpose]; ok {
		return bytes.Clone(secret), nil
	}
	der, err := x509.MarshalPKCS8PrivateKey(k.private)
	if err != nil {
		return nil, fmt.Errorf("derive secret: %w", err)
	}
	defer clear(der)
	secret, err := hkdf.Key(sha256.New, der, nil, "dockerauth "+purpose, sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("derive secret: %w", err)
	}
	if k.derived == nil {
		k.derived = map[string][]byte{}
	}
	k.derived[purpose] = secret
	return bytes.Clone(secret), nil
}
