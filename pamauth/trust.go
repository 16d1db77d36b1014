package pamauth

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Borrowed reports that this process has rights that whoever started it does not have: a set-group-id install, started by anyone but root.
// Then nothing may be believed that the starter could have written, or the rights would be his.
func Borrowed() bool {
	return os.Getuid() != 0 && (os.Geteuid() != os.Getuid() || os.Getegid() != os.Getgid())
}

// maxLinks is how many symbolic links the kernel follows on one path (path_resolution(7)).
const maxLinks = 40

// CheckTrust refuses a file that anyone but root could have written or put in its place: the file, the folders above it, and every symbolic link
// on the way with the folders above that, belong to root, and nobody else may write there. A folder with the sticky bit, such as /tmp, will do:
// what is root's in it stays where it is.
func CheckTrust(path string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	links := 0
	// way is never behind a symbolic link, so that what it is joined with is where the kernel goes too.
	for way, rest := "/", strings.Split(path, "/"); ; {
		info, err := os.Lstat(way)
		if err != nil {
			return err
		}
		if err := checkOwner(way, info); err != nil {
			return fmt.Errorf("%w\n  a set-group-id program trusts only what root has written, in folders where nobody else may write", err)
		}
		if info.Mode()&os.ModeSymlink != 0 {
			target, err := os.Readlink(way)
			if err != nil {
				return err
			}
			if links++; links > maxLinks {
				return fmt.Errorf("%s leads through more than %d symbolic links", path, maxLinks)
			}
			if way = filepath.Dir(way); filepath.IsAbs(target) {
				way = "/"
			}
			rest = append(strings.Split(target, "/"), rest...)
			continue
		}
		if len(rest) == 0 {
			return nil
		}
		way, rest = filepath.Join(way, rest[0]), rest[1:] // which knows what "", "." and ".." mean
	}
}

func checkOwner(path string, info os.FileInfo) error {
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || owner.Uid != 0 {
		return fmt.Errorf("%s does not belong to root", path)
	}
	if info.Mode()&os.ModeSymlink != 0 { // nobody can write to one
		return nil
	}
	if info.Mode().Perm()&0o022 != 0 && info.Mode()&os.ModeSticky == 0 {
		return fmt.Errorf("others than root may write to %s", path)
	}
	return nil
}
