package config

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Programs and the doctor's findings depend on the codes.
func TestFaultsHaveCodes(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       Code
	}{
		{"nothing written in yet", "private_key: k\nissuer: \"\"\naudience: \"\"\n", CodeNotSetUp},
		{"an unknown key", head + "isuer: x\n", CodeUnknownKey},
		{"no issuer", "private_key: k\naudience: a\n", CodeMissingKey},
		{"an issuer without a value", "private_key: k\nissuer: ''\naudience: a\n", CodeMissingKey},
		{"a key twice", head + "issuer: b\n", CodeTwice},
		{"a number for a text", head + "key_id: 7\n", CodeType},
		{"a section that is a text", head + "pam: x\n", CodeType},
		{"a value out of bounds", head + "pam: {timeout: 1h}\n", CodeValue},
		{"a rule for nobody", head + "access: [{allow: [pull], to: []}]\n", CodeRule},
		{"a bracket left open", head + "audience: [\n", CodeSyntax},
		{"Latin-1", head + "# caf\xe9\n", CodeEncoding},
		{"a pasted key", head + "certificate: |\n  -----BEGIN CERTIFICATE-----\n", CodePastedKey},
	} {
		_, errs := parse("f", "/etc/d", []byte(c.text))
		if len(errs) != 1 || errs[0].Code != c.want {
			t.Errorf("%s: got %v with the code %q, want one with %q", c.name, errs, errs[0].Code, c.want)
		}
	}
}

// The hint for a text without quotes is a command. It is run here.
func TestTextsWithoutQuotesGetThem(t *testing.T) {
	for _, c := range []struct{ name, rule string }{
		{"a placeholder in brackets", "repositories: [{user}/**]"},
		{"a placeholder alone in brackets", "repositories: [{user}]"},
		{"a placeholder", "repositories: {user}/**"},
		{"a placeholder alone", "repositories: {user}"},
		{"a placeholder in a list", "repositories:\n    - {user}/**"},
		{"a placeholder behind something", "repositories: [team/{group}/**]\n    min_gid: 5"},
		{"placeholders among others", `repositories: ["a", {user}/x, b, {user}/y]`},
		{"a star", "repositories: [*]"},
		{"two stars", "repositories: [ a, **]"},
		{"a group", "to: [@developers, \"@others\"]"},
		{"a group alone", "to: @developers"},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := head + "access:\n  - allow: [pull]\n    " + c.rule + "\n"
			if !strings.Contains(c.rule, "to:") {
				text += "    to: ['@g']\n"
			}
			path := filepath.Join(t.TempDir(), "config.yml")
			put(t, path, []byte(text), 0o644)
			_, errs := parse(path, filepath.Dir(path), []byte(text))
			if len(errs) == 0 || !strings.HasPrefix(errs[0].Hint, "sed -i ") {
				t.Fatalf("got %v, want a command", errs)
			}
			if out, err := exec.Command("sh", "-c", errs[0].Hint).CombinedOutput(); err != nil {
				t.Fatalf("%s: %v: %s", errs[0].Hint, err, out)
			}
			text2, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if _, errs := parse(path, filepath.Dir(path), text2); len(errs) > 0 {
				t.Errorf("after it there is %v in\n%s", errs, text2)
			}
		})
	}
}

// What init makes best is left to it, where it works with the files.
func TestInitIsTheRemedyWhereItWorks(t *testing.T) {
	key, cert := newKey(t)
	_, another := newKey(t)
	const beside = "private_key: privkey.pem\ncertificate: cert.pem\nissuer: i\naudience: a\n"
	for _, c := range []struct {
		name, text string
		files      map[string][]byte
		want       string // DIR = the folder
	}{
		{"no key yet", beside, nil, "dockerauth init --dir DIR"},
		{"a certificate, and no key", beside, map[string][]byte{"cert.pem": cert},
			"mv DIR/cert.pem DIR/cert.pem.old && dockerauth init --dir DIR"},
		{"another key's certificate", beside, map[string][]byte{"privkey.pem": key, "cert.pem": another},
			"mv DIR/cert.pem DIR/cert.pem.old && dockerauth init --dir DIR"},
		{"files in another folder", strings.ReplaceAll(beside, "privkey.pem", "keys/privkey.pem"), nil,
			"name a file that exists; a new key is made by: openssl genpkey -algorithm EC " +
				"-pkeyopt ec_paramgen_curve:P-256 -out DIR/keys/privkey.pem"},
		{"key and certificate in each other's place", beside, map[string][]byte{"privkey.pem": cert, "cert.pem": key},
			"mv DIR/privkey.pem DIR/privkey.pem.swap && mv DIR/cert.pem DIR/privkey.pem && mv DIR/privkey.pem.swap " +
				"DIR/cert.pem && chown --reference=DIR/cert.pem DIR/privkey.pem && chmod 640 DIR/privkey.pem && " +
				"chmod 644 DIR/cert.pem"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, path := folder(t, c.text)
			for name, content := range c.files {
				put(t, filepath.Join(dir, name), content, 0o600)
			}
			_, err := Load(path)
			var errs Errors
			if !errors.As(err, &errs) || len(errs) != 1 {
				t.Fatalf("got %v", err)
			}
			if want := strings.ReplaceAll(c.want, "DIR", dir); errs[0].Hint != want {
				t.Errorf("got  %s\nwant %s", errs[0].Hint, want)
			}
		})
	}
}
