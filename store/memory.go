package store

import (
	"bytes"
	"sync"
	"time"
)

// sweepSteps is how many records every update looks at, in turn, to drop expired ones. With two, it
// has looked at all before half as many new ones have come.
const sweepSteps = 2

// recordBytes is what a record takes beside its bytes: itself, its place in the map, what the
// allocator rounds up.
const recordBytes = 140

// Memory is a Store of this process alone.
type Memory struct {
	Now func() time.Time

	mu      sync.Mutex
	limit   int // bytes
	size    int
	byID    map[id]*memoryRecord
	byAge   memoryRecord  // its next is the least recently updated one, its previous the most recently
	toSweep *memoryRecord // the next to be looked at; &byAge = from the start
}

// memoryRecord is one in a ring that begins and ends at Memory.byAge, which takes less memory than
// a list of package container.
type memoryRecord struct {
	next, previous *memoryRecord
	id             id
	end            int64 // nanoseconds since 1970
	record         []byte
}

// NewMemory returns a store that takes this many bytes at most, or one record.
func NewMemory(bytes int) *Memory {
	m := &Memory{Now: time.Now, limit: bytes, byID: map[id]*memoryRecord{}}
	m.byAge.next, m.byAge.previous, m.toSweep = &m.byAge, &m.byAge, &m.byAge
	return m
}

func (m *Memory) Get(key string) ([]byte, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	id := hashKey(key)
	m.mu.Lock()
	defer m.mu.Unlock()
	return bytes.Clone(m.find(id, m.Now())), nil
}

func (m *Memory) Update(key string, change Change) error {
	if err := checkKey(key); err != nil {
		return err
	}
	id := hashKey(key)
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.Now()
	changed, err := apply(change, m.find(id, now), now)
	if err != nil {
		return err
	}
	m.dropSome(now)
	m.put(id, changed, now)
	return nil
}

func (m *Memory) find(id id, now time.Time) []byte {
	if found := m.byID[id]; found != nil && !found.expired(now) {
		return found.record
	}
	return nil
}

func (r *memoryRecord) expired(now time.Time) bool {
	return entry{r.record, time.Unix(0, r.end)}.expired(now)
}

func (r *memoryRecord) size() int { return recordBytes + len(r.record) }

// put makes the record the most recent, or deletes its key if it has expired.
func (m *Memory) put(id id, changed entry, now time.Time) {
	if old := m.byID[id]; old != nil {
		m.remove(old)
	}
	if changed.expired(now) {
		return
	}
	r := &memoryRecord{id: id, end: changed.until.UnixNano(), record: changed.record}
	m.makeSpace(r.size())
	r.next, r.previous = &m.byAge, m.byAge.previous
	r.previous.next, m.byAge.previous = r, r
	m.byID[id] = r
	m.size += r.size()
}

// makeSpace drops the least recently updated records. Only records that may be lost, such as
// counters, belong in a store with a bound.
func (m *Memory) makeSpace(size int) {
	for m.size+size > m.limit && m.byAge.next != &m.byAge {
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
		if r.expired(now) {
			m.remove(r)
		}
	}
}

func (m *Memory) remove(r *memoryRecord) {
	if m.toSweep == r {
		m.toSweep = r.next
	}
	r.previous.next, r.next.previous = r.next, r.previous
	delete(m.byID, r.id)
	m.size -= r.size()
}
