package service

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"dockerauth/store"
)

// recheckPause is how long a store of tokens that has failed is not asked for health's sake.
const recheckPause = 10 * time.Second

// watchedStore knows whether the last call to a store has failed.
type watchedStore struct {
	store.Store
	failing atomic.Bool
	checked atomic.Int64 // when health had it asked last, in nanoseconds since 1970
}

func (w *watchedStore) Get(ctx context.Context, keys ...string) ([][]byte, error) {
	values, err := w.Store.Get(ctx, keys...)
	w.note(err)
	return values, err
}

func (w *watchedStore) Update(ctx context.Context, keys []string, change store.Change) error {
	err := w.Store.Update(ctx, keys, change)
	w.note(err)
	return err
}

func (w *watchedStore) note(err error) {
	if !errors.Is(err, store.ErrTooLong) && !errors.Is(err, context.Canceled) { // the caller's
		w.failing.Store(err != nil)
	}
}

// mayRecheck reports that health may have the store asked again.
func (w *watchedStore) mayRecheck(now time.Time) bool {
	last := w.checked.Load()
	since := now.Sub(time.Unix(0, last))
	return (since >= recheckPause || since < 0) && w.checked.CompareAndSwap(last, now.UnixNano())
}
