package e2e

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"testing"
)

func TestAProcessIsStoppedAndItsOutputKept(t *testing.T) {
	p := start(t, "sh", exec.Command("sh", "-c", "echo hello; exec cat /dev/zero >/dev/null"))
	p.until(t, "say hello", func() bool { return p.output() == "hello\n" })
	if err := p.stop(t); err == nil || p.running() {
		t.Errorf("stopped process: running %v, error %v; want gone by a signal", p.running(), err)
	}
}

func TestAFreePortCanBeListenedOnAndIsNotGivenTwice(t *testing.T) {
	a, b := freePort(t), freePort(t)
	if a == b {
		t.Errorf("port %d was given twice", a)
	}
}

func TestEveryKindOfKeyGetsACertificateThatVouchesForItAlone(t *testing.T) {
	for _, kind := range []keyKind{rsa2048, p256, p384, p521, ed} {
		t.Run(string(kind), func(t *testing.T) {
			cert := makeCertificate(t, makeKey(t, kind))
			if cert.IsCA {
				t.Error("the certificate is a CA: every certificate it signs could sign tokens")
			}
			roots := x509.NewCertPool()
			roots.AddCert(cert)
			if _, err := cert.Verify(x509.VerifyOptions{Roots: roots,
				KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
				t.Errorf("verify certificate as its own root: %v", err)
			}
		})
	}
}

func TestASiteHasItsFilesAndAPrivateKeyOnlyItsOwnerReads(t *testing.T) {
	s := newSite(t, siteOptions{key: p256, certificate: true})
	for _, f := range []string{s.keyFile, s.certFile, s.configFile, s.confdir + "/dockerauth"} {
		if _, err := os.Stat(f); err != nil {
			t.Error(err)
		}
	}
	info, err := os.Stat(s.keyFile)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("key file mode %v, want 0600", info.Mode().Perm())
	}
	b, err := os.ReadFile(s.certFile)
	if err != nil {
		t.Fatal(err)
	}
	if block, _ := pem.Decode(b); block == nil || fmt.Sprintf("%x", block.Bytes) != fmt.Sprintf("%x", s.cert.Raw) {
		t.Error("the certificate file does not hold the site's certificate")
	}
}
