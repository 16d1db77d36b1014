package harden

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// hardenArgument makes the test binary harden itself and print what came of it.
const hardenArgument = "harden"

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == hardenArgument {
		printHardened()
		// os.Exit waits a second under the race detector.
		_, _, _ = syscall.RawSyscall(syscall.SYS_EXIT_GROUP, 0, 0, 0)
	}
	if len(os.Args) == 4 && os.Args[1] == becomeArgument {
		printBecome(os.Args[2], os.Args[3])
		return
	}
	if os.Args[0] == startName {
		printStart()
		return
	}
	os.Exit(m.Run())
}

func printHardened() {
	err := Process()
	dumpable, _, _ := syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_GET_DUMPABLE, 0, 0)
	var core syscall.Rlimit
	_ = syscall.Getrlimit(syscall.RLIMIT_CORE, &core)
	flags, _, _ := syscall.RawSyscall(syscall.SYS_FCNTL, 7, syscall.F_GETFD, 0)
	fmt.Println(err, dumpable, core, flags)
}

func TestHardenedProcess(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("/bin/sh", "-c", `exec 7</dev/null; exec "$0" `+hardenArgument, exe).CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(string(out)); got != "<nil> 0 {0 0} 1" {
		t.Errorf("error, dumpable, core limit and close-on-exec of a stray descriptor: %s", got)
	}
}

func TestDescriptorsAreKeptWithoutCloseRange(t *testing.T) {
	const dupFD, keptFrom = syscall.F_DUPFD, 100 // a duplicate that is not closed on exec
	fd, _, errno := syscall.Syscall(syscall.SYS_FCNTL, 0, dupFD, keptFrom)
	if errno != 0 {
		t.Fatal(errno)
	}
	defer func() { _ = syscall.Close(int(fd)) }()
	keepEachDescriptor()
	for fd, want := range map[uintptr]uintptr{fd: syscall.FD_CLOEXEC, 1: 0} {
		if got, _, errno := syscall.Syscall(syscall.SYS_FCNTL, fd, syscall.F_GETFD, 0); got != want || errno != 0 {
			t.Errorf("descriptor %d: flags %d, %v", fd, got, errno)
		}
	}
}
