package credentials

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"dockerauth/store"
)

// clock is what a test's store and records take for the time.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// noon is in the midst of a second, as now always is.
var noon = time.Date(2026, 5, 6, 12, 0, 0, 345e6, time.UTC)

const day = 24 * time.Hour

// inMemory returns records whose clock stands still; a sleep sets it on.
func inMemory() (*Records, *clock) {
	c := &clock{now: noon}
	kept, counters := store.NewMemory(0), store.NewMemory(1<<20)
	kept.Now, counters.Now = c.Now, c.Now
	return recordsOf(kept, counters, c), c
}

func inFolder(t testing.TB) (*Records, *clock) {
	c := &clock{now: noon}
	f := openFolder(t, newFolder(t))
	f.Now = c.Now
	return recordsOf(f.Kept(), f.Counters(), c), c
}

func recordsOf(kept, counters store.Store, c *clock) *Records {
	return &Records{Kept: kept, Counters: counters, Now: c.Now, sleep: func(_ context.Context, d time.Duration) error {
		c.add(d)
		return nil
	}}
}

func newFolder(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

func openFolder(t testing.TB, dir string) *store.Folder {
	t.Helper()
	f, err := store.OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	f.Report = func(err error) { t.Errorf("reported: %v", err) }
	t.Cleanup(func() { f.Close() })
	return f
}

// inBoth runs a test in memory and in a folder.
func inBoth(t *testing.T, test func(t *testing.T, r *Records, c *clock)) {
	t.Run("memory", func(t *testing.T) {
		r, c := inMemory()
		test(t, r, c)
	})
	t.Run("folder", func(t *testing.T) {
		r, c := inFolder(t)
		test(t, r, c)
	})
}

var aState = State{UID: 1000, Shadow: "0011"}

// alices is a personal token, and robots that of a job.
func alices() Token {
	return Token{Kind: Personal, User: "alice", Scopes: []string{"repository:alice/**:*"}, State: aState,
		Expires: noon.Add(90 * day)}
}

func robots() Token {
	t := alices()
	t.Kind, t.Robot = Robot, "jenkins"
	return t
}

func issue(t testing.TB, r *Records, token Token) (Secret, Token) {
	t.Helper()
	s := NewSecret()
	issued, err := r.Issue(t.Context(), s, token)
	if err != nil {
		t.Fatal(err)
	}
	return s, issued
}

// wants reports what a check says, if not this. reason "" = the token may be used.
func wants(t *testing.T, r *Records, s Secret, login, remote, reason string) {
	t.Helper()
	got, err := r.Check(t.Context(), s, login, remote)
	if reason == "" {
		if err != nil || got.ID != s.ID {
			t.Errorf("%s from %s: %v, want that it may be used", login, remote, err)
		}
		return
	}
	if !errors.Is(err, ErrRefused) || !strings.Contains(fmt.Sprint(err), reason) {
		t.Errorf("%s from %s: %v, want refused: %q", login, remote, err, reason)
	}
	if !reflect.DeepEqual(got, Token{}) {
		t.Errorf("%s from %s: a token is returned", login, remote)
	}
	if err != nil && strings.Contains(err.Error(), s.Reveal()[14:41]) {
		t.Errorf("the error has the secret: %v", err)
	}
}

func TestATokenIsKeptAsItWasIssued(t *testing.T) {
	inBoth(t, func(t *testing.T, r *Records, c *clock) {
		want := robots()
		want.From = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")}
		want.Scopes = append(want.Scopes, "registry:catalog:*")
		want.Note = `für "Jenkins" <ci@example.com>`
		want.State = State{UID: -1, Shadow: ShadowNone, Locked: true}
		s, issued := issue(t, r, want)
		want.ID, want.Keep, want.Created = s.ID, true, noon.Truncate(time.Second)
		want.Expires = want.Expires.Truncate(time.Second)
		equal := func(what string, got Token) {
			t.Helper()
			for _, at := range []*time.Time{&got.Created, &got.Expires} {
				*at = at.UTC()
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s: %+v\nwant %+v", what, got, want)
			}
		}
		equal("Issue", issued)
		for what, get := range map[string]func() (Token, error){
			"Get":   func() (Token, error) { return r.Get(t.Context(), s.ID) },
			"Check": func() (Token, error) { return r.Check(t.Context(), s, "alice+jenkins", "10.1.2.3") },
		} {
			got, err := get()
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			equal(what, got)
		}
	})
}

func TestATokenIsUsedByItsUserOnlyAndWhileItLasts(t *testing.T) {
	inBoth(t, func(t *testing.T, r *Records, c *clock) {
		s, _ := issue(t, r, alices())
		robot, _ := issue(t, r, robots())
		wants(t, r, s, "alice", "192.0.2.1", "")
		wants(t, r, s, "alice", "", "")
		wants(t, r, robot, "alice+jenkins", "192.0.2.1", "")
		for _, login := range []string{"", "bob", "Alice", "alice ", "alice+", "alice+jenkins", s.Reveal()} {
			wants(t, r, s, login, "192.0.2.1", `is for the user name "alice", and another one`)
		}
		for _, login := range []string{"", "alice", "jenkins", "alice+other", "bob+jenkins"} {
			wants(t, r, robot, login, "192.0.2.1", `is for the user name "alice+jenkins"`)
		}
		other := NewSecret()
		wants(t, r, other, "alice", "192.0.2.1", "no token has the ID "+other.ID)
		wants(t, r, forged(s), "alice", "192.0.2.1", "not that of token "+s.ID)
		c.now = noon.Add(90 * day).Truncate(time.Second).Add(-time.Millisecond)
		wants(t, r, s, "alice", "192.0.2.1", "")
		c.add(time.Millisecond)
		wants(t, r, s, "alice", "192.0.2.1", "ended at 2026-08-04T12:00:00Z")
		c.add(afterEnd)
		wants(t, r, s, "alice", "192.0.2.1", "no token has the ID")
	})
}

// forged is a text with the ID of another and a right checksum.
func forged(s Secret) Secret {
	text := Prefix + s.ID + random(secretLen)
	return secretOf(text + checksum(text))
}

func TestATokenIsUsedFromItsAddressesOnly(t *testing.T) {
	r, _ := inMemory()
	tests := []struct {
		name, from, remote string
		accepted           bool
	}{
		{"an address of the network", "10.0.0.0/8", "10.1.2.3", true},
		{"one beside it", "10.0.0.0/8", "11.0.0.0", false},
		{"the address itself", "192.0.2.7/32", "192.0.2.7", true},
		{"IPv4 written as IPv6", "192.0.2.7/32", "::ffff:192.0.2.7", true},
		{"another family", "0.0.0.0/0", "2001:db8::1", false},
		{"IPv6", "2001:db8::/32", "2001:db8:1::2", true},
		{"IPv6 with a zone", "fe80::/10", "fe80::1%eth0", true},
		{"no address", "0.0.0.0/0", "", false},
		{"an address with a port", "0.0.0.0/0", "10.1.2.3:443", false},
		{"a name", "0.0.0.0/0", "localhost", false},
		{"two addresses", "0.0.0.0/0", "10.1.2.3, 10.1.2.3", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			token := alices()
			token.From = []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix(tt.from)}
			s, _ := issue(t, r, token)
			reason := ""
			if !tt.accepted {
				reason = fmt.Sprintf("is not accepted from the address %q", tt.remote)
			}
			wants(t, r, s, "alice", tt.remote, reason)
		})
	}
}

func TestIssueRefusesWhatCannotBeUsed(t *testing.T) {
	many := func(n int, text string) []string { return slices.Repeat([]string{text}, n) }
	tests := []struct {
		name, reason string
		change       func(*Token)
	}{
		{"no user", "user", func(x *Token) { x.User = "" }},
		{"a user with a newline", "user", func(x *Token) { x.User = "al\nice" }},
		{"a user that is no UTF-8", "user", func(x *Token) { x.User = "al\xff" }},
		{"a long user", "user", func(x *Token) { x.User = strings.Repeat("a", 257) }},
		{"no kind", "kind", func(x *Token) { x.Kind = "" }},
		{"a refresh token", "kind", func(x *Token) { x.Kind = Refresh }},
		{"a robot without a name", "kind", func(x *Token) { x.Kind = Robot }},
		{"a person with a robot's name", "kind", func(x *Token) { x.Robot = "ci" }},
		{"a robot in upper case", "robot", func(x *Token) { x.Kind, x.Robot = Robot, "CI" }},
		{"a robot with a plus", "robot", func(x *Token) { x.Kind, x.Robot = Robot, "a+b" }},
		{"a robot with a colon", "robot", func(x *Token) { x.Kind, x.Robot = Robot, "a:b" }},
		{"a robot that begins with a dot", "robot", func(x *Token) { x.Kind, x.Robot = Robot, ".a" }},
		{"a robot that begins with a dash", "robot", func(x *Token) { x.Kind, x.Robot = Robot, "-a" }},
		{"a robot with a long name", "robot", func(x *Token) { x.Kind, x.Robot = Robot, strings.Repeat("a", 65) }},
		{"no scope", "no scope", func(x *Token) { x.Scopes = nil }},
		{"an empty scope", "scope", func(x *Token) { x.Scopes = []string{""} }},
		{"a long scope", "scope", func(x *Token) { x.Scopes = []string{strings.Repeat("a", 513)} }},
		{"a scope with a newline", "scope", func(x *Token) { x.Scopes = []string{"a\nb"} }},
		{"too many scopes", "64 is the most", func(x *Token) { x.Scopes = many(65, "a:b:c") }},
		{"scopes that are too long together", "fewer scopes",
			func(x *Token) { x.Scopes = many(64, strings.Repeat("a", 512)) }},
		{"too many addresses", "64 is the most",
			func(x *Token) { x.From = slices.Repeat([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, 65) }},
		{"no address", "address", func(x *Token) { x.From = []netip.Prefix{{}} }},
		{"an address with bits of a host", "address",
			func(x *Token) { x.From = []netip.Prefix{netip.MustParsePrefix("10.0.0.1/8")} }},
		{"a long note", "note", func(x *Token) { x.Note = strings.Repeat("a", 257) }},
		{"a note with a control character", "note", func(x *Token) { x.Note = "a\x1b[2J" }},
		{"a note with a line separator", "note", func(x *Token) { x.Note = "a\u2028b" }},
		{"a note that is no UTF-8", "note", func(x *Token) { x.Note = "a\xff" }},
		{"no end", "end", func(x *Token) { x.Expires = time.Time{} }},
		{
			"an end that is past",
			"end",
			func(x *Token) { x.Created, x.Expires = noon.Add(-day), noon.Add(-time.Second) },
		},
		{"an end in twenty years", "end", func(x *Token) { x.Expires = noon.Add(20 * 365 * day) }},
		{"an account that was not asked for", "account", func(x *Token) { x.State = State{} }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, _ := inMemory()
			token := alices()
			tt.change(&token)
			s := NewSecret()
			got, err := r.Issue(t.Context(), s, token)
			if err == nil || !strings.Contains(err.Error(), tt.reason) || !reflect.DeepEqual(got, Token{}) {
				t.Fatalf("%+v, %v, want an error with %q", got, err, tt.reason)
			}
			if len(err.Error()) > 300 || !isLine(err.Error()) {
				t.Errorf("the error is no line: %v", err)
			}
			wants(t, r.withID(t), s, "alice", "", "no token has the ID")
		})
	}
}

// withID makes the store's id: without it nothing is known.
func (r *Records) withID(t testing.TB) *Records {
	t.Helper()
	if _, err := r.ID(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r
}

// The largest token that can be issued can also be replaced and revoked.
func TestTheLargestTokenCanBeRevoked(t *testing.T) {
	inBoth(t, func(t *testing.T, r *Records, c *clock) {
		large := robots()
		large.User, large.Robot, large.Note = strings.Repeat(
			`"`,
			256,
		), strings.Repeat(
			"a",
			64,
		), strings.Repeat(
			`\`,
			256,
		)
		large.State.Shadow, large.Keep = strings.Repeat("f", 256), true
		for large.Scopes = []string{"s"}; len(large.encode(make([]byte, 32))) < maxRecord-3; {
			at := len(large.Scopes) - 1
			if large.Scopes[at] += "s"; len(large.Scopes[at]) == maxScope {
				large.Scopes = append(large.Scopes, "s")
			}
		}
		s, _ := issue(t, r, large)
		next, err := r.Rotate(t.Context(), s.ID, NewSecret(), large.State, day)
		if err != nil {
			t.Fatal(err)
		}
		for id, reason := range map[string]string{s.ID: `"`, next.ID: "<"} { // which JSON writes as two or six bytes
			if err := r.Revoke(t.Context(), strings.Repeat(reason, 256), id); err != nil {
				t.Error(err)
			}
		}
		wants(t, r, s, large.Login(), "", "was revoked at")
	})
}

func TestAnIDIsNotTakenTwice(t *testing.T) {
	r, _ := inMemory()
	s, _ := issue(t, r, alices())
	other := alices()
	other.User = "mallory"
	if _, err := r.Issue(t.Context(), forged(s), other); err == nil || !strings.Contains(err.Error(), "is taken") {
		t.Errorf("Issue: %v", err)
	}
	second, _ := issue(t, r, alices())
	if _, err := r.Rotate(t.Context(), second.ID, forged(s), aState, 0); err == nil ||
		!strings.Contains(err.Error(), "is taken") {
		t.Errorf("Rotate: %v", err)
	}
	wants(t, r, s, "alice", "", "")
	wants(t, r, second, "alice", "", "")
}

func TestTokensAreListed(t *testing.T) {
	inBoth(t, func(t *testing.T, r *Records, c *clock) {
		var want []string
		for i := range 2*batch + 10 { // more than one round trip
			token := alices()
			token.Expires = noon.Add(time.Duration(i+1) * time.Minute)
			s, issued := issue(t, r, token)
			if i < 5 {
				continue // ends before the list is made
			}
			want = append(want, s.ID)
			if i%2 == 0 {
				if _, err := r.Use(t.Context(), issued, "192.0.2.1"); err != nil {
					t.Fatal(err)
				}
			}
		}
		slices.Sort(want)
		c.add(5 * time.Minute)
		var got []string
		used := 0
		err := r.List(t.Context(), func(token Token) bool {
			got = append(got, token.ID)
			if !token.LastUse.IsZero() {
				used++
			}
			return true
		})
		if err != nil || !slices.Equal(got, want) || used != (len(want)+1)/2 && used != len(want)/2 {
			t.Errorf("%d tokens, %d of them used, %v; want %d", len(got), used, err, len(want))
		}
		n := 0
		err = r.List(t.Context(), func(Token) bool { n++; return n < 150 })
		if err != nil || n != 150 {
			t.Errorf("%d tokens, %v, want that it ends when it is told", n, err)
		}
	})
}

func TestOnlyAnIDFindsAToken(t *testing.T) {
	r, c := inMemory()
	s, _ := issue(t, r, alices())
	if _, err := r.Get(t.Context(), NewSecret().ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("another ID: %v", err)
	}
	for _, id := range []string{"", "x", s.Reveal(), "dka_" + s.ID, s.ID + "\n", strings.Repeat("x", 1000)} {
		_, err := r.Get(t.Context(), id)
		if err == nil || errors.Is(err, ErrNotFound) || strings.Contains(err.Error(), s.Reveal()[14:]) ||
			len(err.Error()) > 200 {
			t.Errorf("%q: %v", id, err)
		}
	}
	c.add(90 * day)
	if _, err := r.Get(t.Context(), s.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("a token that has ended: %v", err)
	}
}

func TestTheLastUseIsNotedOnceADay(t *testing.T) {
	inBoth(t, func(t *testing.T, r *Records, c *clock) {
		s, _ := issue(t, r, alices())
		counted := &countingStore{Store: r.Kept}
		r.Kept = counted
		use := func(remote string, wantFirst bool, wantCalls int) {
			t.Helper()
			token, err := r.Check(t.Context(), s, "alice", remote)
			if err != nil {
				t.Fatal(err)
			}
			counted.reset()
			first, err := r.Use(t.Context(), token, remote)
			if err != nil || first != wantFirst || counted.calls() != wantCalls {
				t.Errorf("first %v, %v, %d calls; want %v, %d", first, err, counted.calls(), wantFirst, wantCalls)
			}
		}
		last := func(wantDay, wantFrom string) {
			t.Helper()
			token, err := r.Get(t.Context(), s.ID)
			if err != nil || token.LastUse.UTC().Format(time.DateTime) != wantDay+" 00:00:00" ||
				token.LastFrom != wantFrom {
				t.Errorf("last use on %s from %s, %v", token.LastUse, token.LastFrom, err)
			}
		}
		unused, _ := r.Check(t.Context(), s, "alice", "")
		if !unused.LastUse.IsZero() {
			t.Errorf("an unused token was used at %s", unused.LastUse)
		}
		use("192.0.2.1", true, 1)
		use("192.0.2.2", false, 0)
		last("2026-05-06", "192.0.2.1")
		if first, err := r.Use(t.Context(), unused, "192.0.2.3"); err != nil || first {
			t.Errorf("a second request of the same moment: first %v, %v", first, err)
		}
		last("2026-05-06", "192.0.2.1")
		c.add(12 * time.Hour)
		use("192.0.2.2\x1b[2J", true, 1)
		last("2026-05-07", "192.0.2.2[2J")
	})
}

func TestAReplacedTokenEndsAfterTheOverlap(t *testing.T) {
	inBoth(t, func(t *testing.T, r *Records, c *clock) {
		token := robots()
		token.Note, token.From = "note", []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
		s, before := issue(t, r, token)
		c.add(60 * day)
		nextSecret, state := NewSecret(), State{UID: 1000, Shadow: "2233"}
		next, err := r.Rotate(t.Context(), s.ID, nextSecret, state, 24*time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		want := before
		want.ID, want.State, want.Created = nextSecret.ID, state, before.Created.Add(60*day)
		want.Expires = before.Expires.Add(60 * day)
		if !reflect.DeepEqual(next, want) {
			t.Errorf("%+v\nwant %+v", next, want)
		}
		old, err := r.Get(t.Context(), s.ID)
		if err != nil || old.Replaced != next.ID || !old.Expires.Equal(before.Created.Add(61*day)) {
			t.Errorf("%+v, %v", old, err)
		}
		wants(t, r, s, "alice+jenkins", "10.1.2.3", "")
		wants(t, r, nextSecret, "alice+jenkins", "10.1.2.3", "")
		c.add(24*time.Hour - time.Second)
		wants(t, r, s, "alice+jenkins", "10.1.2.3", "")
		c.add(time.Second)
		wants(t, r, s, "alice+jenkins", "10.1.2.3", "was replaced by "+next.ID)
		wants(t, r, nextSecret, "alice+jenkins", "10.1.2.3", "")
	})
}

func TestTheOverlapIsNoExtension(t *testing.T) {
	overlaps := map[string]time.Duration{"none": 0, "less than none": -time.Hour, "longer than it lives": 365 * day}
	for name, overlap := range overlaps {
		t.Run(name, func(t *testing.T) {
			r, c := inMemory()
			s, before := issue(t, r, alices())
			next := NewSecret()
			if _, err := r.Rotate(t.Context(), s.ID, next, aState, overlap); err != nil {
				t.Fatal(err)
			}
			if overlap <= 0 {
				wants(t, r, s, "alice", "", "was replaced by "+next.ID)
				return
			}
			c.now = before.Expires.Add(-time.Millisecond)
			wants(t, r, s, "alice", "", "")
			c.add(time.Millisecond)
			wants(t, r, s, "alice", "", "was replaced by")
		})
	}
}

func TestWhatIsOverIsNotRotated(t *testing.T) {
	r, c := inMemory()
	revoked, _ := issue(t, r, alices())
	if err := r.Revoke(t.Context(), "lost", revoked.ID); err != nil {
		t.Fatal(err)
	}
	replaced, _ := issue(t, r, alices())
	follower := NewSecret()
	if _, err := r.Rotate(t.Context(), replaced.ID, follower, aState, day); err != nil {
		t.Fatal(err)
	}
	short := alices()
	short.Expires = noon.Add(time.Hour)
	ended, _ := issue(t, r, short)
	c.add(2 * time.Hour)
	tests := []struct{ name, id, reason string }{
		{"a revoked one", revoked.ID, "is revoked"},
		{"a replaced one", replaced.ID, "already replaced by " + follower.ID},
		{"one that has ended", ended.ID, "not found"},
		{"one that never was", NewSecret().ID, "not found"},
		{"a refresh token", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "is no ID"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := NewSecret()
			if _, err := r.Rotate(t.Context(), tt.id, s, aState, day); err == nil ||
				!strings.Contains(err.Error(), tt.reason) {
				t.Errorf("got %v, want %q", err, tt.reason)
			}
			wants(t, r, s, "alice", "", "no token has the ID")
		})
	}
	wants(t, r, follower, "alice", "", "")
}

// Of two rotations at once one is refused: otherwise a token would live on that nobody knows of.
func TestATokenHasOneSuccessor(t *testing.T) {
	inBoth(t, func(t *testing.T, r *Records, c *clock) {
		s, _ := issue(t, r, alices())
		var all sync.WaitGroup
		secrets := make([]Secret, 8)
		errs := make([]error, len(secrets))
		for i := range secrets {
			secrets[i] = NewSecret()
			all.Go(func() { _, errs[i] = r.Rotate(t.Context(), s.ID, secrets[i], aState, day) })
		}
		all.Wait()
		old, err := r.Get(t.Context(), s.ID)
		if err != nil {
			t.Fatal(err)
		}
		for i, s := range secrets {
			if isSuccessor := s.ID == old.Replaced; isSuccessor != (errs[i] == nil) {
				t.Errorf("successor %v, error %v", isSuccessor, errs[i])
			} else if isSuccessor {
				wants(t, r, s, "alice", "", "")
			} else {
				wants(t, r, s, "alice", "", "no token has the ID")
			}
		}
	})
}

func TestTheStoreHasOneID(t *testing.T) {
	inBoth(t, func(t *testing.T, r *Records, c *clock) {
		ids := make([]string, 8)
		var all sync.WaitGroup
		for i := range ids {
			all.Go(func() {
				var err error
				if ids[i], err = r.ID(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if slices.Sort(ids); ids[0] == "" || ids[0] != ids[7] {
			t.Errorf("ids %q", ids)
		}
		c.add(3000 * day)
		token := alices()
		token.Expires = c.now.Add(3000 * day)
		issue(t, r, token)
		c.add(2000 * day) // the id would have ended if the token had not needed it
		if id, err := r.ID(t.Context()); err != nil || id != ids[0] {
			t.Errorf("id %q, %v, want %q", id, err, ids[0])
		}
	})
}

func TestWhenATokenEndsSoon(t *testing.T) {
	token := alices()
	for name, tt := range map[string]struct {
		left time.Duration
		want bool
	}{"in ninety days": {90 * day, false}, "in fifteen": {15 * day, false}, "in thirteen": {13 * day, true},
		"now": {0, true}} {
		if got := token.ExpiresSoon(token.Expires.Add(-tt.left)); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// countingStore counts round trips, and fails if it is told to.
type countingStore struct {
	store.Store
	mu            sync.Mutex
	gets, updates int
	err           error
}

func (s *countingStore) count(n *int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	*n++
	return s.err
}

func (s *countingStore) reset()     { s.gets, s.updates = 0, 0 }
func (s *countingStore) calls() int { return s.gets + s.updates }

func (s *countingStore) Get(ctx context.Context, keys ...string) ([][]byte, error) {
	if err := s.count(&s.gets); err != nil {
		return nil, err
	}
	return s.Store.Get(ctx, keys...)
}

func (s *countingStore) Update(ctx context.Context, keys []string, change store.Change) error {
	if err := s.count(&s.updates); err != nil {
		return err
	}
	return s.Store.Update(ctx, keys, change)
}

func (s *countingStore) List(ctx context.Context, prefix string, visit func(string, store.Record) bool) error {
	if err := s.count(&s.gets); err != nil {
		return err
	}
	return s.Store.List(ctx, prefix, visit)
}

func TestAStoreThatFailsGrantsNothing(t *testing.T) {
	r, _ := inMemory()
	s, token := issue(t, r, alices())
	refresh := newRefresh(t, r, "alice")
	away := errors.New("the server is away")
	kept := &countingStore{Store: r.Kept, err: away}
	r.Kept = kept
	if got, err := r.Check(t.Context(), s, "alice", ""); !errors.Is(err, ErrUnknown) || !errors.Is(err, away) ||
		errors.Is(err, ErrRefused) || got.ID != "" {
		t.Errorf("Check: %v", err)
	}
	if err := r.CheckRefresh(t.Context(), refresh); !errors.Is(err, ErrUnknown) || !errors.Is(err, away) ||
		errors.Is(err, ErrRefused) {
		t.Errorf("CheckRefresh: %v", err)
	}
	if kept.calls() != 2 {
		t.Errorf("%d round trips, want one for each", kept.calls())
	}
	calls := map[string]func() error{
		"Issue":  func() error { _, err := r.Issue(t.Context(), NewSecret(), alices()); return err },
		"Get":    func() error { _, err := r.Get(t.Context(), s.ID); return err },
		"List":   func() error { return r.List(t.Context(), func(Token) bool { return true }) },
		"Rotate": func() error { _, err := r.Rotate(t.Context(), s.ID, NewSecret(), aState, 0); return err },
		"Revoke": func() error { return r.Revoke(t.Context(), "", s.ID) },
		"RevokeUser": func() error {
			_, _, err := r.RevokeUser(t.Context(), "alice", "", Personal)
			return err
		},
		"RevokeUser of refresh tokens": func() error {
			_, _, err := r.RevokeUser(t.Context(), "alice", "", Refresh)
			return err
		},
		"ID":  func() error { _, err := r.ID(t.Context()); return err },
		"Use": func() error { _, err := r.Use(t.Context(), token, ""); return err },
	}
	for name, call := range calls {
		if err := call(); !errors.Is(err, away) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A store that was emptied has forgotten revocations. It is not known what they were.
func TestAStoreThatWasEmptiedGrantsNothing(t *testing.T) {
	r, _ := inMemory()
	s, _ := issue(t, r, alices())
	refresh := newRefresh(t, r, "alice")
	emptied, _ := inMemory()
	if _, err := emptied.Check(t.Context(), s, "alice", ""); !errors.Is(err, ErrUnknown) {
		t.Errorf("Check in an empty store: %v", err)
	}
	if err := emptied.CheckRefresh(t.Context(), refresh); !errors.Is(err, ErrUnknown) {
		t.Errorf("CheckRefresh in an empty store: %v", err)
	}
	emptied.withID(t)
	wants(t, emptied, s, "alice", "", "no token has the ID")
	if err := emptied.CheckRefresh(t.Context(), refresh); !errors.Is(err, ErrRefused) ||
		!strings.Contains(err.Error(), "another store") {
		t.Errorf("CheckRefresh in another store: %v", err)
	}
	if err := put(t, r.Kept, idKey, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Check(t.Context(), s, "alice", ""); !errors.Is(err, ErrUnknown) {
		t.Errorf("Check in a store that has lost its id: %v", err)
	}
}

// put writes what no method would.
func put(t testing.TB, s store.Store, key string, value []byte) error {
	return s.Update(t.Context(), []string{key}, func([]store.Record) []store.Record {
		return []store.Record{{Value: value, Until: noon.Add(365 * day)}}
	})
}

// waitingStore is one whose updates wait for another process.
type waitingStore struct{ store.Store }

func (waitingStore) Update(ctx context.Context, _ []string, _ store.Change) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestANoteOfAUseIsGivenUpSoon(t *testing.T) {
	r, _ := inMemory()
	_, token := issue(t, r, alices())
	r.Kept = waitingStore{r.Kept}
	ctx, cancel := context.WithTimeout(t.Context(), 5*useTimeout)
	defer cancel()
	if _, err := r.Use(ctx, token, ""); !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
		t.Errorf("got %v; %v", err, ctx.Err())
	}
}
