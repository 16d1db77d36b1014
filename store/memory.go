package store

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"
)

// sweepSteps is how many records every update looks at, in turn, to drop expired ones. With two, it
// has looked at all before half as many new ones have come.
const sweepSteps = 2

// recordBytes is what a record takes beside the bytes of its key and value: itself, its place in
// the map, what the allocator rounds up.
const recordBytes = 140

// Memory is a Store of this process alone.
type Memory struct {
	Now func() time.Time

	mu      sync.Mutex
	limit   int // bytes; 0 = none
	size    int
	byKey   map[string]*memoryRecord
	byAge   memoryRecord  // its next is the least recently updated one, its previous the most recently
	toSweep *memoryRecord // the next to be looked at; &byAge = from the start
}

// memoryRecord is one in a ring that begins and ends at Memory.byAge, which takes less memory than
// a list of package container.
type memoryRecord struct {
	next, previous *memoryRecord
	key            string
	end            int64 // milliseconds since 1970
	value          []byte
}

// NewMemory returns a store for counters that takes this many bytes at most, or one record. With 0
// it is a store for kept records.
func NewMemory(bytes int) *Memory {
	m := &Memory{Now: time.Now, limit: bytes, byKey: map[string]*memoryRecord{}}
	m.byAge.next, m.byAge.previous, m.toSweep = &m.byAge, &m.byAge, &m.byAge
	return m
}

func (m *Memory) Get(ctx context.Context, keys ...string) ([][]byte, error) {
	if err := errors.Join(ctx.Err(), checkKeys(keys...)); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.Now()
	values := make([][]byte, len(keys))
	for i, key := range keys {
		values[i] = bytes.Clone(m.find(key, now).Value)
	}
	return values, nil
}

func (m *Memory) Update(ctx context.Context, keys []string, change Change) error {
	if err := errors.Join(ctx.Err(), checkKeys(keys...)); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.Now()
	old := make([]Record, len(keys))
	for i, key := range keys {
		old[i] = m.find(key, now)
	}
	records, differ, err := apply(change, old, now, m.isKept())
	if err != nil {
		return err
	}
	for i, key := range keys {
		m.dropSome(now)
		if differ[i] {
			m.put(key, records[i])
		}
	}
	return nil
}

// List looks at every key. No login waits for it.
func (m *Memory) List(ctx context.Context, prefix string, visit func(key string, r Record) bool) error {
	for _, key := range m.keys(prefix) {
		if err := ctx.Err(); err != nil {
			return err
		}
		m.mu.Lock()
		r := m.find(key, m.Now())
		r.Value = bytes.Clone(r.Value)
		m.mu.Unlock()
		if r.Value != nil && !visit(key, r) {
			return nil
		}
	}
	return nil
}

func (m *Memory) keys(prefix string) (keys []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key := range m.byKey {
		if strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

func (m *Memory) find(key string, now time.Time) Record {
	if found := m.byKey[key]; found != nil && !found.record().expired(now, m.isKept()) {
		return found.record()
	}
	return Record{}
}

func (m *Memory) isKept() bool { return m.limit == 0 }

// isOver reports that a record may be dropped.
func (m *Memory) isOver(r Record, now time.Time) bool {
	return m.isKept() && isLongOver(r, now) || !m.isKept() && r.expired(now, false)
}

func (r *memoryRecord) record() Record { return Record{r.value, time.UnixMilli(r.end)} }

func (r *memoryRecord) size() int { return recordBytes + len(r.key) + len(r.value) }

// put makes the record the most recent, or deletes its key.
func (m *Memory) put(key string, changed Record) {
	if old := m.byKey[key]; old != nil {
		m.remove(old)
	}
	if changed.Value == nil {
		return
	}
	r := &memoryRecord{key: strings.Clone(key), end: changed.Until.UnixMilli(), value: bytes.Clone(changed.Value)}
	m.makeSpace(r.size())
	r.next, r.previous = &m.byAge, m.byAge.previous
	r.previous.next, m.byAge.previous = r, r
	m.byKey[r.key] = r
	m.size += r.size()
}

// makeSpace drops the least recently updated records.
func (m *Memory) makeSpace(size int) {
	for m.limit > 0 && m.size+size > m.limit && m.byAge.next != &m.byAge {
		m.remove(m.byAge.next)
	}
}

func (m *Memory) dropSome(now time.Time) {
	for range sweepSteps {
		if m.toSweep == &m.byAge {
			m.toSweep = m.byAge.next
		}
		r := m.toSweep
		if r == &m.byAge {
			return
		}
		m.toSweep = r.next
		if m.isOver(r.record(), now) {
			m.remove(r)
		}
	}
}

func (m *Memory) remove(r *memoryRecord) {
	if m.toSweep == r {
		m.toSweep = r.next
	}
	r.previous.next, r.next.previous = r.next, r.previous
	delete(m.byKey, r.key)
	m.size -= r.size()
}
