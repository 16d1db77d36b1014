package store

import (
	"bufio"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// disk is a folder as a file system has it, and as a power cut leaves it: with what was synced, and
// any part of what was not.
type disk struct {
	names, synced map[string]*diskFile // by name: for programs, and for certain after a cut
}

// diskFile is what was synced, and the writes after that.
type diskFile struct {
	content []byte
	pending []func([]byte) []byte
}

func (d *disk) file(name string) *diskFile {
	if d.names[name] == nil {
		d.names[name] = &diskFile{}
	}
	return d.names[name]
}

// call plays a system call of those that strace shows, with the path behind each descriptor.
func (d *disk) call(folder, line string) {
	word := regexp.MustCompile(`(\w+)\((.*)`).FindStringSubmatch(line)
	if word == nil || !strings.Contains(line, folder) {
		return
	}
	paths := regexp.MustCompile(`[<"]`+regexp.QuoteMeta(folder)+`/?([^>"]*)[>"]`).FindAllStringSubmatch(line, -1)
	name := paths[0][1]
	switch word[1] {
	case "pwrite64":
		args := regexp.MustCompile(`, "((?:\\x[0-9a-f]{2})*)", \d+, (\d+)`).FindStringSubmatch(line)
		bytes, _ := strconv.Unquote(`"` + args[1] + `"`)
		offset, _ := strconv.Atoi(args[2])
		d.file(name).pending = append(d.file(name).pending, func(c []byte) []byte {
			if missing := offset + len(bytes) - len(c); missing > 0 {
				c = append(c, make([]byte, missing)...)
			}
			copy(c[offset:], bytes)
			return c
		})
	case "ftruncate":
		size, _ := strconv.ParseInt(regexp.MustCompile(`, (\d+)\)`).FindStringSubmatch(line)[1], 10, 64)
		d.file(name).pending = append(d.file(name).pending, func(c []byte) []byte {
			return append(c, make([]byte, max(0, int(size)-len(c)))...)[:size]
		})
	case "fsync", "fdatasync":
		if name == "" { // the folder
			d.synced = maps.Clone(d.names)
			return
		}
		d.file(name).content, d.file(name).pending = d.file(name).after(func() bool { return true }), nil
	case "unlink", "unlinkat":
		quoted := strings.Split(line, `"`)
		delete(d.names, filepath.Base(quoted[len(quoted)-2]))
	case "renameat", "rename", "renameat2":
		names := regexp.MustCompile(`"([^"]*)"`).FindAllStringSubmatch(line, -1)
		from, to := filepath.Base(names[0][1]), filepath.Base(names[1][1])
		d.names[to] = d.file(from)
		delete(d.names, from)
	}
}

// after is the content with those of the pending writes that chosen wants.
func (f *diskFile) after(chosen func() bool) []byte {
	c := slices.Clone(f.content)
	for _, write := range f.pending {
		if chosen() {
			c = write(c)
		}
	}
	return c
}

// cut makes a folder as a power cut leaves it.
func (d *disk) cut(t *testing.T, chosen func() bool) string {
	f := newFolder(t)
	for name, file := range d.synced {
		if strings.HasSuffix(name, "-shm") {
			continue // memory, which is made again
		}
		if err := os.WriteFile(filepath.Join(f.path, name), file.after(chosen), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return f.path
}

// What an update of kept records has returned for is there after a power cut. This plays the writes
// that a process made, and cuts the power after each update.
func TestAPowerCutLosesNoKeptRecord(t *testing.T) {
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip("strace is not installed")
	}
	f := newFolder(t)
	trace := filepath.Join(t.TempDir(), "trace")
	var keys []string
	for i := range 12 {
		keys = append(keys, fmt.Sprint("k", i%7))
	}
	args := []string{"-f", "-y", "-xx", "-s", "70000", "-o", trace, "-e", "trace=pwrite64,write,ftruncate,fsync," +
		"fdatasync,rename,renameat,renameat2,unlink,unlinkat", "--", os.Args[0], writerArgument, f.path, "kept"}
	cmd := exec.Command("strace", append(args, keys...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("strace does not work here: %v: %s", err, out)
	}
	file, err := os.Open(trace)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	d := &disk{names: map[string]*diskFile{}}
	done, counts := 0, map[string]int{}
	lines := bufio.NewScanner(file)
	for lines.Buffer(nil, 1<<20); lines.Scan(); {
		line := regexp.MustCompile(`[<"](\\x[0-9a-f]{2})+[>"]`).ReplaceAllStringFunc(lines.Text(), readablePath)
		if !strings.Contains(line, `"done `) {
			d.call(f.path, line)
			continue
		}
		counts[keys[done]]++
		done++
		for _, chosen := range []func() bool{
			func() bool { return false }, func() bool { return true },
			func() bool { return rand.N(2) == 0 },
			func() bool { return rand.N(5) == 0 },
			func() bool { return rand.N(5) > 0 },
		} {
			after := reopen(t, d.cut(t, chosen))
			for key, want := range counts {
				expect(t, after.Kept(), key, fmt.Sprint(want))
			}
			after.Close()
		}
	}
	if done != len(keys) {
		t.Errorf("%d of %d updates were seen", done, len(keys))
	}
}

// readablePath undoes -xx for paths and what the writer says, and leaves the bytes of files.
func readablePath(quoted string) string {
	text, err := strconv.Unquote(`"` + quoted[1:len(quoted)-1] + `"`)
	if err != nil ||
		!strings.HasPrefix(text, "/") && !strings.HasPrefix(text, "done ") && !strings.HasPrefix(text, "kept.db") {
		return quoted
	}
	return quoted[:1] + strings.TrimSpace(text) + quoted[len(quoted)-1:]
}
