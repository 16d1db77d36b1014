package e2e

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// checkReport is what "dockerauth check --json" prints.
type checkReport struct {
	Findings []struct{ Level, Subject, What, Why, Remedy string }
	Status   int
}

func runCheck(t testing.TB, args ...string) checkReport {
	t.Helper()
	o := run(t, "", exec.Command(binary(t), append([]string{"check", "--json"}, args...)...))
	var r checkReport
	if err := json.Unmarshal([]byte(o.stdout), &r); err != nil || r.Status != o.status {
		t.Fatalf("%v: %v", err, o)
	}
	return r
}

func (r checkReport) find(subject string) (level, text string) {
	for _, f := range r.Findings {
		versions, many := strings.CutPrefix(f.Subject, "registry ") // "registry 2.8, 3.1" is about both
		if f.Subject == subject || many &&
			slices.Contains(strings.Split(versions, ", "), strings.TrimPrefix(subject, "registry ")) {
			return f.Level, f.What + ": " + f.Why
		}
	}
	return "", ""
}

// errorAbout is the first error about subjects that begin so.
func (r checkReport) errorAbout(prefix string) (level, text string) {
	for _, f := range r.Findings {
		if f.Level == "error" && strings.HasPrefix(f.Subject, prefix) {
			return f.Level, f.What + ": " + f.Why
		}
	}
	return "", ""
}

// check predicts what a registry does: for each way to name a key, each content of its bundle and
// each version. check reads the same registry configuration.
func TestCheckPredictsWhatARegistryDoes(t *testing.T) {
	const none = keyKind("")
	type trial struct {
		name  string
		key   keyKind // none = RSA
		site  siteOptions
		trust func(t *testing.T, s *site) trust
	}
	own := func(_ *testing.T, s *site) trust { return trust{bundle: s.certFile} }
	listedAs := func(kid func(t *testing.T, s *site) string) func(*testing.T, *site) trust {
		return func(t *testing.T, s *site) trust {
			return trust{jwks: writeFile(t, filepath.Join(s.dir, "jwks.json"), jwksOf(t, s.key.Public(), kid(t, s)),
				0o644)}
		}
	}
	byToken := listedAs(func(t *testing.T, s *site) string { return tokenKeyID(t, s.aToken(t)) })
	bundleOf := func(certs ...func(t *testing.T, s *site) *x509.Certificate) func(*testing.T, *site) trust {
		return func(t *testing.T, s *site) trust {
			text := ""
			for _, cert := range certs {
				text += pemCertificate(cert(t, s))
			}
			return trust{bundle: writeFile(t, filepath.Join(s.dir, "bundle.pem"), text, 0o644)}
		}
	}
	siteCert := func(_ *testing.T, s *site) *x509.Certificate { return s.cert }
	unknown := func(t *testing.T, _ *site) *x509.Certificate { return makeCertificate(t, makeKey(t, p256)) }
	renewed := func(t *testing.T, s *site) *x509.Certificate { return makeCertificate(t, s.key) }
	edwards := func(t *testing.T, _ *site) *x509.Certificate { return makeCertificate(t, makeKey(t, ed)) }
	sha1 := func(t *testing.T, s *site) *x509.Certificate {
		return s.certifyBy(t, s.key, nil, func(c *x509.Certificate) { c.SignatureAlgorithm = x509.SHA1WithRSA })
	}

	var trials []trial
	for _, key := range []keyKind{rsa2048, p256, p384, p521, ed} {
		trials = append(trials, trial{string(key) + " by its certificate", key, siteOptions{certificate: true}, own},
			trial{string(key) + " by its libtrust id", key, siteOptions{keyID: "libtrust"}, own},
			trial{string(key) + " by its thumbprint", key, siteOptions{keyID: "thumbprint"}, own},
			trial{string(key) + " by the id that a JWKS gives it", key, siteOptions{keyID: "thumbprint"}, byToken},
		)
	}
	trials = append(trials, trial{"a certificate and a JWKS alone", p256, siteOptions{certificate: true}, byToken},
		trial{"another id in the JWKS", p256, siteOptions{},
			listedAs(func(*testing.T, *site) string { return "another" })},
		trial{"a libtrust id that a JWKS lists", none, siteOptions{keyID: "libtrust"}, byToken},
		trial{"an unknown certificate alone", none, siteOptions{certificate: true}, bundleOf(unknown)},
		trial{"an unknown certificate alone, and a key id", none, siteOptions{}, bundleOf(unknown)},
		trial{"the right one after an unknown one", p256, siteOptions{certificate: true}, bundleOf(unknown, siteCert)},
		trial{"the right one after an unknown one, and a key id", none, siteOptions{}, bundleOf(unknown, siteCert)},
		trial{"the right one beside one for Ed25519", p256, siteOptions{certificate: true},
			bundleOf(siteCert, edwards)},
		trial{"a newer certificate for the same key", p256, siteOptions{certificate: true}, bundleOf(renewed)},
		trial{"a newer certificate for the same key, and a key id", none, siteOptions{}, bundleOf(renewed)},
		trial{"a bundle without a certificate", none, siteOptions{certificate: true},
			func(t *testing.T, s *site) trust {
				return trust{bundle: writeFile(t, filepath.Join(s.dir, "bundle.pem"), "# nothing yet\n", 0o644)}
			}},
		trial{"a JWKS without a key", none, siteOptions{}, func(t *testing.T, s *site) trust {
			return trust{jwks: writeFile(t, filepath.Join(s.dir, "jwks.json"), `{"keys":[]}`, 0o644)}
		}},
		trial{"a certificate from a CA that is in the bundle", p256, siteOptions{certificate: true},
			func(t *testing.T, s *site) trust {
				authority := s.certifyByCA(t)
				return trust{bundle: writeFile(t, filepath.Join(s.dir, "bundle.pem"), pemCertificate(authority), 0o644)}
			}},
		trial{"a certificate from a CA that is not", p256, siteOptions{certificate: true},
			func(t *testing.T, s *site) trust {
				s.certifyByCA(t)
				return bundleOf(unknown)(t, s)
			}},
		trial{"a certificate from a CA, itself in the bundle", p256, siteOptions{certificate: true},
			func(t *testing.T, s *site) trust {
				s.certifyByCA(t)
				return trust{bundle: s.certFile}
			}},
		trial{"a certificate signed with SHA-1", none, siteOptions{certificate: true},
			func(t *testing.T, s *site) trust {
				s.cert = sha1(t, s)
				writeFile(t, s.certFile, pemCertificate(s.cert), 0o644)
				return trust{bundle: s.certFile}
			}},
	)
	for _, tr := range trials {
		t.Run(tr.name, func(t *testing.T) {
			t.Parallel()
			o := tr.site
			o.key = tr.key
			s := newSite(t, o)
			key := tr.trust(t, s)
			_, realm := s.serveHTTP(t)
			registryYML := writeFile(t, filepath.Join(s.dir, "registry.yml"),
				registryConfig(s.dir, "localhost:0")+authSection(s, realm, key), 0o644)
			said := runCheck(t, "--config", s.configFile, "--registry-config", registryYML)
			token := fetchTokens(t, realm, url.Values{"service": {audience}}).Token
			for _, kind := range []registryKind{registry28, registry31} {
				t.Run(string(kind), func(t *testing.T) {
					needRegistry(t, kind)
					level, text := said.find(string(kind))
					if level == "" { // an error about the bundle stands for all versions
						level, text = said.errorAbout("registry.")
					}
					if level == "" {
						t.Fatalf("check says nothing about %s: %+v", kind, said)
					}
					predicted := level == "ok"
					if kind == registry28 && key.jwks != "" {
						predicted = false // "is not meant", since it knows no jwks
					}
					happened, how := registryAccepts(t, launchRegistry(t, kind, s, realm, key), token)
					if happened != predicted {
						t.Errorf("check says %s (%s), and the registry %s", level, text, how)
					}
				})
			}
		})
	}
}

// An installation by the README, with openssl and install and a registry that trusts it: check
// reports no problem to any user.
func TestCheckFindsNothingWrongWithTheReadmesSetUp(t *testing.T) {
	t.Parallel()
	needRoot(t, "the README's set-up (install -o)")
	need(t, "the README's set-up", "openssl", "unshare")
	dir := shortDir(t)
	shell := func(script string) output {
		cmd := exec.Command("sh", "-eu", "-c", script)
		cmd.Dir = dir
		return run(t, "", cmd)
	}
	o := shell(`
		chmod 0755 .
		install -o www-data -g shadow -m 2510 ` + binary(t) + ` dockerauth
		install -d pam.d units
		install -d -o www-data -g www-data -m 0700 state
		openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj "/CN=dockerauth" \
			-addext basicConstraints=critical,CA:FALSE -keyout privkey.pem -out cert.pem
		chown www-data: privkey.pem
		chmod 0400 privkey.pem
		cp cert.pem bundle.pem
		printf '[Service]\nUser=www-data\nSupplementaryGroups=shadow\n' >units/dockerauth.service`)
	if o.status != 0 {
		t.Fatal(o)
	}
	writeFile(t, filepath.Join(dir, "pam.d/dockerauth"), readFile(t, "../packaging/pam/dockerauth"), 0o644)
	writeFile(t, filepath.Join(dir, "config.yml"),
		"private_key: privkey.pem\ncertificate: cert.pem\nissuer: auth.example.com\naudience: registry.example.com\n"+
			"state: state\npam: {confdir: pam.d}\n", 0o644)
	writeFile(t, filepath.Join(dir, "registry.yml"),
		"auth:\n  token:\n    realm: https://auth.example.com/docker/v2/token\n    service: registry.example.com\n"+
			"    issuer: auth.example.com\n    rootcertbundle: "+dir+"/bundle.pem\n", 0o644)
	for _, tt := range []struct{ name, command string }{
		{"as root", "./dockerauth check --registry-config registry.yml"},
		{"as root, about the web server's user", "./dockerauth check --as www-data --registry-config registry.yml"},
		{"by a copy of root's own", binary(t) + " check --config config.yml --as www-data --program dockerauth"},
		{"about a service of its own", "cp " + binary(t) +
			" own; unshare -m sh -c 'mount --bind units /etc/systemd/system; ./own check --config config.yml --as " +
			"www-data'"},
	} {
		o := shell(tt.command)
		if o.status != 0 || o.stderr != "" {
			t.Errorf("%s: %v", tt.name, o)
		}
		for line := range strings.Lines(o.stdout) {
			if strings.HasPrefix(line, "warning ") || strings.HasPrefix(line, "error ") {
				t.Errorf("%s: %s", tt.name, line)
			}
		}
		if tt.name == "about a service of its own" && !strings.Contains(o.stdout,
			"has the groups that /etc/systemd/system/dockerauth.service gives the service") {
			t.Errorf("%s: the unit was not read: %v", tt.name, o)
		}
		if tt.name == "by a copy of root's own" &&
			!strings.Contains(o.stdout, "by the set-group-id bit of "+filepath.Join(dir, "dockerauth")) {
			t.Errorf("%s: another file was looked at: %v", tt.name, o)
		}
	}

	// The owner of the installed file may have replaced it.
	writeFile(t, filepath.Join(dir, "trap"), "#!/bin/sh\nid -u >>"+dir+"/state/ran\n", 0o755)
	if o := shell(binary(t) + " check --config config.yml --as www-data --program trap"); o.status != 2 {
		t.Errorf("a file that is no dockerauth: %v", o)
	}
	www := strings.TrimSpace(shell("id -u www-data").stdout)
	for id := range strings.Lines(readFile(t, filepath.Join(dir, "state/ran"))) {
		if strings.TrimSpace(id) != www {
			t.Errorf("root let user %s start the file", id)
		}
	}
	if o := shell(binary(t) + " check --config config.yml --as root --program trap"); o.status != 2 ||
		!strings.Contains(o.stdout, "is not started as root") {
		t.Errorf("as root: %v", o)
	}
}

// The packages' units on a machine where nothing has been started, and then with the service
// running.
func TestCheckLooksForTheServiceThatAPackageInstalls(t *testing.T) {
	t.Parallel()
	needRoot(t, "units and a /run of the test's own")
	need(t, "units and a /run of the test's own", "unshare", "setpriv")
	s := newSite(t, siteOptions{certificate: true})
	dir := shortDir(t)
	program := filepath.Join(dir, "dockerauth")
	for _, command := range [][]string{
		{"chmod", "0755", dir},
		{"cp", binary(t), program},
		{"cp", "-r", "../packaging/systemd", filepath.Join(dir, "units")},
		{"chmod", "0755", s.dir},
		{"chmod", "0600", s.keyFile},
	} {
		run(t, "", exec.Command(command[0], command[1:]...)).must(t)
	}
	machine := func(script string) output {
		const before = `mount --bind "$2/units" /etc/systemd/system
			mount -t tmpfs -o mode=0755 none /run; set -- "$1" "$2/dockerauth"; `
		return run(t, "", exec.Command("unshare", "--mount", "sh", "-euc", before+script, "sh", s.configFile, dir))
	}
	t.Run("not started", func(t *testing.T) {
		o := machine(`"$2" check --config "$1"`)
		if o.status != 2 || !strings.Contains(o.stdout,
			"error      service  /run/dockerauth/dockerauth.sock is not there") {
			t.Error(o)
		}
	})
	t.Run("asked by a person who may not read the key", func(t *testing.T) {
		o := machine(`exec setpriv --reuid=www-data --regid=www-data --clear-groups "$2" check --config "$1"`)
		if o.status != 2 || !strings.Contains(o.stdout,
			"error      rights  you are www-data, and the service runs as dockerauth [wrong-user]\n") ||
			!strings.Contains(o.stdout, "  fix: sudo dockerauth check --as dockerauth --config "+s.configFile+"\n") {
			t.Error(o)
		}
		if strings.Count(o.stdout, "www-data") != 1 || strings.Contains(o.stdout, "permission denied") {
			t.Errorf("it gives advice about that user: %v", o)
		}
	})
	t.Run("started", func(t *testing.T) {
		o := machine(`mkdir /run/dockerauth; sock=/run/dockerauth/dockerauth.sock
			"$2" fastcgi --config "$1" --listen unix:$sock 2>/dev/null & pid=$!
			tries=0; until test -S $sock || test $tries -gt 100; do tries=$((tries+1)); sleep 0.1; done
			"$2" check --config "$1" || true; kill $pid; wait $pid || true`)
		if !strings.Contains(o.stdout, "ok         service  /run/dockerauth/dockerauth.sock is there") ||
			strings.Contains(o.stdout, "error      service") {
			t.Error(o)
		}
	})
}

// registryAccepts reports whether a registry starts and accepts the token.
func registryAccepts(t *testing.T, r *registryServer, token string) (taken bool, how string) {
	t.Helper()
	answers := func() bool {
		a, err := http.Get("http://" + r.host + "/v2/")
		if err == nil {
			a.Body.Close()
		}
		return err == nil
	}
	eventually(t, readyWithin, "the registry to answer or to give up",
		func() bool { return !r.p.running() || answers() })
	if !r.p.running() {
		return false, "does not start"
	}
	status, challenge := r.ask(t, http.MethodGet, "/v2/", token)
	return status == http.StatusOK, fmt.Sprintf("answers %d, %s", status, challenge)
}

// aToken is a token of a service that is started for this call.
func (s *site) aToken(t *testing.T) string {
	t.Helper()
	_, realm := s.serveHTTP(t)
	return fetchTokens(t, realm, url.Values{"service": {audience}}).Token
}

// certifyByCA replaces the site's certificate by one of a new CA, and returns the CA's.
func (s *site) certifyByCA(t *testing.T) *x509.Certificate {
	t.Helper()
	ca := makeKey(t, p256)
	authority := s.certifyBy(t, ca, nil, func(c *x509.Certificate) { c.IsCA, c.Subject.CommonName = true, "a CA" })
	s.cert = s.certifyBy(t, ca, authority, nil)
	writeFile(t, s.certFile, pemCertificate(s.cert), 0o644)
	return authority
}

// certifyBy makes a certificate for the site's key, or for the CA's own key if authority is nil.
func (s *site) certifyBy(t *testing.T, by crypto.Signer, authority *x509.Certificate,
	change func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "dockerauth e2e"},
		BasicConstraintsValid: true,
		NotBefore:             time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	if change != nil {
		change(template)
	}
	public, parent := s.key.Public(), authority
	if authority == nil {
		public, parent = by.Public(), template
	}
	return signCertificate(t, template, parent, public, by)
}
