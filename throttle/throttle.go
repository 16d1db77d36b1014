// Package throttle slows down password guessing.
//
// Failed passwords count against the user at the address of the client, and with higher limits
// against the address, its IPv6 network and the whole service. A user, an address or a network with
// too many failures is locked, each time for longer. The whole service is never locked, because
// anyone could then lock out all users. After very many failures all limits are lower.
//
// One password of one user from one network is checked once at a time, in all processes that share
// the store. Equal logins wait for that check and get its answer. A password that has just failed
// is refused again from memory, because containerd sends it by POST and then by GET, and a job with
// a stale password repeats it without end. It counts once, here and behind PAM (pam_faillock).
package throttle

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"dockerauth/store"
)

// Throttle counts failures in a store. Store, Secret, Timeout and Checks must be set.
type Throttle struct {
	Store  store.Store
	Secret []byte // of the hashes that replace names, addresses and passwords in the store

	// ConfigVersion identifies the configuration. A password that failed under another version is
	// checked again, since a setting may have refused it.
	ConfigVersion string

	// Delay is the time from the start of an attempt until its client is told of a failure.
	Delay time.Duration

	// Timeout is the longest duration of a check, without the time to end its process.
	Timeout time.Duration

	Now    func() time.Time // nil = time.Now
	Report func(error)      // called when the store fails, and nothing is counted; nil = none

	Checks *Checks // that run in this process, shared by its throttles
}

// Attempt is one password to be checked. Unless Answer has one, exactly one of Succeed, Fail,
// Cancel and Unanswered is to be called when the check has ended.
//
// Failures and locks count from the start of the attempt: a lock that started with the failure
// would reveal when PAM answered.
type Attempt struct {
	throttle *Throttle
	keys     keys
	flight   *flight
	answer   []byte
	owner    uint64
	began    time.Time
	lease    time.Time // when this attempt counts as dead
	counted  int       // how many records of keys.users have the attempt
	asked    bool      // PAM may have been asked
	isRight  bool      // the password has just been right, for an equal login that this one waited for
}

// Begin registers a password that is about to be checked; remote is the client's IP address, "" =
// unknown. One that is IPv4 is not in an IPv6 notation. While another attempt checks the same
// password, Begin waits and returns the answer of that attempt. The error is a *Repeated,
// ErrUnanswered, a *Locked or that of the context; then the password must not be checked.
func (t *Throttle) Begin(ctx context.Context, user, password, remote string) (*Attempt, error) {
	a := &Attempt{throttle: t, keys: keysOf(t.Secret, t.ConfigVersion, user, password, remote), began: t.now(),
		owner: rand.Uint64() | 1}
	ctx, cancel := context.WithTimeoutCause(ctx, t.Timeout+waitMargin, ErrUnanswered)
	defer cancel()
	for {
		f, first := t.Checks.join(a.keys.tag, remote)
		if first {
			a.flight = f
			return a.lead(ctx)
		}
		if err := a.mayWait(); err != nil {
			return nil, err
		}
		select {
		case <-f.landed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		switch f.outcome {
		case failed:
			return nil, &Repeated{f.reason, max(0, f.again.Sub(t.now()))}
		case unanswered:
			return nil, ErrUnanswered
		case succeeded:
			if f.remote == remote { // PAM's rules may depend on the address
				a.answer = f.answer
			}
			a.isRight = true
			return a, nil
		}
	}
}

// lead is Begin for the first attempt of this process with this password.
func (a *Attempt) lead(ctx context.Context) (*Attempt, error) {
	leads, result := false, unknown
	defer func() { // also after a panic: others wait
		if !leads {
			a.flight.land(result, a.answer)
			a.flight = nil
		}
	}()
	err := error(nil)
	if len(a.keys.users) > 1 {
		err = a.mayWait()
	}
	if err == nil {
		err = a.claim()
	}
	for pause := firstPoll; errors.Is(err, errWait); pause = min(2*pause, lastPoll) {
		select {
		case <-time.After(pause):
			err = a.poll()
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	repeated := (*Repeated)(nil)
	switch {
	case errors.As(err, &repeated):
		result = failed
		a.flight.reason, a.flight.again = repeated.Reason, a.throttle.now().Add(repeated.After)
	case errors.Is(err, ErrUnanswered):
		result = unanswered
	case err == nil && a.isRight:
		result = succeeded
	case err == nil:
		leads = true
	}
	if err != nil {
		return nil, err
	}
	return a, nil
}

// mayWait refuses a login that has no try at its own address, before it learns from a wait, or from
// a failure at another address of the network, that the password is one that somebody else has
// sent.
func (a *Attempt) mayWait() error {
	t, now := a.throttle, a.throttle.now()
	own := a.keys.users[len(a.keys.users)-1]
	w, widerErr := t.readWider(a.keys, now)
	r, err := t.get(own.key, now)
	if err = errors.Join(widerErr, err); err != nil {
		t.report(err)
		return nil //nolint:nilerr // logins must work without the store
	}
	var refusal error
	if r.find(a.keys.tag) == nil {
		refusal = r.refuse(a.keys.tag, now, w.lockedUntil, own.limit.during(w.alert))
	} else if r.isOverrun(now) {
		refusal = r.full(now)
	}
	if refusal != nil {
		a.updateRecord(own.key, now, func(r *record) { r.overrun = now })
	}
	return refusal
}

// Answers of other processes are polled at growing intervals.
const (
	firstPoll = 5 * time.Millisecond
	lastPoll  = 100 * time.Millisecond
)

// claim registers this attempt in the store as the one that checks the password.
func (a *Attempt) claim() error {
	t, now := a.throttle, a.throttle.now()
	w, err := t.readWider(a.keys, now)
	if err != nil {
		t.report(err)
	}
	a.lease = now.Add(t.Timeout + leaseMargin)
	c := claimRequest{tag: a.keys.tag, owner: a.owner, now: now, lease: a.lease, delay: t.Delay}
	for i, u := range a.keys.users {
		c.address = a.addressLock(i, w)
		var refusal error
		dead := 0
		err := t.Store.Update(u.key, func(old []byte) ([]byte, time.Time) {
			r := decode(old)
			r.advance(now)
			limit := u.limit.during(w.alert)
			dead = r.expireLeases(now, limit)
			refusal = r.claim(c, limit)
			return r.encode(), r.expires(now)
		})
		if err != nil {
			t.report(err)
			return nil // logins must work with a full disk
		}
		if i == len(a.keys.users)-1 { // those of the network's record may be of other addresses
			for range dead {
				a.countWider(now, w.alert)
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
		return a.claim() // marks the answer as awaited if another attempt has claimed first
	case p.outcome == failed:
		return p.repeated(now)
	case p.outcome == unanswered:
		return ErrUnanswered
	}
	sealed, _ := t.Store.Get(a.keys.answerKey)
	if sealed == nil && now.Sub(p.ended).Abs() < lastPoll {
		return errWait // not yet written
	}
	// It succeeded. The answer is nil for another address, or if it was too long to keep.
	a.isRight, a.answer = true, unseal(a.keys.sealKey, sealed)
	return nil
}

// Answer is the argument of Succeed of the equal login that this one waited for, nil if there was
// none. A login from another address of the network asks PAM itself, since PAM rules may depend on
// the address. It does not wait any longer, because its password is right.
func (a *Attempt) Answer() []byte { return a.answer }

// Recheck reports whether the password may still be checked after the login has waited. The error
// is a *Locked. After nil, PAM counts as asked.
func (a *Attempt) Recheck() error {
	t, now := a.throttle, a.throttle.now()
	w, err := t.readWider(a.keys, now)
	if err == nil && a.counted > 0 {
		err = a.recheckUsers(now, w)
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

func (a *Attempt) recheckUsers(now time.Time, w wider) error {
	for i, u := range a.keys.users[:a.counted] {
		r, err := a.throttle.get(u.key, now)
		if err != nil {
			return err
		}
		if err := r.locked(now, a.addressLock(i, w)); err != nil {
			return err
		}
		p := r.find(a.keys.tag)
		if !a.lease.After(now) || p != nil && p.owner != a.owner {
			return &Locked{minRetryAfter,
				"this attempt took so long that it counts as dead: the user at this address is locked"}
		}
	}
	return nil
}

// addressLock is until when the address is locked, for the i-th record of the user. Only the last
// one, of the user at the address, knows whether that lock applies.
func (a *Attempt) addressLock(i int, w wider) time.Time {
	if i < len(a.keys.users)-1 {
		return time.Time{}
	}
	return w.lockedUntil
}

// wider is what is known beyond the user: of the whole service and of the address.
type wider struct {
	alert       bool      // very many failures in the whole service
	lockedUntil time.Time // of the address or its network
}

func (t *Throttle) readWider(k keys, now time.Time) (w wider, err error) {
	whole, err := t.get(k.service, now)
	if err != nil {
		return w, err
	}
	w.alert = whole.failures() >= alertFailures
	for _, n := range k.networks {
		r, err := t.get(n.key, now)
		if err != nil {
			return w, err
		}
		if r.lockedUntil.After(w.lockedUntil) {
			w.lockedUntil = r.lockedUntil
		}
	}
	return w, nil
}

func (t *Throttle) get(key string, now time.Time) (record, error) {
	old, err := t.Store.Get(key)
	r := decode(old)
	r.advance(now)
	return r, err
}

// Succeed clears the failures of the user. Equal logins that wait get the answer, which must not be
// empty and is stored encrypted.
func (a *Attempt) Succeed(answer []byte) {
	defer a.flight.land(succeeded, answer)
	awaited := false
	a.update(func(r *record, _ limit, now time.Time) {
		awaited = r.succeed(a.keys.tag, a.keys.name, a.asked, now) || awaited
	})
	if awaited {
		a.keep(answer)
	}
}

// keep stores the answer for other processes. Without it they ask PAM themselves.
func (a *Attempt) keep(answer []byte) {
	until := a.throttle.now().Add(answerWindow)
	err := a.throttle.Store.Update(a.keys.answerKey,
		func([]byte) ([]byte, time.Time) { return seal(a.keys.sealKey, answer), until })
	if err != nil && !errors.Is(err, store.ErrTooLong) {
		a.throttle.report(err)
	}
}

// Fail counts the password, once.
func (a *Attempt) Fail(reason Reason) {
	defer a.flight.land(failed, nil)
	if a.flight != nil {
		a.flight.reason, a.flight.again = reason, a.began.Add(repeatWindow)
	}
	w, err := a.throttle.readWider(a.keys, a.throttle.now())
	if err != nil {
		a.throttle.report(err)
	}
	isNew := a.isRight // a password that is right elsewhere is counted, and not remembered as wrong
	if a.isRight {
		a.counted = len(a.keys.users)
	}
	a.update(func(r *record, l limit, now time.Time) {
		if !a.isRight {
			isNew = r.fail(a.keys.tag, a.keys.name, min(reason, MaxReason), a.began, now)
		}
		if isNew {
			r.count(now, r.lastLogin(a.began), l.during(w.alert))
		}
	})
	if isNew {
		a.countWider(a.throttle.now(), w.alert)
	}
}

// countWider counts a failure against the address, its network and the service.
func (a *Attempt) countWider(now time.Time, alert bool) {
	for _, n := range a.keys.networks {
		a.updateRecord(n.key, now, func(r *record) { r.count(now, a.began, n.limit.during(alert)) })
	}
	a.updateRecord(a.keys.service, now, func(r *record) { r.count(now, a.began, noLimit) })
}

// Cancel withdraws the attempt. It counts as unanswered if Recheck has allowed it.
func (a *Attempt) Cancel() {
	outcome := unknown
	if a.asked {
		outcome = unanswered
	}
	defer a.flight.land(outcome, nil)
	a.release()
}

func (a *Attempt) release() {
	a.update(func(r *record, _ limit, now time.Time) { r.cancel(a.keys.tag, a.keys.name, a.owner, a.asked, now) })
}

// Unanswered ends an attempt for which PAM was asked and gave no answer.
func (a *Attempt) Unanswered() {
	a.asked = true
	a.Cancel()
}

// update changes the records of the user that have the attempt. The first one is last, because the
// next attempt with this password waits for it.
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
		t.Report(fmt.Errorf("store of the throttle: %w", err))
	}
}
