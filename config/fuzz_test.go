package config

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// An accepted configuration is within all bounds and, written out in full, reads back equal. The
// error of a refused one names a line of the file, has the documented form and repeats no key.
func FuzzConfig(f *testing.F) {
	asShipped, allSet := dist(f)
	seeds := []string{
		phpConfig, asShipped, allSet, head, "",
		head + "pam:\n  service: x\n  timeout: 14s\nlog: {level: debug, format: json, file: ''}\n",
		head + "audience: [b]\n", head + "key_id: |\n  thumbprint\n", head +
			"access_token_ttl: 1h30m\nrefresh_token_ttl: 2w\n",
		"private_key: |\n  -----BEGIN PRIVATE KEY-----\n  MIIE\n", head + "a: &b [*b]\n", head + "---\n", "{" +
			strings.ReplaceAll(head, "\n", ",") + "}",
		"\ufeff" + strings.ReplaceAll(head, "\n", "\r\n"), "audience: >-\n  a\n  b\n" + head,
	}
	accepted := 0
	for _, s := range seeds {
		f.Add([]byte(s))
		if _, errs := parse("f", "/d", []byte(s)); len(errs) == 0 {
			accepted++
		}
	}
	if len(seeds) == 0 || accepted < 5 {
		f.Fatalf("%d of %d seeds are accepted: there is nothing to begin with", accepted, len(seeds))
	}
	promised := regexp.MustCompile(`^f(:[0-9]+)?: .+(\n  .+)?$`)
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > maxFile {
			t.Skip("read refuses it")
		}
		s, errs := parse("f", "/d", data)
		if len(errs) > 0 {
			lines := 1 + strings.Count(strings.ReplaceAll(string(data), "\r", "\n"), "\n")
			for _, e := range errs {
				if text := e.Error(); !promised.MatchString(text) || e.Line > lines || !utf8.ValidString(text) ||
					strings.Contains(text, "-----BEGIN") {
					t.Fatalf("bad error %q", text)
				}
			}
			return
		}
		checkBounds(t, s)
		again, errs := parse("f", "/d", []byte(writeOut(s)))
		again.lines, s.lines, again.previous, s.previous = nil, nil, nil, nil
		s.config.Access = nil // writeOut leaves the rules out
		if len(errs) > 0 || !reflect.DeepEqual(again, s) {
			t.Fatalf("read\n%+v\nread back\n%+v\n%v", s, again, errs)
		}
	})
}

func checkBounds(t *testing.T, s settings) {
	c := s.config
	names := slices.Concat([]string{c.Issuer, c.PAM.Service}, c.Audience, c.BlacklistedUsers, c.Passwords.Except)
	seen := map[string]bool{}
	for _, a := range c.Audience {
		if seen[a] || a == "dockerauth:refresh" {
			t.Fatalf("audience %q", c.Audience)
		}
		seen[a] = true
	}
	for _, n := range names {
		if n == "" || len(n) > 255 || strings.ContainsAny(n, "\x00\n\r\t") || strings.TrimSpace(n) != n ||
			!utf8.ValidString(n) {
			t.Fatalf("name %q", n)
		}
	}
	paths := append([]string{s.config.PrivateKeyFile}, c.PreviousKeyFiles...)
	for _, p := range []string{s.config.CertificateFile, c.PAM.Confdir, c.Log.File, c.State} {
		if p != "" {
			paths = append(paths, p)
		}
	}
	for _, p := range paths {
		if !filepath.IsAbs(p) || strings.ContainsAny(p, "\x00\n\r\t") {
			t.Fatalf("path %q", p)
		}
	}
	if len(c.Audience) == 0 || c.AccessTokenTTL < time.Minute || c.AccessTokenTTL > 24*time.Hour ||
		c.RefreshTokenTTL < c.AccessTokenTTL ||
		c.AccessTokenTTL%time.Second != 0 || c.RefreshTokenTTL%time.Second != 0 ||
		c.PAM.Timeout < time.Second || c.PAM.Timeout > 14*time.Second || c.PAM.Concurrency < 1 ||
		c.PAM.Concurrency > 256 || c.PAM.Cache < 0 || c.PAM.Cache > 5*time.Minute ||
		c.PAM.Service == "other" || strings.ContainsAny(c.PAM.Service, "/ ") || c.PAM.Service[0] == '.' ||
		c.Log.Format != "text" && c.Log.Format != "json" || s.keyID != "" && s.keyID != "libtrust" &&
		s.keyID != "thumbprint" {
		t.Fatalf("out of bounds: %+v", s)
	}
}

// writeOut writes settings with every key. JSON is YAML.
func writeOut(s settings) string {
	c := s.config
	var b strings.Builder
	put := func(key string, v any) {
		text, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		fmt.Fprintf(&b, "%s: %s\n", key, text)
	}
	put("private_key", s.config.PrivateKeyFile)
	if s.config.CertificateFile != "" {
		put("certificate", s.config.CertificateFile)
	}
	if c.PreviousKeyFiles != nil {
		put("previous_keys", c.PreviousKeyFiles)
	}
	if s.keyID != "" {
		put("key_id", s.keyID)
	}
	put("issuer", c.Issuer)
	put("audience", c.Audience)
	if c.BlacklistedUsers != nil {
		put("blacklisted_users", c.BlacklistedUsers)
	}
	put("access_token_ttl", FormatDuration(c.AccessTokenTTL))
	put("refresh_token_ttl", FormatDuration(c.RefreshTokenTTL))
	put("state", c.State)
	proxies := []string{}
	for _, p := range c.TrustedProxies {
		if p.Bits() == 0 {
			panic("all addresses are trusted")
		}
		text := "unix"
		if p.IsValid() {
			text = p.String()
		}
		proxies = append(proxies, text)
	}
	put("trusted_proxies", proxies)
	b.WriteString("passwords:\n")
	put("  allow", map[bool]string{false: dockerLogin, true: tokensOnly}[c.Passwords.TokensOnly])
	if c.Passwords.Except != nil {
		put("  except", c.Passwords.Except)
	}
	b.WriteString("pam:\n")
	put("  service", c.PAM.Service)
	put("  confdir", c.PAM.Confdir)
	put("  timeout", FormatDuration(c.PAM.Timeout))
	put("  concurrency", c.PAM.Concurrency)
	put("  cache", FormatDuration(c.PAM.Cache))
	b.WriteString("log:\n")
	put("  file", c.Log.File)
	put("  format", c.Log.Format)
	put("  level", strings.ToLower(c.Log.Level.String()))
	return b.String()
}
