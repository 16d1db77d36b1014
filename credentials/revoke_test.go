package credentials

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"dockerauth/store"
)

// newRefresh is a refresh token that is issued now.
func newRefresh(t testing.TB, r *Records, user string) RefreshToken {
	t.Helper()
	id, err := r.ID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return RefreshToken{ID: rand.Text(), User: user, Issued: r.now().Truncate(time.Second), Store: id}
}

// wantsRefresh reports what a check says, if not this. reason "" = the token may be used.
func wantsRefresh(t *testing.T, r *Records, token RefreshToken, reason string) {
	t.Helper()
	err := r.CheckRefresh(t.Context(), token)
	if reason == "" && err != nil || reason != "" &&
		(!errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), reason)) {
		t.Errorf("refresh token of %s: %v, want %q", token.User, err, reason)
	}
}

func TestWhatIsRevokedIsRefusedForTheFirstReason(t *testing.T) {
	inBoth(t, func(t *testing.T, r *Records, c *clock) {
		s, _ := issue(t, r, alices())
		other, _ := issue(t, r, alices())
		refresh, otherRefresh := newRefresh(t, r, "alice"), newRefresh(t, r, "alice")
		if err := r.Revoke(t.Context(), "lost laptop", s.ID, refresh.ID, s.ID); err != nil {
			t.Fatal(err)
		}
		const when = "was revoked at 2026-05-06T12:00:00Z: lost laptop"
		check := func() {
			t.Helper()
			wants(t, r, s, "alice", "", when)
			wantsRefresh(t, r, refresh, when)
			wants(t, r, other, "alice", "", "")
			wantsRefresh(t, r, otherRefresh, "")
		}
		check()
		bare, _ := issue(t, r, alices())
		bareRefresh := newRefresh(t, r, "alice")
		if err := r.Revoke(t.Context(), "", bare.ID, bareRefresh.ID); err != nil {
			t.Fatal(err)
		}
		_, err := r.Check(t.Context(), bare, "alice", "")
		for _, err := range []error{err, r.CheckRefresh(t.Context(), bareRefresh)} {
			if err == nil || !strings.HasSuffix(err.Error(), "was revoked at 2026-05-06T12:00:00Z") {
				t.Errorf("without a reason: %v", err)
			}
		}
		token, err := r.Get(t.Context(), s.ID)
		if err != nil || token.Revoked == nil || token.Revoked.Reason != "lost laptop" ||
			!token.Revoked.At.Equal(noon.Truncate(time.Second)) {
			t.Errorf("%+v, %v", token, err)
		}
		c.add(time.Hour)
		if err := r.Revoke(t.Context(), "second thoughts", s.ID, refresh.ID); err != nil {
			t.Fatal(err)
		}
		check()
		c.add(80 * day)
		check()
		c.add(3000 * day)
		wantsRefresh(t, r, refresh, when)
	})
}

func TestAWrongIDRevokesNothing(t *testing.T) {
	r, _ := inMemory()
	s, _ := issue(t, r, alices())
	refresh := newRefresh(t, r, "alice")
	jwt := "eyJhbGciOiJFZERTQSJ9." + strings.Repeat("x", 200)
	tests := []struct{ name, id, reason string }{
		{"nothing", "", `"" is no ID`},
		{"a user", "alice", `"alice" is no ID`},
		{"an ID without a character", s.ID[1:], fmt.Sprintf("%q is no ID", s.ID[1:])},
		{"a character more", s.ID + "0", fmt.Sprintf("%q is no ID", s.ID+"0")},
		{"the text of a token", s.Reveal(), "the text of a token is not its ID"},
		{"the ID with the prefix", "dka_" + s.ID, "the text of a token is not its ID"},
		{"a refresh token", jwt, fmt.Sprintf("a text of %d characters is no ID", len(jwt))},
		{"the ID of a refresh token in lower case", strings.ToLower(refresh.ID), "a text of 26 characters is no ID"},
		{"a key", "../id", `"../id" is no ID`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := r.Revoke(t.Context(), "", s.ID, refresh.ID, tt.id)
			if err == nil || !strings.Contains(err.Error(), tt.reason) {
				t.Errorf("got %v, want %q", err, tt.reason)
			}
			if err != nil &&
				(strings.Contains(err.Error(), s.Reveal()[14:]) || strings.Contains(err.Error(), jwt[22:])) {
				t.Errorf("the error has a secret: %v", err)
			}
			wants(t, r, s, "alice", "", "")
			wantsRefresh(t, r, refresh, "")
		})
	}
	for name, reason := range map[string]string{"long": strings.Repeat("a", 257), "two lines": "a\nb"} {
		if err := r.Revoke(t.Context(), reason, s.ID); err == nil || !strings.Contains(err.Error(), "reason") {
			t.Errorf("%s: %v", name, err)
		}
	}
	wants(t, r, s, "alice", "", "")
}

// Somebody in a hurry has mistyped one of many.
func TestAnIDThatIsNotThereDoesNotKeepOthers(t *testing.T) {
	r, _ := inMemory()
	s, _ := issue(t, r, alices())
	unknown := NewSecret().ID
	if err := r.Revoke(t.Context(), "lost", unknown, s.ID); !errors.Is(err, ErrNotFound) ||
		!strings.Contains(err.Error(), unknown) || strings.Contains(err.Error(), s.ID) {
		t.Errorf("got %v", err)
	}
	wants(t, r, s, "alice", "", "was revoked")
}

func TestAllOfAUserIsRevokedByKind(t *testing.T) {
	all := []Kind{Refresh, Personal, Robot}
	for name, kinds := range map[string][]Kind{
		"refresh tokens": {Refresh}, "personal tokens": {Personal}, "robots": {Robot}, "kept tokens": {Personal, Robot},
		"all by name": all, "all": nil,
	} {
		t.Run(name, func(t *testing.T) {
			inBoth(t, func(t *testing.T, r *Records, c *clock) {
				users := []string{"alice", "Alice", "alice+jenkins", "ali", "bob", "alice/x"}
				type owned struct {
					user    string
					kept    map[Kind]Secret
					login   map[Kind]string
					refresh RefreshToken
				}
				var owners []owned
				for _, user := range users {
					o := owned{user, map[Kind]Secret{}, map[Kind]string{}, newRefresh(t, r, user)}
					for _, token := range []Token{alices(), robots()} {
						token.User = user
						o.kept[token.Kind], _ = issue(t, r, token)
						o.login[token.Kind] = token.Login()
					}
					note(t, r, o.refresh)
					owners = append(owners, o)
				}
				revoked, logins, err := r.RevokeUser(t.Context(), "alice", "left", kinds...)
				if err != nil {
					t.Fatal(err)
				}
				isRevoked := func(user string, k Kind) bool {
					return strings.EqualFold(user, "alice") && (len(kinds) == 0 || slices.Contains(kinds, k))
				}
				want := map[bool]string{true: "revoked", false: ""}
				kept, known := 0, 0
				for _, o := range owners {
					for kind, s := range o.kept {
						wants(t, r, s, o.login[kind], "", want[isRevoked(o.user, kind)])
						if isRevoked(o.user, kind) {
							kept++
							if !slices.ContainsFunc(
								revoked,
								func(x Token) bool { return x.ID == s.ID && x.Revoked.Reason == "left" },
							) {
								t.Errorf("%s of %s is not reported", kind, o.user)
							}
						}
					}
					wantsRefresh(t, r, o.refresh, want[isRevoked(o.user, Refresh)])
					if isRevoked(o.user, Refresh) {
						known++
					}
					// What is issued afterwards is accepted.
					wantsRefresh(t, r, newRefresh(t, r, o.user), "")
					s, _ := issue(t, r, Token{Kind: Personal, User: o.user, Scopes: []string{"a:b:c"}, State: aState,
						Expires: noon.Add(day)})
					wants(t, r, s, o.user, "", "")
				}
				if len(revoked) != kept || len(logins) != known {
					t.Errorf(
						"%d tokens and %d logins are reported, want %d and %d",
						len(revoked),
						len(logins),
						kept,
						known,
					)
				}
			})
		})
	}
}

func TestAllOfEverybodyIsRevokedByKind(t *testing.T) {
	all := []Kind{Refresh, Personal, Robot}
	for name, kinds := range map[string][]Kind{
		"refresh tokens": {Refresh}, "personal tokens": {Personal}, "robots": {Robot}, "all by name": all, "all": nil,
	} {
		t.Run(name, func(t *testing.T) {
			inBoth(t, func(t *testing.T, r *Records, c *clock) {
				personal, _ := issue(t, r, alices())
				robot, _ := issue(t, r, robots())
				ofBob := alices()
				ofBob.User = "bob"
				bobs, _ := issue(t, r, ofBob)
				before, _ := issue(t, r, alices())
				if err := r.Revoke(t.Context(), "before", before.ID); err != nil {
					t.Fatal(err)
				}
				refresh, bobsRefresh := newRefresh(t, r, "alice"), newRefresh(t, r, "bob")
				revoked, err := r.RevokeAll(t.Context(), "restored", kinds...)
				if err != nil {
					t.Fatal(err)
				}
				want := func(k Kind, reason string) string {
					if len(kinds) == 0 || slices.Contains(kinds, k) {
						return reason
					}
					return ""
				}
				wants(t, r, personal, "alice", "", want(Personal, ": restored"))
				wants(t, r, bobs, "bob", "", want(Personal, ": restored"))
				wants(t, r, robot, "alice+jenkins", "", want(Robot, ": restored"))
				wants(t, r, before, "alice", "", ": before")
				wantsRefresh(t, r, refresh, want(Refresh, "another store"))
				wantsRefresh(t, r, bobsRefresh, want(Refresh, "another store"))
				count := 0
				for kind, n := range map[Kind]int{Personal: 2, Robot: 1} {
					if want(kind, "x") != "" {
						count += n
					}
				}
				if len(revoked) != count {
					t.Errorf("%d tokens are reported, want %d", len(revoked), count)
				}
				// What is issued afterwards is accepted.
				next, _ := issue(t, r, alices())
				wants(t, r, next, "alice", "", "")
				wantsRefresh(t, r, newRefresh(t, r, "alice"), "")
			})
		})
	}
}

func note(t testing.TB, r *Records, token RefreshToken) {
	t.Helper()
	err := r.NoteLogin(t.Context(), Login{ID: token.ID, User: token.User, Client: "docker", Remote: "192.0.2.1",
		First: token.Issued, Expires: r.now().Add(30 * day)})
	if err != nil {
		t.Fatal(err)
	}
}

// Tokens have whole seconds: one that is issued in the second of the command is revoked, and one
// that is issued when it has returned is not.
func TestTheSecondOfTheCommandIsRevoked(t *testing.T) {
	r, c := inMemory()
	var sameSecond RefreshToken
	slept := time.Duration(0)
	r.sleep = func(_ context.Context, d time.Duration) error {
		c.add(d / 2)
		sameSecond = newRefresh(t, r, "alice")
		c.add(d - d/2)
		slept = d
		return nil
	}
	if _, _, err := r.RevokeUser(t.Context(), "alice", "", Refresh); err != nil {
		t.Fatal(err)
	}
	if slept <= 0 || slept > time.Second || c.Now().Nanosecond() != 0 {
		t.Errorf("it has waited for %s, until %s", slept, c.Now())
	}
	wantsRefresh(t, r, sameSecond, "issued before 2026-05-06T12:00:01Z")
	wantsRefresh(t, r, newRefresh(t, r, "alice"), "")
	r.sleep = nil
	c.now = time.Now()
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.wait(cancelled, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("it waits for ever: %v", err)
	}
	if err := r.wait(t.Context(), time.Millisecond); err != nil {
		t.Error(err)
	}
}

// The clocks of machines differ.
func TestALaterTimeIsNotTakenBack(t *testing.T) {
	r, c := inMemory()
	ahead := newRefresh(t, r, "alice")
	ahead.Issued = ahead.Issued.Add(20 * time.Second)
	known := newRefresh(t, r, "alice")
	known.Issued = known.Issued.Add(time.Minute)
	note(t, r, known)
	c.add(30 * time.Second)
	revokeRefresh := func() {
		t.Helper()
		if _, _, err := r.RevokeUser(t.Context(), "alice", "", Refresh); err != nil {
			t.Fatal(err)
		}
	}
	revokeRefresh()
	c.add(-30 * time.Second)
	revokeRefresh()
	wantsRefresh(t, r, ahead, "issued before")
	wantsRefresh(t, r, known, "was revoked at")
	// A clock that was wrong must not refuse logins for hours.
	c.add(day / 2)
	revokeRefresh()
	c.add(-day / 2)
	wantsRefresh(t, r, newRefresh(t, r, "alice"), "issued before")
	revokeRefresh()
	wantsRefresh(t, r, newRefresh(t, r, "alice"), "")
}

func TestAWrongKindRevokesNothing(t *testing.T) {
	r, _ := inMemory()
	s, _ := issue(t, r, alices())
	for name, revoke := range map[string]func() error{
		"kind": func() error {
			_, _, err := r.RevokeUser(t.Context(), "alice", "", Personal, "all")
			return err
		},
		"kind of everybody's": func() error {
			_, err := r.RevokeAll(t.Context(), "", Personal, "all")
			return err
		},
		"user": func() error {
			_, _, err := r.RevokeUser(t.Context(), "", "", Personal)
			return err
		},
		"reason": func() error {
			_, _, err := r.RevokeUser(t.Context(), "alice", "\x1b", Personal)
			return err
		},
	} {
		if err := revoke(); err == nil || !strings.Contains(err.Error(), strings.Fields(name)[0]) {
			t.Errorf("%s: %v", name, err)
		}
	}
	wants(t, r, s, "alice", "", "")
}

// listHook does something when a list is done, before anything is made of it.
type listHook struct {
	store.Store
	do func()
}

func (s *listHook) List(ctx context.Context, prefix string, visit func(string, store.Record) bool) error {
	err := s.Store.List(ctx, prefix, visit)
	s.do()
	return err
}

func TestARotationDoesNotSaveATokenFromRevocation(t *testing.T) {
	inBoth(t, func(t *testing.T, r *Records, c *clock) {
		s, _ := issue(t, r, alices())
		other, _ := issue(t, r, alices())
		all := []Secret{s, other}
		plain := *r
		r.Kept = &listHook{r.Kept, sync.OnceFunc(func() {
			for range 3 {
				next := NewSecret()
				if _, err := plain.Rotate(t.Context(), s.ID, next, aState, day); err != nil {
					t.Error(err)
				}
				s, all = next, append(all, next)
			}
		})}
		revoked, _, err := r.RevokeUser(t.Context(), "alice", "left", Personal)
		if err != nil || len(revoked) != len(all) {
			t.Errorf("%d tokens are revoked, %v, want %d", len(revoked), err, len(all))
		}
		for _, s := range all {
			wants(t, &plain, s, "alice", "", "was revoked")
		}
		if _, err := plain.Rotate(t.Context(), s.ID, NewSecret(), aState, day); err == nil {
			t.Error("the last one can still be rotated")
		}
	})
}

// A list misses a token whose place in the order it has passed, and the old one is over at once.
func TestARotationWithoutOverlapDoesNotSaveATokenFromRevocation(t *testing.T) {
	inBoth(t, func(t *testing.T, r *Records, c *clock) {
		s, _ := issue(t, r, alices())
		var later []Secret
		plain := *r
		r.Kept = &listStart{r.Kept, sync.OnceFunc(func() {
			next := NewSecret()
			if _, err := plain.Rotate(t.Context(), s.ID, next, aState, 0); err != nil {
				t.Error(err)
			}
			issued, _ := issue(t, &plain, alices())
			later = append(later, next, issued)
			c.add(time.Second) // which ends the old one
		}), []string{tokenPrefix + s.ID}}
		if _, _, err := r.RevokeUser(t.Context(), "alice", "left", Personal); err != nil {
			t.Fatal(err)
		}
		for _, s := range later {
			wants(t, &plain, s, "alice", "", "was revoked")
		}
	})
}

// listStart does something before the first list, which then finds only some keys.
type listStart struct {
	store.Store
	do   func()
	only []string // nil = all
}

func (s *listStart) List(ctx context.Context, prefix string, visit func(string, store.Record) bool) error {
	s.do()
	only := s.only
	s.only = nil
	return s.Store.List(ctx, prefix, func(key string, r store.Record) bool {
		return only != nil && !slices.Contains(only, key) || visit(key, r)
	})
}

func TestARefreshTokenNeedsTheStoreThatKnowsIt(t *testing.T) {
	r, _ := inMemory()
	good := newRefresh(t, r, "alice")
	tests := []struct {
		name, reason string
		change       func(*RefreshToken)
	}{
		{"as it was issued", "", func(*RefreshToken) {}},
		{"no store", "no store", func(x *RefreshToken) { x.Store = "" }},
		{"another store", "another store", func(x *RefreshToken) { x.Store = rand.Text() }},
		{"no ID", "such an ID", func(x *RefreshToken) { x.ID = "" }},
		{"an ID that cannot be revoked", "such an ID", func(x *RefreshToken) { x.ID = "id1" }},
		{"no user", "such an ID", func(x *RefreshToken) { x.User = "" }},
		{"a long user", "such an ID", func(x *RefreshToken) { x.User = strings.Repeat("a", 1000) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			token := good
			tt.change(&token)
			wantsRefresh(t, r, token, tt.reason)
		})
	}
}

func TestChecksTakeOneRoundTrip(t *testing.T) {
	r, _ := inMemory()
	s, _ := issue(t, r, alices())
	refresh := newRefresh(t, r, "alice")
	counted := &countingStore{Store: r.Kept}
	r.Kept = counted
	wants(t, r, s, "alice", "", "")
	wantsRefresh(t, r, refresh, "")
	if counted.gets != 2 || counted.updates != 0 {
		t.Errorf("%d reads and %d updates, want one read for each", counted.gets, counted.updates)
	}
}

// No clock brings back what is revoked, or makes the store look like a new one.
func TestAWrongClockHidesNoRevocation(t *testing.T) {
	for name, wrong := range map[string]time.Time{
		"a day behind": noon.Add(-25 * time.Hour), "in 1970": time.Unix(1000, 0), "a year ahead": noon.Add(366 * day),
		"40 years ahead": noon.Add(40 * 366 * day),
	} {
		t.Run(name, func(t *testing.T) {
			inBoth(t, func(t *testing.T, r *Records, c *clock) {
				one, all, good := newRefresh(t, r, "alice"), newRefresh(t, r, "bob"), newRefresh(t, r, "carol")
				s, _ := issue(t, r, alices())
				if err := r.Revoke(t.Context(), "lost", one.ID, s.ID); err != nil {
					t.Fatal(err)
				}
				if _, _, err := r.RevokeUser(t.Context(), "bob", "left"); err != nil {
					t.Fatal(err)
				}
				check := func() {
					t.Helper()
					wantsRefresh(t, r, one, ": lost")
					wantsRefresh(t, r, all, "are revoked")
					wantsRefresh(t, r, good, "")
					if id, err := r.ID(t.Context()); id != good.Store || err != nil {
						t.Errorf("the id of the store is %q, %v, and was %q", id, err, good.Store)
					}
				}
				check()
				right := c.Now()
				c.add(wrong.Sub(right))
				check()
				if wrong.Before(noon) {
					wants(t, r, s, "alice", "", ": lost")
				}
				later := newRefresh(t, r, "dora")
				if err := r.Revoke(t.Context(), "stolen", later.ID); err != nil {
					t.Fatal(err)
				}
				for range 50 { // what is over is dropped
					issued := alices()
					issued.Created, issued.Expires = c.Now(), c.Now().Add(day)
					issue(t, r, issued)
				}
				c.add(right.Sub(c.Now()))
				check()
				wantsRefresh(t, r, later, ": stolen")
				if wrong.Before(noon) {
					wants(t, r, s, "alice", "", ": lost")
				}
			})
		})
	}
}

// A time before all tokens would revoke none of them.
func TestAClockIn1970RevokesNobodysRefreshTokens(t *testing.T) {
	r, c := inMemory()
	refresh := newRefresh(t, r, "alice")
	c.add(time.Unix(1000, 0).Sub(noon))
	if _, _, err := r.RevokeUser(t.Context(), "alice", "left"); err == nil ||
		!strings.Contains(err.Error(), "shows 1970-01-01") || !strings.Contains(err.Error(), "\n  set the clock") {
		t.Errorf("got %v", err)
	}
	c.add(noon.Sub(c.Now()))
	wantsRefresh(t, r, refresh, "")
}

func TestAnIDOfTheStoreIsNotReplacedBecauseItIsDamaged(t *testing.T) {
	r, _ := inMemory()
	put := func(value string) {
		err := r.Kept.Update(t.Context(), []string{idKey}, func([]store.Record) []store.Record {
			return []store.Record{{Value: []byte(value), Until: store.Forever}}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	refresh := newRefresh(t, r, "alice")
	put("?")
	issue(t, r, alices())
	if _, err := r.ID(t.Context()); err == nil || !strings.Contains(err.Error(), "damaged record") {
		t.Errorf("got %v", err)
	}
	if err := r.CheckRefresh(t.Context(), refresh); !errors.Is(err, ErrUnknown) {
		t.Errorf("got %v", err)
	}
	if _, err := r.RevokeAll(t.Context(), "damaged", Refresh); err != nil { // which is asked for
		t.Fatal(err)
	}
	wantsRefresh(t, r, refresh, "another store")
}
