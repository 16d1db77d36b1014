package state

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"time"
)

// A shard is the part of a folder's records whose ids begin with the same byte, in one file:
//
//	magic     8 bytes, the version in them
//	checksum  CRC-32C of all that follows, 4 bytes
//	records, least recently updated first, each
//	  id      16 bytes
//	  end     milliseconds since 1970, 8 bytes
//	  length  2 bytes
//	  record
//
// Numbers are big-endian. The checksum is there for what a power cut leaves behind, not for enemies: who can write here can write anything.
const (
	magic       = "daState\x01"
	shardHeader = len(magic) + crc32.Size
	entryHeader = len(id{}) + 8 + 2

	shards = 256
	// maxFolder bounds the records of a folder: 10 MB as the throttle writes them, 105 MB at the very most.
	maxFolder  = 100_000
	maxEntries = maxFolder / shards
	maxShard   = shardHeader + maxEntries*(entryHeader+MaxRecord)
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// shard is what stands in one file. Every shard has one encoding, and every encoding one shard.
type shard []shardEntry

type shardEntry struct {
	id     id
	end    int64
	record []byte
}

func (e *shardEntry) isOver(now time.Time) bool {
	return entry{e.record, time.UnixMilli(e.end)}.isOver(now)
}

// decodeShard refuses whatever encode would not have written for this number. The records lie in content.
func decodeShard(number byte, content []byte) (shard, error) {
	if len(content) < shardHeader || string(content[:len(magic)]) != magic {
		return nil, errors.New("not a file of this version")
	}
	sum, rest := binary.BigEndian.Uint32(content[len(magic):]), content[shardHeader:]
	if crc32.Checksum(rest, castagnoli) != sum {
		return nil, errors.New("wrong checksum")
	}
	s := make(shard, 0, min(maxEntries, len(rest)/entryHeader))
	for len(rest) > 0 {
		if len(s) == maxEntries {
			return nil, fmt.Errorf("more than %d records", maxEntries)
		}
		e, n := decodeEntry(rest)
		if n == 0 || e.id[0] != number {
			return nil, errors.New("a record that does not belong here")
		}
		s, rest = append(s, e), rest[n:]
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

func (s shard) encode() []byte {
	size := shardHeader
	for i := range s {
		size += entryHeader + len(s[i].record)
	}
	b := append(make([]byte, 0, size), magic...)
	b = append(b, make([]byte, crc32.Size)...)
	for i := range s {
		b = append(b, s[i].id[:]...)
		b = binary.BigEndian.AppendUint64(b, uint64(s[i].end))
		b = binary.BigEndian.AppendUint16(b, uint16(len(s[i].record)))
		b = append(b, s[i].record...)
	}
	binary.BigEndian.PutUint32(b[len(magic):], crc32.Checksum(b[shardHeader:], castagnoli))
	return b
}

// find returns the record of a key, nil if there is none.
func (s shard) find(id id, now time.Time) []byte {
	for i := range s {
		if s[i].id == id && !s[i].isOver(now) {
			return s[i].record
		}
	}
	return nil
}

// with returns the shard with the changed entry at the young end, if it is not over, and without what is over; if that is too much, without the
// oldest.
func (s shard) with(id id, changed entry, now time.Time) shard {
	s = slices.DeleteFunc(s, func(e shardEntry) bool { return e.id == id || e.isOver(now) })
	if !changed.isOver(now) {
		s = append(s, shardEntry{id, changed.until.UnixMilli(), changed.record})
	}
	return s[max(0, len(s)-maxEntries):]
}
