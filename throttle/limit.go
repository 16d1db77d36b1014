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

	// turn is how long to wait when what is under way may use up the tries that are left.
	turn = 2 * time.Second

	// known is how long a pair that has logged in is not held up by its address's lock.
	known = 7 * 24 * time.Hour
)

// under is the limit in force.
func (l limit) under(siege bool) limit {
	if siege {
		l.refusals = l.siege
		l.again = min(l.again, l.siege)
	}
	return l
}

// lock is how long the n-th lock in a row is, n from 1.
func lock(n uint8) time.Duration {
	d := firstLock
	for ; n > 1 && d < longestLock; n-- {
		d *= 2
	}
	return min(d, longestLock)
}
