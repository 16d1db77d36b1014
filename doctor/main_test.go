package command

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// scratch lives as long as the tests. Every user may enter it.
var scratch string

func TestMain(m *testing.M) {
	if len(os.Args) == 2 { // the program starts itself
		switch os.Args[1] {
		case whoArg, lookArg, namesArg:
			os.Exit(Run(os.Args[1:], Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
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
