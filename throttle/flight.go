package throttle

import (
	"sync"
)

// flights are the passwords that this process is checking. Equal logins of one process wait here,
// so that only one of them polls the store.
type flights struct {
	mu       sync.Mutex
	inFlight map[passwordTag]*flight
}

// flight is one check and its answer, which is set before landed is closed.
type flight struct {
	flights *flights
	tag     passwordTag
	remote  string
	landed  chan struct{}
	outcome outcome
	answer  []byte
}

// join returns the flight of a password, and whether it is new.
func (f *flights) join(tag passwordTag, remote string) (*flight, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if old := f.inFlight[tag]; old != nil {
		return old, false
	}
	if f.inFlight == nil {
		f.inFlight = map[passwordTag]*flight{}
	}
	started := &flight{flights: f, tag: tag, remote: remote, landed: make(chan struct{})}
	f.inFlight[tag] = started
	return started, true
}

// land gives the answer to all waiting logins. Only the first call has an effect. f is nil for an
// attempt that took the answer of another.
func (f *flight) land(o outcome, answer []byte) {
	if f == nil {
		return
	}
	f.flights.mu.Lock()
	defer f.flights.mu.Unlock()
	if f.flights.inFlight[f.tag] != f {
		return
	}
	delete(f.flights.inFlight, f.tag)
	f.outcome, f.answer = o, answer
	close(f.landed)
}
