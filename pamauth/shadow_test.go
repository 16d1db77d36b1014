package pamauth

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
)

var stateKey = StateKey("0123456789abcdef0123456789abcdef")

// canary is the hash of an account. No part of it may be anywhere else.
const canary = "$6$CaNaRySaLt$cAnArYhAsHcAnArYhAsH"

// useShadow puts a file in the place of /etc/shadow.
func useShadow(t testing.TB, text string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "shadow")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	useShadowFile(t, file)
}

func useShadowFile(t testing.TB, file string) {
	before := shadowFile
	shadowFile = file
	t.Cleanup(func() { shadowFile = before })
}

func lookInto(t testing.TB, name string, uid int, key StateKey) (Shadow, error) {
	t.Helper()
	entries, err := openShadow(key)
	if err != nil {
		return Shadow{}, err
	}
	defer entries.close()
	return entries.find(name, uid)
}

func TestWhichLineIsTheEntryOfAnAccount(t *testing.T) {
	tests := []struct {
		name  string
		text  string
		field string // "-" = there is no entry
	}{
		{"the only line", "alice:hash:1::::::\n", "hash"},
		{"a line without an end", "bob:x:\nalice:hash:1", "hash"},
		{"the first of two", "alice:one:1\nalice:two:1\n", "one"},
		{"a line after empty ones and ones without colons", "\n\nalice\nalice:hash:1\n", "hash"},
		{"a line after blanks, as the C library reads it", "bob:x:\n \talice:hash:\n", "hash"},
		{"an empty password field", "alice::1\n", ""},
		{"a name that begins or ends like the account's", "alice2:x:\nmalice:x:\nali:x:\n", "-"},
		{"the name in another field", "bob:alice:alice:\n", "-"},
		{"another case", "Alice:x:\n", "-"},
		{"a name before a comment sign", "#alice:x:\n", "-"},
		{"an empty file", "", "-"},
		{"a line after a very long one", "bob:" + strings.Repeat("x", 3*shadowBuffer) + "\nalice:hash:\n", "hash"},
		{"the end of a very long line", "bob:" + strings.Repeat("x", 3*shadowBuffer) + "alice:hash:\n", "-"},
		{
			"the name where a buffer of a long line begins",
			"bob:" + strings.Repeat("x", shadowBuffer-4) + "alice:hash:\n",
			"-",
		},
		{"a line over the end of a buffer", "bob:" + strings.Repeat("x", shadowBuffer-12) + "\nalice:hash:\n", "hash"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for how, r := range map[string]io.Reader{
				"at once":             strings.NewReader(tt.text),
				"byte by byte":        iotest.OneByteReader(strings.NewReader(tt.text)),
				"with its end":        iotest.DataErrReader(strings.NewReader(tt.text)),
				"in halves of a read": iotest.HalfReader(strings.NewReader(tt.text)),
			} {
				field, found, err := findEntry(r, "alice", make([]byte, shadowBuffer))
				if err != nil || found != (tt.field != "-") || found && string(field) != tt.field {
					t.Errorf("%s: got %q, %t, %v", how, field, found, err)
				}
			}
			want := ShadowNone
			if tt.field != "-" {
				want = ShadowFound
			}
			useShadow(t, tt.text)
			if got, err := lookInto(t, "alice", 1000, stateKey); err != nil || got.Status != want {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
	// Were the name compared with a part of the line, typing it would tell whether the hash is
	// right.
	useShadow(t, "alice:hash:1\n")
	if got, err := lookInto(t, "alice:hash", 1000, stateKey); err != nil || got.Status != ShadowNone {
		t.Errorf("a name with the password field: %v, %v", got, err)
	}
}

func TestWhatTheDigestOfAnEntryDependsOn(t *testing.T) {
	useShadow(t, "alice:hash:1:2:3:4:5:6:7\nbob:hash:\nal:ice:\n")
	get := func(name string, uid int, key StateKey) Shadow {
		t.Helper()
		got, err := lookInto(t, name, uid, key)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	alice := get("alice", 1000, stateKey)
	if again := get("alice", 1000, bytes.Clone(stateKey)); alice.Status != ShadowFound || again != alice {
		t.Errorf("got %v and %v", alice, again)
	}
	for name, other := range map[string]Shadow{
		"another name": get("bob", 1000, stateKey),
		"another uid":  get("alice", 1001, stateKey),
		"no uid":       get("alice", noUID, stateKey),
		"another key":  get("alice", 1000, stateKey[1:]),
	} {
		if other.Status != ShadowFound || other.Digest == alice.Digest {
			t.Errorf("%s makes no difference: %v", name, other)
		}
	}
	useShadow(t, "alice:hash:9::::::\n")
	if got := get("alice", 1000, stateKey); got != alice {
		t.Errorf("the other fields make a difference: %v", got)
	}
	for field, locked := range map[string]bool{
		"!hash": true, "!": true, "!!": true, "*": false, "": false, "hash!": false,
	} {
		useShadow(t, "alice:"+field+":1\n")
		if got := get("alice", 1000, stateKey); got.Locked != locked || got.Digest == alice.Digest {
			t.Errorf("field %q: %v", field, got)
		}
	}
}

func TestNothingIsReadWithoutAKey(t *testing.T) {
	useShadowFile(t, t.TempDir()) // which would be an error
	if got, err := Inspect("root", nil); err != nil || got.Shadow != (Shadow{}) {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestAShadowFileThatCannotBeRead(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink("nowhere", link); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name    string
		file    string
		wantErr string // "" = the state is ShadowUnread
	}{
		{"none", "/no/such/shadow", ""},
		{"a link to none", link, ""},
		{"a folder", t.TempDir(), "is not a regular file"},
		{"a pipe that nobody writes to", fifo, "is not a regular file"},
		{"a device", "/dev/zero", "is not a regular file"},
		{"a file on a bad disk", "/proc/self/mem", "input/output error"}, // address 0 is not mapped
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			useShadowFile(t, tt.file)
			got, err := Inspect("root", stateKey)
			if tt.wantErr == "" {
				if err != nil || got.Name != "root" || got.UID != 0 || got.Shadow != (Shadow{}) {
					t.Errorf("got %v, %v", got, err)
				}
				return
			}
			if !errors.Is(err, ErrBroken) || !strings.Contains(err.Error(), tt.wantErr) ||
				!strings.Contains(err.Error(), tt.file) {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}

func TestInspectOfNamesThatUnixDoesNotKnow(t *testing.T) {
	useShadow(t, "left-over:"+canary+":1::::::\n")
	for name, want := range map[string]ShadowStatus{"no-such-account": ShadowNone, "left-over": ShadowFound} {
		got, err := Inspect(name, stateKey)
		if err != nil || got.UID != -1 || got.Name != name || got.Shadow.Status != want {
			t.Errorf("%s: got %v, %v", name, got, err)
		}
	}
	// To C, it is root.
	for _, name := range []string{"root\x00x", ""} {
		if got, err := Inspect(name, stateKey); !errors.Is(err, ErrRefused) {
			t.Errorf("%q: got %v, %v", name, got, err)
		}
	}
}

func TestNoErrorHoldsAHash(t *testing.T) {
	long := "alice:" + strings.Repeat(canary, shadowBuffer/len(canary)+1) + ":1\n"
	for name, r := range map[string]io.Reader{
		"a line that is too long": strings.NewReader(long),
		"a read that fails": io.MultiReader(strings.NewReader("bob:"+canary+":1\nalice:"+canary),
			iotest.ErrReader(syscall.EIO)),
	} {
		field, found, err := findEntry(r, "alice", make([]byte, shadowBuffer))
		if err == nil || found || field != nil {
			t.Errorf("%s: found %t, %v", name, found, err)
			continue
		}
		checkNoHash(t, name, shadowError(err).Error())
	}
	useShadow(t, long)
	_, err := Inspect("alice", stateKey)
	if !errors.Is(err, ErrBroken) {
		t.Errorf("got %v", err)
	}
	checkNoHash(t, "inspect", fmt.Sprintf("%v %+v %#v", err, err, err))
	useShadow(t, "alice:"+canary+":1\n")
	account, err := Inspect("alice", stateKey)
	checkNoHash(
		t,
		"the account",
		fmt.Sprintf("%v %+v %#v %v %q", account, account, account, err, account.Shadow.Digest[:]),
	)
}

// checkNoHash looks for each eight bytes of the canary.
func checkNoHash(t *testing.T, where, text string) {
	t.Helper()
	for i := range len(canary) - 8 {
		if strings.Contains(text, canary[i:i+8]) {
			t.Errorf("%s holds a part of the hash: %q", where, text)
			return
		}
	}
}

// Every buffer size and way to read finds the same, or says that an entry is too long.
func FuzzShadow(f *testing.F) {
	f.Add([]byte("root:*:1\nalice:$6$hash:1::::::\n"), "alice", 16)
	f.Add([]byte(" alice:one\nalice:two\n\nbob"), "bob", 1)
	f.Add([]byte("a long line of somebody:x\nbob::\n"), "bob", 7)
	f.Fuzz(func(t *testing.T, text []byte, name string, size int) {
		var want []byte
		wantFound := false
		for line := range bytes.SplitSeq(text, []byte("\n")) {
			fields := bytes.Split(bytes.TrimLeft(line, " \t\v\f\r"), []byte(":"))
			if len(fields) > 1 && string(fields[0]) == name {
				want, wantFound = fields[1], true
				break
			}
		}
		got, found, err := findEntry(bytes.NewReader(text), name, make([]byte, len(text)+1))
		if err != nil || found != wantFound || !bytes.Equal(got, want) {
			t.Errorf("got %q, %t, %v; want %q, %t", got, found, err, want, wantFound)
		}
		if size < 1 || size > len(text) {
			return
		}
		got, found, err = findEntry(iotest.HalfReader(bytes.NewReader(text)), name, make([]byte, size))
		// A name that does not fit into the buffer is no name: shadowBuffer is longer than any.
		if err == nil && size > len(name)+1 && !bytes.ContainsAny(text, " \t\v\f\r") &&
			(found != wantFound || !bytes.Equal(got, want)) {
			t.Errorf("in %d bytes: got %q, %t; want %q, %t", size, got, found, want, wantFound)
		}
	})
}

func BenchmarkShadow(b *testing.B) {
	for _, lines := range []int{50, 20000} {
		var text strings.Builder
		for i := range lines {
			fmt.Fprintf(&text, "user%d:$y$j9T$%086d:19000:0:99999:7:::\n", i, i)
		}
		useShadow(b, text.String())
		for name, user := range map[string]string{"first": "user0", "last": fmt.Sprint("user", lines-1)} {
			b.Run(fmt.Sprintf("%d lines, %s", lines, name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if got, err := lookInto(b, user, 1000, stateKey); err != nil || got.Status != ShadowFound {
						b.Fatal(got, err)
					}
				}
			})
		}
	}
}
