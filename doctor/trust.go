package doctor

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"dockerauth/cli"
	"dockerauth/jwtsign"
	"dockerauth/pamauth"
)

// maxSystemFile bounds a file of this machine's that check reads, in bytes.
const maxSystemFile = 4 << 20

var errNotRegular = errors.New("it is not a regular file")

// readSystemFile reads neither a named pipe, which may never end, nor a file without a bound.
func readSystemFile(path string) ([]byte, error) {
	return jwtsign.ReadRegular(path, maxSystemFile, func(info fs.FileInfo) error {
		if !info.Mode().IsRegular() {
			return errNotRegular
		}
		return nil
	})
}

// checkTrust is for files that the command line does not name: root believes only those that no
// other user could have written or replaced. What they say ends in commands for root. A file that
// is not there is nobody's, where only root could make it.
func checkTrust(path string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	if err := pamauth.CheckRootOwned(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		cause, _ := cli.SplitHint(err)
		return errors.New(cause)
	}
	return nil
}

// serverFiles reads the files of one web server's configuration.
type serverFiles struct {
	root    string
	foreign error // why one of them is not believed
}

// lines are those of a file; none if it cannot be read.
func (f *serverFiles) lines(file string) []string {
	path := filepath.Join(f.root, file)
	if err := checkTrust(path); err != nil {
		f.foreign = cmp.Or(f.foreign, err)
		return nil
	}
	text, err := readSystemFile(path)
	if err != nil {
		return nil
	}
	return strings.Split(string(text), "\n")
}
