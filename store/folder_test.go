package store

import (
	"bytes"
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

// shardOf returns the file of a key.
func shardOf(f *Folder, key string) string {
	return filepath.Join(f.path, shardName(hashKey(key)[0]))
}

// keysOfOneShard returns keys that share a file.
func keysOfOneShard(n int) (keys []string) {
	for i := 0; len(keys) < n; i++ {
		if key := fmt.Sprint(i); hashKey(key)[0] == 7 {
			keys = append(keys, key)
		}
	}
	return keys
}

func TestAFullShardForgetsTheLeastRecentlyUpdated(t *testing.T) {
	f := newFolder(t)
	keys := keysOfOneShard(maxEntries + 1)
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
	keys := keysOfOneShard(3)
	put(t, f, keys[0], "x", c.in(time.Minute))
	put(t, f, keys[1], "x", c.in(time.Minute))
	c.advance(time.Hour)
	put(t, f, keys[2], "x", c.in(time.Minute))
	if n := entriesIn(t, f, keys[0]); n != 1 {
		t.Errorf("%d records", n)
	}
	remove(t, f, keys[2])
	if n := entriesIn(t, f, keys[0]); n != 0 {
		t.Errorf("%d records", n)
	}
}

func entriesIn(t testing.TB, f *Folder, key string) int {
	t.Helper()
	root, err := f.open()
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	s, err := load(root, hashKey(key)[0])
	if err != nil {
		t.Fatal(err)
	}
	return len(s)
}

func TestForgettingNothingWritesNothing(t *testing.T) {
	f := newFolder(t)
	keys := keysOfOneShard(2)
	put(t, f, keys[0], "x", time.Now().Add(time.Hour))
	before, err := os.ReadFile(shardOf(f, keys[0]))
	if err != nil {
		t.Fatal(err)
	}
	remove(t, f, keys[1])
	if after, err := os.ReadFile(shardOf(f, keys[0])); err != nil || !bytes.Equal(before, after) {
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

func TestAFolderWorksAfterItWasEmptiedOrReplaced(t *testing.T) {
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
	if err := os.Remove(shardOf(f, "k")); err != nil {
		t.Fatal(err)
	}
	expect(t, f, "k", "none")
	put(t, f, "k", "z", until)
	expect(t, f, "k", "z")
}
