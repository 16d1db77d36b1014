package doctor

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"dockerauth/cli"
	"dockerauth/service"
)

// scratch lives as long as the tests. Every user may enter it.
var scratch string

func TestMain(m *testing.M) {
	streams := cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}
	if len(os.Args) == 2 { // the program starts itself
		switch os.Args[1] {
		case IdentityArg:
			os.Exit(PrintIdentity(streams))
		case ProbeArg:
			os.Exit(Probe(streams))
		case service.NamesArg:
			os.Exit(service.LookUpNames(streams))
		}
	}
	dir, err := os.MkdirTemp("", "dockerauth-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		panic(err)
	}
	scratch = dir
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// built is the real program, made once, for tests that look at a process from outside.
var built = sync.OnceValues(func() (string, error) {
	program := filepath.Join(scratch, "dockerauth")
	out, err := exec.Command("go", "build", "-o", program, "..").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out)
	}
	return program, err
})
