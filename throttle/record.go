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
	since   time.Time       // the first of these refusals, which no login clears
	failed  uint8           // of a pair: refusals since then, of a password other than the one before
	latest  mark            // of a pair: the password of the last of them
	seen    []password      // of a pair: of the last minute
}

// password is one that was tried.
type password struct {
	mark    mark
	at      time.Time // when it was first shown
	refused bool
	under   uint16 // how many attempts with it are under way
	repeats uint8  // since it was refused
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
	if now.Sub(r.since).Abs() >= pardonsTime {
		r.since, r.failed, r.latest = time.Time{}, 0, mark{}
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

// admit says whether a password may be checked, and notes it as under way. A refusal is kept from its client for delay, and until then nothing
// here tells it from a password that PAM still looks at.
func (r *record) admit(m mark, now time.Time, around around, delay time.Duration) error {
	if i := r.find(m); i >= 0 && (!r.until.After(now) || now.Sub(r.seen[i].at) < delay) {
		return r.repeat(&r.seen[i], now, delay)
	}
	if err := r.locked(now, around); err != nil {
		return err
	}
	if r.tries(pairLimit.under(around.siege)) <= 0 {
		return &Locked{r.pending(now), "this user at this address, for what is under way,"}
	}
	r.seen = append(r.seen, password{mark: m, at: now, under: 1})
	return nil
}

// locked says whether the pair is locked, or its address for a pair that is not known there.
func (r *record) locked(now time.Time, around around) error {
	if r.until.After(now) {
		return &Locked{r.until.Sub(now), "this user at this address"}
	}
	if around.until.After(now) && !r.trusted() {
		return &Locked{around.until.Sub(now), "this address"}
	}
	return nil
}

// trusted is a pair that has logged in lately, and is not one that somebody else guesses at beside it.
func (r *record) trusted() bool { return !r.good.IsZero() && r.failed <= pardons }

// repeat answers for a password that has been seen: one under way may be checked once more at the same time, for ten pulls begin at once.
func (r *record) repeat(p *password, now time.Time, delay time.Duration) error {
	switch {
	case !p.refused && p.under < math.MaxUint16:
		p.under++
		return nil
	case !p.refused:
		return &Locked{r.pending(now), "this password for this user at this address"}
	case now.Sub(p.at) < delay: // nothing is counted that only a refusal would bring about
	case p.repeats < repeats:
		p.repeats++
	default:
		return &Locked{p.at.Add(memory).Sub(now), "this password for this user at this address"}
	}
	return ErrRepeated
}

// tries is how many more passwords may be checked, should all of those under way be refused. With none under way it is one at least: a pair
// that has used its tries up is locked, and a limit that has become lower locks with the next refusal.
func (r *record) tries(l limit) int {
	left := max(1, l.most(r.strikes)-r.refusals())
	for _, p := range r.seen {
		if p.under > 0 && !p.refused {
			left--
		}
	}
	return left
}

// pending is how long to wait for what is under way: as long as if it had been refused already.
func (r *record) pending(now time.Time) time.Duration {
	until := r.last(time.Time{}).Add(lock(int(r.strikes) + 1))
	return max(turn, until.Sub(now))
}

// last is when the last of the passwords in mind was first shown, or at if that is later.
func (r *record) last(at time.Time) time.Time {
	for _, p := range r.seen {
		if p.at.After(at) {
			at = p.at
		}
	}
	return at
}

// refuse turns a password under way into a refused one; false when it has been counted.
func (r *record) refuse(m mark, began time.Time) bool {
	i := r.find(m)
	if i < 0 { // so long ago that it has been forgotten
		r.seen = append(r.seen, password{mark: m, at: began, under: 1})
		i = len(r.seen) - 1
	}
	p := &r.seen[i]
	p.end()
	if p.refused {
		return false
	}
	p.refused = true
	r.fail(m, began)
	return true
}

// fail counts what no login clears. A job with a stale password, which is refused once a minute, is no guesser.
func (r *record) fail(m mark, began time.Time) {
	if m == r.latest {
		return
	}
	r.latest = m
	if r.since.IsZero() {
		r.since = began
	}
	if r.failed < math.MaxUint8 {
		r.failed++
	}
}

// count adds a refusal, and locks from a moment on when there are too many. What was under way when the lock came is not held against it
// a second time.
func (r *record) count(now, from time.Time, l limit) {
	if r.until.After(now) {
		return
	}
	if r.counts[0] < math.MaxUint16 {
		r.counts[0]++
	}
	if l == noLimit || r.refusals() < l.most(r.strikes) {
		return
	}
	if r.strikes < math.MaxUint8 {
		r.strikes++
	}
	r.until = from.Add(lock(int(r.strikes)))
	r.counts = [buckets]uint16{} // what comes after the lock is counted from nought
}

// grant clears the pair, but for the others under way, and for passwords that were refused a moment ago: they are as wrong as before. What is
// beyond pardon stays.
func (r *record) grant(m mark, now time.Time) {
	r.seen = slices.DeleteFunc(r.seen, func(p password) bool { return p.mark == m })
	r.good = now
	if r.failed <= pardons {
		r.counts, r.strikes, r.until = [buckets]uint16{}, 0, time.Time{}
	}
}

// leave ends an attempt without an answer. What is known of its password by others stays.
func (r *record) leave(m mark) {
	if i := r.find(m); i >= 0 {
		r.seen[i].end()
	}
	r.seen = slices.DeleteFunc(r.seen, func(p password) bool { return p.under == 0 && !p.refused })
}

func (p *password) end() {
	if p.under > 0 {
		p.under--
	}
}

func (r *record) find(m mark) int {
	return slices.IndexFunc(r.seen, func(p password) bool { return p.mark == m })
}
