package throttle

import "time"

// Failures are counted in buckets of a minute, over the last ten to eleven minutes.
const (
	bucket  = time.Minute
	buckets = 11
)

// limit is how many failures cause a lock.
type limit struct {
	failures int // in ten minutes
	again    int // likewise, after an earlier lock that has not decayed
	alert    int // in place of failures, while the whole service is on alert
}

var (
	// userAddrLimit is five, the number administrators know from pam_faillock and fail2ban.
	userAddrLimit = limit{failures: 5, again: 1, alert: 2}

	// userNetworkLimit is for one user from one IPv6 /48. With the locks that follow it lets 11
	// passwords through in 15 minutes, one less than a pam_faillock with deny=12 needs.
	userNetworkLimit = limit{failures: 7, again: 1, alert: 4}

	// addressLimit allows for many users behind one address. It does not hold up a user who has
	// logged in from there lately.
	addressLimit = limit{failures: 50, again: 25, alert: 10}

	// networkLimit is for an IPv6 /48, which one customer may have (RFC 6177). Otherwise that
	// customer would have 65,536 addresses.
	networkLimit = limit{failures: 200, again: 100, alert: 40}

	// noLimit counts only.
	noLimit = limit{}
)

// alertFailures in ten minutes, from anywhere, mean an attack even with a few thousand users.
const alertFailures = 1000

const (
	// The first lock is over before a user has looked the password up. From the sixth on, a guesser
	// has a hundred tries a day.
	firstLock   = 30 * time.Second
	longestLock = 15 * time.Minute

	// lockDecay is the time without failure after a lock, after which the next lock is a first one.
	lockDecay = time.Hour

	// repeatWindow is how long a failed password is refused again without asking PAM.
	repeatWindow = time.Minute

	// maxRepeats in that time are answered like a failure, further ones as locked.
	maxRepeats = 20

	// answerWindow is how long a success is kept for waiting logins.
	answerWindow = 5 * time.Second

	// minRetryAfter is the least Retry-After while logins are in flight.
	minRetryAfter = 2 * time.Second

	// trustWindow is how long a user who has logged in is exempt from locks of the address.
	trustWindow = 7 * 24 * time.Hour

	// After more than maxDistinctFailures with different passwords in distinctWindow, a success no
	// longer resets the counters. Otherwise a job that logs in every minute would give a guesser
	// four tries a minute without end.
	maxDistinctFailures = 20
	distinctWindow      = time.Hour

	// After maxUnanswered checks of a user that PAM gave no answer to, within ten minutes, one more
	// is made every unansweredPause: a module may have counted them.
	maxUnanswered    = 5
	unansweredPause  = 30 * time.Second
	unansweredWindow = 10 * time.Minute

	// overrunWindow is how long after a guess beyond the limit a login with a password in flight
	// does not get the answer of that one: guesses would otherwise be free while a user logs in.
	overrunWindow = 10 * time.Second

	// waitMargin is how long after its deadline an equal login is waited for: its PAM process may
	// have to be killed.
	waitMargin = 2 * time.Second

	// leaseMargin is how long after its deadline a login in flight may report its end: its PAM
	// process may have to be killed, and the store may be slow. After that its process counts as
	// dead.
	leaseMargin = 5 * time.Second
)

// during is the limit in force.
func (l limit) during(alert bool) limit {
	if alert {
		l.failures = l.alert
		l.again = min(l.again, l.alert)
	}
	return l
}

// threshold is how many failures lock after so many locks in a row.
func (l limit) threshold(lockLevel uint8) int {
	if lockLevel > 0 {
		return l.again
	}
	return l.failures
}

// lockTime is how long the n-th lock in a row is, n from 1.
func lockTime(n int) time.Duration {
	d := firstLock
	for ; n > 1 && d < longestLock; n-- {
		d *= 2
	}
	return min(d, longestLock)
}
