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

// lockFolder keeps a second init out until unlock is called.
func lockFolder(path string) (unlock func(), err error) {
	dir, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(dir.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		dir.Close()
		return nil,
			fmt.Errorf("lock folder %s: %w\n  is another dockerauth init or key rotate at work there? (fuser %[1]s "+
				"names the process)", path, err)
	}
	return func() { dir.Close() }, nil
}

// create makes a file that is not there, whole or not at all. A file or link that has appeared at
// path meanwhile stays. check, if any, sees the file before it has its name.
func (n *newFiles) create(path string, content []byte, mode fs.FileMode, gid int, check func(path string) error) error {
	return n.createFor(path, content, mode, -1, gid, check)
}

// createFor is create with another owner; uid and gid -1 = the creator's.
func (n *newFiles) createFor(path string, content []byte, mode fs.FileMode, uid, gid int,
	check func(path string) error) error {
	temporary, err := writeBeside(path, content, mode, uid, gid)
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
	kept, err := writeBeside(path, nil, 0o600, -1, -1) // for a name that is free
	if err != nil {
		return err
	}
	_ = os.Remove(kept)
	if err := os.Link(path, kept); err != nil {
		return fmt.Errorf("keep %s: %w", path, errors.Unwrap(err))
	}
	n.swapped = append(n.swapped, swappedFile{path, kept})
	return replace(path, old, content, func(string) error { return nil })
}

// replace replaces a file by one that was made from it, with its mode and owners.
func replace(path string, old fs.FileInfo, content []byte, check func(path string) error) error {
	owner, ok := old.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("find owner of %s", path)
	}
	temporary, err := writeBeside(path, content, old.Mode().Perm(), int(owner.Uid), int(owner.Gid))
	if err != nil {
		return err
	}
	defer os.Remove(temporary) // after the rename there is none
	if err := check(temporary); err != nil {
		return err
	}
	if err := syncFolder(filepath.Dir(path)); err != nil {
		return err
	}
	if now, err := os.Lstat(path); err != nil || !os.SameFile(now, old) || !now.ModTime().Equal(old.ModTime()) {
		return fmt.Errorf("replace %s: it has been changed just now\n  run this again", path)
	}
	if err := os.Rename(temporary, path); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

// writeBeside writes a temporary file into the folder of path. uid and gid -1 = the creator's.
func writeBeside(path string, content []byte, mode fs.FileMode, uid, gid int) (temporary string, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // O_EXCL, mode 0600
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
	if err := f.Chown(uid, gid); err != nil {
		return "",
			fmt.Errorf("give %s to its group: %w\n  run this as root, or name a group that you are in", path,
				errors.Unwrap(err))
	}
	if err := f.Chmod(mode); err != nil { // whatever the umask
		return "", err
	}
	return f.Name(), f.Sync()
}

func syncFolder(path string) error {
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
