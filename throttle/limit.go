package throttle

import "time"

// Refusals are counted in buckets of a minute, over the last ten to eleven minutes.
const (
	bucket  = time.Minute
	buckets = 11
)

// limit is how much is too much, and how long the lock is then.
type limit struct {
	refusals int // in ten minutes
	again    int // likewise, of one that has been locked before and has not been quiet since
	siege    int // in place of refusals, while the whole service is besieged
}

var (
	// pairLimit: five, as administrators know it from pam_faillock and fail2ban; once struck, each further one is one too many.
	pairLimit = limit{refusals: 5, again: 1, siege: 2}

	// addressLimit has room for a lecture hall behind one address that has just come back from the holidays. Pairs that have
	// logged in lately are not held up by it.
	addressLimit = limit{refusals: 50, again: 25, siege: 10}

	// networkLimit is for a /48 of IPv6, which is what one customer may have (RFC 6177) and what a tunnel broker gives to anybody: without it
	// he would be 65,536 addresses.
	networkLimit = limit{refusals: 200, again: 100, siege: 40}

	// noLimit counts only.
	noLimit = limit{}
)

// siegeRefusals in ten minutes, from wherever, are no accident any more in an institution of a few thousand people.
const siegeRefusals = 1000

const (
	// firstLock and longestLock: the first lock is over before a person has looked the password up; from the sixth on, guessing a
	// pair's password has a hundred tries a day.
	firstLock   = 30 * time.Second
	longestLock = 15 * time.Minute

	// quiet is how long after a lock nobody must have failed for the next one to be a first one again.
	quiet = time.Hour

	// memory is how long a refused password is refused again unseen.
	memory = time.Minute

	// repeats in that time are answered with a refusal, which takes as long as any; more are answered at once, as locked.
	repeats = 20

	// turn is how long to wait for what is under way where the lock that it may bring would be over already: a process died with it.
	turn = 2 * time.Second

	// known is how long a pair that has logged in is not held up by its address's lock.
	known = 7 * 24 * time.Hour

	// With more refusals than that in so long, of passwords that are not the same one again, a login does not clear its pair any more: behind one address with a job that logs in every
	// minute, a guesser would have four tries between any two logins for ever.
	pardons     = 20
	pardonsTime = time.Hour
)

// under is the limit in force.
func (l limit) under(siege bool) limit {
	if siege {
		l.refusals = l.siege
		l.again = min(l.again, l.siege)
	}
	return l
}

// most is how many refusals lock one with so many locks behind it.
func (l limit) most(strikes uint8) int {
	if strikes > 0 {
		return l.again
	}
	return l.refusals
}

// lock is how long the n-th lock in a row is, n from 1.
func lock(n int) time.Duration {
	d := firstLock
	for ; n > 1 && d < longestLock; n-- {
		d *= 2
	}
	return min(d, longestLock)
}
