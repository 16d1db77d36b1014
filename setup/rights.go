package setup

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// rights say who may read and write a file.
type rights struct {
	mode     fs.FileMode
	uid, gid int // -1 = the creator's

	// extended has the attributes below of another file, which may be without them; nil = those
	// that the folder gives to a new file.
	extended map[string][]byte
}

// An ACL gives rights to more users than mode and owners do. A label may too.
var extendedRights = []string{acl, label}

const (
	acl   = "system.posix_acl_access"
	label = "security.selinux"
)

// rightsOf are the rights of a file.
func rightsOf(path string, info fs.FileInfo) (rights, error) {
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return rights{}, fmt.Errorf("find owner of %s", path)
	}
	r := rights{info.Mode().Perm(), int(owner.Uid), int(owner.Gid), map[string][]byte{}}
	for _, name := range extendedRights {
		value, err := getAttribute(path, name)
		if err != nil {
			return rights{}, fmt.Errorf("read %s of %s: %w", name, path, err)
		}
		r.extended[name] = value
	}
	return r, nil
}

func rightsOfFile(path string) (rights, error) {
	info, err := os.Stat(path)
	if err != nil {
		return rights{}, err
	}
	return rightsOf(path, info)
}

// giveTo gives the rights to a file that its creator alone can read. path is the name that it will
// have.
func (r rights) giveTo(f *os.File, path string) error {
	if err := f.Chown(r.uid, r.gid); err != nil {
		return fmt.Errorf("give %s to its group: %w\n  run this as root, or name a group that you are in", path,
			errors.Unwrap(err))
	}
	for _, name := range extendedRights { // before the mode, whose group is the mask of an ACL
		if r.extended == nil {
			break
		}
		if err := setAttribute(f.Name(), name, r.extended[name]); err != nil {
			return fmt.Errorf("give %s the %s of the old file: %w\n  run this as root", path, name, err)
		}
	}
	return f.Chmod(r.mode) // whatever the umask
}

// getAttribute is nil where the file or its file system has no such attribute.
func getAttribute(path, name string) ([]byte, error) {
	for {
		size, err := syscall.Getxattr(path, name, nil)
		if errors.Is(err, syscall.ENODATA) || errors.Is(err, syscall.ENOTSUP) {
			return nil, nil
		}
		value := make([]byte, size+1) // a size of zero would ask for the size again
		if err == nil {
			size, err = syscall.Getxattr(path, name, value)
		}
		switch {
		case errors.Is(err, syscall.ERANGE): // it has grown
		case err != nil:
			return nil, err
		default:
			return value[:size], nil
		}
	}
}

// setAttribute takes an ACL away where value is nil. A label cannot be taken away.
func setAttribute(path, name string, value []byte) error {
	is, err := getAttribute(path, name)
	switch {
	case err != nil || bytes.Equal(is, value) || value == nil && name == label:
		return err
	case value == nil:
		return syscall.Removexattr(path, name)
	}
	return syscall.Setxattr(path, name, value, 0)
}
