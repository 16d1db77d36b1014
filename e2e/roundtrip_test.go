package e2e

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// Each way to present a key to each registry.
var setups = []struct {
	name     string
	registry registryKind
	site     siteOptions
}{
	{"registry 2.8 and an RSA key by its certificate", registry28, siteOptions{key: rsa2048, certificate: true}},
	{"registry 2.8 and a P-256 key by its certificate", registry28, siteOptions{key: p256, certificate: true}},
	{"registry 3.1 and an RSA key by its certificate", registry31, siteOptions{key: rsa2048, certificate: true}},
	{"registry 3.1 and a P-256 key by its certificate", registry31, siteOptions{key: p256, certificate: true}},
	{"registry 2.8 and an RSA key by its libtrust id", registry28, siteOptions{key: rsa2048}},
	{"registry 2.8 and a P-256 key by its libtrust id", registry28, siteOptions{key: p256}},
	{"registry 3.1 and an RSA key by its thumbprint", registry31, siteOptions{key: rsa2048, keyID: "thumbprint"}},
	{"registry 3.1 and a P-256 key by its thumbprint", registry31, siteOptions{key: p256, keyID: "thumbprint"}},
}

func TestEveryClientWorksWithEveryRegistry(t *testing.T) {
	leaveAsFound(t, outsidePaths)
	dm := startDaemons(t)
	for _, setup := range setups {
		t.Run(setup.name, func(t *testing.T) {
			t.Parallel()
			needRegistry(t, setup.registry)
			s := newSite(t, setup.site)
			service, realm := s.serveHTTP(t)
			tp, realm := startTap(t, realm)
			r := startRegistry(t, setup.registry, s, realm, trust{bundle: s.certFile})
			// One after the other, so that the tap sees this client's requests alone.
			for _, c := range registryClients() {
				t.Run(c.name, func(t *testing.T) {
					c.need(t)
					checkClient(t, c, newWorkspace(t, r.host, tp, dm), realm)
				})
			}
			expectLog(t, service, tp)
		})
	}
}

// Without a daemon the docker command signs in by itself, with another HTTP client.
func TestDockerSignsInWithoutADaemon(t *testing.T) {
	needRegistry(t, registry31)
	s := newSite(t, siteOptions{certificate: true})
	_, realm := s.serveHTTP(t)
	tp, realm := startTap(t, realm)
	r := startRegistry(t, registry31, s, realm, trust{bundle: s.certFile})
	for _, c := range dockers() {
		t.Run(c.name, func(t *testing.T) {
			c.need(t)
			w := newWorkspace(t, r.host, tp, &daemons{dockerSocket: "/nonexistent"})
			expectRefusal(t, c, w)
			c.signIn(w, alicePassword).must(t)
			asked := func(q tokenRequest) bool { return wasGranted(q) && q.offline && q.method == http.MethodGet }
			if seen := tp.take(); count(seen, asked) == 0 {
				t.Errorf("signing in asked the token service %+v, want a GET with offline_token", seen)
			}
			skopeo.need(t)
			if o := skopeo.signIn(w, alicePassword); !strings.Contains(
				o.stderr,
				"auth file contains an Identity token",
			) {
				t.Errorf("docs/clients.md says that skopeo stumbles over docker's login: %v", o)
			}
		})
	}
}

func checkClient(t *testing.T, c registryClient, w *workspace, realm string) {
	w.tap.take()
	expectRefusal(t, c, w)

	c.signIn(w, alicePassword).must(t)
	seen := w.tap.take()
	if count(seen, wasGranted) == 0 {
		t.Fatalf("signed in, but the token service was asked only %+v", seen)
	}
	if posts := seen[0].method == http.MethodPost && seen[0].grant == "password"; posts != c.postsPassword {
		t.Errorf("first asked for a token by %s %s, want a POST of the password: %v", seen[0].method, seen[0].grant,
			c.postsPassword)
	}

	c.push(w)
	c.pull(w)
	seen = w.tap.take()
	if count(seen, wasGranted) == 0 || count(seen, wasGranted) != len(seen) {
		t.Errorf("push and pull asked the token service %+v, want only granted requests", seen)
	}
	if c.after != nil {
		c.after(w, seen)
	}

	expectRefresh(t, c, w, realm)
}

const wrongPassword = "looking-glass"

// expectRefusal signs in with a wrong password: the client must report it and get nothing.
func expectRefusal(t *testing.T, c registryClient, w *workspace) {
	t.Helper()
	o := c.signIn(w, wrongPassword)
	if o.status == 0 {
		t.Errorf("sign in with a wrong password: %v\nwant another status than 0", o)
	}
	if said := o.stdout + o.stderr; !c.refusal.MatchString(said) || strings.Contains(said, wrongPassword) {
		t.Errorf("of a wrong password it says\n%s\nwant %q, and not the password", said, c.refusal)
	}
	seen := w.tap.take()
	if count(seen, wasRefused) == 0 || count(seen, wasRefused) != len(seen) {
		t.Errorf("a wrong password asked the token service %+v, want only refused requests", seen)
	}
	// After the refused POST comes a GET with the same password: the service sees one mistake as
	// two.
	want := 1
	if c.postsPassword {
		want = 2
	}
	if len(seen) != want {
		t.Errorf("a wrong password asked %d times, want %d: %+v", len(seen), want, seen)
	}
}

// expectRefresh gives the client a refresh token instead of the password.
func expectRefresh(t *testing.T, c registryClient, w *workspace, realm string) {
	t.Helper()
	if c.forget != nil {
		c.forget(w)
	}
	w.useRefreshToken(fetchTokens(t, realm, url.Values{"service": {audience}, "offline_token": {"true"}}).RefreshToken)
	w.repo = "second/image"
	w.tap.take()
	c.push(w)
	c.pull(w)
	seen := w.tap.take()
	if count(seen, grantedRefresh) == 0 {
		t.Errorf("push and pull with a refresh token asked the token service %+v, want a refresh grant", seen)
	}
	asUsual := func(q tokenRequest) bool {
		return q.method == http.MethodPost && q.grant == "refresh_token" && q.chunked == c.chunks
	}
	if count(seen, asUsual) != len(seen) {
		t.Errorf("refreshed with %+v, want POSTs of a refresh token, chunked: %v", seen, c.chunks)
	}
	if n := count(seen, byPassword); n != 0 {
		t.Errorf("%d requests carried a password that was not typed: %+v", n, seen)
	}
}

// expectLog compares the service's log with what the tap saw: a line for each request, refreshes
// with their user, no secret.
func expectLog(t *testing.T, service *process, tp *tap) {
	t.Helper()
	all, renewed := tp.totals()
	lines := func(with string) int {
		n := 0
		for line := range strings.Lines(service.output()) {
			if strings.Contains(line, `msg="token request"`) && strings.Contains(line, with) {
				n++
			}
		}
		return n
	}
	eventually(t, 5*time.Second, "the last line of the log", func() bool { return lines("") >= all })
	if n := lines(""); n != all {
		t.Errorf("%d lines in the log for %d requests", n, all)
	}
	if n := lines(" outcome=granted grant=refresh_token "); n != renewed {
		t.Errorf("%d refresh grants in the log, want the %d that clients were given", n, renewed)
	}
	for _, secret := range []string{alicePassword, wrongPassword, "eyJ"} { // every JWT begins like this
		if strings.Contains(service.output(), secret) {
			t.Errorf("%q is in the log", secret)
		}
	}
}

type tokens struct {
	Token        string `json:"token"`
	RefreshToken string `json:"refresh_token"`
}

// fetchTokens requests tokens for alice.
func fetchTokens(t testing.TB, realm string, query url.Values) tokens {
	t.Helper()
	q, err := http.NewRequest(http.MethodGet, realm+"?"+query.Encode(), nil)
	if err != nil {
		t.Fatal(err)
	}
	q.SetBasicAuth(alice, alicePassword)
	a, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	var got tokens
	if err := json.NewDecoder(a.Body).Decode(&got); err != nil || got.Token == "" {
		t.Fatalf("fetch token: status %d, %v", a.StatusCode, err)
	}
	return got
}
