package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Folder keeps records for all processes of one account on one machine, short-lived ones included.
// Any of them may be killed at any moment: the others go on at once, and an update is done or not.
// The folder is on a local file system, and has an SQLite database for each kind of records. A
// Folder opens them when they are first used, and again after the folder was emptied or replaced.
//
// A set-group-id install has rights that the owner of the folder lacks, so it treats the files as
// hostile. They are the owner's alone (0600): sharing a folder between two accounts would mean to
// trust a group, and no installation needs that.
type Folder struct {
	Now func() time.Time
	// Report is called when damaged counters were moved aside and begin empty. May be nil.
	Report func(error)

	path           string
	counters, kept *database
}

// maxCounters bounds the database of counters, in bytes: some 300,000 records of 150 bytes.
const maxCounters = 64 << 20

// OpenFolder returns the stores in a folder, which must exist, belong to this process's user and be
// closed to others. It reads nothing yet.
func OpenFolder(path string) (*Folder, error) {
	if !filepath.IsAbs(path) {
		return nil, fmt.Errorf("folder for state: %q is not an absolute path", path)
	}
	f := &Folder{Now: time.Now, path: filepath.Clean(path)}
	f.counters = newDatabase(f, "counters.db", maxCounters)
	f.kept = newDatabase(f, "kept.db", 0)
	return f, f.check()
}

// Counters is the store for records that may be forgotten.
func (f *Folder) Counters() Store { return f.counters }

// Kept is the store for records that may not. Update returns when they are safe on the disk.
func (f *Folder) Kept() Store { return f.kept }

// Close closes what is open; it is opened again if it is used.
func (f *Folder) Close() error { return errors.Join(f.counters.Close(), f.kept.Close()) }

// check refuses a folder that others could read or write.
func (f *Folder) check() error {
	info, err := os.Stat(f.path + "/")
	if err != nil {
		return fmt.Errorf("folder for state: %w", err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("folder for state: find owner of %s", f.path)
	}
	if owner, own := int(stat.Uid), os.Geteuid(); owner != own {
		// Another account's folder may be in use: only root's is given away.
		hint := fmt.Sprintf("run dockerauth as uid %d, or name another folder in state", owner)
		if owner == 0 {
			hint = fmt.Sprintf("chown %d %s", own, shellWord(f.path))
		}
		return fmt.Errorf(
			"folder for state: %s belongs to uid %d, and this process is uid %d\n  %s",
			f.path,
			owner,
			own,
			hint,
		)
	}
	if mode := info.Mode().Perm(); mode&0o027 != 0 {
		return fmt.Errorf("folder for state: %s is open to others: mode %#o\n  chmod 0700 %s",
			f.path, mode, shellWord(f.path))
	}
	return nil
}

// shellWord quotes a path for a command in a hint.
func shellWord(path string) string { return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'" }

// lockName is a file that its owner alone can open, unlike a folder: a process that holds the lock
// stops the counting.
const lockName = "lock"

// open returns the folder, locked: others that open, make or replace its files wait until the lock
// is closed.
func (f *Folder) open() (*os.Root, *os.File, error) {
	root, err := os.OpenRoot(f.path + "/") // which does not wait for a FIFO
	if err != nil {
		return nil, nil, fmt.Errorf("folder for state: %w", err)
	}
	if info, err := root.Lstat(lockName); err == nil && !info.Mode().IsRegular() {
		_ = root.RemoveAll(lockName) // dockerauth did not make it
	}
	lock, err := root.OpenFile(lockName, os.O_RDWR|os.O_CREATE|syscall.O_NONBLOCK, 0o600)
	if err == nil {
		err = os.NewSyscallError("flock", syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB))
	}
	if err != nil {
		_ = lock.Close()
		_ = root.Close()
		return nil, nil, fmt.Errorf("folder for state: lock %s: %w", f.path, err)
	}
	return root, lock, nil
}

// errForeignFile is the cause when a name is taken by something that dockerauth did not put there.
var errForeignFile = errors.New("not a plain file of this service")

// checkFile returns what is known of a file of this account; nil if it is not there. A link, a file
// with a second name elsewhere and anything that makes a call wait are errors. Of a link that takes
// the file's place after that, connect notices the target.
func checkFile(path string) (fs.FileInfo, error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.Mode().IsRegular() || stat.Nlink > 1 {
		return nil, fmt.Errorf("%s is %w: %w", path, ErrDamaged, errForeignFile)
	}
	if int(stat.Uid) != os.Geteuid() {
		return nil, ownerError{path, int(stat.Uid), info.Mode().Perm()}
	}
	return info, nil
}

// ownerError is that of a file of another account, such as one that root has restored.
type ownerError struct {
	path string
	uid  int
	mode fs.FileMode
}

func (e ownerError) Error() string {
	return fmt.Sprintf("%s belongs to uid %d, mode %#o, and this process is uid %d", e.path, e.uid, e.mode,
		os.Geteuid())
}

// Is makes it an ErrDamaged: counters of another account are moved aside.
func (e ownerError) Is(target error) bool { return target == ErrDamaged }

// removeShards removes the files 00 to ff of versions before SQLite, which held counters: what they
// count is over after some hours. A process of such a version, still there during an upgrade,
// counts in new ones.
func removeShards(root *os.Root) error {
	folder, err := root.Open(".")
	if err != nil {
		return err
	}
	defer folder.Close()
	names, err := folder.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if len(name) == 2 && strings.Trim(name, "0123456789abcdef") == "" {
			if info, err := checkFile(filepath.Join(root.Name(), name)); err == nil && info != nil {
				_ = root.Remove(name)
			}
		}
	}
	return nil
}
