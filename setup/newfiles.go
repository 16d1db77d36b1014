package setup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// newFiles are the files and folders that init has made, and what it has replaced.
type newFiles struct {
	made    []string
	swapped []swappedFile
}

// swappedFile is a file in the place of an older one, which has another name until keep or undo.
type swappedFile struct{ path, old string }

// undo removes what was made again, and brings back what was replaced.
func (n *newFiles) undo() {
	for _, s := range n.swapped {
		_ = os.Rename(s.old, s.path)
		_ = os.Remove(s.old) // rename(2) does nothing where both are one file
	}
	n.swapped = nil
	for i := len(n.made) - 1; i >= 0; i-- {
		_ = os.Remove(n.made[i]) // a folder that is not empty stays
	}
	n.made = nil
}

// keep removes what was replaced.
func (n *newFiles) keep() {
	for _, s := range n.swapped {
		_ = os.Remove(s.old)
	}
	n.swapped = nil
}

// folder makes a folder and those above it, or checks that nobody else can replace files in the one
// that is there.
func (n *newFiles) folder(path string) error {
	info, err := os.Stat(path)
	switch {
	case err == nil && !info.IsDir():
		return fmt.Errorf("make folder %s: something else is there\n  name another folder", path)
	case err == nil:
		return checkDirOwnership(path, false)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	above := filepath.Dir(path)
	if _, err := os.Stat(above); err == nil {
		err = checkDirOwnership(above, true)
		if err != nil {
			return err
		}
	} else if err := n.folder(above); err != nil {
		return err
	}
	if err := os.Mkdir(path, 0o755); err != nil {
		return err
	}
	n.made = append(n.made, path)
	if err := os.Chmod(path, 0o755); err != nil { // whatever the umask
		return err
	}
	return syncFolder(above)
}

// checkDirOwnership refuses a folder in which another user could replace files: that user would
// choose the key. A folder above it may have the sticky bit, as /tmp has: nobody else can replace
// this user's files there.
func checkDirOwnership(path string, sticky bool) error {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	for {
		info, err := os.Lstat(real)
		if err != nil {
			return err
		}
		owner, ok := info.Sys().(*syscall.Stat_t)
		if !ok || owner.Uid != 0 && int(owner.Uid) != os.Geteuid() {
			return fmt.Errorf("folder %s belongs to another user, who could put another key in place\n  run this as "+
				"that user, or give the folder to root", real)
		}
		if info.Mode().Perm()&0o022 != 0 && !(sticky && info.Mode()&fs.ModeSticky != 0) {
			return fmt.Errorf("others may write to folder %s, and could put another key in place\n  chmod go-w, or "+
				"name another folder", real)
		}
		if real == "/" {
			return nil
		}
		real, sticky = filepath.Dir(real), true
	}
}

// lockName is a file that nobody else can open. Any user can lock the folder itself.
const lockName = ".lock.dockerauth"

// lockFolder keeps a second run of init or key rotate out until unlock is called.
func lockFolder(path string) (unlock func(), err error) {
	path = filepath.Join(path, lockName)
	for {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, err
		}
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w\n  is another dockerauth init or key rotate at work there? (fuser "+
				"%[1]s names the process)", path, err)
		}
		if isAt(f, path) {
			return func() {
				if isAt(f, path) {
					_ = os.Remove(path)
				}
				f.Close()
			}, nil
		}
		f.Close() // a run that has ended meanwhile has removed it
	}
}

func isAt(f *os.File, path string) bool {
	opened, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Lstat(path)
	return err == nil && os.SameFile(opened, there)
}

// temporaryNames begin with a dot and the name that the file will have.
const temporaryNames = ".*.dockerauth"

// removeLeftovers deletes what a killed run has left in a folder that is locked. A private key may
// be among it.
func removeLeftovers(folder string) error {
	entries, err := os.ReadDir(folder)
	for _, entry := range entries {
		if err == nil && entry.Type().IsRegular() && isTemporary(entry.Name()) {
			err = os.Remove(filepath.Join(folder, entry.Name()))
		}
	}
	return err
}

func isTemporary(name string) bool {
	matches, _ := filepath.Match(".*"+temporaryNames, name)
	return matches
}

// create makes a file that is not there, whole or not at all. A file or link that has appeared at
// path meanwhile stays. check, if any, sees the file before it has its name.
func (n *newFiles) create(path string, content []byte, mode fs.FileMode, gid int, check func(path string) error) error {
	return n.createFor(path, content, rights{mode: mode, uid: -1, gid: gid}, check)
}

func (n *newFiles) createFor(path string, content []byte, r rights, check func(path string) error) error {
	temporary, err := writeBeside(path, content, r)
	if err != nil {
		return err
	}
	defer os.Remove(temporary)
	if check != nil {
		if err := check(temporary); err != nil {
			return err
		}
	}
	// Unlike rename(2), link(2) never replaces anything.
	if err := os.Link(temporary, path); err != nil {
		return fmt.Errorf("make %s: %w\n  nothing was overwritten; run this again", path, errors.Unwrap(err))
	}
	n.made = append(n.made, path)
	return syncFolder(filepath.Dir(path))
}

// swap replaces a file until undo.
func (n *newFiles) swap(path string, old fs.FileInfo, content []byte) error {
	if err := checkDirOwnership(filepath.Dir(path), false); err != nil {
		return err
	}
	kept, err := writeBeside(path, nil, rights{mode: 0o600, uid: -1, gid: -1}) // for a name that is free
	if err != nil {
		return err
	}
	_ = os.Remove(kept)
	if err := os.Link(path, kept); err != nil {
		return fmt.Errorf("keep %s: %w", path, errors.Unwrap(err))
	}
	n.swapped = append(n.swapped, swappedFile{path, kept})
	if err := exchange(path, old, content, nil); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

// replace replaces a file that names the new ones. Nothing is undone after that.
func (n *newFiles) replace(path string, old fs.FileInfo, content []byte, check func(path string) error) error {
	if err := exchange(path, old, content, check); err != nil {
		return err
	}
	n.keep()
	n.made = nil
	if err := syncFolder(filepath.Dir(path)); err != nil {
		return fmt.Errorf("%s is changed, but a power failure may undo that: %w\n  look after the disk, and run this "+
			"again", path, err)
	}
	return nil
}

// exchange puts a file in place of the one that it was made from, with the same rights.
func exchange(path string, old fs.FileInfo, content []byte, check func(path string) error) error {
	same, err := rightsOf(path, old)
	if err != nil {
		return err
	}
	temporary, err := writeBeside(path, content, same)
	if err != nil {
		return err
	}
	defer os.Remove(temporary) // after the rename there is none
	if check != nil {
		if err := check(temporary); err != nil {
			return err
		}
	}
	if err := syncFolder(filepath.Dir(path)); err != nil {
		return err
	}
	if now, err := os.Lstat(path); err != nil || !os.SameFile(now, old) || !now.ModTime().Equal(old.ModTime()) {
		return fmt.Errorf("replace %s: it has been changed just now\n  run this again", path)
	}
	return os.Rename(temporary, path)
}

// writeBeside writes a temporary file into the folder of path.
func writeBeside(path string, content []byte, r rights) (temporary string, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+temporaryNames) // O_EXCL, mode 0600
	if err != nil {
		return "", err
	}
	defer func() {
		f.Close()
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	if _, err := f.Write(content); err != nil {
		return "", err
	}
	if err := r.giveTo(f, path); err != nil {
		return "", err
	}
	return f.Name(), f.Sync()
}

// syncFolder is a variable for tests.
var syncFolder = func(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// withHint says what to do about an error that does not.
func withHint(err error) error {
	switch {
	case strings.Contains(err.Error(), "\n"):
		return err
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w\n  run this as root, or name a folder of your own: --dir DIR", err)
	}
	return fmt.Errorf("%w\n  remove the cause and run this again, or name another folder: --dir DIR", err)
}
