package handler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dockerauth/access"
)

func postRefresh(token string) *http.Request {
	return post(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}.Encode())
}

func TestAKeptTokenIsUsedAsAPassword(t *testing.T) {
	const app = `access(%s|registry.example.com|[{"type":"repository","name":"app","actions":["pull","push"]}])`
	tests := []struct {
		name, user, subject, asked, kind string
	}{
		{"a person's", "alice", "alice", "account alice 192.0.2.1", "personal"},
		{"a job's", "alice+jenkins", "alice+jenkins", "account alice 192.0.2.1", "robot"},
	}
	for _, tt := range tests {
		for how, request := range map[string]*http.Request{
			"by Basic": get(scopeApp+"&offline_token=true&client_id=docker", basic(tt.user, keptOf(tt.user))),
			"by POST": post(url.Values{"grant_type": {"password"}, "username": {tt.user}, "password": {keptOf(tt.user)},
				"access_type": {"offline"}, "scope": {"repository:app:pull,push"}, "client_id": {"docker"}}.Encode()),
		} {
			t.Run(tt.name+", "+how, func(t *testing.T) {
				f, throttle := newFixture(), &fakeThrottle{}
				f.handler.Endpoint.Throttle = throttle
				w := f.do(request)
				var body tokenBody
				if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil ||
					body.Token != fmt.Sprintf(app, tt.subject) {
					t.Fatalf("%d: %s", w.Code, w.Body)
				}
				if body.RefreshToken != "" {
					t.Errorf("a refresh token was given: %s", body.RefreshToken)
				}
				if !slices.Equal(f.pam.asked, []string{tt.asked}) || len(throttle.calls) > 0 {
					t.Errorf("PAM was asked %q, the throttle was told %q", f.pam.asked, throttle.calls)
				}
				if !slices.Equal(f.credentials.noted, []string{"id-4 docker 192.0.2.1"}) {
					t.Errorf("noted %q", f.credentials.noted)
				}
				for _, want := range []string{" outcome=granted ", " user=" + tt.user + " subject=" + tt.subject + " ",
					" token=id-1 credential=id-4 kind=" + tt.kind + " event=token-used "} {
					if !strings.Contains(f.log.String(), want) {
						t.Errorf("the log lacks %q: %s", want, f.log)
					}
				}
				checkSecrets(t, f.log.String())
			})
		}
	}
}

// Each credential is good in its own place alone.
func TestACredentialIsRefusedInThePlaceOfAnother(t *testing.T) {
	type place struct {
		name string
		send func(user, secret string) *http.Request
	}
	places := []place{
		{"password by Basic", func(user, secret string) *http.Request { return get("", basic(user, secret)) }},
		{"password by POST", postPassword},
		{"refresh token by POST", func(_, secret string) *http.Request { return postRefresh(secret) }},
		{"refresh token by Basic", func(_, secret string) *http.Request { return get("", basic("", secret)) }},
		{"user name by Basic", func(_, secret string) *http.Request { return get("", basic(secret, "x")) }},
		{"user name by POST", func(_, secret string) *http.Request { return postPassword(secret, "x") }},
		{"user name without a password", func(_, secret string) *http.Request { return get("", basic(secret, "")) }},
		{"user name with itself as password", func(_, secret string) *http.Request {
			return get("", basic(secret, secret))
		}},
		{"user name of a refresh token", func(_, secret string) *http.Request {
			return postRefresh(genuine + "-of-" + secret)
		}},
	}
	passwords, refreshes := places[:2], places[2:4]
	tests := []struct {
		name, user, secret string
		good               []place
		isKept             bool
	}{
		{"a password", "alice", wonderland, passwords, false},
		{"an access token", "alice", "access(alice|registry.example.com|[])", nil, false},
		{"a refresh token", "alice", genuine + "-of-alice", refreshes, false},
		{"a personal token", "alice", keptOf("alice"), passwords, true},
		{"a personal token of another account", "bob", keptOf("alice"), nil, true},
		{"a personal token of the account in other case", "Alice", keptOf("alice"), nil, true},
		{"a robot's token", "alice+jenkins", keptOf("alice+jenkins"), passwords, true},
		{"a robot's token with its account's name", "alice", keptOf("alice+jenkins"), nil, true},
		{"a personal token with a robot's name", "alice+jenkins", keptOf("alice"), nil, true},
		{"a kept token without a user name", "", keptOf("alice"), nil, true},
		{"a kept token of a blacklisted account", "mallory", keptOf("mallory"), nil, true},
		{"a robot's token of a blacklisted account", "mallory+jenkins", keptOf("mallory+jenkins"), nil, true},
		{"a kept token of an expired account", "expired", keptOf("expired"), nil, true},
		{"a kept token of an account that PAM renames", "ALIAS-OF-MALLORY", keptOf("ALIAS-OF-MALLORY"), nil, true},
		{"a kept token of what is no user name", "a/b", keptOf("a/b"), nil, true},
		{"a mistyped kept token", "alice", "dka_Mistyped", nil, true},
		{"the prefix alone", "alice", "dka_", nil, true},
		{"a kept token behind a blank", "alice", " " + keptOf("alice"), nil, true},
		{"a kept token behind a mark of a text file", "alice", "\ufeff" + keptOf("alice"), nil, true},
	}
	for _, tt := range tests {
		for _, p := range places {
			if strings.HasPrefix(p.name, "user name") && !tt.isKept {
				continue // it is any user name
			}
			good := slices.ContainsFunc(tt.good, func(q place) bool { return q.name == p.name })
			t.Run(tt.name+" as "+p.name, func(t *testing.T) {
				f := newFixture()
				w := f.do(p.send(tt.user, tt.secret))
				if good != (w.Code == http.StatusOK) {
					t.Fatalf("%d: %s", w.Code, w.Body)
				}
				if !good && (w.Code != http.StatusUnauthorized || strings.TrimSpace(w.Body.String()) != failed) {
					t.Errorf("%d: %s", w.Code, w.Body)
				}
				if tt.isKept && strings.Contains(fmt.Sprint(f.pam.asked), "password") {
					t.Errorf("PAM was asked %q", f.pam.asked)
				}
				if strings.HasPrefix(tt.secret, KeptPrefix+"M") &&
					strings.Contains(fmt.Sprint(f.credentials.asked), "kept") {
					t.Errorf("the store was asked: %q", f.credentials.asked)
				}
				if strings.Contains(f.log.String(), keptOf("")) || strings.Contains(f.log.String(), "Mistyped") {
					t.Errorf("the log has the token: %s", f.log)
				}
			})
		}
	}
}

func TestARefusedKeptTokenIsDelayedAndCountsAgainstTheAddressIfItIsAGuess(t *testing.T) {
	const good = "alice"
	tests := []struct {
		name    string
		request *http.Request
		prepare func(f fixture, throttle *fakeThrottle)
		took    time.Duration
		status  int
		count   bool
		reason  string
	}{
		{"a wrong checksum", get("", basic(good, "dka_Mistyped")), nil, time.Second, 401, false, "checksum"},
		{"a guess", get("", basic(good, keptOf("nobody"))), nil, time.Second, 401, true, "no such token"},
		{"another login's", get("", basic("bob", keptOf(good))), nil, time.Second, 401, false, "of another login"},
		{"as a refresh token", get("", basic("", keptOf(good))), nil, time.Second, 401, false, "as a refresh token"},
		{"a wrong checksum as a refresh token", postRefresh("dka_Mistyped"), nil, time.Second, 401, false, "checksum"},
		{
			"a blacklisted account",
			get("", basic("mallory", keptOf("mallory"))),
			nil,
			time.Second,
			401,
			false,
			"blacklisted",
		},
		{"an expired account", get("", basic("expired", keptOf("expired"))), nil, time.Second, 401, false,
			"personal token id-4 of \\\"expired\\\": refused: account: PAM_ACCT_EXPIRED"},
		{"an account with another password", get("", basic(good, keptOf(good))),
			func(f fixture, _ *fakeThrottle) { f.credentials.stateErr = refuse("the password was changed") },
			time.Second, 401, false, "the password was changed"},
		{"a state that cannot be found out", get("", basic(good, keptOf(good))),
			func(f fixture, _ *fakeThrottle) {
				f.credentials.stateErr = Failure(ErrUnavailable, errors.New("no entry"))
			},
			0, 503, false, "no entry"},
		{"a store that is away", get("", basic(good, keptOf(good))),
			func(f fixture, _ *fakeThrottle) {
				f.credentials.storeErr = Failure(ErrUnavailable, errors.New("no route"))
			},
			0, 503, false, "no route"},
		{"a locked address", get("", basic(good, keptOf("nobody"))),
			func(_ fixture, throttle *fakeThrottle) {
				throttle.countErr = &Throttled{After: time.Second, Cause: "this address is locked"}
			}, 0, 429, true, "this address is locked"},
		{"a good one from a locked address", get("", basic(good, keptOf(good))),
			func(_ fixture, throttle *fakeThrottle) { throttle.countErr = &Throttled{After: time.Second} },
			0, 200, false, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, throttle := newFixture(), &fakeThrottle{}
				f.handler.Endpoint.Throttle, f.handler.Endpoint.FailureDelay = throttle, time.Second
				if tt.prepare != nil {
					tt.prepare(f, throttle)
				}
				began := time.Now()
				w := f.do(tt.request)
				if took := time.Since(began); w.Code != tt.status || took != tt.took {
					t.Errorf("status %d after %s, want %d after %s", w.Code, took, tt.status, tt.took)
				}
				if counted := slices.Equal(throttle.calls, []string{"count 192.0.2.1"}); counted != tt.count ||
					!counted && len(throttle.calls) > 0 {
					t.Errorf("the throttle was told %q", throttle.calls)
				}
				if !strings.Contains(f.log.String(), tt.reason) {
					t.Errorf("the log lacks %q: %s", tt.reason, f.log)
				}
				if (len(f.credentials.noted) > 0) != (w.Code == http.StatusOK) {
					t.Errorf("noted %q", f.credentials.noted)
				}
			})
		})
	}
}

func TestAKeptTokenGetsWhatItsScopesAndTheRulesOfItsAccountAllow(t *testing.T) {
	policy, errs := access.NewPolicy([]access.Rule{
		{Allow: []string{"push"}, Repositories: []string{"{user}/**"}, To: []string{"users"}},
		{Allow: []string{"pull"}, Repositories: []string{"team/**"}, To: []string{"@developers"}},
	})
	if len(errs) > 0 {
		t.Fatal(errs[0])
	}
	const asked = "scope=repository:dev/a:push,pull+repository:team/a:pull,push+repository:other/a:pull"
	own, pull := `{"type":"repository","name":"dev/a","actions":["push","pull"]}`,
		`{"type":"repository","name":"dev/a","actions":["pull"]}`
	team := `{"type":"repository","name":"team/a","actions":["pull"]}`
	tests := []struct {
		name   string
		limits []string
		want   string
	}{
		{"everything", []string{"repository:**:*"}, own + "," + team},
		{"one action", []string{"repository:dev/**:pull"}, pull},
		{"one repository", []string{"repository:team/a:pull,push"}, team},
		{"what the rules do not allow", []string{"repository:other/**:*"}, ""},
		{"a record without scopes", nil, ""},
	}
	for _, tt := range tests {
		for _, user := range []string{"dev", "dev+jenkins"} {
			f := newFixture()
			f.handler.Endpoint.Policy, f.credentials.limits = policy, tt.limits
			w := f.do(get(asked, basic(user, keptOf(user))))
			var body tokenBody
			if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
				t.Fatal(err)
			}
			if want := "access(" + user + "|registry.example.com|[" + tt.want + "])"; body.Token != want {
				t.Errorf("%s: got %d %q, want %q", tt.name, w.Code, body.Token, want)
			}
		}
	}
}

func TestARefreshTokenDependsOnTheStoreAndTheAccount(t *testing.T) {
	tests := []struct {
		name               string
		storeErr, stateErr error
		status             int
		reason             string
	}{
		{"all is well", nil, nil, 200, " credential=id-3 kind=refresh event=token-used "},
		{"it was taken back", refuse("revoked"), nil, 401, "revoked"},
		{"the store is away", Failure(ErrUnavailable, errors.New("no route")), nil, 503, "no route"},
		{"the password was changed", nil, refuse("changed"), 401, `refresh token id-3 of \"alice\": changed`},
		{"the entry cannot be read", nil, Failure(ErrUnavailable, errors.New("unread")), 503, "unread"},
	}
	for _, tt := range tests {
		for _, r := range []*http.Request{get("", basic("", genuine+"-of-alice")), postRefresh(genuine + "-of-alice")} {
			f := newFixture()
			f.credentials.storeErr, f.credentials.stateErr = tt.storeErr, tt.stateErr
			w := f.do(r)
			if w.Code != tt.status {
				t.Errorf("%s: status %d: %s", tt.name, w.Code, w.Body)
			}
			if log := f.log.String(); !strings.Contains(log, tt.reason) || !strings.Contains(log, " credential=id-3 ") {
				t.Errorf("%s: the log lacks %q: %s", tt.name, tt.reason, log)
			}
			if tt.storeErr != nil && len(f.pam.asked) > 0 {
				t.Errorf("%s: PAM was asked %q", tt.name, f.pam.asked)
			}
			if (len(f.credentials.noted) > 0) != (tt.status == http.StatusOK) {
				t.Errorf("%s: noted %q", tt.name, f.credentials.noted)
			}
		}
	}
}

func TestALoginThatGetsARefreshTokenIsLoggedWithItsID(t *testing.T) {
	f := newFixture()
	f.do(get("offline_token=true&client_id=docker", basic("alice", wonderland)))
	if want := " credential=id-2 kind=refresh event=token-issued "; !strings.Contains(f.log.String(), want) {
		t.Errorf("the log lacks %q: %s", want, f.log)
	}
	if !slices.Equal(f.credentials.noted, []string{"id-2 docker 192.0.2.1"}) {
		t.Errorf("noted %q", f.credentials.noted)
	}
	f = newFixture()
	f.do(get("", basic("alice", wonderland)))
	if log := f.log.String(); strings.Contains(log, "credential=") || strings.Contains(log, "event=") ||
		len(f.credentials.noted) > 0 {
		t.Errorf("without one: noted %q, %s", f.credentials.noted, log)
	}
	f = newFixture()
	f.credentials.storeErr = Failure(ErrUnavailable, errors.New("no key"))
	if w := f.do(get("offline_token=true", basic("alice", wonderland))); w.Code != http.StatusServiceUnavailable {
		t.Errorf("one that cannot be made: %d", w.Code)
	}
}

// An administrator may have chosen that accounts need tokens.
func TestAPasswordThatIsNotAllowedIsLikeAWrongOne(t *testing.T) {
	except := func(tokensOnly bool, entries ...string) access.Passwords {
		return access.Passwords{TokensOnly: tokensOnly, Except: entries}
	}
	tests := []struct {
		name      string
		passwords access.Passwords
		user      string
		ok, asked bool // PAM is
	}{
		{"everybody may", access.Passwords{}, "dev", true, true},
		{"nobody may", except(true), "dev", false, false},
		{"this account may not", except(false, "dev"), "dev", false, false},
		{"this account may not, in capitals", except(false, "dev"), "DEV", false, false},
		{"this group may not", except(false, "@developers"), "dev", false, false},
		{"another group may not", except(false, "@guests"), "dev", true, true},
		{"this account alone may", except(true, "dev"), "dev", true, true},
		{"another account alone may", except(true, "bob"), "dev", false, false},
		{"this group alone may", except(true, "@developers"), "dev", true, true},
		{"another group alone may", except(true, "@guests"), "dev", false, false},
		{"the account that the system names may not", except(false, "bob", "@guests"), "renamed", false, false},
		{"the account that PAM names may not", except(false, "alice"), "ALICE", false, false},
		{"the account that PAM names is another", except(false, "mallory", "bob"), "renamed", false, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, throttle := newFixture(), &fakeThrottle{}
				f.handler.Endpoint.Throttle, f.handler.Endpoint.FailureDelay = throttle, time.Second
				f.handler.Endpoint.Passwords = tt.passwords
				f.pam.renames = map[string]string{"renamed": "bob"}
				began := time.Now()
				w := f.do(get("offline_token=true", basic(tt.user, wonderland)))
				took, told := time.Since(began), throttle.calls[len(throttle.calls)-1]
				if tt.ok != (w.Code == http.StatusOK) || len(f.pam.asked) > 0 != tt.asked {
					t.Fatalf("status %d, PAM was asked %q", w.Code, f.pam.asked)
				}
				if len(f.pam.lookedUp) > 0 != tt.passwords.Except.NamesGroups() {
					t.Errorf("groups of %q were looked up", f.pam.lookedUp)
				}
				if tt.ok {
					return
				}
				if strings.TrimSpace(w.Body.String()) != failed || took != time.Second || told != "fail" {
					t.Errorf("%s after %s, the throttle was told %q", w.Body, took, told)
				}
				if !strings.Contains(f.log.String(), "may use personal and robot tokens only") {
					t.Errorf("the log does not say why: %s", f.log)
				}
				if tt.user != "dev" {
					return
				}
				f.pam.asked = nil
				w = f.do(get("", basic("", genuine+"-of-dev")))
				if w.Code != http.StatusUnauthorized || !strings.Contains(f.log.String(), "refresh token id-3") ||
					len(f.pam.asked) != 1 {
					t.Errorf("a refresh token: %d, PAM was asked %q, %s", w.Code, f.pam.asked, f.log)
				}
				if w := f.do(get("", basic("dev", keptOf("dev")))); w.Code != http.StatusOK {
					t.Errorf("a kept token: %d, %s", w.Code, f.log)
				}
			})
		})
	}
}

func TestAPasswordWaitsForTheGroupsThatDecideOnIt(t *testing.T) {
	f, throttle := newFixture(), &fakeThrottle{}
	f.handler.Endpoint.Throttle = throttle
	f.handler.Endpoint.Passwords = access.Passwords{Except: access.Blacklist{"@developers"}}
	w := f.do(get("", basic("broken", wonderland)))
	if told := throttle.calls[len(throttle.calls)-1]; w.Code != http.StatusServiceUnavailable || told != "unanswered" ||
		len(f.pam.asked) > 0 {
		t.Errorf("status %d, the throttle was told %q, PAM was asked %q", w.Code, told, f.pam.asked)
	}
}

func TestTheLogHasStarsForAMisplacedKeptToken(t *testing.T) {
	secret := keptOf("alice")
	for _, r := range []*http.Request{
		get("service=" + secret), get("account=" + secret), get("client_id=x" + secret), get("scope=" + secret),
		get("scope=repository:" + strings.ToLower(secret) + secret + ":pull"), get("", basic(secret, "x")),
	} {
		f := newFixture()
		f.do(r)
		if log := f.log.String(); !strings.Contains(log, KeptPrefix+stars) || strings.Contains(log, "Genuine") {
			t.Errorf("%s: %s", r.URL, log)
		}
	}
}

// The noting of a use comes after the answer and its line.
func TestAUseIsNotedAfterTheAnswer(t *testing.T) {
	f := newFixture()
	w := &orderWriter{header: http.Header{}}
	f.handler.Log = slog.New(slog.NewTextHandler(w, nil))
	f.handler.Endpoint.Credentials = orderCredentials{f.credentials, w}
	f.handler.ServeHTTP(w, get("", basic("alice", keptOf("alice"))))
	if want := []string{"answer", "log", "note"}; !slices.Equal(w.order, want) {
		t.Errorf("%q, want %q", w.order, want)
	}
}

// orderWriter takes the answer and the log.
type orderWriter struct {
	header http.Header
	order  []string
}

func (w *orderWriter) Header() http.Header { return w.header }
func (w *orderWriter) WriteHeader(int)     {}

func (w *orderWriter) Write(p []byte) (int, error) {
	what := "log"
	if strings.HasPrefix(string(p), "{") {
		what = "answer"
	}
	w.order = append(w.order, what)
	return len(p), nil
}

type orderCredentials struct {
	*fakeCredentials
	w *orderWriter
}

func (c orderCredentials) Kept(ctx context.Context, token Secret, login, remote string) (Credential, error) {
	credential, err := c.fakeCredentials.Kept(ctx, token, login, remote)
	credential.Note = func(string, string) { c.w.order = append(c.w.order, "note") }
	return credential, err
}
