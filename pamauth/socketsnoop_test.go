//go:build linux && cgo

package pamauth

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const (
	manyArgument  = "authenticate-many"
	snoopArgument = "snoop"
)

// authenticateMany makes the test binary a service: it asks PAM n times once its standard input has
// a byte, and prints errors.
func authenticateMany(stack Stack, n int) int {
	hide()
	_, _ = os.Stdin.Read(make([]byte, 1))
	c := Deadline(10*time.Second, child(stack, nil))
	for range n {
		if _, err := c.Authenticate(context.Background(), rightLogin); err != nil {
			fmt.Println(err)
			return 1
		}
	}
	return 0
}

// snoop makes the test binary another program of the service's user. Until its standard input ends,
// it opens what it can of the standard descriptors of the service's children and reads them again
// and again. It prints how often it found the password and how many descriptors it could open.
func snoop(service int) int {
	var done atomic.Bool
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		done.Store(true)
	}()
	opened, found := 0, 0
	kept := map[string]int{}
	for !done.Load() {
		for _, pid := range childrenOf(strconv.Itoa(service)) {
			for fd := range 3 {
				file := fmt.Sprintf("/proc/%d/fd/%d", pid, fd)
				if kept[file] == 0 {
					if got, err := syscall.Open(file, syscall.O_RDONLY|syscall.O_NONBLOCK, 0); err == nil {
						kept[file] = got
						opened++
					}
				}
			}
		}
		for _, fd := range kept {
			var b [maxRequest]byte
			if n, err := syscall.Read(fd, b[:]); err == nil && n > 0 && bytes.Contains(b[:n], []byte(password)) {
				found++
			}
		}
	}
	fmt.Println(found, opened)
	return 0
}

func TestOthersOfTheSameUserCannotReadTheRequest(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can change user")
	}
	logins := 200
	if testing.Short() {
		logins = 20
	}
	stack := newServiceDir(t).stack("test", permitAuth, permitAccount)
	reachable(t, stack.Confdir)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	reachable(t, filepath.Dir(exe))
	asNobody := func(args ...string) (*exec.Cmd, io.WriteCloser, *syncBuffer) {
		const nobody = 65534
		out := &syncBuffer{}
		cmd := exec.Command(exe, args...)
		cmd.Stdout, cmd.Stderr = out, out
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		in, err := cmd.StdinPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill() })
		return cmd, in, out
	}
	service, begin, trouble := asNobody(manyArgument, stack.Service, stack.Confdir, strconv.Itoa(logins))
	watcher, end, result := asNobody(snoopArgument, strconv.Itoa(service.Process.Pid))
	_, _ = begin.Write([]byte("!"))
	if err := service.Wait(); err != nil || trouble.String() != "" {
		t.Errorf("%v: %s", err, trouble)
	}
	_ = end.Close()
	_ = watcher.Wait()
	var found, opened int
	if _, err := fmt.Sscan(result.String(), &found, &opened); err != nil {
		t.Fatalf("%v: %s", err, result)
	}
	if found != 0 {
		t.Errorf("the other program found the password %d times", found)
	}
	if opened == 0 {
		t.Error("it opened no descriptor, so this test proves nothing")
	}
	t.Logf("%d descriptors were opened", opened)
}
