package bench

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// measureLimits compares Go's signatures with OpenSSL's: no front end signs faster on one core.
func measureLimits(t *testing.T) {
	digest := sha256.Sum256([]byte("claims"))
	ec, rsa := newKey(t, false), newKey(t, true)
	signature, err := ec.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	sign := func(key crypto.Signer) func() {
		return func() {
			if _, err := key.Sign(rand.Reader, digest[:], crypto.SHA256); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, limit := range []struct {
		name, algorithm string
		verify          bool
		do              func()
	}{
		{"sign, P-256", "ecdsap256", false, sign(ec)},
		{"verify, P-256", "ecdsap256", true, func() {
			if !ecdsa.VerifyASN1(ec.Public().(*ecdsa.PublicKey), digest[:], signature) {
				t.Fatal("the signature is wrong")
			}
		}},
		{"sign, RSA 2048", "rsa2048", false, sign(rsa)},
	} {
		r := row{Group: "limits", Work: limit.name + ", one core", A: "Go", AUnit: "µs", B: "OpenSSL"}
		interleave(2,
			func(warm bool) {
				if took := microseconds(limit.do); !warm {
					r.Values = append(r.Values, took)
				}
			},
			func(warm bool) {
				if took := opensslSpeed(t, limit.algorithm, limit.verify); !warm {
					r.References = append(r.References, took)
				}
			})
		add(t, r)
	}
}

func microseconds(do func()) float64 {
	result := testing.Benchmark(func(b *testing.B) {
		for b.Loop() {
			do()
		}
	})
	return float64(result.NsPerOp()) / 1000
}

// opensslSpeed returns the microseconds of one operation.
func opensslSpeed(t testing.TB, algorithm string, verify bool) float64 {
	t.Helper()
	out, err := exec.Command("openssl", "speed", "-mr", "-seconds", "1", algorithm).Output()
	if err != nil {
		t.Fatalf("openssl speed: %v", err)
	}
	for line := range strings.Lines(string(out)) {
		// +F2:N:BITS:SIGN:VERIFY for RSA, +F4 for ECDSA, each a second
		if f := strings.Split(strings.TrimSpace(line), ":"); len(f) == 5 && (f[0] == "+F2" || f[0] == "+F4") {
			at := 3
			if verify {
				at = 4
			}
			if each, err := strconv.ParseFloat(f[at], 64); err == nil && each > 0 {
				return 1e6 / each
			}
		}
	}
	t.Fatalf("openssl speed %s: no result in %s", algorithm, out)
	return 0
}
