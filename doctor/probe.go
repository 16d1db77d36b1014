package doctor

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"dockerauth/cli"
	"dockerauth/config"
	"dockerauth/pamauth"
	"dockerauth/service"
)

// The arguments with which check starts this program as another user. The first prints the ids of
// the process and nothing else, so a set-group-id install does it for everybody. The second opens
// and loads files, so such an install refuses it: command.Run does, and Probe again.
const (
	IdentityArg = "internal-whoami"
	ProbeArg    = "internal-probe"
)

// maxAttempts bounds a list of attempts, in bytes: a few dozen paths.
const maxAttempts = 256 << 10

// connectTimeout is how long SSSD may take to accept a connection. A hanging owner's pipe is not
// reachable.
const connectTimeout = 2 * time.Second

// identity is the ids of a process.
type identity struct {
	UID      int   `json:"uid"` // effective, as GID
	GID      int   `json:"gid"`
	Groups   []int `json:"groups"`   // supplementary
	Borrowed bool  `json:"borrowed"` // by the program file's set-group-id bit
}

// PrintIdentity prints the ids of this process.
func PrintIdentity(streams cli.Streams) int {
	groups, err := os.Getgroups()
	if err != nil {
		return cli.ExitError
	}
	who := identity{UID: os.Geteuid(), GID: os.Getegid(), Groups: groups, Borrowed: pamauth.HasElevatedIDs()}
	if json.NewEncoder(streams.Out).Encode(who) != nil {
		return cli.ExitError
	}
	return cli.ExitDone
}

// attempt is one thing to try.
type attempt struct {
	Try  string `json:"try"` // one of those below
	Path string `json:"path"`
}

const (
	tryRead    = "read"
	tryEnter   = "enter"   // a folder
	tryWrite   = "write"   // a file: change it; a folder: put something in it
	tryAppend  = "append"  // to a log file, which may have to be made
	tryConnect = "connect" // to a Unix socket
	tryExecute = "execute" // a file: start it
	tryState   = "state"   // as the folder for state
	tryKept    = "kept"    // as the same, for tokens and revocations
	tryTokens  = "tokens"  // as tryKept: which tokens expire soon
	tryDurable = "durable" // the state server: what it loses when it is killed
	tryModule  = "module"  // load it
)

// Probe is what the child does: it makes each attempt and says why it failed, "" = it did not. It
// prints nothing that it reads.
func Probe(streams cli.Streams) int {
	if pamauth.HasElevatedIDs() {
		return cli.ExitError
	}
	var looks []attempt
	if err := json.NewDecoder(io.LimitReader(streams.In, maxAttempts)).Decode(&looks); err != nil {
		return cli.ExitError
	}
	answers := make([]string, len(looks))
	for i, l := range looks {
		answers[i] = cli.Cause(l.try())
	}
	if json.NewEncoder(streams.Out).Encode(answers) != nil {
		return cli.ExitError
	}
	return cli.ExitDone
}

func (l attempt) try() error {
	switch l.Try {
	case tryRead:
		return opens(l.Path, os.O_RDONLY)
	case tryEnter:
		return syscall.Access(l.Path, 1) // X_OK
	case tryWrite:
		return syscall.Access(l.Path, 2) // W_OK; the ids of this process are its real ones
	case tryExecute:
		return syscall.Access(l.Path, 1) // X_OK
	case tryAppend:
		err := opens(l.Path, os.O_WRONLY|os.O_APPEND)
		if errors.Is(err, fs.ErrNotExist) {
			return syscall.Access(filepath.Dir(l.Path), 2)
		}
		return err
	case tryConnect:
		conn, err := net.DialTimeout("unix", l.Path, connectTimeout)
		if err == nil {
			_ = conn.Close()
		}
		return err
	case tryState:
		if err := service.CheckState(l.Path); err != nil || config.IsStateServer(l.Path) {
			return err
		}
		return syscall.Access(l.Path, 2)
	case tryKept:
		return service.CheckKept(l.Path)
	case tryTokens:
		return expiring(l.Path)
	case tryDurable:
		loses, err := service.CheckDurable(l.Path)
		if err == nil && loses != "" {
			err = errors.New(losesPrefix + loses)
		}
		return err
	case tryModule:
		return pamauth.LoadModule(l.Path)
	}
	return errors.New("unknown thing to try")
}

// opens does not wait for the other end of a named pipe.
func opens(path string, how int) error {
	f, err := os.OpenFile(path, how|syscall.O_NONBLOCK, 0)
	if err == nil {
		_ = f.Close()
	}
	return err
}
