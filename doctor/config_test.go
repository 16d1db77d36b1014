package doctor

import (
	"crypto/elliptic"
	"crypto/x509"
	"os"
	"strings"
	"testing"
	"time"

	"dockerauth/config"
)

// unset is a patient as a package installs it: nothing is written in yet, and there is no key.
func unset(t *testing.T, p *patient) {
	t.Helper()
	p.run(t, "rm", p.path("privkey.pem"), p.path("cert.pem"))
	text, err := os.ReadFile("../packaging/config.yml")
	if err != nil {
		t.Fatal(err)
	}
	p.write(t, "config.yml", string(text)+"state: \"\"\npam: {confdir: pam.d}\n")
}

// shell is a shell command in the patient's folder.
func shell(command string) func(t *testing.T, p *patient) {
	return func(t *testing.T, p *patient) {
		t.Helper()
		if out, err := p.shell(command, ""); err != nil {
			t.Fatalf("%s: %v: %s", command, err, out)
		}
	}
}

// edits is a change of one file.
func edits(name, old, new string) func(t *testing.T, p *patient) {
	return func(t *testing.T, p *patient) { t.Helper(); p.edit(t, name, old, new) }
}

func then(steps ...func(t *testing.T, p *patient)) func(t *testing.T, p *patient) {
	return func(t *testing.T, p *patient) {
		t.Helper()
		for _, step := range steps {
			step(t, p)
		}
	}
}

func TestCheckNamesEachMistakeInConfigAndKey(t *testing.T) {
	rewrite := func(text string) func(*testing.T, *patient) {
		return func(t *testing.T, p *patient) { t.Helper(); p.write(t, "config.yml", text) }
	}
	certified := func(change func(*x509.Certificate)) func(*testing.T, *patient) {
		return func(t *testing.T, p *patient) { t.Helper(); p.certify(t, change) }
	}
	const ec = "openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 "
	for _, m := range []mistake{
		// not set up
		{name: "nothing was written in after the installation", make: unset,
			want: wanted{levelError, "config", "not-set-up", "dockerauth init --dir /"}},
		{name: "a configuration that was begun",
			make: then(unset, edits("config.yml", "state:", "log: {format: json}\nstate:")),
			want: wanted{levelError, "config", "not-set-up", "dockerauth init --dir /"}},
		{name: "nothing written in, behind which the lines are gone",
			make:  rewrite("private_key: privkey.pem\ncertificate: cert.pem\nstate: \"\"\npam: {confdir: pam.d}\n"),
			want:  wanted{levelError, "config", "not-set-up", "/config.yml"},
			apply: edits("config.yml", "state:", "issuer: a\naudience: b\nstate:")},
		{name: "an empty file", make: then(unset, rewrite("")),
			want: wanted{levelError, "config", "config-missing-key", "config.yml.old"}},
		{name: "names, and no key yet", make: shell("rm privkey.pem cert.pem"),
			want: wanted{levelError, "private_key", "file-missing", "dockerauth init --dir /"}},

		// config.yml
		{name: "a mistyped key", make: edits("config.yml", "state:", "sate:"),
			want:  wanted{levelError, "config", "config-unknown-key", "state"},
			apply: edits("config.yml", "sate:", "state:")},
		{name: "a key twice", make: edits("config.yml", "state:", "issuer: b\nstate:"),
			want:  wanted{levelError, "config", "config-key-twice", "delete line 3 or line 5"},
			apply: edits("config.yml", "issuer: b\n", "")},
		{name: "no issuer", make: edits("config.yml", "issuer: auth.example.com\n", ""),
			want:  wanted{levelError, "config", "config-missing-key", "issuer"},
			apply: edits("config.yml", "state:", "issuer: auth.example.com\nstate:")},
		{name: "a number for a text", make: edits("config.yml", "issuer: auth.example.com", "issuer: 7"),
			want:  wanted{levelError, "config", "config-wrong-type", "config.yml:3: issuer"},
			apply: edits("config.yml", "issuer: 7", `issuer: "7"`)},
		{name: "a value out of bounds", make: edits("config.yml", "state:", "access_token_ttl: 5s\nstate:"),
			want:  wanted{levelError, "config", "config-wrong-value", "config.yml:5: access_token_ttl"},
			apply: edits("config.yml", "5s", "1m")},
		{name: "a rule without accounts",
			make:  edits("config.yml", "state:", "access: [{allow: [pull], to: []}]\nstate:"),
			want:  wanted{levelError, "config", "config-wrong-rule", "config.yml:5: access.to"},
			apply: edits("config.yml", "to: []", "to: [users]")},
		{name: "a placeholder without quotes", make: edits("config.yml", "state:",
			"access: [{allow: [push], repositories: [{user}/**], to: [users]}]\nstate:"),
			want: wanted{levelError, "config", "config-syntax", "config.yml:5"}},
		{name: "a tab", make: edits("config.yml", "pam: {confdir: pam.d}", "pam:\n\tconfdir: pam.d"),
			want: wanted{levelError, "config", "config-syntax", "config.yml:7"}},
		{name: "Latin-1", make: edits("config.yml", "state:", "# caf\xe9\nstate:"),
			want: wanted{levelError, "config", "config-encoding", "config.yml:5"}},
		{name: "UTF-16", make: shell("iconv -f UTF-8 -t UTF-16 config.yml >x && cat x >config.yml"),
			want: wanted{levelError, "config", "config-encoding", "UTF-16"}},
		{name: "a pasted certificate", make: edits("config.yml", "cert.pem", "-----BEGIN CERTIFICATE-----"),
			want:  wanted{levelError, "certificate", "config-pasted-key", "config.yml:2"},
			apply: edits("config.yml", "-----BEGIN CERTIFICATE-----", "cert.pem")},
		{name: "everybody may change it", make: shell("chmod 646 config.yml"),
			want: wanted{levelError, "config", "config-world-writable", "/config.yml"}},
		{name: "its group may change it", make: shell("chmod 664 config.yml"),
			want: wanted{levelWarning, "config.mode", "config-group-writable", "/config.yml"}},
		{name: "everybody may replace it", make: shell("chmod 777 ."),
			want: wanted{levelError, "config.mode", "config-folder-writable", "/config.yml"}},
		{name: "its group may replace it", make: shell("chmod 775 ."),
			want: wanted{levelWarning, "config.mode", "config-folder-writable", "chmod g-w /"}},
		{name: "it is not there", make: shell("rm config.yml privkey.pem cert.pem"),
			want: wanted{levelError, "config", "config-missing", "dockerauth init --dir /"}},
		{name: "a folder in its place", make: shell("mv config.yml x && mkdir config.yml"),
			want:  wanted{levelError, "config", "config-not-a-file", "/config.yml"},
			apply: shell("rmdir config.yml && mv x config.yml")},

		// the key file
		{name: "everybody can read the key", make: shell("chmod 644 privkey.pem"),
			want: wanted{levelError, "private_key", "key-open", "/privkey.pem"}},
		{name: "the group can change the key", make: shell("chmod 660 privkey.pem"),
			want: wanted{levelError, "private_key", "key-open", "/privkey.pem"}},
		{name: "a byte order mark", make: shell(`printf '\357\273\277' | cat - privkey.pem >x && cat x >privkey.pem`),
			want: wanted{levelError, "private_key", "file-encoding", "/privkey.pem"}},
		{name: "a byte order mark before the certificate",
			make: shell(`printf '\357\273\277' | cat - cert.pem >x && cat x >cert.pem`),
			want: wanted{levelError, "certificate", "file-encoding", "/cert.pem"}},
		{name: "UTF-16 key", make: shell("iconv -f US-ASCII -t UTF-16 privkey.pem >x && cat x >privkey.pem"),
			want: wanted{levelError, "private_key", "file-encoding", "/privkey.pem"}},
		{name: "explicit parameters",
			make: shell("openssl ec -in privkey.pem -param_enc explicit -out x && cat x >privkey.pem"),
			want: wanted{levelError, "private_key", "key-parameters", "/privkey.pem"}},
		{name: "explicit parameters in PKCS#8",
			make: shell("openssl pkey -in privkey.pem -ec_param_enc explicit -out x && cat x >privkey.pem"),
			want: wanted{levelError, "private_key", "key-parameters", "/privkey.pem"}},
		{name: "an encrypted key",
			make: shell("openssl pkey -in privkey.pem -aes256 -passout pass:geheim -out x && cat x >privkey.pem"),
			want: wanted{levelError, "private_key", "key-encrypted", "/privkey.pem"}, types: "geheim"},
		{name: "a DER key", make: shell("openssl pkey -in privkey.pem -outform DER -out x && cat x >privkey.pem"),
			want: wanted{levelError, "private_key", "file-format", "/privkey.pem"}},
		{name: "a DER certificate", make: shell("openssl x509 -in cert.pem -outform DER -out x && cat x >cert.pem"),
			want: wanted{levelError, "certificate", "file-format", "/cert.pem"}},
		{name: "PKCS#12",
			make: shell("openssl pkcs12 -export -inkey privkey.pem -in cert.pem -passout pass:geheim -out x && " +
				"cat x >privkey.pem"),
			want: wanted{levelError, "private_key", "file-format", "/privkey.pem"}, types: "geheim"},
		{name: "PKCS#12 as certificate",
			make: shell("openssl pkcs12 -export -inkey privkey.pem -in cert.pem -passout pass:geheim " +
				"-out x && cat x >cert.pem"),
			want: wanted{levelError, "certificate", "file-format", "/cert.pem"}, types: "geheim"},
		{name: "OpenSSH's format",
			make: shell("rm privkey.pem cert.pem && ssh-keygen -q -t ecdsa -N '' -f privkey.pem && " +
				"cp privkey.pem x && ssh-keygen -q -p -N '' -m PKCS8 -f x && openssl req -x509 -new -key x -subj " +
				"/CN=dockerauth " +
				"-days 90 -addext basicConstraints=critical,CA:FALSE -out cert.pem"),
			want: wanted{levelError, "private_key", "file-format", "/privkey.pem"}},
		{name: "OpenSSH's format for Ed25519",
			make: shell("rm privkey.pem cert.pem && ssh-keygen -q -t ed25519 -N '' -f privkey.pem"),
			want: wanted{levelError, "private_key", "key-unsuitable", "/privkey.pem"}},
		{name: "a short key", make: shell("openssl genrsa -out privkey.pem 1024"),
			want: wanted{levelError, "private_key", "key-unsuitable", "/privkey.pem"}},
		{name: "a curve of another kind",
			make: shell("openssl ecparam -name secp256k1 -genkey -noout -out privkey.pem"),
			want: wanted{levelError, "private_key", "key-unsuitable", "/privkey.pem"}},
		{name: "a key that is cut off", make: shell("head -c 150 privkey.pem >x && cat x >privkey.pem"),
			want: wanted{levelError, "private_key", "file-damaged", "/privkey.pem"}},
		{name: "an empty key file", make: shell(": >privkey.pem"),
			want: wanted{levelError, "private_key", "file-damaged", "/privkey.pem"}},
		{name: "a key with its certificate", make: shell("cat cert.pem >>privkey.pem"),
			want: wanted{levelError, "private_key", "file-has-more", "/privkey.pem"}},
		{name: "a key with text below", make: shell("echo note >>privkey.pem"),
			want: wanted{levelError, "private_key", "file-has-more", "/privkey.pem"}},
		{name: "a certificate with its key", make: shell("cat privkey.pem >>cert.pem"),
			want: wanted{levelError, "certificate", "file-wrong", "/cert.pem"}},
		{name: "key and certificate in each other's place",
			make: shell("cp privkey.pem x && cat cert.pem >privkey.pem && cat x >cert.pem"),
			want: wanted{levelError, "private_key", "file-wrong", "/privkey.pem"}},
		{name: "the certificate named as key", make: edits("config.yml", "privkey.pem", "cert.pem"),
			want:  wanted{levelError, "private_key", "key-open", "/cert.pem"},
			apply: edits("config.yml", "private_key: cert.pem", "private_key: privkey.pem"),
			also:  []string{"file-wrong"}},
		{name: "a key file that is a folder", make: shell("mv privkey.pem x && mkdir privkey.pem"),
			want:  wanted{levelError, "private_key", "file-irregular", "/privkey.pem"},
			apply: shell("rmdir privkey.pem && mv x privkey.pem")},

		// the certificate
		{name: "no certificate", make: shell("rm cert.pem"),
			want: wanted{levelError, "certificate", "file-missing", "/cert.pem"}},
		{name: "another key's certificate",
			make: shell(ec + "-out x && openssl req -x509 -new -key x -subj /CN=x -out cert.pem"),
			want: wanted{levelError, "certificate", "certificate-mismatch", "/cert.pem"}},
		{name: "a previous key that is gone", make: edits("config.yml", "state:", "previous_keys: [old.pem]\nstate:"),
			want:  wanted{levelError, "previous_keys", "file-missing", "config.yml:5: previous_keys: "},
			apply: edits("config.yml", "previous_keys: [old.pem]\n", "")},
		{name: "a previous key that everybody can read",
			make: then(shell(ec+"-out old.pem && chmod 644 old.pem"),
				edits("config.yml", "state:", "previous_keys: [old.pem]\nstate:")),
			want: wanted{levelError, "previous_keys", "key-open", "old.pem"}},
		{name: "a previous key whose refresh tokens have expired",
			make: then(shell(ec+"-out old.pem && chmod 600 old.pem"), edits("config.yml", "state:",
				"previous_keys: [old.pem] "+config.KeysComment(false, time.Now().AddDate(0, 0, -91))+"\nstate:")),
			want: wanted{levelWarning, "previous_keys", "previous-key-expired", "--retire"}},
		{name: "a previous key that has refresh tokens",
			make: then(shell(ec+"-out old.pem && chmod 600 old.pem"), edits("config.yml", "state:",
				"previous_keys: [old.pem] "+config.KeysComment(false, time.Now().AddDate(0, 0, -89))+"\nstate:")),
			want: wanted{levelOK, "previous_keys", "", "P-256, verifies refresh tokens"}},
		{name: "a previous key without a date",
			make: then(shell(ec+"-out old.pem && chmod 600 old.pem"),
				edits("config.yml", "state:", "previous_keys: [old.pem]\nstate:")),
			want: wanted{levelOK, "previous_keys", "", "does not say since when"}},
		{name: "a certificate that has expired",
			make: certified(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }),
			want: wanted{levelError, "certificate", "certificate-expired", "--renew-certificate"}},
		{name: "a certificate from the future",
			make: certified(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }),
			want: wanted{levelError, "certificate", "certificate-not-yet-valid", "--renew-certificate"}},
		{name: "a certificate that soon expires",
			make: certified(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(48 * time.Hour) }),
			want: wanted{levelWarning, "certificate", "certificate-expires", "--renew-certificate"}},
		{name: "a certificate that is a CA", make: certified(func(c *x509.Certificate) { c.IsCA = true }),
			want: wanted{levelWarning, "certificate", "ca-certificate", "--renew-certificate"}},
		{name: "a SHA-1 signature", make: func(t *testing.T, p *patient) {
			p.key = newRSA(2048)
			p.keep(t)
			p.certify(t, func(c *x509.Certificate) { c.SignatureAlgorithm = x509.SHA1WithRSA })
		}, want: wanted{levelWarning, "certificate", "weak-signature", "SHA1-RSA"}},
		{name: "a certificate from a CA", make: func(t *testing.T, p *patient) {
			ca := newEC(elliptic.P256(), false)
			parent := newTemplate(func(c *x509.Certificate) { c.Subject.CommonName, c.IsCA = "Some CA", true })
			p.write(t, "cert.pem", certificatePEM(t, newTemplate(nil), parent, p.key.Public(), ca))
		}, want: wanted{levelWarning, "certificate", "signed-by-ca", "CN=Some CA"}},
		{name: "a chain in the wrong order", make: func(t *testing.T, p *patient) {
			p.write(t, "cert.pem", selfSigned(t, newEC(elliptic.P256(), false), nil)+p.read(t, "cert.pem"))
		}, want: wanted{levelError, "certificate", "certificate-chain", "/cert.pem"},
			apply: shell("sed -i '1,/^-----END/d' cert.pem")},
		{name: "a thumbprint of a coordinate that begins with zero", make: func(t *testing.T, p *patient) {
			p.rekey(t, newEC(elliptic.P256(), true))
			p.edit(t, "config.yml", "certificate: cert.pem", "key_id: thumbprint")
		}, want: wanted{levelError, "key_id", "key-id-unusable", "certificate: cert.pem"}},
		{name: "no certificate, and a coordinate that begins with zero", make: func(t *testing.T, p *patient) {
			p.rekey(t, newEC(elliptic.P256(), true))
			p.edit(t, "config.yml", "certificate: cert.pem\n", "")
		}, want: wanted{levelWarning, "private_key", "short-coordinate", "certificate: cert.pem"}},
	} {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			p := newPatientIn(t, planted)
			if os.Geteuid() != 0 { // who has no right to ask pam_unix
				p.write(t, "pam.d/dockerauth", "auth required pam_userdb.so db=/x\naccount required pam_permit.so\n")
			}
			m.try(t, p)
		})
	}
}

// One sentence about the service is enough: it holds for every error of a configuration.
func TestWhatAServiceDoesIsSaidOnce(t *testing.T) {
	p := newPatientIn(t, planted)
	p.edit(t, "config.yml", "state:", "access_token_ttl: 5s\nrefresh_token_ttl: 1\nlog: {level: x}\nstate:")
	findings, _ := p.check(t)
	if n := strings.Count(listed(findings), "503"); n != 1 {
		t.Errorf("%d times 503:\n%s", n, listed(findings))
	}
}
