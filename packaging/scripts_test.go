package packaging

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

// The folder may have keys and certificates of others, under any name.
func TestPurgeDeletesOnlyWhatDockerauthMade(t *testing.T) {
	const first, second, other = "-----BEGIN\nfirst\n-----END\n", "-----BEGIN\nsecond\n-----END\n",
		"-----BEGIN\nother\n-----END\n"
	made := map[string]string{"privkey.pem": "", "cert.pem": first, "privkey-20300102.pem": "",
		"cert-20300102.pem": second, "privkey-20300102-1.pem": "", "privkey-20300102-99.pem": "",
		"cert-20300102-99.pem": "", ".privkey-20300103.pem.4711.dockerauth": ""}
	others := []string{"privkey-2030.pem", "privkey-20300102-1-old.pem", "privkey-203001020.pem", "privkey-x.pem",
		"cert-2030.pem", "cert-20300105.pem", "htpasswd", ".privkey.pem.swp"}
	for _, c := range []struct {
		name, bundle string
		stays        bool
	}{
		{"a bundle of both certificates", first + second, false},
		{"a bundle of one", second, false},
		{"a bundle with another certificate", first + other, true},
		{"another bundle", other, true},
		{"a bundle with a comment", "# of the registry\n" + first, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			folder := t.TempDir()
			put := func(name, text string) {
				if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			for name, text := range made {
				put(name, text)
			}
			for _, name := range others {
				put(name, "")
			}
			put("bundle.pem", c.bundle)
			want := slices.Clone(others)
			if c.stays {
				want = append(want, "bundle.pem")
			}
			out, err := exec.Command("sh", "-euc", ". scripts/includes; delete_keys \"$1\"", "sh",
				folder).CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			var said string
			for _, key := range []string{"privkey.pem", "privkey-20300102.pem", "privkey-20300102-1.pem",
				"privkey-20300102-99.pem"} {
				said += "dockerauth: deleted the key " + folder + "/" + key + ", its certificate, state and logs\n"
			}
			if string(out) != said {
				t.Errorf("it says %s", out)
			}
			entries, err := os.ReadDir(folder)
			if err != nil {
				t.Fatal(err)
			}
			var left []string
			for _, entry := range entries {
				left = append(left, entry.Name())
			}
			slices.Sort(left)
			slices.Sort(want)
			if !slices.Equal(left, want) {
				t.Errorf("left are %q, want %q", left, want)
			}
		})
	}
}
