package credentials

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

func loginsOf(t *testing.T, r *Records, user string) (logins []Login) {
	t.Helper()
	err := r.Logins(t.Context(), user, func(l Login) bool {
		l.First, l.Last, l.Expires = l.First.UTC(), l.Last.UTC(), l.Expires.UTC()
		logins = append(logins, l)
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return logins
}

func TestALoginIsNotedOnceADay(t *testing.T) {
	inBoth(t, func(t *testing.T, r *Records, c *clock) {
		counted := &countingStore{Store: r.Counters}
		r.Counters = counted
		refresh := newRefresh(t, r, "alice")
		l := Login{ID: refresh.ID, User: "alice", Client: "docker\n\x1b[2J", Remote: "192.0.2.1",
			Expires: noon.Add(30 * day).Truncate(time.Second)}
		noteAs := func(remote string, wantGets, wantUpdates int) {
			t.Helper()
			counted.reset()
			l.Remote = remote
			if err := r.NoteLogin(t.Context(), l); err != nil || counted.gets != wantGets ||
				counted.updates != wantUpdates {
				t.Errorf("%v, %d reads and %d updates", err, counted.gets, counted.updates)
			}
		}
		today := time.Date(2026, 5, 6, 0, 0, 0, 0, time.UTC)
		want := l
		want.Client, want.First, want.Last = "docker[2J", noon.Truncate(time.Second), today
		noteAs("192.0.2.1", 1, 1)
		noteAs("192.0.2.2", 1, 0)
		if got := loginsOf(t, r, ""); !slices.Equal(got, []Login{want}) {
			t.Errorf("%+v, want %+v", got, want)
		}
		c.add(day)
		noteAs("192.0.2.2", 1, 1)
		want.Remote, want.Last = "192.0.2.2", today.Add(day)
		if got := loginsOf(t, r, "alice"); !slices.Equal(got, []Login{want}) {
			t.Errorf("%+v, want %+v", got, want)
		}
		c.add(29 * day)
		if got := loginsOf(t, r, ""); len(got) > 0 {
			t.Errorf("after its end: %+v", got)
		}
	})
}

func TestLoginsAreListedByUserWithoutRevokedOnes(t *testing.T) {
	inBoth(t, func(t *testing.T, r *Records, c *clock) {
		want := map[string]int{}
		var revoked []string
		for i := range 3*batch + 1 {
			user := []string{"alice", "bob", "alice/x"}[i%3]
			refresh := newRefresh(t, r, user)
			note(t, r, refresh)
			if i%10 == 0 {
				revoked = append(revoked, refresh.ID)
				continue
			}
			want[user]++
			want[""]++
		}
		if err := r.Revoke(t.Context(), "", revoked...); err != nil {
			t.Fatal(err)
		}
		for user, n := range want {
			got := loginsOf(t, r, user)
			if len(got) != n || slices.ContainsFunc(got, func(l Login) bool { return user != "" && l.User != user }) {
				t.Errorf("%q: %d logins, want %d", user, len(got), n)
			}
			if !slices.IsSortedFunc(got, func(a, b Login) int { return cmpText(a.User, b.User) }) {
				t.Errorf("%q: they are not sorted by user", user)
			}
		}
		n := 0
		if err := r.Logins(t.Context(), "", func(Login) bool { n++; return n < 150 }); err != nil || n != 150 {
			t.Errorf("%d logins, %v, want that it ends when it is told", n, err)
		}
		if _, _, err := r.RevokeUser(t.Context(), "bob", "", Refresh); err != nil {
			t.Fatal(err)
		}
		// One that was not known when its user's tokens were revoked.
		late := newRefresh(t, r, "bob")
		late.Issued = late.Issued.Add(-time.Minute)
		note(t, r, late)
		if got := loginsOf(t, r, "bob"); len(got) > 0 {
			t.Errorf("%d logins of bob", len(got))
		}
		after := newRefresh(t, r, "bob")
		note(t, r, after)
		if got := loginsOf(t, r, "bob"); len(got) != 1 || got[0].ID != after.ID {
			t.Errorf("after the revocation: %+v", got)
		}
	})
}

func cmpText(a, b string) int {
	switch {
	case a+"/" < b+"/":
		return -1
	case a == b:
		return 0
	}
	return 1
}

func TestWhatIsNoLoginIsNotNoted(t *testing.T) {
	r, _ := inMemory()
	good := Login{ID: newRefresh(t, r, "alice").ID, User: "alice", Expires: noon.Add(day)}
	for name, change := range map[string]func(*Login){
		"no ID":         func(l *Login) { l.ID = "" },
		"no user":       func(l *Login) { l.User = "" },
		"no end":        func(l *Login) { l.Expires = time.Time{} },
		"a key as user": func(l *Login) { l.User = "a\x00b" },
	} {
		l := good
		change(&l)
		if err := r.NoteLogin(t.Context(), l); err == nil {
			t.Errorf("%s: it was noted", name)
		}
	}
}

func TestDamagedLoginsAreForgotten(t *testing.T) {
	r, _ := inMemory()
	refresh := newRefresh(t, r, "alice")
	key := loginPrefix + "alice/" + refresh.ID
	for _, value := range []string{"", "x", `{"v":2,"r":{}}`,
		`{"v":1,"r":{"user":"bob","first":1,"last":1,"expires":9999999999}}`,
		fmt.Sprintf(`{"v":1,"r":{"user":"alice","first":1,"last":1,"expires":%d}}`, int64(1)<<62)} {
		if err := put(t, r.Counters, key, []byte(value)); err != nil {
			t.Fatal(err)
		}
		if got := loginsOf(t, r, ""); len(got) > 0 {
			t.Errorf("%s: %+v", value, got)
		}
		note(t, r, refresh)
		if got := loginsOf(t, r, ""); len(got) != 1 || got[0].User != "alice" {
			t.Errorf("after %s: %+v", value, got)
		}
	}
	away := errors.New("away")
	r.Counters = &countingStore{Store: r.Counters, err: away}
	if err := r.Logins(t.Context(), "", func(Login) bool { return true }); !errors.Is(err, away) {
		t.Errorf("Logins: %v", err)
	}
	s, _ := issue(t, r, alices())
	if revoked, _, err := r.RevokeUser(t.Context(), "alice", ""); !errors.Is(err, away) || len(revoked) != 1 {
		t.Errorf("RevokeUser: %v, %v", revoked, err)
	}
	wants(t, r, s, "alice", "", "was revoked")
	wantsRefresh(t, r, refresh, "issued before")
}
