package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"dockerauth/config"
	"dockerauth/credentials"
	"dockerauth/pamauth"
	"dockerauth/store"
)

// tokenFixture is a configuration with a folder for tokens and a log, both of this process.
type tokenFixture struct {
	Tokens
	dir    string
	stderr *bytes.Buffer
}

func newTokenFixture(t *testing.T, more string) tokenFixture {
	t.Helper()
	s := newAdminFixture(t)
	f := tokenFixture{dir: s.dir, stderr: &bytes.Buffer{}}
	f.Config = s.write(t, "tokens.yml", fixtureConfig+"state: state\nlog: {file: tokens.log}\n"+more)
	f.Stderr, f.pam = f.stderr, accountPhase{}
	if err := os.Mkdir(filepath.Join(f.dir, "state"), 0o700); err != nil {
		t.Fatal(err)
	}
	s.write(t, "tokens.log", "") // root makes none
	return f
}

// accountPhase is a PAM that refuses some accounts. It is asked for no password.
type accountPhase struct{ refuses []string }

func (p accountPhase) Authenticate(_ context.Context, login pamauth.Login) (pamauth.Account, error) {
	if !login.AccountOnly || login.Password != "" || slices.Contains(p.refuses, login.User) {
		return pamauth.Account{}, fmt.Errorf("%w: account: PAM_ACCT_EXPIRED (13)\n  see chage", pamauth.ErrRefused)
	}
	return pamauth.Account{Name: login.User, UID: -1}, nil
}

// me is an account that exists.
func me(t *testing.T) string {
	t.Helper()
	account, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	return account.Username
}

func (f tokenFixture) issue(t *testing.T, r TokenRequest) IssuedToken {
	t.Helper()
	var got IssuedToken
	err := f.Issue(t.Context(), r, func(i IssuedToken) error {
		got = i
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func (f tokenFixture) log(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(f.dir, "tokens.log"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return string(text)
}

func (f tokenFixture) records(t *testing.T) *credentials.Records {
	t.Helper()
	records, closeStore, err := OpenCredentials(&config.Config{State: filepath.Join(f.dir, "state")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeStore() })
	return records
}

func TestAnIssuedTokenIsAcceptedUntilItIsRevoked(t *testing.T) {
	f := newTokenFixture(t, "")
	i := f.issue(
		t,
		TokenRequest{User: me(t), Robot: "jenkins", Scopes: []string{"repository:ci/**:pull"}, Expires: "2h",
			From: []string{"10.0.0.0/8"}, Note: "n"},
	)
	records := f.records(t)
	check := func() error {
		_, err := records.Check(t.Context(), i.Secret, me(t)+"+jenkins", "10.1.2.3")
		return err
	}
	if err := check(); err != nil || i.Token.Expires.Sub(i.Token.Created) != 2*time.Hour {
		t.Errorf("%v: %+v", err, i)
	}
	want := "docker login -u " + me(t) + "+jenkins --password-stdin a"
	if !slices.Equal(i.Logins, []string{want}) {
		t.Errorf("%q, want %q", i.Logins, want)
	}
	if done, err := f.Revoke(t.Context(), "r", i.Token.ID, i.Token.ID); err != nil || len(done) != 1 ||
		done[0].Already {
		t.Errorf("%+v, %v", done, err)
	}
	if err := check(); !errors.Is(err, credentials.ErrRefused) {
		t.Errorf("a revoked token: %v", err)
	}
	if done, err := f.Revoke(t.Context(), "again", i.Token.ID); err != nil || !done[0].Already {
		t.Errorf("%+v, %v", done, err)
	}
	if got, err := f.Get(t.Context(), i.Token.ID); err != nil || got.Revoked == nil || got.Revoked.Reason != "r" {
		t.Errorf("%+v, %v", got, err)
	}
	lines := regexp.MustCompile(`event=\S+ credential=\S+`).FindAllString(f.log(t), -1)
	if want := []string{"event=token-issued credential=" + i.Token.ID,
		"event=token-revoked credential=" + i.Token.ID}; !slices.Equal(lines, want) {
		t.Errorf("the log has %q, want %q", lines, want)
	}
	if strings.Contains(f.log(t), i.Secret.Reveal()[4+credentials.IDLen:]) {
		t.Error("the log has the token")
	}
}

func TestATokenThatIsNotDeliveredIsRevoked(t *testing.T) {
	f := newTokenFixture(t, "")
	var i IssuedToken
	full := func(got IssuedToken) error {
		i = got
		return errors.New("the disk is full")
	}
	r := plainRequest()
	r.User, r.Keep = me(t), true
	err := f.Issue(t.Context(), r, full)
	if err == nil || err.Error() != "print token "+i.Token.ID+": the disk is full\n  it is revoked: issue another" {
		t.Errorf("issue: %v", err)
	}
	for _, token := range []credentials.Token{i.Token, f.rotated(t, full)} {
		if got, err := f.Get(t.Context(), token.ID); err != nil || got.Revoked == nil {
			t.Errorf("%+v, %v", got, err)
		}
	}
}

// rotated is the token that a failed rotation has left.
func (f tokenFixture) rotated(t *testing.T, fail func(IssuedToken) error) (next credentials.Token) {
	t.Helper()
	r := plainRequest()
	r.User, r.Keep = me(t), true
	id := f.issue(t, r).Token.ID
	err := f.Rotate(t.Context(), id, 0, func(i IssuedToken) error {
		next = i.Token
		return fail(i)
	})
	if err == nil {
		t.Error("a rotation that was not delivered is no error")
	}
	return next
}

func TestARotatedTokenIsAcceptedForTheOverlap(t *testing.T) {
	f := newTokenFixture(t, "")
	r := plainRequest()
	r.User, r.Keep = me(t), true
	records := f.records(t)
	for overlap, accepted := range map[time.Duration]bool{0: false, time.Hour: true} {
		old := f.issue(t, r)
		var next IssuedToken
		err := f.Rotate(t.Context(), old.Token.ID, overlap, func(i IssuedToken) error {
			next = i
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := records.Check(t.Context(), next.Secret, me(t), ""); err != nil {
			t.Errorf("the new one: %v", err)
		}
		if _, err := records.Check(t.Context(), old.Secret, me(t), ""); (err == nil) != accepted {
			t.Errorf("the old one after an overlap of %v: %v", overlap, err)
		}
	}
}

func TestWhatIsLeftOfARotatedTokenIsSaid(t *testing.T) {
	f := newTokenFixture(t, "")
	locked := false
	f.inspect = func(name string, key pamauth.StateKey) (pamauth.Account, error) {
		account, err := pamauth.Inspect(name, key)
		account.Shadow.Locked = locked && !strings.Contains(name, "+")
		return account, err
	}
	r := plainRequest()
	r.User, r.Robot = me(t), "jenkins"
	old := f.issue(t, r).Token
	locked = true
	var next credentials.Token
	err := f.Rotate(t.Context(), old.ID, time.Hour, func(i IssuedToken) error {
		next = i.Token
		return nil
	})
	want := "warning: " + me(t) + " is locked, as by usermod -L; the token is refused until it is unlocked\n"
	if err != nil || f.stderr.String() != want {
		t.Errorf("%v, it says %q, want %q", err, f.stderr, want)
	}
	for _, tt := range []struct {
		name      string
		ids       []string
		successor string
	}{
		{"its successor is good", []string{old.ID}, next.ID},
		{"it is revoked together with its successor", []string{old.ID, next.ID}, ""},
		{"its successor was revoked before", []string{old.ID}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			done, err := f.Revoke(t.Context(), "", tt.ids...)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range done {
				if want := map[bool]string{true: tt.successor}[r.ID == old.ID]; r.Successor != want {
					t.Errorf("%s: successor %q, want %q", r.ID, r.Successor, want)
				}
			}
		})
	}
}

func TestTheUserNameOfARobotIsNoAccount(t *testing.T) {
	f := newTokenFixture(t, "")
	f.pam = accountPhase{refuses: []string{"no one+jenkins", "+jenkins", "no-one+"}}
	for user, hint := range map[string]string{"no one+jenkins": "for a robot: --user 'no one' --robot jenkins",
		"+jenkins": `write its name as "id" shows it`, "no-one+": `write its name as "id" shows it`} {
		r := plainRequest()
		r.User = user
		err := f.Issue(t.Context(), r, func(IssuedToken) error { return nil })
		if err == nil || !strings.HasSuffix(err.Error(), " on this machine\n  "+hint) {
			t.Errorf("%s: %v", user, err)
		}
	}
}

// Its lock, which is in the state, would else end with a rotation.
func TestARobotsStateIsThatOfItsFirstToken(t *testing.T) {
	f := newTokenFixture(t, "")
	now := time.Now()
	s := credentials.NewSecret()
	state := credentials.State{UID: 54321, Shadow: credentials.ShadowNone}
	_, err := f.records(t).
		Issue(t.Context(), s, credentials.Token{Kind: credentials.Robot, User: me(t), Robot: "jenkins",
			Scopes: []string{"repository:a:pull"}, Created: now, Expires: now.Add(time.Hour), State: state})
	if err != nil {
		t.Fatal(err)
	}
	err = f.Rotate(t.Context(), s.ID, 0, func(i IssuedToken) error {
		if i.Token.State != state {
			t.Errorf("%+v", i.Token.State)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// A personal token must not pass to the next person with the name.
func TestATokenOfADeletedAccountIsNotRotated(t *testing.T) {
	f := newTokenFixture(t, "")
	now := time.Now()
	s := credentials.NewSecret()
	_, err := f.records(t).Issue(t.Context(), s, credentials.Token{Kind: credentials.Personal, User: me(t),
		Scopes: []string{"repository:a:pull"}, Created: now, Expires: now.Add(time.Hour),
		State: credentials.State{UID: 54321, Shadow: credentials.ShadowNone}})
	if err != nil {
		t.Fatal(err)
	}
	err = f.Rotate(t.Context(), s.ID, 0, func(IssuedToken) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "dockerauth token revoke "+s.ID) && os.Geteuid() == 0 {
		t.Error(err)
	}
}

func TestAllOfAnAccountIsRevokedByKind(t *testing.T) {
	f := newTokenFixture(t, "")
	personal, robot := plainRequest(), plainRequest()
	personal.User, robot.User, personal.Keep, robot.Robot = me(t), me(t), true, "jenkins"
	for i, tt := range []struct {
		kinds  []credentials.Kind
		done   string
		logins int // known, with those of earlier rounds
	}{
		{[]credentials.Kind{credentials.Robot}, "robot", 0},
		{[]credentials.Kind{credentials.Personal}, "personal", 0},
		{[]credentials.Kind{credentials.Refresh}, "refresh", 3},
		{[]credentials.Kind{credentials.Refresh, credentials.Personal, credentials.Robot}, "personal refresh robot", 1},
	} {
		if _, _, err := f.RevokeUser(t.Context(), "", me(t), credentials.Personal, credentials.Robot); err != nil {
			t.Fatal(err)
		}
		f.issue(t, personal)
		f.issue(t, robot)
		err := f.records(t).NoteLogin(t.Context(), credentials.Login{ID: "ABCDEFGHIJKLMNOPQRSTUVWXY" + fmt.Sprint(2+i),
			User: me(t), First: time.Now(), Expires: time.Now().Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		done, logins, err := f.RevokeUser(t.Context(), "r", me(t), tt.kinds...)
		var kinds []string
		for _, d := range done {
			kinds = append(kinds, string(d.Kind))
		}
		slices.Sort(kinds)
		if got := strings.Join(kinds, " "); err != nil || got != tt.done || logins != tt.logins {
			t.Errorf("%v: %q, %d logins, %v", tt.kinds, got, logins, err)
		}
	}
	if known, err := f.Logins(t.Context(), ""); err != nil || len(known) != 0 {
		t.Errorf("%+v, %v", known, err)
	}
}

// The log and the lists show the user name of a robot.
func TestARobotIsRevokedByItsUserName(t *testing.T) {
	f := newTokenFixture(t, "")
	r := plainRequest()
	r.User, r.Robot = me(t), "jenkins"
	robot := f.issue(t, r).Token
	r.Robot = "other"
	other := f.issue(t, r).Token
	all := []credentials.Kind{credentials.Refresh, credentials.Personal, credentials.Robot}
	done, logins, err := f.RevokeUser(t.Context(), "r", strings.ToUpper(me(t))+"+jenkins", all...)
	want := []Revocation{{ID: robot.ID, Kind: credentials.Robot, Login: me(t) + "+jenkins"}}
	if err != nil || logins != 0 || !slices.Equal(done, want) {
		t.Errorf("%+v, %d logins, %v, want %+v", done, logins, err, want)
	}
	for _, token := range []credentials.Token{robot, other} {
		if got, err := f.Get(t.Context(), token.ID); err != nil || (got.Revoked != nil) != (token.ID == robot.ID) {
			t.Errorf("%+v, %v", got, err)
		}
	}
	if log := f.log(t); strings.Count(log, "event=token-revoked credential="+robot.ID+" ") != 1 {
		t.Errorf("the log says\n%s", log)
	}
}

func TestANameThatNobodyKnowsIsAnErrorAndRevokedAllTheSame(t *testing.T) {
	f := newTokenFixture(t, "")
	r := plainRequest()
	r.User, r.Robot = me(t), "jenkins"
	f.issue(t, r)
	id, err := f.records(t).ID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	login := credentials.RefreshToken{ID: "ABCDEFGHIJKLMNOPQRSTUVWXYZ", User: me(t) + "+jenkinz", Store: id,
		Issued: time.Now().Truncate(time.Second)}
	for user, hint := range map[string]string{
		login.User:        fmt.Sprintf("if %q is meant, give that name", me(t)+"+jenkins"),
		"no-such-account": "dockerauth token list and dockerauth logins show the names",
	} {
		done, logins, err := f.RevokeUser(t.Context(), "", user, credentials.Refresh)
		if err == nil || !strings.HasPrefix(err.Error(), fmt.Sprintf("nothing is known of %q: ", user)) ||
			!strings.HasSuffix(err.Error(), "\n  "+hint) || logins != 0 || len(done) != 1 {
			t.Errorf("%s: %+v, %v", user, done, err)
		}
	}
	if err := f.records(t).CheckRefresh(t.Context(), login); !errors.Is(err, credentials.ErrRefused) {
		t.Errorf("a login of the name: %v", err)
	}
	f.inspect = func(string, pamauth.StateKey) (pamauth.Account, error) {
		return pamauth.Account{}, pamauth.ErrBroken
	}
	if _, _, err := f.RevokeUser(t.Context(), "", "no-such-account", credentials.Refresh); err != nil {
		t.Errorf("a directory that is away: %v", err)
	}
}

// A directory may spell its names in another way now.
func TestBothSpellingsOfAnAccountAreRevoked(t *testing.T) {
	f := newTokenFixture(t, "")
	now := time.Now()
	for _, user := range []string{"alice", "alice@example.com"} {
		_, err := f.records(t).Issue(t.Context(), credentials.NewSecret(), credentials.Token{Kind: credentials.Personal,
			User: user, Scopes: []string{"repository:a:pull"}, Created: now, Expires: now.Add(time.Hour),
			State: credentials.State{UID: 54321, Shadow: credentials.ShadowNone}})
		if err != nil {
			t.Fatal(err)
		}
	}
	f.inspect = func(string, pamauth.StateKey) (pamauth.Account, error) {
		return pamauth.Account{Name: "alice@example.com", UID: 54321}, nil
	}
	done, _, err := f.RevokeUser(t.Context(), "", "alice", credentials.Personal)
	if err != nil || len(done) != 2 {
		t.Errorf("%+v, %v", done, err)
	}
}

func TestARobotIsNotNamedLikeAnAccount(t *testing.T) {
	f := newTokenFixture(t, "")
	f.inspect = func(name string, key pamauth.StateKey) (pamauth.Account, error) {
		if name == me(t)+"+jenkins" {
			return pamauth.Account{Name: name, UID: 54321}, nil
		}
		return pamauth.Inspect(name, key)
	}
	r := plainRequest()
	r.User, r.Robot = me(t), "jenkins"
	err := f.Issue(t.Context(), r, func(IssuedToken) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "is that of an account\n  choose another name") {
		t.Error(err)
	}
	r.Robot = "jenkins2"
	f.issue(t, r)
}

func TestADamagedRecordKeepsNoOtherTokenFromBeingRevoked(t *testing.T) {
	f := newTokenFixture(t, "")
	r := plainRequest()
	r.User, r.Keep = me(t), true
	good := f.issue(t, r).Token.ID
	const damaged, login = "0000000000", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	err := f.records(t).Kept.Update(t.Context(), []string{"token/" + damaged}, func([]store.Record) []store.Record {
		return []store.Record{{Value: []byte("garbage"), Until: time.Now().Add(time.Hour)}}
	})
	if err != nil {
		t.Fatal(err)
	}
	done, err := f.Revoke(t.Context(), "", good, damaged, login)
	if err == nil || !strings.Contains(err.Error(), damaged) || len(done) != 2 {
		t.Errorf("%+v, %v", done, err)
	}
	if got, err := f.Get(t.Context(), good); err != nil || got.Revoked == nil {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestALoginIsRevokedByItsIDAndItsUserNamedIfItIsKnown(t *testing.T) {
	f := newTokenFixture(t, "")
	const known, unknown = "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "ZBCDEFGHIJKLMNOPQRSTUVWXYZ"
	err := f.records(t).NoteLogin(t.Context(), credentials.Login{ID: known, User: "alice", First: time.Now(),
		Expires: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	done, err := f.Revoke(t.Context(), "", unknown, known)
	want := []Revocation{
		{ID: known, Kind: credentials.Refresh, Login: "alice"},
		{ID: unknown, Kind: credentials.Refresh},
	}
	if err != nil || !slices.Equal(done, want) {
		t.Errorf("%+v, %v, want %+v", done, err, want)
	}
}

// After an incident, or in a store that has come back from a backup.
func TestAllOfEverybodyIsRevokedByKind(t *testing.T) {
	for kind, want := range map[credentials.Kind]string{
		credentials.Refresh:  `msg="all tokens revoked" event=token-revoked kind=refresh reason=r `,
		credentials.Personal: `msg="all tokens revoked" event=token-revoked kind=personal tokens=1 `,
		credentials.Robot:    `msg="all tokens revoked" event=token-revoked kind=robot tokens=1 reason=r `,
	} {
		f := newTokenFixture(t, "")
		r := plainRequest()
		r.User, r.Keep = me(t), true
		tokens := map[credentials.Kind]string{credentials.Personal: f.issue(t, r).Token.ID}
		r.Robot = "jenkins"
		tokens[credentials.Robot] = f.issue(t, r).Token.ID
		before, err := f.records(t).ID(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if done, err := f.RevokeAll(t.Context(), "r", kind); err != nil || len(done) != 1 || done[0].Kind != kind ||
			done[0].ID != tokens[kind] {
			t.Errorf("%s: %+v, %v", kind, done, err)
		}
		for k, id := range tokens {
			if got, err := f.Get(t.Context(), id); err != nil || (got.Revoked != nil) != (k == kind) {
				t.Errorf("%s: %+v, %v", kind, got, err)
			}
		}
		after, err := f.records(t).ID(t.Context())
		if err != nil || (before != after) != (kind == credentials.Refresh) {
			t.Errorf("%s: the store has the id %s, it had %s, %v", kind, after, before, err)
		}
		if log := f.log(t); !strings.Contains(log, want) {
			t.Errorf("the log lacks %q:\n%s", want, log)
		}
	}
}

// The account may be gone, and its directory away.
func TestWhatADeletedAccountHadIsRevoked(t *testing.T) {
	f := newTokenFixture(t, "")
	now := time.Now()
	s := credentials.NewSecret()
	_, err := f.records(t).Issue(t.Context(), s, credentials.Token{Kind: credentials.Personal, User: "no-such-account",
		Scopes: []string{"repository:a:pull"}, Created: now, Expires: now.Add(time.Hour),
		State: credentials.State{UID: 54321, Shadow: credentials.ShadowNone}})
	if err != nil {
		t.Fatal(err)
	}
	done, _, err := f.RevokeUser(t.Context(), "", "No-Such-Account", credentials.Personal)
	if err != nil || len(done) != 1 || done[0].ID != s.ID {
		t.Errorf("%+v, %v", done, err)
	}
}

func TestListsAreByLoginAndID(t *testing.T) {
	f := newTokenFixture(t, "")
	records := f.records(t)
	now := time.Now()
	for i := range 300 {
		token := credentials.Token{Kind: credentials.Personal, User: fmt.Sprintf("user%d", i%7), Created: now,
			Expires: now.Add(time.Hour), Scopes: []string{"repository:a:pull"},
			State: credentials.State{UID: 1, Shadow: credentials.ShadowNone}}
		if i%2 == 0 {
			token.Kind, token.Robot = credentials.Robot, "r"
		}
		if _, err := records.Issue(t.Context(), credentials.NewSecret(), token); err != nil {
			t.Fatal(err)
		}
	}
	before := func(a, b credentials.Token) int { return strings.Compare(a.Login()+" "+a.ID, b.Login()+" "+b.ID) }
	if all, _, err := f.List(t.Context(), ""); err != nil || len(all) != 300 || !slices.IsSortedFunc(all, before) {
		t.Errorf("%d tokens, %v", len(all), err)
	}
	if some, _, err := f.List(t.Context(), "USER3"); err != nil || len(some) != 43 || some[0].User != "user3" {
		t.Errorf("%d tokens of one account, %v", len(some), err)
	}
	if some, _, err := f.List(t.Context(), "User4+R"); err != nil || len(some) == 0 || len(some) == 43 ||
		some[0].Login() != "user4+r" {
		t.Errorf("%d tokens of a robot, %v", len(some), err)
	}
	for typed, want := range map[string]string{"user3+": "user3", "user5+t": "user5+r", "somebody": "", "user3": ""} {
		if _, closest, err := f.List(t.Context(), typed); err != nil || closest != want {
			t.Errorf("%s: %q, %v, want %q", typed, closest, err, want)
		}
	}
	if f.log(t) != "" {
		t.Error("a list is in the log")
	}
}

func TestRulesAndBlacklistAreLookedAtBeforeATokenIsMade(t *testing.T) {
	account := me(t)
	for _, tt := range []struct{ name, config, scope, says string }{
		{"no rules", "", "repository:a:pull", ""},
		{"a rule for it", "access: [{allow: [pull], repositories: [a], to: [users]}]\n", "repository:a:pull", ""},
		{"a pattern", "access: [{allow: [pull], repositories: [a], to: [users]}]\n", "repository:**:pull", ""},
		{"another action", "access: [{allow: [pull], repositories: [a], to: [users]}]\n", "repository:a:pull,push",
			"warning: " + account + " may not push repository:a now: it allows pull\n  see dockerauth explain "},
		{"a rule for addresses", "access: [{allow: [pull], repositories: [a], to: [users], from: [192.0.2.1]}]\n",
			"repository:a:pull", ""},
		{"a rule for addresses and another account",
			"access: [{allow: [pull], repositories: [a], to: [bob], from: [192.0.2.1]}]\n", "repository:a:pull",
			"may not pull repository:a now: it is for bob; it is for clients from 192.0.2.1\n"},
		{"no rule at all", "access: []\n", "repository:a:pull", "the access section has no rules\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newTokenFixture(t, tt.config)
			f.issue(t, TokenRequest{User: account, Keep: true, Scopes: []string{tt.scope}, Expires: "1h"})
			if got := f.stderr.String(); tt.says == "" && strings.Contains(got, "may not") ||
				!strings.Contains(got, tt.says) {
				t.Errorf("it says %q, want %q", got, tt.says)
			}
		})
	}
	f := newTokenFixture(t, "blacklisted_users: ["+strings.ToUpper(account)+"]\n")
	err := f.Issue(context.Background(), TokenRequest{User: account, Keep: true, Scopes: []string{"repository:a:pull"},
		Expires: "1h"}, func(IssuedToken) error { return nil })
	if err == nil || !strings.Contains(err.Error(), ":8: blacklisted_users: ") {
		t.Error(err)
	}
	if all, _, err := f.List(t.Context(), ""); err != nil || len(all) > 0 {
		t.Errorf("%+v, %v", all, err)
	}
}

func TestPAMIsAskedAboutTheAccountOfANewToken(t *testing.T) {
	f := newTokenFixture(t, "")
	f.pam = accountPhase{refuses: []string{me(t), "no-such-account"}}
	r := TokenRequest{User: me(t), Keep: true, Scopes: []string{"repository:a:pull"}, Expires: "1h"}
	f.issue(t, r)
	want := "warning: PAM refuses " + me(t) + " now, and the token with it: account: " +
		"PAM_ACCT_EXPIRED (13)\n"
	if got := f.stderr.String(); got != want {
		t.Errorf("it says %q, want %q", got, want)
	}
	r.User = "pams-own-account"
	if got := f.issue(t, r).Token; got.User != r.User || got.State.UID != -1 {
		t.Errorf("an account that PAM alone knows: %+v", got)
	}
	r.User = "no-such-account"
	err := f.Issue(t.Context(), r, func(IssuedToken) error { return nil })
	if err == nil || !strings.Contains(err.Error(), `no account "no-such-account"`) {
		t.Errorf("an account that nobody knows: %v", err)
	}
}

func TestWhatAServerMayForgetIsSaid(t *testing.T) {
	for _, tt := range []struct {
		settings []string
		said     string
	}{
		{nil, "loses everything"}, // startRedis takes no snapshots
		{[]string{"--appendonly", "yes"}, "loses what it got in the last seconds"},
		{[]string{"--appendonly", "yes", "--appendfsync", "always"}, ""},
	} {
		f := newTokenFixture(t, "")
		port, _ := startRedis(t, append(tt.settings, "--dir", t.TempDir())...)
		text, err := os.ReadFile(f.Config)
		if err != nil {
			t.Fatal(err)
		}
		server := strings.Replace(string(text), "state: state\n", fmt.Sprintf("state: redis://127.0.0.1:%d\n", port), 1)
		if err := os.WriteFile(f.Config, []byte(server), 0o600); err != nil {
			t.Fatal(err)
		}
		f.issue(t, TokenRequest{User: me(t), Keep: true, Scopes: []string{"repository:a:pull"}, Expires: "1h"})
		if said := f.stderr.String(); strings.Contains(said, "the state server loses") != (tt.said != "") ||
			!strings.Contains(said, tt.said) {
			t.Errorf("with %v: %s", tt.settings, said)
		}
		f.stderr.Reset()
		if _, _, err := f.List(t.Context(), ""); err != nil || f.stderr.Len() > 0 {
			t.Errorf("a list: %v, %s", err, f.stderr)
		}
	}
}

func TestAStoreThatIsAwayIsAnErrorWithAHint(t *testing.T) {
	f := newTokenFixture(t, "")
	text, err := os.ReadFile(f.Config)
	if err != nil {
		t.Fatal(err)
	}
	server := strings.Replace(string(text), "state: state\n", "state: redis://127.0.0.1:1\n", 1)
	if err := os.WriteFile(f.Config, []byte(server), 0o600); err != nil {
		t.Fatal(err)
	}
	const id = "0123456789"
	for name, do := range map[string]func() error{
		"issue": func() error {
			return f.Issue(t.Context(), TokenRequest{User: me(t), Keep: true, Scopes: []string{"repository:a:pull"},
				Expires: "1h"}, func(IssuedToken) error {
				t.Error("a token was made")
				return nil
			})
		},
		"list":   func() error { _, _, err := f.List(t.Context(), ""); return err },
		"show":   func() error { _, err := f.Get(t.Context(), id); return err },
		"logins": func() error { _, err := f.Logins(t.Context(), ""); return err },
		"revoke": func() error { _, err := f.Revoke(t.Context(), "", id); return err },
		"revoke a user": func() error {
			_, _, err := f.RevokeUser(t.Context(), "", "alice", credentials.Refresh)
			return err
		},
	} {
		if err := do(); err == nil || !strings.HasSuffix(err.Error(), "\n  dockerauth check looks at the place where "+
			"tokens are kept") || !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if log := f.log(t); log != "" {
		t.Errorf("the log says\n%s", log)
	}
}
