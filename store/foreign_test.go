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

// damages are what may have become of the content of a shard.
var damages = map[string]func(content []byte) []byte{
	"half a file":       func(c []byte) []byte { return c[:len(c)/2] },
	"one byte too many": func(c []byte) []byte { return make([]byte, 2*slotSize+1) },
	"another shard's":   func(c []byte) []byte { return shard{{id: id{^c[headerLen]}, record: c}}.encode(0) },
	"more than fit":     func(c []byte) []byte { return tooMany(c[headerLen]).encode(0) },
	"a record too large": func(c []byte) []byte {
		return shard{{id: id{c[headerLen]}, record: make([]byte, MaxRecord+1)}}.encode(0)
	},
	"in the wrong slot": func(c []byte) []byte { return shard{{id: id{c[headerLen]}}}.encode(1) },
	"a header alone":    func(c []byte) []byte { return c[:headerLen] },
	"one byte less":     func(c []byte) []byte { return c[:len(c)-1] },
	"one bit turned":    func(c []byte) []byte { c[len(c)-1] ^= 1; return c },
	"zeros":             func(c []byte) []byte { return make([]byte, len(c)) },
	"another version":   func(c []byte) []byte { c[len(magic)-1]++; return c },
}

func tooMany(number byte) shard {
	s := make(shard, maxEntries+1)
	for i := range s {
		s[i].id[0] = number
	}
	return s
}

func TestADamagedShardIsEmptyIsReportedOnceAndIsReplaced(t *testing.T) {
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			f := newFolder(t)
			put(t, f, "k", "x", time.Now().Add(time.Hour))
			file := shardOf(f, "k")
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, damage(content), 0o600); err != nil {
				t.Fatal(err)
			}
			expectHealing(t, f, file)
		})
	}
}

func expectHealing(t *testing.T, f *Folder, file string) {
	t.Helper()
	var reports []error
	f.Report = func(err error) { reports = append(reports, err) }
	expect(t, f, "k", "none")
	expect(t, f, "k", "none")
	if len(reports) != 1 || !errors.Is(reports[0], ErrDamaged) || !strings.Contains(reports[0].Error(), file) {
		t.Errorf("reports %v", reports)
	}
	put(t, f, "k", "y", time.Now().Add(time.Hour))
	if len(reports) != 1 {
		t.Errorf("reports %v", reports)
	}
	expect(t, reopen(t, f.path), "k", "y")
	if info, err := os.Lstat(file); err != nil || info.Mode() != 0o600 {
		t.Errorf("the file has mode %v, %v", info.Mode(), err)
	}
}

// What is planted could be a shard with a valid record: so what is followed shows.
func TestWhatLiesInTheFolderLeadsNowhere(t *testing.T) {
	for name, plant := range aliens {
		t.Run(name, func(t *testing.T) {
			f := newFolder(t)
			until := time.Now().Add(time.Hour)
			put(t, f, "k", "planted", until)
			file := shardOf(f, "k")
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			v := newVictim(t, string(content))
			replaceBy(t, file, plant, v)
			if name == "a folder with something" {
				expectNamed(t, f, file)
			} else {
				expectHealing(t, f, file)
			}
			v.expectUntouched(t)
		})
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

// expectNamed wants an update to fail with the name of a file.
func expectNamed(t *testing.T, f *Folder, file string) {
	t.Helper()
	f.Report = nil
	err := f.Update("k", increment(time.Now().Add(time.Hour)))
	if err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("error %v, want %s in it", err, file)
	}
}

func TestAFileOfAnotherAccountIsNotBelieved(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file away")
	}
	f := newFolder(t)
	put(t, f, "k", "x", time.Now().Add(time.Hour))
	file := shardOf(f, "k")
	if err := os.Chown(file, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	expectHealing(t, f, file)
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
	put(t, f, "k", "x", time.Now().Add(time.Hour))
	if err := os.Chmod(f.path, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Get("k"); err == nil {
		t.Error("it is read")
	}
	if err := f.Update("k", increment(time.Now())); err == nil {
		t.Error("it is written")
	}
}
