package store

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// clock stands still until it is moved.
type clock struct{ now time.Time }

func newClock() *clock { return &clock{time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)} }

func (c *clock) Now() time.Time               { return c.now }
func (c *clock) advance(d time.Duration)      { c.now = c.now.Add(d) }
func (c *clock) in(d time.Duration) time.Time { return c.now.Add(d) }

func put(t testing.TB, s Store, key, record string, until time.Time) {
	t.Helper()
	if err := s.Update(key, func([]byte) ([]byte, time.Time) { return []byte(record), until }); err != nil {
		t.Fatal(err)
	}
}

func remove(t testing.TB, s Store, key string) {
	t.Helper()
	if err := s.Update(key, func([]byte) ([]byte, time.Time) { return nil, time.Time{} }); err != nil {
		t.Fatal(err)
	}
}

func get(t testing.TB, s Store, key string) string {
	t.Helper()
	record, err := s.Get(key)
	if err != nil {
		t.Fatal(err)
	}
	if record == nil {
		return "none"
	}
	return string(record)
}

func expect(t testing.TB, s Store, key, want string) {
	t.Helper()
	if got := get(t, s, key); got != want {
		t.Errorf("the record of %.40q is %.40q, want %.40q", key, got, want)
	}
}

func TestMemoryIsAStore(t *testing.T) {
	c := newClock()
	m := NewMemory(1 << 20)
	m.Now = c.Now
	testStore(t, m, c)
}

// testStore is what every Store promises; the store's clock is c.
func testStore(t *testing.T, s Store, c *clock) {
	t.Run("a record is kept until its end", func(t *testing.T) {
		expect(t, s, "kept", "none")
		put(t, s, "kept", "one", c.in(time.Minute))
		expect(t, s, "kept", "one")
		put(t, s, "kept", "two", c.in(time.Minute))
		c.advance(time.Minute - time.Second)
		expect(t, s, "kept", "two")
		c.advance(time.Second)
		expect(t, s, "kept", "none")
	})
	t.Run("a change gets the old record as its own", func(t *testing.T) {
		put(t, s, "old", "old", c.in(time.Minute))
		err := s.Update("old", func(old []byte) ([]byte, time.Time) {
			if string(old) != "old" {
				t.Errorf("it got %q", old)
			}
			old[0] = 'x'
			return old, c.in(time.Minute)
		})
		if err != nil {
			t.Fatal(err)
		}
		expect(t, s, "old", "xld")
	})
	t.Run("what a change returned stays the caller's", func(t *testing.T) {
		mine := []byte("mine")
		if err := s.Update("mine", func([]byte) ([]byte, time.Time) { return mine, c.in(time.Minute) }); err != nil {
			t.Fatal(err)
		}
		mine[0] = 'x'
		got, err := s.Get("mine")
		if err != nil || string(got) != "mine" {
			t.Fatalf("got %q, %v", got, err)
		}
		got[0] = 'x'
		expect(t, s, "mine", "mine")
	})
	t.Run("a change gets nil for a record that is over", func(t *testing.T) {
		put(t, s, "over", "over", c.in(time.Minute))
		c.advance(time.Hour)
		err := s.Update("over", func(old []byte) ([]byte, time.Time) {
			if old != nil {
				t.Errorf("it got %q", old)
			}
			return nil, time.Time{}
		})
		if err != nil {
			t.Fatal(err)
		}
	})
	t.Run("nil deletes, and so does an end that is past", func(t *testing.T) {
		put(t, s, "deleted", "x", c.in(time.Minute))
		remove(t, s, "deleted")
		expect(t, s, "deleted", "none")
		put(t, s, "deleted", "x", c.in(time.Minute))
		put(t, s, "deleted", "y", c.in(0))
		expect(t, s, "deleted", "none")
	})
	t.Run("an empty record is a record, and an empty key is a key", func(t *testing.T) {
		put(t, s, "", "", c.in(time.Minute))
		expect(t, s, "", "")
	})
	t.Run("an end beyond MaxKeep is MaxKeep", func(t *testing.T) {
		put(t, s, "long", "x", c.in(2*MaxKeep))
		c.advance(MaxKeep - time.Second)
		expect(t, s, "long", "x")
		c.advance(time.Second)
		expect(t, s, "long", "none")
	})
	t.Run("what is too long is refused and changes nothing", func(t *testing.T) {
		long, end := strings.Repeat("k", maxKey), c.in(time.Minute)
		put(t, s, long, strings.Repeat("r", MaxRecord), end)
		if _, err := s.Get(long + "k"); !errors.Is(err, ErrTooLong) {
			t.Errorf("a key: %v", err)
		}
		if err := s.Update(long+"k", func([]byte) ([]byte, time.Time) { return nil, end }); !errors.Is(err,
			ErrTooLong) {
			t.Errorf("a key: %v", err)
		}
		if err := s.Update(long,
			func([]byte) ([]byte, time.Time) { return make([]byte, MaxRecord+1), end }); !errors.Is(err, ErrTooLong) {
			t.Errorf("a record: %v", err)
		}
		expect(t, s, long, strings.Repeat("r", MaxRecord))
	})
	t.Run("a change that panics changes nothing", func(t *testing.T) {
		put(t, s, "panic", "x", c.in(time.Minute))
		func() {
			defer func() { _ = recover() }()
			_ = s.Update("panic", func([]byte) ([]byte, time.Time) { panic("change") })
		}()
		expect(t, s, "panic", "x")
		put(t, s, "panic", "y", c.in(time.Minute))
		expect(t, s, "panic", "y")
	})
	t.Run("updates at once are counted one by one", func(t *testing.T) {
		const writers, times = 8, 50
		var wg sync.WaitGroup
		for range writers {
			wg.Go(func() {
				for range times {
					if err := s.Update("sum", increment(c.in(time.Minute))); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		expect(t, s, "sum", fmt.Sprint(writers*times))
	})
}

// increment counts in decimal.
func increment(until time.Time) Change {
	return func(old []byte) ([]byte, time.Time) {
		var n int
		_, _ = fmt.Sscan(string(old), &n)
		return fmt.Append(nil, n+1), until
	}
}

func TestAFullMemoryForgetsTheLeastRecentlyUpdated(t *testing.T) {
	c := newClock()
	m := NewMemory(3 * (recordBytes + 1))
	m.Now = c.Now
	for _, key := range []string{"a", "b", "c", "a", "d"} {
		put(t, m, key, key, c.in(time.Minute))
	}
	for key, want := range map[string]string{"a": "a", "b": "none", "c": "c", "d": "d"} {
		expect(t, m, key, want)
	}
}

func TestMemoryDropsWhatIsOverBeforeAnythingElse(t *testing.T) {
	c := newClock()
	m := NewMemory(4 * (recordBytes + 1))
	m.Now = c.Now
	put(t, m, "oldest", "x", c.in(time.Hour))
	for _, key := range []string{"a", "b", "c"} {
		put(t, m, key, key, c.in(time.Minute))
	}
	c.advance(time.Minute)
	for _, key := range []string{"d", "e", "f"} {
		put(t, m, key, key, c.in(time.Minute))
	}
	for _, key := range []string{"oldest", "d", "e", "f"} {
		if get(t, m, key) == "none" {
			t.Errorf("%q is lost", key)
		}
	}
}

func TestMemoryKeepsNothingThatIsOverForLong(t *testing.T) {
	const many = 1000
	c := newClock()
	m := NewMemory(many << 10)
	m.Now = c.Now
	for i := range many {
		put(t, m, fmt.Sprint(i), "x", c.in(time.Minute))
	}
	c.advance(time.Hour)
	for range many/sweepSteps + 1 {
		put(t, m, "other", "x", c.in(time.Minute))
	}
	if len(m.byID) != 1 || m.byAge.next != m.byAge.previous || m.size != recordBytes+1 {
		t.Errorf("it still holds %d records, and counts %d bytes", len(m.byID), m.size)
	}
}

func heapSize() int {
	var s runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&s)
	return int(s.HeapAlloc)
}

// fillMemory makes the store full of records, as an attacker would.
func fillMemory(t testing.TB, m *Memory, length int) (kept int) {
	t.Helper()
	record, until := strings.Repeat("r", length), time.Now().Add(time.Hour)
	for i := range m.limit * 5 / 4 / (recordBytes + length) {
		put(t, m, fmt.Sprint(i), record, until)
	}
	return len(m.byID)
}

func TestAFullMemoryTakesNoMoreThanItsBytes(t *testing.T) {
	const limit = 8 << 20
	for _, length := range []int{0, 1, 100, 250, MaxRecord} {
		before := heapSize()
		m := NewMemory(limit)
		kept := fillMemory(t, m, length)
		took := heapSize() - before
		t.Logf("%d records of %d bytes take %d bytes each", kept, length, took/kept)
		if took > limit || took < limit/2 {
			t.Errorf("with records of %d bytes it takes %d of %d bytes", length, took, limit)
		}
		runtime.KeepAlive(m)
	}
}

// A record that grows counts as what it takes now.
func TestAMemoryCountsWhatItsRecordsTake(t *testing.T) {
	c := newClock()
	m := NewMemory(4 * (recordBytes + 100))
	m.Now = c.Now
	for range 3 {
		for _, length := range []int{1, 100, 1000, 0} {
			for _, key := range []string{"a", "b", "c"} {
				put(t, m, key, strings.Repeat("r", length), c.in(time.Minute))
			}
			size := 0
			for _, r := range m.byID {
				size += r.size()
			}
			if m.size != size || size > m.limit && len(m.byID) > 1 {
				t.Errorf("%d records take %d bytes of %d, and it counts %d", len(m.byID), size, m.limit, m.size)
			}
		}
	}
}
