package pamauth

import "time"

// Observer is told how logins fare on their way to PAM. Its methods are called by many goroutines
// at once and must not block. It learns no name and no address.
type Observer interface {
	CacheHit()                     // Cache answered a login
	Queued()                       // a login came to Limit
	Dequeued(waited time.Duration) // it has a slot, or gave up
	Ended(err error)               // a call behind Coalesce ended, with the error of its Authenticate
}

// noObserver is an Observer that does nothing.
type noObserver struct{}

func (noObserver) CacheHit()              {}
func (noObserver) Queued()                {}
func (noObserver) Dequeued(time.Duration) {}
func (noObserver) Ended(error)            {}

func orNoObserver(o Observer) Observer {
	if o == nil {
		return noObserver{}
	}
	return o
}
