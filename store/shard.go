package store

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"slices"
	"time"
)

// A shard is the part of a folder's records whose ids begin with the same byte. Its file has two
// slots, and every update writes the older: while one is being written, the other is whole. A slot:
//
//	magic     8 bytes, the version in them
//	sequence  8 bytes, counted up by every update; even in the first slot, odd in the second
//	length    of the records, 4 bytes
//	checksum  CRC-32C of sequence, length and records, 4 bytes
//	records, least recently updated first, each
//	  id      16 bytes
//	  end     milliseconds since 1970, 8 bytes
//	  length  2 bytes
//	  record
//
// Numbers are big-endian. The checksum finds writes that were cut off. It does not stop attackers:
// a process that can write here can write anything.
const (
	magic       = "daState\x01"
	headerLen   = len(magic) + 8 + 4 + crc32.Size
	entryHeader = len(id{}) + 8 + 2

	shards = 256
	// maxFolder bounds the records of a folder: 25 MB with records of 100 bytes, 210 MB at the very
	// most.
	maxFolder  = 100_000
	maxEntries = maxFolder / shards
	maxRecords = maxEntries * (entryHeader + MaxRecord) // bytes
	// slotSize is whole pages. Parts that are not written take no space on the disk.
	slotSize = (headerLen + maxRecords + 4095) / 4096 * 4096
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// shard is the content of one slot. Every shard has one encoding for a sequence number, and every
// encoding one shard.
type shard []shardEntry

type shardEntry struct {
	id     id
	end    int64
	record []byte
}

func (e *shardEntry) expired(now time.Time) bool {
	return entry{e.record, time.UnixMilli(e.end)}.expired(now)
}

// header precedes the records of a slot.
type header struct {
	sequence uint64
	length   int
	checksum uint32
}

// decodeHeader reports whether b begins with a header that a slot of this number, 0 or 1, may have.
func decodeHeader(slot int, b []byte) (h header, ok bool) {
	if len(b) < headerLen || string(b[:len(magic)]) != magic {
		return h, false
	}
	length := binary.BigEndian.Uint32(b[16:])
	h = header{binary.BigEndian.Uint64(b[8:]), int(length), binary.BigEndian.Uint32(b[20:])}
	return h, int64(length) <= int64(maxRecords) && h.sequence%2 == uint64(slot)
}

func (h header) encode() []byte {
	b := append(make([]byte, 0, headerLen), magic...)
	b = binary.BigEndian.AppendUint64(b, h.sequence)
	b = binary.BigEndian.AppendUint32(b, uint32(h.length))
	return binary.BigEndian.AppendUint32(b, h.checksum)
}

// sum is the checksum that the header should have for these records.
func (h header) sum(records []byte) uint32 {
	return crc32.Update(crc32.Checksum(h.encode()[8:20], castagnoli), castagnoli, records)
}

var (
	errChecksum = errors.New("wrong checksum")
	errMisfit   = errors.New("a record that does not belong here")
)

// decodeShard refuses what encode would not have written for this number. The records lie in b.
func decodeShard(number byte, h header, b []byte) (shard, error) {
	if len(b) != h.length || h.sum(b) != h.checksum {
		return nil, errChecksum
	}
	s := make(shard, 0, min(maxEntries, len(b)/entryHeader))
	for len(b) > 0 {
		e, n := decodeEntry(b)
		if n == 0 || e.id[0] != number || len(s) == maxEntries {
			return nil, errMisfit
		}
		s, b = append(s, e), b[n:]
	}
	return s, nil
}

// decodeEntry returns how many bytes it has read, 0 if they are no entry.
func decodeEntry(b []byte) (e shardEntry, n int) {
	if len(b) < entryHeader {
		return e, 0
	}
	length := int(binary.BigEndian.Uint16(b[entryHeader-2:]))
	if length > MaxRecord || len(b) < entryHeader+length {
		return e, 0
	}
	n = entryHeader + length
	return shardEntry{id(b), int64(binary.BigEndian.Uint64(b[len(id{}):])), b[entryHeader:n:n]}, n
}

// encode returns a slot.
func (s shard) encode(sequence uint64) []byte {
	size := headerLen
	for i := range s {
		size += entryHeader + len(s[i].record)
	}
	b := make([]byte, headerLen, size)
	for i := range s {
		b = append(b, s[i].id[:]...)
		b = binary.BigEndian.AppendUint64(b, uint64(s[i].end))
		b = binary.BigEndian.AppendUint16(b, uint16(len(s[i].record)))
		b = append(b, s[i].record...)
	}
	h := header{sequence: sequence, length: size - headerLen}
	h.checksum = h.sum(b[headerLen:])
	copy(b, h.encode())
	return b
}

// find returns the record of a key, nil if there is none.
func (s shard) find(id id, now time.Time) []byte {
	for i := range s {
		if s[i].id == id && !s[i].expired(now) {
			return s[i].record
		}
	}
	return nil
}

// with returns the shard with the changed entry at the recent end, unless it has expired, and
// without expired ones; if that is too much, without the oldest.
func (s shard) with(id id, changed entry, now time.Time) shard {
	s = slices.DeleteFunc(s, func(e shardEntry) bool { return e.id == id || e.expired(now) })
	if !changed.expired(now) {
		s = append(s, shardEntry{id, changed.until.UnixMilli(), changed.record})
	}
	return s[max(0, len(s)-maxEntries):]
}
