package state

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"path/filepath"
	"testing"
	"time"
)

func shardSeeds() []shard {
	one := shardEntry{id{7, 1}, 1_800_000_000_000, []byte("record")}
	full := shard{}
	for i := range maxEntries {
		full = append(full, shardEntry{id{7, byte(i), byte(i >> 8)}, int64(i), []byte{}})
	}
	return []shard{
		{},
		{one},
		{one, {id{7, 2}, -1, []byte{}}},
		{one, one},
		{{id{7}, 1<<63 - 1, make([]byte, MaxRecord)}},
		full,
	}
}

// Whatever is read as a shard has the right checksum, belongs there, is within bounds, and is written as the same bytes. What a fuzzer would not
// guess, the checksum, is put right for every second try.
func FuzzShard(f *testing.F) {
	seeds := shardSeeds()
	if len(seeds) == 0 {
		f.Fatal("no seeds")
	}
	for _, s := range seeds {
		content := s.encode()
		if _, err := decodeShard(7, content); err != nil {
			f.Fatal(err)
		}
		f.Add(content, byte(7), false)
		f.Add(content, byte(7), true)
		f.Add(content[:len(content)-1], byte(7), true)
		f.Add(content, byte(8), false)
	}
	f.Fuzz(func(t *testing.T, content []byte, number byte, repair bool) {
		if repair && len(content) >= shardHeader {
			copy(content, magic)
			binary.BigEndian.PutUint32(content[8:], crc32.Checksum(content[12:], castagnoli))
		}
		s, err := decodeShard(number, content)
		if err != nil {
			return
		}
		if sum := crc32.Checksum(content[12:], castagnoli); sum != binary.BigEndian.Uint32(content[8:]) {
			t.Error("the checksum is wrong")
		}
		if again := s.encode(); !bytes.Equal(again, content) {
			t.Errorf("read %x, wrote %x", content, again)
		}
		if len(s) > maxEntries || len(content) > maxShard {
			t.Errorf("%d records in %d bytes", len(s), len(content))
		}
		for i := range s {
			if s[i].id[0] != number || s[i].record == nil || len(s[i].record) > MaxRecord {
				t.Errorf("record %d: %x in shard %x, %d bytes", i, s[i].id, number, len(s[i].record))
			}
		}
		checkUpdate(t, number, s)
	})
}

// checkUpdate puts a record into a shard that came from anywhere.
func checkUpdate(t *testing.T, number byte, s shard) {
	t.Helper()
	now := time.UnixMilli(1_800_000_000_000)
	mine := id{number, 0xff}
	updated := s.with(mine, entry{[]byte("mine"), now.Add(time.Minute)}, now)
	read, err := decodeShard(number, updated.encode())
	if err != nil {
		t.Fatalf("after an update: %v", err)
	}
	if got := read.find(mine, now); string(got) != "mine" {
		t.Errorf("after an update it is %q", got)
	}
	for i := range read {
		if read[i].isOver(now) {
			t.Errorf("after an update record %d is over", i)
		}
	}
}

func TestNoTruncationAndNoTurnedBitPasses(t *testing.T) {
	content := shardSeeds()[2].encode()
	for n := range content {
		if _, err := decodeShard(7, content[:n]); err == nil {
			t.Errorf("the first %d of %d bytes pass", n, len(content))
		}
		for bit := range 8 {
			turned := bytes.Clone(content)
			turned[n] ^= 1 << bit
			if _, err := decodeShard(7, turned); err == nil {
				t.Errorf("bit %d of byte %d may be turned", bit, n)
			}
		}
	}
}

// An upgrade finds the records of the release before, or counts the version in magic up. The sums were computed elsewhere.
func TestTheFormatStays(t *testing.T) {
	const want = "6461537461746501" + "f115e0c4" +
		"07010000000000000000000000000000" + "000001a3185c5000" + "0006" + "7265636f7264"
	if got := fmt.Sprintf("%x", shardSeeds()[1].encode()); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := fmt.Sprintf("%x", identify([]byte("0123456789abcdef"), "alice")); got != "1b62c488be93078de5b2b669dcf6d573" {
		t.Errorf("id %s", got)
	}
	if got := filepath.Base(shardFile(7)); got != "07" {
		t.Errorf("file %s", got)
	}
}
