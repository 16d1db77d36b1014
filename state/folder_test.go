package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func newFolder(t testing.TB) *Folder {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return reopen(t, dir)
}

func reopen(t testing.TB, dir string) *Folder {
	t.Helper()
	f, err := OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	f.Report = func(err error) { t.Errorf("reported: %v", err) }
	return f
}

func TestFolderIsAStore(t *testing.T) {
	c := newClock()
	f := newFolder(t)
	f.Now = c.Now
	testStore(t, f, c)
}

func TestAnotherProcessFindsTheRecords(t *testing.T) {
	f := newFolder(t)
	put(t, f, "k", "x", time.Now().Add(time.Hour))
	expect(t, reopen(t, f.path), "k", "x")
}

func saltOf(t testing.TB, f *Folder) []byte {
	t.Helper()
	salt, err := os.ReadFile(filepath.Join(f.path, lockFile))
	if err != nil || len(salt) != saltLen {
		t.Fatalf("salt %x, %v", salt, err)
	}
	return salt
}

// shardOf returns the file of a key.
func shardOf(t testing.TB, f *Folder, key string) string {
	t.Helper()
	return filepath.Join(f.path, shardFile(identify(saltOf(t, f), key)[0]))
}

// keysOfOneShard returns keys that share a file.
func keysOfOneShard(t testing.TB, f *Folder, n int) (keys []string) {
	t.Helper()
	remove(t, f, "") // so that there is a salt
	salt := saltOf(t, f)
	for i := 0; len(keys) < n; i++ {
		if key := fmt.Sprint(i); identify(salt, key)[0] == 7 {
			keys = append(keys, key)
		}
	}
	return keys
}

func TestAFullShardForgetsTheLeastRecentlyUpdated(t *testing.T) {
	f := newFolder(t)
	keys := keysOfOneShard(t, f, maxEntries+1)
	until := time.Now().Add(time.Hour)
	for _, key := range keys[:maxEntries] {
		put(t, f, key, key, until)
	}
	put(t, f, keys[0], "updated", until)
	put(t, f, keys[maxEntries], "new", until)
	expect(t, f, keys[0], "updated")
	expect(t, f, keys[1], "none")
	expect(t, f, keys[2], keys[2])
	expect(t, f, keys[maxEntries], "new")
}

func TestWhatIsOverLeavesTheFolder(t *testing.T) {
	c := newClock()
	f := newFolder(t)
	f.Now = c.Now
	keys := keysOfOneShard(t, f, 3)
	put(t, f, keys[0], "x", c.in(time.Minute))
	put(t, f, keys[1], "x", c.in(time.Minute))
	c.advance(time.Hour)
	put(t, f, keys[2], "x", c.in(time.Minute))
	if n := entriesIn(t, shardOf(t, f, keys[0])); n != 1 {
		t.Errorf("%d records", n)
	}
	remove(t, f, keys[2])
	if _, err := os.Lstat(shardOf(t, f, keys[0])); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an empty shard still has a file: %v", err)
	}
}

func entriesIn(t testing.TB, file string) int {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var number byte
	if _, err := fmt.Sscanf(filepath.Base(file), "%02x", &number); err != nil {
		t.Fatal(err)
	}
	s, err := decodeShard(number, content)
	if err != nil {
		t.Fatal(err)
	}
	return len(s)
}

func TestForgettingNothingWritesNothing(t *testing.T) {
	f := newFolder(t)
	keys := keysOfOneShard(t, f, 2)
	put(t, f, keys[0], "x", time.Now().Add(time.Hour))
	file := shardOf(t, f, keys[0])
	before, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	remove(t, f, keys[1])
	if after, err := os.Stat(file); err != nil || !os.SameFile(before, after) {
		t.Errorf("the file was written: %v", err)
	}
}

// A clock that was far ahead for a moment must not leave records for ever.
func TestAnEndBeyondMaxKeepIsPast(t *testing.T) {
	c := newClock()
	f := newFolder(t)
	f.Now = c.Now
	c.advance(2 * MaxKeep)
	put(t, f, "k", "x", c.in(time.Hour))
	expect(t, f, "k", "x")
	c.advance(-2 * MaxKeep)
	expect(t, f, "k", "none")
	put(t, f, "k", "y", c.in(time.Hour))
	expect(t, f, "k", "y")
}

func TestAFolderLivesOnWhenItIsEmptiedOrMadeAnew(t *testing.T) {
	f := newFolder(t)
	until := time.Now().Add(time.Hour)
	put(t, f, "k", "x", until)
	if err := os.RemoveAll(f.path); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Get("k"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a folder: %v", err)
	}
	if err := os.Mkdir(f.path, 0o700); err != nil {
		t.Fatal(err)
	}
	expect(t, f, "k", "none")
	put(t, f, "k", "y", until)
	expect(t, f, "k", "y")
	if err := os.Remove(filepath.Join(f.path, lockFile)); err != nil {
		t.Fatal(err)
	}
	expect(t, f, "k", "none")
	put(t, f, "k", "z", until)
	expect(t, f, "k", "z")
}

func TestTwoFoldersPutAKeyInDifferentPlaces(t *testing.T) {
	f, g := newFolder(t), newFolder(t)
	same := 0
	for i := range 100 {
		key := fmt.Sprint(i)
		put(t, f, key, "x", time.Now().Add(time.Hour))
		put(t, g, key, "x", time.Now().Add(time.Hour))
		if filepath.Base(shardOf(t, f, key)) == filepath.Base(shardOf(t, g, key)) {
			same++
		}
	}
	if same > 50 {
		t.Errorf("%d of 100", same)
	}
}
