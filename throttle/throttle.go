// Package throttle slows down whoever guesses passwords, and nobody else.
//
// Refused passwords count against the pair of user and client address; more slowly, against the address, and its network in IPv6; and for
// the service as a whole. A pair, an address or a network with too many of them is locked for a while that grows. The whole service is never locked, for that would
// let a stranger keep everybody out: when it sees very many refusals, pairs and addresses get fewer tries.
//
// A password that was refused a moment ago is refused again from memory: containerd asks by POST and then by GET, and a job with a
// stale password asks for ever. It counts once, and whatever counts behind us (pam_faillock) sees it once.
package throttle

import (
	"errors"
	"fmt"
	"time"

	"dockerauth/store"
)

// ErrRepeated says that this very password was refused to this user at this address less than a minute ago.
var ErrRepeated = errors.New("this very password was refused a moment ago, PAM is not asked again")

// Locked says that a password is not looked at before a time has passed.
type Locked struct {
	After time.Duration // more than 0
	What  string        // is locked: for the operator
}

func (l *Locked) Error() string {
	return fmt.Sprintf("too many refused passwords: %s is locked for another %s", l.What, l.After.Round(time.Second))
}

// Throttle keeps count. Store and Secret must be set.
type Throttle struct {
	Store  store.Store
	Secret []byte           // what is written to the store is keyed by it: names, addresses and passwords cannot be got back without
	Epoch  string           // a password that was refused in another one is asked about again: what refused it may have been a setting
	Delay  time.Duration    // for how long, from its beginning, the caller keeps what became of an attempt to himself; 0 = not at all
	Now    func() time.Time // nil = time.Now
	Report func(error)      // told when the store fails, and so nothing is counted; nil = nobody
}

// Attempt is one password on its way. Exactly one of Granted, Refused and Void is to be called when the decision is there.
//
// Whatever is counted, it is as of the attempt's beginning: a lock that ran from the moment of a refusal would tell when PAM refused.
type Attempt struct {
	throttle *Throttle
	keys     keys
	began    time.Time
	charged  bool // the store knows of it
}

// Begin takes note of a password that is about to be checked; remote is the client's IP address, "" = unknown. The error is
// ErrRepeated or a *Locked, and then the password is not to be looked at.
//
// What is under way counts as refused until it is known: else a thousand guesses at once would all find the count at zero.
func (t *Throttle) Begin(user, password, remote string) (*Attempt, error) {
	now := t.now()
	a := &Attempt{throttle: t, keys: t.keysOf(user, password, remote), began: now}
	around, err := t.look(a.keys, now)
	if err != nil {
		t.report(err)
	}
	var no error
	err = t.Store.Update(a.keys.pair, func(old []byte) ([]byte, time.Time) {
		r := decode(old)
		r.advance(now)
		no = r.admit(a.keys.mark, now, around, t.Delay)
		return r.encode(), r.expires(now)
	})
	if err != nil {
		t.report(err)
		return a, nil // an account of mine must be reachable with a full disk
	}
	if no != nil {
		return nil, no
	}
	a.charged = true
	return a, nil
}

// Still says whether the password may still be looked at, for one that has waited for its turn: its pair or its address may have been locked
// meanwhile. The error is a *Locked.
func (a *Attempt) Still() error {
	t := a.throttle
	now := t.now()
	around, err := t.look(a.keys, now)
	if err != nil {
		t.report(err)
		return nil
	}
	r, err := t.get(a.keys.pair, now)
	if err != nil {
		t.report(err)
		return nil
	}
	return r.locked(now, around)
}

// around is what is known beyond the pair.
type around struct {
	siege bool      // the service is besieged
	until time.Time // the address is locked, or its network
}

func (t *Throttle) look(k keys, now time.Time) (a around, err error) {
	whole, err := t.get(k.service, now)
	if err != nil {
		return a, err
	}
	a.siege = whole.refusals() >= siegeRefusals
	for _, p := range k.places {
		r, err := t.get(p.key, now)
		if err != nil {
			return a, err
		}
		if r.until.After(a.until) {
			a.until = r.until
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

// Granted clears the pair.
func (a *Attempt) Granted() {
	a.update(a.keys.pair, func(r *record, now time.Time) { r.grant(a.keys.mark, now) })
}

// Refused counts the password, once.
func (a *Attempt) Refused() {
	around, err := a.throttle.look(a.keys, a.throttle.now())
	if err != nil {
		a.throttle.report(err)
	}
	counted := false
	a.update(a.keys.pair, func(r *record, now time.Time) {
		counted = r.refuse(a.keys.mark, a.began)
		if counted {
			r.count(now, r.last(a.began), pairLimit.under(around.siege))
		}
	})
	if !counted {
		return
	}
	for _, p := range a.keys.places {
		a.update(p.key, func(r *record, now time.Time) { r.count(now, a.began, p.limit.under(around.siege)) })
	}
	a.update(a.keys.service, func(r *record, now time.Time) { r.count(now, a.began, noLimit) })
}

// Void takes the attempt back: PAM was not asked, or gave no answer.
func (a *Attempt) Void() {
	a.update(a.keys.pair, func(r *record, _ time.Time) { r.leave(a.keys.mark) })
}

func (a *Attempt) update(key string, change func(*record, time.Time)) {
	if !a.charged {
		return
	}
	now := a.throttle.now()
	err := a.throttle.Store.Update(key, func(old []byte) ([]byte, time.Time) {
		r := decode(old)
		r.advance(now)
		change(&r, now)
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
