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
	if os.Args[0] == "/proc/self/exe" || len(os.Args) == 2 && os.Args[1] == namesArg {
		panic("the program started itself, and would run its tests without end: play the one that is built")
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

// built is the real program, made once: it starts itself.
var built = sync.OnceValues(func() (string, error) {
	program := filepath.Join(scratch, "dockerauth")
	out, err := exec.Command("go", "build", "-o", program, "..").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out)
	}
	return program, err
})
