package throttle

import (
	"bytes"
	"testing"
	"time"
)

// For any bytes: a decoded record encodes and decodes to the same, and advance leaves no lock or
// count beyond the bounds.
func FuzzRecord(f *testing.F) {
	now := time.UnixMilli(1_767_323_045_678)
	full := record{
		minute: now.Unix() / 60, lockLevel: 3, lockedUntil: now.Add(time.Minute), lastSuccess: now.Add(-time.Hour),
		distinctSince: now.Add(-time.Minute), distinctFailures: 9, lastFailedTag: passwordTag{9},
		recent: []password{
			{tag: passwordTag{1, 2, 3}, at: now, outcome: failed, reason: MaxReason, ended: now, repeats: 7},
			{tag: passwordTag{4}, at: now.Add(-time.Second), owner: 77, lease: now.Add(time.Second), awaited: true},
		},
	}
	full.counts[0], full.counts[10] = 4, 65535
	seeds := [][]byte{
		full.encode(), (&record{lockLevel: 1}).encode(), {}, {codecVersion},
		bytes.Repeat([]byte{0xff}, headLen), bytes.Repeat([]byte{codecVersion}, headLen+passwordLen),
	}
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
		if r.lockedUntil.After(now.Add(longestLock)) || r.lastSuccess.After(now) {
			t.Fatalf("locked until %s, last success %s", r.lockedUntil, r.lastSuccess)
		}
		for _, p := range r.recent {
			if now.Sub(p.at).Abs() >= repeatWindow && now.Sub(p.ended).Abs() >= answerWindow && p.owner == 0 {
				t.Fatalf("remembers %s", p.at)
			}
		}
		r.count(now, now, userAddrLimit)
		if n := r.expires(now).Sub(now); n < 0 || n > trustWindow {
			t.Fatalf("kept for %s", n)
		}
	})
}
