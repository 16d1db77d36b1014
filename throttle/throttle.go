// Package throttle slows down whoever guesses passwords, and nobody else.
//
// Refused passwords count against the pair of user and client address; more slowly, against the address; and for the service as a whole.
// A pair or an address with too many of them is locked for a while that grows. The whole service is never locked, for that would
// let a stranger keep everybody out: when it sees very many refusals, pairs and addresses get fewer tries.
//
// A password that was refused a moment ago is refused again from memory: containerd asks by POST and then by GET, and a job with a
// stale password asks for ever. It counts once, and whatever counts behind us (pam_faillock) sees it once.
package throttle

import (
	"errors"
	"fmt"
	"time"

	"dockerauth/state"
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
	Store  state.Store
	Secret []byte           // what is written to the store is keyed by it: names, addresses and passwords cannot be got back without
	Epoch  string           // a password that was refused in another one is asked about again: what refused it may have been a setting
	Now    func() time.Time // nil = time.Now
	Report func(error)      // told when the store fails, and so nothing is counted; nil = nobody
}

// Attempt is one password on its way. Exactly one of its methods is to be called when the decision is there.
type Attempt struct {
	throttle *Throttle
	keys     keys
	charged  bool // the store knows of it
}

// Begin takes note of a password that is about to be checked; remote is the client's IP address, "" = unknown. The error is
// ErrRepeated or a *Locked, and then the password is not to be looked at.
//
// What is under way counts as refused until it is known: else a thousand guesses at once would all find the count at zero.
func (t *Throttle) Begin(user, password, remote string) (*Attempt, error) {
	a := &Attempt{throttle: t, keys: t.keysOf(user, password, remote)}
	now := t.now()
	siege, address, err := t.look(a.keys, now)
	if err != nil {
		t.report(err)
	}
	var no error
	err = t.Store.Update(a.keys.pair, func(old []byte) ([]byte, time.Time) {
		r := decode(old)
		r.advance(now)
		no = r.admit(a.keys.mark, now, siege, address)
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

// look reads what is known beyond the pair: whether the service is besieged, and until when the address is locked.
func (t *Throttle) look(k keys, now time.Time) (siege bool, address time.Time, err error) {
	whole, err := t.get(k.service, now)
	if err != nil || k.address == "" {
		return whole.refusals() >= siegeRefusals, time.Time{}, err
	}
	r, err := t.get(k.address, now)
	return whole.refusals() >= siegeRefusals, r.until, err
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
	now := a.throttle.now()
	siege, _, err := a.throttle.look(a.keys, now)
	if err != nil {
		a.throttle.report(err)
	}
	counted := false
	a.update(a.keys.pair, func(r *record, now time.Time) {
		counted = r.refuse(a.keys.mark, now)
		if counted {
			r.count(now, pairLimit.under(siege))
		}
	})
	if !counted {
		return
	}
	if a.keys.address != "" {
		a.update(a.keys.address, func(r *record, now time.Time) { r.count(now, addressLimit.under(siege)) })
	}
	a.update(a.keys.service, func(r *record, now time.Time) { r.count(now, noLimit) })
}

// Void takes the attempt back: nobody came to know whether the password is right.
func (a *Attempt) Void() {
	a.update(a.keys.pair, func(r *record, _ time.Time) { r.forget(a.keys.mark) })
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
