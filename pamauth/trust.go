package pamauth

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// Borrowed reports that this process has rights that whoever started it does not have: a set-group-id install, started by anyone but root.
// Then nothing may be believed that the starter could have written, or the rights would be his.
func Borrowed() bool {
	return os.Getuid() != 0 && (os.Geteuid() != os.Getuid() || os.Getegid() != os.Getgid())
}

// CheckTrust refuses a file that anyone but root could have written or put in its place: the file, every folder above it, and what symbolic
// links lead to belong to root, and nobody else may write there. A folder with the sticky bit, such as /tmp, will do: what is root's in it
// stays where it is.
func CheckTrust(path string) error {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	if real, err = filepath.Abs(real); err != nil {
		return err
	}
	for {
		if err := checkOwner(real); err != nil {
			return fmt.Errorf("%w\n  a set-group-id program trusts only what root has written, in folders where nobody else may write", err)
		}
		if real == "/" {
			return nil
		}
		real = filepath.Dir(real)
	}
}

func checkOwner(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || owner.Uid != 0 {
		return fmt.Errorf("%s does not belong to root", path)
	}
	if info.Mode().Perm()&0o022 != 0 && info.Mode()&os.ModeSticky == 0 {
		return fmt.Errorf("others than root may write to %s", path)
	}
	return nil
}

// checkTrust is CheckTrust where it matters. A service file names modules, which are programs: whoever chooses it has the rights of this process.
func (s Stack) checkTrust(file string) error {
	if !Borrowed() || s.Confdir == "" {
		return nil
	}
	return CheckTrust(file)
}
