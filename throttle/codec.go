package throttle

import (
	"encoding/binary"
	"time"
)

// A record in the store:
//
//	version (1 byte) minute (8) counts (2 each) strikes (1) until (8) good (8) since (8) failed (1) latest (16)
//	{ mark (16) at (8) refused (1) repeats (1) under (2) }
//
// where times are milliseconds since 1970, 0 = never.

const (
	codecVersion = 3
	headLen      = 1 + 8 + 2*buckets + 1 + 8 + 8 + 8 + 1 + 16
	passwordLen  = 16 + 8 + 1 + 1 + 2
	maxSeen      = 16 // more than the limits let there be
)

// encode returns nil for a record that says nothing.
func (r *record) encode() []byte {
	if r.refusals() == 0 && r.strikes == 0 && r.good.IsZero() && r.failed == 0 && len(r.seen) == 0 {
		return nil
	}
	seen := r.seen
	if len(seen) > maxSeen {
		seen = seen[len(seen)-maxSeen:]
	}
	b := make([]byte, 0, headLen+len(seen)*passwordLen)
	b = append(b, codecVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(r.minute))
	for _, c := range r.counts {
		b = binary.BigEndian.AppendUint16(b, c)
	}
	b = append(b, r.strikes)
	b = appendTime(b, r.until)
	b = appendTime(b, r.good)
	b = append(appendTime(b, r.since), r.failed)
	b = append(b, r.latest[:]...)
	for _, p := range seen {
		b = append(b, p.mark[:]...)
		b = appendTime(b, p.at)
		b = append(b, flag(p.refused), p.repeats)
		b = binary.BigEndian.AppendUint16(b, p.under)
	}
	return b
}

// decode takes what is no record of this version for none: it counts anew, and the store says itself when it is damaged.
func decode(b []byte) record {
	if len(b) < headLen || b[0] != codecVersion || (len(b)-headLen)%passwordLen != 0 {
		return record{}
	}
	r := record{minute: int64(binary.BigEndian.Uint64(b[1:]))}
	b = b[9:]
	for i := range r.counts {
		r.counts[i] = binary.BigEndian.Uint16(b)
		b = b[2:]
	}
	r.strikes, r.until, r.good, r.since, r.failed, b = b[0], timeOf(b[1:]), timeOf(b[9:]), timeOf(b[17:]), b[25], b[26:]
	r.latest, b = mark(b[:16]), b[16:]
	for ; len(b) > 0; b = b[passwordLen:] {
		r.seen = append(r.seen, password{mark: mark(b[:16]), at: timeOf(b[16:]), refused: b[24] != 0, repeats: b[25], under: binary.BigEndian.Uint16(b[26:])})
	}
	return r
}

// expires is when nothing of r matters any more.
func (r *record) expires(now time.Time) time.Time {
	latest := now
	after := func(t time.Time, d time.Duration) {
		if t = t.Add(d); t.After(latest) {
			latest = t
		}
	}
	if r.refusals() > 0 {
		after(now, buckets*bucket)
	}
	if r.strikes > 0 {
		after(r.until, quiet)
	}
	if !r.good.IsZero() {
		after(r.good, known)
	}
	if r.failed > 0 {
		after(r.since, pardonsTime)
	}
	if len(r.seen) > 0 {
		after(now, memory)
	}
	return latest
}

func appendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return binary.BigEndian.AppendUint64(b, 0)
	}
	return binary.BigEndian.AppendUint64(b, uint64(t.UnixMilli()))
}

func timeOf(b []byte) time.Time {
	ms := int64(binary.BigEndian.Uint64(b))
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

func flag(set bool) byte {
	if set {
		return 1
	}
	return 0
}
