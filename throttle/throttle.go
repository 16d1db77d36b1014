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
	"slices"
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
	ctx      context.Context // without an end: what has begun is counted although the client has gone
	failed   bool            // the store: it is not waited for again
	keys     keys
	flight   *flight
	answer   []byte
	owner    uint64
	began    time.Time
	lease    time.Time // when this attempt counts as dead
	counted  int       // how many records of keys.users have the attempt: all or none
	asked    bool      // PAM may have been asked
	isRight  bool      // the password has just been right, for an equal login that this one waited for
}

// Begin registers a password that is about to be checked; remote is the client's IP address, "" =
// unknown. One that is IPv4 is not in an IPv6 notation. While another attempt checks the same
// password, Begin waits and returns the answer of that attempt. The error is a *Repeated,
// ErrUnanswered, a *Locked or that of the context; then the password must not be checked.
func (t *Throttle) Begin(ctx context.Context, user, password, remote string) (*Attempt, error) {
	a := &Attempt{throttle: t, ctx: context.WithoutCancel(ctx), began: t.now(), owner: rand.Uint64() | 1,
		keys: keysOf(t.Secret, t.ConfigVersion, user, password, remote)}
	ctx, cancel := context.WithTimeoutCause(ctx, t.Timeout+waitMargin, ErrUnanswered)
	defer cancel()
	for {
		f, first := t.Checks.join(a.keys.tag, remote)
		if first {
			a.flight = f
			return a.lead(ctx)
		}
		if _, err := a.mayWait(); err != nil {
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
	var w wider
	err := error(nil)
	if len(a.keys.users) > 1 {
		w, err = a.mayWait()
	} else {
		w = a.readWider()
	}
	if err == nil {
		err = a.claim(w)
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
func (a *Attempt) mayWait() (wider, error) {
	own := a.keys.users[len(a.keys.users)-1]
	now := a.throttle.now()
	w, records, err := a.read([]recordKey{own}, now)
	if err != nil {
		return w, nil //nolint:nilerr // logins must work without the store
	}
	var refusal error
	if r := &records[0]; r.find(a.keys.tag) == nil {
		refusal = r.refuse(a.keys.tag, now, w.lockedUntil, own.limit.during(w.alert))
	} else if r.isOverrun(now) {
		refusal = r.full(now)
	}
	if refusal != nil {
		_ = a.update([]recordKey{own}, now, func(records []record) { records[0].overrun = now })
	}
	return w, refusal
}

// Answers of other processes are polled at growing intervals.
const (
	firstPoll = 5 * time.Millisecond
	lastPoll  = 100 * time.Millisecond
)

// claim registers this attempt in the store as the one that checks the password.
func (a *Attempt) claim(w wider) error {
	t, now := a.throttle, a.throttle.now()
	a.lease = now.Add(t.Timeout + leaseMargin)
	users := a.keys.users
	var refusal error
	dead := 0
	err := a.update(users, now, func(records []record) {
		for i := range records {
			r, limit := &records[i], users[i].limit.during(w.alert)
			dead = r.expireLeases(now, limit) // those of the network's record may be of other addresses
			refusal = r.claim(claimRequest{tag: a.keys.tag, owner: a.owner, now: now, lease: a.lease, delay: t.Delay,
				address: a.addressLock(i, w)}, limit)
			if refusal != nil {
				if i < len(records)-1 {
					dead = 0
				}
				a.cancel(records[:i], now)
				return
			}
		}
	})
	if err != nil {
		return nil //nolint:nilerr // logins must work with a full disk
	}
	if dead > 0 {
		_ = a.update(a.keys.wider, now, func(records []record) {
			for range dead {
				a.countWider(records, now, w.alert)
			}
		})
	}
	if refusal == nil {
		a.counted = len(users)
	}
	return refusal
}

// poll looks for the answer of the attempt that this one waits for.
func (a *Attempt) poll() error {
	t, now := a.throttle, a.throttle.now()
	values, err := t.Store.Get(a.ctx, a.keys.users[0].key, a.keys.answerKey)
	if err != nil {
		a.fail(err)
		return nil
	}
	r, sealed := decode(values[0]), values[1]
	r.advance(now)
	p := r.find(a.keys.tag)
	switch {
	case p == nil:
		return a.claim(a.readWider())
	case p.ended.Before(a.began.Truncate(time.Millisecond)) || p.outcome == unknown:
		if p.owner != 0 && p.lease.After(now) && p.awaited {
			return errWait
		}
		return a.claim(a.readWider()) // marks the answer as awaited if another attempt has claimed first
	case p.outcome == failed:
		return p.repeated(now)
	case p.outcome == unanswered:
		return ErrUnanswered
	}
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
	if err := a.recheck(a.throttle.now()); err != nil {
		return err
	}
	a.asked = true
	return nil
}

func (a *Attempt) recheck(now time.Time) error {
	if a.counted == 0 {
		return nil
	}
	w, records, err := a.read(a.keys.users, now)
	if err != nil {
		return nil //nolint:nilerr // logins must work without the store
	}
	for i := range records {
		r := &records[i]
		if err := r.locked(now, a.addressLock(i, w)); err != nil {
			return err
		}
		if p := r.find(a.keys.tag); !a.lease.After(now) || p != nil && p.owner != a.owner {
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

// readWider returns zero if the store fails.
func (a *Attempt) readWider() wider {
	w, _, _ := a.read(nil, a.throttle.now())
	return w
}

// read returns what is known beyond the user, and records of the user, in one round trip.
func (a *Attempt) read(users []recordKey, now time.Time) (w wider, records []record, err error) {
	if a.failed {
		return w, nil, errFailed
	}
	values, err := a.throttle.Store.Get(a.ctx, names(append(slices.Clip(users), a.keys.wider...))...)
	if err != nil {
		a.fail(err)
		return w, nil, err
	}
	records = make([]record, len(values))
	for i, value := range values {
		records[i] = decode(value)
		records[i].advance(now)
	}
	return widerOf(records[len(users):]), records[:len(users)], nil
}

// widerOf is what the records of keys.wider say.
func widerOf(records []record) (w wider) {
	last := len(records) - 1
	w.alert = records[last].failures() >= alertFailures
	for i := range records[:last] {
		if r := &records[i]; r.lockedUntil.After(w.lockedUntil) {
			w.lockedUntil = r.lockedUntil
		}
	}
	return w
}

// Succeed clears the failures of the user. Equal logins that wait get the answer, which must not be
// empty and is stored encrypted.
func (a *Attempt) Succeed(answer []byte) {
	defer a.flight.land(succeeded, answer)
	awaited := false
	a.end(func(records []record, now time.Time) {
		awaited = false
		for i := range records {
			awaited = records[i].succeed(a.keys.tag, a.keys.name, a.asked, now) || awaited
		}
	})
	if awaited {
		a.keep(answer)
	}
}

// keep stores the answer for other processes. Without it they ask PAM themselves.
func (a *Attempt) keep(answer []byte) {
	until := a.throttle.now().Add(answerWindow)
	err := a.throttle.Store.Update(a.ctx, []string{a.keys.answerKey}, func([]store.Record) []store.Record {
		return []store.Record{{Value: seal(a.keys.sealKey, answer), Until: until}}
	})
	if err != nil && !errors.Is(err, store.ErrTooLong) {
		a.fail(err)
	}
}

// Fail counts the password, once.
func (a *Attempt) Fail(reason Reason) {
	defer a.flight.land(failed, nil)
	if a.flight != nil {
		a.flight.reason, a.flight.again = reason, a.began.Add(repeatWindow)
	}
	users := a.keys.users[:a.counted]
	if a.isRight { // a password that is right elsewhere is counted, and not remembered as wrong
		users = a.keys.users
	}
	a.counted = 0
	if len(users) == 0 {
		return
	}
	now := a.throttle.now()
	_ = a.update(append(slices.Clip(users), a.keys.wider...), now, func(records []record) {
		wider := records[len(users):]
		alert := wider[len(wider)-1].failures() >= alertFailures
		isNew := a.isRight
		for i := len(users) - 1; i >= 0; i-- {
			r := &records[i]
			if !a.isRight {
				isNew = r.fail(a.keys.tag, a.keys.name, min(reason, MaxReason), a.began, now)
			}
			if isNew {
				r.count(now, r.lastLogin(a.began), users[i].limit.during(alert))
			}
		}
		if isNew {
			a.countWider(wider, now, alert)
		}
	})
}

// CountAddress counts a refused text that is no password, and so about no user: against the address
// of the client, its network and the service. Its repetitions do not count. The error is a *Locked
// if too many were there before.
func (t *Throttle) CountAddress(ctx context.Context, text, remote string) error {
	now := t.now()
	a := &Attempt{
		throttle: t,
		ctx:      context.WithoutCancel(ctx),
		began:    now,
		keys:     keysOf(t.Secret, "", "", text, remote),
	}
	seen := recordKey{key: hasher(t.Secret).hash("refused text", string(a.keys.tag[:]))}
	var refusal error
	err := a.update(append(slices.Clip(a.keys.wider), seen), now, func(records []record) {
		wider, seen := records[:len(records)-1], &records[len(records)-1]
		w := widerOf(wider)
		if refusal = (&record{}).locked(now, w.lockedUntil); refusal != nil || seen.find(a.keys.tag) != nil {
			return
		}
		seen.recent = append(seen.recent, password{tag: a.keys.tag, at: now, outcome: failed, ended: now})
		a.countWider(wider, now, w.alert)
	})
	if err != nil {
		return nil //nolint:nilerr // reported; what cannot be counted is answered all the same
	}
	return refusal
}

// countWider counts a failure against the address, its network and the service.
func (a *Attempt) countWider(records []record, now time.Time, alert bool) {
	for i, k := range a.keys.wider {
		records[i].count(now, a.began, k.limit.during(alert))
	}
}

// Cancel withdraws the attempt. It counts as unanswered if Recheck has allowed it.
func (a *Attempt) Cancel() {
	outcome := unknown
	if a.asked {
		outcome = unanswered
	}
	defer a.flight.land(outcome, nil)
	a.end(a.cancel)
}

func (a *Attempt) cancel(records []record, now time.Time) {
	for i := range records {
		records[i].cancel(a.keys.tag, a.keys.name, a.owner, a.asked, now)
	}
}

// Unanswered ends an attempt for which PAM was asked and gave no answer.
func (a *Attempt) Unanswered() {
	a.asked = true
	a.Cancel()
}

// end changes the records of the user that have the attempt.
func (a *Attempt) end(change func(records []record, now time.Time)) {
	users, now := a.keys.users[:a.counted], a.throttle.now()
	a.counted = 0
	if len(users) > 0 {
		_ = a.update(users, now, func(records []record) { change(records, now) })
	}
}

// update changes records in one round trip. An error has been reported.
func (a *Attempt) update(keys []recordKey, now time.Time, change func([]record)) error {
	if a.failed {
		return errFailed
	}
	err := a.throttle.Store.Update(a.ctx, names(keys), func(old []store.Record) []store.Record {
		records := make([]record, len(old))
		for i := range old {
			records[i] = decode(old[i].Value)
			records[i].advance(now)
		}
		change(records)
		for i := range records {
			old[i] = store.Record{Value: records[i].encode(), Until: records[i].expires(now)}
		}
		return old
	})
	if err != nil {
		a.fail(err)
	}
	return err
}

func names(keys []recordKey) []string {
	list := make([]string, len(keys))
	for i, k := range keys {
		list[i] = k.key
	}
	return list
}

var errFailed = errors.New("the store has failed for this attempt")

// fail reports that the store fails. The attempt uses it no more: a login waits for it once.
func (a *Attempt) fail(err error) {
	a.failed = true
	if report := a.throttle.Report; report != nil {
		report(fmt.Errorf("store of the throttle: %w", err))
	}
}

func (t *Throttle) now() time.Time {
	if t.Now == nil {
		return time.Now()
	}
	return t.Now()
}
