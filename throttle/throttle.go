// Package throttle slows down password guessing, and nothing else.
//
// Failed passwords count against the user at the client's address; more slowly, against the address
// and its IPv6 network; and for the service as a whole. A user, an address or a network with too
// many of them is locked for a while that grows. The service as a whole is never locked: anyone
// could then keep everybody out. When it sees very many failures, everybody gets fewer tries.
//
// One password of one user from one address is checked once at a time, in all processes that share
// the store. Equal logins wait for that check and get its answer. A password that failed a moment
// ago is refused again from memory: containerd asks by POST and then by GET, and a job with a stale
// password asks for ever. It counts once, here and in what counts behind PAM (pam_faillock).
package throttle

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"dockerauth/store"
)

var (
	// ErrRepeated says that the same password of the same user at the same address failed less than
	// a minute ago.
	ErrRepeated = errors.New("the same password failed a moment ago, PAM is not asked again")

	// ErrUnanswered says that PAM is not asked so soon again: it gave no answer to the equal login
	// that this one waited for, or to the last five of this user.
	ErrUnanswered = errors.New("pam gave no answer to the last logins of this user, and is not asked again so soon")

	errWait = errors.New("another attempt checks this password")
)

// Locked says that a password is not checked before a time has passed.
type Locked struct {
	After time.Duration // more than 0
	Cause string        // for the operator
}

func (l *Locked) Error() string {
	return fmt.Sprintf("%s for another %s", l.Cause, l.After.Round(time.Second))
}

// Throttle keeps count. Store, Secret and Timeout must be set.
type Throttle struct {
	Store  store.Store
	Secret []byte // keys what is written to the store: names, addresses and passwords cannot be read back

	// ConfigVersion: a password that failed under another one is checked again, since a setting may
	// have refused it.
	ConfigVersion string

	// Delay is for how long, from the start of an attempt, its client does not hear of a failure.
	Delay time.Duration

	// Timeout is the longest time that a check takes, and the longest wait for another attempt's
	// check.
	Timeout time.Duration

	Now    func() time.Time // nil = time.Now
	Report func(error)      // told when the store fails, and so nothing is counted; nil = nobody

	flights flights
}

// Attempt is one password to be checked. Unless Answer has one, exactly one of Succeed, Fail,
// Cancel and Unanswered is to be called when the check has ended.
//
// Everything is counted as of the attempt's start: a lock that ran from the moment of a failure
// would tell when PAM answered.
type Attempt struct {
	throttle *Throttle
	keys     keys
	flight   *flight
	answer   []byte
	owner    uint64
	began    time.Time
	counted  int  // in how many of keys.users the store knows of it
	asked    bool // PAM may have been asked
	known    bool // the password was right a moment ago, for another address
}

// Begin registers a password that is about to be checked; remote is the client's IP address, "" =
// unknown. While another attempt checks the same password, it waits and returns that attempt's
// answer. The error is ErrRepeated, ErrUnanswered, a *Locked or the context's; then the password
// is not to be checked.
func (t *Throttle) Begin(ctx context.Context, user, password, remote string) (*Attempt, error) {
	a := &Attempt{throttle: t, keys: t.keysOf(user, password, remote), began: t.now(), owner: rand.Uint64() | 1}
	ctx, cancel := context.WithTimeoutCause(
		ctx,
		t.Timeout,
		&Locked{minRetryAfter, "the same login is still in flight: it is locked"},
	)
	defer cancel()
	for {
		f, first := t.flights.join(a.keys.tag, remote)
		if first {
			a.flight = f
			return a.lead(ctx)
		}
		select {
		case <-f.landed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		switch {
		case f.outcome == failed:
			return nil, ErrRepeated
		case f.outcome == unanswered:
			return nil, ErrUnanswered
		case f.outcome == succeeded:
			if f.remote == remote { // PAM's rules may depend on the address
				a.answer = f.answer
			}
			a.known = true
			return a, nil
		}
	}
}

// lead is Begin for the only attempt of this process that has this password.
func (a *Attempt) lead(ctx context.Context) (*Attempt, error) {
	leads, result := false, unknown
	defer func() { // a panic must not leave the others waiting
		if !leads {
			a.flight.land(result, a.answer)
			a.flight = nil
		}
	}()
	err := a.claim()
	for pause := firstPoll; errors.Is(err, errWait); pause = min(2*pause, lastPoll) {
		select {
		case <-time.After(pause):
			err = a.poll()
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	switch {
	case errors.Is(err, ErrRepeated):
		result = failed
	case errors.Is(err, ErrUnanswered):
		result = unanswered
	case err == nil && a.known:
		result = succeeded
	case err == nil:
		leads = true
	}
	if err != nil {
		return nil, err
	}
	return a, nil
}

// Answers of other processes are polled for, at growing intervals.
const (
	firstPoll = 5 * time.Millisecond
	lastPoll  = 100 * time.Millisecond
)

// claim asks the store whether this attempt may check the password.
func (a *Attempt) claim() error {
	t, now := a.throttle, a.throttle.now()
	around, err := t.lookAround(a.keys, now)
	if err != nil {
		t.report(err)
	}
	c := claim{tag: a.keys.tag, owner: a.owner, now: now, lease: t.Timeout + leaseMargin, delay: t.Delay}
	for i, u := range a.keys.users {
		c.address = time.Time{}
		if i == len(a.keys.users)-1 {
			c.address = around.lockedUntil
		}
		var refusal error
		dead := 0
		err := t.Store.Update(u.key, func(old []byte) ([]byte, time.Time) {
			r := decode(old)
			r.advance(now)
			limit := u.limit.during(around.alert)
			dead = r.bury(now, limit)
			refusal = r.claim(c, limit)
			return r.encode(), r.expires(now)
		})
		if err != nil {
			t.report(err)
			return nil // accounts must be reachable with a full disk
		}
		if a.counted == 0 {
			for range dead {
				a.countAround(now, around.alert)
			}
		}
		if refusal != nil {
			a.release()
			return refusal
		}
		a.counted++
	}
	return nil
}

// poll looks for the answer of the attempt that this one waits for.
func (a *Attempt) poll() error {
	t, now := a.throttle, a.throttle.now()
	r, err := t.get(a.keys.users[0].key, now)
	if err != nil {
		return a.claim()
	}
	p := r.find(a.keys.tag)
	switch {
	case p == nil:
		return a.claim()
	case p.ended.Before(a.began.Truncate(time.Millisecond)) || p.outcome == unknown:
		if p.owner != 0 && p.lease.After(now) && p.awaited {
			return errWait
		}
		return a.claim() // which says again that an answer is awaited, if another attempt was quicker
	case p.outcome == failed:
		return ErrRepeated
	case p.outcome == unanswered:
		return ErrUnanswered
	}
	sealed, _ := t.Store.Get(a.keys.answer)
	if sealed == nil && now.Sub(p.ended).Abs() < lastPoll {
		return errWait // it is about to be written
	}
	a.known, a.answer = true, open(a.keys.seal, sealed) // nil for another address, or if it was too long to keep
	return nil
}

// Answer is what Succeed was given by the equal login that this one waited for, nil if there was
// none. A login from another address of the network asks PAM itself, since PAM's rules may depend
// on the address; it need not wait any longer, for its password is right.
func (a *Attempt) Answer() []byte { return a.answer }

// Recheck says whether the password may still be checked, for a login that has waited for its turn.
// The error is a *Locked. Without one PAM counts as asked from here on.
func (a *Attempt) Recheck() error {
	t, now := a.throttle, a.throttle.now()
	around, err := t.lookAround(a.keys, now)
	if err == nil && a.counted > 0 {
		err = a.recheckUsers(now, around)
	}
	if errors.As(err, new(*Locked)) {
		return err
	}
	if err != nil {
		t.report(err)
	}
	a.asked = true
	return nil
}

func (a *Attempt) recheckUsers(now time.Time, around around) error {
	for i, u := range a.keys.users {
		r, err := a.throttle.get(u.key, now)
		if err != nil {
			return err
		}
		address := time.Time{}
		if i == len(a.keys.users)-1 {
			address = around.lockedUntil
		}
		if err := r.locked(now, address); err != nil {
			return err
		}
		if p := r.find(a.keys.tag); p == nil || p.owner != a.owner {
			return &Locked{
				minRetryAfter,
				"this attempt took so long that it counts as dead: the user at this address is locked",
			}
		}
	}
	return nil
}

// around is what is known beyond the user.
type around struct {
	alert       bool      // very many failures in the whole service
	lockedUntil time.Time // of the address or its network
}

func (t *Throttle) lookAround(k keys, now time.Time) (a around, err error) {
	whole, err := t.get(k.service, now)
	if err != nil {
		return a, err
	}
	a.alert = whole.failures() >= alertFailures
	for _, n := range k.around {
		r, err := t.get(n.key, now)
		if err != nil {
			return a, err
		}
		if r.lockedUntil.After(a.lockedUntil) {
			a.lockedUntil = r.lockedUntil
		}
	}
	return a, nil
}

func (t *Throttle) get(key string, now time.Time) (record, error) {
	old, err := t.Store.Get(key)
	r := decode(old)
	r.advance(now)
	return r, err
}

// Succeed clears the user's failures. The answer goes to equal logins that wait: it must not be
// empty, and it is not kept in readable form.
func (a *Attempt) Succeed(answer []byte) {
	defer a.flight.land(succeeded, answer)
	awaited := false
	a.update(func(r *record, _ limit, now time.Time) {
		awaited = r.succeed(a.keys.tag, a.keys.name, now) || awaited
	})
	if awaited {
		a.keep(answer)
	}
}

// keep leaves the answer for other processes. One that the store does not take makes them ask PAM.
func (a *Attempt) keep(answer []byte) {
	until := a.throttle.now().Add(answerWindow)
	err := a.throttle.Store.Update(
		a.keys.answer,
		func([]byte) ([]byte, time.Time) { return seal(a.keys.seal, answer), until },
	)
	if err != nil && !errors.Is(err, store.ErrTooLong) {
		a.throttle.report(err)
	}
}

// Fail counts the password, once.
func (a *Attempt) Fail() {
	defer a.flight.land(failed, nil)
	around, err := a.throttle.lookAround(a.keys, a.throttle.now())
	if err != nil {
		a.throttle.report(err)
	}
	counted := false
	if a.known { // what is right for others must not be remembered as wrong
		a.counted = len(a.keys.users)
	}
	a.update(func(r *record, l limit, now time.Time) {
		if counted = a.known || r.fail(a.keys.tag, a.keys.name, a.began, now); counted {
			r.count(now, r.lastShown(a.began), l.during(around.alert))
		}
	})
	if counted {
		a.countAround(a.throttle.now(), around.alert)
	}
}

// countAround counts a failure against the address, its network and the service.
func (a *Attempt) countAround(now time.Time, alert bool) {
	for _, n := range a.keys.around {
		a.updateRecord(n.key, now, func(r *record) { r.count(now, a.began, n.limit.during(alert)) })
	}
	a.updateRecord(a.keys.service, now, func(r *record) { r.count(now, a.began, noLimit) })
}

// Cancel takes the attempt back: PAM was not asked, unless Recheck has said that it may be.
func (a *Attempt) Cancel() {
	outcome := unknown
	if a.asked {
		outcome = unanswered
	}
	defer a.flight.land(outcome, nil)
	a.release()
}

func (a *Attempt) release() {
	a.update(func(r *record, _ limit, now time.Time) { r.cancel(a.keys.tag, a.owner, a.asked, now) })
}

// Unanswered ends an attempt that PAM was asked about and gave no answer to.
func (a *Attempt) Unanswered() {
	a.asked = true
	a.Cancel()
}

// update changes the records of the user that know of the attempt, the first one last: there the
// next attempt with this password waits.
func (a *Attempt) update(change func(*record, limit, time.Time)) {
	now := a.throttle.now()
	for i := a.counted - 1; i >= 0; i-- {
		u := a.keys.users[i]
		a.updateRecord(u.key, now, func(r *record) { change(r, u.limit, now) })
	}
	a.counted = 0
}

func (a *Attempt) updateRecord(key string, now time.Time, change func(*record)) {
	err := a.throttle.Store.Update(key, func(old []byte) ([]byte, time.Time) {
		r := decode(old)
		r.advance(now)
		change(&r)
		return r.encode(), r.expires(now)
	})
	if err != nil {
		a.throttle.report(err)
	}
}

func (t *Throttle) now() time.Time {
	if t.Now == nil {
		return time.Now()
	}
	return t.Now()
}

func (t *Throttle) report(err error) {
	if t.Report != nil {
		t.Report(fmt.Errorf("count refused passwords: %w", err))
	}
}
