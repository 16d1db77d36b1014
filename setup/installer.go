package setup

import (
	"errors"
	"io/fs"
	"os"
	"time"

	"dockerauth/jwtsign"
)

// installer is one run of init: what it is asked for, then what it finds and decides before it
// writes anything.
type installer struct {
	dir       string // absolute
	issuer    string
	audiences []string
	realm     string
	kind      jwtsign.Kind
	group     string
	pamDir    string // absolute
	accounts  string // a kind; "" = not said
	renew     bool   // the certificate
	root      bool
	system    string // before the paths of web servers and units; "" except in tests
	now       func() time.Time
	checkPAM  func(service, confdir string) error

	config      plannedFile
	key         plannedFile
	certificate plannedFile
	pam         plannedFile
	gid         int          // of the key; -1 = the creator's
	signing     *jwtsign.Key // the key that is there, or the new one
	notes       []string     // warnings
	files       newFiles
}

// misuse is an error in the command's arguments.
type misuse struct{ error }

// plannedFile is a file that init makes or keeps.
type plannedFile struct {
	path    string
	found   fs.FileInfo // what is there; nil = nothing. A symbolic link is something
	content []byte      // to be written; nil = it stays as it is
	note    string      // for the summary
}

func plannedFileAt(path string) (plannedFile, error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return plannedFile{path: path}, nil
	}
	return plannedFile{path: path, found: info}, err
}

const (
	systemDir    = "/etc/dockerauth"
	systemPAMDir = "/etc/pam.d"
	ownGroup     = "dockerauth" // of the service that packages install
)
