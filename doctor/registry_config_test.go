package doctor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dockerauth/config"
)

func parseRegistryConfig(t *testing.T, text string) (*registryConfig, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return loadRegistryConfig(path)
}

func TestARegistrysConfigurationIsReadAsItReadsIt(t *testing.T) {
	const whole = `version: 0.1
log: {level: info, hooks: [{type: mail, options: {smtp: {to: [a@b]}}}]}
storage:
  filesystem:
    rootdirectory: /var/lib/docker-registry
http:
  addr: localhost:5000
  headers:
    X-Content-Type-Options: [nosniff]
auth:
  token:
    realm: "https://auth.example.com/docker/v2/token"
    service: registry.example.com
    issuer: 12345
    rootcertbundle: cert.pem
    autoredirect: yes
    signingalgorithms: [ES256, "RS256"]
`
	r, err := parseRegistryConfig(t, whole)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Join(r.Auth, " ") != "token" || r.Token == nil {
		t.Fatalf("got %+v", r)
	}
	tok := r.Token
	for _, tt := range []struct {
		got  registrySetting
		want registrySetting
	}{
		{tok.Realm, registrySetting{"realm", "https://auth.example.com/docker/v2/token", 12, true}},
		{tok.Service, registrySetting{"service", "registry.example.com", 13, true}},
		{tok.Issuer, registrySetting{"issuer", "12345", 14, false}},
		{tok.RootCertBundle, registrySetting{"rootcertbundle", "cert.pem", 15, true}},
		{tok.AutoRedirect, registrySetting{"autoredirect", "yes", 16, false}},
		{tok.JWKS, registrySetting{Key: "jwks"}},
		{tok.SigningAlgorithms[0], registrySetting{"signingalgorithms", "ES256", 17, true}},
		{tok.SigningAlgorithms[1], registrySetting{"signingalgorithms", "RS256", 17, true}},
	} {
		if tt.got != tt.want {
			t.Errorf("got %+v, want %+v", tt.got, tt.want)
		}
	}
	if !tok.AutoRedirect.isTrue() || (registrySetting{Value: "yes", Text: true}).isTrue() {
		t.Error("yes is true to YAML 1.1, and \"yes\" is a text")
	}
}

func TestWhatElseStandsInARegistrysConfiguration(t *testing.T) {
	tests := []struct {
		name, text string
		see        func(*registryConfig) bool
	}{
		{"nothing", "", func(r *registryConfig) bool { return r.Token == nil }},
		{"no auth", "version: 0.1\n", func(r *registryConfig) bool { return r.Token == nil && len(r.Auth) == 0 }},
		{"another kind", "auth: {htpasswd: {realm: x}}\n",
			func(r *registryConfig) bool { return r.Token == nil && r.Auth[0] == "htpasswd" }},
		{"two kinds", "auth:\n  token: {realm: x}\n  htpasswd: {realm: y}\n",
			func(r *registryConfig) bool { return len(r.Auth) == 2 && r.Token.Realm.Value == "x" }},
		{"an empty section", "auth:\n  token:\n",
			func(r *registryConfig) bool { return r.Token != nil && r.Token.Realm.Line == 0 }},
		{"keys in other letters", "auth:\n  token:\n    rootCertBundle: x\n    auto_redirect: true\n    other: 1\n",
			func(r *registryConfig) bool {
				m := r.Token.Misspelt
				return len(m) == 2 &&
					m[0] == registrySetting{Key: "rootCertBundle", Value: "rootcertbundle", Line: 3} &&
					m[1].Value == "autoredirect" && r.Token.RootCertBundle.Line == 0
			}},
		{"anchors, aliases, merges and tags",
			"x: &t\n  realm: &r https://a/\n  issuer: !!str 5\nauth:\n  token:\n    <<: *t\n    service: *r\n",
			func(r *registryConfig) bool {
				return r.Token.Realm.Value == "https://a/" && r.Token.Service.Value == "https://a/" &&
					r.Token.Issuer.Value == "5"
			}},
		{"an alias to itself", "auth: &a\n  token: *a\n", func(r *registryConfig) bool { return r != nil }},
		{"a block of text", "auth:\n  token:\n    issuer: |\n      auth\n",
			func(r *registryConfig) bool { return r.Token.Issuer.Value == "auth\n" && r.Token.Issuer.Text }},
		{"a list where a text belongs", "auth:\n  token:\n    issuer: [a]\n",
			func(r *registryConfig) bool { return r.Token.Issuer.Line == 3 && !r.Token.Issuer.Text }},
	}
	for _, tt := range tests {
		r, err := parseRegistryConfig(t, tt.text)
		if err != nil || !tt.see(r) {
			t.Errorf("%s: %+v, %v", tt.name, r, err)
		}
	}
	for text, says := range map[string]string{
		"auth: [":      "config.yml:1: ",
		"a: b: c\n":    "cannot be read as YAML",
		"a:\n\tb: c\n": "config.yml:",
		"- a\nb: c\n":  "config.yml:",
	} {
		if _, err := parseRegistryConfig(t, text); err == nil || !strings.Contains(err.Error(), says) ||
			!strings.Contains(err.Error(), "see the registry's documentation") {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := loadRegistryConfig(filepath.Join(t.TempDir(), "none.yml")); err == nil ||
		!strings.Contains(err.Error(), "/etc/docker/registry/config.yml") {
		t.Errorf("got %v", err)
	}
}

// Whatever stands there is read or refused, and what is read is in the file, where it is said to
// be.
func FuzzRegistryConfiguration(f *testing.F) {
	for _, seed := range []string{
		"auth:\n  token:\n    realm: \"https://a/\"\n    signingalgorithms: [ES256, x]\n    autoredirect: yes\n",
		"x: &t {realm: r}\nauth: {token: {<<: *t, service: !!str 5, issuer: *t}}\nhttp: {addr: :5000}\n",
		"auth: &a\n  token: *a\n", "? a\n: b\n", "auth:\n  token:\n    issuer: |\n      x\n", "--- \n...\n", "- auth\n",
		"auth: [token]\n",
	} {
		f.Add(seed)
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(dir, "config.yml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		lines := strings.Count(text, "\n") + strings.Count(text, "\r") + 1
		r, err := loadRegistryConfig(path)
		if err != nil {
			var errs config.Errors
			if !errors.As(err, &errs) {
				t.Fatal(err)
			}
			for _, e := range errs {
				if e.Line > lines {
					t.Errorf("line %d of %d: %v", e.Line, lines, e)
				}
			}
			return
		}
		if r.Token == nil {
			return
		}
		for _, s := range append(r.Token.SigningAlgorithms, r.Token.Realm, r.Token.Service, r.Token.Issuer,
			r.Token.RootCertBundle, r.Token.JWKS, r.Token.AutoRedirect, r.Token.AutoRedirectPath) {
			if s.Line < 0 || s.Line > lines || s.Line == 0 && s.Value != "" {
				t.Errorf("%+v in %d lines", s, lines)
			}
		}
	})
}

func TestSectionsMergedFromAList(t *testing.T) {
	r, err := parseRegistryConfig(t, "x: &x {realm: https://a/}\ny: &y {service: s, issuer: i}\nauth:\n  token:\n    "+
		"<<: [*x, *y]\n")
	if err != nil || r.Token == nil || r.Token.Realm.Value != "https://a/" || r.Token.Service.Value != "s" ||
		r.Token.Issuer.Value != "i" {
		t.Errorf("got %+v, %v", r, err)
	}
}

// Ten sections that merge the ones above ten times each are ten thousand million.
func TestSectionsMergedIntoEachOtherEndSomewhere(t *testing.T) {
	var b strings.Builder
	b.WriteString("a0: &a0 {x: y}\n")
	for i := range 10 {
		fmt.Fprintf(&b, "a%d: &a%[1]d {%s}\n", i+1, strings.Repeat(fmt.Sprintf("<<: *a%d, ", i), 10))
	}
	b.WriteString("auth:\n  token:\n    <<: *a10\n")
	done := make(chan error, 1)
	go func() {
		_, err := parseRegistryConfig(t, b.String())
		done <- err
	}()
	select {
	case <-done: // it may be an error: a key that stands there twice is one to some
	case <-time.After(30 * time.Second):
		t.Fatal("it is still being read")
	}
}
