package throttle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"dockerauth/store"
)

// burst is many logins at once, spread over processes that share a store.
type burst struct {
	t         *testing.T
	processes []*Throttle
	check     time.Duration // how long PAM takes
	account   string
	store     *recordingStore

	checks, atOnce, most atomic.Int32
	mu                   sync.Mutex
	outcomes             map[string]int
}

const theAccount = `{"Name":"alice"}`

func newBurst(t *testing.T, processes int) *burst {
	b := &burst{
		t:        t,
		check:    50 * time.Millisecond,
		account:  theAccount,
		store:    &recordingStore{Store: store.NewMemory(1 << 20)},
		outcomes: map[string]int{},
	}
	for range processes {
		b.processes = append(b.processes, &Throttle{
			Checks: &Checks{},
			Store:  b.store, Secret: []byte("test secret"), Delay: time.Second, Timeout: 10 * time.Second,
			Report: func(err error) { t.Error(err) },
		})
	}
	return b
}

// login sends a password, of which only the right one succeeds, and records the outcome.
func (b *burst) login(ctx context.Context, process int, user, password, remote string) string {
	outcome := b.outcome(ctx, process, user, password, remote)
	b.mu.Lock()
	b.outcomes[outcome]++
	b.mu.Unlock()
	return outcome
}

func (b *burst) outcome(ctx context.Context, process int, user, password, remote string) string {
	a, err := b.processes[process%len(b.processes)].Begin(ctx, user, password, remote)
	switch {
	case errors.As(err, new(*Locked)):
		return "locked"
	case err != nil:
		return err.Error()
	case a.Answer() != nil:
		return "received " + string(a.Answer())
	}
	if err := a.Recheck(); err != nil {
		a.Cancel()
		return "rechecked: " + err.Error()
	}
	b.checks.Add(1)
	for most := b.most.Load(); !b.most.CompareAndSwap(most, max(most, b.atOnce.Load()+1)); most = b.most.Load() {
	}
	b.atOnce.Add(1)
	time.Sleep(b.check)
	b.atOnce.Add(-1)
	if password == right {
		a.Succeed([]byte(b.account))
		return granted
	}
	a.Fail(0)
	return refused
}

// The clients of a burst have one address, or different ones of a network.
func oneAddress(int) string        { return "2001:db8:1:2::9" }
func oneOfA64(i int) string        { return fmt.Sprintf("2001:db8:1:2::%x", i+1) }
func oneOfA48(i int) string        { return fmt.Sprintf("2001:db8:1:%x::1", i+1) }
func ipv4(int) string              { return office }
func samePassword(int) string      { return "wrong" }
func otherPassword(i int) string   { return fmt.Sprint("guess ", i) }
func rightPassword(int) string     { return right }
func twelvePasswords(i int) string { return fmt.Sprint("guess ", i%12) }

func TestWhatPAMHearsOfABurst(t *testing.T) {
	for _, c := range []struct {
		name     string
		password func(int) string
		from     func(int) string
		checks   int32 // passwords that PAM gets
		atOnce   int32 // at most
	}{
		{"one wrong password from one address", samePassword, oneAddress, 1, 1},
		{"one wrong password from one IPv4 address", samePassword, ipv4, 1, 1},
		{"one wrong password from a /64", samePassword, oneOfA64, 1, 1},
		{"one wrong password from a /48", samePassword, oneOfA48, 1, 1},
		{"different passwords from one address", otherPassword, oneAddress, 5, 5},
		{"different passwords from a /64", otherPassword, oneOfA64, 5, 5},
		{"different passwords from a /48", otherPassword, oneOfA48, 7, 7},
		{"twelve passwords, each many times, from a /64", twelvePasswords, oneOfA64, 5, 5},
		{"the right password from one address", rightPassword, oneAddress, 1, 1},
		{"the right password from a /64", rightPassword, oneOfA64, 60, 60},
		{"the right password from a /48", rightPassword, oneOfA48, 60, 60},
	} {
		for _, processes := range []int{1, 2, 60} {
			t.Run(fmt.Sprint(c.name, " to ", processes, " processes"), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := newBurst(t, processes)
					var all sync.WaitGroup
					for i := range 60 {
						all.Go(func() { b.login(t.Context(), i, "alice", c.password(i), c.from(i)) })
					}
					all.Wait()
					if b.checks.Load() != c.checks || b.most.Load() > c.atOnce {
						t.Errorf(
							"PAM got %d passwords, %d at once, want %d and %d: %v",
							b.checks.Load(),
							b.most.Load(),
							c.checks,
							c.atOnce,
							b.outcomes,
						)
					}
					if in := b.outcomes[granted] + b.outcomes["received "+theAccount]; c.password(0) == right &&
						in != 60 {
						t.Errorf("%d of 60 were let in: %v", in, b.outcomes)
					}
					if got := b.login(t.Context(), 0, "alice", right, home); got != granted {
						t.Errorf("from elsewhere alice is %s", got)
					}
				})
			})
		}
	}
}

// Any number of equal logins counts once.
func TestABurstOfOneWrongPasswordUsesOneTry(t *testing.T) {
	for _, processes := range []int{1, 60} {
		synctest.Test(t, func(t *testing.T) {
			b := newBurst(t, processes)
			var all sync.WaitGroup
			for i := range 60 {
				all.Go(func() { b.login(t.Context(), i, "alice", "wrong", office) })
			}
			all.Wait()
			for i := range 4 {
				if got := b.login(t.Context(), i, "alice", fmt.Sprint("guess ", i), office); got != refused {
					t.Errorf("guess %d is %s", i, got)
				}
			}
			if got := b.login(t.Context(), 0, "alice", right, office); got != "locked" {
				t.Errorf("after five passwords alice is %s", got)
			}
		})
	}
}

// A client with six connections waits for one check only.
func TestAnHonestClientWithSixConnectionsIsPrompt(t *testing.T) {
	for _, processes := range []int{1, 6} {
		synctest.Test(t, func(t *testing.T) {
			b := newBurst(t, processes)
			began := time.Now()
			var all sync.WaitGroup
			for i := range 6 {
				all.Go(func() { b.login(t.Context(), i, "alice", right, office) })
			}
			all.Wait()
			if took := time.Since(began); took > 2*b.check+lastPoll || b.checks.Load() != 1 {
				t.Errorf("took %s and %d checks", took, b.checks.Load())
			}
		})
	}
}

// An account is stored for other processes, encrypted with a key that needs the password.
func TestTheAnswerInTheStoreIsSealed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBurst(t, 2)
		var all sync.WaitGroup
		for i := range 2 {
			all.Go(func() { b.login(t.Context(), i, "alice", right, office) })
		}
		all.Wait()
		if b.outcomes["received "+theAccount] != 1 {
			t.Fatalf("no login got the answer: %v", b.outcomes)
		}
		if strings.Contains(b.store.written.String(), "alice") {
			t.Error("the account is written")
		}
		p := b.processes[0]
		k := keysOf(p.Secret, p.ConfigVersion, "alice", right, office)
		values, err := b.store.Get(t.Context(), k.answerKey)
		if err != nil {
			t.Fatal(err)
		}
		sealed := values[0]
		for _, l := range [][3]string{{"alice", "wrong", office}, {"bob", right, office}, {"alice", right, home}} {
			if unseal(keysOf(p.Secret, p.ConfigVersion, l[0], l[1], l[2]).sealKey, sealed) != nil {
				t.Errorf("%v opens it", l)
			}
		}
		if unseal(k.sealKey, sealed) == nil {
			t.Error("an equal login cannot open it")
		}
	})
}

func TestAnAnswerThatIsTooLongForTheStoreMakesOthersAskPAM(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBurst(t, 2)
		first, err := b.processes[0].Begin(t.Context(), "alice", right, office)
		if err != nil {
			t.Fatal(err)
		}
		got := make(chan string)
		go func() { got <- b.login(t.Context(), 1, "alice", right, office) }()
		synctest.Wait()
		first.Succeed([]byte(strings.Repeat("group ", store.MaxValue)))
		if got := <-got; got != granted {
			t.Errorf("the other is %s", got)
		}
	})
}

// The first of two equal logins ends in every possible way while the other waits, in the same or in
// another process.
func TestWhatBecomesOfThoseWhoWait(t *testing.T) {
	const locked, gone = "locked", "context canceled"
	for _, c := range []struct {
		name  string
		end   func(a *Attempt)
		after time.Duration
		want  string
		tries int // that are left
	}{
		{"it fails", func(a *Attempt) { a.Fail(0) }, time.Second, ErrRepeated.Error(), 4},
		{"PAM gives no answer", (*Attempt).Unanswered, time.Second, ErrUnanswered.Error(), 5},
		{"it gives up before PAM is asked", (*Attempt).Cancel, time.Second, granted, 5},
		{"it gives up when PAM has been asked", func(a *Attempt) { _ = a.Recheck(); a.Cancel() }, time.Second,
			ErrUnanswered.Error(), 5},
		{"it takes longer than it may", func(*Attempt) {}, 10 * time.Second, ErrUnanswered.Error(), 4},
	} {
		for _, processes := range []int{1, 2} {
			t.Run(fmt.Sprint(c.name, ", ", processes, " processes"), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := newBurst(t, processes)
					first, err := b.processes[0].Begin(t.Context(), "alice", right, office)
					if err != nil {
						t.Fatal(err)
					}
					got := make([]string, 3)
					var all sync.WaitGroup
					ctx, hangUp := context.WithCancel(t.Context())
					for i := range got {
						all.Go(func() {
							if i == 2 {
								got[i] = b.login(ctx, 1, "alice", right, office)
								return
							}
							got[i] = b.login(t.Context(), 1, "alice", right, office)
						})
					}
					time.Sleep(500 * time.Millisecond)
					hangUp()
					time.Sleep(c.after - 500*time.Millisecond)
					c.end(first)
					all.Wait()
					slices.Sort(got[:2])
					if received := "received " + theAccount; c.want == granted &&
						!slices.Equal(got, []string{granted, received, gone}) ||
						c.want != granted && !slices.Equal(got, []string{c.want, c.want, gone}) {
						t.Errorf("got %q, want %q", got, c.want)
					}
					if c.want == granted {
						return
					}
					tries := 0
					for i := range 6 {
						if b.login(t.Context(), 0, "alice", fmt.Sprint("guess ", i), office) == refused {
							tries++
						}
					}
					if tries != c.tries {
						t.Errorf("%d tries are left, want %d", tries, c.tries)
					}
				})
			})
		}
	}
}

// A killed process may have asked PAM, so its login uses a try. An equal login does not wait for it
// without end.
func TestAnAttemptWhoseProcessDiedHasUsedUpItsTry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBurst(t, 1)
		die := func(password string) error {
			_, err := b.store.process().Begin(t.Context(), "alice", password, office)
			return err
		}
		died := 0
		for i := range 60 { // for ten minutes, so that records expire
			if die(fmt.Sprint("guess ", i)) == nil {
				died++
			}
			time.Sleep(10 * time.Second)
		}
		if died > 5+4 {
			t.Errorf("%d of 60 processes that were killed could ask PAM", died)
		}
		time.Sleep(longestLock)
		if got := b.login(t.Context(), 0, "alice", right, office); got != granted {
			t.Errorf("later alice is %s", got)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		b := newBurst(t, 1)
		if _, err := b.store.process().Begin(t.Context(), "alice", right, office); err != nil {
			t.Fatal(err)
		}
		if got := b.login(t.Context(), 0, "alice", right, office); got != ErrUnanswered.Error() { // it may be alive
			t.Errorf("while it may live: %s", got)
		}
		time.Sleep(leaseMargin)
		if got := b.login(t.Context(), 0, "alice", right, office); got != granted {
			t.Errorf("after that: %s", got)
		}
	})
}

// process returns another process that shares the store.
func (s *recordingStore) process() *Throttle {
	return &Throttle{Store: s, Secret: []byte("test secret"), Timeout: 10 * time.Second, Checks: &Checks{}}
}

// A store that fails for a while knows nothing of the attempts that began meanwhile.
func TestAnAttemptThatTheStoreHasForgottenGoesOn(t *testing.T) {
	for _, from := range []string{office, oneAddress(0)} {
		b := newBurst(t, 1)
		a, err := b.processes[0].Begin(t.Context(), "alice", right, from)
		if err != nil {
			t.Fatal(err)
		}
		b.processes[0].Store = store.NewMemory(1 << 20)
		if err := a.Recheck(); err != nil {
			t.Errorf("from %s: %v", from, err)
		}
		a.Succeed([]byte(theAccount))
	}
}

func TestAProcessThatWasStoppedDoesNotAskPAMWhenItGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBurst(t, 1)
		stopped, err := b.store.process().Begin(t.Context(), "alice", "wrong", office)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(10*time.Second + leaseMargin)
		if got := b.login(t.Context(), 0, "alice", "wrong", office); got != refused {
			t.Fatal(got)
		}
		if err := stopped.Recheck(); !errors.As(err, new(*Locked)) {
			t.Errorf("got %v", err)
		}
		stopped.Cancel()
		if got := b.login(t.Context(), 0, "alice", "wrong", office); got != ErrRepeated.Error() {
			t.Errorf("the failure is forgotten: %s", got)
		}
	})
}

// Guesses are not free while a user logs in, nor while a typo is remembered: a guesser without
// tries must not hear whether its guess is a password that somebody else has sent.
func TestAGuesserWithoutTriesLearnsNothingFromALoginInFlight(t *testing.T) {
	for _, c := range []struct{ name, owner, guesser string }{
		{"the same address", office, office},
		{"another /64 of the network", "2001:db8:1:1::1", "2001:db8:1:2::1"},
	} {
		for _, processes := range []int{1, 2} {
			for _, sent := range []string{right, "typo"} {
				t.Run(fmt.Sprint(c.name, ", ", processes, " processes, ", sent), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						b := newBurst(t, processes)
						b.check = 500 * time.Millisecond
						var all sync.WaitGroup
						all.Go(func() { b.login(t.Context(), 0, "alice", sent, c.owner) })
						synctest.Wait()
						for i := range 10 { // more than there are tries
							all.Go(func() { b.login(t.Context(), 1, "alice", fmt.Sprint("guess ", i), c.guesser) })
						}
						synctest.Wait()
						if got := b.login(t.Context(), 1, "alice", sent, c.guesser); got != "locked" {
							t.Errorf("while it is in flight: %s", got)
						}
						all.Wait()
						if c.owner == c.guesser && sent == right {
							return // the success there has given it tries
						}
						if got := b.login(t.Context(), 1, "alice", sent, c.guesser); got != "locked" {
							t.Errorf("after that: %s", got)
						}
					})
				})
			}
		}
	}
}

// A locked address costs the others of its network nothing, however much it sends.
func TestALockedAddressThatFloodsDoesNotKeepItsNetworkOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBurst(t, 4)
		for i := range 5 {
			b.login(t.Context(), 0, "alice", fmt.Sprint("guess ", i), oneOfA48(0))
		}
		var all sync.WaitGroup
		for i := range 300 {
			all.Go(func() { b.login(t.Context(), i, "alice", fmt.Sprint("more ", i), oneOfA48(0)) })
			if got := b.login(t.Context(), i, "alice", right, oneOfA48(1)); got != granted {
				t.Errorf("alice is %s", got)
			}
		}
		all.Wait()
	})
}

// An unreachable directory must not make a counter behind PAM lock the account.
func TestPAMThatGivesNoAnswerIsAskedLessOften(t *testing.T) {
	for name, password := range map[string]func(int) string{"one password": rightPassword,
		"different passwords": otherPassword} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBurst(t, 1)
				asked, began := 0, time.Now()
				for i := 0; time.Since(began) < 15*time.Minute; i++ {
					a, err := b.processes[0].Begin(t.Context(), "alice", password(i), office)
					if err == nil {
						asked++
						a.Unanswered()
					}
					time.Sleep(time.Second)
				}
				if most := maxUnanswered + int(15*time.Minute/unansweredPause); asked > most || asked < most/2 {
					t.Errorf("PAM was asked %d times in 15 minutes, want up to %d", asked, most)
				}
				time.Sleep(unansweredPause)
				if got := b.login(t.Context(), 0, "alice", right, office); got != granted {
					t.Errorf("when it answers again alice is %s", got)
				}
				if got := b.login(t.Context(), 0, "alice", "wrong", office); got != refused {
					t.Errorf("a success does not end the pause: %s", got)
				}
			})
		})
	}
}

// Many machines of one network use one account, and the directory is slow.
func TestARightPasswordFromManyMachinesWaitsForOneCheckOnly(t *testing.T) {
	for _, from := range []func(int) string{oneOfA64, oneOfA48} {
		for _, processes := range []int{1, 60} {
			synctest.Test(t, func(t *testing.T) {
				b := newBurst(t, processes)
				b.check = 2 * time.Second
				began := time.Now()
				var all sync.WaitGroup
				for i := range 60 {
					all.Go(func() { b.login(t.Context(), i, "ci", right, from(i)) })
				}
				all.Wait()
				if took := time.Since(began); b.outcomes[granted] != 60 || took > 2*b.check+2*lastPoll {
					t.Errorf("after %s: %v", took, b.outcomes)
				}
			})
		}
	}
}

// If an answer is too long for the store, as that of an account in many groups, the others ask PAM
// at once.
func TestAnAccountInManyGroupsIsLetInOnAllConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBurst(t, 24)
		b.account = `{"Groups":"` + strings.Repeat("developers ", store.MaxValue/10) + `"}`
		var all sync.WaitGroup
		for i := range 24 {
			all.Go(func() { b.login(t.Context(), i, "alice", right, office) })
		}
		all.Wait()
		if b.outcomes[granted] != 24 {
			t.Error(b.outcomes)
		}
	})
}

// A repeated failed password must not reveal when PAM answers another one in flight.
func TestARepeatedPasswordDoesNotTellWhenPAMAnswersAnother(t *testing.T) {
	var after []time.Duration
	for _, check := range []time.Duration{10 * time.Millisecond, 300 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			b := newBurst(t, 1)
			b.check = check
			for i := range 4 {
				b.login(t.Context(), 0, "alice", fmt.Sprint("guess ", i), office)
			}
			time.Sleep(1100 * time.Millisecond)
			var fifth sync.WaitGroup
			fifth.Go(func() { b.login(t.Context(), 0, "alice", "guess 5", office) })
			time.Sleep(200 * time.Millisecond)
			_, err := b.processes[0].Begin(t.Context(), "alice", "guess 0", office)
			locked := new(Locked)
			if !errors.As(err, &locked) {
				t.Fatal(err)
			}
			after = append(after, locked.After)
			fifth.Wait()
		})
	}
	if after[0] != after[1] {
		t.Errorf("with a quick answer %s, with a slow one %s", after[0], after[1])
	}
}

// After a panic, such as one in the store, no login keeps waiting.
func TestAPanicLeavesNobodyWaiting(t *testing.T) {
	b := newBurst(t, 1)
	b.processes[0].Store = nil
	for range 2 {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("no panic: the test does not test what it says")
				}
			}()
			_, _ = b.processes[0].Begin(t.Context(), "alice", right, office)
		}()
	}
	if n := len(b.processes[0].Checks.inFlight); n != 0 {
		t.Errorf("%d checks are left", n)
	}
}

// With a failing store nothing is counted, but one process checks one password only once at a time.
func TestEqualLoginsShareOneCheckWhenTheStoreFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBurst(t, 1)
		b.processes[0].Store, b.processes[0].Report = fullStore{}, nil
		var all sync.WaitGroup
		for i := range 60 {
			all.Go(func() { b.login(t.Context(), 0, "alice", "wrong", oneOfA64(i)) })
		}
		all.Wait()
		if b.checks.Load() != 1 {
			t.Errorf("PAM got %d", b.checks.Load())
		}
	})
}

// The right password, sent many times among guesses, is never treated as wrong. It succeeds or has
// to wait.
func TestTheRightPasswordAmongGuessesIsNeverRefused(t *testing.T) {
	b := newBurst(t, 3)
	b.check = time.Millisecond
	var all sync.WaitGroup
	for i := range 500 {
		all.Go(func() {
			password := right
			if i%5 == 0 {
				password = fmt.Sprint("guess", i)
			}
			got := b.login(t.Context(), i, "alice", password, office)
			if password == right && !slices.Contains([]string{granted, "received " + theAccount, "locked"}, got) &&
				!strings.HasPrefix(got, "rechecked: too many") {
				t.Errorf("got %s", got)
			}
		})
	}
	all.Wait()
}

// The store is another for each, so only the checks that they share can tell.
func TestThrottlesOfOneProcessShareTheirChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		checks := &Checks{}
		before := (&recordingStore{Store: store.NewMemory(1 << 20)}).process()
		after := (&recordingStore{Store: store.NewMemory(1 << 20)}).process()
		before.Checks, after.Checks = checks, checks
		first, err := before.Begin(t.Context(), "alice", "right", "192.0.2.1")
		if err != nil {
			t.Fatal(err)
		}
		answer := make(chan []byte)
		go func() {
			second, err := after.Begin(t.Context(), "alice", "right", "192.0.2.1")
			if err != nil {
				t.Error(err)
			}
			answer <- second.Answer()
		}()
		synctest.Wait()
		first.Succeed([]byte("yes"))
		if got := <-answer; string(got) != "yes" {
			t.Errorf("the second login got %q", got)
		}
	})
}

func TestARepeatedPasswordTellsWhyItFailedAndForHowLong(t *testing.T) {
	for _, name := range []string{"in one process", "in another process"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				records := &recordingStore{Store: store.NewMemory(1 << 20)}
				first := records.process()
				second := first
				if name == "in another process" {
					second = records.process()
				}
				attempt, err := first.Begin(t.Context(), "alice", "wrong", "192.0.2.1")
				if err != nil {
					t.Fatal(err)
				}
				try := func() *Repeated {
					_, err := second.Begin(t.Context(), "alice", "wrong", "192.0.2.1")
					repeated := (*Repeated)(nil)
					if !errors.As(err, &repeated) || !errors.Is(err, ErrRepeated) {
						t.Errorf("got %v", err)
					}
					return repeated
				}
				waiting := make(chan *Repeated)
				go func() { waiting <- try() }()
				time.Sleep(2 * time.Second)
				attempt.Fail(5)
				got := <-waiting
				if got == nil || got.Reason != 5 || got.After.Round(time.Second) != repeatWindow-2*time.Second {
					t.Errorf("one that waited got %+v", got)
				}
				time.Sleep(8 * time.Second)
				if got := try(); got == nil || got.Reason != 5 ||
					got.After.Round(time.Second) != repeatWindow-10*time.Second {
					t.Errorf("one that came later got %+v", got)
				}
			})
		})
	}
}
