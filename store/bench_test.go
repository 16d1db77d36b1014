package store

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

var hundred = strings.Repeat("r", 100)

// hash is a key as the throttle's are.
func hash(i int) string { return fmt.Sprintf("%016x", uint64(i)*0x9e3779b97f4a7c15) }

// loginKeys are those of one login: user, address, service.
func loginKeys(i int) []string { return []string{hash(i), hash(i + 1), "service"} }

func BenchmarkMemory(b *testing.B) {
	const many = 100_000
	m := NewMemory(many * (recordBytes + 16 + len(hundred)))
	for i := range many {
		put(b, m, hash(i), hundred, time.Now().Add(time.Hour))
	}
	benchmark(b, m)
}

func BenchmarkFolder(b *testing.B) {
	b.Run("empty", func(b *testing.B) { benchmark(b, newFolder(b).Counters()) })
	b.Run("full", func(b *testing.B) { benchmark(b, fill(b, newFolder(b)).Counters()) })
	b.Run("kept", func(b *testing.B) { benchmark(b, newFolder(b).Kept()) })
}

// BenchmarkRedis asks a server on this machine.
func BenchmarkRedis(b *testing.B) {
	r := openRedis(b, newRedisServer(b).address())
	b.Run("counters", func(b *testing.B) { benchmark(b, r.Counters()) })
	b.Run("kept", func(b *testing.B) { benchmark(b, r.Kept()) })
}

// fill makes the counters full.
func fill(b *testing.B, f *Folder) *Folder {
	for i := 0; ; i += 1000 {
		keys := make([]string, 1000)
		for n := range keys {
			keys[n] = hash(i + n)
		}
		until := time.Now().Add(time.Hour)
		full := false
		err := f.counters.Update(b.Context(), keys, func([]Record) []Record {
			used, err := f.counters.used()
			full = err != nil || used >= maxCounters/pageSize*9/10
			records := make([]Record, len(keys))
			for i := range records {
				records[i] = Record{[]byte(hundred), until}
			}
			return records
		})
		if err != nil {
			b.Fatal(err)
		}
		if full {
			b.Logf("%d records", i)
			return f
		}
	}
}

func benchmark(b *testing.B, s Store) {
	b.Run("Get of three", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if _, err := s.Get(b.Context(), loginKeys(i)...); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Update of three", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			updateLogin(b, s, i)
		}
	})
	b.Run("Update of three by many at once", func(b *testing.B) {
		var n atomic.Int64
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				updateLogin(b, s, int(n.Add(3)))
			}
		})
	})
}

func updateLogin(b *testing.B, s Store, i int) {
	until := time.Now().Add(time.Hour)
	err := s.Update(b.Context(), loginKeys(i), func([]Record) []Record {
		r := Record{[]byte(hundred), until}
		return []Record{r, r, r}
	})
	if err != nil {
		b.Fatal(err)
	}
}

// BenchmarkRequest is what a CGI program does for a refused password.
func BenchmarkRequest(b *testing.B) {
	for _, name := range []string{"empty", "full"} {
		b.Run(name, func(b *testing.B) {
			f := newFolder(b)
			if name == "full" {
				fill(b, f)
			}
			for i := 0; b.Loop(); i++ {
				f := reopen(b, f.path)
				for range 2 {
					if _, err := f.Counters().Get(b.Context(), loginKeys(i)...); err != nil {
						b.Fatal(err)
					}
					updateLogin(b, f.Counters(), i)
				}
				if err := f.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkKeptRequest is what a CGI program asks of kept records: a token and two revocations,
// among 10,000 of each.
func BenchmarkKeptRequest(b *testing.B) {
	f := newFolder(b)
	until := time.Now().Add(time.Hour)
	for i := 0; i < 20_000; i += 1000 {
		keys, records := make([]string, 1000), make([]Record, 1000)
		for n := range keys {
			keys[n], records[n] = hash(i+n), Record{[]byte(hundred), until}
		}
		if err := f.Kept().Update(b.Context(), keys, func([]Record) []Record { return records }); err != nil {
			b.Fatal(err)
		}
	}
	for i := 0; b.Loop(); i++ {
		f := reopen(b, f.path)
		if _, err := f.Kept().Get(b.Context(), loginKeys(i)...); err != nil {
			b.Fatal(err)
		}
		if err := f.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
