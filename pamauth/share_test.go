package pamauth

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var alice = Login{User: "alice", Password: "wonderland", Remote: "192.0.2.1"}

// others differ from alice in what PAM is asked.
var others = map[string]Login{
	"another user":     {User: "bob", Password: "wonderland", Remote: "192.0.2.1"},
	"another password": {User: "alice", Password: "Wonderland", Remote: "192.0.2.1"},
	"another address":  {User: "alice", Password: "wonderland", Remote: "192.0.2.2"},
	"no address":       {User: "alice", Password: "wonderland"},
	"with groups":      {User: "alice", Password: "wonderland", Remote: "192.0.2.1", Groups: true},
	"an account check": {User: "alice", Password: "wonderland", Remote: "192.0.2.1", AccountOnly: true},
	"shifted":          {User: "alicew", Password: "onderland", Remote: "192.0.2.1"},
	"shifted back":     {User: "alice", Password: "wonderland1", Remote: "92.0.2.1"},
}

func TestOnlyEqualLoginsHaveEqualDigests(t *testing.T) {
	s := newSecret()
	for name, l := range others {
		if s.of(l) == s.of(alice) {
			t.Error(name)
		}
	}
	same := alice
	if s.of(same) != s.of(alice) || s.of(alice) == newSecret().of(alice) {
		t.Error("the digest does not depend on the login and the secret alone")
	}
	check := others["an account check"]
	other := check
	other.Password = "not looked at"
	if s.of(check) != s.of(other) {
		t.Error("the password makes a difference to an account check")
	}
}

type answer struct {
	account Account
	err     error
}

// several sends a login several times at once and returns where the answers come in.
func several(ctx context.Context, c Conversation, l Login, n int) chan answer {
	answers := make(chan answer, n)
	for range n {
		go func() {
			account, err := c.Hold(ctx, l)
			answers <- answer{account, err}
		}()
	}
	return answers
}

func TestEqualLoginsShareOneConversation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStepwise()
		c := Share(s, nil)
		answers := several(t.Context(), c, alice, 50)
		synctest.Wait()
		if len(s.began) != 1 {
			t.Fatalf("%d conversations", len(s.began))
		}
		s.end <- struct{}{}
		for range 50 {
			if a := <-answers; a.err != nil || a.account.Name != "alice" {
				t.Errorf("got %q, %v", a.account.Name, a.err)
			}
		}
		later := several(t.Context(), c, alice, 1)
		synctest.Wait()
		if len(s.began) != 2 {
			t.Errorf("a later login got the old answer")
		}
		s.end <- struct{}{}
		<-later
	})
}

func TestOtherLoginsHaveTheirOwnConversations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStepwise()
		c := Share(s, nil)
		several(t.Context(), c, alice, 1)
		for _, l := range others {
			several(t.Context(), c, l, 1)
		}
		synctest.Wait()
		if len(s.began) != 1+len(others) {
			t.Errorf("%d conversations for %d logins", len(s.began), 1+len(others))
		}
		close(s.end)
	})
}

func TestSharedRefusalIsEverybodys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Share(conversationFunc(func(context.Context, Login) (Account, error) {
			time.Sleep(time.Second)
			return Account{}, fmt.Errorf("%w: no", ErrRefused)
		}), nil)
		answers := several(t.Context(), c, alice, 3)
		for range 3 {
			if a := <-answers; !errors.Is(a.err, ErrRefused) {
				t.Errorf("got %v", a.err)
			}
		}
	})
}

func TestWhoLeavesASharedConversationLeavesAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slow{takes: 5 * time.Second}
		c := Share(s, nil)
		first, cancel := context.WithCancel(t.Context())
		left := several(first, c, alice, 1)
		synctest.Wait()
		stayed := several(t.Context(), c, alice, 1)
		synctest.Wait()
		cancel()
		if a := <-left; a.err != nil || a.account.Name != "alice" { // else nobody would count what comes of a guess
			t.Errorf("who left got %v", a.err)
		}
		if a := <-stayed; a.err != nil || a.account.Name != "alice" {
			t.Errorf("who stayed got %v", a.err)
		}
	})
}

// Whoever waits for a turn may go; what PAM has been asked about is counted, whoever is still there to hear it.
func TestAConversationThatHasBegunIsHeldToItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slow{takes: 5 * time.Second}
		c := Share(Deadline(10*time.Second, Gate(1, s, nil)), nil)
		ctx, cancel := context.WithCancel(t.Context())
		left := several(ctx, c, alice, 3)
		synctest.Wait()
		impatient, leave := context.WithCancel(t.Context())
		waits := several(impatient, c, others["another user"], 1)
		synctest.Wait()
		began := time.Now()
		leave()
		synctest.Wait()
		cancel()
		if a := <-waits; !errors.Is(a.err, ErrBusy) || !errors.Is(a.err, context.Canceled) || time.Since(began) != 0 {
			t.Errorf("one whose turn had not come got %v after %s", a.err, time.Since(began))
		}
		for range 3 {
			if a := <-left; a.err != nil || time.Since(began) != 5*time.Second {
				t.Errorf("got %v after %s", a.err, time.Since(began))
			}
		}
	})
}

func TestAConversationThatNobodyWaitsForEndsAtItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slow{takes: time.Hour}
		ctx, cancel := context.WithCancel(t.Context())
		began := time.Now()
		left := several(ctx, Share(Deadline(10*time.Second, Gate(1, s, nil)), nil), alice, 1)
		synctest.Wait()
		cancel()
		if a := <-left; !errors.Is(a.err, context.DeadlineExceeded) || time.Since(began) != 10*time.Second || s.now.Load() != 0 {
			t.Errorf("got %v after %s", a.err, time.Since(began))
		}
	})
}

func TestWhoComesAfterTheLastHasLeftBeginsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// A conversation that takes a while to end when it is told to, as a child does that cleans up.
		c := Share(conversationFunc(func(ctx context.Context, l Login) (Account, error) {
			select {
			case <-ctx.Done():
				time.Sleep(time.Second)
				return Account{}, fmt.Errorf("%w: %w", ErrBroken, ctx.Err())
			case <-time.After(5 * time.Second):
				return Account{Name: l.User}, nil
			}
		}), nil)
		ctx, cancel := context.WithCancel(t.Context())
		left := several(ctx, c, alice, 1)
		synctest.Wait()
		cancel()
		synctest.Wait()
		account, err := c.Hold(t.Context(), alice)
		if err != nil || account.Name != "alice" {
			t.Errorf("got %q, %v", account.Name, err)
		}
		if a := <-left; !errors.Is(a.err, ErrBroken) {
			t.Errorf("who left got %v", a.err)
		}
	})
}

// Nobody has told it to end: then that is its answer.
func TestAConversationThatSaysItWasCancelledIsBelieved(t *testing.T) {
	c := Share(conversationFunc(func(context.Context, Login) (Account, error) {
		return Account{}, fmt.Errorf("%w: %w", ErrBroken, context.Canceled)
	}), nil)
	if _, err := c.Hold(t.Context(), alice); !errors.Is(err, ErrBroken) {
		t.Errorf("got %v", err)
	}
}

func TestDeadlineInsideAShareIsTheConversations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Share(Deadline(10*time.Second, &slow{takes: time.Hour}), nil)
		began := time.Now()
		first := several(t.Context(), c, alice, 1)
		time.Sleep(9 * time.Second)
		_, err := c.Hold(t.Context(), alice)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 10*time.Second {
			t.Errorf("got %v after %s", err, time.Since(began))
		}
		<-first
	})
}

func TestSharedConversationThatDoesNotReturnLeavesNobodyWaiting(t *testing.T) {
	faults := map[string]struct {
		do   func()
		says string
	}{
		"panic":  {func() { panic("out of order") }, "out of order"},
		"goexit": {runtime.Goexit, "without an answer"},
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := Share(conversationFunc(func(context.Context, Login) (Account, error) {
					time.Sleep(time.Second)
					fault.do()
					return Account{Name: "nobody"}, nil
				}), nil)
				answers := several(t.Context(), c, alice, 3)
				for range 3 {
					a := <-answers
					if !errors.Is(a.err, ErrBroken) || !strings.Contains(a.err.Error(), fault.says) || a.account.Name != "" {
						t.Errorf("got %q, %v", a.account.Name, a.err)
					}
					if strings.Contains(a.err.Error(), alice.Password.Reveal()) {
						t.Error("the password is in the error")
					}
				}
			})
		})
	}
}

// Whoever gets an account may sort its groups, or append to them.
func TestNobodySharesGroups(t *testing.T) {
	known := conversationFunc(func(context.Context, Login) (Account, error) {
		time.Sleep(time.Millisecond)
		return Account{Name: "alice", Groups: []Group{{"users", 100}, {"staff", 50}}}, nil
	})
	for name, c := range map[string]Conversation{"share": Share(known, nil), "cache": Cache(time.Minute, known, nil)} {
		t.Run(name, func(t *testing.T) {
			for a := range 3 {
				answers := several(t.Context(), c, alice, 4)
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

func TestShareWithManyWhoComeAndGo(t *testing.T) {
	c := Share(&slow{takes: 2 * time.Millisecond}, nil).(*share)
	var all sync.WaitGroup
	for i := range 2000 {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i%5)*time.Millisecond)
			defer cancel()
			l := Login{User: fmt.Sprint("user", i%10)}
			account, err := c.Hold(ctx, l)
			if err == nil && account.Name != l.User || err != nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
				t.Errorf("got %q, %v", account.Name, err)
			}
		})
	}
	all.Wait()
	if len(c.underWay) != 0 {
		t.Errorf("%d conversations are left", len(c.underWay))
	}
}
