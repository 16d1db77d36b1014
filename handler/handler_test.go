package handler

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"dockerauth/access"
)

const (
	wonderland = "wonderland-password"
	genuine    = "genuine-refresh-token"
	fixedTime  = "2026-01-02T03:04:05Z"
)

// fakePAM stands in for PAM, whose conversations are tested in pamauth and e2e.
type fakePAM struct {
	asked    []string
	lookedUp []string
	renames  map[string]string
}

func (p *fakePAM) Authenticate(_ context.Context, l Login) (Account, error) {
	user := l.User
	p.asked = append(p.asked, "password "+user+" "+l.Remote)
	if l.Password.isKept() || Secret(l.User).isKept() {
		panic("a kept token reaches PAM")
	}
	if l.Recheck != nil {
		if err := l.Recheck(); err != nil {
			return Account{}, err
		}
	}
	switch user {
	case "busy":
		return Account{}, fmt.Errorf("%w: 2 conversations running", ErrBusy)
	case "broken":
		return Account{}, fmt.Errorf("%w: the directory is unreachable", ErrUnavailable)
	case "strange":
		return Account{}, errors.New("an unmapped error")
	case "ALIAS-OF-MALLORY":
		return Account{Name: "mallory"}, nil
	case "nameless":
		return Account{Name: ""}, nil
	case "ALICE":
		return Account{Name: "alice"}, nil
	}
	if l.Password.Reveal() != wonderland {
		return Account{}, fmt.Errorf("%w: authenticate: PAM_AUTH_ERR", ErrRefused)
	}
	if name, ok := p.renames[user]; ok {
		user = name
	}
	return Account{Name: user, Groups: groups[user]}, nil
}

var groups = map[string][]access.Group{"dev": {{Name: "developers", ID: 1000}}, "guest": {{Name: "guests", ID: 1001}}}

func (p *fakePAM) CheckAccount(_ context.Context, user, remote string, stateKey Secret) (Account, error) {
	p.asked = append(p.asked, "account "+user+" "+remote)
	if stateKey == "" {
		return Account{}, errors.New("no key for the state")
	}
	if user == "expired" {
		return Account{}, fmt.Errorf("%w: account: PAM_ACCT_EXPIRED", ErrRefused)
	}
	if user == "ALIAS-OF-MALLORY" {
		return Account{Name: "mallory"}, nil
	}
	return Account{Name: user, Groups: groups[user]}, nil
}

func (p *fakePAM) LookUp(_ context.Context, user, _ string) (Account, error) {
	p.lookedUp = append(p.lookedUp, user)
	if user == "broken" {
		return Account{}, fmt.Errorf("%w: the directory is unreachable", ErrUnavailable)
	}
	if name, ok := p.renames[user]; ok {
		user = name
	}
	return Account{Name: user, Groups: groups[user]}, nil
}

// fakeSigner stands in for jwtsign, whose tokens are tested there and in e2e.
type fakeSigner struct{ padding int }

func (s fakeSigner) AccessToken(subject, audience string, _ time.Duration, entries any) (string, string, error) {
	text, err := json.Marshal(entries)
	return fmt.Sprintf("access(%s|%s|%s)%s", subject, audience, text, strings.Repeat("x", s.padding)), "id-1", err
}

// fakeCredentials stands in for credentials, which is tested there and in service.
type fakeCredentials struct {
	asked    []string // the store was
	noted    []string
	storeErr error
	stateErr error
	limits   []string
}

// keptOf is the kept token that belongs to a login, which may be a robot's.
func keptOf(login string) string {
	return KeptPrefix + "Genuine" + strings.ReplaceAll(login, "+", "Plus")
}

func (c *fakeCredentials) ParseKept(token Secret) error {
	if !strings.HasPrefix(token.Reveal(), keptOf("")) {
		return refuse("the checksum of the token is wrong")
	}
	return nil
}

func (c *fakeCredentials) Kept(_ context.Context, token Secret, login, remote string) (Credential, error) {
	c.asked = append(c.asked, "kept "+login+" "+remote)
	credential := c.credential("id-4", Personal, login)
	if user, robot, ok := strings.Cut(login, "+"); ok {
		credential.Kind, credential.User, credential.Robot = Robot, user, robot
	}
	for _, text := range c.limits {
		limit, err := access.ParseLimit(text)
		if err != nil {
			panic(err)
		}
		credential.Limits = append(credential.Limits, limit)
	}
	if token.Reveal() == keptOf("nobody") {
		return Credential{ID: "id-4", IsGuess: true}, refuse("there is no such token")
	}
	if token.Reveal() != keptOf(login) {
		return Credential{ID: "id-4"}, refuse("the token is of another login")
	}
	return credential, c.storeErr
}

func (c *fakeCredentials) Refresh(_ context.Context, token Secret) (Credential, error) {
	subject, ok := strings.CutPrefix(token.Reveal(), genuine+"-of-")
	if !ok {
		return Credential{}, refuse("signature is not by this service")
	}
	c.asked = append(c.asked, "refresh "+subject)
	return c.credential("id-3", Refresh, subject), c.storeErr
}

func (c *fakeCredentials) NewRefresh(_ context.Context, account Account) (Secret, Credential, error) {
	return Secret("refresh(" + account.Name + ")"), c.credential("id-2", Refresh, account.Name), c.storeErr
}

func (c *fakeCredentials) credential(id string, kind Kind, user string) Credential {
	return Credential{ID: id, Kind: kind, User: user, StateKey: "key", Check: func(*State) error { return c.stateErr },
		Note: func(client, remote string) { c.noted = append(c.noted, id+" "+client+" "+remote) }}
}

type fixture struct {
	handler     *Handler
	pam         *fakePAM
	credentials *fakeCredentials
	log         *bytes.Buffer
}

func newFixture() fixture {
	p, c, buf := &fakePAM{}, &fakeCredentials{limits: []string{"repository:**:*"}}, &bytes.Buffer{}
	return fixture{
		pam:         p,
		credentials: c,
		log:         buf,
		handler: &Handler{
			Endpoint: &Endpoint{
				Authenticator: p,
				Signer:        fakeSigner{},
				Credentials:   c,
				Audiences:     []string{"registry.example.com"},
				Blacklist:     []string{"mallory"},
				AccessTTL:     15 * time.Minute,
			},
			Log: slog.New(slog.NewTextHandler(buf, nil)),
			Now: func() time.Time { t, _ := time.Parse(time.RFC3339, fixedTime); return t },
		},
	}
}

func (f fixture) do(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	f.handler.ServeHTTP(w, r)
	return w
}

func get(query string, headers ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/docker/v2/token?"+query, nil)
	for _, h := range headers {
		r.Header.Add("Authorization", h)
	}
	return r
}

func post(form string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/docker/v2/token", strings.NewReader(form))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r
}

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

const (
	scopeApp  = "scope=repository%3Aapp%3Apull%2Cpush"
	claimsApp = `[{"type":"repository","name":"app","actions":["pull","push"]}]`
)

func TestGoodCredentialsGetAToken(t *testing.T) {
	tests := []struct {
		name    string
		request *http.Request
		token   string
		scope   string // "" = no such field
		refresh string
		asked   string
	}{
		{"GET with Basic", get("service=registry.example.com&"+scopeApp, basic("alice", wonderland)),
			"access(alice|registry.example.com|" + claimsApp + ")", "", "", "password alice 192.0.2.1"},
		{"a lower-case scheme", get(scopeApp, "basic "+strings.TrimPrefix(basic("alice", wonderland), "Basic ")),
			"access(alice|registry.example.com|" + claimsApp + ")", "", "", "password alice 192.0.2.1"},
		{"no service: the only audience", get(scopeApp, basic("alice", wonderland)),
			"access(alice|registry.example.com|" + claimsApp + ")", "", "", "password alice 192.0.2.1"},
		{"no scope: docker login", get("account=alice&client_id=docker&service=registry.example.com",
			basic("alice", wonderland)),
			"access(alice|registry.example.com|[])", "", "", "password alice 192.0.2.1"},
		{"offline_token asks for a refresh token", get("offline_token=true", basic("alice", wonderland)),
			"access(alice|registry.example.com|[])", "", "refresh(alice)", "password alice 192.0.2.1"},
		{"account never becomes the subject", get("account=root", basic("alice", wonderland)),
			"access(alice|registry.example.com|[])", "", "", "password alice 192.0.2.1"},
		{"the subject is the name PAM gave back", get("offline_token=true", basic("ALICE", wonderland)),
			"access(alice|registry.example.com|[])", "", "refresh(alice)", "password ALICE 192.0.2.1"},
		{"a refresh token as Basic with an empty user", get(scopeApp, basic("", genuine+"-of-alice")),
			"access(alice|registry.example.com|" + claimsApp + ")", "", "", "account alice 192.0.2.1"},
		{"POST password",
			post("grant_type=password&username=alice&password=" + wonderland + "&service=registry.example.com&" +
				scopeApp),
			"access(alice|registry.example.com|" + claimsApp + ")", "repository:app:pull,push", "",
			"password alice 192.0.2.1"},
		{"POST password, offline",
			post("grant_type=password&access_type=offline&username=alice&password=" + wonderland + "&scope="),
			"access(alice|registry.example.com|[])", "", "refresh(alice)", "password alice 192.0.2.1"},
		{"POST refresh gives the same refresh token back",
			post("grant_type=refresh_token&refresh_token=" + genuine + "-of-alice&" + scopeApp),
			"access(alice|registry.example.com|" + claimsApp + ")", "repository:app:pull,push", genuine + "-of-alice",
			"account alice 192.0.2.1"},
		{"POST refresh without a grant type, as the PHP service's clients send it",
			post("refresh_token=" + genuine + "-of-alice"),
			"access(alice|registry.example.com|[])", "", genuine + "-of-alice", "account alice 192.0.2.1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture()
			w := f.do(tt.request)
			if w.Code != http.StatusOK {
				t.Fatalf("status %d: %s", w.Code, w.Body)
			}
			var got map[string]any
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			if got["token"] != tt.token || got["access_token"] != tt.token {
				t.Errorf("token %v, access_token %v, want both %q", got["token"], got["access_token"], tt.token)
			}
			if got["expires_in"] != float64(900) || got["issued_at"] != fixedTime {
				t.Errorf("expires_in %v, issued_at %v", got["expires_in"], got["issued_at"])
			}
			scope, present := got["scope"]
			if present != (tt.request.Method == http.MethodPost) {
				t.Errorf("scope present: %v", present)
			}
			if present && scope != tt.scope {
				t.Errorf("scope %q, want %q", scope, tt.scope)
			}
			if refresh, _ := got["refresh_token"].(string); refresh != tt.refresh {
				t.Errorf("refresh_token %q, want %q", refresh, tt.refresh)
			}
			if asked := strings.Join(f.pam.asked, ", "); asked != tt.asked {
				t.Errorf("asked %q, want %q", asked, tt.asked)
			}
			checkHeaders(t, w)
			checkSecrets(t, f.log.String())
		})
	}
}

func TestAMalformedScopeGrantsNothingAndIsLogged(t *testing.T) {
	const login, app = "grant_type=password&username=alice&password=" + wonderland, "repository:app:pull,push"
	tests := []struct{ name, scope, granted, logged string }{
		{"a ping of podman", "scope=%3A%3A", "", " malformed=:: "},
		{"a challenge of Gitea", "scope=*", "", " malformed=* "},
		{"an action of Azure", "scope=repository:app:metadata_read", "", " malformed=repository:app:metadata_read "},
		{"beside a good one", "scope=::&" + scopeApp, app, " scope=" + app + " malformed=:: granted=" + app + " "},
		{"in one list with a good one", scopeApp + "+::+repository:app:DELETE", app,
			` malformed=":: repository:app:DELETE" `},
		{"a line for the log", "scope=::%0Alevel=INFO+outcome=granted", "",
			` malformed="::\nlevel=INFO outcome=granted" `},
		{"many that are long", "scope=" + strings.Repeat("*", 500) + "+" + strings.Repeat("-", 500), "", "…"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			claims := "[]"
			if tt.granted != "" {
				claims = claimsApp
			}
			token := "access(alice|registry.example.com|" + claims + ")"
			for _, r := range []*http.Request{get(tt.scope, basic("alice", wonderland)), post(login + "&" + tt.scope)} {
				f := newFixture()
				w := f.do(r)
				var got map[string]any
				if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusOK {
					t.Fatalf("status %d: %s, %v", w.Code, w.Body, err)
				}
				if got["token"] != token {
					t.Errorf("token %v, want %s", got["token"], token)
				}
				if scope, isPost := got["scope"]; isPost && scope != tt.granted {
					t.Errorf("scope %q, want %q", scope, tt.granted)
				}
				if text := f.log.String(); !strings.Contains(text, tt.logged) || strings.Count(text, "\n") != 1 ||
					len(text) > 1024 {
					t.Errorf("want %q in one short line: %s", tt.logged, text)
				}
				checkSecrets(t, f.log.String())
			}
		})
	}
}

const (
	failed   = `{"errors":[{"code":"UNAUTHORIZED","message":"authentication failed"}]}`
	required = `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`
)

func TestEveryRefusedLoginHasTheSameAnswer(t *testing.T) {
	tests := []struct {
		name    string
		request *http.Request
		asked   int // times that PAM was asked
		body    string
		reason  string // in the log
	}{
		{"no credentials", get(scopeApp), 0, required, "no credentials"},
		{"no credentials, but the client has some", get("account=alice"), 0, required, "CGIPassAuth On"},
		{"an empty header", get("offline_token=true", ""), 0, required, "CGIPassAuth On"},
		{"another scheme", get("", "Bearer abc"), 0, required, "another scheme"},
		{"a wrong password", get("", basic("alice", "guess")), 1, failed, "PAM_AUTH_ERR"},
		{"a wrong password by POST", post("grant_type=password&username=alice&password=guess"), 1, failed,
			"PAM_AUTH_ERR"},
		{"an empty password", get("", basic("alice", "")), 0, failed, "password is empty"},
		{"an empty password by POST", post("grant_type=password&username=alice&password="), 0, failed,
			"password is empty"},
		{"no user by POST", post("grant_type=password&password=" + wonderland), 0, failed, "user name is empty"},
		{"a NUL in the password", get("", basic("alice", wonderland+"\x00junk")), 0, failed, "NUL"},
		{"a name that is none", get("", basic("../alice", wonderland)), 0, failed, "invalid character"},
		{"a password that is too long", get("", basic("alice", strings.Repeat("p", maxPasswordLen+1))), 0, failed,
			"too long"},
		{"a blacklisted name", get("", basic("mallory", wonderland)), 0, failed, "blacklisted"},
		{"a blacklisted name in capitals", get("", basic("MALLORY", wonderland)), 0, failed, "blacklisted"},
		{"a name that PAM turns into a blacklisted one", get("", basic("ALIAS-OF-MALLORY", wonderland)), 1, failed,
			"blacklisted"},
		{"PAM gives no name back", get("", basic("nameless", wonderland)), 1, failed, "invalid account name"},
		{"a refresh token of another signer", post("grant_type=refresh_token&refresh_token=guess"), 0, failed,
			"signature is not by this service"},
		{"an empty refresh token", post("grant_type=refresh_token&refresh_token="), 0, failed,
			"signature is not by this service"},
		{"a bad refresh token as Basic is no anonymous client", get("", basic("", "guess")), 0, failed,
			"signature is not by this service"},
		{"an empty user with an empty password", get("", basic("", "")), 0, failed, "signature is not by this service"},
		{"a refresh token of an expired account",
			post("grant_type=refresh_token&refresh_token=" + genuine + "-of-expired"), 1, failed, "PAM_ACCT_EXPIRED"},
		{"a refresh token of a blacklisted account",
			post("grant_type=refresh_token&refresh_token=" + genuine + "-of-mallory"), 0, failed, "blacklisted"},
		{"a refresh token of a name that PAM turns into a blacklisted one",
			post("grant_type=refresh_token&refresh_token=" + genuine + "-of-ALIAS-OF-MALLORY"),
			1, failed, "blacklisted"},
	}
	headers := fmt.Sprint(newFixture().do(get("")).Header())
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture()
			w := f.do(tt.request)
			if w.Code != http.StatusUnauthorized {
				t.Errorf("status %d, want 401", w.Code)
			}
			if got := strings.TrimSpace(w.Body.String()); got != tt.body {
				t.Errorf("body %s, want %s", got, tt.body)
			}
			if w.Header().Get("WWW-Authenticate") != challenge {
				t.Errorf("WWW-Authenticate %q", w.Header().Get("WWW-Authenticate"))
			}
			if got := fmt.Sprint(w.Header()); got != headers {
				t.Errorf("headers %s, want %s", got, headers)
			}
			if len(f.pam.asked) != tt.asked {
				t.Errorf("PAM was asked %d times, want %d", len(f.pam.asked), tt.asked)
			}
			if !strings.Contains(f.log.String(), tt.reason) || !strings.Contains(f.log.String(), "outcome=refused") {
				t.Errorf("the log does not give the reason %q: %s", tt.reason, f.log)
			}
			checkHeaders(t, w)
			checkSecrets(t, f.log.String())
		})
	}
}

// One rule decides about names that clients send, tokens hold and PAM returns.
func TestWhatIsNoUserNameIsRefusedWhereverItComesFrom(t *testing.T) {
	tests := []struct {
		name, user string
		ok         bool
	}{
		{"a plain name", "alice", true},
		{"a domain before the name", `EXAMPLE\alice`, true},
		{"a domain behind the name", "alice@example.com", true},
		{"blanks within and other alphabets", "Алиса Б", true},
		{"a hyphen within", "alice-b", true},
		{"a dot at the start", ".alice", true},
		{"the longest", strings.Repeat("a", maxUserLen), true},
		{"none", "", false},
		{"too long", strings.Repeat("a", maxUserLen+1), false},
		{"a NUL", "alice\x00x", false},
		{"a newline", "alice\nroot", false},
		{"a DEL", "alice\x7f", false},
		{"a C1 control", "alice\u0085", false},
		{"an invisible character", "alice\u200b", false},
		{"bytes that are not UTF-8", "alice\xff", false},
		{"a path", "../alice", false},
		{"this folder", ".", false},
		{"the folder above", "..", false},
		{"two fields of a password file", "alice:x", false},
		{"a colon at the end", "alice:", false},
		{"an option", "-alice", false},
		{"an option of two hyphens", "--help", false},
		{"a space before it", " alice", false},
		{"a space after it", "alice ", false},
		{"a wide space after it", "alice\u3000", false},
	}
	const form = "grant_type=password&password=" + wonderland + "&username="
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			requests := map[string]*http.Request{
				"by POST":  post(form + url.QueryEscape(tt.user)),
				"from PAM": post(form + "renamed"),
				"in a refresh token": post("grant_type=refresh_token&refresh_token=" + genuine + "-of-" +
					url.QueryEscape(tt.user)),
			}
			if !strings.Contains(tt.user, ":") && tt.user != "" {
				requests["by Basic"] = get("", basic(tt.user, wonderland))
			}
			for how, r := range requests {
				f := newFixture()
				f.pam.renames = map[string]string{"renamed": tt.user}
				w := f.do(r)
				if tt.ok != (w.Code == http.StatusOK) {
					t.Errorf("%s: status %d", how, w.Code)
				}
				if tt.ok {
					continue
				}
				if w.Code != http.StatusUnauthorized || strings.TrimSpace(w.Body.String()) != failed {
					t.Errorf("%s: status %d: %s", how, w.Code, w.Body)
				}
				if len(f.pam.asked) > 0 && how != "from PAM" {
					t.Errorf("%s: PAM was asked: %q", how, f.pam.asked)
				}
				if !strings.Contains(f.log.String(), "outcome=refused") {
					t.Errorf("%s: log: %s", how, f.log)
				}
			}
		})
	}
}

func TestTheAnswerToABadRequestNamesTheFault(t *testing.T) {
	login := basic("alice", wonderland)
	tests := []struct {
		name    string
		request *http.Request
		status  int
		says    string
		oauth   string // "" = not by POST
	}{
		{"truncated base64", get("", login[:len(login)-1]), 400, "not valid Base64", ""},
		{"base64 twice", get("",
			"Basic "+base64.StdEncoding.EncodeToString([]byte(strings.TrimPrefix(login, "Basic ")))), 400, "no colon",
			""},
		{"no colon", get("", "Basic "+base64.StdEncoding.EncodeToString([]byte("alice"))), 400, "no colon", ""},
		{"two Authorization headers", get("", login, login), 400, "more than once", ""},
		{"an unknown service is named", get("service=other.example.com", login), 400, `other.example.com`, ""},
		{"a service that is too long", get("service="+strings.Repeat("s", maxService+1), login), 400,
			"service is longer", ""},
		{"two services", get("service=a&service=b", login), 400, "service was sent more than once", ""},
		{"a scope that is too long", get("scope="+strings.Repeat("a", 513), login), 400, "longer than 512 bytes", ""},
		{"ten thousand scopes", get(manyScopes(9000), login), 400, "more than 100", ""},
		{"a bad escape", get("scope=%zz", login), 400, "URL-encoded", ""},
		{"a scope that is too long, by POST",
			post(
				"grant_type=password&username=alice&password=" + wonderland + "&scope=" + strings.Repeat("a", 513),
			), 400,
			"longer than 512 bytes", "invalid_scope"},
		{"another grant", post("grant_type=authorization_code&code=1"), 400, "grant_type", "unsupported_grant_type"},
		{"no grant", post("service=registry.example.com"), 400, "grant_type is missing", "invalid_request"},
		{"credentials in the query of a POST",
			postTo("/docker/v2/token?grant_type=password&username=alice&password="+wonderland, ""), 400,
			"grant_type is missing", "invalid_request"},
		{"two passwords", post("grant_type=password&username=alice&password=a&password=b"), 400,
			"password was sent more than once", "invalid_request"},
		{"two refresh tokens", post("grant_type=refresh_token&refresh_token=a&refresh_token=b"), 400,
			"refresh_token was sent more than once", "invalid_request"},
		{"another media type", typed(post(`{"grant_type":"password"}`), "application/json"), 400,
			"application/x-www-form-urlencoded", "invalid_request"},
		{"a body of 65 KiB", post("grant_type=password&password=" + strings.Repeat("x", maxBody)), 413,
			"longer than 65536 bytes", "invalid_request"},
		{"a body that breaks off", withBody(post(""), brokenReader{io.ErrUnexpectedEOF}), 400, "ended early",
			"invalid_request"},
		{"a body that does not end", withBody(post(""), brokenReader{os.ErrDeadlineExceeded}), 408,
			"too long to arrive", "invalid_request"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture()
			w := f.do(tt.request)
			if w.Code != tt.status {
				t.Errorf("status %d, want %d", w.Code, tt.status)
			}
			var body errorBody
			if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || len(body.Errors) != 1 {
				t.Fatalf("body %s: %v", w.Body, err)
			}
			if !strings.Contains(body.Errors[0].Message, tt.says) {
				t.Errorf("message %q does not say %q", body.Errors[0].Message, tt.says)
			}
			if body.Error != tt.oauth {
				t.Errorf("error %q, want %q", body.Error, tt.oauth)
			}
			if len(f.pam.asked) != 0 {
				t.Errorf("PAM was asked: %q", f.pam.asked)
			}
			if !strings.Contains(f.log.String(), "outcome=invalid") {
				t.Errorf("log: %s", f.log)
			}
			checkHeaders(t, w)
			checkSecrets(t, f.log.String()+w.Body.String())
		})
	}
}

func TestAFailureOfTheServiceIsAnsweredWith503(t *testing.T) {
	tests := []struct{ user, outcome, reason string }{
		{"busy", "busy", "2 conversations running"},
		{"broken", "broken", "the directory is unreachable"},
		{"strange", "broken", "an unmapped error"},
	}
	for _, tt := range tests {
		t.Run(tt.user, func(t *testing.T) {
			f := newFixture()
			w := f.do(get("", basic(tt.user, wonderland)))
			if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
				t.Errorf("status %d, Retry-After %q", w.Code, w.Header().Get("Retry-After"))
			}
			if strings.Contains(w.Body.String(), tt.reason) {
				t.Errorf("the client is told the cause: %s", w.Body)
			}
			for _, want := range []string{"level=ERROR", "outcome=" + tt.outcome, tt.reason} {
				if !strings.Contains(f.log.String(), want) {
					t.Errorf("the log does not say %q: %s", want, f.log)
				}
			}
			checkHeaders(t, w)
		})
	}
}

func TestATokenTooLongForAHeaderIsNotIssued(t *testing.T) {
	f := newFixture()
	f.handler.Endpoint.Signer = fakeSigner{padding: MaxTokenSize}
	w := f.do(get(scopeApp, basic("alice", wonderland)))
	if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "ask for fewer") {
		t.Errorf("status %d: %s", w.Code, w.Body)
	}
}

func TestWithSeveralAudiencesTheServiceMustBeNamed(t *testing.T) {
	f := newFixture()
	f.handler.Endpoint.Audiences = []string{"one.example.com", "two.example.com"}
	if w := f.do(get("", basic("alice", wonderland))); w.Code != http.StatusBadRequest ||
		!strings.Contains(w.Body.String(), "service is missing") {
		t.Errorf("without a service: status %d: %s", w.Code, w.Body)
	}
	if w := f.do(get("service=two.example.com", basic("alice", wonderland))); !strings.Contains(w.Body.String(),
		"|two.example.com|") {
		t.Errorf("with a service: status %d: %s", w.Code, w.Body)
	}
}

func TestRulesDecideWhatATokenHolds(t *testing.T) {
	rules := []access.Rule{
		{Allow: []string{"pull"}, Repositories: []string{"public/**"}, To: []string{"anyone"}},
		{Allow: []string{"push"}, Repositories: []string{"{user}/**"}, To: []string{"users"}},
		{Allow: []string{"push"}, Repositories: []string{"team/**"}, To: []string{"@developers"},
			From: []string{"192.0.2.0/24"}, Services: []string{"registry.example.com"}},
	}
	policy, errs := access.NewPolicy(rules)
	if len(errs) > 0 {
		t.Fatal(errs[0])
	}
	const asked = "scope=repository:public/a:pull+repository:dev/a:push+repository:team/a:push"
	public, own, team := `{"type":"repository","name":"public/a","actions":["pull"]}`,
		`{"type":"repository","name":"dev/a","actions":["push"]}`,
		`{"type":"repository","name":"team/a","actions":["push"]}`
	elsewhere := get(asked, basic("dev", wonderland))
	elsewhere.RemoteAddr = "198.51.100.1:4711"
	tests := []struct {
		name    string
		request *http.Request
		status  int
		token   string
	}{
		{"no credentials: what anyone may", get(asked), 200, "access(|registry.example.com|[" + public + "])"},
		{"no credentials, and nothing that anyone may: less, not 401", get("scope=repository:team/a:push"), 200,
			"access(|registry.example.com|[])"},
		{"an account in a group", get(asked, basic("dev", wonderland)), 200,
			"access(dev|registry.example.com|[" + public + "," + own + "," + team + "])"},
		{"the same from elsewhere", elsewhere, 200, "access(dev|registry.example.com|[" + public + "," + own + "])"},
		{"an account in none", get(asked, basic("bob", wonderland)), 200,
			"access(bob|registry.example.com|[" + public + "])"},
		{"wrong credentials do not fall back to anyone", get(asked, basic("dev", "guess")), 401, ""},
		{"a bad refresh token does not", get(asked, basic("", "guess")), 401, ""},
		{"another scheme does not", get(asked, "Bearer abc"), 401, ""},
		{"an empty password does not", get(asked, basic("dev", "")), 401, ""},
		{"credentials that the web server removed do not", get(asked + "&account=dev"), 401, ""},
		{"a login that lost its credentials does not", get("offline_token=true"), 401, ""},
		{"a blacklisted group", get(asked, basic("guest", wonderland)), 401, ""},
		{"a blacklisted group, by refresh token", get(asked, basic("", genuine+"-of-guest")), 401, ""},
		{"an account in a group, by refresh token", get(asked, basic("", genuine+"-of-dev")), 200,
			"access(dev|registry.example.com|[" + public + "," + own + "," + team + "])"},
		{"the name that PAM gives back is the one that counts",
			get("scope=repository:alice/a:push", basic("ALICE", wonderland)), 200,
			`access(alice|registry.example.com|[{"type":"repository","name":"alice/a","actions":["push"]}])`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture()
			f.handler.Endpoint.Policy = policy
			f.handler.Endpoint.Blacklist = append(f.handler.Endpoint.Blacklist, "@guests")
			w := f.do(tt.request)
			var body tokenBody
			if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
				t.Fatal(err)
			}
			if w.Code != tt.status || body.Token != tt.token {
				t.Errorf("status %d, token %q, want %d, %q", w.Code, body.Token, tt.status, tt.token)
			}
		})
	}
	f := newFixture()
	f.handler.Endpoint.Policy, _ = access.NewPolicy(rules[1:])
	if w := f.do(get(asked)); w.Code != http.StatusUnauthorized {
		t.Errorf("without a rule for anyone, no credentials get status %d, want 401", w.Code)
	}
}

func TestPathsAndMethods(t *testing.T) {
	tests := []struct {
		method, path string
		status       int
		allow        string
	}{
		{"GET", "/docker/v2/token", 401, ""},
		{"GET", "/docker/v2/token/", 401, ""},
		{"GET", "/auth/token", 401, ""},
		{"GET", "/some/folder/docker/v2/token", 401, ""},
		{"GET", "/cgi-bin/dockerauth/docker/v2/token", 401, ""},
		{"GET", "/docker/v2/token//", 404, ""},
		{"GET", "/docker/v2/tokens", 404, ""},
		{"GET", "/xdocker/v2/token", 404, ""},
		{"GET", "/config.yml", 404, ""},
		{"GET", "/", 200, ""},
		{"POST", "/", 405, "GET"},
		{"HEAD", "/docker/v2/token", 405, "GET, POST"},
		{"PUT", "/docker/v2/token", 405, "GET, POST"},
		{"DELETE", "/auth/token", 405, "GET, POST"},
		{"OPTIONS", "/docker/v2/token", 405, "GET, POST"},
	}
	for _, tt := range tests {
		t.Run(tt.method+" "+tt.path, func(t *testing.T) {
			w := newFixture().do(httptest.NewRequest(tt.method, tt.path, nil))
			if w.Code != tt.status || w.Header().Get("Allow") != tt.allow {
				t.Errorf("status %d, Allow %q, want %d, %q", w.Code, w.Header().Get("Allow"), tt.status, tt.allow)
			}
			if tt.status != 200 {
				checkHeaders(t, w)
			}
		})
	}
}

func TestTheLogHasOneLineWithTheseFields(t *testing.T) {
	f := newFixture()
	f.do(get("account=someone&client_id=docker&service=registry.example.com&"+scopeApp, basic("ALICE", wonderland)))
	got := f.log.String()
	want := ` level=INFO msg="token request" outcome=granted grant=password user=ALICE subject=alice` +
		` service=registry.example.com` +
		` scope=repository:app:pull,push granted=repository:app:pull,push client=docker` +
		` account=someone remote=192.0.2.1 token=id-1 duration=0s` + "\n"
	if _, rest, _ := strings.Cut(got, " "); " "+rest != want {
		t.Errorf("got  %q\nwant %q", " "+rest, want)
	}
}

func TestTheObservedOutcomeIsTheLoggedOne(t *testing.T) {
	canceled := func(r *http.Request) *http.Request {
		ctx, cancel := context.WithCancel(r.Context())
		cancel()
		return r.WithContext(ctx)
	}
	tests := []struct {
		outcome  string
		request  *http.Request
		beginErr error // of the throttle
	}{
		{"granted", get("", basic("alice", wonderland)), nil},
		{"refused", get("", basic("alice", "wrong")), nil},
		{"refused", get(""), nil},
		{"throttled", get("", basic("alice", wonderland)), &Throttled{After: time.Second, Cause: "locked"}},
		{"invalid", get("service=other", basic("alice", wonderland)), nil},
		{"busy", get("", basic("busy", wonderland)), nil},
		{"broken", get("", basic("broken", wonderland)), nil},
		{"abandoned", canceled(get("", basic("broken", wonderland))), nil},
	}
	seen := map[string]bool{}
	for _, tt := range tests {
		for _, level := range []slog.Level{slog.LevelInfo, slog.LevelError + 1} { // unlogged requests are observed too
			f := newFixture()
			var all []string
			f.handler.Observe = func(outcome string,
				took time.Duration) {
				all = append(all, fmt.Sprint(outcome, " ", took))
			}
			f.handler.Endpoint.Throttle = &fakeThrottle{beginErr: tt.beginErr}
			f.handler.Log = slog.New(slog.NewTextHandler(f.log, &slog.HandlerOptions{Level: level}))
			f.do(tt.request.Clone(tt.request.Context()))
			if len(all) != 1 || all[0] != tt.outcome+" 0s" {
				t.Errorf("%s: observed %q", tt.outcome, all)
			}
			if logged := strings.Contains(f.log.String(),
				"outcome="+tt.outcome+" "); logged != (level == slog.LevelInfo) {
				t.Errorf("%s: the log at level %v: %s", tt.outcome, level, f.log)
			}
		}
		seen[tt.outcome] = true
	}
	for _, outcome := range Outcomes() {
		if !seen[outcome] {
			t.Errorf("no request ended as %s", outcome)
		}
		delete(seen, outcome)
	}
	if len(seen) > 0 {
		t.Errorf("not in the list of outcomes: %v", seen)
	}
}

func TestSecretsPrintAsStars(t *testing.T) {
	req := Request{User: "alice", Password: wonderland, RefreshToken: genuine}
	var logged bytes.Buffer
	slog.New(slog.NewTextHandler(&logged, nil)).Info("x", "secret", req.Password, "request", req)
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("x", "secret", req.Password, "request", req)
	marshalled, err := json.Marshal(req)
	if err != nil {
		t.Fatal(err)
	}
	printed := fmt.Sprintf("%v %+v %#v %s %q %x %v %s", req, req, req, req.Password, req.Password, req.Password, &req,
		error(fmt.Errorf("x: %v", req.RefreshToken)))
	for _, verb := range []string{"%d", "%t", "%c", "%U", "%X", "% x", "%.3s", "%20s"} { // any verb
		printed += " " + fmt.Sprintf(verb+" "+verb, req, req.Password)
	}
	for what, text := range map[string]string{"fmt": printed, "slog": logged.String(), "json": string(marshalled)} {
		for _, secret := range []string{wonderland, genuine} {
			for _, form := range []string{"%s", "%.3s", "%x", "%X", "% x"} {
				if strings.Contains(text, fmt.Sprintf(form, secret)) {
					t.Errorf("%s shows a secret: %s", what, text)
				}
			}
		}
		if !strings.Contains(text, stars) {
			t.Errorf("%s shows no stars: %s", what, text)
		}
	}
}

func checkHeaders(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	for key, want := range map[string]string{"Content-Type": "application/json", "Cache-Control": "no-store",
		"X-Content-Type-Options": "nosniff"} {
		if got := w.Header().Get(key); got != want {
			t.Errorf("%s: %q, want %q", key, got, want)
		}
	}
	if !json.Valid(w.Body.Bytes()) {
		t.Errorf("body is not JSON: %s", w.Body)
	}
}

func checkSecrets(t *testing.T, text string) {
	t.Helper()
	for _, secret := range []string{wonderland, genuine, keptOf("")[len(KeptPrefix):], "access(", "refresh(",
		base64.StdEncoding.EncodeToString([]byte("alice:"))[:6]} {
		if strings.Contains(text, secret) {
			t.Errorf("%q shows: %s", secret, text)
		}
	}
}

func manyScopes(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "&scope=a:%d:b", i)
	}
	return b.String()[1 : maxQuery/2]
}

func postTo(target, form string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, target, strings.NewReader(form))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r
}

func typed(r *http.Request, contentType string) *http.Request {
	r.Header.Set("Content-Type", contentType)
	return r
}

func withBody(r *http.Request, body io.Reader) *http.Request {
	r.Body = io.NopCloser(body)
	return r
}

type brokenReader struct{ err error }

func (r brokenReader) Read([]byte) (int, error) { return 0, r.err }

// credentialSeeds must not be empty: a fuzz target without seeds tests nothing in a plain run.
var credentialSeeds = []string{
	basic("alice", "pw"), basic("", "token"), basic("a:b", "c"), "Basic", "Basic ", "Bearer x", "basic QQ==",
	"Basic QTpi\n", basic("a\x00", "b"),
}

// For any header: either an error and no grant, or the decoded credentials encode back to the same.
func FuzzBasicCredentials(f *testing.F) {
	if len(credentialSeeds) == 0 {
		f.Fatal("no seeds")
	}
	for _, seed := range credentialSeeds {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		if header == "" {
			return // no credentials are no error
		}
		var req Request
		err := readBasic(&req, []string{header}, nil)
		if err != nil {
			if req.Grant != GrantNone || req.User != "" || req.Password != "" || req.RefreshToken != "" {
				t.Fatalf("%q is refused (%v), but left %#v behind", header, err, req)
			}
			return
		}
		again := Request{}
		secret := req.Password
		if req.Grant == GrantRefresh {
			secret = req.RefreshToken
		}
		if err := readBasic(&again, []string{basic(req.User, secret.Reveal())}, nil); err != nil {
			t.Fatalf("%q was read, its own print is not: %v", header, err)
		}
		if again.User != req.User || again.Password != req.Password || again.RefreshToken != req.RefreshToken ||
			again.Grant != req.Grant {
			t.Fatalf("%q changed on the way", header)
		}
	})
}

// For any form: one JSON answer, one log line, and no user name outside the bounds of a login
// reaches PAM.
func FuzzForm(f *testing.F) {
	seeds := []string{
		"grant_type=password&username=a&password=b", "refresh_token=x",
		"grant_type=refresh_token&refresh_token=x&scope=a:b:c&scope=d:e:f",
		"grant_type=password&username=a&password=dka_x", "refresh_token=dka_x",
		"grant_type=password&username=dka_x&password=b",
		"grant_type=password&grant_type=x", "a=%zz", "grant_type=password;username=a", "&&&", "password=%00",
	}
	if len(seeds) == 0 {
		f.Fatal("no seeds")
	}
	for _, seed := range seeds {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, form string) {
		fx := newFixture()
		w := fx.do(post(form))
		for _, asked := range fx.pam.asked {
			if strings.ContainsAny(asked, "\x00\n\r/") {
				t.Fatalf("PAM was asked about %q", asked)
			}
		}
		if !json.Valid(w.Body.Bytes()) || w.Code == http.StatusForbidden || w.Code/100 == 3 {
			t.Fatalf("status %d: %q", w.Code, w.Body)
		}
		if strings.Count(fx.log.String(), "\n") != 1 {
			t.Fatalf("not one line: %q", fx.log)
		}
		if w.Code == http.StatusOK && len(fx.pam.asked) != 1 {
			t.Fatalf("granted without asking: %q", form)
		}
	})
}

// Anyone can say that they are dockerauth check, and must not hide an attempt by it.
func TestOnlyProbesThatTryNothingLeaveNoLine(t *testing.T) {
	const check, probe = "client_id=dockerauth-check&service=registry.example.com", "xxxxxxxxxxxx"
	tests := []struct {
		name    string
		request *http.Request
		lines   int
	}{
		{"an unknown service", get("client_id=dockerauth-check&service=unknown.invalid"), 0},
		{"a grant that does not exist", post(check + "&grant_type=dockerauth-check"), 0},
		{"a refresh token that can be none", get(check+"&account=dockerauth-check", basic("", probe)), 0},
		{"no credentials", get(check), 0},
		{"the same without the name", get("service=unknown.invalid"), 1},
		{"another client's refresh token", get("service=registry.example.com", basic("", probe)), 1},
		{"a refresh token of somebody", get(check, basic("", genuine+"-of-expired")), 1},
		{"a forged refresh token", get(check, basic("", "forged-of-alice")), 1},
		{"a refresh token that is good", get(check, basic("", genuine+"-of-alice")), 1},
		{"a wrong password", get(check, basic("alice", "wrong")), 1},
		{"a wrong password by POST", post(check + "&grant_type=password&username=alice&password=wrong"), 1},
		{"a right password for an unknown service", get("client_id=dockerauth-check&service=unknown.invalid",
			basic("alice", wonderland)), 1},
		{"a right password, and too many scopes for a token", get(check+"&"+scopeApp, basic("alice", wonderland)), 1},
	}
	for _, tt := range tests {
		f := newFixture()
		if strings.Contains(tt.name, "too many scopes") {
			f.handler.Endpoint.Signer = fakeSigner{padding: MaxTokenSize}
		}
		counted := 0
		f.handler.Observe = func(string, time.Duration) { counted++ }
		f.do(tt.request)
		if lines := strings.Count(f.log.String(), "\n"); lines != tt.lines || counted != 1 {
			t.Errorf("%s: %d lines and %d counted, want %d and 1: %s", tt.name, lines, counted, tt.lines, f.log)
		}
	}
}
