package store

import (
	"context"
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

// IsAway reports that the first store is not used at this moment, because it failed.
func (f *Fallback) IsAway() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.retryAt.IsZero()
}

func (f *Fallback) Get(ctx context.Context, keys ...string) (values [][]byte, err error) {
	err = f.use(func(s Store) error {
		values, err = s.Get(ctx, keys...)
		return err
	})
	return values, err
}

func (f *Fallback) Update(ctx context.Context, keys []string, change Change) error {
	var changed []Record // in the first store
	err := f.use(func(s Store) error {
		changed = nil
		return s.Update(ctx, keys, func(old []Record) []Record {
			records := change(old)
			if s == f.first {
				changed = records
			}
			return records
		})
	})
	if err == nil && changed != nil {
		return f.second.Update(ctx, keys, func([]Record) []Record { return changed })
	}
	return err
}

func (f *Fallback) List(ctx context.Context, prefix string, visit func(key string, r Record) bool) error {
	return f.use(func(s Store) error { return s.List(ctx, prefix, visit) })
}

// use calls do with the first store or, if that fails, with the second.
func (f *Fallback) use(do func(Store) error) error {
	use, trial := f.mayUseFirst()
	if !use {
		return do(f.second)
	}
	err := do(f.first)
	if f.isFailure(err, trial) {
		return do(f.second)
	}
	return err
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
	if errors.Is(err, ErrTooLong) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
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
