//go:build linux && cgo

package pamauth

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestWhatNeedsHelpers(t *testing.T) {
	tests := []struct {
		name    string
		modules []string
		needs   bool
	}{
		{"modules that start no program", []string{"pam_succeed_if.so", "pam_pwdfile.so", "pam_permit.so"}, false},
		{"a program that may be anything", []string{"pam_permit.so", "pam_exec.so"}, true},
		{"an unknown module", []string{"pam_mine.so"}, true},
		{"a module that only has the name of a known one", []string{"/opt/pam_permit.so"}, true},
		{"no module", nil, false},
	}
	for _, tt := range tests {
		if got := needHelpers(tt.modules); got != tt.needs {
			t.Errorf("%s: %t", tt.name, got)
		}
	}
}

func TestOnlyModulesThatAreAskedCount(t *testing.T) {
	stage := newStage(t)
	stage.stack("more", "auth required pam_one.so", "account required pam_two.so", "session required pam_three.so", "password required pam_four.so")
	stack := stage.stack("test", "auth substack "+stage.path("more"), "account include "+stage.path("more"),
		"-auth [success=ok default=ignore] pam_five.so debug", "session required pam_six.so", "session include "+stage.path("more"))
	lines, err := stack.read()
	if got := strings.Join(modulesOf(lines), " "); err != nil || got != "pam_one.so pam_two.so pam_five.so" {
		t.Errorf("got %s, %v", got, err)
	}
}

// The list is made by hand; the modules that are installed here can be looked into.
func TestModulesOnTheListStartNoProgram(t *testing.T) {
	seen := 0
	for name := range helperless {
		files, _ := filepath.Glob("/lib/*/security/" + name)
		for _, file := range files {
			seen++
			f, err := elf.Open(file)
			if err != nil {
				t.Fatal(err)
			}
			symbols, err := f.ImportedSymbols()
			_ = f.Close()
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range symbols {
				for _, start := range []string{"exec", "posix_spawn", "popen", "system", "fork", "vfork"} {
					if strings.HasPrefix(s.Name, start) {
						t.Errorf("%s calls %s", file, s.Name)
					}
				}
			}
		}
	}
	if seen == 0 {
		t.Skip("no modules are installed in /lib/*/security")
	}
}

const holdArgument = "hold"

// holdAndTell makes the test binary hold a conversation in its own process, as the CGI door does.
func holdAndTell(s Stack) int {
	account, err := InProcess{Stack: s, NoNewPrivileges: true}.Hold(context.Background(), Login{User: "root", Password: password})
	fmt.Println(account.Name, err)
	return 0
}

// watched is a stack that stops in pam_access, which reads its rules from a pipe, until the test goes on. It lets root in.
type watched struct {
	stage
	stack Stack
}

func newWatched(t *testing.T, lines ...string) watched {
	t.Helper()
	need(t, "pam_access.so")
	w := watched{stage: newStage(t)}
	if err := syscall.Mkfifo(w.path("rules"), 0o644); err != nil {
		t.Fatal(err)
	}
	w.stack = w.stage.stack("test", append(lines, "account required pam_access.so accessfile="+w.path("rules"))...)
	return w
}

// running is a process that holds a conversation.
type running struct {
	pid   int
	ended chan struct{}
	said  func() string // after its end
}

// hasNoNewPrivs waits until the conversation has reached pam_access, and says whether one of the process's threads has no_new_privs. Then the
// conversation goes on.
func (w watched) hasNoNewPrivs(t *testing.T, r running) (has bool) {
	t.Helper()
	go func() { // one that ends before it has come so far must not keep the test waiting
		<-r.ended
		if f, err := os.OpenFile(w.path("rules"), os.O_RDONLY|syscall.O_NONBLOCK, 0); err == nil {
			t.Cleanup(func() { _ = f.Close() })
		}
	}()
	pipe, err := os.OpenFile(w.path("rules"), os.O_WRONLY, 0) // returns when the other end is open
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close() // not before: pam_access opens it twice
	// Between its two times nobody would read, and what is written then is refused.
	reader, err := os.OpenFile(w.path("rules"), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	for _, thread := range numbered(fmt.Sprintf("/proc/%d/task", r.pid)) {
		has = has || hasNoNewPrivs(t, fmt.Sprintf("/proc/%d/task/%d", r.pid, thread))
	}
	if _, err := pipe.WriteString("+:ALL:ALL\n"); err != nil {
		t.Error(err)
	}
	<-r.ended
	return has
}

func hasNoNewPrivs(t *testing.T, process string) bool {
	t.Helper()
	status, err := os.ReadFile(process + "/status")
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(status), "\nNoNewPrivs:\t1\n")
}

// inOwnProcess starts a process that holds the conversation itself.
func inOwnProcess(t *testing.T, stack Stack, as *syscall.Credential) running {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var out notes
	cmd := exec.Command(exe, holdArgument, stack.Service, stack.Confdir)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := running{pid: cmd.Process.Pid, ended: make(chan struct{}), said: func() string { return strings.TrimSpace(out.String()) }}
	go func() {
		_ = cmd.Wait()
		close(r.ended)
	}()
	return r
}

// inChild starts a child that holds the conversation.
func inChild(t *testing.T, stack Stack) running {
	t.Helper()
	p := begin(t, stack, "root")
	return running{p.cmd.Process.Pid, p.ended, func() string {
		v, err := p.verdict()
		_, held := v.result()
		return fmt.Sprint(v.text, " ", errors.Join(err, held))
	}}
}

func TestNoNewPrivilegesWhereNoModuleNeedsThem(t *testing.T) {
	if hasNoNewPrivs(t, "/proc/self") {
		t.Skip("these tests themselves run under no_new_privs")
	}
	tests := []struct {
		name  string
		needs string
		auth  string
		has   bool
	}{
		{"stock modules", "pam_permit.so", permitAuth, true},
		{"a program that may be anything", "pam_exec.so", "auth required pam_exec.so /bin/true", false},
	}
	starts := map[string]func(*testing.T, Stack) running{
		"in process": func(t *testing.T, s Stack) running { return inOwnProcess(t, s, nil) },
		"in a child": inChild,
	}
	for _, tt := range tests {
		for way, start := range starts {
			t.Run(tt.name+", "+way, func(t *testing.T) {
				need(t, tt.needs)
				w := newWatched(t, tt.auth)
				r := start(t, w.stack)
				if has := w.hasNoNewPrivs(t, r); has != tt.has {
					t.Errorf("no_new_privs is %t", has)
				}
				if got := r.said(); got != "root <nil>" {
					t.Errorf("got %s", got)
				}
			})
		}
	}
}

// pam_unix asks a set-group-id program for what it cannot read itself.
func TestPamUnixKeepsItsHelperWhereItNeedsIt(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root may become others")
	}
	if hasNoNewPrivs(t, "/proc/self") || confined() {
		t.Skip("these tests themselves run under no_new_privs, or confined")
	}
	need(t, "pam_unix.so")
	info, err := os.Stat(shadowFile)
	if err != nil {
		t.Skip(err)
	}
	const nobody = 65534
	shadow := info.Sys().(*syscall.Stat_t).Gid
	tests := []struct {
		name string
		as   syscall.Credential
		has  bool
	}{
		{"root", syscall.Credential{}, true},
		{"a user in the group of the shadow file", syscall.Credential{Uid: nobody, Gid: nobody, Groups: []uint32{shadow}}, true},
		{"a web server's user", syscall.Credential{Uid: nobody, Gid: nobody}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWatched(t, "auth optional pam_unix.so nodelay", permitAuth)
			reachable(t, w.dir)
			exe, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			reachable(t, filepath.Dir(exe))
			r := inOwnProcess(t, w.stack, &tt.as)
			if has := w.hasNoNewPrivs(t, r); has != tt.has {
				t.Errorf("no_new_privs is %t", has)
			}
			if got := r.said(); got != "root <nil>" {
				t.Errorf("got %s", got)
			}
		})
	}
}

// reachable lets everybody into a temporary folder.
func reachable(t *testing.T, dir string) {
	t.Helper()
	for ; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}
