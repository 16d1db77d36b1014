package throttle

import (
	"math"
	"slices"
	"time"
)

// record is what is known of a pair, an address or the service.
type record struct {
	minute  int64           // since 1970: that of counts[0]
	counts  [buckets]uint16 // refusals in that minute, in the one before it, …
	strikes uint8           // locks in a row
	until   time.Time       // locked; stays after it is over, to tell how long ago that was
	good    time.Time       // the last login
	seen    []password      // of a pair: of the last minute
}

// password is one that was tried.
type password struct {
	mark    mark
	at      time.Time
	refused bool  // else it is under way
	repeats uint8 // since it was refused
}

// advance makes r what it is now: what has been long enough ago is forgotten. The clock is the machine's and may be set: what comes from
// the future is forgotten as well, and no lock goes on for more than the longest.
func (r *record) advance(now time.Time) {
	minute := now.Unix() / 60
	past := minute - r.minute
	switch {
	case past < -1 || past >= buckets:
		r.counts = [buckets]uint16{}
	case past > 0:
		copy(r.counts[past:], r.counts[:])
		clear(r.counts[:past])
	}
	if past != -1 || r.refusals() == 0 { // a minute that was set back by a little goes on
		r.minute = minute
	}
	if latest := now.Add(longestLock); r.until.After(latest) {
		r.until = latest
	}
	if now.Sub(r.until) > quiet {
		r.strikes, r.until = 0, time.Time{}
	}
	if r.good.After(now) {
		r.good = now
	}
	if now.Sub(r.good) > known {
		r.good = time.Time{}
	}
	// Processes that take turns at a record have read the clock before theirs, so a little way ahead is not the future.
	r.seen = slices.DeleteFunc(r.seen, func(p password) bool { return now.Sub(p.at).Abs() >= memory })
}

func (r *record) refusals() int {
	n := 0
	for _, c := range r.counts {
		n += int(c)
	}
	return n
}

// admit says whether a password may be checked, and notes it as under way. address is until when the client's address is locked.
func (r *record) admit(m mark, now time.Time, siege bool, address time.Time) error {
	if r.until.After(now) {
		return &Locked{r.until.Sub(now), "this user at this address"}
	}
	if i := r.find(m); i >= 0 {
		return r.repeat(&r.seen[i], now)
	}
	if address.After(now) && r.good.IsZero() {
		return &Locked{address.Sub(now), "this address"}
	}
	if r.tries(pairLimit.under(siege)) <= 0 {
		return &Locked{turn, "this user at this address, for what is under way,"}
	}
	r.seen = append(r.seen, password{mark: m, at: now})
	return nil
}

// repeat answers for a password that has been seen: one under way may be checked once more at the same time, for ten pulls begin at once.
func (r *record) repeat(p *password, now time.Time) error {
	if !p.refused {
		return nil
	}
	if p.repeats >= repeats {
		return &Locked{p.at.Add(memory).Sub(now), "this password for this user at this address"}
	}
	p.repeats++
	return ErrRepeated
}

// tries is how many more passwords may be checked, should all of those under way be refused.
func (r *record) tries(l limit) int {
	left := l.refusals
	if r.strikes > 0 {
		left = l.again
	}
	left -= r.refusals()
	for _, p := range r.seen {
		if !p.refused {
			left--
		}
	}
	return left
}

// refuse turns a password under way into a refused one; false when it has been counted.
func (r *record) refuse(m mark, now time.Time) bool {
	i := r.find(m)
	if i >= 0 && r.seen[i].refused {
		return false
	}
	r.forget(m)
	r.seen = append(r.seen, password{mark: m, at: now, refused: true})
	return true
}

// count adds a refusal and locks when there are too many.
func (r *record) count(now time.Time, l limit) {
	if r.counts[0] < math.MaxUint16 {
		r.counts[0]++
	}
	most := l.refusals
	if r.strikes > 0 {
		most = l.again
	}
	if l == noLimit || r.refusals() < most {
		return
	}
	if r.strikes < math.MaxUint8 {
		r.strikes++
	}
	r.until = now.Add(lock(r.strikes))
	r.counts = [buckets]uint16{} // what comes after the lock is counted from nought
}

// grant forgets all but the others under way.
func (r *record) grant(m mark, now time.Time) {
	others := slices.DeleteFunc(r.seen, func(p password) bool { return p.refused || p.mark == m })
	*r = record{minute: r.minute, good: now, seen: others}
}

func (r *record) forget(m mark) {
	r.seen = slices.DeleteFunc(r.seen, func(p password) bool { return p.mark == m })
}

func (r *record) find(m mark) int {
	return slices.IndexFunc(r.seen, func(p password) bool { return p.mark == m })
}
