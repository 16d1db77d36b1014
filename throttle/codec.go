package throttle

import (
	"encoding/binary"
	"time"
)

// A record in the store:
//
//	version (1 byte) minute (8) counts (2 each) lockLevel (1) lockedUntil (8) lastSuccess (8)
//	failedName (8) overrun (8) unanswered (1) lastUnanswered (8)
//	distinctSince (8) distinctFailures (1)
//	lastFailedTag (16)
//	{ tag (16) at (8) owner (8) lease (8) awaited (1) outcome (1) ended (8) repeats (1) }
//
// where the upper six bits of the outcome are the reason of a failure, and times are milliseconds
// since 1970, 0 = never.

const (
	codecVersion = 4
	headLen      = 1 + 8 + 2*buckets + 1 + 8 + 8 + 8 + 1 + 8 + 8 + 8 + 1 + 16
	passwordLen  = 16 + 8 + 8 + 8 + 1 + 1 + 8 + 1
)

// encode returns nil for an empty record.
func (r *record) encode() []byte {
	if r.failures() == 0 && r.lockLevel == 0 && r.lastSuccess.IsZero() && r.unansweredChecks == 0 &&
		r.distinctFailures == 0 && len(r.recent) == 0 {
		return nil
	}
	r.trim()
	b := make([]byte, 0, headLen+len(r.recent)*passwordLen)
	b = append(b, codecVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(r.minute))
	for _, c := range r.counts {
		b = binary.BigEndian.AppendUint16(b, c)
	}
	b = append(b, r.lockLevel)
	b = appendTime(b, r.lockedUntil)
	b = appendTime(b, r.lastSuccess)
	b = append(appendTime(append(b, r.failedName[:]...), r.overrun), r.unansweredChecks)
	b = appendTime(b, r.lastUnanswered)
	b = append(appendTime(b, r.distinctSince), r.distinctFailures)
	b = append(b, r.lastFailedTag[:]...)
	for _, p := range r.recent {
		b = append(b, p.tag[:]...)
		b = appendTime(b, p.at)
		b = binary.BigEndian.AppendUint64(b, p.owner)
		b = appendTime(b, p.lease)
		b = append(b, flag(p.awaited), byte(p.outcome)|byte(p.reason)<<2)
		b = append(appendTime(b, p.ended), p.repeats)
	}
	return b
}

// decode returns an empty record for anything but a record of this version.
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
	r.lockLevel, r.lockedUntil, r.lastSuccess = b[0], timeOf(b[1:]), timeOf(b[9:])
	b = b[17:]
	r.failedName, r.overrun, b = nameTag(b), timeOf(b[8:]), b[16:]
	r.unansweredChecks, r.lastUnanswered, b = b[0], timeOf(b[1:]), b[9:]
	r.distinctSince, r.distinctFailures, r.lastFailedTag, b = timeOf(b), b[8], passwordTag(b[9:]), b[25:]
	for ; len(b) > 0; b = b[passwordLen:] {
		r.recent = append(r.recent, password{
			tag: passwordTag(b), at: timeOf(b[16:]), owner: binary.BigEndian.Uint64(b[24:]), lease: timeOf(b[32:]),
			awaited: b[40] != 0, outcome: outcome(b[41] & 3), reason: Reason(b[41] >> 2), ended: timeOf(b[42:]),
			repeats: b[50],
		})
	}
	return r
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
