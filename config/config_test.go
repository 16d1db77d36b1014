package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"dockerauth/access"
	"dockerauth/jwtsign"
)

// phpConfig is config.yml.dist of the PHP service.
const phpConfig = `private_key: "path/to/private/key/privkey.pem"
issuer: "myAuthService.com"
audience: "myDockerRegistry.com"
blacklisted_users : ["userNameYouDoNotWantToGiveRegistryAccess"]
`

const (
	keyName  = "path/to/private/key/privkey.pem"
	certName = "path/to/certificate.pem"
)

// folder makes a folder with text as config.yml, and with key and certificate at the paths of the
// examples.
func folder(t testing.TB, text string) (dir, path string) {
	t.Helper()
	dir = t.TempDir()
	key, cert := newKey(t)
	put(t, filepath.Join(dir, keyName), key, 0o600)
	put(t, filepath.Join(dir, certName), cert, 0o644)
	path = filepath.Join(dir, "config.yml")
	put(t, path, []byte(text), 0o644)
	return dir, path
}

func put(t testing.TB, path string, data []byte, mode os.FileMode) {
	t.Helper()
	for _, err := range []error{os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, data, 0o600),
		os.Chmod(path, mode)} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func newKey(t testing.TB) (key, cert []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "dockerauth"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	certDER, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certDER})
}

func TestThePHPServicesOwnConfigurationLoads(t *testing.T) {
	dir, path := folder(t, phpConfig)
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	libtrust, _ := jwtsign.LibtrustID(c.Key.Public())
	if c.Key.KeyID() != libtrust {
		t.Errorf("kid %q, want the libtrust id %q", c.Key.KeyID(), libtrust)
	}
	c.Key, c.source = nil, source{}
	want := &Config{
		Path: path, Issuer: "myAuthService.com", Audience: []string{"myDockerRegistry.com"},
		BlacklistedUsers: []string{"userNameYouDoNotWantToGiveRegistryAccess"},
		AccessTokenTTL:   15 * time.Minute, RefreshTokenTTL: 90 * 24 * time.Hour,
		PAM: PAM{Service: "dockerauth", Timeout: 10 * time.Second, Concurrency: runtime.GOMAXPROCS(0),
			Cache: 30 * time.Second},
		State:          DefaultState,
		Log:            Log{Format: "text", Level: slog.LevelInfo},
		PrivateKeyFile: filepath.Join(dir, keyName),
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got\n%+v\nwant\n%+v", c, want)
	}
}

func TestEveryKey(t *testing.T) {
	elsewhere := filepath.Join(t.TempDir(), "two.pem")
	old, _ := newKey(t)
	older, _ := newKey(t)
	put(t, elsewhere, older, 0o640)
	dir, path := folder(t, `private_key: `+keyName+`
certificate: `+certName+`
key_id: thumbprint
previous_keys: [old/one.pem, `+elsewhere+`]
issuer: My Auth
audience: [one, Docker registry]
blacklisted_users: [root, 'web master']
access_token_ttl: 1h30m
refresh_token_ttl: 2w
pam: {service: docker-auth_2.test, confdir: pam, timeout: 14s, concurrency: 3, cache: 0}
trusted_proxies: [127.0.0.1, "2001:db8::/32", unix, "::ffff:10.0.0.0/104"]
state: var/state
passwords: {allow: tokens-only, except: ["@staff", bob]}
log:
  file: logs/auth.log
  format: json
  level: warn
`)
	put(t, filepath.Join(dir, "old", "one.pem"), old, 0o600)
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Key.Chain()) != 1 || c.Key.KeyID() != "" {
		t.Error("the key does not carry its certificate")
	}
	if len(c.PreviousKeys) != 2 || c.PreviousKeys[0].Equal(c.PreviousKeys[1]) || c.PreviousKeys[0].Equal(c.Key) {
		t.Errorf("previous keys %v", c.PreviousKeys)
	}
	if want := []string{path, filepath.Join(dir, keyName), filepath.Join(dir, certName),
		filepath.Join(dir, "old", "one.pem"), elsewhere}; !slices.Equal(c.Files(), want) {
		t.Errorf("files %q, want %q", c.Files(), want)
	}
	c.Key, c.PreviousKeys, c.source = nil, nil, source{}
	want := &Config{
		Path: path, PreviousKeyFiles: []string{filepath.Join(dir, "old", "one.pem"), elsewhere},
		Issuer: "My Auth", Audience: []string{"one", "Docker registry"},
		BlacklistedUsers: []string{"root", "web master"},
		AccessTokenTTL:   90 * time.Minute, RefreshTokenTTL: 14 * 24 * time.Hour,
		PAM: PAM{Service: "docker-auth_2.test", Confdir: filepath.Join(dir, "pam"),
			Timeout: 14 * time.Second, Concurrency: 3},
		TrustedProxies: Proxies{netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("2001:db8::/32"), {},
			netip.MustParsePrefix("10.0.0.0/8")},
		State:          filepath.Join(dir, "var/state"),
		Passwords:      access.Passwords{TokensOnly: true, Except: access.Blacklist{"@staff", "bob"}},
		Log:            Log{File: filepath.Join(dir, "logs/auth.log"), Format: "json", Level: slog.LevelWarn},
		PrivateKeyFile: filepath.Join(dir, keyName), CertificateFile: filepath.Join(dir, certName),
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got\n%+v\nwant\n%+v", c, want)
	}
}

// Other spellings of the configuration of the PHP service.
func TestOtherSpellings(t *testing.T) {
	for _, c := range []struct{ name, text string }{
		{"Windows line ends", strings.ReplaceAll(phpConfig, "\n", "\r\n")},
		{"a byte order mark", "\ufeff" + phpConfig},
		{"no line end at the end", strings.TrimSuffix(phpConfig, "\n")},
		{"comments, with tabs", "#\ta comment\n" + strings.ReplaceAll(phpConfig, "\n", "\t# comment\twith tabs\n")},
		{"a line that opens the document", "---\n" + phpConfig},
		{"a line that ends it", phpConfig + "...\n"},
		{"sections without keys", phpConfig + "pam:\nlog: {}\n"},
		{"single quotes", strings.ReplaceAll(phpConfig, `"`, `'`)},
		{"no quotes", strings.ReplaceAll(phpConfig, `"`, ``)},
		{"quoted keys", strings.ReplaceAll(phpConfig, `issuer:`, `"issuer":`)},
		{"lists with dashes",
			strings.NewReplacer(`"myDockerRegistry.com"`, "\n  - myDockerRegistry.com",
				` : ["userNameYouDoNotWantToGiveRegistryAccess"]`,
				":\n- userNameYouDoNotWantToGiveRegistryAccess").Replace(phpConfig)},
		{"all on one line", `{private_key: ` + keyName +
			`, issuer: myAuthService.com, audience: myDockerRegistry.com, blacklisted_users: ` +
			`[userNameYouDoNotWantToGiveRegistryAccess]}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, path := folder(t, c.text)
			got, err := Load(path)
			if err != nil {
				t.Fatal(err)
			}
			if got.Issuer != "myAuthService.com" || !slices.Equal(got.Audience, []string{"myDockerRegistry.com"}) ||
				!slices.Equal(got.BlacklistedUsers, []string{"userNameYouDoNotWantToGiveRegistryAccess"}) ||
				got.PAM.Service != "dockerauth" {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestRelativePathsStartAtTheFile(t *testing.T) {
	dir, _ := folder(t, phpConfig)
	t.Chdir(filepath.Join(dir, "path"))
	c, err := Load("../config.yml")
	if err != nil {
		t.Fatal(err)
	}
	dir, err = filepath.EvalSymlinks(dir)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{filepath.Join(dir, "config.yml"), filepath.Join(dir, keyName)}; !slices.Equal(
		c.Files(),
		want,
	) ||
		c.Path != want[0] {
		t.Errorf("files %q, path %q, want %q", c.Files(), c.Path, want)
	}
}

// dist is config.yml.dist as shipped, and with all commented-out settings enabled.
func dist(t testing.TB) (asShipped, allSet string) {
	t.Helper()
	data, err := os.ReadFile("../config.yml.dist")
	if err != nil {
		t.Fatal(err)
	}
	// A commented-out setting follows the # directly or after the indentation of its section, a
	// sentence after one space.
	return string(data), regexp.MustCompile(`(?m)^#((?:  |  - |    )?[a-z_]+:)`).ReplaceAllString(string(data), "$1")
}

func TestTheExampleHasEveryKeyWithItsDefault(t *testing.T) {
	asShipped, allSet := dist(t)
	_, path := folder(t, asShipped)
	shipped, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	dir, path := folder(t, allSet)
	set, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if set.CertificateFile != filepath.Join(dir, certName) {
		t.Error("the certificate is not among the settings taken in")
	}
	if set.Access == nil || shipped.Access != nil {
		t.Error("the rules are not an example of what is there by default: no rules")
	}
	set.Access = nil
	for _, c := range []*Config{shipped, set} {
		// they differ in the folder and in the certificate, which has no default
		c.Key, c.Path, c.PrivateKeyFile, c.CertificateFile, c.source = nil, "", "", "", source{}
	}
	if len(set.Passwords.Except) == 0 { // written as [], not left out
		set.Passwords.Except = nil
	}
	if !reflect.DeepEqual(shipped, set) {
		t.Errorf("the defaults written in config.yml.dist differ from the real ones\nwritten %+v\n   real %+v", set,
			shipped)
	}

	r := &reader{settings: defaults()}
	root, errs := readYAML("config.yml.dist", []byte(allSet))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	r.section("", root, topKeys, r.top)
	for _, s := range []struct {
		prefix string
		keys   []string
	}{{"", topKeys}, {"pam.", pamKeys}, {"log.", logKeys}} {
		for _, key := range s.keys {
			if r.lines[s.prefix+key] == 0 {
				t.Errorf("config.yml.dist lacks %s%s", s.prefix, key)
			}
		}
	}
	for _, key := range ruleKeys {
		if !strings.Contains(allSet, "    "+key+": ") && !strings.Contains(allSet, "  - "+key+": ") {
			t.Errorf("config.yml.dist lacks access.%s", key)
		}
	}
	if again, errs := parse("f", "/", []byte(allSet)); len(errs) > 0 || string(again.keyID) != "libtrust" {
		t.Errorf("key_id %q, want the default libtrust; %v", again.keyID, errs)
	}
}

// Every field of Config has a key of config.yml, and every key a field.
func TestEveryFieldHasAKey(t *testing.T) {
	const derived = 4 // Path, source, Key (from private_key, certificate and key_id) and PreviousKeys
	count := func(v any) int { return reflect.TypeOf(v).NumField() }
	if got, want := count(Config{})-derived, len(topKeys)-1; got != want {
		t.Errorf("Config has %d fields for %d keys", got, want)
	}
	if count(PAM{}) != len(pamKeys) || count(Log{}) != len(logKeys) {
		t.Error("a section has another number of fields than of keys")
	}
}

func TestEveryKnownKeyIsRead(t *testing.T) {
	for _, s := range []struct {
		prefix string
		keys   []string
		read   func(*reader) func(string, node)
	}{
		{"", topKeys, func(r *reader) func(string, node) { return r.top }},
		{"pam.", pamKeys, func(r *reader) func(string, node) { return r.pam }},
		{"log.", logKeys, func(r *reader) func(string, node) { return r.log }},
	} {
		for _, key := range s.keys {
			r := &reader{settings: defaults()}
			s.read(r)(s.prefix+key, node{kind: kindBool}) // no key takes one
			if len(r.errs) != 1 || r.errs[0].Key != s.prefix+key {
				t.Errorf("%s%s is known but not read: %v", s.prefix, key, r.errs)
			}
		}
	}
}

func TestLoadRefusesTheFile(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(dir, "missing.yml")
	_, open := folder(t, phpConfig)
	if err := os.Chmod(open, 0o646); err != nil {
		t.Fatal(err)
	}
	_, large := folder(t, phpConfig+strings.Repeat("#", maxFile))
	for _, c := range []struct{ name, path, want string }{
		{"not there", missing, missing + ": no such file\n  name a file that is there: --config FILE"},
		{"a folder", dir, dir + ": is not a regular file\n  name the file config.yml"},
		{"a pipe", pipe, pipe + ": is not a regular file\n  name the file config.yml"},
		{"everyone may write it", open, open + ": every user can change it\n  chmod o-w " + open},
		{"too large", large, large + ": is larger than 1048576 bytes\n  name the file config.yml"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Load(c.path)
			var errs Errors
			if got != nil || !errors.As(err, &errs) || err.Error() != c.want {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

// Errors of a key file are reported at the line that names it, with all other errors.
func TestKeyFileErrorsHaveALine(t *testing.T) {
	key, cert := newKey(t)
	for _, c := range []struct {
		name, text string
		change     func(t *testing.T, dir string)
		want       string // DIR = the folder
	}{
		{
			"the PHP service's example before anything was written in", phpConfig,
			func(t *testing.T, dir string) { remove(t, filepath.Join(dir, keyName)) },
			`DIR/config.yml:1: private_key: "DIR/path/to/private/key/privkey.pem": no such file or directory` + "\n" +
				`  name a file that exists; a new key is made by: openssl genpkey -algorithm EC -pkeyopt ` +
				`ec_paramgen_curve:P-256 -out DIR/path/to/private/key/privkey.pem`,
		},
		{
			"a key that everyone may read", "\n" + phpConfig,
			func(t *testing.T, dir string) { put(t, filepath.Join(dir, keyName), key, 0o644) },
			`DIR/config.yml:2: private_key: "DIR/path/to/private/key/privkey.pem": mode 0644 gives every user ` +
				`access to the key` + "\n" +
				`  chmod o=,g-w DIR/path/to/private/key/privkey.pem`,
		},
		{
			"another key's certificate, and an unknown key", phpConfig + "certificate: " + certName + "\nlogs: x\n",
			func(t *testing.T, dir string) { put(t, filepath.Join(dir, certName), cert, 0o644) },
			`DIR/config.yml:5: certificate: "DIR/path/to/certificate.pem": certificate is not for the key in ` +
				`private_key` + "\n" +
				`  openssl req -x509 -new -key DIR/path/to/private/key/privkey.pem -subj /CN=dockerauth -days 3650 ` +
				`-addext basicConstraints=critical,CA:FALSE -out DIR/path/to/certificate.pem` + "\n" +
				`DIR/config.yml:6: logs: unknown key, perhaps log is meant` + "\n" +
				`  sed -i '6s/\blogs\b/log/' DIR/config.yml`,
		},
		{
			"previous keys that are missing, open to everyone, a certificate, and the signing key",
			phpConfig + "previous_keys:\n- gone.pem\n- open.pem\n- " + certName + "\n- same.pem\n",
			func(t *testing.T, dir string) {
				put(t, filepath.Join(dir, "open.pem"), key, 0o604)
				put(t, filepath.Join(dir, certName), cert, 0o600)
				own, err := os.ReadFile(filepath.Join(dir, keyName))
				if err != nil {
					t.Fatal(err)
				}
				put(t, filepath.Join(dir, "same.pem"), own, 0o600)
			},
			`DIR/config.yml:6: previous_keys: "DIR/gone.pem": no such file or directory` + "\n  " + backHint + "\n" +
				`DIR/config.yml:7: previous_keys: "DIR/open.pem": mode 0604 gives every user access to the key` + "\n" +
				`  chmod o=,g-w DIR/open.pem` + "\n" +
				`DIR/config.yml:8: previous_keys: "DIR/path/to/certificate.pem": holds a certificate, ` +
				"not a private key\n  " + backHint + "\n" +
				`DIR/config.yml:9: previous_keys: "DIR/same.pem" is the key of private_key` + "\n" +
				`  take it out of previous_keys`,
		},
		{
			"a previous key that is there twice, under two names", phpConfig + "previous_keys: [one.pem, two.pem]\n",
			func(t *testing.T, dir string) {
				put(t, filepath.Join(dir, "one.pem"), key, 0o600)
				put(t, filepath.Join(dir, "two.pem"), key, 0o600)
			},
			`DIR/config.yml:5: previous_keys: "DIR/two.pem" is listed twice` + "\n  keep one of them",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, path := folder(t, c.text)
			c.change(t, dir)
			_, err := Load(path)
			if want := strings.ReplaceAll(c.want, "DIR", dir); err == nil || err.Error() != want {
				t.Errorf("got  %v\nwant %s", err, want)
			}
		})
	}
}

const backHint = "put the key in its place, or take it out of previous_keys: who has its refresh tokens " +
	"logs in again"

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	program := filepath.Join(dir, "lib", "dockerauth")
	link := filepath.Join(dir, "cgi-bin", "token")
	put(t, program, nil, 0o755)
	if err := os.Mkdir(filepath.Dir(link), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(program, link); err != nil {
		t.Fatal(err)
	}
	beside, besideLink := filepath.Join(dir, "lib", "config.yml"), filepath.Join(dir, "cgi-bin", "config.yml")
	for _, c := range []struct {
		name, executable string
		there            []string
		want, err        string
	}{
		{"beside the program", program, []string{beside, systemFile}, beside, ""},
		{"beside what a link points at", link, []string{beside, besideLink}, beside, ""},
		{"in /etc", program, []string{systemFile}, systemFile, ""},
		{"a program that is gone, replaced by a newer one", filepath.Join(dir, "gone", "dockerauth"),
			[]string{filepath.Join(dir, "gone", "config.yml")}, filepath.Join(dir, "gone", "config.yml"), ""},
		{"nowhere", link, []string{besideLink}, "", `find configuration: neither "` + beside +
			`" nor "/etc/dockerauth/config.yml" exists` + "\n" +
			"  " + setUpCommand(systemFile)},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Find(c.executable, func(p string) bool { return slices.Contains(c.there, p) })
			if got != c.want || (err == nil) != (c.err == "") || err != nil && err.Error() != c.err {
				t.Errorf("got %q, %v, want %q, %s", got, err, c.want, c.err)
			}
		})
	}
	put(t, beside, nil, 0o000)
	if got, err := Find(link, nil); got != beside || err != nil {
		t.Errorf("with the real file system: %q, %v, want %q", got, err, beside)
	}
}

func BenchmarkLoad(b *testing.B) {
	asShipped, allSet := dist(b)
	for _, c := range []struct{ name, text string }{{"four keys", phpConfig}, {"config.yml.dist", asShipped},
		{"every key", allSet}} {
		_, path := folder(b, c.text)
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Load(path); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// Records that machines share name the version.
func TestTheVersionIsThatOfTheText(t *testing.T) {
	version := func(text string) string {
		path := filepath.Join(t.TempDir(), "config.yml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := LoadTolerant(path)
		if c == nil {
			t.Fatal(err)
		}
		return c.Version()
	}
	const text = "private_key: k\nissuer: i\naudience: a\n"
	if one, other := version(text), version(text); one != other || one == "" {
		t.Errorf("equal texts have the versions %q and %q", one, other)
	}
	if one, other := version(text), version(text+"blacklisted_users: [bob]\n"); one == other {
		t.Errorf("different texts have the version %q", one)
	}
}
