package e2e

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const (
	reloads       = 50
	reloadEvery   = 100 * time.Millisecond
	reloadTorn    = 5 // one in so many is checked by the service half-way through
	reloadClients = 8
	reloadTTL     = 900 // seconds, of the first configuration; each later one has one more
)

const reloadFailed = "configuration is not usable, the last good one stays in force"

// configVersion is one version of the three files of a service: configuration, key and certificate.
type configVersion struct {
	key         crypto.Signer
	keyPEM      string
	certificate *x509.Certificate
	config      string
}

// TestReloadsUnderLoadLoseNoRequest replaces all files of a service again and again under load.
// They are replaced one by one, so key and certificate do not match for a moment: the previous ones
// stay in force. A new key ends refresh tokens, which are signed with it. So logins run while the
// key changes, and refreshes while all else does: configuration, certificate, and the key's
// encoding.
func TestReloadsUnderLoadLoseNoRequest(t *testing.T) {
	m := newMeasurements(t,
		fmt.Sprintf("%d exchanges of config.yml, key and certificate, %v apart, under %d clients; %s", reloads,
			reloadEvery, reloadClients, hardware(t)))
	m.head("what clients do, and what is replaced             ", "requests", "lost", "versions seen", "halves met")
	t.Run("logins while key, certificate and configuration are exchanged", func(t *testing.T) {
		l := newReloading(t, httpFrontend, func() crypto.Signer { return makeKey(t, p256) })
		l.exchangeAll(t, l.logIn)
		m.row(append([]string{"logins; key, certificate, configuration"}, l.cells()...)...)
	})
	t.Run("refreshes while certificate and configuration are exchanged", func(t *testing.T) {
		key := makeKey(t, p256)
		l := newReloading(t, nginxFastCGI, func() crypto.Signer { return key })
		token := l.refreshToken(t)
		l.exchangeAll(t, func(c *steadyClient, _ int64) error { return l.refresh(c, token) })
		m.row(append([]string{"refreshes; certificate, configuration, encoding"}, l.cells()...)...)
		l.newKeyEndsRefresh(t, token)
	})
}

// reloading is one service whose files are replaced.
type reloading struct {
	env      *testEnv
	versions []configVersion
	byCert   map[string]int64 // x5c → number of the version

	certificate, config progress
	requests            atomic.Int64
	seen                sync.Map // numbers of versions
	halves              int
	wrong               problems
}

// progress follows the version that one part of the answers comes from. It never goes back: after
// an answer from one version, no later request may be answered from an older one.
type progress struct {
	highest   atomic.Int64 // that an answer came from
	installed atomic.Int64 // whose file is in place, or about to be
}

func (p *progress) check(what string, before, seen int64) error {
	if now := p.installed.Load(); seen < before || seen > now {
		return fmt.Errorf("%s of version %d in an answer, after one of version %d was in force and with %d in place",
			what, seen, before, now)
	}
	for {
		highest := p.highest.Load()
		if seen <= highest || p.highest.CompareAndSwap(highest, seen) {
			return nil
		}
	}
}

func newReloading(t *testing.T, th frontend, key func() crypto.Signer) *reloading {
	t.Helper()
	l := &reloading{byCert: make(map[string]int64)}
	l.env = openFrontend(t, configured(th, func(s *testEnv) {
		base := readFile(t, s.configFile)
		for n := range reloads + 1 {
			l.versions = append(l.versions, newConfigVersion(t, s, base, key(), n))
			l.byCert[base64.StdEncoding.EncodeToString(l.versions[n].certificate.Raw)] = int64(n)
		}
		s.replace(s.keyFile, l.versions[0].keyPEM)
		s.replace(s.certFile, pemCertificate(l.versions[0].certificate))
		s.replace(s.configFile, l.versions[0].config)
	}), envOptions{pam: soakPAM})
	return l
}

func newConfigVersion(t *testing.T, s *testEnv, base string, key crypto.Signer, n int) configVersion {
	t.Helper()
	e := configVersion{key: key, keyPEM: pemKey(t, key), certificate: makeCertificate(t, key)}
	e.config = fmt.Sprintf("%scertificate: %q\naccess_token_ttl: %ds\n", base, s.certFile, reloadTTL+n)
	if n%2 == 1 {
		der, err := x509.MarshalECPrivateKey(key.(*ecdsa.PrivateKey))
		if err != nil {
			t.Fatal(err)
		}
		e.keyPEM = string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}))
	}
	return e
}

// exchangeAll replaces the files under load, and waits until the last version is in force.
func (l *reloading) exchangeAll(t *testing.T, ask func(c *steadyClient, n int64) error) {
	t.Helper()
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for range reloadClients {
		clients.Go(func() { l.client(stop, ask) })
	}
	halt := sync.OnceFunc(func() {
		close(stop)
		clients.Wait()
		l.wrong.report(t, fmt.Sprintf("of %s requests failed", thousands(l.requests.Load())))
	})
	defer halt()
	tick := time.NewTicker(reloadEvery)
	defer tick.Stop()
	for n := 1; n <= reloads; n++ {
		<-tick.C
		l.exchange(t, n)
	}
	last := int64(reloads)
	err := poll(readyWithin, func() (bool, error) {
		return l.certificate.highest.Load() == last && l.config.highest.Load() == last, nil
	})
	halt()
	if err != nil {
		t.Errorf("the last version is not in force: certificate %d, configuration %d of %d: %v",
			l.certificate.highest.Load(), l.config.highest.Load(), last, err)
	}
	showErrors(t, l.env)
	l.checkTried(t)
	if !l.env.service.running() {
		t.Error("the service has ended")
	}
}

// exchange puts the files of version n in place, one after another, and sends SIGHUP, except for
// the last: the service notices that by itself.
func (l *reloading) exchange(t *testing.T, n int) {
	t.Helper()
	s, e := l.env, l.versions[n]
	s.replace(s.keyFile, e.keyPEM)
	if n%reloadTorn == 0 && e.key != l.versions[n-1].key {
		before := l.failedReloads(t)
		l.hangUp(t)
		eventually(t, stopWithin, "the service to find that key and certificate do not belong together",
			func() bool { return l.failedReloads(t) > before })
		l.halves++
	}
	l.certificate.installed.Store(int64(n))
	s.replace(s.certFile, pemCertificate(e.certificate))
	l.config.installed.Store(int64(n))
	s.replace(s.configFile, e.config)
	if n < reloads {
		l.hangUp(t)
	}
}

func (l *reloading) hangUp(t *testing.T) {
	t.Helper()
	if err := l.env.service.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
}

func (l *reloading) failedReloads(t *testing.T) int {
	t.Helper()
	return strings.Count(readFile(t, l.env.logFile), reloadFailed)
}

func (l *reloading) client(stop chan struct{}, ask func(c *steadyClient, n int64) error) {
	c := &steadyClient{address: l.env.address}
	defer c.hangUp()
	for {
		select {
		case <-stop:
			return
		default:
		}
		n := l.requests.Add(1)
		if err := ask(c, n); err != nil {
			l.wrong.add("request %d: %v", n, err)
		}
	}
}

// logIn uses a new password every other time, so that PAM is asked.
func (l *reloading) logIn(c *steadyClient, n int64) error {
	name := fmt.Sprintf("client%d", n/2*2)
	return l.expect(c, askGet(serviceIs, name, "password-of-"+name), name, "")
}

func (l *reloading) refresh(c *steadyClient, token string) error {
	return l.expect(c, askPost(refreshForm(token)), alice, token)
}

// expect sends a request and compares the token with the versions that may be in force.
func (l *reloading) expect(c *steadyClient, request, subject, refresh string) error {
	certificate, config := l.certificate.highest.Load(), l.config.highest.Load()
	got, err := c.token(request)
	if err != nil {
		return err
	}
	if refresh != "" && (got.RefreshToken == nil || *got.RefreshToken != refresh) {
		return fmt.Errorf("not the same refresh token back")
	}
	n, err := l.versionOf(got.Token)
	if err != nil {
		return err
	}
	if err := l.env.verifyToken(got.Token, l.versions[n].key.Public(), subject); err != nil {
		return fmt.Errorf("with the certificate of version %d: %w", n, err)
	}
	l.seen.Store(n, true)
	if err := l.certificate.check("certificate", certificate, n); err != nil {
		return err
	}
	return l.config.check("configuration", config, int64(got.ExpiresIn-reloadTTL))
}

// versionOf finds the version whose certificate a token carries.
func (l *reloading) versionOf(token string) (int64, error) {
	header, _, _, err := split(token)
	if err != nil {
		return 0, err
	}
	chain, _ := header["x5c"].([]any)
	if len(chain) != 1 {
		return 0, fmt.Errorf("x5c holds %d certificates, want 1", len(chain))
	}
	leaf, _ := chain[0].(string)
	n, known := l.byCert[leaf]
	if !known {
		return 0, fmt.Errorf("x5c holds a certificate that was never in place")
	}
	return n, nil
}

func (l *reloading) refreshToken(t *testing.T) string {
	t.Helper()
	c := &steadyClient{address: l.env.address}
	defer c.hangUp()
	got, err := c.token(askGet(serviceIs+"&offline_token=true", alice, "any-password"))
	if err != nil || got.RefreshToken == nil {
		t.Fatalf("get refresh token: %v", err)
	}
	return *got.RefreshToken
}

// newKeyEndsRefresh replaces the key: what the old one signed is invalid.
func (l *reloading) newKeyEndsRefresh(t *testing.T, token string) {
	t.Helper()
	key := makeKey(t, p256)
	l.env.replace(l.env.keyFile, pemKey(t, key))
	l.env.replace(l.env.certFile, pemCertificate(makeCertificate(t, key)))
	l.hangUp(t)
	c := &steadyClient{address: l.env.address}
	defer c.hangUp()
	eventually(t, readyWithin, "a refresh token of the old key to be refused", func() bool {
		answer, err := c.ask(askPost(refreshForm(token)))
		return err == nil && answer.denied(http.StatusUnauthorized, "UNAUTHORIZED") == nil
	})
}

// checkTried fails if few of the versions were seen in answers.
func (l *reloading) checkTried(t *testing.T) {
	t.Helper()
	if n := l.seenCount(); n < reloads/5 {
		t.Errorf("answers came from %d versions only, of %d", n, reloads)
	}
	if l.versions[0].key != l.versions[1].key && l.halves == 0 {
		t.Error("the service never met a key without its certificate")
	}
}

func (l *reloading) seenCount() (n int) {
	l.seen.Range(func(any, any) bool { n++; return true })
	return n
}

func (l *reloading) cells() []string {
	return []string{thousands(l.requests.Load()), fmt.Sprint(l.wrong.count()), fmt.Sprint(l.seenCount()),
		fmt.Sprint(l.halves)}
}
