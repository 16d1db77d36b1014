package store

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// victim is a file outside of the folder that the owner of the folder wants read or written by
// somebody with more rights.
type victim struct{ path, content string }

func newVictim(t *testing.T, content string) victim {
	t.Helper()
	v := victim{filepath.Join(t.TempDir(), "shadow"), content}
	if err := os.WriteFile(v.path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return v
}

func (v victim) expectUntouched(t *testing.T) {
	t.Helper()
	if content, err := os.ReadFile(v.path); err != nil || string(content) != v.content {
		t.Errorf("the file outside became %q, %v", content, err)
	}
	if beside := filepath.Join(filepath.Dir(v.path), "new"); exists(beside) {
		t.Errorf("%s was made", beside)
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// aliens are what may lie in the place of a file of ours.
var aliens = map[string]func(path string, v victim) error{
	"a symbolic link to a file outside": func(path string, v victim) error { return os.Symlink(v.path, path) },
	"a symbolic link to nothing outside": func(path string,
		v victim) error {
		return os.Symlink(filepath.Join(filepath.Dir(v.path), "new"), path)
	},
	"a relative symbolic link that leads out": func(path string, v victim) error {
		target, err := filepath.Rel(filepath.Dir(path), v.path)
		if err != nil {
			return err
		}
		return os.Symlink(target, path)
	},
	"a symbolic link to itself":     func(path string, _ victim) error { return os.Symlink(filepath.Base(path), path) },
	"a hard link to a file outside": func(path string, v victim) error { return os.Link(v.path, path) },
	"a FIFO":                        func(path string, _ victim) error { return syscall.Mkfifo(path, 0o600) },
	"a socket": func(path string, _ victim) error {
		// a socket's path is at most 107 bytes
		short := filepath.Join(os.TempDir(), filepath.Base(filepath.Dir(filepath.Dir(path)))+".socket")
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: short})
		if err != nil {
			return err
		}
		l.SetUnlinkOnClose(false)
		l.Close()
		return os.Rename(short, path)
	},
	"an empty folder": func(path string, _ victim) error { return os.Mkdir(path, 0o700) },
	"a folder with something": func(path string, _ victim) error {
		return os.MkdirAll(filepath.Join(path, "something"), 0o700)
	},
	"a file of zeros without end": func(path string, _ victim) error {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			return err
		}
		return os.Truncate(path, 1<<40) // takes no space
	},
}

// damages are what may have become of the content of a database.
var damages = map[string]func(t *testing.T, path string){
	"half a file":    rewrite(func(c []byte) []byte { return c[:len(c)/2] }),
	"no content":     rewrite(func([]byte) []byte { return nil }),
	"a header alone": rewrite(func(c []byte) []byte { return c[:100] }),
	"zeros":          rewrite(func(c []byte) []byte { clear(c); return c }),
	"something else": rewrite(func([]byte) []byte { return []byte(hundred) }),
	"one bit turned": rewrite(func(c []byte) []byte { c[5] ^= 1; return c }),
	"pages of zeros": rewrite(func(c []byte) []byte { clear(c[4096:]); return c }),
	"pages of noise": rewrite(func(c []byte) []byte {
		for i := 4096; i < len(c); i++ {
			c[i] = byte(i * i)
		}
		return c
	}),
	"zeros without end": func(t *testing.T, path string) {
		rewrite(func([]byte) []byte { return nil })(t, path)
		if err := os.Truncate(path, 1<<40); err != nil { // takes no space
			t.Fatal(err)
		}
	},
	"another table":  sql("ALTER TABLE records ADD COLUMN more"),
	"one table more": sql("CREATE TABLE more (n)"),
	"a trigger":      sql("CREATE TRIGGER more AFTER INSERT ON records BEGIN DELETE FROM records; END"),
	"a view in its place": sql("DROP TABLE records; CREATE VIEW records AS SELECT 1 AS n, x'6b' AS key, " +
		"'planted' AS value, 9999999999999 AS until"),
}

func rewrite(change func([]byte) []byte) func(*testing.T, string) {
	return func(t *testing.T, path string) {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, change(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func sql(statement string) func(*testing.T, string) {
	return func(t *testing.T, path string) {
		conn, err := connect(path, false)
		if err != nil {
			t.Fatal(err)
		}
		_, err = conn.ExecContext(t.Context(), statement, nil)
		if err := errors.Join(err, conn.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDamagedCountersAreMovedAsideReportedAndReplaced(t *testing.T) {
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			f := newFolder(t)
			put(t, f.Counters(), "k", "x", time.Now().Add(time.Hour))
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			damage(t, f.counters.path())
			before, err := os.Lstat(f.counters.path())
			if err != nil {
				t.Fatal(err)
			}
			expectHealing(t, f, f.counters.path())
			aside := filepath.Join(f.path, "damaged-counters.db")
			if after, err := os.Lstat(aside); err != nil || !os.SameFile(before, after) {
				t.Errorf("what was damaged is not %s: %v", aside, err)
			}
		})
	}
}

// What a damaged file of kept records refused must not be let in because it is gone.
func TestDamagedKeptRecordsAreAnErrorAndStay(t *testing.T) {
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			f := newFolder(t)
			put(t, f.Kept(), "k", "x", time.Now().Add(time.Hour))
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			damage(t, f.kept.path())
			before, err := os.Lstat(f.kept.path())
			if err != nil {
				t.Fatal(err)
			}
			expectRefusal(t, f, f.kept.path(), moveAway)
			if after, err := os.Lstat(f.kept.path()); err != nil || !os.SameFile(before, after) {
				t.Errorf("the file was replaced: %v", err)
			}
		})
	}
}

// expectHealing wants counters that are lost, reported once, and then work.
func expectHealing(t *testing.T, f *Folder, file string) {
	t.Helper()
	var reports []error
	f.Report = func(err error) { reports = append(reports, err) }
	expect(t, f.Counters(), "k", "none")
	expect(t, f.Counters(), "k", "none")
	if len(reports) != 1 || !errors.Is(reports[0], ErrDamaged) {
		t.Errorf("reports %v", reports)
	}
	put(t, f.Counters(), "k", "y", time.Now().Add(time.Hour))
	if len(reports) != 1 {
		t.Errorf("reports %v", reports)
	}
	expect(t, reopen(t, f.path).Counters(), "k", "y")
	if info, err := os.Lstat(file); err != nil || info.Mode() != 0o600 {
		t.Errorf("the file has mode %v, %v", info.Mode(), err)
	}
}

const moveAway = "move it and its -wal and -shm away"

// expectRefusal wants every call to fail with the name of a file and what to do.
func expectRefusal(t *testing.T, f *Folder, file, hint string) {
	t.Helper()
	_, getErr := f.Kept().Get(t.Context(), "k")
	updateErr := update(f.Kept(), "k", increment(time.Now().Add(time.Hour)))
	listErr := f.Kept().List(t.Context(), "", func(string, Record) bool { return true })
	for _, err := range []error{getErr, updateErr, listErr} {
		if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), file) ||
			!strings.Contains(err.Error(), "\n  "+hint) {
			t.Errorf("error %v", err)
		}
	}
}

// What is planted could be a database with a valid record: so what is followed shows.
func TestWhatLiesInTheFolderLeadsNowhere(t *testing.T) {
	for name, plant := range aliens {
		for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
			t.Run(name+" as "+suffix, func(t *testing.T) {
				f := newFolder(t)
				until := time.Now().Add(time.Hour)
				for _, s := range stores(f) {
					put(t, s, "k", "planted", until)
				}
				if err := f.Close(); err != nil {
					t.Fatal(err)
				}
				content, err := os.ReadFile(f.counters.path())
				if err != nil {
					t.Fatal(err)
				}
				v := newVictim(t, string(content))
				replaceBy(t, f.counters.path()+suffix, plant, v)
				if name == "a file of zeros without end" &&
					(suffix == "-wal" || suffix == "-shm") { // a log without a change
					expect(t, f.Counters(), "k", "planted")
					put(t, f.Counters(), "k", "y", until)
					return
				}
				expectHealing(t, f, f.counters.path())
				v.expectUntouched(t)

				replaceBy(t, f.kept.path()+suffix, plant, v)
				expectRefusal(t, f, f.kept.path()+suffix, moveAway)
				v.expectUntouched(t)
			})
		}
	}
}

func replaceBy(t *testing.T, path string, plant func(string, victim) error, v victim) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	if err := plant(path, v); err != nil {
		t.Fatal(err)
	}
}

// Kept records may be in a log whose database is gone: nobody may begin again without them.
func TestALogWithoutItsDatabaseIsAnError(t *testing.T) {
	f := newFolder(t)
	put(t, f.Kept(), "k", "x", time.Now().Add(time.Hour))
	if err := os.Rename(f.kept.path(), f.kept.path()+".away"); err != nil {
		t.Fatal(err)
	}
	_, err := f.Kept().Get(t.Context(), "k")
	if !errors.Is(err, ErrDamaged) {
		t.Errorf("error %v", err)
	}
	if err := os.Rename(f.kept.path()+".away", f.kept.path()); err != nil {
		t.Fatal(err)
	}
	expect(t, f.Kept(), "k", "x")
}

// The lock is no way to stop or mislead the service either.
func TestWhatLiesInPlaceOfTheLockIsRemoved(t *testing.T) {
	for name, plant := range aliens {
		t.Run(name, func(t *testing.T) {
			f := newFolder(t)
			v := newVictim(t, "outside")
			replaceBy(t, filepath.Join(f.path, lockName), plant, v)
			for _, s := range stores(f) {
				put(t, s, "k", "x", time.Now().Add(time.Hour))
			}
			v.expectUntouched(t)
		})
	}
}

// A link that takes the file's place after it was looked at is not followed by SQLite.
func TestALinkInPlaceOfTheLogIsNotFollowed(t *testing.T) {
	for _, suffix := range []string{"-wal", "-shm"} {
		f := newFolder(t)
		put(t, f.Counters(), "k", "x", time.Now().Add(time.Hour))
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		v := newVictim(t, "outside")
		replaceBy(t, f.counters.path()+suffix, aliens["a symbolic link to a file outside"], v)
		conn, err := connect(f.counters.path(), false)
		if err == nil {
			_, err = conn.ExecContext(t.Context(), "DELETE FROM records", nil)
			_ = conn.Close()
		}
		if err == nil {
			t.Errorf("%s is used", suffix)
		}
		v.expectUntouched(t)
	}
}

func TestAFileOfAnotherAccountIsNotBelieved(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file away")
	}
	f := newFolder(t)
	for name, d := range map[string]*database{"counters": f.counters, "kept": f.kept} {
		put(t, d, "k", "x", time.Now().Add(time.Hour))
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(d.path(), nobody, nobody); err != nil {
			t.Fatal(err)
		}
		if name == "kept" {
			expectRefusal(t, f, d.path(), "chown 0 ")
		} else {
			expectHealing(t, f, d.path())
		}
	}
}

func TestOpenFolder(t *testing.T) {
	parent := t.TempDir()
	in := func(name string) string { return filepath.Join(parent, name) }
	if err := syscall.Mkfifo(in("fifo"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(in("file"), nil, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]os.FileMode{"closed": 0o700, "group reads": 0o750, "group writes": 0o770,
		"others read": 0o704, "others write": 0o702, "it's": 0o702, "others pass": 0o701,
		"shared": 0o777 | os.ModeSticky} {
		if err := os.Mkdir(in(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(in(name), mode); err != nil {
			t.Fatal(err)
		}
	}
	other := "/"
	if os.Geteuid() == 0 {
		other = in("other")
		if err := os.Mkdir(other, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(other, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct{ name, path, want string }{
		{"its own, closed", in("closed"), ""},
		{"a group may read", in("group reads"), ""},
		{"a group may write", in("group writes"), "\n  chmod 0700 '" + in("group writes") + "'"},
		{"others may read", in("others read"), "\n  chmod 0700 "},
		{"others may write", in("others write"), "\n  chmod 0700 "},
		{"others may pass through", in("others pass"), "\n  chmod 0700 "},
		{"a quote in its name", in("it's"), "/it'\\''s'"},
		{"like /tmp", in("shared"), "\n  chmod 0700 "},
		{"another account's", other, "run dockerauth as uid "},
		{"not there", in("nowhere"), "no such file"},
		{"a file", in("file"), "not a directory"},
		{"a FIFO", in("fifo"), "not a directory"},
		{"relative", "state", "not an absolute path"},
		{"no name", "", "not an absolute path"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := OpenFolder(tt.path)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

// Rights are looked at for every record: a folder that was opened to others meanwhile is not used.
func TestAFolderThatIsOpenedToOthersIsNotUsedAnyMore(t *testing.T) {
	f := newFolder(t)
	for _, s := range stores(f) {
		put(t, s, "k", "x", time.Now().Add(time.Hour))
	}
	if err := os.Chmod(f.path, 0o777); err != nil {
		t.Fatal(err)
	}
	for name, s := range stores(f) {
		if _, err := s.Get(t.Context(), "k"); err == nil {
			t.Errorf("%s are read", name)
		}
		if err := update(s, "k", increment(time.Now())); err == nil {
			t.Errorf("%s are written", name)
		}
	}
}

// The owner of the folder may change it while others have it open.
func TestDamageThatIsAddedLaterIsNoticedBeforeItIsRun(t *testing.T) {
	for _, name := range []string{"another table", "one table more", "a trigger", "a view in its place",
		"a table that runs code"} {
		t.Run(name, func(t *testing.T) {
			f := newFolder(t)
			until := time.Now().Add(time.Hour)
			put(t, f.Kept(), "k", "x", until)
			expect(t, f.Kept(), "k", "x")
			put(t, f.Counters(), "k", "x", until)
			for _, d := range []*database{f.kept, f.counters} {
				if name == "a table that runs code" {
					sql("CREATE VIRTUAL TABLE r USING rtree(id, a, b); CREATE TRIGGER t AFTER INSERT ON records "+
						"BEGIN INSERT INTO r VALUES (new.n, 1, 2); END")(t, d.path())
				} else {
					damages[name](t, d.path())
				}
			}
			if _, err := f.Kept().Get(t.Context(), "k"); !errors.Is(err, ErrDamaged) {
				t.Errorf("read: %v", err)
			}
			if err := update(f.Kept(), "l", increment(until)); !errors.Is(err, ErrDamaged) {
				t.Errorf("update: %v", err)
			}
			var reported error
			f.Report = func(err error) { reported = err }
			put(t, f.Counters(), "l", "y", until)
			expect(t, f.Counters(), "l", "y")
			if !errors.Is(reported, ErrDamaged) {
				t.Errorf("reported: %v", reported)
			}
		})
	}
}

// VACUUM, say, changes the number of the schema, and not the schema.
func TestASchemaThatIsTheSameUnderAnotherNumberIsNoDamage(t *testing.T) {
	f := newFolder(t)
	for _, d := range []*database{f.kept, f.counters} {
		put(t, d, "k", "x", time.Now().Add(time.Hour))
		sql("VACUUM")(t, d.path())
		expect(t, d, "k", "x")
		put(t, d, "k", "y", time.Now().Add(time.Hour))
		expect(t, d, "k", "y")
	}
}

// A link may take the place of a file between a look at it and SQLite's.
func TestConnectDoesNotFollowALink(t *testing.T) {
	f, other := newFolder(t), newFolder(t)
	put(t, other.Kept(), "k", "x", time.Now().Add(time.Hour))
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"-wal", "-shm"} {
		if err := os.Remove(other.kept.path() + suffix); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(other.kept.path(), f.kept.path()); err != nil {
		t.Fatal(err)
	}
	if conn, err := connect(f.kept.path(), true); !errors.Is(err, errForeignFile) {
		t.Errorf("got %v, %v", conn, err)
	}
	if found := glob(t, other, "kept.db-*"); len(found) > 0 {
		t.Errorf("beside the target there are %q", found)
	}
	linked := filepath.Join(t.TempDir(), "link") // the folder's own path may have one
	if err := os.Symlink(other.path, linked); err != nil {
		t.Fatal(err)
	}
	expect(t, reopen(t, linked).Kept(), "k", "x")
}
