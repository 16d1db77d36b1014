package store

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
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

// one is a change of one record.
func one(change func(old []byte) ([]byte, time.Time)) Change {
	return func(old []Record) []Record {
		value, until := change(old[0].Value)
		return []Record{{value, until}}
	}
}

func update(s Store, key string, change Change) error {
	return s.Update(context.Background(), []string{key}, change)
}

func put(t testing.TB, s Store, key, value string, until time.Time) {
	t.Helper()
	err := update(s, key, func([]Record) []Record { return []Record{{[]byte(value), until}} })
	if err != nil {
		t.Fatal(err)
	}
}

func remove(t testing.TB, s Store, key string) {
	t.Helper()
	if err := update(s, key, func([]Record) []Record { return []Record{{}} }); err != nil {
		t.Fatal(err)
	}
}

func get(t testing.TB, s Store, key string) string {
	t.Helper()
	values, err := s.Get(context.Background(), key)
	if err != nil {
		t.Fatal(err)
	}
	return text(values[0])
}

// text is "none" for no value.
func text(value []byte) string {
	if value == nil {
		return "none"
	}
	return string(value)
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
	testCounters(t, m, c)
}

// testCounters is what a Store of counters promises besides; the store's clock is c.
func testCounters(t *testing.T, s Store, c *clock) {
	t.Run("an end beyond MaxKeep is MaxKeep", func(t *testing.T) {
		put(t, s, "long", "x", c.in(2*MaxKeep))
		c.advance(MaxKeep - time.Second)
		expect(t, s, "long", "x")
		c.advance(time.Second)
		expect(t, s, "long", "none")
	})
	t.Run("an end beyond MaxKeep is past for a clock that was set back", func(t *testing.T) {
		c.advance(2 * MaxKeep)
		put(t, s, "ahead", "x", c.in(time.Hour))
		expect(t, s, "ahead", "x")
		c.advance(-2 * MaxKeep)
		expect(t, s, "ahead", "none")
		put(t, s, "ahead", "y", c.in(time.Hour))
		expect(t, s, "ahead", "y")
	})
}

func TestMemoryIsAStoreOfKeptRecords(t *testing.T) {
	c := newClock()
	m := NewMemory(0)
	m.Now = c.Now
	testStore(t, m, c)
	testKept(t, m, c)
}

// testKept is what a Store of kept records promises besides; the store's clock is c.
func testKept(t *testing.T, s Store, c *clock) {
	start := c.now
	at := func(now time.Time, do func()) {
		c.now = now
		defer func() { c.now = start }()
		do()
	}
	clocks := map[string]time.Time{
		"right": start, "a day behind": c.in(-25 * time.Hour), "in 1970": time.Unix(0, 0),
		"before 1970": time.Unix(-1, 0), "a day ahead": c.in(25 * time.Hour), "in 2399": start.AddDate(373, 0, 0),
	}
	records := map[string]time.Time{
		"an end in half a minute": c.in(30 * time.Second), "an end in half a day": c.in(12 * time.Hour),
		"an end within MaxKeep": c.in(MaxKeep - time.Hour), "an end beyond MaxKeep": c.in(2 * MaxKeep),
		"no end": Forever,
	}
	putAll := func() {
		for name, until := range records {
			put(t, s, "clock/"+name, "x", until)
		}
	}
	for clockName, now := range clocks {
		for name, until := range records {
			t.Run(name+" for a clock "+clockName, func(t *testing.T) {
				putAll() // a clock far ahead has dropped some
				at(now, func() {
					want, key := "none", "clock/"+name
					if until.After(now) {
						want = "x"
					}
					expect(t, s, key, want)
					err := update(s, key, func(old []Record) []Record {
						if text(old[0].Value) != want || want == "x" && !old[0].Until.Equal(until) {
							t.Errorf("a change gets %q until %s", old[0].Value, old[0].Until)
						}
						return old
					})
					if err != nil {
						t.Fatal(err)
					}
					listed := "none"
					err = s.List(t.Context(), key, func(_ string, r Record) bool {
						listed = string(r.Value)
						return false
					})
					if err != nil || listed != want {
						t.Errorf("listed is %q, %v, want %q", listed, err, want)
					}
				})
			})
		}
	}
	for clockName, now := range clocks {
		t.Run("updates with a clock "+clockName+" drop none", func(t *testing.T) {
			if now.After(c.in(keptGrace)) {
				t.Skip("it is ahead for longer than records stay after their end")
			}
			putAll()
			at(now, func() {
				for i := range 20 * tidyEvery {
					put(t, s, "clock", fmt.Sprint(i), Forever)
				}
			})
			for name := range records {
				expect(t, s, "clock/"+name, "x")
			}
		})
	}
	t.Run("nothing drops a record without an end", func(t *testing.T) {
		at(start.AddDate(1000, 0, 0), func() {
			for i := range 20 * tidyEvery {
				put(t, s, "clock", fmt.Sprint(i), Forever)
			}
		})
		expect(t, s, "clock/no end", "x")
	})
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
	t.Run("a change gets the old record with its end", func(t *testing.T) {
		put(t, s, "old", "old", c.in(time.Minute))
		err := update(s, "old", func(old []Record) []Record {
			if string(old[0].Value) != "old" || !old[0].Until.Equal(c.in(time.Minute)) {
				t.Errorf("it got %q until %s", old[0].Value, old[0].Until)
			}
			return old
		})
		if err != nil {
			t.Fatal(err)
		}
		expect(t, s, "old", "old")
	})
	t.Run("what a change returned stays the caller's", func(t *testing.T) {
		mine := []byte("mine")
		err := update(s, "mine", func([]Record) []Record { return []Record{{mine, c.in(time.Minute)}} })
		if err != nil {
			t.Fatal(err)
		}
		mine[0] = 'x'
		got, err := s.Get(t.Context(), "mine")
		if err != nil || string(got[0]) != "mine" {
			t.Fatalf("got %q, %v", got, err)
		}
		got[0][0] = 'x'
		expect(t, s, "mine", "mine")
	})
	t.Run("a change gets nil for a record that is over", func(t *testing.T) {
		put(t, s, "over", "over", c.in(time.Minute))
		c.advance(time.Hour)
		err := update(s, "over", func(old []Record) []Record {
			if old[0].Value != nil || !old[0].Until.IsZero() {
				t.Errorf("it got %q", old)
			}
			return old
		})
		if err != nil {
			t.Fatal(err)
		}
	})
	t.Run("several records are read and changed together", func(t *testing.T) {
		put(t, s, "several 2", "two", c.in(time.Minute))
		keys := []string{"several 3", "several 2", "several 1"}
		err := s.Update(t.Context(), keys, func(old []Record) []Record {
			if old[0].Value != nil || string(old[1].Value) != "two" || old[2].Value != nil {
				t.Errorf("it got %q", old)
			}
			return []Record{{[]byte("three"), c.in(time.Minute)}, {}, {[]byte("one"), c.in(time.Minute)}}
		})
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.Get(t.Context(), "several 1", "several 2", "several 3")
		if err != nil || text(got[0]) != "one" || text(got[1]) != "none" || text(got[2]) != "three" {
			t.Errorf("got %q, %v", got, err)
		}
		if got, err := s.Get(t.Context()); err != nil || len(got) != 0 {
			t.Errorf("no keys: %q, %v", got, err)
		}
	})
	t.Run("records are listed by the beginning of their keys", func(t *testing.T) {
		var want []string
		for i := range 450 { // more than are read at once
			want = append(want, fmt.Sprintf("list/%03d", i))
			put(t, s, want[i], fmt.Sprint(i), c.in(time.Minute))
		}
		put(t, s, "list/over", "x", c.in(time.Second))
		put(t, s, "list.", "x", c.in(time.Minute))
		put(t, s, "list0", "x", c.in(time.Minute))
		c.advance(time.Second)
		var got []string
		err := s.List(t.Context(), "list/", func(key string, r Record) bool {
			if string(r.Value) != fmt.Sprint(len(got)) || r.Until.Before(c.Now()) {
				t.Errorf("%s: %q until %s", key, r.Value, r.Until)
			}
			remove(t, s, key) // a visit may use the store
			got = append(got, key)
			return len(got) < 440
		})
		if err != nil || !slices.Equal(got, want[:440]) {
			t.Errorf("%d records: %v, %v", len(got), got, err)
		}
		got = nil
		err = s.List(t.Context(), "list/", func(key string, _ Record) bool {
			got = append(got, key)
			return true
		})
		if err != nil || !slices.Equal(got, want[440:]) {
			t.Errorf("then: %v, %v", got, err)
		}
	})
	t.Run("a context that has ended ends a call", func(t *testing.T) {
		put(t, s, "context", "x", c.in(time.Minute))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.Get(ctx, "context"); !errors.Is(err, context.Canceled) {
			t.Errorf("Get: %v", err)
		}
		if err := s.Update(ctx, []string{"context"}, increment(c.in(time.Minute))); !errors.Is(err, context.Canceled) {
			t.Errorf("Update: %v", err)
		}
		err := s.List(ctx, "context", func(string, Record) bool { return true })
		if !errors.Is(err, context.Canceled) {
			t.Errorf("List: %v", err)
		}
		expect(t, s, "context", "x")
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
	t.Run("what is too long is refused and changes nothing", func(t *testing.T) {
		long, end := strings.Repeat("k", maxKey), c.in(time.Minute)
		value := strings.Repeat("r", MaxValue)
		put(t, s, long, value, end)
		if _, err := s.Get(t.Context(), "k", long+"k"); !errors.Is(err, ErrTooLong) {
			t.Errorf("a key: %v", err)
		}
		if err := update(s, long+"k", increment(end)); !errors.Is(err, ErrTooLong) {
			t.Errorf("a key: %v", err)
		}
		err := s.Update(t.Context(), []string{"short", long}, func([]Record) []Record {
			return []Record{{[]byte("x"), end}, {make([]byte, MaxValue+1), end}}
		})
		if !errors.Is(err, ErrTooLong) {
			t.Errorf("a value: %v", err)
		}
		expect(t, s, long, value)
		expect(t, s, "short", "none")
	})
	t.Run("a change that panics changes nothing", func(t *testing.T) {
		put(t, s, "panic", "x", c.in(time.Minute))
		func() {
			defer func() { _ = recover() }()
			_ = update(s, "panic", func([]Record) []Record { panic("change") })
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
					if err := update(s, "sum", increment(c.in(time.Minute))); err != nil {
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
	return one(func(old []byte) ([]byte, time.Time) {
		var n int
		_, _ = fmt.Sscan(string(old), &n)
		return fmt.Append(nil, n+1), until
	})
}

func TestAFullMemoryForgetsTheLeastRecentlyUpdated(t *testing.T) {
	c := newClock()
	m := NewMemory(3 * (recordBytes + 2))
	m.Now = c.Now
	for i, key := range []string{"a", "b", "c", "a", "d"} {
		put(t, m, key, key, c.in(time.Minute+time.Duration(i)*time.Second))
	}
	for key, want := range map[string]string{"a": "a", "b": "none", "c": "c", "d": "d"} {
		expect(t, m, key, want)
	}
}

func TestMemoryDropsWhatIsOverBeforeAnythingElse(t *testing.T) {
	c := newClock()
	m := NewMemory(4 * (recordBytes + 2))
	m.Now = c.Now
	put(t, m, "o", "x", c.in(time.Hour))
	for _, key := range []string{"a", "b", "c"} {
		put(t, m, key, key, c.in(time.Minute))
	}
	c.advance(time.Minute)
	for _, key := range []string{"d", "e", "f"} {
		put(t, m, key, key, c.in(time.Minute))
	}
	for _, key := range []string{"o", "d", "e", "f"} {
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
	if len(m.byKey) != 1 || m.byAge.next != m.byAge.previous || m.size != recordBytes+len("otherx") {
		t.Errorf("it still holds %d records, and counts %d bytes", len(m.byKey), m.size)
	}
}

// Kept records are not dropped, however many there are.
func TestAMemoryWithoutABoundDropsNothing(t *testing.T) {
	m := NewMemory(0)
	for i := range 10_000 {
		put(t, m, fmt.Sprint(i), "x", time.Now().Add(time.Hour))
	}
	if len(m.byKey) != 10_000 {
		t.Errorf("%d records", len(m.byKey))
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
	for i := range m.limit * 5 / 4 / (recordBytes + 16 + length) {
		put(t, m, fmt.Sprintf("%016d", i), record, until)
	}
	return len(m.byKey)
}

func TestAFullMemoryTakesNoMoreThanItsBytes(t *testing.T) {
	const limit = 8 << 20
	for _, length := range []int{0, 1, 100, 250, MaxValue} {
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
	m := NewMemory(4 * (recordBytes + 101))
	m.Now = c.Now
	for range 3 {
		for _, length := range []int{1, 100, 1000, 0} {
			for _, key := range []string{"a", "b", "c"} {
				put(t, m, key, strings.Repeat("r", length), c.in(time.Minute))
			}
			size := 0
			for _, r := range m.byKey {
				size += r.size()
			}
			if m.size != size || size > m.limit && len(m.byKey) > 1 {
				t.Errorf("%d records take %d bytes of %d, and it counts %d", len(m.byKey), size, m.limit, m.size)
			}
		}
	}
}
