package throttle

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"dockerauth/store"
)

// fixture is a throttle with a manual clock.
type fixture struct {
	*Throttle
	t     *testing.T
	now   time.Time
	texts int // that were counted
}

func newFixture(t *testing.T) *fixture {
	f := &fixture{t: t, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	clock := func() time.Time { return f.now }
	memory := store.NewMemory(64 << 20)
	memory.Now = clock
	f.Throttle = &Throttle{
		Checks: &Checks{},
		Store:  memory, Secret: []byte("test secret"), Timeout: 10 * time.Second, Now: clock,
		Report: func(err error) { t.Error(err) },
	}
	return f
}

func (f *fixture) pass(d time.Duration) { f.now = f.now.Add(d) }

const (
	right   = "right"
	office  = "192.0.2.7"
	home    = "198.51.100.9"
	granted = "granted"
	refused = "refused"
	repeat  = "repeated"
)

// try sends one password, of which only the right one succeeds. It returns the outcome or the
// length of the lock.
func (f *fixture) try(user, password, remote string) string {
	f.t.Helper()
	attempt, err := f.Begin(f.t.Context(), user, password, remote)
	var locked *Locked
	switch {
	case errors.As(err, &locked):
		return locked.After.String()
	case errors.Is(err, ErrRepeated):
		return repeat
	case err != nil:
		f.t.Fatal(err)
	}
	if err := attempt.Recheck(); err != nil {
		f.t.Fatal(err)
	}
	if password == right {
		attempt.Succeed([]byte("the account"))
		return granted
	}
	attempt.Fail(0)
	return refused
}

func (f *fixture) want(want, user, password, remote string) {
	f.t.Helper()
	if got := f.try(user, password, remote); got != want {
		f.t.Fatalf("%s with %q from %s: %s, want %s", user, password, remote, got, want)
	}
}

// guesses sends n different wrong passwords.
func (f *fixture) guesses(n int, user, remote string) {
	f.t.Helper()
	for i := range n {
		f.want(refused, user, fmt.Sprint("guess ", f.now.UnixNano(), i), remote)
	}
}

func TestFiveRefusalsLockTheUserAtTheAddress(t *testing.T) {
	f := newFixture(t)
	f.guesses(5, "alice", office)
	f.want("30s", "alice", "another", office)
	f.want("30s", "alice", right, office) // otherwise the answer would reveal the password
	f.pass(29 * time.Second)
	f.want("1s", "alice", right, office)
	f.pass(time.Second)
	f.want(granted, "alice", right, office)
}

func TestARightPasswordFromAnotherAddressIsNeverLockedOut(t *testing.T) {
	f := newFixture(t)
	f.guesses(5, "alice", office)
	f.want(granted, "alice", right, home)
	f.want("30s", "alice", right, office) // and does not unlock the first address
}

func TestFourRefusalsAndALoginCountNothing(t *testing.T) {
	f := newFixture(t)
	for range 5 {
		f.guesses(4, "alice", office)
		f.want(granted, "alice", right, office)
		f.pass(time.Second)
	}
}

func TestRefusalsAreForgottenAfterElevenMinutes(t *testing.T) {
	f := newFixture(t)
	f.guesses(4, "alice", office)
	f.pass(10 * time.Minute)
	f.guesses(1, "alice", office) // within ten minutes of the others
	f.want("30s", "alice", right, office)

	f = newFixture(t)
	f.guesses(4, "alice", office)
	f.pass(11 * time.Minute)
	f.guesses(4, "alice", office)
	f.want(granted, "alice", right, office)
}

func TestLocksGrowToFifteenMinutesAndShrinkAfterAQuietHour(t *testing.T) {
	f := newFixture(t)
	f.guesses(5, "alice", office)
	for _, d := range []time.Duration{30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute,
		15 * time.Minute, 15 * time.Minute} {
		f.want(d.String(), "alice", right, office)
		f.pass(d)
		f.guesses(1, "alice", office) // one is enough now
	}
	f.pass(15*time.Minute + time.Hour + time.Second)
	f.guesses(5, "alice", office)
	f.want("30s", "alice", right, office)
}

func TestASuccessEndsTheSeriesOfLocks(t *testing.T) {
	f := newFixture(t)
	f.guesses(5, "alice", office)
	f.pass(30 * time.Second)
	f.want(granted, "alice", right, office)
	f.guesses(5, "alice", office)
	f.want("30s", "alice", right, office)
}

func TestOneWrongPasswordCountsOnceAMinute(t *testing.T) {
	f := newFixture(t)
	f.want(refused, "alice", "stale", office)
	for range maxRepeats {
		f.want(repeat, "alice", "stale", office)
	}
	f.want("1m0s", "alice", "stale", office) // further repeats are locked
	f.want(refused, "alice", "another", office)
	f.want(granted, "alice", right, office)
	f.want(repeat, "alice", "another", office) // still wrong
	f.pass(time.Minute)
	f.want(refused, "alice", "stale", office) // asked again: it may be right by now
}

// One job with a stale password and one with the right password run for four hours.
func TestAStalePasswordBesideTheRightOneLocksNobody(t *testing.T) {
	f := newFixture(t)
	asked := 0
	for range 4 * 60 * 20 {
		switch f.try("ci", "stale", office) {
		case refused:
			asked++
		case repeat:
		default:
			t.Fatalf("the stale one is locked after %s", f.now)
		}
		f.want(granted, "ci", right, office)
		f.pass(3 * time.Second)
	}
	if asked > 4*60+1 {
		t.Errorf("PAM was asked %d times about one password", asked)
	}
}

func TestAnotherConfigurationForgetsPasswordsAndKeepsTheCount(t *testing.T) {
	f := newFixture(t)
	f.guesses(3, "alice", office)
	f.want(refused, "alice", "stale", office)
	f.ConfigVersion = "a changed configuration"
	f.want(refused, "alice", "stale", office)
	f.want("30s", "alice", right, office)
}

func TestAPasswordIsRememberedForItsOwnNameAndAddress(t *testing.T) {
	f := newFixture(t)
	f.want(refused, "alice", "stale", office)
	f.want(refused, "alice", "stale", home) // PAM rules may depend on the address
	f.want(refused, "Alice", "stale", office)
	f.want(refused, "bob", "stale", office)
	f.want(repeat, "alice", "stale", office)
}

func TestSpellingsOfANameShareTheirTries(t *testing.T) {
	f := newFixture(t)
	for _, name := range []string{"alice", "Alice", "ALICE", "alice@example.com", `EXAMPLE\alice`} {
		f.guesses(1, name, office)
	}
	f.want("30s", "alice", right, office)
	f.want(granted, "bob@example.com", right, office)
	f.want("30s", "alice ", right, office)

	// Directories ignore wide letters, long s and invisible characters.
	f = newFixture(t)
	for _, name := range []string{"ſam", "ｓam", "sa\u034fm", "ｓａｍ@example.com", `EXAMPLE\ѕam`} {
		f.guesses(1, name, office)
	}
	f.want("30s", "ｓａm", right, office)
	f.want(granted, "sam", right, office)
}

// The answers about a lock and to a repeated password are the same before and after the answer of
// PAM. Otherwise its time would distinguish unknown names from those whose password is hashed.
func TestWhenPAMAnswersCannotBeSeen(t *testing.T) {
	for _, took := range []time.Duration{0, 5 * time.Millisecond, 900 * time.Millisecond} {
		f := newFixture(t)
		f.Delay = time.Second
		began := f.now
		var under []*Attempt
		for i := range 5 {
			a, err := f.Begin(t.Context(), "alice", fmt.Sprint("guess", i), office)
			if err != nil {
				t.Fatal(err)
			}
			under = append(under, a)
			f.pass(time.Millisecond)
		}
		f.pass(took)
		for _, a := range under {
			a.Fail(0)
		}
		for f.now.Before(began.Add(2 * time.Second)) {
			if f.now.Before(began.Add(time.Second)) { // as if it were still in flight
				f.want(repeat, "alice", "guess0", office)
			}
			f.pass(100 * time.Millisecond)
		}
		left := began.Add(4*time.Millisecond + 30*time.Second).Sub(f.now).String()
		f.want(left, "alice", "another", office)
		f.want(left, "alice", "guess0", office)
	}
	f := newFixture(t)
	f.Delay = time.Second
	f.want(refused, "alice", "stale", office)
	for range 10 * maxRepeats { // of one that is in flight as many may be, and they count no more than these
		f.want(repeat, "alice", "stale", office)
	}
	f.pass(time.Second)
	for range maxRepeats {
		f.want(repeat, "alice", "stale", office)
	}
	f.want("59s", "alice", "stale", office)
}

func TestALockStopsQueuedLogins(t *testing.T) {
	f := newFixture(t)
	f.Timeout = time.Minute
	f.want(granted, "carol", right, office)
	var waiting []*Attempt
	for _, user := range []string{"alice", "bob", "carol"} {
		a, err := f.Begin(t.Context(), user, "one more", office)
		if err != nil || a.Recheck() != nil {
			t.Fatal(err, a.Recheck())
		}
		waiting = append(waiting, a)
	}
	for i := range 50 {
		f.guesses(1, fmt.Sprint("user", i), office)
	}
	var locked *Locked
	if err := waiting[0].Recheck(); !errors.As(err, &locked) || locked.After != 30*time.Second {
		t.Errorf("got %v", err)
	}
	if err := waiting[2].Recheck(); err != nil {
		t.Errorf("one who has logged in from there got %v", err)
	}
	f.pass(30 * time.Second)
	if err := waiting[1].Recheck(); err != nil {
		t.Errorf("after the lock: %v", err)
	}
	f.pass(30*time.Second + leaseMargin)
	if err := waiting[1].Recheck(); !errors.As(err, &locked) {
		t.Errorf("an attempt that counts as dead got %v", err)
	}
	f.guesses(4, "bob", office) // with the dead one, five
	f.want("30s", "bob", right, office)
}

// A customer with a /48 does not get the tries of 65,536 addresses.
func TestANetworkIsLockedAfterTwoHundredRefusals(t *testing.T) {
	f := newFixture(t)
	for i := range 200 {
		f.guesses(1, fmt.Sprint("user", i), fmt.Sprintf("2001:db8:7:%x::1", i))
	}
	f.want("30s", "alice", right, "2001:db8:7:ffff::1")
	f.want(granted, "alice", right, "2001:db8:8::1")
	f.want(granted, "alice", right, office)
}

// A job that logs in every minute does not give a guesser at its address tries without end.
func TestLoginsDoNotClearEverything(t *testing.T) {
	f := newFixture(t)
	guesses := 0
	for range 120 {
		if f.try("ci", right, office) != granted {
			f.pass(time.Minute)
			continue
		}
		for i := range 4 {
			if f.try("ci", fmt.Sprint("guess", f.now, i), office) == refused {
				guesses++
			}
		}
		f.pass(time.Minute)
	}
	if guesses > 2*(maxDistinctFailures+15) {
		t.Errorf("%d guesses in two hours", guesses)
	}
	f.pass(2 * time.Hour)
	f.want(granted, "ci", right, office)
	f.guesses(4, "ci", office)
	f.want(granted, "ci", right, office)
}

// A user who mistyped before the alert has one more try, and no lock before it.
func TestAnAlertLocksNobodyWhoHasTriesLeft(t *testing.T) {
	f := newFixture(t)
	f.guesses(3, "alice", home)
	for i := range alertFailures {
		f.guesses(1, fmt.Sprint("user", i), fmt.Sprintf("10.%d.%d.1", i/256, i%256))
	}
	f.want(refused, "alice", "another", home)
	f.want("30s", "alice", right, home)
	f.pass(30 * time.Second)
	f.want(granted, "alice", right, home)
}

func TestAddressesOfOneNetworkCountAsOne(t *testing.T) {
	for _, c := range []struct{ one, other string }{
		{"2001:db8:1:2::1", "2001:db8:1:2:ffff::9"},
		{"", ""},
		{"not an address", "not an address"},
	} {
		f := newFixture(t)
		f.guesses(5, "alice", c.one)
		f.want("30s", "alice", right, c.other)
	}
	for _, c := range []struct{ one, other string }{{"2001:db8:1:2::1", "2001:db8:1:3::1"}, {"192.0.2.7", "192.0.2.8"},
		{"", "192.0.2.8"}} {
		f := newFixture(t)
		f.guesses(5, "alice", c.one)
		f.want(granted, "alice", right, c.other)
	}
}

func TestAnAddressIsLockedAfterFiftyRefusals(t *testing.T) {
	f := newFixture(t)
	f.want(granted, "alice", right, office)
	for i := range 50 {
		f.guesses(1, fmt.Sprint("user", i), office)
	}
	f.want("30s", "bob", right, office)
	f.want(granted, "alice", right, office) // a user who has logged in from there lately is not locked
	f.want(granted, "bob", right, home)
	f.pass(30 * time.Second)
	f.want(granted, "bob", right, office)
	for i := range 25 {
		f.guesses(1, fmt.Sprint("again", i), office)
	}
	f.want("1m0s", "carol", right, office)
}

// Accounts whose names share a record are separate: a login of one does not clear guesses at the
// other.
func TestALoginOfAnotherAccountClearsNothing(t *testing.T) {
	for _, names := range [][2]string{{"jürgen", "mällory"}, {"alice@corp", "alice@students"}, {"alice@corp", "alice"},
		{"alice", "Alice"}} {
		f := newFixture(t)
		asked := 0
		for i := range 15 * 60 {
			if f.try(names[0], fmt.Sprint("guess", i), office) == refused {
				asked++
			}
			f.try(names[1], right, office)
			f.pass(time.Second)
		}
		if asked < 5 || asked >= 12 {
			t.Errorf("%q beside logins of %q: PAM got %d wrong passwords in 15 minutes", names[0], names[1], asked)
		}
	}
}

// A success that a cache gave is no news for PAM's own counters.
func TestASuccessThatPAMWasNotAskedAboutClearsNothing(t *testing.T) {
	f := newFixture(t)
	f.guesses(4, "alice", office)
	a, err := f.Begin(t.Context(), "alice", right, office)
	if err != nil {
		t.Fatal(err)
	}
	a.Succeed([]byte("from a cache"))
	f.pass(time.Second)
	f.guesses(1, "alice", office)
	f.want("30s", "alice", right, office)
}

func TestSpellingsOfANonASCIINameShareTheirTriesInANetwork(t *testing.T) {
	for _, names := range [][]string{
		{"jürgen", "JÜRGEN", "jürgen@corp.example", `CORP\jürgen`},
		{"sam", "s\u034fam", "sa\ufe00m", "ｓａｍ"},
	} {
		f := newFixture(t)
		asked := 0
		for i := range 15 * 60 {
			if f.try(names[i%len(names)], fmt.Sprint("guess", i), oneOfA48(i)) == refused {
				asked++
			}
			f.pass(time.Second)
		}
		if asked < 5 || asked >= 12 {
			t.Errorf("%q: PAM heard %d passwords", names, asked)
		}
	}
}

func TestANetworkDoesNotTakeAllNamesBeyondASCIIForOne(t *testing.T) {
	f := newFixture(t)
	for i := range 20 {
		f.try("ü", fmt.Sprint("guess", i), oneOfA48(i))
	}
	f.want(granted, "müller", right, "2001:db8:1:fff::1")
}

// pam_faillock counts for 15 minutes by default.
func TestGuessingForAQuarterOfAnHourStaysBelowTwelve(t *testing.T) {
	for _, c := range []struct {
		name string
		from func(i int) string
	}{
		{"one IPv4 address", ipv4}, {"a /64", oneOfA64}, {"a /48", oneOfA48},
	} {
		f := newFixture(t)
		f.try("alice", right, c.from(0)) // a user who is trusted there is no easier to guess
		asked := 0
		for i := range 15 * 60 {
			if f.try("alice", fmt.Sprint("guess", i), c.from(i)) == refused {
				asked++
			}
			f.pass(time.Second)
		}
		if asked < 5 || asked >= 12 {
			t.Errorf("%s: PAM got %d passwords", c.name, asked)
		}
	}
}

func TestAnUnknownAddressIsNotLocked(t *testing.T) {
	f := newFixture(t)
	for i := range 60 {
		f.guesses(1, fmt.Sprint("user", i), "")
	}
	f.want(granted, "bob", right, "") // it stands for all clients
}

func TestWithAThousandRefusalsEverybodyHasFewerTriesAndNobodyIsLocked(t *testing.T) {
	f := newFixture(t)
	f.guesses(1, "carol", home)
	for i := range alertFailures - 1 {
		f.guesses(1, fmt.Sprint("user", i), fmt.Sprintf("10.%d.%d.1", i/256, i%256))
	}
	f.want(granted, "alice", right, office)
	f.guesses(2, "bob", office)
	f.want("30s", "bob", right, office)
	f.pass(time.Second)
	f.guesses(1, "carol", home)
	f.want("30s", "carol", right, home)
	for i := range 10 - 2 {
		f.guesses(1, fmt.Sprint("u", i), office)
	}
	f.want("30s", "dave", right, office)
	f.pass(buckets * bucket)
	f.guesses(4, "erin", home)
	f.want(granted, "erin", right, home)
}

func TestLoginsInFlightCountAsRefused(t *testing.T) {
	f := newFixture(t)
	var under []*Attempt
	for i := range 5 {
		a, err := f.Begin(t.Context(), "alice", fmt.Sprint("guess", i), office)
		if err != nil {
			t.Fatal(err)
		}
		under = append(under, a)
	}
	f.want("30s", "alice", "sixth", office) // as if all had been refused already
	under[0].Cancel()
	under[1].Fail(0)
	f.want(granted, "alice", right, office) // uses the try of the cancelled one
	under[2].Fail(0)
	f.guesses(1, "alice", office)
}

// The clock may be set by an hour either way: after the next login, no lock is longer than the
// longest.
func TestTheClockMayJump(t *testing.T) {
	for _, jump := range []time.Duration{time.Hour, -time.Hour, -time.Minute, -time.Second} {
		t.Run(jump.String(), func(t *testing.T) {
			f := newFixture(t)
			f.want(granted, "bob", right, office)
			f.guesses(5, "alice", office)
			f.want(refused, "carol", "stale", office)
			f.pass(jump)
			f.try("alice", right, office)
			f.pass(longestLock)
			f.want(granted, "alice", right, office)
			f.want(granted, "bob", right, office)
			f.want(granted, "carol", right, office)
			f.guesses(5, "alice", office)
			f.want("30s", "alice", right, office)
			f.pass(-jump)
			f.try("alice", right, office)
			f.pass(longestLock)
			f.want(granted, "alice", right, office)
		})
	}
}

// fullStore is a store with a full disk.
type fullStore struct{ store.Store }

var errFull = errors.New("no space left on device")

func (fullStore) Get(context.Context, ...string) ([][]byte, error) { return nil, errFull }
func (fullStore) Update(context.Context, []string, store.Change) error {
	return errFull
}

func TestAFailingStoreLocksNobodyOutAndIsReported(t *testing.T) {
	f := newFixture(t)
	var said []string
	f.Store, f.Report = fullStore{}, func(err error) { said = append(said, err.Error()) }
	f.guesses(10, "alice", office)
	f.want(granted, "alice", right, office)
	if len(said) == 0 || !strings.Contains(said[0], "store of the throttle: no space left") {
		t.Errorf("reported %q", said)
	}
}

// recordingStore records all writes, and counts round trips.
type recordingStore struct {
	store.Store
	written strings.Builder
	calls   atomic.Int64
}

func (s *recordingStore) Get(ctx context.Context, keys ...string) ([][]byte, error) {
	s.calls.Add(1)
	return s.Store.Get(ctx, keys...)
}

func (s *recordingStore) Update(ctx context.Context, keys []string, change store.Change) error {
	s.calls.Add(1)
	return s.Store.Update(ctx, keys, func(old []store.Record) []store.Record {
		records := change(old)
		for i, r := range records {
			s.written.WriteString(keys[i] + string(r.Value))
		}
		return records
	})
}

// A store on another machine costs every login a few round trips, and one that is away a single
// wait.
func TestALoginTakesFewRoundTrips(t *testing.T) {
	for _, c := range []struct {
		name, password, remote string
		want                   int64
	}{
		{"a wrong password", "wrong", office, 4},
		{"a wrong password from IPv6", "wrong", oneOfA48(1), 4},
		{"the right password", right, office, 4},
		{"the right password from IPv6", right, oneOfA48(1), 4},
	} {
		f := newFixture(t)
		s := &recordingStore{Store: f.Store}
		f.Store = s
		f.try("alice", c.password, c.remote)
		if s.calls.Load() != c.want {
			t.Errorf("%s takes %d round trips, want %d", c.name, s.calls.Load(), c.want)
		}
		f = newFixture(t)
		s = &recordingStore{Store: fullStore{}}
		f.Store, f.Report = s, nil
		f.try("alice", c.password, c.remote)
		if s.calls.Load() != 1 {
			t.Errorf("%s waits %d times for a store that is away", c.name, s.calls.Load())
		}
	}
}

func TestNothingReadableIsWritten(t *testing.T) {
	one, other := newFixture(t), newFixture(t)
	other.Secret = []byte("another")
	seen := make([]string, 2)
	for i, f := range []*fixture{one, other} {
		s := &recordingStore{Store: f.Store}
		f.Store = s
		f.want(refused, "alice", "hunter2", office)
		seen[i] = s.written.String()
		for _, word := range []string{"alice", "hunter2", office} {
			if strings.Contains(seen[i], word) {
				t.Errorf("%q is written", word)
			}
		}
	}
	if strings.Contains(seen[1], seen[0][:16]) {
		t.Error("a key does not depend on the secret")
	}
}

// countAddress counts a refused text that nobody has sent before.
func (f *fixture) countAddress(remote string) string {
	f.t.Helper()
	f.texts++
	return f.countText(fmt.Sprint("text ", f.texts), remote)
}

func (f *fixture) countText(text, remote string) string {
	f.t.Helper()
	err := f.CountAddress(f.t.Context(), text, remote)
	var locked *Locked
	switch {
	case errors.As(err, &locked):
		return locked.After.String()
	case err != nil:
		f.t.Fatal(err)
	}
	return refused
}

func TestARefusalWithoutAPasswordCountsAgainstTheAddressAlone(t *testing.T) {
	f := newFixture(t)
	f.want(granted, "alice", right, office)
	for range 50 {
		if got := f.countAddress(office); got != refused {
			t.Fatal(got)
		}
	}
	if got := f.countAddress(office); got != "30s" {
		t.Errorf("the 51st: %s", got)
	}
	f.want("30s", "bob", right, office)
	f.want(granted, "alice", right, office) // who has logged in from there
	f.want(granted, "bob", right, home)
	f.pass(30 * time.Second)
	if got := f.countAddress(office); got != refused { // the lock has counted nothing
		t.Errorf("after the lock: %s", got)
	}
	f.want(granted, "bob", right, office)
}

func TestARefusalWithoutAPasswordCountsAgainstTheNetwork(t *testing.T) {
	f := newFixture(t)
	for i := range 200 {
		if got := f.countAddress(fmt.Sprintf("2001:db8:1:%x::1", i)); got != refused {
			t.Fatal(got)
		}
	}
	if got := f.countAddress("2001:db8:1:ffff::1"); got != "30s" {
		t.Errorf("from another address of the network: %s", got)
	}
	for range 201 { // all clients without an address would be locked together
		if got := f.countAddress(""); got != refused {
			t.Fatalf("without an address: %s", got)
		}
	}
}

// A job repeats its old token without end, and must not lock out those behind the same address.
func TestARepeatedTextCountsOnce(t *testing.T) {
	f := newFixture(t)
	for i := range 200 {
		if got := f.countText("stale", office); got != refused {
			t.Fatalf("%d: %s", i, got)
		}
	}
	f.want(granted, "bob", right, office)
	for range 48 {
		f.countAddress(office)
	}
	f.pass(repeatWindow) // then it counts again
	if got := f.countText("stale", office); got != refused {
		t.Error(got)
	}
	if got := f.countText("stale", home); got != refused {
		t.Errorf("from another address: %s", got)
	}
	if got := f.countText("stale", office); got != "30s" {
		t.Errorf("at a locked address: %s", got)
	}
}

func TestALockedAddressCountsNothingAgainstItsNetwork(t *testing.T) {
	f := newFixture(t)
	for range 300 {
		f.countAddress("2001:db8:1:1::1")
	}
	if got := f.countAddress("2001:db8:1:2::1"); got != refused {
		t.Errorf("from another address of the network: %s", got)
	}
}

func TestWhatCannotBeCountedIsNoLock(t *testing.T) {
	f := newFixture(t)
	reported := 0
	f.Store, f.Report = fullStore{}, func(error) { reported++ }
	if got := f.countAddress(office); got != refused || reported != 1 {
		t.Errorf("%s, reported %d times", got, reported)
	}
}
