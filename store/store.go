// Package store keeps small records that processes share: failed logins, revocations. A record is
// bytes under a key, with an expiry. Memory keeps them for this process, Folder for all processes
// of one machine; Fallback joins two stores.
//
// Time is the wall clock's, the only one that processes and machines share. A clock that was set
// back keeps records longer, one that was set forward ends them sooner. A user that minds
// writes times into the record. An expiry farther away than MaxKeep comes from a wrong clock and
// counts as past.
//
// A store is bounded: when it is full, it drops the least recently updated records. It is no
// database: do not keep here what must not be lost.
package store

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"
)

const (
	// maxKey is in bytes: more than the longest account name and an address.
	maxKey = 512
	// MaxRecord is in bytes: a dozen times and counts. It bounds what a full store takes.
	MaxRecord = 1024
	// MaxKeep bounds what a clock leaves behind that was far ahead for a moment. A refresh token
	// lives for ten years at most.
	MaxKeep = 3660 * 24 * time.Hour
)

// ErrTooLong is the cause of every error that is the caller's: a key or a record beyond its bound.
var ErrTooLong = errors.New("too long for a store")

// ErrDamaged is the cause of errors that Folder.Report gets.
var ErrDamaged = errors.New("damaged")

// Store keeps small records for a while. All methods may be called at once by anybody.
type Store interface {
	// Get returns the record of a key, nil if there is none or its time is over.
	Get(key string) ([]byte, error)
	// Update replaces the record of a key by the result of change. No other update of the record
	// comes in between. After an error the old record stands.
	Update(key string, change Change) error
}

// Change makes a new record of an old one, nil if there is none, and says when it expires; a nil
// record deletes. It may write into the old record and return it. It may be called more than once,
// and the last call counts. It must not block, and must not use the store.
type Change func(old []byte) (record []byte, until time.Time)

// id is the hash of a key, so that long keys take no more memory than short ones.
type id [16]byte

// checkKey must come before hashKey.
func checkKey(key string) error {
	if len(key) > maxKey {
		return fmt.Errorf("key of %d bytes, and %d is the most: %w", len(key), maxKey, ErrTooLong)
	}
	return nil
}

func hashKey(key string) id {
	sum := sha256.Sum256([]byte(key))
	return id(sum[:len(id{})])
}

// entry is a record and its expiry.
type entry struct {
	record []byte
	until  time.Time
}

func (e entry) expired(now time.Time) bool {
	return e.record == nil || !e.until.After(now) || e.until.After(now.Add(MaxKeep))
}

// apply calls change with a copy of the old record and returns an entry that a store may keep.
func apply(change Change, old []byte, now time.Time) (entry, error) {
	record, until := change(bytes.Clone(old))
	if len(record) > MaxRecord {
		return entry{}, fmt.Errorf("record of %d bytes, and %d is the most: %w", len(record), MaxRecord, ErrTooLong)
	}
	if last := now.Add(MaxKeep); until.After(last) {
		until = last
	}
	return entry{bytes.Clone(record), until}, nil
}
