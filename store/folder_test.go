package store

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
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
	t.Cleanup(func() { f.Close() })
	return f
}

// stores are both of a folder.
func stores(f *Folder) map[string]Store {
	return map[string]Store{"counters": f.Counters(), "kept": f.Kept()}
}

// testKind is what the stores of one kind promise.
var testKind = map[string]func(*testing.T, Store, *clock){"counters": testCounters, "kept": testKept}

func TestFolderIsAStore(t *testing.T) {
	c := newClock()
	f := newFolder(t)
	f.Now = c.Now
	for name, s := range stores(f) {
		t.Run(name, func(t *testing.T) {
			testStore(t, s, c)
			testKind[name](t, s, c)
		})
	}
}

func TestAnotherProcessFindsTheRecords(t *testing.T) {
	f := newFolder(t)
	for _, s := range stores(f) {
		put(t, s, "k", "x", time.Now().Add(time.Hour))
	}
	for _, s := range stores(reopen(t, f.path)) {
		expect(t, s, "k", "x")
	}
}

func TestAFolderWorksAfterItWasEmptiedOrReplaced(t *testing.T) {
	f := newFolder(t)
	until := time.Now().Add(time.Hour)
	for name, s := range stores(f) {
		t.Run(name, func(t *testing.T) {
			put(t, s, "k", "x", until)
			if err := os.RemoveAll(f.path); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Get(t.Context(), "k"); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("without a folder: %v", err)
			}
			if err := os.Mkdir(f.path, 0o700); err != nil {
				t.Fatal(err)
			}
			expect(t, s, "k", "none")
			put(t, s, "k", "y", until)
			expect(t, s, "k", "y")
			for _, file := range glob(t, f, "*") {
				if err := os.Remove(file); err != nil {
					t.Fatal(err)
				}
			}
			expect(t, s, "k", "none")
			put(t, s, "k", "z", until)
			expect(t, stores(reopen(t, f.path))[name], "k", "z")
		})
	}
}

// rows counts what is in a database, also what has expired.
func rows(t testing.TB, d *database) (n int64) {
	t.Helper()
	err := d.use(t.Context(), lockTimeout, "count", nil, func() error {
		return d.query("SELECT count(*) FROM records", func(row []driver.Value) { n = row[0].(int64) })
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestFullCountersForgetTheLeastRecentlyUpdatedAndKeptRecordsNothing(t *testing.T) {
	const many = 3000
	f := newFolder(t)
	f.counters.limit = 256 << 10
	for name, s := range stores(f) {
		for i := range many {
			put(t, s, fmt.Sprint(i), hundred, time.Now().Add(time.Hour))
			put(t, s, "0", fmt.Sprint(i), time.Now().Add(time.Hour))
		}
		expect(t, s, "0", fmt.Sprint(many-1))
		expect(t, s, fmt.Sprint(many-100), hundred)
		if got, want := get(t, s, "1"), map[string]string{"counters": "none", "kept": hundred}[name]; got != want {
			t.Errorf("%s: the oldest is %.10s", name, got)
		}
	}
	if n := rows(t, f.kept); n != many {
		t.Errorf("%d of %d records are kept", n, many)
	}
	info, err := os.Stat(f.counters.path())
	if err != nil || info.Size() > 2*int64(f.counters.limit) {
		t.Errorf("the counters have %d bytes, %v", info.Size(), err)
	}
}

func putAll(t *testing.T, s Store, keys []string, value string, until time.Time) {
	t.Helper()
	err := s.Update(t.Context(), keys, func(old []Record) []Record {
		for i := range old {
			old[i] = Record{[]byte(value), until}
		}
		return old
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestWhatIsOverLeavesTheFolder(t *testing.T) {
	const many = 1000
	c := newClock()
	f := newFolder(t)
	f.Now = c.Now
	for name, d := range map[string]*database{"counters": f.counters, "kept": f.kept} {
		var keys []string
		for i := range many {
			keys = append(keys, fmt.Sprint(i))
		}
		putAll(t, d, keys, "x", c.in(time.Minute))
		tidy := func() int64 {
			others := []string{"other"}
			for len(others) < tidyEvery {
				others = append(others, fmt.Sprint("other", len(others)))
			}
			for i := range 4 * many / tidyEvery {
				putAll(t, d, others, fmt.Sprint(i), c.in(time.Minute))
			}
			return rows(t, d) - tidyEvery
		}
		if name == "kept" { // a clock may be wrong for a while
			start := c.now
			for _, wrong := range []time.Time{start.Add(keptGrace - time.Hour), time.Unix(0, 0)} {
				c.now = wrong
				if n := tidy(); n != many {
					t.Errorf("at %s, %d records", wrong, n)
				}
			}
			c.now = start
			expect(t, d, "7", "x")
			c.advance(keptGrace)
		}
		c.advance(time.Hour)
		if n := tidy(); n != 0 {
			t.Errorf("%s: %d records", name, n)
		}
	}
}

// A commit of kept records waits for the disk; one of counters does not.
func TestOnlyKeptRecordsWaitForTheDisk(t *testing.T) {
	f := newFolder(t)
	for d, want := range map[*database]int64{f.counters: 0, f.kept: 2} { // OFF, FULL
		put(t, d, "k", "x", time.Now().Add(time.Hour))
		var got int64
		err := d.use(t.Context(), lockTimeout, "look at", nil, func() error {
			return d.query("PRAGMA synchronous", func(row []driver.Value) { got = row[0].(int64) })
		})
		if err != nil || got != want {
			t.Errorf("%s: synchronous is %d, want %d: %v", d.name, got, want, err)
		}
	}
}

// SQLite takes no folder for temporary files from the environment, and needs none.
func TestNoTemporaryFileIsMadeOutsideOfTheFolder(t *testing.T) {
	f := newFolder(t)
	for _, d := range []*database{f.counters, f.kept} {
		put(t, d, "k", "x", time.Now().Add(time.Hour))
		var got int64
		err := d.use(t.Context(), lockTimeout, "look at", nil, func() error {
			return d.query("PRAGMA temp_store", func(row []driver.Value) { got = row[0].(int64) })
		})
		if err != nil || got != 2 { // MEMORY
			t.Errorf("%s: temp_store is %d: %v", d.name, got, err)
		}
	}
}

func TestAnUpdateThatChangesNothingWritesNothing(t *testing.T) {
	f := newFolder(t)
	for _, s := range stores(f) {
		put(t, s, "k", "x", time.Now().Add(time.Hour))
		before := sizes(t, f)
		remove(t, s, "absent")
		if err := update(s, "k", func(old []Record) []Record { return old }); err != nil {
			t.Fatal(err)
		}
		if after := sizes(t, f); !slices.Equal(before, after) {
			t.Errorf("sizes %d, then %d", before, after)
		}
	}
}

func sizes(t *testing.T, f *Folder) (list []int64) {
	t.Helper()
	for _, path := range glob(t, f, "*") {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, info.Size())
	}
	return list
}

// An upgrade removes the files in which earlier versions counted, and nothing that only looks
// alike.
func TestFilesOfEarlierVersionsAreRemoved(t *testing.T) {
	f := newFolder(t)
	in := func(name string) string { return filepath.Join(f.path, name) }
	for _, name := range []string{"00", "7f", "ff", "FF", "0", "000", "00.txt", "gg"} {
		if err := os.WriteFile(in(name), []byte("daState\x01"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	outside := newVictim(t, "outside")
	err := errors.Join(os.Mkdir(in("0a"), 0o700), os.Symlink(outside.path, in("0b")), syscall.Mkfifo(in("0c"), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	put(t, f.Kept(), "k", "x", time.Now().Add(time.Hour))
	if !exists(in("00")) {
		t.Error("they are removed although no counters were opened")
	}
	put(t, f.Counters(), "k", "x", time.Now().Add(time.Hour))
	var left []string
	for _, path := range glob(t, f, "*") {
		if name := filepath.Base(path); !strings.Contains(name, ".db") && name != lockName {
			left = append(left, name)
		}
	}
	if want := []string{"0", "00.txt", "000", "0a", "0b", "0c", "FF", "gg"}; !slices.Equal(left, want) {
		t.Errorf("left is %q, want %q", left, want)
	}
	outside.expectUntouched(t)

	// A process of the earlier version counts on; its file goes when the next process opens
	// counters.
	if err := os.WriteFile(in("00"), []byte("daState\x01"), 0o600); err != nil {
		t.Fatal(err)
	}
	expect(t, f.Counters(), "k", "x")
	expect(t, reopen(t, f.path).Counters(), "k", "x")
	if exists(in("00")) {
		t.Error("a file of an earlier version is left")
	}
}

// All stores do the same for any calls.
func FuzzStoresAgree(f *testing.F) {
	seeds := [][]byte{
		{},
		[]byte("Ua1Ub2Ga Gb La"),
		[]byte("U\x00\xffU\xff\xffL\xff L\xff\xffD\xffT\x05G\x00"),
		[]byte("Ua\x01Ua\x02Ua\x00T\xffGaLaDaGa"),
	}
	for _, seed := range seeds {
		f.Add(seed)
	}
	folder := newFolder(f)
	var server *Redis
	if _, err := exec.LookPath("redis-server"); err == nil {
		server = openRedis(f, newRedisServer(f).address())
	}
	f.Fuzz(func(t *testing.T, calls []byte) {
		c := newClock()
		memory := NewMemory(0)
		memory.Now, folder.Now = c.Now, c.Now
		all := []Store{memory, folder.Counters(), folder.Kept()}
		if server != nil {
			server.Now = c.Now
			all = append(all, server.Counters(), server.Kept())
		}
		for _, s := range all[1:] {
			err := s.List(t.Context(), "", func(key string, _ Record) bool { remove(t, s, key); return true })
			if err != nil {
				t.Fatal(err)
			}
		}
		for ; len(calls) > 2; calls = calls[3:] {
			key, argument := string(calls[1:2]), calls[2]
			if calls[0] == 'T' {
				c.advance(time.Duration(argument) * time.Second)
				continue
			}
			var want string
			for i, s := range all {
				got := play(t, s, c, calls[0], key, argument)
				if i == 0 {
					want = got
				} else if got != want {
					t.Fatalf("%c %q %d: %q, the memory has %q", calls[0], key, argument, got, want)
				}
			}
		}
	})
}

// play makes a call and returns what it gives.
func play(t *testing.T, s Store, c *clock, call byte, key string, argument byte) (got string) {
	t.Helper()
	var err error
	switch call {
	case 'D':
		remove(t, s, key)
	case 'L':
		err = s.List(t.Context(), key, func(key string, r Record) bool {
			got += fmt.Sprintf("%q %q %s;", key, r.Value, r.Until.UTC())
			return len(got) < int(argument)
		})
	default:
		end := c.in(time.Duration(argument) * time.Second / 2)
		err = s.Update(t.Context(), []string{key, key + key}, func(old []Record) []Record {
			got = fmt.Sprintf("%q", []string{text(old[0].Value), text(old[1].Value)})
			return []Record{{fmt.Appendf(nil, "%.50s%d", old[1].Value, argument), end}, {old[0].Value, end}}
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	return got + get(t, s, key) + get(t, s, key+key)
}
