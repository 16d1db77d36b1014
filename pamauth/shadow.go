package pamauth

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strconv"
	"syscall"
)

// StateKey is a secret, and prints as stars under the conditions of Password.
type StateKey []byte

// minStateKey in bytes: with a key that can be guessed, a digest would confirm guesses of a hash.
const minStateKey = 16

func (k StateKey) String() string   { return stars }
func (k StateKey) GoString() string { return stars }

// Format covers every verb: %q, %x and %d would otherwise not call String.
func (k StateKey) Format(f fmt.State, verb rune) { _, _ = io.WriteString(f, stars) }

func (k StateKey) LogValue() slog.Value         { return slog.StringValue(stars) }
func (k StateKey) MarshalText() ([]byte, error) { return []byte(stars), nil }
func (k StateKey) MarshalJSON() ([]byte, error) { return []byte(`"` + stars + `"`), nil }

// Shadow is what /etc/shadow says of an account.
type Shadow struct {
	Status ShadowStatus
	Locked bool // the password field begins with "!", as after "usermod -L"
	// Digest is an HMAC-SHA256, cut to 128 bits, of name, uid and password field, under the Login's
	// StateKey. The field itself never leaves the process that reads it.
	Digest [16]byte
}

// ShadowStatus says what became of the look into /etc/shadow.
type ShadowStatus byte

const (
	ShadowUnread ShadowStatus = iota // it cannot be read, or was not asked for
	ShadowNone                       // it has no entry of that name
	ShadowFound
)

// shadowBuffer in bytes is more than any entry has.
const shadowBuffer = 64 << 10

// openShadow is /etc/shadow as it is now: programs that change it put another file in its place.
// Without a key, and where this process may not read the file or there is none, nothing is opened.
func openShadow(key StateKey) (shadowEntries, error) {
	if key == nil {
		return shadowEntries{}, nil
	}
	file, err := os.OpenFile(shadowFile, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe must not block
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
		return shadowEntries{}, nil
	}
	if err != nil {
		return shadowEntries{}, shadowError(err)
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%q is not a regular file", shadowFile)
	}
	if err != nil {
		_ = file.Close()
		return shadowEntries{}, shadowError(err)
	}
	return shadowEntries{file, key}, nil
}

func shadowError(err error) error {
	return fmt.Errorf("%w: look up the state of the account: %w\n"+
		"  tokens end with a change in %s: check the file and its disk", ErrBroken, err, shadowFile)
}

// shadowEntries is an open /etc/shadow; the zero value is one that cannot be read.
type shadowEntries struct {
	file *os.File
	key  StateKey
}

func (s shadowEntries) close() {
	if s.file != nil {
		_ = s.file.Close()
	}
}

// find reads the file to the entry of an account. It clears what it has read, so that the hashes of
// others do not stay in memory.
func (s shadowEntries) find(name string, uid int) (Shadow, error) {
	if s.file == nil {
		return Shadow{}, nil
	}
	buffer := make([]byte, shadowBuffer)
	defer clear(buffer)
	field, found, err := findEntry(s.file, name, buffer)
	if err != nil {
		return Shadow{}, shadowError(err)
	}
	if !found {
		return Shadow{Status: ShadowNone}, nil
	}
	shadow := Shadow{Status: ShadowFound, Locked: bytes.HasPrefix(field, []byte("!"))}
	mac := hmac.New(sha256.New, s.key)
	mac.Write([]byte(name + "\x00" + strconv.Itoa(uid) + "\x00"))
	mac.Write(field)
	copy(shadow.Digest[:], mac.Sum(nil))
	return shadow, nil
}

// findEntry returns the password field of the first line with the name. The field is a part of the
// buffer.
func findEntry(r io.Reader, name string, buffer []byte) (field []byte, found bool, err error) {
	n, inLongLine := 0, false
	for {
		got, err := r.Read(buffer[n:])
		n += got
		rest := buffer[:n]
		for {
			line, after, whole := bytes.Cut(rest, []byte("\n"))
			if !whole && err != io.EOF {
				break
			}
			if field, found := cutPasswordField(line, name); found && !inLongLine {
				return field, true, nil
			}
			if rest, inLongLine = after, false; !whole {
				return nil, false, nil
			}
		}
		if err != nil {
			return nil, false, err
		}
		if len(rest) == len(buffer) {
			if _, found := cutPasswordField(rest, name); found && !inLongLine {
				return nil, false, fmt.Errorf("the entry of %q is longer than %d bytes", name, len(buffer))
			}
			rest, inLongLine = nil, true
		}
		n = copy(buffer, rest)
	}
}

// cutPasswordField ignores blanks before the name, as the C library does (nss_files).
func cutPasswordField(line []byte, name string) (field []byte, found bool) {
	first, rest, found := bytes.Cut(bytes.TrimLeft(line, " \t\v\f\r"), []byte(":"))
	if !found || string(first) != name {
		return nil, false
	}
	field, _, _ = bytes.Cut(rest, []byte(":"))
	return field, true
}
