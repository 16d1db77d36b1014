package jwtsign

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"strings"
	"testing"
	"time"
)

var generatedKinds = map[Kind]string{P256: "ES256", RSA: "RS256", Ed25519: "EdDSA"}

// generated makes a key and its certificate, and loads both from files as the service does.
func generated(t *testing.T, kind Kind, issuer string) *Key {
	t.Helper()
	k := must(GenerateKey(kind))
	certificate := must(k.SelfSigned(issuer, noon))
	k, err := loadKey(write(t, must(k.PrivatePEM()), 0o640), write(t, certificate, 0o644), KeyIDUnset, noon)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestARegistryAcceptsWhatAGeneratedKeySigns(t *testing.T) {
	for kind, algorithm := range generatedKinds {
		k := generated(t, kind, "auth.example.com")
		if k.Algorithm() != algorithm {
			t.Errorf("%s signs %s", kind, k.Algorithm())
		}
		roots := x509.NewCertPool()
		roots.AddCert(k.Chain()[0])
		for _, when := range []time.Time{noon.Add(-30 * time.Minute), noon, noon.AddDate(10, 0, -1)} {
			signer := &Signer{Key: k, Issuer: "auth.example.com", Now: func() time.Time { return when }}
			access := []map[string]any{{"type": "repository", "name": "alice/app", "actions": []string{"pull", "push"}}}
			token, _, err := signer.AccessToken("alice", "registry.example.com", time.Hour, access)
			if err != nil {
				t.Fatal(err)
			}
			if err := (registry{issuer: "auth.example.com", service: "registry.example.com", now: when,
				roots: roots}).accept(token); err != nil {
				t.Errorf("%s at %s: %v", kind, when, err)
			}
			if len(token) > 4<<10 { // half of what web servers accept as a header
				t.Errorf("%s: a token of one scope has %d bytes", kind, len(token))
			}
		}
	}
}

func TestAGeneratedCertificateVouchesForOneKeyOnly(t *testing.T) {
	basicConstraints := asn1.ObjectIdentifier{2, 5, 29, 19}
	for kind := range generatedKinds {
		c := generated(t, kind, "auth.example.com").Chain()[0]
		critical := false
		for _, e := range c.Extensions {
			critical = critical || e.Id.Equal(basicConstraints) && e.Critical
		}
		if c.IsCA || !c.BasicConstraintsValid || !critical || c.KeyUsage != x509.KeyUsageDigitalSignature {
			t.Errorf("%s: CA %v, basic constraints %v, critical %v, key usage %v", kind, c.IsCA,
				c.BasicConstraintsValid, critical, c.KeyUsage)
		}
		if want := noon.AddDate(10, 0, 0); !c.NotAfter.Equal(want) {
			t.Errorf("%s: expires %s, want %s", kind, c.NotAfter, want)
		}
		if want := noon.Add(-time.Hour); !c.NotBefore.Equal(want) {
			t.Errorf("%s: begins %s, want %s", kind, c.NotBefore, want)
		}
		if again := generated(t, kind, "auth.example.com").Chain()[0]; c.SerialNumber.Sign() <= 0 ||
			c.SerialNumber.Cmp(again.SerialNumber) == 0 {
			t.Errorf("%s: serial %v, and then %v", kind, c.SerialNumber, again.SerialNumber)
		}
	}
}

func TestTheCommonNameOfACertificateIsTheIssuerIfItFits(t *testing.T) {
	long := strings.Repeat("ü", 64)
	for issuer, want := range map[string]string{"auth.example.com": "auth.example.com",
		"Docker registry: \"main\"": "Docker registry: \"main\"", long: long, long + "x": "dockerauth"} {
		if got := generated(t, P256, issuer).Chain()[0].Subject.CommonName; got != want {
			t.Errorf("%q: %q, want %q", issuer, got, want)
		}
	}
}

// Of a thousand random keys, eight have a short coordinate.
func TestEveryGeneratedKeyHasOneThumbprint(t *testing.T) {
	for range 1000 {
		x, y, err := coordinates(must(GenerateKey(P256)).Public().(*ecdsa.PublicKey))
		if err != nil || x[0] == 0 || y[0] == 0 {
			t.Fatalf("%x %x %v", x, y, err)
		}
	}
}

func TestAGeneratedKeyIsPKCS8AndLargeEnough(t *testing.T) {
	k := must(GenerateKey(RSA))
	if bits := k.Public().(*rsa.PublicKey).N.BitLen(); bits != 3072 {
		t.Errorf("%d bits", bits)
	}
	if b, rest := pem.Decode(must(k.PrivatePEM())); b == nil || b.Type != "PRIVATE KEY" || len(rest) != 0 {
		t.Errorf("not one PKCS#8 block")
	}
	if _, err := GenerateKey("dsa"); err == nil {
		t.Error("a key of an unknown kind was made")
	}
}
