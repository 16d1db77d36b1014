package pamauth

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// HasElevatedIDs reports that this process has rights that the user who started it does not have: a
// set-group-id install, started by anyone but root. Then no file counts that this user could have
// written: the rights would be theirs.
func HasElevatedIDs() bool { return elevated }

// elevated is how the process was started: a child changes its real group later.
var elevated = os.Getuid() != 0 && (os.Geteuid() != os.Getuid() || os.Getegid() != os.Getgid())

// maxLinks is how many symbolic links the kernel follows on one path (path_resolution(7)).
const maxLinks = 40

// CheckRootOwned refuses a file that a user other than root could have written or replaced. The
// file, every symbolic link on the way, and the folders above them must belong to root and be
// writable by root only. A folder with the sticky bit, such as /tmp, is fine: nobody else can
// replace root's files in it.
func CheckRootOwned(path string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	links := 0
	// No folder above done is a symbolic link, so that Join leads where the kernel goes.
	for done, rest := "/", strings.Split(path, "/"); ; {
		info, err := os.Lstat(done)
		if err != nil {
			return err
		}
		if err := checkOwner(done, info); err != nil {
			return fmt.Errorf("%w\n"+
				"  a set-group-id program trusts only files and folders of root that nobody else can write", err)
		}
		if info.Mode()&os.ModeSymlink != 0 {
			target, err := os.Readlink(done)
			if err != nil {
				return err
			}
			if links++; links > maxLinks {
				return fmt.Errorf("%q leads through more than %d symbolic links", path, maxLinks)
			}
			if done = filepath.Dir(done); filepath.IsAbs(target) {
				done = "/"
			}
			rest = append(strings.Split(target, "/"), rest...)
			continue
		}
		if len(rest) == 0 {
			return nil
		}
		done, rest = filepath.Join(done, rest[0]), rest[1:] // Join resolves "", "." and ".."
	}
}

func checkOwner(path string, info os.FileInfo) error {
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || owner.Uid != 0 {
		return fmt.Errorf("%q does not belong to root", path)
	}
	if info.Mode()&os.ModeSymlink != 0 { // nobody can write to one
		return nil
	}
	if info.Mode().Perm()&0o022 != 0 && info.Mode()&os.ModeSticky == 0 {
		return fmt.Errorf("users other than root may write to %q", path)
	}
	return nil
}
