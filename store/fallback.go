package store

import (
	"errors"
	"sync"
	"time"
)

const (
	// retryPause is how long the first store is left alone after a failure: a folder whose lock is stuck takes a second to fail.
	retryPause = 10 * time.Second
	// calm is for how long the first store must not have failed before it counts as recovered: only a part of it may be broken.
	recoveryPeriod = time.Minute
)

// Fallback is a Store made of two: the first, shared one as long as it works, and the second, this process's own, while it does not, so that a
// full disk does not switch a throttle off.
//
// The second gets a copy of what this process writes into the first, and so knows about as much when the first fails. The other way nothing is
// copied: what came while the first failed is forgotten when it works again, and what stood in it counts. For a throttle this means a few more
// tries for each of the two moments.
type Fallback struct {
	Now func() time.Time
	// Report is told when the first store has failed, with the error, and when it has recovered, with nil; of many failures one after the other,
	// the first. May be nil.
	Report func(error)

	first, second Store

	mu         sync.Mutex
	failing    bool // reported
	lastFailed time.Time
}

// NewFallback returns a store that uses second while first fails.
func NewFallback(first, second Store) *Fallback {
	return &Fallback{Now: time.Now, first: first, second: second}
}

func (f *Fallback) Get(key string) ([]byte, error) {
	if f.circuitOpen() {
		return f.second.Get(key)
	}
	record, err := f.first.Get(key)
	if f.isFailure(err) {
		return f.second.Get(key)
	}
	return record, err
}

func (f *Fallback) Update(key string, change Change) error {
	if f.circuitOpen() {
		return f.second.Update(key, change)
	}
	var record []byte
	var until time.Time
	err := f.first.Update(key, func(old []byte) ([]byte, time.Time) {
		record, until = change(old)
		return record, until
	})
	if f.isFailure(err) {
		return f.second.Update(key, change)
	}
	if err != nil {
		return err
	}
	return f.second.Update(key, func([]byte) ([]byte, time.Time) { return record, until })
}

func (f *Fallback) circuitOpen() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	since := f.Now().Sub(f.lastFailed)
	return f.failing && since >= 0 && since < retryPause
}

// isFailure takes note of how the first store did.
func (f *Fallback) isFailure(err error) bool {
	if err != nil && errors.Is(err, ErrTooLong) {
		return false
	}
	if f.note(err) && f.Report != nil {
		f.Report(err)
	}
	return err != nil
}

// note reports whether this is news.
func (f *Fallback) note(err error) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	now, was := f.Now(), f.failing
	switch {
	case err != nil:
		f.failing, f.lastFailed = true, now
	case now.Sub(f.lastFailed) >= recoveryPeriod:
		f.failing = false
	}
	return f.failing != was
}
