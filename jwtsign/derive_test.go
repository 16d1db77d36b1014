package jwtsign

import (
	"bytes"
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
	}
	if bytes.Equal(must(load(t, newEd25519(), KeyIDUnset).Derive("throttle")), must(load(t, newEd25519(), KeyIDUnset).Derive("throttle"))) {
		t.Error("two keys have one secret")
	}
}
