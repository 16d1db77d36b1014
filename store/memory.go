package store

import (
	"container/list"
	"sync"
	"time"
)

// sweepSteps is how many records every update looks at, in turn, to drop expired ones. With two, it
// has looked at all before half as many new ones have come.
const sweepSteps = 2

// Memory is a Store of this process alone. 100,000 records of 100 bytes take about 30 MB.
type Memory struct {
	Now func() time.Time

	mu    sync.Mutex
	limit int
	byID  map[id]*list.Element
	byAge list.List     // of *lruEntry; least recently updated first
	sweep *list.Element // the next to be looked at; nil = from the start
}

// lruEntry is used by pointer, so that the map stays small.
type lruEntry struct {
	id id
	entry
}

// NewMemory returns a store for limit records.
func NewMemory(limit int) *Memory {
	return &Memory{Now: time.Now, limit: max(limit, 1), byID: map[id]*list.Element{}}
}

func (m *Memory) Get(key string) ([]byte, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	id := hashKey(key)
	m.mu.Lock()
	defer m.mu.Unlock()
	return clone(m.find(id, m.Now())), nil
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
	m.put(&lruEntry{id, changed}, now)
	return nil
}

func (m *Memory) find(id id, now time.Time) []byte {
	e, ok := m.byID[id]
	if !ok {
		return nil
	}
	if found := e.Value.(*lruEntry); !found.expired(now) {
		return found.record
	}
	return nil
}

// put makes e the most recent, or deletes its key if it has expired.
func (m *Memory) put(k *lruEntry, now time.Time) {
	if e, ok := m.byID[k.id]; ok {
		m.remove(e)
	}
	if k.expired(now) {
		return
	}
	if len(m.byID) >= m.limit {
		m.remove(m.byAge.Front())
	}
	m.byID[k.id] = m.byAge.PushBack(k)
}

func (m *Memory) dropSome(now time.Time) {
	for range sweepSteps {
		if m.sweep == nil {
			m.sweep = m.byAge.Front()
		}
		e := m.sweep
		if e == nil {
			return
		}
		m.sweep = e.Next()
		if e.Value.(*lruEntry).expired(now) {
			m.remove(e)
		}
	}
}

func (m *Memory) remove(e *list.Element) {
	if m.sweep == e {
		m.sweep = e.Next()
	}
	delete(m.byID, e.Value.(*lruEntry).id)
	m.byAge.Remove(e)
}
