package pamauth

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var alice = Login{User: "alice", Password: "wonderland", Remote: "192.0.2.1"}

// others differ from alice in something that PAM's answer depends on.
var others = map[string]Login{
	"another user":     {User: "bob", Password: "wonderland", Remote: "192.0.2.1"},
	"another password": {User: "alice", Password: "Wonderland", Remote: "192.0.2.1"},
	"another address":  {User: "alice", Password: "wonderland", Remote: "192.0.2.2"},
	"no address":       {User: "alice", Password: "wonderland"},
	"with groups":      {User: "alice", Password: "wonderland", Remote: "192.0.2.1", Groups: true},
	"an account check": {User: "alice", Password: "wonderland", Remote: "192.0.2.1", AccountOnly: true},
	"a look-up":        {User: "alice", Remote: "192.0.2.1", AccountOnly: true, LookUpOnly: true},
	"with a state": {User: "alice", Password: "wonderland", Remote: "192.0.2.1",
		StateKey: StateKey("0123456789abcdef")},
	"with a state under another key": {User: "alice", Password: "wonderland", Remote: "192.0.2.1",
		StateKey: StateKey("0123456789abcdeF")},
	"an account check with a state": {User: "alice", AccountOnly: true, Remote: "192.0.2.1",
		StateKey: StateKey("0123456789abcdef")},
	"an account check with a state under another key": {User: "alice", AccountOnly: true, Remote: "192.0.2.1",
		StateKey: StateKey("0123456789abcdeF")},
	"shifted into the key": {User: "alice", Password: "wonderland", Remote: "192.0.2.", StateKey: StateKey("1")},
	"shifted":              {User: "alicew", Password: "onderland", Remote: "192.0.2.1"},
	"shifted back":         {User: "alice", Password: "wonderland1", Remote: "92.0.2.1"},
}

func TestOnlyEqualLoginsHaveEqualDigests(t *testing.T) {
	s := newSecret()
	for name, l := range others {
		for otherName, other := range others {
			if name != otherName && s.digest(l) == s.digest(other) {
				t.Errorf("%s, and %s", name, otherName)
			}
		}
		if s.digest(l) == s.digest(alice) {
			t.Error(name)
		}
	}
	same := alice
	if s.digest(same) != s.digest(alice) || s.digest(alice) == newSecret().digest(alice) {
		t.Error("the digest does not depend on the login and the secret alone")
	}
	check := others["an account check"]
	other := check
	other.Password = "not looked at"
	if s.digest(check) != s.digest(other) {
		t.Error("the password makes a difference to an account check")
	}
}

type answer struct {
	account Account
	err     error
}

// sendTogether sends a login n times at once and returns the channel of the answers.
func sendTogether(ctx context.Context, c Authenticator, l Login, n int) chan answer {
	answers := make(chan answer, n)
	for range n {
		go func() {
			account, err := c.Authenticate(ctx, l)
			answers <- answer{account, err}
		}()
	}
	return answers
}

func TestEqualLoginsShareOneConversation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStepFake()
		c := Coalesce(s, nil)
		answers := sendTogether(t.Context(), c, alice, 50)
		synctest.Wait()
		if len(s.started) != 1 {
			t.Fatalf("%d conversations", len(s.started))
		}
		s.end <- struct{}{}
		for range 50 {
			if a := <-answers; a.err != nil || a.account.Name != "alice" {
				t.Errorf("got %q, %v", a.account.Name, a.err)
			}
		}
		later := sendTogether(t.Context(), c, alice, 1)
		synctest.Wait()
		if len(s.started) != 2 {
			t.Errorf("a later login got the old answer")
		}
		s.end <- struct{}{}
		<-later
	})
}

func TestOtherLoginsHaveTheirOwnConversations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStepFake()
		c := Coalesce(s, nil)
		sendTogether(t.Context(), c, alice, 1)
		for _, l := range others {
			sendTogether(t.Context(), c, l, 1)
		}
		synctest.Wait()
		if len(s.started) != 1+len(others) {
			t.Errorf("%d conversations for %d logins", len(s.started), 1+len(others))
		}
		close(s.end)
	})
}

func TestTheCheckOfAnAccountJoinsNoneFromBeforeAChange(t *testing.T) {
	shadow := shadowFile
	t.Cleanup(func() { shadowFile = shadow })
	shadowFile = filepath.Join(t.TempDir(), "shadow")
	synctest.Test(t, func(t *testing.T) {
		s := newStepFake()
		c := Coalesce(s, nil)
		check := others["an account check with a state"]
		arrive(t, c, alice, check, check)
		if err := os.WriteFile(shadowFile, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		arrive(t, c, alice, check, check)
		if len(s.started) != 3 {
			t.Errorf("%d conversations: one is about the password, one from before the change, one from after it",
				len(s.started))
		}
		close(s.end)
	})
}

func TestARefusalIsReturnedToEveryWaiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Coalesce(authenticatorFunc(func(context.Context, Login) (Account, error) {
			time.Sleep(time.Second)
			return Account{}, fmt.Errorf("%w: no", ErrRefused)
		}), nil)
		answers := sendTogether(t.Context(), c, alice, 3)
		for range 3 {
			if a := <-answers; !errors.Is(a.err, ErrRefused) {
				t.Errorf("got %v", a.err)
			}
		}
	})
}

func TestACancelledLoginDoesNotCancelTheCallOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slowFake{takes: 5 * time.Second}
		c := Coalesce(s, nil)
		first, cancel := context.WithCancel(t.Context())
		left := sendTogether(first, c, alice, 1)
		synctest.Wait()
		stayed := sendTogether(t.Context(), c, alice, 1)
		synctest.Wait()
		cancel()
		if a := <-left; a.err != nil || a.account.Name != "alice" { // or a guess would not be counted
			t.Errorf("the cancelled login got %v", a.err)
		}
		if a := <-stayed; a.err != nil || a.account.Name != "alice" {
			t.Errorf("the other login got %v", a.err)
		}
	})
}

// A login that waits for a slot can be cancelled. Once PAM is asked, the answer must be counted.
func TestAStartedConversationRunsToItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slowFake{takes: 5 * time.Second}
		c := Coalesce(Deadline(10*time.Second, Limit(NewSlots(1), s, nil)), nil)
		ctx, cancel := context.WithCancel(t.Context())
		left := sendTogether(ctx, c, alice, 3)
		synctest.Wait()
		impatient, leave := context.WithCancel(t.Context())
		waits := sendTogether(impatient, c, others["another user"], 1)
		synctest.Wait()
		started := time.Now()
		leave()
		synctest.Wait()
		cancel()
		if a := <-waits; !errors.Is(a.err, ErrBusy) || !errors.Is(a.err, context.Canceled) || time.Since(started) != 0 {
			t.Errorf("the login that waited got %v after %s", a.err, time.Since(started))
		}
		for range 3 {
			if a := <-left; a.err != nil || time.Since(started) != 5*time.Second {
				t.Errorf("got %v after %s", a.err, time.Since(started))
			}
		}
	})
}

func TestAnAbandonedConversationEndsAtItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slowFake{takes: time.Hour}
		ctx, cancel := context.WithCancel(t.Context())
		started := time.Now()
		left := sendTogether(ctx, Coalesce(Deadline(10*time.Second, Limit(NewSlots(1), s, nil)), nil), alice, 1)
		synctest.Wait()
		cancel()
		if a := <-left; !errors.Is(a.err, context.DeadlineExceeded) || time.Since(started) != 10*time.Second ||
			s.now.Load() != 0 {
			t.Errorf("got %v after %s", a.err, time.Since(started))
		}
	})
}

func TestALoginAfterACancelledCallStartsANewOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// When it is cancelled it takes a while to end, like a child that cleans up.
		c := Coalesce(authenticatorFunc(func(ctx context.Context, l Login) (Account, error) {
			select {
			case <-ctx.Done():
				time.Sleep(time.Second)
				return Account{}, fmt.Errorf("%w: %w", ErrBroken, ctx.Err())
			case <-time.After(5 * time.Second):
				return Account{Name: l.User}, nil
			}
		}), nil)
		ctx, cancel := context.WithCancel(t.Context())
		left := sendTogether(ctx, c, alice, 1)
		synctest.Wait()
		cancel()
		synctest.Wait()
		account, err := c.Authenticate(t.Context(), alice)
		if err != nil || account.Name != "alice" {
			t.Errorf("got %q, %v", account.Name, err)
		}
		if a := <-left; !errors.Is(a.err, ErrBroken) {
			t.Errorf("the cancelled login got %v", a.err)
		}
	})
}

// PAM must not be asked about one password twice at once.
func TestALoginJoinsACancelledCallThatStillRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStepFake() // ignores its context, as a started conversation does behind a Limit
		c := Coalesce(s, nil)
		ctx, cancel := context.WithCancel(t.Context())
		left := sendTogether(ctx, c, alice, 1)
		synctest.Wait()
		cancel()
		synctest.Wait()
		joined := sendTogether(t.Context(), c, alice, 1)
		synctest.Wait()
		close(s.end)
		for _, answers := range []chan answer{left, joined} {
			if a := <-answers; a.err != nil || a.account.Name != "alice" {
				t.Errorf("got %q, %v", a.account.Name, a.err)
			}
		}
		if len(s.started) != 1 {
			t.Errorf("%d calls", len(s.started))
		}
	})
}

func TestACancellationFromInsideACallIsReturned(t *testing.T) {
	c := Coalesce(authenticatorFunc(func(context.Context, Login) (Account, error) {
		return Account{}, fmt.Errorf("%w: %w", ErrBroken, context.Canceled)
	}), nil)
	if _, err := c.Authenticate(t.Context(), alice); !errors.Is(err, ErrBroken) {
		t.Errorf("got %v", err)
	}
}

func TestTheDeadlineIsThatOfTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Coalesce(Deadline(10*time.Second, &slowFake{takes: time.Hour}), nil)
		started := time.Now()
		first := sendTogether(t.Context(), c, alice, 1)
		time.Sleep(9 * time.Second)
		_, err := c.Authenticate(t.Context(), alice)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(started) != 10*time.Second {
			t.Errorf("got %v after %s", err, time.Since(started))
		}
		<-first
	})
}

func TestPanicAndGoexitReleaseEveryWaiter(t *testing.T) {
	secret := alice.Password.Reveal()
	tests := []struct {
		name string
		do   func()
		want []string // in the error
	}{
		{"a text with the password", func() { panic("password " + secret) },
			[]string{"panic of type string in ", "coalesce_test.go:"}},
		{"an error with the password", func() { panic(errors.New(secret)) },
			[]string{"panic of type *errors.errorString in "}},
		{"a map with the password", func() { panic(map[string]string{secret: secret}) },
			[]string{"panic of type map[string]string in "}},
		{"an error of the runtime", func() { _ = secret[len(secret):][0] },
			[]string{"panic of type runtime.boundsError in ", "coalesce_test.go:"}},
		{"a nil pointer", func() { _ = (*Login)(nil).User },
			[]string{"panic of type runtime.errorString in ", "coalesce_test.go:"}},
		{"goexit", runtime.Goexit, []string{"without an answer"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				observed := &events{}
				c := Coalesce(authenticatorFunc(func(context.Context, Login) (Account, error) {
					time.Sleep(time.Second)
					tt.do()
					return Account{Name: "nobody"}, nil
				}), observed)
				answers := sendTogether(t.Context(), c, alice, 3)
				for range 3 {
					a := <-answers
					if !errors.Is(a.err, ErrBroken) || a.account.Name != "" {
						t.Errorf("got %q, %v", a.account.Name, a.err)
					}
					checkError(t, a.err, tt.want...)
					if text := fmt.Sprintf("%v %+v %v", a.err, a.err, observed.list); strings.Contains(text, secret) {
						t.Error("the password is in the error")
					}
				}
			})
		})
	}
}

// Callers may sort the groups, or append to them.
func TestGroupsAreCopied(t *testing.T) {
	known := authenticatorFunc(func(context.Context, Login) (Account, error) {
		time.Sleep(time.Millisecond)
		return Account{Name: "alice", Groups: []Group{{"users", 100}, {"staff", 50}}}, nil
	})
	authenticators := map[string]Authenticator{
		"coalesce": Coalesce(known, nil), "cache": Cache(time.Minute, known, nil),
	}
	for name, c := range authenticators {
		t.Run(name, func(t *testing.T) {
			for a := range 3 {
				answers := sendTogether(t.Context(), c, alice, 4)
				for range 4 {
					got := <-answers
					if len(got.account.Groups) != 2 || got.account.Groups[0].Name != "users" {
						t.Fatalf("round %d: got %v", a, got.account.Groups)
					}
					got.account.Groups[0].Name = "wheel"
				}
			}
		})
	}
}

func TestNoCallIsLeftAfterManyCancellations(t *testing.T) {
	c := Coalesce(&slowFake{takes: 2 * time.Millisecond}, nil).(*coalescer)
	var all sync.WaitGroup
	for i := range 2000 {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i%5)*time.Millisecond)
			defer cancel()
			l := Login{User: fmt.Sprint("user", i%10)}
			account, err := c.Authenticate(ctx, l)
			if err == nil && account.Name != l.User ||
				err != nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
				t.Errorf("got %q, %v", account.Name, err)
			}
		})
	}
	all.Wait()
	if len(c.calls) != 0 {
		t.Errorf("%d conversations are left", len(c.calls))
	}
}
