package pamauth

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"
)

// fakePAM returns what the test sets, and counts.
type fakePAM struct {
	err   error
	as    string // to which modules rename every account; "" = they do not
	asked int
}

func (b *fakePAM) Authenticate(_ context.Context, l Login) (Account, error) {
	b.asked++
	if b.err != nil {
		return Account{}, b.err
	}
	if b.as != "" {
		return Account{Name: b.as}, nil
	}
	return Account{Name: l.User}, nil
}

func TestACachedAnswerIsRepeatedUntilItExpires(t *testing.T) {
	for name, l := range map[string]Login{"login": alice, "account check": others["an account check"]} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &fakePAM{as: "Alice"}
				c := Cache(30*time.Second, b, nil)
				for seconds := range 91 {
					if account, err := c.Authenticate(t.Context(), l); err != nil || account.Name != "Alice" {
						t.Fatalf("got %q, %v", account.Name, err)
					}
					if want := 1 + seconds/30; b.asked != want {
						t.Fatalf("PAM was asked %d times in %d seconds, want %d", b.asked, seconds, want)
					}
					time.Sleep(time.Second)
				}
			})
		})
	}
}

func TestOtherLoginsAreNotCached(t *testing.T) {
	b := &fakePAM{}
	c := Cache(time.Hour, b, nil)
	_, _ = c.Authenticate(t.Context(), alice)
	for name, l := range others {
		before := b.asked
		if _, _ = c.Authenticate(t.Context(), l); b.asked == before {
			t.Errorf("PAM was not asked about %s", name)
		}
	}
}

// What pam_unix and the state of an account depend on is in two files.
func TestAChangeOfTheAccountFilesEndsAllAnswers(t *testing.T) {
	passwd, shadow := passwdFile, shadowFile
	t.Cleanup(func() { passwdFile, shadowFile = passwd, shadow })
	passwdFile, shadowFile = filepath.Join(t.TempDir(), "passwd"), filepath.Join(t.TempDir(), "shadow")
	replace := func(path string) {
		if err := errors.Join(os.WriteFile(path+"-", []byte("alice:"), 0o600), os.Rename(path+"-", path)); err != nil {
			t.Fatal(err)
		}
	}
	b := &fakePAM{}
	c := Cache(time.Hour, b, nil).(*cache)
	now := time.Now().Add(time.Minute)
	c.now = func() time.Time { return now }
	for _, login := range []Login{alice, others["an account check with a state"]} {
		for n, change := range []func(){
			func() {}, // there is no file
			func() { replace(passwdFile) },
			func() { replace(shadowFile) },
			func() { replace(shadowFile) }, // by one of the same content
			func() { _ = os.Remove(shadowFile) },
			func() { // in place
				replace(shadowFile)
				_, _ = c.Authenticate(t.Context(), login)
				time.Sleep(2 * stampTick)
				_ = os.WriteFile(shadowFile, []byte("bobby:"), 0o600)
			},
		} {
			change()
			before := b.asked
			for range 3 {
				_, _ = c.Authenticate(t.Context(), login)
			}
			if n > 0 && b.asked != before+1 {
				t.Errorf("change %d: PAM was asked %d times", n, b.asked-before)
			}
		}
	}
	_ = os.WriteFile(shadowFile, []byte("carol:"), 0o600)
	now = time.Unix(0, c.files()[1].changed) // it may be written again at the same tick of the clock
	before := b.asked
	for range 3 {
		_, _ = c.Authenticate(t.Context(), alice)
	}
	if b.asked != before+3 {
		t.Errorf("just written: PAM was asked %d times", b.asked-before)
	}
}

// The account may be locked while PAM runs.
func TestAnswersExpireCountingFromTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		c := Cache(30*time.Second, authenticatorFunc(func(context.Context, Login) (Account, error) {
			asked++
			time.Sleep(8 * time.Second)
			return Account{Name: "alice"}, nil
		}), nil)
		_, _ = c.Authenticate(t.Context(), alice)
		time.Sleep(22 * time.Second)
		_, _ = c.Authenticate(t.Context(), alice)
		if asked != 2 {
			t.Errorf("an answer to a request 30 seconds ago was repeated")
		}
	})
}

func TestOnlyAcceptedLoginsAreCached(t *testing.T) {
	for _, fault := range []error{ErrRefused, ErrBroken, ErrBusy} {
		b := &fakePAM{err: fault}
		c := Cache(time.Hour, b, nil)
		for range 3 {
			if _, err := c.Authenticate(t.Context(), alice); !errors.Is(err, fault) {
				t.Errorf("got %v, want %v", err, fault)
			}
		}
		b.err = nil
		if _, err := c.Authenticate(t.Context(), alice); err != nil || b.asked != 4 {
			t.Errorf("after %v: PAM was asked %d times, %v", fault, b.asked, err)
		}
	}
}

func TestWhatRemovesACachedAnswer(t *testing.T) {
	check := Login{User: "alice", Remote: "198.51.100.9", AccountOnly: true}
	tests := []struct {
		name  string
		login Login // as it was let in
		as    string
		then  Login
		fault error
		ends  bool
	}{
		{"a refused account check", alice, "", check, ErrRefused, true},
		{"a refused account check of the name that a module set", Login{User: "ALICE", Password: "wonderland"},
			"alice", check, ErrRefused, true},
		{"an account check that failed", alice, "", check, ErrBroken, false},
		{"an account check that found no slot", alice, "", check, ErrBusy, false},
		{"a refused account check of another account", alice, "", Login{User: "bob", AccountOnly: true}, ErrRefused,
			false},
		{"a wrong password", alice, "", others["another password"], ErrRefused, false},
		{"a refusal at another address", alice, "", others["another address"], ErrRefused, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := &fakePAM{as: tt.as}
			c := Cache(time.Hour, b, nil)
			_, _ = c.Authenticate(t.Context(), tt.login)
			b.err = tt.fault
			if _, err := c.Authenticate(t.Context(), tt.then); !errors.Is(err, tt.fault) {
				t.Fatalf("got %v", err)
			}
			b.err = ErrRefused
			if _, err := c.Authenticate(t.Context(), tt.login); (err != nil) != tt.ends {
				t.Errorf("got %v", err)
			}
		})
	}
}

// Without a Coalesce behind it, two equal logins may run at once.
func TestARefusalRemovesTheCachedAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var pamErr error
		takes := 2 * time.Second
		c := Cache(time.Hour, authenticatorFunc(func(context.Context, Login) (Account, error) {
			mine, mineTakes := pamErr, takes
			time.Sleep(mineTakes)
			return Account{Name: "alice"}, mine
		}), nil)
		accepted := sendTogether(t.Context(), c, alice, 1)
		synctest.Wait()
		pamErr, takes = ErrRefused, 3*time.Second
		refused := sendTogether(t.Context(), c, alice, 1)
		if a := <-accepted; a.err != nil {
			t.Fatal(a.err)
		}
		if a := <-refused; !errors.Is(a.err, ErrRefused) {
			t.Fatal(a.err)
		}
		if _, err := c.Authenticate(t.Context(), alice); !errors.Is(err, ErrRefused) {
			t.Errorf("got %v", err)
		}
	})
}

func TestNoTimeMeansNoCache(t *testing.T) {
	b := &fakePAM{}
	for _, d := range []time.Duration{0, -time.Second} {
		if c := Cache(d, b, nil); c != Authenticator(b) {
			t.Errorf("%s: got %T", d, c)
		}
	}
}

// setWall moves the wall clock reading of a time and not its monotonic one, as setting the clock
// does. The seconds since 1885 are above thirty bits of nanoseconds in the first word (package
// time).
func setWall(t *testing.T, at time.Time, by time.Duration) time.Time {
	t.Helper()
	moved := at
	*(*uint64)(unsafe.Pointer(&moved)) += uint64(by/time.Second) << 30
	if moved.Sub(at) != 0 || moved.Round(0).Sub(at.Round(0)) != by {
		t.Fatalf("%s became %s", at, moved)
	}
	return moved
}

func TestSettingTheClockDoesNotAffectTheCache(t *testing.T) {
	for _, by := range []time.Duration{time.Hour, -time.Hour} {
		b := &fakePAM{}
		c := Cache(30*time.Second, b, nil).(*cache)
		begin := c.now()
		at := begin
		c.now = func() time.Time { return at }
		_, _ = c.Authenticate(t.Context(), alice)
		at = setWall(t, begin.Add(29*time.Second), by)
		if _, _ = c.Authenticate(t.Context(), alice); b.asked != 1 {
			t.Errorf("set by %s: the answer expired too early", by)
		}
		at = setWall(t, begin.Add(30*time.Second), by)
		if _, _ = c.Authenticate(t.Context(), alice); b.asked != 2 {
			t.Errorf("set by %s: the answer expired too late", by)
		}
	}
}

func (c *cache) held() (entries, bytes int) {
	for _, generation := range []map[digest]entry{c.current, c.previous} {
		for _, e := range generation {
			entries++
			bytes += e.size()
		}
	}
	return entries, bytes
}

func TestCacheStaysWithinItsBound(t *testing.T) {
	groups := make([]Group, 20)
	for i := range groups {
		groups[i] = Group{Name: strings.Repeat("g", 12), ID: uint32(i)}
	}
	c := Cache(time.Hour, authenticatorFunc(func(_ context.Context, l Login) (Account, error) {
		return Account{Name: l.User, Groups: groups}, nil
	}), nil).(*cache)
	most := 0
	for i := range 10000 {
		_, _ = c.Authenticate(t.Context(), Login{User: fmt.Sprint("user", i)})
		if i%50 != 0 {
			continue
		}
		_, bytes := c.held()
		most = max(most, bytes)
		if _, ok := c.find(c.secret.digest(Login{User: fmt.Sprint("user", i)}), c.now(), c.files()); !ok {
			t.Fatal("the newest answer is not cached")
		}
	}
	if most > maxCache || most < maxCache/2 {
		t.Errorf("%d bytes", most)
	}
	if entries, _ := c.held(); entries < 1000 {
		t.Errorf("%d entries", entries)
	}
}

func TestExpiredEntriesAreDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Cache(30*time.Second, &fakePAM{}, nil).(*cache)
		for i := range 600 {
			_, _ = c.Authenticate(t.Context(), Login{User: fmt.Sprint("user", i)})
			time.Sleep(time.Second)
		}
		if entries, _ := c.held(); entries > 61 {
			t.Errorf("%d entries", entries)
		}
	})
}

func TestACachedAnswerNeedsNoSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStepFake()
		c := Cache(30*time.Second, Coalesce(Deadline(10*time.Second, Limit(NewSlots(1), s, nil)), nil), nil)
		first := sendTogether(t.Context(), c, alice, 1)
		synctest.Wait()
		s.end <- struct{}{}
		<-first
		sendTogether(t.Context(), c, others["another user"], 1) // takes the slot
		synctest.Wait()
		again := sendTogether(t.Context(), c, alice, 1)
		synctest.Wait()
		if len(again) != 1 {
			t.Error("it waits")
		}
		close(s.end)
	})
}
