package e2e

import (
	"crypto"
	"crypto/x509"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The account of every site, and the audience of its registries.
const (
	alice         = "alice"
	alicePassword = "wonderland"
	audience      = "registry.example"
)

// siteOptions say how a site differs from the default; the zero value is an RSA key named by its
// libtrust id.
type siteOptions struct {
	key          keyKind           // "" = rsa2048
	certificate  bool              // name the certificate in config.yml, so that tokens carry x5c
	keyID        string            // key_id, "" = not in config.yml
	accounts     map[string]string // more accounts: name → password
	pamService   string            // content of the PAM service file, "" = pam_userdb with the accounts
	extra        string            // more lines for config.yml
	audienceLine string            // instead of the usual audience line
}

// site is one installation of dockerauth in its own folder: key, certificate, PAM service,
// config.yml.
type site struct {
	dir        string
	key        crypto.Signer
	cert       *x509.Certificate
	keyFile    string
	certFile   string // the registries' rootcertbundle; in config.yml only when asked for
	configFile string
	confdir    string // holds the PAM service file "dockerauth"
	issuer     string
	audience   string
	accounts   map[string]string
}

// newSite fills a folder. Everything in it has mode 0600 or 0755 and belongs to the test's user.
func newSite(t testing.TB, o siteOptions) *site {
	t.Helper()
	if o.key == "" {
		o.key = rsa2048
	}
	dir := shortDir(t)
	s := &site{
		dir:      dir,
		key:      makeKey(t, o.key),
		confdir:  filepath.Join(dir, "pam.d"),
		issuer:   "https://auth.example/docker",
		audience: audience,
		accounts: map[string]string{alice: alicePassword},
	}
	for name, password := range o.accounts {
		s.accounts[name] = password
	}
	s.cert = makeCertificate(t, s.key)
	s.keyFile = writeFile(t, filepath.Join(dir, "key.pem"), pemKey(t, s.key), 0o600)
	s.certFile = writeFile(t, filepath.Join(dir, "cert.pem"), pemCertificate(s.cert), 0o644)
	s.writePAM(t, o.pamService)
	s.configFile = writeFile(t, filepath.Join(dir, "config.yml"), s.config(o), 0o600)
	return s
}

func (s *site) config(o siteOptions) string {
	var b strings.Builder
	fmt.Fprintf(&b, "private_key: %q\n", s.keyFile)
	if o.certificate {
		fmt.Fprintf(&b, "certificate: %q\n", s.certFile)
	}
	if o.keyID != "" {
		fmt.Fprintf(&b, "key_id: %s\n", o.keyID)
	}
	fmt.Fprintf(&b, "issuer: %q\n", s.issuer)
	if o.audienceLine == "" {
		o.audienceLine = fmt.Sprintf("audience: %q", s.audience)
	}
	fmt.Fprintln(&b, o.audienceLine)
	if !strings.Contains(o.extra, "state:") {
		b.WriteString("state: \"\"\n") // not that of an installation on this machine
	}
	fmt.Fprintf(&b, "pam:\n  service: dockerauth\n  confdir: %q\n", s.confdir)
	b.WriteString(o.extra)
	return b.String()
}

// writePAM writes the PAM service file. The default keeps accounts in a pam_userdb database: a
// stock module with both phases, which needs neither root nor a slow hash.
func (s *site) writePAM(t testing.TB, service string) {
	t.Helper()
	if service == "" {
		db := s.userdb(t)
		service = fmt.Sprintf("auth    required pam_userdb.so db=%[1]s crypt=none\n"+
			"account required pam_userdb.so db=%[1]s crypt=none\n", db)
	}
	writeFile(t, filepath.Join(s.confdir, "dockerauth"), service, 0o644)
}

// userdb makes the database and returns its name without the ".db" that the module adds.
func (s *site) userdb(t testing.TB) string {
	t.Helper()
	need(t, "pam_userdb accounts (Debian: db-util)", "db_load")
	var pairs strings.Builder
	for name, password := range s.accounts {
		fmt.Fprintf(&pairs, "%s\n%s\n", name, password)
	}
	db := filepath.Join(s.dir, "accounts")
	run(t, pairs.String(), exec.Command("db_load", "-T", "-t", "hash", db+".db")).must(t)
	return db
}

// serveHTTP starts the HTTP front end for the site and returns its process and its realm. The realm
// says localhost since crane and ko use plain HTTP only there (go-containerregistry
// pkg/v1/remote/transport/scheme.go).
func (s *site) serveHTTP(t testing.TB) (p *process, realm string) {
	t.Helper()
	port := freePort(t)
	listen := fmt.Sprintf("127.0.0.1:%d", port)
	cmd := exec.Command(binary(t), "http", "--config", s.configFile, "--listen", listen)
	cmd.Dir = s.dir
	p = start(t, "dockerauth http", cmd)
	p.ready(t, "tcp", listen)
	return p, fmt.Sprintf("http://localhost:%d/docker/v2/token", port)
}
