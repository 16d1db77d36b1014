package service

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"dockerauth/config"
	"dockerauth/handler"
	"dockerauth/pamauth"
	"dockerauth/throttle"
)

// adminFixture is a long-lived service without a front end. Its PAM is a fake, since conversations
// are tested in pamauth and e2e: the user's name says what comes of it.
type adminFixture struct {
	*reloader
	dir, config string
	log         *bytes.Buffer
	pam         pamauth.Authenticator // the fixture itself
	asked       [5]atomic.Uint64      // by place in playedResults
	ended       time.Time             // of the certificate
}

var playedResults = []string{resultAccepted, resultRefused, resultBusy, resultBroken, resultAbandoned}

const fixtureConfig = "private_key: privkey.pem\ncertificate: cert.pem\n" +
	"issuer: i\naudience: a\npam: {confdir: pam.d, " +
	"concurrency: 4}\n"

func newAdminFixture(t testing.TB) *adminFixture {
	t.Helper()
	s := &adminFixture{dir: t.TempDir(), log: &bytes.Buffer{},
		ended: time.Now().Add(time.Hour).UTC().Truncate(time.Second)}
	s.pam = s
	s.config = s.write(t, "config.yml", fixtureConfig)
	s.write(t, "pam.d/dockerauth", "auth required pam_permit.so\naccount required pam_permit.so\n")
	s.writeKey(t)
	f := newMetricSet()
	var mu sync.Mutex
	stderr := newStderrWriter(lockedWriter{&mu, s.log}, &f.droppedLines)
	c := newConversations(func(*config.Config) pamauth.Authenticator { return s.pam }, f)
	s.reloader = &reloader{metrics: f, stderr: stderr}
	live := slog.New(reloadHandler{reloader: s.reloader})
	o := runtimeOptions{stderr: stderr, mustLog: true, state: newState(live), checks: &throttle.Checks{},
		observe: f.requestEnded, converse: c.of}
	s.state = o.state
	s.load = func(previous *service) (*service, error) { return load(s.config, o, previous) }
	return s
}

type lockedWriter struct {
	mu *sync.Mutex
	*bytes.Buffer
}

func (w lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.Buffer.Write(p)
}

func (s *adminFixture) Authenticate(_ context.Context, l pamauth.Login) (pamauth.Account, error) {
	errs := []error{nil, pamauth.ErrRefused, pamauth.ErrBusy, pamauth.ErrBroken,
		fmt.Errorf("%w: %w", pamauth.ErrBroken, context.Canceled)}
	for i, result := range playedResults {
		if strings.HasPrefix(l.User, result) {
			s.asked[i].Add(1)
			return pamauth.Account{Name: l.User}, errs[i]
		}
	}
	return pamauth.Account{}, errors.New("nobody")
}

func (s *adminFixture) write(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (s *adminFixture) writeKey(t testing.TB) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	s.write(t, "privkey.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "dockerauth"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: s.ended}
	if der, err = x509.CreateCertificate(rand.Reader, template, template, key.Public(), key); err != nil {
		t.Fatal(err)
	}
	s.write(t, "cert.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
}

func (s *adminFixture) mustReload(t testing.TB) {
	t.Helper()
	if err := s.reload(); err != nil {
		t.Fatal(err)
	}
}

// login asks for a token as the web server would.
func (s *adminFixture) login(user, password, remote string) {
	r := httptest.NewRequest(http.MethodGet, "/docker/v2/token", nil)
	r.SetBasicAuth(user, password)
	r.RemoteAddr = remote + ":1"
	s.ServeHTTP(httptest.NewRecorder(), r)
}

func (s *adminFixture) get(method, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	admin{s.reloader}.ServeHTTP(w, httptest.NewRequest(method, path, nil))
	return w
}

func (s *adminFixture) page() string { return s.get(http.MethodGet, "/metrics").Body.String() }

func TestHealthSaysWhetherLoginsCanBeAnswered(t *testing.T) {
	conversations := func(results ...string) func(*testing.T, *adminFixture) {
		return func(t *testing.T, s *adminFixture) {
			for _, r := range results {
				_, err := s.Authenticate(t.Context(), pamauth.Login{User: r})
				s.metrics.Ended(err)
			}
		}
	}
	tests := []struct {
		name    string
		unread  bool // no configuration has been read before it happens
		happens func(*testing.T, *adminFixture)
		later   time.Duration
		status  string
		serving bool
		reason  string // part of the only one
	}{
		{name: "all is well", happens: conversations(resultAccepted), status: "ok", serving: true},
		{name: "nobody has logged in", happens: conversations(), status: "ok", serving: true},
		{name: "no configuration", unread: true, happens: func(t *testing.T, s *adminFixture) {
			s.write(t, "config.yml", "isuer: typo\n")
			_ = s.reload()
		}, status: "degraded", reason: "no usable configuration"},
		{name: "a changed configuration with a mistake", happens: func(t *testing.T, s *adminFixture) {
			s.write(t, "config.yml", "isuer: typo\n")
			_ = s.reload()
		}, status: "degraded", serving: true, reason: "the last good one is in force"},
		{name: "one that was fixed", happens: func(t *testing.T, s *adminFixture) {
			s.write(t, "config.yml", "isuer: typo\n")
			_ = s.reload()
			s.write(t, "config.yml", fixtureConfig)
			s.mustReload(t)
		}, status: "ok", serving: true},
		{name: "the PAM service file is gone", happens: func(t *testing.T, s *adminFixture) {
			if err := os.Remove(filepath.Join(s.dir, "pam.d", "dockerauth")); err != nil {
				t.Fatal(err)
			}
		}, status: "degraded", reason: "PAM service file"},
		{name: "PAM broke four times", happens: conversations(resultBroken, resultBroken, resultBroken, resultBroken),
			status: "ok", serving: true},
		{name: "PAM broke five times",
			happens: conversations(
				resultAccepted,
				resultBroken,
				resultBroken,
				resultBroken,
				resultBroken,
				resultBroken,
			),
			status: "degraded", reason: "no answer"},
		{name: "PAM broke five times, and nobody noticed since",
			happens: conversations(resultBroken, resultBroken, resultBroken, resultBroken, resultBroken),
			later:   brokenFor, status: "ok", serving: true},
		{name: "a no is an answer",
			happens: conversations(resultBroken, resultBroken, resultBroken, resultBroken, resultRefused, resultBroken),
			status:  "ok", serving: true},
		{name: "who is told to wait, or hangs up, says nothing about PAM",
			happens: conversations(
				resultBroken,
				resultBroken,
				resultBusy,
				resultAbandoned,
				resultAbandoned,
				resultAbandoned,
			),
			status: "ok", serving: true},
		{name: "nor does it hide what is broken",
			happens: conversations(resultBroken, resultBroken, resultBroken, resultBusy, resultBroken, resultAbandoned,
				resultBroken, resultAbandoned),
			status: "degraded", reason: "no answer"},
		{name: "a line of the log was lost", happens: func(t *testing.T, s *adminFixture) {
			conversations()(t, s)
			s.logWriter().drop(errWriteTimeout)
		}, status: "degraded", serving: true, reason: "the log cannot be written"},
		{
			name:    "the certificate has ended",
			happens: conversations(),
			later:   2 * time.Hour,
			status:  "degraded",
			serving: true,
			reason:  "certificate has expired",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newAdminFixture(t)
			if !tt.unread {
				s.mustReload(t)
			}
			tt.happens(t, s)
			h := checkHealth(s.reloader, time.Now().Add(tt.later))
			if h.Status != tt.status || h.serving != tt.serving {
				t.Errorf("status %s, serving %t, for %q", h.Status, h.serving, h.Reasons)
			}
			if reasons := strings.Join(h.Reasons, "\n"); tt.reason == "" && reasons != "" ||
				!strings.Contains(reasons, tt.reason) || len(h.Reasons) > 1 {
				t.Errorf("reasons %q, want %q", h.Reasons, tt.reason)
			}
			if tt.later > 0 {
				return
			}
			want := map[bool]int{true: http.StatusOK, false: http.StatusServiceUnavailable}[tt.serving]
			for _, path := range []string{"/healthz", "/readyz"} {
				if got := s.get(http.MethodGet, path); got.Code != want {
					t.Errorf("%s: status code %d, want %d", path, got.Code, want)
				}
			}
			if got := s.get(http.MethodGet, "/livez"); got.Code != http.StatusOK {
				t.Errorf("/livez: status code %d: a restart would not help", got.Code)
			}
			if samples, _ := parseExposition(t, s.page()); samples["dockerauth_ready"] != truth(tt.serving) {
				t.Errorf("dockerauth_ready is %v", samples["dockerauth_ready"])
			}
		})
	}
}

func TestHealthNamesConfigurationKeyAndPAM(t *testing.T) {
	s := newAdminFixture(t)
	s.mustReload(t)
	s.login("broken", "p", "192.0.2.1")
	var got health
	decoder := json.NewDecoder(s.get(http.MethodGet, "/healthz").Body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&got); err != nil {
		t.Fatal(err)
	}
	switch {
	case got.Config.Path != s.config || !got.Config.Good || got.Config.Loaded == nil ||
		time.Since(*got.Config.Loaded) > time.Minute:
		t.Errorf("config %+v", got.Config)
	case got.Key == nil || got.Key.Algorithm != "ES256" || got.Key.ID == "" || got.Key.NotAfter == nil ||
		!got.Key.NotAfter.Equal(s.ended):
		t.Errorf("key %+v", got.Key)
	case got.PAM == nil || !got.PAM.ServiceFileGood || got.PAM.Last == nil || got.PAM.Last.Kind != "broken" ||
		got.PAM.BrokenInARow != 1:
		t.Errorf("pam %+v", got.PAM)
	case got.LastError == nil || got.LastError.Kind != "broken" || time.Since(got.LastError.At) > time.Minute:
		t.Errorf("last_error %+v", got.LastError)
	}
	samples, _ := parseExposition(t, s.page())
	if got := samples["dockerauth_certificate_expiry_timestamp_seconds"]; got != float64(s.ended.Unix()) {
		t.Errorf("the certificate ends at %v, want %d", got, s.ended.Unix())
	}
}

func TestTheAdminListenerAnswersNothingElse(t *testing.T) {
	s := newAdminFixture(t)
	s.mustReload(t)
	tests := []struct {
		method, path string
		status       int
		contentType  string
	}{
		{"GET", "/healthz", 200, "application/json"},
		{"HEAD", "/healthz", 200, "application/json"},
		{"GET", "/readyz", 200, "application/json"},
		{"HEAD", "/readyz", 200, "application/json"},
		{"GET", "/livez", 200, "text/plain; charset=utf-8"},
		{"HEAD", "/livez", 200, "text/plain; charset=utf-8"},
		{"GET", "/livez/", 404, "text/plain; charset=utf-8"},
		{"GET", "/metrics", 200, "text/plain; version=0.0.4; charset=utf-8"},
		{"HEAD", "/metrics", 200, "text/plain; version=0.0.4; charset=utf-8"},
		{"GET", "/", 404, "text/plain; charset=utf-8"},
		{"GET", "/metrics/", 404, "text/plain; charset=utf-8"},
		{"GET", "/debug/pprof/", 404, "text/plain; charset=utf-8"},
		{"GET", "/docker/v2/token", 404, "text/plain; charset=utf-8"},
	}
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get", "ANY"} {
		for _, path := range []string{"/livez", "/readyz", "/healthz", "/metrics"} {
			tests = append(tests, struct {
				method, path string
				status       int
				contentType  string
			}{method, path, 405, "text/plain; charset=utf-8"})
		}
	}
	for _, tt := range tests {
		w := s.get(tt.method, tt.path)
		if w.Code != tt.status || w.Header().Get("Content-Type") != tt.contentType ||
			w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s %s: %d %v", tt.method, tt.path, w.Code, w.Header())
		}
	}
}

// Anyone who can connect must not learn who has an account, from where they come or what is secret.
func TestNothingOfAnybodyLeavesByTheAdminListener(t *testing.T) {
	const person, secret, network = "lieschen", "mueller-123", "192.0.2."
	mistakes := []string{
		"blacklisted_users: [[" + person + "]]\n",
		"trusted_proxies: [" + network + "1/24]\n",
		person + ": yes\n", "pam: {" + person + ": 1}\n", "issuer: " + person + "\n",
		"access:\n  - allow: [" + person + "]\n    to: [" + person + "]\n",
		"access:\n  - allow: [pull]\n    to: [\"@" + person + " x\"]\n    from: [" + network + "9/24]\n",
		"access: {" + person + ": [pull]}\n", "access: " + person + "\n", "pam: " + person + "\n", "state: [" + person +
			"\n",
		"log: {level: " + person + "}\n", "access_token_ttl: " + secret + "\n", "\t" + person + "\n", "private_key: " +
			secret + "\n",
	}
	for n, mistake := range mistakes {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel() // refusals are held back for a second
			s := newAdminFixture(t)
			s.mustReload(t)
			for i, result := range playedResults {
				s.login(result+"-"+person, secret, fmt.Sprint(network, i+1))
			}
			for range brokenMany {
				s.login(resultBroken+"-"+person, secret, network+"9")
			}
			if reasons := checkHealth(s.reloader, time.Now()).Reasons; len(reasons) != 1 {
				t.Errorf("it should be degraded for one reason: %q", reasons)
			}
			s.write(t, "config.yml", fixtureConfig+mistake)
			if err := s.reload(); err == nil {
				t.Fatalf("this is no mistake: %s", mistake)
			}
			h := checkHealth(s.reloader, time.Now())
			if !strings.HasPrefix(h.Config.Error, s.config) {
				t.Errorf("the error does not name the file: %q", h.Config.Error)
			}
			for _, path := range []string{"/livez", "/readyz", "/healthz", "/metrics"} {
				text := s.get(http.MethodGet, path).Body.String()
				for _, word := range []string{person, secret, network, "BEGIN"} {
					if strings.Contains(text, word) {
						t.Errorf("%s has %q: %s", path, word, text)
					}
				}
			}
		})
	}
}

func TestWhatIsQuotedIsLeftOut(t *testing.T) {
	for text, want := range map[string]string{
		`plain`:                          `plain`,
		`user "alice": no`:               `user …: no`,
		`"a \"b\" c" and "d"`:            `… and …`,
		`an end that is missing: "alice`: `an end that is missing: …`,
		`"`:                              `…`,
	} {
		if got := withoutQuoted(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}

// Ten thousand requests at once, a configuration that changes and somebody who looks all the time:
// nothing is lost or counted twice.
func TestMetricsAgreeWithTheLog(t *testing.T) {
	const requests, workers = 10_000, 500
	s := newAdminFixture(t)
	s.stderr.timeout = time.Minute // a slow machine
	// With a low limit, some logins on a slow machine give up waiting, and PAM is never asked.
	s.write(t, "config.yml", strings.Replace(fixtureConfig, "concurrency: 4", "concurrency: 256", 1))
	s.mustReload(t)
	var work sync.WaitGroup
	work.Go(func() {
		for range 20 {
			if err := s.reload(); err != nil {
				t.Error(err)
			}
		}
	})
	for worker := range workers {
		work.Go(func() {
			for n := worker; n < requests; n += workers {
				remote := fmt.Sprintf("10.%d.%d.1", n>>8&255, n&255)
				switch kind := (n + n/workers*37) % 100; {
				case kind < 3: // refusals are held back for a second
					s.login(fmt.Sprint("refused", n), "p", remote)
				case kind < 5:
					s.login(fmt.Sprint("busy", n), "p", remote)
				case kind < 8:
					s.login(fmt.Sprint("broken", n), "p", remote)
				case kind < 9:
					s.login("refused", "p", "192.0.2.1") // throttled after the first
				case kind < 60:
					s.login("accepted", "p", "192.0.2.2") // from the cache, but for the first
				default:
					s.login(fmt.Sprint("accepted", n), "p", remote)
				}
				if n%20 == 0 {
					s.page()
					s.get(http.MethodGet, "/healthz")
				}
			}
		})
	}
	work.Wait()
	samples, _ := parseExposition(t, s.page())
	total := 0.0
	for _, outcome := range handler.Outcomes() {
		logged := float64(strings.Count(s.log.String(), " outcome="+outcome+" "))
		if got := samples[`dockerauth_requests_total{outcome="`+outcome+`"}`]; got != logged {
			t.Errorf("%v requests ended as %s, the log has %v", got, outcome, logged)
		}
		total += logged
	}
	if total != requests || samples["dockerauth_request_duration_seconds_count"] != requests {
		t.Errorf("%v in the log, %v durations, of %d requests", total,
			samples["dockerauth_request_duration_seconds_count"], requests)
	}
	asked := 0.0
	for i, result := range playedResults {
		want := float64(s.asked[i].Load())
		if got := samples[`dockerauth_pam_conversations_total{result="`+result+`"}`]; got != want {
			t.Errorf("%v conversations ended as %s, PAM was asked %v times", got, result, want)
		}
		asked += want
	}
	if got := samples["dockerauth_pam_queue_wait_seconds_count"]; got != asked ||
		samples["dockerauth_pam_queue_length"] != 0 {
		t.Errorf("%v waited and %v still do, PAM was asked %v times", got, samples["dockerauth_pam_queue_length"],
			asked)
	}
	if hits := samples["dockerauth_pam_cache_hits_total"]; hits == 0 ||
		hits > samples[`dockerauth_requests_total{outcome="granted"}`] {
		t.Errorf("%v answers from the cache", hits)
	}
}

func TestAnAnswerThatIsKnownIsAHit(t *testing.T) {
	s := newAdminFixture(t)
	s.mustReload(t)
	hits := func() float64 {
		samples, _ := parseExposition(t, s.page())
		return samples["dockerauth_pam_cache_hits_total"]
	}
	for i, want := range []float64{0, 1, 2} {
		if s.login("accepted", "p", "192.0.2.1"); hits() != want {
			t.Errorf("after %d logins %v hits, want %v", i+1, hits(), want)
		}
	}
	s.write(t, "config.yml", strings.Replace(fixtureConfig, "concurrency: 4", "cache: 0", 1))
	s.mustReload(t)
	if s.login("accepted", "p", "192.0.2.1"); hits() != 2 {
		t.Errorf("%v hits without a cache: those of before must stay, and none come", hits())
	}
}

// What waits for its turn is seen to.
func TestWaitingLoginsAreCounted(t *testing.T) {
	f := newMetricSet()
	began, proceed := make(chan struct{}), make(chan struct{})
	authenticator := inFrontOf(authenticatorFunc(func(context.Context, pamauth.Login) (pamauth.Account, error) {
		began <- struct{}{}
		<-proceed
		return pamauth.Account{Name: "a"}, nil
	}), config.PAM{}, pamauth.NewSlots(1), f)
	var all sync.WaitGroup
	ask := func(user string, ctx context.Context) {
		all.Go(func() { _, _ = authenticator.Authenticate(ctx, pamauth.Login{User: user, Password: "p"}) })
	}
	waiting := func(want int64) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); f.queueLength.Load() != want; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d wait, want %d", f.queueLength.Load(), want)
			}
		}
	}
	ask("first", t.Context())
	<-began
	waiting(0)
	ctx, hangUp := context.WithCancel(t.Context())
	ask("second", t.Context())
	ask("third", ctx)
	waiting(2)
	hangUp()
	waiting(1)
	proceed <- struct{}{}
	<-began
	waiting(0)
	proceed <- struct{}{}
	all.Wait()
	if f.conversations.Of(resultAccepted) != 2 || f.conversations.Of(resultAbandoned) != 1 {
		t.Errorf("accepted %d, abandoned %d", f.conversations.Of(resultAccepted), f.conversations.Of(resultAbandoned))
	}
}

type authenticatorFunc func(context.Context, pamauth.Login) (pamauth.Account, error)

func (f authenticatorFunc) Authenticate(ctx context.Context, l pamauth.Login) (pamauth.Account, error) {
	return f(ctx, l)
}
