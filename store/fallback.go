package store

import (
	"errors"
	"sync"
	"time"
)

const (
	// retryPause is how long the first store is not used after a failure: a folder with a stuck
	// lock takes a second to fail.
	retryPause = 10 * time.Second
	// recoveryPeriod is how long the first store must work without a failure to count as recovered:
	// only a part of it may be broken.
	recoveryPeriod = time.Minute
)

// Fallback uses a first, shared store while it works, and a second, this process's own, while it
// does not: a full disk does not switch a throttle off.
//
// The second gets a copy of what this process writes into the first. Nothing is copied the other
// way: when the first works again, its old records count. For a throttle this means a few more
// tries at each of the two moments.
type Fallback struct {
	Now func() time.Time
	// Report is called when the first store fails, with the error, and when it has recovered, with
	// nil; once for a series of failures. May be nil.
	Report func(error)

	first, second Store

	mu         sync.Mutex
	failing    bool // reported
	lastFailed time.Time
	retryAt    time.Time // until then, the first store is not used; zero = it is used
}

// NewFallback returns a store that uses second while first fails.
func NewFallback(first, second Store) *Fallback {
	return &Fallback{Now: time.Now, first: first, second: second}
}

func (f *Fallback) Get(key string) ([]byte, error) {
	use, trial := f.mayUseFirst()
	if !use {
		return f.second.Get(key)
	}
	record, err := f.first.Get(key)
	if f.isFailure(err, trial) {
		return f.second.Get(key)
	}
	return record, err
}

func (f *Fallback) Update(key string, change Change) error {
	use, trial := f.mayUseFirst()
	if !use {
		return f.second.Update(key, change)
	}
	var record []byte
	var until time.Time
	err := f.first.Update(key, func(old []byte) ([]byte, time.Time) {
		record, until = change(old)
		return record, until
	})
	if f.isFailure(err, trial) {
		return f.second.Update(key, change)
	}
	if err != nil {
		return err
	}
	return f.second.Update(key, func([]byte) ([]byte, time.Time) { return record, until })
}

// mayUseFirst reports whether the first store is to be used. After a pause one call tries it, and
// the others go on with the second until that one has an answer.
func (f *Fallback) mayUseFirst() (use, trial bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.retryAt.IsZero() {
		return true, false
	}
	now := f.Now()
	if left := f.retryAt.Sub(now); left > 0 && left <= retryPause { // more after the clock was set back
		return false, false
	}
	f.retryAt = now.Add(retryPause)
	return true, true
}

// isFailure records how the first store did.
func (f *Fallback) isFailure(err error, trial bool) bool {
	if err != nil && errors.Is(err, ErrTooLong) {
		return false
	}
	if f.note(err != nil, trial) && f.Report != nil {
		f.Report(err)
	}
	return err != nil
}

// note reports whether the state has changed. Only a trial ends a pause: another success may come
// from a call that began before the failure.
func (f *Fallback) note(failed, trial bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	now, was := f.Now(), f.failing
	switch {
	case failed:
		f.failing, f.lastFailed, f.retryAt = true, now, now.Add(retryPause)
	case trial:
		f.retryAt = time.Time{}
	}
	if f.retryAt.IsZero() && now.Sub(f.lastFailed) >= recoveryPeriod {
		f.failing = false
	}
	return f.failing != was
}
