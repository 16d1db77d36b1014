package jwtsign

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"testing"
)

func TestDerivedSecretsDifferByKeyAndPurpose(t *testing.T) {
	for _, one := range everyKey() {
		k := load(t, one.key, KeyIDUnset)
		secret, again, other := must(k.Derive("throttle")), must(k.Derive("throttle")), must(k.Derive("something else"))
		if len(secret) != 32 || !bytes.Equal(secret, again) {
			t.Errorf("%s: %d bytes, or not the same ones twice", one.name, len(secret))
		}
		if bytes.Equal(secret, other) {
			t.Errorf("%s: one secret for two purposes", one.name)
		}
		// HKDF computed from the private key; one from the public key would not be secret.
		extracted := mac(make([]byte, 32), must(x509.MarshalPKCS8PrivateKey(one.key)))
		if want := mac(extracted, []byte("dockerauth throttle\x01")); !bytes.Equal(secret, want) {
			t.Errorf("%s: it is not derived from the private key", one.name)
		}
	}
	if bytes.Equal(must(load(t, newEd25519(), KeyIDUnset).Derive("throttle")),
		must(load(t, newEd25519(), KeyIDUnset).Derive("throttle"))) {
		t.Error("two keys have one secret")
	}
}

func mac(key, text []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(text)
	return h.Sum(nil)
}
