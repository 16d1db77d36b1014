package config

import (
	"cmp"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"dockerauth/access"
	"dockerauth/jwtsign"
)

// The words of passwords.allow.
const (
	dockerLogin = "docker-login"
	tokensOnly  = "tokens-only"
)

func defaults() settings {
	return settings{
		config: Config{
			AccessTokenTTL:  15 * time.Minute,
			RefreshTokenTTL: 90 * day,
			State:           DefaultState,
			PAM: PAM{Service: "dockerauth", Timeout: 10 * time.Second, Concurrency: runtime.GOMAXPROCS(0),
				Cache: 30 * time.Second},
			Log: Log{Format: "text", Level: slog.LevelInfo},
		},
		lines: map[string]int{},
	}
}

// parse parses the text of a file. The settings are valid only without errors.
func parse(file, dir string, data []byte) (settings, Errors) {
	data, errs := plainText(file, dir, data)
	if len(errs) > 0 {
		return settings{}, errs
	}
	r := &reader{settings: defaults(), file: file, dir: dir}
	r.configFile = filepath.Join(dir, filepath.Base(file))
	r.read(data)
	for i, e := range r.errs {
		if e.Code == CodeSyntax || e.Code == CodeType {
			r.errs[i].Hint = cmp.Or(quoteCommand(r.configFile, data, e.Line), e.Hint)
		}
	}
	return r.settings, r.errs.sorted()
}

func (r *reader) read(data []byte) {
	root, errs := readYAML(r.file, data)
	if len(errs) > 0 {
		r.errs = errs
		return
	}
	r.section("", root, topKeys, r.top)
	r.required("private_key")
	r.required("issuer")
	r.required("audience")
	r.resolveMistyped()
	r.notSetUp(data)
	r.lifetimes()
}

func (r *reader) top(key string, v node) {
	c := &r.config
	switch key {
	case "private_key":
		c.PrivateKeyFile = r.path(key, v)
	case "certificate":
		c.CertificateFile = r.path(key, v)
	case "key_id":
		r.keyID = jwtsign.KeyID(r.choice(key, v, string(jwtsign.KeyIDLibtrust), string(jwtsign.KeyIDThumbprint)))
	case "previous_keys":
		c.PreviousKeyFiles = r.previousKeys(key, v)
	case "issuer":
		c.Issuer = r.name(key, v)
	case "audience":
		c.Audience = r.audience(key, v)
	case "blacklisted_users":
		c.BlacklistedUsers = r.names(key, v)
	case "access_token_ttl":
		c.AccessTokenTTL = r.duration(key, v, minAccessTTL, maxAccessTTL, "it cannot be revoked before it expires")
	case "refresh_token_ttl":
		c.RefreshTokenTTL = r.duration(key, v, minAccessTTL, maxRefreshTTL, "a login without end outlives the account")
	case "trusted_proxies":
		c.TrustedProxies = r.proxies(key, v)
	case "state":
		c.State = r.state(key, v)
	case "passwords":
		r.section(key, v, passwordsKeys, r.passwords)
	case "pam":
		r.section(key, v, pamKeys, r.pam)
	case "log":
		r.section(key, v, logKeys, r.log)
	case "access":
		c.Access = r.access(key, v)
	}
}

func (r *reader) passwords(key string, v node) {
	p := &r.config.Passwords
	switch key {
	case "passwords.allow":
		p.TokensOnly = r.choice(key, v, dockerLogin, tokensOnly) == tokensOnly
	case "passwords.except":
		p.Except = r.names(key, v)
	}
}

func (r *reader) pam(key string, v node) {
	p := &r.config.PAM
	switch key {
	case "pam.service":
		p.Service = r.service(key, v)
	case "pam.confdir":
		p.Confdir = r.pathOrNone(key, v)
	case "pam.timeout":
		p.Timeout = r.duration(key, v, minPAMTimeout, maxPAMTimeout, "docker login gives up after 15s")
	case "pam.concurrency":
		p.Concurrency = r.concurrency(key, v)
	case "pam.cache":
		p.Cache = r.durationOrNone(key, v, maxCache, "a locked account stays usable for that long")
	}
}

func (r *reader) log(key string, v node) {
	l := &r.config.Log
	switch key {
	case "log.file":
		l.File = r.pathOrNone(key, v)
	case "log.format":
		l.Format = r.choice(key, v, "text", "json")
	case "log.level":
		l.Level = r.level(key, v)
	}
}

// section reads a section and refuses unknown and repeated keys. It may be empty, with all its keys
// commented out.
func (r *reader) section(prefix string, v node, known []string, read func(key string, v node)) {
	if v.kind == kindNull {
		return
	}
	if v.kind != kindSection {
		r.failType(v, prefix, "a section", "write its keys below it, indented: "+strings.Join(known, ", "))
		return
	}
	for _, f := range v.fields {
		key := f.key
		if prefix != "" {
			key = prefix + "." + f.key
		}
		if !slices.Contains(known, f.key) {
			r.unknownKey(prefix, f, known)
			continue
		}
		if first, again := r.lines[key]; again {
			r.failAs(CodeTwice, f.line, key, fmt.Sprintf("is already set on line %d", first),
				fmt.Sprintf("delete line %d or line %d", first, f.line))
			continue
		}
		r.lines[key] = f.line
		read(key, f.value)
	}
}

// neededKeys are the keys without a default, and what to write there.
var neededKeys = map[string]string{
	"private_key": "name the file that holds the signing key",
	"issuer":      "write the issuer that the registry's auth.token section has",
	"audience":    "write the service that the registry's auth.token section has",
}

func (r *reader) required(key string) {
	if _, ok := r.lines[key]; !ok {
		r.failAs(CodeMissingKey, 0, key, "is missing", neededKeys[key])
	}
}

// notSetUp puts one error in place of those about missing keys, where issuer and audience are both
// missing: that is the state after a package was installed.
func (r *reader) notSetUp(data []byte) {
	lacks := func(key string) bool {
		return slices.ContainsFunc(r.errs, func(e Error) bool { return e.Key == key && e.Code == CodeMissingKey })
	}
	if !lacks("issuer") || !lacks("audience") {
		return
	}
	r.errs = slices.DeleteFunc(r.errs, func(e Error) bool { return e.Code == CodeMissingKey })
	hint := setUpCommand(r.configFile)
	if hint == "" || !LacksNames(data) {
		issuer, audience := suggestedNames()
		hint = fmt.Sprintf("write issuer: %s and audience: %s in %s", issuer, audience,
			jwtsign.ShellWord(r.configFile))
	}
	r.failAs(CodeNotSetUp, r.lines["issuer"], "", "is not set up: issuer and audience have no value", hint)
}

// lifetimes refuses refresh tokens that expire before their access tokens.
func (r *reader) lifetimes() {
	access, refresh := r.config.AccessTokenTTL, r.config.RefreshTokenTTL
	if access == 0 || refresh == 0 || refresh >= access {
		return // a lifetime of 0 is an error already reported
	}
	r.fail(r.lines["refresh_token_ttl"], "refresh_token_ttl",
		fmt.Sprintf("%s is less than access_token_ttl, %s", FormatDuration(refresh), FormatDuration(access)),
		"make refresh_token_ttl at least as long as access_token_ttl")
}

const proxiesHint = "write addresses such as 127.0.0.1, prefixes such as 10.0.0.0/8, " +
	"or unix for the clients of a Unix socket"

func (r *reader) proxies(key string, v node) Proxies {
	var proxies Proxies
	for _, text := range r.list(key, v) {
		if text == unixPeer {
			proxies = append(proxies, netip.Prefix{})
			continue
		}
		prefix, err := access.ParsePrefix(text)
		if err != nil {
			r.fail(v.line, key, err.Error(), proxiesHint)
			continue
		}
		if prefix.Bits() == 0 {
			r.fail(v.line, key, quote(text)+" means everyone: any client could choose its address", proxiesHint)
			continue
		}
		proxies = append(proxies, prefix)
	}
	return proxies
}
