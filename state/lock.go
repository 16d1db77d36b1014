package state

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	mathrand "math/rand/v2"
	"os"
	"time"
)

// lockFile holds the folder's salt, and its bytes are the locks of the shards. What it holds is written once, when the folder is new, and never
// renamed over: locks are on the file, not on the name.
//
// The salt is there because names of accounts are chosen by clients: who knew which records share a file could push one out with 390 others
// instead of 100,000.
const (
	lockFile = "lock"
	saltLen  = 16
	// saltLock is the byte behind those of the shards.
	saltLock = shards
)

const (
	// lockPatience is far longer than all who might wait need together, each less than a millisecond, and shorter than a client's patience.
	// A holder may be stopped, or wait for a disk.
	lockPatience = time.Second
	minPause     = 50 * time.Microsecond
	maxPause     = 5 * time.Millisecond
)

var errBusy = fmt.Errorf("locked by another process for more than %s", lockPatience)

// salt returns the salt of a folder, nil for one that never had a record.
func (r root) salt() ([]byte, error) {
	file, err := r.open(lockFile, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, r.lockError(err)
	}
	defer file.Close()
	salt, err := readSalt(file)
	if err != nil {
		return nil, r.lockError(err)
	}
	return salt, nil
}

func (r root) lockError(err error) error {
	err = fmt.Errorf("lock %s: %w", r.path(lockFile), err)
	if errors.Is(err, errAlien) {
		err = fmt.Errorf("%w\n  remove it, which forgets what is in the folder", err)
	}
	return err
}

// lock is the right to write one shard. It ends with the process, at the latest.
type lock struct {
	file *os.File
	id   id // of the key that it was taken for, in this folder
}

// lock waits for the shard of a key, but not for long.
func (r root) lock(key string) (*lock, error) {
	for deadline := time.Now().Add(lockPatience); ; {
		l, err := r.lockOnce(key, deadline)
		if err != nil {
			return nil, r.lockError(err)
		}
		if r.isCurrent(l.file) {
			return l, nil
		}
		l.release()
		if time.Now().After(deadline) {
			return nil, r.lockError(errors.New("somebody keeps removing it"))
		}
	}
}

// isCurrent is false if somebody has emptied the folder meanwhile: the next to come makes another file, and locks that one.
func (r root) isCurrent(file *os.File) bool {
	mine, err := file.Stat()
	if err != nil {
		return false
	}
	current, err := r.Lstat(lockFile)
	return err == nil && os.SameFile(mine, current)
}

func (r root) lockOnce(key string, deadline time.Time) (*lock, error) {
	file, err := r.open(lockFile, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return nil, err
	}
	salt, err := ensureSalt(file, deadline)
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	l := &lock{file, identify(salt, key)}
	if err := waitFor(file, l.shard(), deadline); err != nil {
		_ = file.Close()
		return nil, err
	}
	return l, nil
}

func (l *lock) shard() int { return int(l.id[0]) }

func (l *lock) release() {
	unlock(l.file, l.shard())
	_ = l.file.Close()
}

// ensureSalt reads the salt, or makes one in a new file. It is the one thing here that is worth an fsync: without it no record is found again.
func ensureSalt(file *os.File, deadline time.Time) ([]byte, error) {
	if salt, err := readSalt(file); salt != nil || err != nil {
		return salt, err
	}
	if err := waitFor(file, saltLock, deadline); err != nil {
		return nil, err
	}
	defer unlock(file, saltLock)
	if salt, err := readSalt(file); salt != nil || err != nil {
		return salt, err // somebody was faster
	}
	salt := make([]byte, saltLen)
	_, _ = rand.Read(salt) // never fails
	if _, err := file.WriteAt(salt, 0); err != nil {
		return nil, err
	}
	return salt, file.Sync()
}

// readSalt returns nil if it has not been written yet.
func readSalt(file *os.File) ([]byte, error) {
	content := make([]byte, saltLen+1)
	n, err := file.ReadAt(content, 0)
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return nil, err
	case n > saltLen:
		return nil, errAlien
	case n < saltLen:
		return nil, nil
	}
	return content[:saltLen], nil
}

// waitFor polls: a process that sleeps in fcntl can only be woken by a signal.
func waitFor(file *os.File, n int, deadline time.Time) error {
	for pause := minPause; ; pause = min(2*pause, maxPause) {
		if free, err := tryLock(file, n); free || err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return errBusy
		}
		time.Sleep(pause/2 + mathrand.N(pause))
	}
}
