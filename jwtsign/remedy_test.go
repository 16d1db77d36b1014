package jwtsign

import (
	"crypto/elliptic"
	"crypto/x509"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The folder of a key may be another user's, and root pastes the remedy.
func TestARemedyFollowsNoLinkBesideTheFile(t *testing.T) {
	good := pkcs8(newEC(elliptic.P256(), false))
	for _, c := range []struct {
		name string
		file []byte
	}{
		{"a key as DER", must(x509.MarshalPKCS8PrivateKey(newEC(elliptic.P256(), false)))},
		{"UTF-16", utf16LE(good)},
		{"a key with its certificate", join(good, certify("x", newEC(elliptic.P256(), false), nil, nil).pem)},
	} {
		t.Run(c.name, func(t *testing.T) {
			path, victim := write(t, c.file, 0o600), filepath.Join(t.TempDir(), "victim")
			if err := os.Symlink(victim, path+".new"); err != nil {
				t.Fatal(err)
			}
			_, err := LoadKey(path, "", "")
			var fe *FileError
			if !errors.As(err, &fe) {
				t.Fatal(err)
			}
			if out, err := exec.Command("sh", "-c", fe.Hint).CombinedOutput(); err != nil {
				t.Fatalf("%s: %v: %s", fe.Hint, err, out)
			}
			if _, err := os.Lstat(victim); err == nil {
				t.Errorf("%s writes through the link", fe.Hint)
			}
			if _, err := LoadKey(path, "", ""); err != nil {
				t.Error(err)
			}
		})
	}
}
