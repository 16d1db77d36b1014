package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
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

// decodeSlot reads a slot as it stands in a file.
func decodeSlot(number byte, slot int, content []byte) (shard, header, error) {
	h, ok := decodeHeader(slot, content)
	if !ok {
		return nil, h, errors.New("no header")
	}
	s, err := decodeShard(number, h, content[headerLen:])
	return s, h, err
}

// repair makes the header right for what follows it, which a fuzzer would not guess.
func repair(content []byte) {
	h := header{binary.BigEndian.Uint64(content[8:]), len(content) - headerLen, 0}
	h.checksum = h.sum(content[headerLen:])
	copy(content, h.encode())
}

// Whatever is read as a shard has the right checksum, belongs there, is within bounds, and is
// written as the same bytes.
func FuzzShard(f *testing.F) {
	seeds := shardSeeds()
	if len(seeds) == 0 {
		f.Fatal("no seeds")
	}
	for i, s := range seeds {
		content := s.encode(uint64(i))
		if _, _, err := decodeSlot(7, i%2, content); err != nil {
			f.Fatal(err)
		}
		f.Add(content, byte(7), false)
		f.Add(content, byte(7), true)
		f.Add(content[:len(content)-1], byte(7), true)
		f.Add(content, byte(8), false)
	}
	f.Fuzz(func(t *testing.T, content []byte, number byte, right bool) {
		if right && len(content) >= headerLen {
			repair(content)
		}
		for slot := range 2 {
			s, h, err := decodeSlot(number, slot, content)
			if err == nil {
				checkShard(t, number, slot, content, s, h)
				checkUpdate(t, number, s)
			}
		}
	})
}

func checkShard(t *testing.T, number byte, slot int, content []byte, s shard, h header) {
	t.Helper()
	sum := crc32.New(castagnoli)
	sum.Write(content[8:20])
	sum.Write(content[24:])
	if sum.Sum32() != binary.BigEndian.Uint32(content[20:]) {
		t.Error("the checksum is wrong")
	}
	if again := s.encode(h.sequence); !bytes.Equal(again, content) || h.sequence%2 != uint64(slot) {
		t.Errorf("read %x, wrote %x", content, again)
	}
	if len(s) > maxEntries || len(content) > slotSize {
		t.Errorf("%d records in %d bytes", len(s), len(content))
	}
	for i := range s {
		if s[i].id[0] != number || s[i].record == nil || len(s[i].record) > MaxRecord {
			t.Errorf("record %d: %x in shard %x, %d bytes", i, s[i].id, number, len(s[i].record))
		}
	}
}

// checkUpdate puts a record into a shard that came from anywhere.
func checkUpdate(t *testing.T, number byte, s shard) {
	t.Helper()
	now := time.UnixMilli(1_800_000_000_000)
	mine := id{number, 0xff}
	updated := s.with(mine, entry{[]byte("mine"), now.Add(time.Minute)}, now)
	read, _, err := decodeSlot(number, 0, updated.encode(0))
	if err != nil {
		t.Fatalf("after an update: %v", err)
	}
	if got := read.find(mine, now); string(got) != "mine" {
		t.Errorf("after an update it is %q", got)
	}
	for i := range read {
		if read[i].expired(now) {
			t.Errorf("after an update record %d is over", i)
		}
	}
}

func TestNoTruncationAndNoTurnedBitPasses(t *testing.T) {
	content := shardSeeds()[2].encode(2)
	for n := range content {
		if _, _, err := decodeSlot(7, 0, content[:n]); err == nil {
			t.Errorf("the first %d of %d bytes pass", n, len(content))
		}
		for bit := range 8 {
			turned := bytes.Clone(content)
			turned[n] ^= 1 << bit
			for slot := range 2 {
				if _, _, err := decodeSlot(7, slot, turned); err == nil {
					t.Errorf("bit %d of byte %d may be turned", bit, n)
				}
			}
		}
	}
}

// An upgrade finds the records of the release before, or counts the version in magic up. The sums
// were computed elsewhere.
func TestTheFormatStays(t *testing.T) {
	const want = "6461537461746501" + "0000000000000103" + "00000020" + "3211e67e" +
		"07010000000000000000000000000000" + "000001a3185c5000" + "0006" + "7265636f7264"
	if got := fmt.Sprintf("%x", shardSeeds()[1].encode(259)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := fmt.Sprintf("%x", hashKey("0123456789abcdefalice")); got != "1b62c488be93078de5b2b669dcf6d573" {
		t.Errorf("id %s", got)
	}
	if got := shardName(7); got != "07" {
		t.Errorf("file %s", got)
	}
}

// However far the write of a slot came before its writer died, the state before or the new one
// stands, and the next update writes the newer.
func TestAWriteThatWasCutOffAnywhereLeavesTheStateBefore(t *testing.T) {
	f := newFolder(t)
	until := time.Now().Add(time.Hour)
	put(t, f, "k", "1", until)
	put(t, f, "k", "2", until)
	before, err := os.ReadFile(shardOf(f, "k"))
	if err != nil {
		t.Fatal(err)
	}
	put(t, f, "k", "3", until)
	after, err := os.ReadFile(shardOf(f, "k"))
	if err != nil {
		t.Fatal(err)
	}
	for n := range headerLen + entryHeader + 2 {
		want := "2"
		if bytes.Equal(after[:n], after[:headerLen+entryHeader+1]) || n > headerLen+entryHeader {
			want = "3"
		}
		if err := os.WriteFile(shardOf(f, "k"), append(bytes.Clone(after[:n]), before[n:]...), 0o600); err != nil {
			t.Fatal(err)
		}
		expect(t, f, "k", want)
		put(t, f, "k", "4", until)
		expect(t, f, "k", "4")
	}
}

// Without the lock a reader cannot know whether the newest slot is being written or, since it is
// late, written over: then the other is too old.
func TestTheOlderSlotIsBelievedOnlyUnderTheLock(t *testing.T) {
	f := newFolder(t)
	until := time.Now().Add(time.Hour)
	put(t, f, "k", "1", until)
	put(t, f, "k", "2", until)
	content, err := os.ReadFile(shardOf(f, "k"))
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)-1] ^= 1
	if err := os.WriteFile(shardOf(f, "k"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	root, err := f.open()
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	file, err := openShard(root, hashKey("k")[0], os.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if s, _, err := file.read(false); !errors.Is(err, ErrDamaged) {
		t.Errorf("without: %v, %v", s, err)
	}
	if s, _, err := file.read(true); err != nil || string(s.find(hashKey("k"), time.Now())) != "1" {
		t.Errorf("with: %v, %v", s, err)
	}
	expect(t, f, "k", "1")
}
