package throttle

import (
	"bytes"
	"testing"
	"time"
)

// Any bytes: what is read is what would be written again, and advancing never leaves a lock or a count beyond the bounds.
func FuzzRecord(f *testing.F) {
	now := time.UnixMilli(1_767_323_045_678)
	full := record{minute: now.Unix() / 60, strikes: 3, until: now.Add(time.Minute), good: now.Add(-time.Hour), since: now.Add(-time.Minute), failed: 9, latest: mark{9}, seen: []password{
		{mark: mark{1, 2, 3}, at: now, refused: true, repeats: 7, under: 3}, {mark: mark{4}, at: now.Add(-time.Second), under: 1},
	}}
	full.counts[0], full.counts[10] = 4, 65535
	seeds := [][]byte{full.encode(), (&record{strikes: 1}).encode(), {}, {codecVersion}, bytes.Repeat([]byte{0xff}, headLen), bytes.Repeat([]byte{codecVersion}, headLen+passwordLen)}
	if len(seeds) == 0 || len(seeds[0]) != headLen+2*passwordLen {
		f.Fatal("the seeds are not what they should be")
	}
	for _, seed := range seeds {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := decode(b)
		if again := r.encode(); again != nil {
			twice := decode(again)
			if !bytes.Equal(twice.encode(), again) {
				t.Fatalf("%x is read as %x", again, twice.encode())
			}
		}
		r.advance(now)
		if r.until.After(now.Add(longestLock)) || r.good.After(now) {
			t.Fatalf("locked until %s, good %s", r.until, r.good)
		}
		for _, p := range r.seen {
			if now.Sub(p.at).Abs() >= memory {
				t.Fatalf("remembers %s", p.at)
			}
		}
		r.count(now, now, pairLimit)
		if n := r.expires(now).Sub(now); n < 0 || n > known {
			t.Fatalf("kept for %s", n)
		}
	})
}
