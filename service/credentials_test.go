package service

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dockerauth/access"
	"dockerauth/config"
	"dockerauth/credentials"
	"dockerauth/handler"
	"dockerauth/pamauth"
	"dockerauth/store"
	"dockerauth/throttle"
)

// fakeAccounts stands in for PAM and /etc/shadow, which are tested in pamauth and e2e.
type fakeAccounts struct {
	mu     sync.Mutex
	uids   map[string]int
	fields map[string]string // of /etc/shadow; without its "!" also the password
	unread bool              // /etc/shadow
	asked  []string
}

func newFakeAccounts() *fakeAccounts {
	return &fakeAccounts{uids: map[string]int{"alice": 1000, "bob": 1001, "directory": -1},
		fields: map[string]string{"alice": canaryPassword, "bob": canaryPassword}}
}

const canaryPassword = "canary-password"

func (a *fakeAccounts) Authenticate(_ context.Context, l pamauth.Login) (pamauth.Account, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked = append(a.asked, l.User)
	field, hasEntry := a.fields[l.User]
	uid, exists := a.uids[l.User]
	isRight := l.AccountOnly || l.Password.Reveal() == field || !hasEntry && l.Password.Reveal() == canaryPassword
	if !exists || !isRight {
		return pamauth.Account{}, fmt.Errorf("%w: authenticate: PAM_AUTH_ERR (7)", pamauth.ErrRefused)
	}
	account := pamauth.Account{Name: l.User, UID: uid}
	if len(l.StateKey) < sha256.Size {
		return pamauth.Account{}, fmt.Errorf("%w: no key for the state", pamauth.ErrBroken)
	}
	switch {
	case a.unread:
	case !hasEntry:
		account.Shadow.Status = pamauth.ShadowNone
	default:
		mac := hmac.New(sha256.New, l.StateKey)
		mac.Write([]byte(field))
		account.Shadow = pamauth.Shadow{Status: pamauth.ShadowFound, Locked: strings.HasPrefix(field, "!"),
			Digest: [16]byte(mac.Sum(nil))}
	}
	return account, nil
}

func (a *fakeAccounts) set(user string, uid int, field string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.uids[user], a.fields[user] = uid, field
}

// credentialFixture is a service with accounts and a state folder.
type credentialFixture struct {
	*adminFixture
	accounts *fakeAccounts
	folder   string // of the state
	secrets  []string
}

// cacheless asks PAM each time, so that a test sees what the account is now.
const cacheless = "private_key: privkey.pem\ncertificate: cert.pem\nissuer: i\naudience: a\n" +
	"pam: {confdir: pam.d, cache: 0}\n"

func newCredentialFixture(t *testing.T, config string) *credentialFixture {
	t.Helper()
	s := &credentialFixture{adminFixture: newAdminFixture(t), accounts: newFakeAccounts(), folder: privateFolder(t),
		secrets: []string{canaryPassword}}
	s.pam = s.accounts
	s.write(t, "config.yml", cacheless+strings.ReplaceAll(config, "FOLDER", s.folder))
	s.mustReload(t)
	t.Cleanup(func() {
		s.reloader.current.Load().handler.(*handler.Handler).Endpoint.Credentials.(keeper).later.finish()
		s.checkSecrets(t)
	})
	return s
}

// endpoint answers refusals at once.
func (s *credentialFixture) endpoint() *handler.Endpoint {
	e := s.reloader.current.Load().handler.(*handler.Handler).Endpoint
	e.FailureDelay = 0
	return e
}

type tokenAnswer struct {
	Status  int
	Scope   string `json:"scope"`
	Refresh string `json:"refresh_token"`
}

func (s *credentialFixture) post(t *testing.T, form ...string) (answer tokenAnswer) {
	t.Helper()
	s.endpoint()
	values := url.Values{}
	for i := 0; i < len(form); i += 2 {
		values.Set(form[i], form[i+1])
	}
	r := httptest.NewRequest(http.MethodPost, "/docker/v2/token", strings.NewReader(values.Encode()))
	r.RemoteAddr = "192.0.2.7:1"
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
		t.Fatalf("%d: %s", w.Code, w.Body)
	}
	answer.Status = w.Code
	if answer.Refresh != "" {
		s.secrets = append(s.secrets, answer.Refresh)
	}
	return answer
}

// loginFor gets a refresh token.
func (s *credentialFixture) loginFor(t *testing.T, user, password string) string {
	t.Helper()
	got := s.post(t, "grant_type", "password", "username", user, "password", password, "access_type", "offline",
		"client_id", "docker")
	if got.Status != http.StatusOK || got.Refresh == "" {
		t.Fatalf("login: %+v\n%s", got, s.log)
	}
	return got.Refresh
}

func (s *credentialFixture) refresh(t *testing.T, token string) int {
	t.Helper()
	return s.post(t, "grant_type", "refresh_token", "refresh_token", token, "client_id", "docker").Status
}

func (s *credentialFixture) use(t *testing.T, login string, secret credentials.Secret, scope string) tokenAnswer {
	t.Helper()
	return s.post(t, "grant_type", "password", "username", login, "password", secret.Reveal(), "scope", scope)
}

// records are those that a command opens.
func (s *credentialFixture) records(t *testing.T) *credentials.Records {
	t.Helper()
	records, closeRecords, err := OpenCredentials(&config.Config{State: s.folder})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = closeRecords() })
	return records
}

// issue keeps a token as the command does.
func (s *credentialFixture) issue(t *testing.T, token credentials.Token) credentials.Secret {
	t.Helper()
	secret := credentials.NewSecret()
	account, err := s.accounts.Authenticate(t.Context(), pamauth.Login{User: token.User, AccountOnly: true,
		StateKey: pamauth.StateKey(secret.StateKey())})
	if err != nil {
		t.Fatal(err)
	}
	token.State = accountState(account)
	if token.Expires.IsZero() {
		token.Expires = time.Now().Add(90 * 24 * time.Hour)
	}
	if _, err := s.records(t).Issue(t.Context(), secret, token); err != nil {
		t.Fatal(err)
	}
	s.secrets = append(s.secrets, secret.Reveal(), secret.Reveal()[len(credentials.Prefix)+len(secret.ID):])
	return secret
}

func (s *credentialFixture) checkSecrets(t *testing.T) {
	t.Helper()
	for _, secret := range s.secrets {
		if strings.Contains(s.log.String(), secret) {
			t.Errorf("the log has a secret: %s", s.log)
		}
	}
}

func (s *credentialFixture) wantLog(t *testing.T, text string) {
	t.Helper()
	s.endpoint().Credentials.(keeper).later.finish()
	if !strings.Contains(s.log.String(), text) {
		t.Errorf("the log lacks %q: %s", text, s.log)
	}
}

func TestARefreshTokenEndsWithAChangeOfItsAccount(t *testing.T) {
	tests := []struct {
		name   string
		change func(*fakeAccounts)
		status int
		reason string
	}{
		{"nothing", func(*fakeAccounts) {}, 200, "event=token-used"},
		{
			"another password",
			func(a *fakeAccounts) { a.set("alice", 1000, "another") },
			401,
			"the password was changed",
		},
		{"locked", func(a *fakeAccounts) { a.set("alice", 1000, "!"+canaryPassword) }, 401,
			"the password was changed or locked"},
		{"no password", func(a *fakeAccounts) { a.set("alice", 1000, "") }, 401, "the password was changed"},
		{"deleted", func(a *fakeAccounts) { delete(a.uids, "alice") }, 401, "PAM_AUTH_ERR"},
		{
			"made again",
			func(a *fakeAccounts) { a.set("alice", 2000, canaryPassword) },
			401,
			"it was deleted and made again",
		},
		{
			"no entry any more",
			func(a *fakeAccounts) { delete(a.fields, "alice") },
			401,
			"no entry in /etc/shadow any more",
		},
		{"no right to read the entry", func(a *fakeAccounts) { a.unread = true }, 503, "can no longer be read"},
	}
	for _, tt := range tests {
		for where, config := range map[string]string{"a folder": "state: FOLDER\n", "no folder": "state: \"\"\n"} {
			t.Run(tt.name+", "+where, func(t *testing.T) {
				s := newCredentialFixture(t, config)
				token := s.loginFor(t, "alice", canaryPassword)
				if got := s.refresh(t, token); got != http.StatusOK { // it is remembered
					t.Fatalf("status %d before the change", got)
				}
				tt.change(s.accounts)
				if got := s.refresh(t, token); got != tt.status {
					t.Errorf("status %d, want %d", got, tt.status)
				}
				s.wantLog(t, tt.reason)
			})
		}
	}
}

func TestWhereTheShadowEntryCannotBeReadTheUIDRemains(t *testing.T) {
	for name, prepare := range map[string]func(*fakeAccounts){
		"unread": func(a *fakeAccounts) { a.unread = true },
		"none":   func(a *fakeAccounts) { delete(a.fields, "alice") },
	} {
		s := newCredentialFixture(t, "state: FOLDER\n")
		prepare(s.accounts)
		token := s.loginFor(t, "alice", canaryPassword)
		if got := s.refresh(t, token); got != http.StatusOK {
			t.Errorf("%s: status %d", name, got)
		}
		s.accounts.mu.Lock()
		s.accounts.uids["alice"] = 2000
		s.accounts.mu.Unlock()
		if got := s.refresh(t, token); got != http.StatusUnauthorized {
			t.Errorf("%s, made again: status %d", name, got)
		}
	}
	s := newCredentialFixture(t, "state: FOLDER\n")
	token := s.loginFor(t, "directory", canaryPassword) // which Unix does not know
	if got := s.refresh(t, token); got != http.StatusOK {
		t.Errorf("status %d", got)
	}
}

func TestARevokedRefreshTokenIsRefusedFromTheNextRequestOn(t *testing.T) {
	s := newCredentialFixture(t, "state: FOLDER\n")
	one, other, bobs := s.loginFor(t, "alice", canaryPassword), s.loginFor(t, "alice", canaryPassword),
		s.loginFor(t, "bob", canaryPassword)
	s.endpoint().Credentials.(keeper).later.finish()
	var logins []credentials.Login
	if err := s.records(t).Logins(t.Context(), "alice", func(l credentials.Login) bool {
		logins = append(logins, l)
		return true
	}); err != nil || len(logins) != 2 || logins[0].Client != "docker" || logins[0].Remote != "192.0.2.7" {
		t.Fatalf("%v: %+v", err, logins)
	}
	credential, err := s.endpoint().Credentials.Refresh(t.Context(), handler.Secret(one))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.records(t).Revoke(t.Context(), "lost laptop", credential.ID); err != nil {
		t.Fatal(err)
	}
	if a, b := s.refresh(t, one), s.refresh(t, other); a != http.StatusUnauthorized || b != http.StatusOK {
		t.Errorf("the revoked one %d, the other %d", a, b)
	}
	s.wantLog(t, "lost laptop")
	s.wantLog(t, "credential="+credential.ID+" kind=refresh")
	if _, _, err := s.records(t).RevokeUser(t.Context(), "alice", "left", credentials.Refresh); err != nil {
		t.Fatal(err)
	}
	if got := s.refresh(t, other); got != http.StatusUnauthorized {
		t.Errorf("after a revocation of the account: %d", got)
	}
	if got := s.refresh(t, bobs); got != http.StatusOK {
		t.Errorf("of another account: %d", got)
	}
	if got := s.refresh(t, s.loginFor(t, "alice", canaryPassword)); got != http.StatusOK {
		t.Errorf("of a login after it: %d", got)
	}
}

// What a store that was emptied had, nobody knows.
func TestAnEmptiedStoreEndsRefreshTokens(t *testing.T) {
	s := newCredentialFixture(t, "state: FOLDER\n")
	token := s.loginFor(t, "alice", canaryPassword)
	files, err := filepath.Glob(s.folder + "/*")
	if err != nil || len(files) == 0 {
		t.Fatalf("%v: %q", err, files)
	}
	for _, file := range files {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.refresh(t, token); got != http.StatusServiceUnavailable {
		t.Errorf("before a login: status %d", got)
	}
	s.wantLog(t, "the store is new or was emptied")
	next := s.loginFor(t, "alice", canaryPassword)
	if a, b := s.refresh(t, token), s.refresh(t, next); a != http.StatusUnauthorized || b != http.StatusOK {
		t.Errorf("after a login: the old one %d, the new one %d", a, b)
	}
}

func TestARefreshTokenIsBoundToWhetherThereIsAStore(t *testing.T) {
	s := newCredentialFixture(t, "state: \"\"\n")
	without := s.loginFor(t, "alice", canaryPassword)
	s.write(t, "config.yml", cacheless+"state: "+s.folder+"\n")
	s.mustReload(t)
	with := s.loginFor(t, "alice", canaryPassword)
	if a, b := s.refresh(t, without), s.refresh(t, with); a != http.StatusUnauthorized || b != http.StatusOK {
		t.Errorf("with a folder: %d and %d", a, b)
	}
	s.write(t, "config.yml", cacheless+"state: \"\"\n")
	s.mustReload(t)
	if a, b := s.refresh(t, without), s.refresh(t, with); a != http.StatusOK || b != http.StatusServiceUnavailable {
		t.Errorf("without a folder: %d and %d", a, b)
	}
	s.wantLog(t, "see state")
}

func TestARefreshTokenOfAPreviousKeyFollowsTheAccountToo(t *testing.T) {
	s := newCredentialFixture(t, "state: FOLDER\n")
	token := s.loginFor(t, "alice", canaryPassword)
	old, err := os.ReadFile(filepath.Join(s.dir, "privkey.pem"))
	if err != nil {
		t.Fatal(err)
	}
	s.write(t, "old.pem", string(old))
	s.writeKey(t)
	s.write(t, "config.yml", cacheless+"previous_keys: [old.pem]\nstate: "+s.folder+"\n")
	s.mustReload(t)
	if got := s.refresh(t, token); got != http.StatusOK {
		t.Errorf("status %d: %s", got, s.log)
	}
	s.accounts.set("alice", 1000, "another")
	if got := s.refresh(t, token); got != http.StatusUnauthorized {
		t.Errorf("after another password: status %d", got)
	}
}

func TestKeptTokens(t *testing.T) {
	const all, ci = "repository:ci/app:pull,push repository:other/app:pull", "repository:ci/**:pull"
	robot := credentials.Token{Kind: credentials.Robot, User: "alice", Robot: "jenkins", Scopes: []string{ci}}
	personal := credentials.Token{Kind: credentials.Personal, User: "alice", Scopes: []string{"repository:**:*"}}
	keep := personal
	keep.Keep = true
	tests := []struct {
		name   string
		token  credentials.Token
		change func(*testing.T, *credentialFixture, credentials.Secret)
		status int
		scope  string
		reason string
	}{
		{"a robot's gets its scopes", robot, nil, 200, "repository:ci/app:pull",
			"user=alice+jenkins subject=alice+jenkins "},
		{"a person's gets what the account may", personal, nil, 200, all, "kind=personal event=token-used"},
		{"a robot's survives another password", robot, setField("another"), 200, "repository:ci/app:pull", ""},
		{"a person's does not", personal, setField("another"), 401, "", "the password was changed"},
		{"unless it is to survive", keep, setField("another"), 200, all, ""},
		{"a robot's ends with a lock", robot, setField("!" + canaryPassword), 401, "", "the account was locked"},
		{"as one that is to survive", keep, setField("!" + canaryPassword), 401, "", "the account was locked"},
		{"revoked", robot, func(t *testing.T, s *credentialFixture, secret credentials.Secret) {
			if err := s.records(t).Revoke(t.Context(), "leaked", secret.ID); err != nil {
				t.Fatal(err)
			}
		}, 401, "", "leaked"},
		{"an account that was made again", keep, func(_ *testing.T, s *credentialFixture, _ credentials.Secret) {
			s.accounts.set("alice", 2000, canaryPassword)
		}, 401, "", "it was deleted and made again"},
		{"an account that does not exist any more", keep, func(_ *testing.T, s *credentialFixture,
			_ credentials.Secret) {
			s.accounts.mu.Lock()
			defer s.accounts.mu.Unlock()
			delete(s.accounts.uids, "alice")
		}, 401, "", "PAM_AUTH_ERR"},
		{"rules of the moment", robot, func(t *testing.T, s *credentialFixture, _ credentials.Secret) {
			s.write(t, "config.yml", cacheless+"state: "+s.folder+"\naccess: [{allow: [pull], to: [bob]}]\n")
			s.mustReload(t)
		}, 200, "", ""},
		{"a blacklist of the moment", robot, func(t *testing.T, s *credentialFixture, _ credentials.Secret) {
			s.write(t, "config.yml", cacheless+"state: "+s.folder+"\nblacklisted_users: [alice]\n")
			s.mustReload(t)
		}, 401, "", "is blacklisted"},
		{"no folder any more", robot, func(t *testing.T, s *credentialFixture, _ credentials.Secret) {
			s.write(t, "config.yml", cacheless+"state: \"\"\n")
			s.mustReload(t)
		}, 503, "", "see state"},
		{"tokens only", robot, func(t *testing.T, s *credentialFixture, _ credentials.Secret) {
			s.write(t, "config.yml", cacheless+"state: "+s.folder+"\npasswords: {allow: tokens-only}\n")
			s.mustReload(t)
		}, 200, "repository:ci/app:pull", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newCredentialFixture(t, "state: FOLDER\n")
			secret := s.issue(t, tt.token)
			if tt.change != nil {
				tt.change(t, s, secret)
			}
			got := s.use(t, tt.token.Login(), secret, all)
			if got.Status != tt.status || got.Scope != tt.scope || got.Refresh != "" {
				t.Errorf("got %+v", got)
			}
			s.wantLog(t, tt.reason)
			s.wantLog(t, " credential="+secret.ID+" ")
			token, err := s.records(t).Get(t.Context(), secret.ID)
			if err != nil || (token.LastFrom == "192.0.2.7") != (tt.status == http.StatusOK && s.hasState()) {
				t.Errorf("%v: last use %v from %q", err, token.LastUse, token.LastFrom)
			}
		})
	}
}

func (s *credentialFixture) hasState() bool { return s.reloader.current.Load().config.State != "" }

func setField(field string) func(*testing.T, *credentialFixture, credentials.Secret) {
	return func(_ *testing.T, s *credentialFixture, _ credentials.Secret) { s.accounts.set("alice", 1000, field) }
}

func TestOnceADayTheLogWarnsOfTheEndOfAToken(t *testing.T) {
	s := newCredentialFixture(t, "state: FOLDER\n")
	token := credentials.Token{Kind: credentials.Robot, User: "alice", Robot: "jenkins",
		Scopes: []string{"repository:**:pull"}, Expires: time.Now().Add(13 * 24 * time.Hour)}
	secret := s.issue(t, token)
	for range 3 {
		s.use(t, "alice+jenkins", secret, "")
		s.wantLog(t, "event=token-expires credential="+secret.ID+" kind=robot subject=alice+jenkins expires=")
	}
	if n := strings.Count(s.log.String(), "event=token-expires"); n != 1 {
		t.Errorf("%d warnings: %s", n, s.log)
	}
}

func TestKeptTokensOfOneAddressAreThrottledTogether(t *testing.T) {
	s := newCredentialFixture(t, "state: FOLDER\n")
	s.loginFor(t, "bob", canaryPassword) // the store has an id
	good := s.issue(
		t,
		credentials.Token{Kind: credentials.Personal, User: "alice", Scopes: []string{"repository:**:*"}},
	)
	for range 50 {
		if got := s.use(t, "alice", credentials.NewSecret(), ""); got.Status != http.StatusUnauthorized {
			t.Fatalf("%+v", got)
		}
	}
	if got := s.use(t, "alice", credentials.NewSecret(), ""); got.Status != http.StatusTooManyRequests {
		t.Errorf("the 51st: %+v", got)
	}
	if got := s.use(t, "alice", good, ""); got.Status != http.StatusOK {
		t.Errorf("a good one: %+v", got)
	}
}

// Jobs and nodes repeat what they have, and others are behind the same address.
func TestAKeptTokenThatHasEndedLocksOutNobody(t *testing.T) {
	s := newCredentialFixture(t, "state: FOLDER\n")
	s.records(t).ID(t.Context())
	unknown := credentials.NewSecret()
	var revoked []credentials.Secret
	for range 60 {
		revoked = append(revoked, s.issue(t, credentials.Token{Kind: credentials.Robot, User: "alice", Robot: "jenkins",
			Scopes: []string{"repository:**:*"}}))
	}
	if _, _, err := s.records(t).RevokeUser(t.Context(), "alice", "", credentials.Robot); err != nil {
		t.Fatal(err)
	}
	for _, secret := range revoked {
		for _, secret := range []credentials.Secret{secret, unknown} {
			if got := s.use(t, "alice+jenkins", secret, ""); got.Status != http.StatusUnauthorized {
				t.Fatalf("%+v", got)
			}
		}
	}
	s.loginFor(t, "bob", canaryPassword)
}

// A folder that is away, and one that is there again, need no restart.
func TestAnOutageOfTheStoreStopsWhatItKnows(t *testing.T) {
	s := newCredentialFixture(t, "state: FOLDER\n")
	token := s.loginFor(t, "alice", canaryPassword)
	secret := s.issue(t, credentials.Token{Kind: credentials.Personal, User: "alice",
		Scopes: []string{"repository:**:*"}})
	away := s.folder + ".away"
	if err := os.Rename(s.folder, away); err != nil {
		t.Fatal(err)
	}
	if a, b := s.refresh(t, token), s.use(t, "alice", secret, "").Status; a != http.StatusServiceUnavailable ||
		b != http.StatusServiceUnavailable {
		t.Errorf("the refresh token %d, the kept one %d", a, b)
	}
	s.wantLog(t, "outcome=broken reason=\"credential not checked: ")
	now := time.Now()
	wantHealth := func(when string, now time.Time, reason string) {
		t.Helper()
		h := checkHealth(s.reloader, now)
		if got := strings.Join(h.Reasons, "; "); !h.serving || (got == "") != (reason == "") ||
			!strings.Contains(got, reason) {
			t.Errorf("%s: serving %v, reasons %q", when, h.serving, h.Reasons)
		}
	}
	wantHealth("during the outage", now, "the place where tokens are kept is not usable")
	s.state.later.finish()
	during := s.loginFor(t, "alice", canaryPassword)
	if err := os.Rename(away, s.folder); err != nil {
		t.Fatal(err)
	}
	wantHealth("before it was asked again", now.Add(recheckPause), "the place where tokens are kept")
	s.state.later.finish()
	wantHealth("after that", now.Add(recheckPause), "")
	for name, status := range map[string]int{
		"the refresh token": s.refresh(t, token), "one made meanwhile": s.refresh(t, during),
		"the kept one": s.use(t, "alice", secret, "").Status,
	} {
		if status != http.StatusOK {
			t.Errorf("%s: status %d", name, status)
		}
	}
}

// failingStore counts how often it is asked.
type failingStore struct {
	store.Store
	asked int
}

var errAway = errors.New("no route to host")

func (s *failingStore) Get(context.Context, ...string) ([][]byte, error) {
	s.asked++
	return nil, errAway
}

func (s *failingStore) Update(context.Context, []string, store.Change) error {
	s.asked++
	return errAway
}

func TestALoginDoesNotWaitTwiceForAStoreThatIsAway(t *testing.T) {
	failing := &failingStore{}
	away := false
	kept := &keptRecords{
		Records: credentials.Records{Kept: store.NewMemory(1 << 20)},
		isAway:  func() bool { return away }, idTimeout: time.Minute,
	}
	first, err := kept.storeID(t.Context())
	if err != nil || first == "" {
		t.Fatalf("%q, %v", first, err)
	}
	kept.Kept = failing
	if id, err := kept.storeID(t.Context()); id != first || err == nil || failing.asked != 1 {
		t.Errorf("when it fails: %q, %v, asked %d times", id, err, failing.asked)
	}
	away = true
	if id, err := kept.storeID(t.Context()); id != first || err != nil || failing.asked != 1 {
		t.Errorf("while it is away: %q, %v, asked %d times", id, err, failing.asked)
	}
	if id, err := (*keptRecords)(nil).storeID(t.Context()); id != "" || err != nil {
		t.Errorf("without a store: %q, %v", id, err)
	}
}

// An equal login in another process gets the account with its state. What a process of an earlier
// version has sent lacks it, so that PAM is asked.
func TestTheStateOfAnAccountTravelsWithItsAnswer(t *testing.T) {
	state := handler.State{UID: -1, Shadow: "digest", Locked: true}
	for name, succeed := range map[string]func(handler.Attempt){
		"this version": func(a handler.Attempt) { a.Succeed(handler.Account{Name: "alice", State: &state}) },
		"an earlier version": func(a handler.Attempt) {
			a.(attempt).Attempt.Succeed([]byte(`{"Name":"alice","Groups":null}`))
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			records := store.NewMemory(1 << 20)
			process := func() throttleAdapter {
				return throttleAdapter{
					&throttle.Throttle{Store: records, Secret: []byte("secret"), Timeout: time.Minute,
						Checks: &throttle.Checks{}},
				}
			}
			first, err := process().Begin(t.Context(), "alice", canaryPassword, "192.0.2.1")
			if err != nil {
				t.Fatal(err)
			}
			second := make(chan handler.Attempt)
			waiting := process()
			go func() {
				a, err := waiting.Begin(t.Context(), "alice", canaryPassword, "192.0.2.1")
				if err != nil {
					t.Error(err)
				}
				second <- a
			}()
			time.Sleep(time.Second) // the answer is kept for a process that is known to wait
			succeed(first)
			account, ok := (<-second).Answer()
			if isNew := name == "this version"; ok != isNew ||
				ok && (account.Name != "alice" || *account.State != state) {
				t.Errorf("%s: %v, %+v", name, ok, account)
			}
		})
	}
}

func TestTheEndpointAndTheRecordsKnowTheSamePrefixAndKinds(t *testing.T) {
	if handler.KeptPrefix != credentials.Prefix {
		t.Errorf("%q and %q", handler.KeptPrefix, credentials.Prefix)
	}
	for a, b := range map[handler.Kind]credentials.Kind{handler.Personal: credentials.Personal,
		handler.Robot: credentials.Robot, handler.Refresh: credentials.Refresh} {
		if string(a) != string(b) {
			t.Errorf("%q and %q", a, b)
		}
	}
}

func TestTasksAreDoneAfterwards(t *testing.T) {
	for _, background := range []bool{false, true} {
		a := &afterwards{background: background}
		hold, done := make(chan struct{}), 0
		a.add(func() { <-hold })
		for range 2 * maxTasks { // of which only some have a place
			a.add(func() { done++ })
		}
		if !background && a.isEmpty() {
			t.Error("without a background, a task was done early")
		}
		close(hold)
		a.finish()
		if done < maxTasks-1 || done > maxTasks {
			t.Errorf("background %v: %d tasks were done", background, done)
		}
		if !a.isEmpty() {
			t.Errorf("background %v: something is left", background)
		}
	}
}

func TestATaskThatPanicsEndsNoProcess(t *testing.T) {
	var reported error
	a, done := &afterwards{background: true, report: func(err error) { reported = err }}, false
	a.add(func() { panic("canary") })
	a.add(func() { done = true })
	a.finish()
	if !done || reported == nil || strings.Contains(reported.Error(), "canary") ||
		!strings.Contains(reported.Error(), "panic of type string in ") ||
		!strings.Contains(reported.Error(), "credentials_test.go:") {
		t.Errorf("the next one is done: %v, reported: %v", done, reported)
	}
}

// Nobody may use a token for days, and the file may be root's after a restore.
func TestAServiceThatStartsWithAnUnusableStoreSaysSo(t *testing.T) {
	s := newCredentialFixture(t, "state: FOLDER\n")
	s.state.later.finish()
	if err := s.state.shared.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.folder, "kept.db"), []byte("canary"), 0o600); err != nil {
		t.Fatal(err)
	}
	again := newCredentialFixture(t, "state: "+s.folder+"\n")
	again.state.later.finish()
	if h := checkHealth(again.reloader, time.Now()); len(h.Reasons) != 1 || h.Status != "degraded" {
		t.Errorf("%s: %q", h.Status, h.Reasons)
	}
	again.wantLog(t, `msg="tokens cannot be checked" reason="`)
	again.wantLog(t, filepath.Join(s.folder, "kept.db"))
}

// Otherwise the first login would make it, and a revocation before that would find none.
func TestAServiceThatStaysMakesTheIDOfANewStore(t *testing.T) {
	s := newState(slog.New(slog.DiscardHandler))
	if err := s.open(&config.Config{State: privateFolder(t)}, s.live); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	s.later.finish()
	values, err := s.shared.Kept().Get(t.Context(), "id")
	if err != nil || values[0] == nil {
		t.Errorf("it has none: %v", err)
	}
}

func TestGroupsAreLookedUpForThoseWhoMayUsePasswords(t *testing.T) {
	for entry, want := range map[string]bool{"@staff": true, "bob": false} {
		cfg := &config.Config{Access: new(access.Policy)}
		cfg.Passwords.Except = access.Blacklist{entry}
		if got := WantsGroups(cfg); got != want {
			t.Errorf("%s: %v", entry, got)
		}
	}
}

func TestATaskOfADayIsDoneOnceUnlessItFails(t *testing.T) {
	a, done := &afterwards{}, 0
	for _, err := range []error{errAway, nil, nil} {
		a.addOfDay("id", func() error {
			done++
			return err
		})
		a.finish()
	}
	if done != 2 {
		t.Errorf("done %d times", done)
	}
	a.day-- // the next day
	a.addOfDay("id", func() error {
		done++
		return nil
	})
	if a.finish(); done != 3 {
		t.Errorf("on the next day: %d", done)
	}
}

func TestTheOutputEndsBeforeTheProgram(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if _, err := w.WriteString("answer"); err != nil {
		t.Fatal(err)
	}
	if err := r.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	endOutput(w)
	if text, err := io.ReadAll(r); err != nil || string(text) != "answer" {
		t.Errorf("%q, %v", text, err)
	}
	if _, err := w.WriteString("late"); err != nil { // the descriptor is still taken
		t.Error(err)
	}
	endOutput(new(bytes.Buffer))
}

// An endpoint without a store never gives a kept token to PAM either.
func TestWithoutAStoreAKeptTokenIsNoPassword(t *testing.T) {
	accounts := newFakeAccounts()
	s := newCredentialFixture(t, "state: \"\"\n")
	var log bytes.Buffer
	h := NewHandler(s.reloader.current.Load().config, accounts, nil, slog.New(slog.NewTextHandler(&log, nil)))
	h.Endpoint.FailureDelay = 0
	secret := credentials.NewSecret()
	for password, status := range map[string]int{
		secret.Reveal(): http.StatusServiceUnavailable, secret.Reveal() + "x": http.StatusUnauthorized,
	} {
		r := httptest.NewRequest(http.MethodGet, "/docker/v2/token", nil)
		r.SetBasicAuth("alice", password)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != status || len(accounts.asked) > 0 || strings.Contains(log.String(), password) {
			t.Errorf("status %d, PAM was asked %q, the log has %s", w.Code, accounts.asked, &log)
		}
	}
}

// newMachines are two services with one key and one server between them.
func newMachines(t *testing.T, port int) (machines [2]*credentialFixture) {
	t.Helper()
	config := fmt.Sprintf("state: redis://127.0.0.1:%d\n", port)
	for i := range machines {
		machines[i] = newCredentialFixture(t, config)
		machines[i].folder = fmt.Sprintf("redis://127.0.0.1:%d", port)
	}
	for _, name := range []string{"privkey.pem", "cert.pem"} {
		text, err := os.ReadFile(filepath.Join(machines[0].dir, name))
		if err != nil {
			t.Fatal(err)
		}
		machines[1].write(t, name, string(text))
	}
	machines[1].mustReload(t)
	return machines
}

func TestWhatIsTakenBackOnOneMachineIsRefusedOnTheOther(t *testing.T) {
	port, stop := startRedis(t)
	machines := newMachines(t, port)
	one, other := machines[0], machines[1]
	token := one.loginFor(t, "alice", canaryPassword)
	robot := one.issue(t, credentials.Token{Kind: credentials.Robot, User: "alice", Robot: "ci",
		Scopes: []string{"repository:**:pull"}})
	if a, b := other.refresh(t, token), other.use(t, "alice+ci", robot, "").Status; a != 200 || b != 200 {
		t.Errorf("on the other machine: %d and %d: %s", a, b, other.log)
	}
	if err := one.records(t).Revoke(t.Context(), "leaked", robot.ID); err != nil {
		t.Fatal(err)
	}
	if _, _, err := one.records(t).RevokeUser(t.Context(), "alice", "left", credentials.Refresh); err != nil {
		t.Fatal(err)
	}
	if a, b := other.refresh(t, token), other.use(t, "alice+ci", robot, "").Status; a != 401 || b != 401 {
		t.Errorf("taken back: %d and %d: %s", a, b, other.log)
	}
	token = one.loginFor(t, "alice", canaryPassword)
	stop()
	if a, b := other.refresh(t, token), other.use(t, "alice+ci", robot, "").Status; a != 503 || b != 503 {
		t.Errorf("without the server: %d and %d: %s", a, b, other.log)
	}
	other.loginFor(t, "alice", canaryPassword)
}

// A server that hangs delays a login by a second, and what it knows is refused until it is back.
func TestAHangingServerDelaysALoginOnce(t *testing.T) {
	port, _ := startRedis(t)
	s := newMachines(t, port)[0]
	token := s.loginFor(t, "alice", canaryPassword)
	out, err := exec.Command("redis-cli", "-p", fmt.Sprint(port), "client", "pause", "4000", "all").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	began := time.Now()
	during := s.loginFor(t, "alice", canaryPassword)
	if took := time.Since(began); took > 1900*time.Millisecond { // two waits and more
		t.Errorf("the login took %s", took)
	}
	if got := s.refresh(t, token); got != http.StatusServiceUnavailable {
		t.Errorf("a refresh token while the server hangs: %d", got)
	}
	deadline := time.Now().Add(20 * time.Second)
	for s.refresh(t, token) != http.StatusOK && time.Now().Before(deadline) {
		time.Sleep(50 * time.Millisecond)
	}
	for name, token := range map[string]string{"before": token, "meanwhile": during} {
		if got := s.refresh(t, token); got != http.StatusOK {
			t.Errorf("a refresh token issued %s: %d", name, got)
		}
	}
}
