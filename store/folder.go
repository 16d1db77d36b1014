package store

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// Folder is a Store for all processes of one account on one machine, short-lived ones included. Any
// of them may be killed at any moment: the others go on at once, and a record is the old one or the
// new one. The folder is on a local file system. Folder keeps nothing open, needs no closing, and
// still works after the folder is emptied or replaced.
//
// It holds 100,000 records in 256 files, by the hash of the key. A full file, with 390, drops its
// oldest. Where attackers choose keys, the caller mixes a secret into them, so that nobody knows
// which keys share a file.
//
// A set-group-id install has rights that the owner of the folder lacks, so it treats the files as
// hostile. They are the owner's alone (0600): sharing a folder between two accounts would mean to
// trust a group, and no installation needs that.
type Folder struct {
	Now func() time.Time
	// Report is called once for a damaged file: its records are lost, and the next update of one of
	// them replaces it. May be nil.
	Report func(error)

	path     string
	reported [shards]atomic.Bool
}

// OpenFolder returns the store in a folder, which must exist, belong to this process's user and be
// closed to others. It reads nothing yet.
func OpenFolder(path string) (*Folder, error) {
	if !filepath.IsAbs(path) {
		return nil, fmt.Errorf("folder for state: %q is not an absolute path", path)
	}
	f := &Folder{Now: time.Now, path: filepath.Clean(path)}
	root, err := f.open()
	if err != nil {
		return nil, err
	}
	return f, root.Close()
}

// open refuses a folder that others could read or write.
func (f *Folder) open() (*os.Root, error) {
	root, err := os.OpenRoot(f.path + "/") // which does not wait for a FIFO
	if err != nil {
		return nil, fmt.Errorf("folder for state: %w", err)
	}
	if err := f.check(root); err != nil {
		_ = root.Close()
		return nil, fmt.Errorf("folder for state: %w", err)
	}
	return root, nil
}

func (f *Folder) check(root *os.Root) error {
	info, err := root.Stat(".")
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("find owner of %s", f.path)
	}
	if owner, own := int(stat.Uid), os.Geteuid(); owner != own {
		// Another account's folder may be in use: only root's is given away.
		hint := fmt.Sprintf("run dockerauth as uid %d, or name another folder in state", owner)
		if owner == 0 {
			hint = fmt.Sprintf("chown %d %s", own, shellWord(f.path))
		}
		return fmt.Errorf("%s belongs to uid %d, and this process is uid %d\n  %s", f.path, owner, own, hint)
	}
	if mode := info.Mode().Perm(); mode&0o027 != 0 {
		return fmt.Errorf("%s is open to others: mode %#o\n  chmod 0700 %s", f.path, mode, shellWord(f.path))
	}
	return nil
}

// shellWord quotes a path for a command in a hint.
func shellWord(path string) string { return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'" }

func (f *Folder) Get(key string) ([]byte, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	root, err := f.open()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	id := hashKey(key)
	s, err := load(root, id[0])
	if errors.Is(err, ErrDamaged) {
		f.report(id[0], err)
		return nil, nil
	}
	if err != nil {
		return nil, f.wrap("read", id[0], err)
	}
	return bytes.Clone(s.find(id, f.Now())), nil
}

// load reads a shard; a missing file is an empty one. It takes the lock only where it must.
func load(root *os.Root, number byte) (shard, error) {
	file, err := openShard(root, number, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, damageOf(root, number, err)
	}
	defer file.Close()
	s, _, err := file.read(false)
	if !errors.Is(err, ErrDamaged) {
		return s, err
	}
	if err := file.lock(); err != nil {
		return nil, err
	}
	defer file.unlock()
	s, _, err = file.read(true)
	return s, err
}

// damageOf turns errForeignFile into ErrDamaged.
func damageOf(root *os.Root, number byte, err error) error {
	if errors.Is(err, errForeignFile) {
		return fmt.Errorf("%s is %w and counts as empty: %w", filepath.Join(root.Name(), shardName(number)), ErrDamaged,
			err)
	}
	return err
}

func (f *Folder) Update(key string, change Change) error {
	if err := checkKey(key); err != nil {
		return err
	}
	root, err := f.open()
	if err != nil {
		return err
	}
	defer root.Close()
	id := hashKey(key)
	damage, err := f.update(root, id, change)
	if damage != nil {
		f.report(id[0], damage)
	}
	if err != nil {
		return f.wrap("update", id[0], err)
	}
	f.reported[id[0]].Store(false)
	return nil
}

// update returns the damage that it found: Report may take long, and is not called under the lock.
func (f *Folder) update(root *os.Root, id id, change Change) (damage, err error) {
	const forUpdate = os.O_RDWR | os.O_CREATE
	file, err := openShard(root, id[0], forUpdate)
	if errors.Is(err, errForeignFile) {
		damage = damageOf(root, id[0], err)
		if err := removeForeignFile(root, id[0]); err != nil {
			return damage, err
		}
		file, err = openShard(root, id[0], forUpdate)
	}
	if err != nil {
		return damage, err
	}
	defer file.Close()
	if err := file.lock(); err != nil {
		return damage, err
	}
	defer file.unlock()
	s, next, err := file.read(true)
	if errors.Is(err, ErrDamaged) {
		damage, err = err, nil
	}
	if err != nil {
		return damage, err
	}
	now := f.Now()
	old := s.find(id, now)
	changed, err := apply(change, old, now)
	if err != nil {
		return damage, err
	}
	if old == nil && changed.expired(now) && damage == nil {
		return nil, nil // nothing to delete, as after most logins
	}
	return damage, file.write(s.with(id, changed, now), next)
}

func (f *Folder) report(number byte, damage error) {
	if f.Report != nil && f.reported[number].CompareAndSwap(false, true) {
		f.Report(damage)
	}
}

// wrap names the file; errors of os.Root do not say where it is.
func (f *Folder) wrap(verb string, number byte, err error) error {
	return fmt.Errorf("%s %s: %w", verb, filepath.Join(f.path, shardName(number)), err)
}
