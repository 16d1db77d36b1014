package state

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync/atomic"
	"time"
)

// ErrDamaged is the cause of what Folder.Report gets.
var ErrDamaged = errors.New("damaged")

// Folder is a Store of all processes of one account on one machine, those that live for one request among them. Any of them may die at any
// moment: the others go on at once, and a record is the old one or the new one. It holds 100,000 records; a file holds 390 and forgets its
// oldest first.
//
// It keeps nothing open, so it needs no closing, and lives on when the folder is emptied or made anew. The folder is on a local file system;
// Linux only.
type Folder struct {
	Now func() time.Time
	// Report is told of a file that cannot be right, once: its records are lost, and the next update of one of them replaces it. May be nil.
	Report func(error)

	path     string
	reported [shards]atomic.Bool
}

// OpenFolder returns the store in a folder, which must exist, belong to this process's user and be closed to others. It reads nothing yet.
func OpenFolder(path string) (*Folder, error) {
	if !filepath.IsAbs(path) {
		return nil, fmt.Errorf("folder for state: %q is not an absolute path", path)
	}
	f := &Folder{Now: time.Now, path: filepath.Clean(path)}
	r, err := f.open()
	if err != nil {
		return nil, err
	}
	return f, r.Close()
}

func (f *Folder) open() (root, error) {
	r, err := openRoot(f.path)
	if err != nil {
		return root{}, fmt.Errorf("folder for state: %w", err)
	}
	return r, nil
}

func (f *Folder) Get(key string) ([]byte, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	r, err := f.open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	salt, err := r.salt()
	if salt == nil {
		return nil, err
	}
	id := identify(salt, key)
	s, err := r.load(id[0])
	if errors.Is(err, ErrDamaged) {
		f.report(id[0], err)
		return nil, nil
	}
	return clone(s.find(id, f.Now())), err
}

func (f *Folder) Update(key string, change Change) error {
	if err := checkKey(key); err != nil {
		return err
	}
	r, err := f.open()
	if err != nil {
		return err
	}
	defer r.Close()
	number, damage, err := f.update(r, key, change)
	if damage != nil {
		f.report(number, damage)
	}
	if err == nil {
		f.reported[number].Store(false)
	}
	return err
}

// update returns the damage that it found, for Report, which may take its time, is not called under the lock.
func (f *Folder) update(r root, key string, change Change) (number byte, damage, err error) {
	l, err := r.lock(key)
	if err != nil {
		return 0, nil, err
	}
	defer l.release()
	number = l.id[0]
	s, err := r.load(number)
	if errors.Is(err, ErrDamaged) {
		damage, err = err, nil
	}
	if err != nil {
		return number, nil, err
	}
	now := f.Now()
	old := s.find(l.id, now)
	changed, err := apply(change, old, now)
	if err != nil {
		return number, damage, err
	}
	if old == nil && changed.isOver(now) && damage == nil {
		return number, nil, nil // forgetting nothing, after most logins
	}
	return number, damage, r.store(number, s.with(l.id, changed, now))
}

func (f *Folder) report(number byte, damage error) {
	if f.Report != nil && f.reported[number].CompareAndSwap(false, true) {
		f.Report(damage)
	}
}

func shardFile(number byte) string { return fmt.Sprintf("%02x", number) }

// load reads a shard; a file that is not there is an empty one. What cannot be a shard is ErrDamaged.
func (r root) load(number byte) (shard, error) {
	name := shardFile(number)
	content, err := r.read(name, maxShard)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil && !errors.Is(err, errAlien) {
		return nil, fmt.Errorf("read %s: %w", r.path(name), err)
	}
	var s shard
	if err == nil {
		s, err = decodeShard(number, content)
	}
	if err != nil {
		return nil, fmt.Errorf("%s is %w and counts as empty: %w", r.path(name), ErrDamaged, err)
	}
	return s, nil
}

// store writes a shard; an empty one is no file.
func (r root) store(number byte, s shard) error {
	name := shardFile(number)
	var err error
	if len(s) == 0 {
		err = r.delete(name)
	} else {
		err = r.replace(name, s.encode())
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", r.path(name), err)
	}
	return nil
}
