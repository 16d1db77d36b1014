package throttle

import (
	"math"
	"slices"
	"time"
)

// record is the state of a user at an address, an address, a network or the service.
type record struct {
	minute      int64           // of counts[0], since 1970
	counts      [buckets]uint16 // failures in that minute, in the one before it, …
	lockLevel   uint8           // locks in a row
	lockedUntil time.Time       // kept after its end, for lockDecay
	lastSuccess time.Time

	// Only records of a user use the rest. A success does not clear the distinct failures.
	failedName       nameTag   // with failures or locks; mixedNames = several
	overrun          time.Time // when a login was last refused for want of tries
	unansweredChecks uint8
	lastUnanswered   time.Time // when the last of them ended
	distinctSince    time.Time // the first of the distinct failures
	distinctFailures uint8     // failures since then, each with a password other than the last
	lastFailedTag    passwordTag
	recent           []password // of the last minute
}

var mixedNames = nameTag{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// password is a password of a recent login.
type password struct {
	tag     passwordTag
	at      time.Time // when its check last started
	owner   uint64    // the attempt that is checking it; 0 = none
	lease   time.Time // when that attempt counts as dead
	awaited bool      // attempts of other processes wait for the answer
	outcome outcome   // of the last check
	reason  Reason    // of a failure
	ended   time.Time // when the last check ended
	repeats uint8     // logins with it since it failed
}

// outcome is the result of a check.
type outcome uint8

const (
	unknown outcome = iota // no check has ended
	succeeded
	failed
	unanswered // PAM was asked, and gave no answer
)

// advance removes what has expired. Since the clock may be set back, it also removes what comes
// from the future, and no lock exceeds the longest one.
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
	if past != -1 || r.failures() == 0 { // a clock set back a little continues its minute
		r.minute = minute
	}
	if latest := now.Add(longestLock); r.lockedUntil.After(latest) {
		r.lockedUntil = latest
	}
	if now.Sub(r.lockedUntil) > lockDecay {
		r.lockLevel, r.lockedUntil = 0, time.Time{}
	}
	if r.lastSuccess.After(now) {
		r.lastSuccess = now
	}
	if now.Sub(r.lastSuccess) > trustWindow {
		r.lastSuccess = time.Time{}
	}
	if now.Sub(r.lastUnanswered).Abs() >= unansweredWindow {
		r.unansweredChecks, r.lastUnanswered = 0, time.Time{}
	}
	if r.failures() == 0 && r.lockLevel == 0 && r.unansweredChecks == 0 {
		r.failedName = nameTag{}
	}
	if now.Sub(r.distinctSince).Abs() >= distinctWindow {
		r.distinctSince, r.distinctFailures, r.lastFailedTag = time.Time{}, 0, passwordTag{}
	}
	r.recent = slices.DeleteFunc(r.recent, func(p password) bool { return p.isExpired(now) })
}

// isExpired keeps a password that is being checked until its result has been counted. It accepts
// times slightly in the future, since processes read the clock before they update a record.
func (p *password) isExpired(now time.Time) bool {
	switch {
	case p.owner != 0:
		return now.Sub(p.at).Abs() >= buckets*bucket
	case p.outcome == succeeded:
		return now.Sub(p.ended).Abs() >= answerWindow
	}
	return now.Sub(p.at).Abs() >= repeatWindow
}

func (r *record) failures() int {
	n := 0
	for _, c := range r.counts {
		n += int(c)
	}
	return n
}

// claim makes an attempt the owner of a check, if no other attempt owns it and a try is left.
// Logins in flight count as failed: otherwise a thousand guesses at once would all find a count of
// zero.
func (r *record) claim(c claimRequest, lim limit) error {
	p := r.find(c.tag)
	if p != nil && r.isOverrun(c.now) && (p.owner != 0 || p.outcome == failed && c.now.Sub(p.at) < c.delay) {
		return r.full(c.now)
	}
	if p != nil && p.owner != 0 {
		p.awaited = true
		return errWait
	}
	tries := r.tries(c.tag, lim)
	// A failure may be distinguished from a password in flight only after the delay, and only while
	// nothing in flight decides about a lock.
	if p != nil && p.outcome == failed && (!r.lockedUntil.After(c.now) && tries > 0 || c.now.Sub(p.at) < c.delay) {
		return r.repeat(p, c)
	}
	if err := r.refuse(c.tag, c.now, c.address, lim); err != nil {
		r.overrun = c.now
		return err
	}
	paused := c.now.Sub(r.lastUnanswered).Abs() < unansweredPause || r.inFlight() > 0
	if r.unansweredChecks >= maxUnanswered && paused {
		return ErrUnanswered
	}
	if p == nil {
		r.recent = append(r.recent, password{tag: c.tag})
		p = &r.recent[len(r.recent)-1]
	}
	p.at, p.owner, p.lease, p.awaited = c.now, c.owner, c.lease, false
	return nil
}

// claimRequest is the wish of an attempt to check a password.
type claimRequest struct {
	tag     passwordTag
	owner   uint64
	now     time.Time
	lease   time.Time
	delay   time.Duration // until the client is told of a failure
	address time.Time     // until when the address or its network is locked
}

// refuse returns a *Locked if the password must not be checked: the user or the address is locked,
// or no try is left.
func (r *record) refuse(tag passwordTag, now, address time.Time, lim limit) error {
	if err := r.locked(now, address); err != nil {
		return err
	}
	if r.tries(tag, lim) <= 0 {
		return r.full(now)
	}
	return nil
}

// full is the answer to a login for which no try is left. Its time is the same before and after PAM
// has answered those in flight.
func (r *record) full(now time.Time) error {
	if err := r.locked(now, time.Time{}); err != nil {
		return err
	}
	return &Locked{r.pending(now), "too many passwords in flight: this user at this address is locked"}
}

func (r *record) isOverrun(now time.Time) bool { return now.Sub(r.overrun).Abs() < overrunWindow }

// locked returns a *Locked if the user is locked at this address, or if the address is locked for a
// user not trusted there.
func (r *record) locked(now, address time.Time) error {
	if r.lockedUntil.After(now) {
		return &Locked{r.lockedUntil.Sub(now), "too many refused passwords: this user at this address is locked"}
	}
	if address.After(now) && !r.isTrusted() {
		return &Locked{address.Sub(now), "too many refused passwords: this address is locked"}
	}
	return nil
}

// repeat answers a login with a password that has just failed.
func (r *record) repeat(p *password, c claimRequest) error {
	switch {
	case c.now.Sub(p.at) < c.delay: // not counted: the client cannot know yet that it failed
	case p.repeats < maxRepeats:
		p.repeats++
	default:
		return &Locked{p.at.Add(repeatWindow).Sub(c.now), "one refused password too many times: it is locked"}
	}
	return p.repeated(c.now)
}

// repeated is the answer to a login with a password that has failed.
func (p *password) repeated(now time.Time) error {
	return &Repeated{p.reason, max(0, p.at.Add(repeatWindow).Sub(now))}
}

// tries returns how many more passwords may be checked if all others in flight fail. With none in
// flight it is at least one: a user without tries is locked, and a lowered limit locks with the
// next failure.
func (r *record) tries(tag passwordTag, l limit) int {
	left := max(1, l.threshold(r.lockLevel)-r.failures())
	for i := range r.recent {
		if p := &r.recent[i]; p.tag != tag && p.owner != 0 {
			left--
		}
	}
	return left
}

func (r *record) inFlight() int {
	n := 0
	for i := range r.recent {
		if r.recent[i].owner != 0 {
			n++
		}
	}
	return n
}

// pending is the wait for logins in flight: the same as if they had failed already.
func (r *record) pending(now time.Time) time.Duration {
	until := r.lastLogin(time.Time{}).Add(lockTime(int(r.lockLevel) + 1))
	return max(minRetryAfter, until.Sub(now))
}

// lastLogin returns the time of the last login with a recent password, or at if that is later.
func (r *record) lastLogin(at time.Time) time.Time {
	for i := range r.recent {
		if r.recent[i].at.After(at) {
			at = r.recent[i].at
		}
	}
	return at
}

// expireLeases ends the checks of dead processes and counts each as a failure, because PAM may have
// been asked. It returns how many there were.
func (r *record) expireLeases(now time.Time, l limit) int {
	n := 0
	for i := range r.recent {
		p := &r.recent[i]
		if p.owner == 0 || p.lease.After(now) && p.at.Sub(now) < repeatWindow {
			continue
		}
		p.owner, p.outcome, p.ended = 0, unknown, now
		r.failedName = mixedNames // which name it was is unknown
		r.count(now, p.at, l)
		n++
	}
	return n
}

// succeed ends a check and clears the failures of the name. It keeps other recent passwords, which
// are still wrong. It reports whether other processes wait for the answer.
//
// A success that PAM was not asked about (asked is false) comes from a cache. It clears nothing: a
// counter behind PAM has not seen it, and would reach its limit before this one.
func (r *record) succeed(tag passwordTag, name nameTag, asked bool, now time.Time) (awaited bool) {
	if p := r.find(tag); p != nil {
		awaited = p.awaited
		p.end(succeeded, now)
	}
	r.lastSuccess = now
	if !asked || r.failedName != name && r.failedName != (nameTag{}) {
		return awaited
	}
	r.unansweredChecks, r.lastUnanswered = 0, time.Time{}
	if r.distinctFailures <= maxDistinctFailures {
		r.counts, r.lockLevel, r.lockedUntil = [buckets]uint16{}, 0, time.Time{}
	}
	return awaited
}

// fail ends a check. It returns false if this failure has been counted already.
func (r *record) fail(tag passwordTag, name nameTag, reason Reason, began, now time.Time) bool {
	p := r.find(tag)
	if p == nil { // expired
		r.recent = append(r.recent, password{tag: tag, at: began})
		p = &r.recent[len(r.recent)-1]
	}
	counted := p.owner == 0 && p.outcome == failed
	p.end(failed, now)
	p.reason = reason
	if counted {
		return false
	}
	p.repeats = 0
	r.addName(name)
	r.failDistinct(tag, began)
	return true
}

// addName notes whose failures these are.
func (r *record) addName(name nameTag) {
	if r.failedName != name && r.failedName != (nameTag{}) {
		name = mixedNames
	}
	r.failedName = name
}

// failDistinct counts failures that a success does not clear. A job that repeats one stale password
// is not counted as a guesser.
func (r *record) failDistinct(tag passwordTag, began time.Time) {
	if tag == r.lastFailedTag {
		return
	}
	r.lastFailedTag = tag
	if r.distinctSince.IsZero() {
		r.distinctSince = began
	}
	if r.distinctFailures < math.MaxUint8 {
		r.distinctFailures++
	}
}

// cancel ends a check without an answer. If PAM was asked, a module may have counted it.
func (r *record) cancel(tag passwordTag, name nameTag, owner uint64, asked bool, now time.Time) {
	p := r.find(tag)
	switch {
	case p == nil || p.owner != owner:
	case asked:
		p.end(unanswered, now)
		r.addName(name)
		r.lastUnanswered = now
		if r.unansweredChecks < math.MaxUint8 {
			r.unansweredChecks++
		}
	case p.outcome == unknown:
		r.recent = slices.DeleteFunc(r.recent, func(p password) bool { return p.tag == tag })
	default:
		p.owner = 0
	}
}

func (p *password) end(o outcome, now time.Time) {
	p.owner, p.awaited, p.outcome, p.ended = 0, false, o, now
}

// count adds a failure and, if there are too many, locks from a given time. Failures of logins that
// were in flight when the lock started are not counted again.
func (r *record) count(now, from time.Time, l limit) {
	if r.lockedUntil.After(now) {
		return
	}
	if r.counts[0] < math.MaxUint16 {
		r.counts[0]++
	}
	if l == noLimit || r.failures() < l.threshold(r.lockLevel) {
		return
	}
	if r.lockLevel < math.MaxUint8 {
		r.lockLevel++
	}
	r.lockedUntil = from.Add(lockTime(int(r.lockLevel)))
	r.counts = [buckets]uint16{} // the count starts at zero after the lock
}

// isTrusted reports whether the user has logged in lately at this address, without guesses there.
func (r *record) isTrusted() bool {
	return !r.lastSuccess.IsZero() && r.distinctFailures <= maxDistinctFailures
}

func (r *record) find(tag passwordTag) *password {
	i := slices.IndexFunc(r.recent, func(p password) bool { return p.tag == tag })
	if i < 0 {
		return nil
	}
	return &r.recent[i]
}

// maxRecent is how many passwords a record keeps: more than can be in flight.
const maxRecent = 16

// trim drops the oldest passwords that are not being checked if there are too many.
func (r *record) trim() {
	for len(r.recent) > maxRecent {
		i := max(0, slices.IndexFunc(r.recent, func(p password) bool { return p.owner == 0 }))
		r.recent = slices.Delete(r.recent, i, i+1)
	}
}

// expires returns when nothing of r is needed any more.
func (r *record) expires(now time.Time) time.Time {
	latest := now
	after := func(t time.Time, d time.Duration) {
		if t = t.Add(d); t.After(latest) {
			latest = t
		}
	}
	if r.failures() > 0 || slices.ContainsFunc(r.recent, func(p password) bool { return p.owner != 0 }) {
		after(now, buckets*bucket)
	}
	if r.lockLevel > 0 {
		after(r.lockedUntil, lockDecay)
	}
	if !r.lastSuccess.IsZero() {
		after(r.lastSuccess, trustWindow)
	}
	if r.unansweredChecks > 0 {
		after(r.lastUnanswered, unansweredWindow)
	}
	if r.distinctFailures > 0 {
		after(r.distinctSince, distinctWindow)
	}
	if len(r.recent) > 0 {
		after(now, repeatWindow)
	}
	return latest
}
