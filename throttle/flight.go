package throttle

import (
	"sync"
	"time"
)

// Checks are the passwords that a process is checking. Equal logins of one process wait here, so
// that only one of them polls the store. The zero value is ready.
type Checks struct {
	mu       sync.Mutex
	inFlight map[passwordTag]*flight
}

// flight is one check and its answer, which is set before landed is closed.
type flight struct {
	checks  *Checks
	tag     passwordTag
	remote  string
	landed  chan struct{}
	outcome outcome
	answer  []byte
	reason  Reason    // of a failure
	again   time.Time // when a failed password is checked again
}

// join returns the flight of a password, and whether it is new.
func (c *Checks) join(tag passwordTag, remote string) (*flight, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.inFlight[tag]; old != nil {
		return old, false
	}
	if c.inFlight == nil {
		c.inFlight = map[passwordTag]*flight{}
	}
	started := &flight{checks: c, tag: tag, remote: remote, landed: make(chan struct{})}
	c.inFlight[tag] = started
	return started, true
}

// land gives the answer to all waiting logins. Only the first call has an effect. f is nil for an
// attempt that took the answer of another.
func (f *flight) land(o outcome, answer []byte) {
	if f == nil {
		return
	}
	f.checks.mu.Lock()
	defer f.checks.mu.Unlock()
	if f.checks.inFlight[f.tag] != f {
		return
	}
	delete(f.checks.inFlight, f.tag)
	f.outcome, f.answer = o, answer
	close(f.landed)
}
