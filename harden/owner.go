package harden

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// BecomeOwnerOf makes a command that root runs a process of a folder's owner, for good. Whatever
// such a command then does in the folder, the owner could do: a link there leads it nowhere else,
// and what it makes belongs to the service. A process of the owner stays as it is, as does root if
// the folder is root's.
func BecomeOwnerOf(path string) error {
	info, err := os.Lstat(filepath.Clean(path)) // "/" at the end would follow a link
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("find owner of folder: %w\n  run it with sudo", err)
	}
	if err != nil {
		return fmt.Errorf("find owner of folder: %w", err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case info.Mode().Type() == fs.ModeSymlink:
		target, _ := filepath.EvalSymlinks(path)
		return fmt.Errorf("find owner of folder: %s is a link\n  name the folder itself: %s", path, target)
	case !info.IsDir() || !ok:
		return fmt.Errorf("find owner of folder: %s is no folder", path)
	}
	switch owner, own := int(stat.Uid), os.Geteuid(); {
	case owner == own:
		return nil
	case own != 0:
		return fmt.Errorf(
			"use %s: it belongs to uid %d, and this process is uid %d\n  run it with sudo",
			path,
			owner,
			own,
		)
	default:
		if err := become(owner, groupOf(owner, int(stat.Gid))); err != nil {
			return fmt.Errorf("become owner of %s: %w", path, err)
		}
		return nil
	}
}

// groupOf returns the primary group of an account, or another group if Unix does not know it.
func groupOf(uid, unknown int) int {
	account, err := user.LookupId(strconv.Itoa(uid))
	if err != nil {
		return unknown
	}
	gid, err := strconv.Atoi(account.Gid)
	if err != nil {
		return unknown
	}
	return gid
}

var errStillRoot = errors.New("it could become root again")

// become changes all threads.
func become(uid, gid int) error {
	if err := syscall.Setgroups([]int{gid}); err != nil {
		return os.NewSyscallError("setgroups", err)
	}
	if err := syscall.Setgid(gid); err != nil {
		return os.NewSyscallError("setgid", err)
	}
	if err := syscall.Setuid(uid); err != nil {
		return os.NewSyscallError("setuid", err)
	}
	if syscall.Setuid(0) == nil || syscall.Getuid() != uid || syscall.Geteuid() != uid || syscall.Getegid() != gid {
		return errStillRoot
	}
	Hide() // by fs.suid_dumpable=1, the owner's other processes could read this one
	return nil
}
