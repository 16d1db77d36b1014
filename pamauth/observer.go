package pamauth

import "time"

// Observer hears how logins fare on their way to PAM. Its methods are called by many goroutines at
// once, and must return at once. It is told no name and no address.
type Observer interface {
	CacheHit()                     // a Cache answered a login
	Queued()                       // a login came to a Gate
	Dequeued(waited time.Duration) // its turn came, or it gave up
	Ended(err error)               // a conversation behind a Share ended, with the error of its Hold
}

// unobserved is an Observer that does nothing.
type unobserved struct{}

func (unobserved) CacheHit()              {}
func (unobserved) Queued()                {}
func (unobserved) Dequeued(time.Duration) {}
func (unobserved) Ended(error)            {}

func orUnobserved(o Observer) Observer {
	if o == nil {
		return unobserved{}
	}
	return o
}
