// Package e2e tests dockerauth with the programs around it: real web servers, real registries that
// verify its tokens, and the clients that people use. This file has what all tests share: skipping
// by name, folders, ports and processes.
package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const (
	readyWithin = 60 * time.Second // a cold dockerd on a busy two-core machine; most programs need a tenth of a second
	stopWithin  = 15 * time.Second // dockerd stops its containerd first
	pollEvery   = 20 * time.Millisecond
)

// need skips the test if one of the programs or files is missing, and names it; with CI=true that
// is a failure. A path with a slash must exist, a bare name must be on PATH.
func need(t testing.TB, what string, paths ...string) {
	t.Helper()
	for _, p := range paths {
		if found(p) {
			continue
		}
		missing(t, "%s: %s is not on this machine", what, p)
	}
}

// needRoot skips the test without root.
func needRoot(t testing.TB, what string) {
	t.Helper()
	if os.Geteuid() != 0 {
		missing(t, "%s: needs root", what)
	}
}

func missing(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

func found(path string) bool {
	if !strings.Contains(path, "/") {
		_, err := exec.LookPath(path)
		return err == nil
	}
	_, err := os.Stat(path)
	return err == nil
}

// shortDir makes a folder with a path short enough for Unix sockets in it (108 bytes, unix(7));
// t.TempDir contains the test's name. What a daemon left mounted in it is unmounted before the
// folder is removed.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "e2e-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		unmountBelow(t, dir)
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove test folder: %v", err)
		}
	})
	return dir
}

func unmountBelow(t testing.TB, dir string) {
	t.Helper()
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return
	}
	var points []string
	for line := range strings.Lines(string(table)) {
		// proc(5): the fifth field is the mount point.
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], dir+"/") {
			points = append(points, f[4])
		}
	}
	sort.Sort(sort.Reverse(sort.StringSlice(points))) // nested mounts first
	for _, p := range points {
		if err := syscall.Unmount(p, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount %q: %v", p, err)
		}
	}
}

// writeFile writes a file and the folders above it.
func writeFile(t testing.TB, path, content string, mode os.FileMode) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

var nextPort atomic.Int32

// freePort returns a loopback port that no program listens on. It lies below the range for outgoing
// connections (net.ipv4.ip_local_port_range), so that none takes it before a server does.
func freePort(t testing.TB) int {
	t.Helper()
	const low, high = 20000, 32000
	start := low + os.Getpid()*37%(high-low)
	for range high - low {
		port := low + (start-low+int(nextPort.Add(1)))%(high-low)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		l.Close()
		return port
	}
	t.Fatalf("find free port: none between %d and %d", low, high)
	return 0
}

var lastAddress atomic.Uint32

// freshAddress returns an unused address of this machine: all of 127.0.0.0/8 is loopback. The web
// servers' own address is left out.
func freshAddress() string {
	n := 1<<16 + lastAddress.Add(1)%(1<<23)
	return fmt.Sprintf("127.%d.%d.%d", n>>16, n>>8&0xff, n&0xff)
}

// process is a program that a test started; it ends with the test at the latest.
type process struct {
	name    string
	cmd     *exec.Cmd
	logFile string
	exited  chan struct{} // closed when it has ended
	err     error         // how it ended, once exited is closed
	stopped sync.Once
}

// start runs cmd in the background. Its output goes to a file unless cmd has one already; a failing
// test prints its end.
func start(t testing.TB, name string, cmd *exec.Cmd) *process {
	t.Helper()
	logFile, err := os.CreateTemp(shortDir(t), "log")
	if err != nil {
		t.Fatal(err)
	}
	defer logFile.Close()
	// A file, since Wait would not return while a grandchild holds a pipe open.
	if cmd.Stdout == nil {
		cmd.Stdout = logFile
	}
	if cmd.Stderr == nil {
		cmd.Stderr = logFile
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	// A test binary that is killed or panics runs no Cleanup, and its servers must still end.
	cmd.SysProcAttr.Pdeathsig = syscall.SIGTERM
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	p := &process{name: name, cmd: cmd, logFile: logFile.Name(), exited: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() {
		p.stop(t)
		if t.Failed() {
			t.Logf("the end of what %s wrote:\n%s", p.name, tail(p.output(), 25))
		}
	})
	return p
}

// stop sends SIGTERM, later SIGKILL, and returns how the process ended (nil = status 0). It may be
// called again.
func (p *process) stop(t testing.TB) error {
	t.Helper()
	p.stopped.Do(func() {
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.exited:
			return
		case <-time.After(stopWithin):
		}
		t.Errorf("stop %s: still running %v after SIGTERM", p.name, stopWithin)
		_ = p.cmd.Process.Kill()
		<-p.exited
	})
	<-p.exited
	return p.err
}

func (p *process) running() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// output is everything the process has written so far.
func (p *process) output() string {
	b, err := os.ReadFile(p.logFile)
	if err != nil {
		return fmt.Sprintf("(no log: %v)", err)
	}
	return string(b)
}

// ready waits until the process accepts connections: network "tcp" with host:port, or "unix" with a
// path.
func (p *process) ready(t testing.TB, network, address string) {
	t.Helper()
	p.until(t, "listen on "+address, func() bool {
		c, err := net.DialTimeout(network, address, time.Second)
		if err != nil {
			return false
		}
		c.Close()
		return true
	})
}

// until polls for a condition, and fails the test if the process ends before it holds.
func (p *process) until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	err := poll(readyWithin, func() (bool, error) {
		if holds() {
			return true, nil
		}
		if !p.running() {
			return false, fmt.Errorf("it ended: %v", p.err)
		}
		return false, nil
	})
	if err != nil {
		t.Fatalf("wait for %s to %s: %v\n%s", p.name, what, err, tail(p.output(), 30))
	}
}

// eventually fails the test if the condition does not hold in time.
func eventually(t testing.TB, within time.Duration, what string, holds func() bool) {
	t.Helper()
	if err := poll(within, func() (bool, error) { return holds(), nil }); err != nil {
		t.Fatalf("wait for %s: %v", what, err)
	}
}

func poll(within time.Duration, step func() (done bool, err error)) error {
	deadline := time.Now().Add(within)
	for {
		done, err := step()
		if done || err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not within %v", within)
		}
		time.Sleep(pollEvery) // other processes give no event to wait for
	}
}

func tail(s string, lines int) string {
	all := strings.Split(strings.TrimRight(s, "\n"), "\n")
	if len(all) > lines {
		all = all[len(all)-lines:]
	}
	return strings.Join(all, "\n")
}

// output is the result of a program that has ended.
type output struct {
	args           []string
	stdout, stderr string
	status         int // exit status; -1 = killed
}

func (o output) String() string {
	return fmt.Sprintf("status %d\n--- stdout\n%s--- stderr\n%s", o.status, o.stdout, o.stderr)
}

// must fails the test unless the status is 0, and returns what the program printed.
func (o output) must(t testing.TB) string {
	t.Helper()
	if o.status != 0 {
		t.Fatalf("%q: %v", o.args, o)
	}
	return o.stdout
}

// mustRun runs a program that has to succeed.
func mustRun(t testing.TB, name string, args ...string) {
	t.Helper()
	run(t, "", exec.Command(name, args...)).must(t)
}

// run runs cmd to its end, with stdin as its input. A status other than 0 is a result, not a
// failure.
func run(t testing.TB, stdin string, cmd *exec.Cmd) output {
	t.Helper()
	return runOn(t, strings.NewReader(stdin), cmd)
}

func runOn(t testing.TB, stdin io.Reader, cmd *exec.Cmd) output {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdin = stdin
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("run %q: %v", cmd.Args, err)
	}
	return output{cmd.Args, stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

var buildBinary = sync.OnceValues(func() (string, error) {
	if given := os.Getenv("DOCKERAUTH_BINARY"); given != "" {
		return filepath.Abs(given)
	}
	out := filepath.Join(workDir, "dockerauth")
	cmd := exec.Command("go", "build", "-o", out, ".")
	cmd.Dir = ".."
	if msg, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build dockerauth: %v\n%s", err, msg)
	}
	return out, nil
})

// workDir is TestMain's folder, which exists as long as the test binary runs.
var workDir string

// binary is the path of dockerauth: the file that DOCKERAUTH_BINARY names, or one built once from
// this source tree.
func binary(t testing.TB) string {
	t.Helper()
	path, err := buildBinary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}
