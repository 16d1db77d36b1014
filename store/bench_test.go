package store

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

var hundred = strings.Repeat("r", 100)

func BenchmarkMemory(b *testing.B) {
	m := NewMemory(maxFolder * (recordBytes + len(hundred)))
	until := time.Now().Add(time.Hour)
	for i := range maxFolder {
		put(b, m, fmt.Sprint(i), hundred, until)
	}
	benchmark(b, m, "0")
	b.Run("Update of many at once", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for i := 0; pb.Next(); i++ {
				put(b, m, fmt.Sprint(i), hundred, until)
			}
		})
	})
}

func BenchmarkFolder(b *testing.B) {
	b.Run("empty", func(b *testing.B) { benchmark(b, newFolder(b), "0") })
	b.Run("full", func(b *testing.B) {
		f := newFolder(b)
		benchmark(b, f, fill(b, f))
	})
}

// fill fills a shard and returns its oldest key.
func fill(b *testing.B, f *Folder) string {
	keys := keysOfOneShard(maxEntries)
	for _, key := range keys {
		put(b, f, key, hundred, time.Now().Add(time.Hour))
	}
	return keys[0]
}

func benchmark(b *testing.B, s Store, key string) {
	until := time.Now().Add(time.Hour)
	b.Run("Get", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			get(b, s, key)
		}
	})
	b.Run("Update", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			put(b, s, key, hundred, until)
		}
	})
	b.Run("Update that forgets nothing", func(b *testing.B) {
		for b.Loop() {
			remove(b, s, "nothing")
		}
	})
}

// BenchmarkRequest is what a CGI program does.
func BenchmarkRequest(b *testing.B) {
	for _, name := range []string{"empty", "full"} {
		b.Run(name, func(b *testing.B) {
			f := newFolder(b)
			key := "0"
			if name == "full" {
				key = fill(b, f)
			}
			for b.Loop() {
				f := reopen(b, f.path)
				get(b, f, key)
				put(b, f, key, hundred, time.Now().Add(time.Hour))
			}
		})
	}
}
