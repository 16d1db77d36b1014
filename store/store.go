// Package store keeps small records that processes share: failed logins, tokens, revocations. A
// record is bytes under a key, with an expiry. Memory keeps them for this process, Folder for all
// processes of one machine; Fallback joins two stores.
//
// There are two kinds of records, each with a store of its own. Counters may be forgotten: a full
// store drops the least recently updated, and a power cut the last ones. Kept records are neither
// dropped nor forgotten once Update has returned.
//
// Time is the wall clock's, the only one that processes and machines share. A clock that was set
// back keeps records longer, one that was set forward ends them sooner. A user that minds
// writes times into the record. The expiry of a counter that is farther away than MaxKeep comes
// from a wrong clock and counts as past; that of a kept record counts.
package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"time"
)

const (
	// maxKey is in bytes: more than the longest account name and an address.
	maxKey = 512
	// MaxValue is in bytes: the scopes of a token, dozens of times and counts. It bounds what one
	// record takes of a full store.
	MaxValue = 8 << 10
	// MaxKeep bounds what a clock leaves of counters that was far ahead for a moment. A refresh
	// token lives for ten years at most.
	MaxKeep = 3660 * 24 * time.Hour
	// keptGrace is how long a kept record stays after its end, unread: a clock that was ahead for a
	// while must not have dropped a revocation.
	keptGrace = 30 * 24 * time.Hour
)

// Forever is the end of a kept record that has none, whatever a clock says.
var Forever = time.UnixMilli(math.MaxInt64)

// ErrTooLong is the cause of every error that is the caller's: a key or a value beyond its bound.
var ErrTooLong = errors.New("too long for a store")

// ErrDamaged is the cause of errors about files that are not as this package writes them.
var ErrDamaged = errors.New("damaged")

// Store keeps records until they expire. All methods may be called at once by anybody. None takes
// much longer than a second, but an update of kept records, which no login waits for: ten.
type Store interface {
	// Get returns the values of keys, in their order; nil for one that has none or has expired.
	Get(ctx context.Context, keys ...string) ([][]byte, error)
	// Update replaces the records of keys, which are all different, by the result of change. No
	// other update of any of them comes in between. After an error the old records stand.
	Update(ctx context.Context, keys []string, change Change) error
	// List calls visit for the records whose keys begin with a prefix, in the order of the keys,
	// until visit returns false. Of records that change meanwhile it may miss some. visit may use
	// the store.
	List(ctx context.Context, prefix string, visit func(key string, r Record) bool) error
}

// Record is a value and when it expires, to the millisecond. A nil value is no record.
type Record struct {
	Value []byte
	Until time.Time
}

// Change makes new records of old ones, in the order of the keys. A record returned as it came
// stays as it is; a nil value deletes. Change may be called more than once, and the last call
// counts. It must not write into the old values, block, or use the store.
type Change func(old []Record) []Record

// expired reports that a record counts as none. A clock that is behind must not hide a kept one.
func (r Record) expired(now time.Time, isKept bool) bool {
	return r.Value == nil || !r.Until.After(now) || !isKept && r.Until.After(now.Add(MaxKeep))
}

// isLongOver reports that a kept record may be dropped.
func isLongOver(r Record, now time.Time) bool { return !r.Until.After(now.Add(-keptGrace)) }

func checkKeys(keys ...string) error {
	for _, key := range keys {
		if len(key) > maxKey {
			return fmt.Errorf("key of %d bytes, and %d is the most: %w", len(key), maxKey, ErrTooLong)
		}
	}
	return nil
}

// apply calls change and returns records that a store may keep, and which of them differ from the
// old ones. A deleted or expired one is the zero Record. old and its values are the caller's.
func apply(change Change, old []Record, now time.Time, isKept bool) (records []Record, differ []bool, err error) {
	changed := change(append([]Record(nil), old...))
	if len(changed) != len(old) {
		return nil, nil, fmt.Errorf("%d records for %d keys", len(changed), len(old))
	}
	records, differ = make([]Record, len(old)), make([]bool, len(old))
	for i, r := range changed {
		if len(r.Value) > MaxValue {
			return nil, nil, fmt.Errorf("value of %d bytes, and %d is the most: %w", len(r.Value), MaxValue, ErrTooLong)
		}
		if last := now.Add(MaxKeep); !isKept && r.Until.After(last) {
			r.Until = last
		}
		if r.Until = milliseconds(r.Until); r.expired(now, isKept) {
			r = Record{}
		}
		differ[i] = (r.Value == nil) != (old[i].Value == nil) || !bytes.Equal(r.Value, old[i].Value) ||
			!r.Until.Equal(old[i].Until)
		records[i] = r
	}
	return records, differ, nil
}

// milliseconds is the time that every store gives back.
func milliseconds(t time.Time) time.Time { return time.UnixMilli(t.UnixMilli()) }
