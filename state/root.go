package state

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// root is the open folder. A set-group-id install has rights that the owner of the folder lacks, so whatever lies in there is met as an
// enemy's: no link leads out of it, nothing that is not a plain file of our own is read, nothing that was there is written into, and nothing
// makes a call wait.
type root struct{ *os.Root }

// openRoot refuses a folder that others could plant something in or learn from. Its files are the owner's alone (0600): to share a folder
// between two accounts would mean to trust a group, and no installation of ours needs that.
func openRoot(path string) (root, error) {
	opened, err := os.OpenRoot(path + "/") // not waiting for a FIFO that stands there
	if err != nil {
		return root{}, err
	}
	if err := checkFolder(opened, path); err != nil {
		_ = opened.Close()
		return root{}, err
	}
	return root{opened}, nil
}

func checkFolder(opened *os.Root, path string) error {
	info, err := opened.Stat(".")
	if err != nil {
		return err
	}
	if owner := ownerOf(info); owner != os.Geteuid() {
		return fmt.Errorf("%s belongs to user %d, and this process is user %d\n  give the service a folder of its own: chown %d %s",
			path, owner, os.Geteuid(), os.Geteuid(), path)
	}
	if mode := info.Mode().Perm(); mode&0o027 != 0 {
		return fmt.Errorf("%s is open to others: mode %#o\n  chmod 0700 %s", path, mode, path)
	}
	return nil
}

func ownerOf(info fs.FileInfo) int {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(stat.Uid)
	}
	return -1
}

func (r root) path(name string) string { return filepath.Join(r.Name(), name) }

// errAlien is the cause when a name is taken by what no process of ours has put there.
var errAlien = errors.New("not a plain file of this service")

// open opens a plain file of our own.
func (r root) open(name string, flag int) (*os.File, error) {
	const notWaiting = syscall.O_NONBLOCK | syscall.O_NOCTTY // for a FIFO's other end, a lease to be given back
	file, err := r.OpenFile(name, flag|notWaiting, 0o600)
	if err != nil {
		if info, statErr := r.Lstat(name); statErr == nil && !info.Mode().IsRegular() {
			err = errAlien
		}
		return nil, err
	}
	if err := checkFile(file); err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}

// checkFile: a file with a second name may be somebody else's, linked to from here.
func checkFile(file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.Mode().IsRegular() || int(stat.Uid) != os.Geteuid() || stat.Nlink > 1 {
		return errAlien
	}
	return nil
}

// read returns the content of a file, and errAlien if there is more of it than that.
func (r root) read(name string, most int) ([]byte, error) {
	file, err := r.open(name, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > int64(most) {
		return nil, errAlien
	}
	content := make([]byte, info.Size())
	n, err := io.ReadFull(file, content)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil // somebody writes into it: the checksum will tell
	}
	return content[:n], err
}

// replace puts a file with that content in the place of another, so that whoever reads has one or the other. Only the holder of the file's lock
// calls it: so one temporary name does, and what a process left there that died is gone with the next. The temporary file is never one that was
// there: that could be a link.
//
// There is no fsync, neither of the file nor of the folder: it takes 5 to 50 ms, and a login waits. After a power cut a file may be old, empty or
// damaged, which costs a throttle the last seconds, or 1/256 of its tallies. A process's death costs nothing. Whoever wants records that outlast
// a power cut needs file.Sync before the rename and a Sync of the folder after it.
func (r root) replace(name string, content []byte) error {
	temporary := name + ".new"
	if err := r.delete(temporary); err != nil {
		return err
	}
	err := r.create(temporary, content)
	if err == nil {
		err = r.Rename(temporary, name)
	}
	if err != nil {
		_ = r.delete(temporary) // of a full disk, it has the last blocks
	}
	return err
}

func (r root) create(name string, content []byte) error {
	file, err := r.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if closeErr := file.Close(); err == nil {
		err = closeErr // a quota or a file server speaks up here
	}
	return err
}

func (r root) delete(name string) error {
	if err := r.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
