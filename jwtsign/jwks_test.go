package jwtsign

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"strings"
	"testing"
	"time"
)

// readJWKSet reads a set as RFC 7517, RFC 7518 §6 and RFC 8037 §2 say. Coordinates have the full
// length.
func readJWKSet(t *testing.T, text []byte) map[string]crypto.PublicKey {
	t.Helper()
	var set struct {
		Keys []map[string]string
	}
	if err := json.Unmarshal(text, &set); err != nil || set.Keys == nil {
		t.Fatalf("%v: %s", err, text)
	}
	bytesOf := func(text string) []byte { return must(base64.RawURLEncoding.Strict().DecodeString(text)) }
	keys := map[string]crypto.PublicKey{}
	for _, k := range set.Keys {
		if k["use"] != "sig" || k["d"] != "" {
			t.Errorf("key %v", k)
		}
		switch k["kty"] {
		case "RSA":
			keys[k["kid"]] = &rsa.PublicKey{N: new(big.Int).SetBytes(bytesOf(k["n"])),
				E: int(new(big.Int).SetBytes(bytesOf(k["e"])).Int64())}
		case "EC":
			curve := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(),
				"P-521": elliptic.P521()}[k["crv"]]
			x, y := bytesOf(k["x"]), bytesOf(k["y"])
			if size := (curve.Params().BitSize + 7) / 8; len(x) != size || len(y) != size {
				t.Errorf("coordinates of %d and %d bytes, want %d", len(x), len(y), size)
			}
			keys[k["kid"]] = must(ecdsa.ParseUncompressedPublicKey(curve, append(append([]byte{4}, x...), y...)))
		case "OKP":
			keys[k["kid"]] = ed25519.PublicKey(bytesOf(k["x"]))
		}
	}
	if len(keys) != len(set.Keys) {
		t.Errorf("%d ids of %d keys", len(keys), len(set.Keys))
	}
	return keys
}

// A registry that has the set alone accepts the tokens of each key, with either kind of id.
func TestJWKSetHasEachKeyUnderEachID(t *testing.T) {
	var keys []*Key
	for _, c := range everyKey() {
		keys = append(keys, load(t, c.key, ""))
	}
	set, err := JWKSet(keys...)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(set), "-----BEGIN") {
		t.Error("the set has PEM in it")
	}
	byKID := readJWKSet(t, set)
	if len(byKID) != 2*len(keys) {
		t.Errorf("%d ids for %d keys", len(byKID), len(keys))
	}
	for _, c := range keys {
		for _, rule := range []KeyID{KeyIDLibtrust, KeyIDThumbprint} {
			path := write(t, pkcs8(c.private), 0o600)
			key, err := LoadKey(path, "", rule)
			if err != nil { // its thumbprint is refused, so no token bears it
				continue
			}
			token, _, err := fixed(key).AccessToken("alice", service, time.Minute, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := (registry{issuer: issuer, service: service, now: noon, byKID: byKID}).accept(token); err != nil {
				t.Errorf("%s by %s: a registry says %v", c.Algorithm(), rule, err)
			}
		}
	}
	if empty, err := JWKSet(); err != nil || string(empty) != "{\n  \"keys\": []\n}\n" {
		t.Errorf("without keys: %q, %v", empty, err)
	}
}
