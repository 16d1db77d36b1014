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
	"strconv"
	"strings"
	"syscall"
	"testing"
)

func TestWhichModulesNeedHelpers(t *testing.T) {
	tests := []struct {
		name    string
		modules []string
		needs   bool
	}{
		{"modules that start no program", []string{"pam_succeed_if.so", "pam_pwdfile.so", "pam_permit.so"}, false},
		{"an unknown program", []string{"pam_permit.so", "pam_exec.so"}, true},
		{"an unknown module", []string{"pam_mine.so"}, true},
		{"a module with the name of a known one", []string{"/opt/pam_permit.so"}, true},
		{"no module", nil, false},
	}
	for _, tt := range tests {
		var lines []Line
		for _, m := range tt.modules {
			lines = append(lines, Line{Module: m})
		}
		if got := needsHelpers(lines); got != tt.needs {
			t.Errorf("%s: %t", tt.name, got)
		}
	}
}

func TestOnlyAuthAndAccountLinesAreParsed(t *testing.T) {
	services := newServiceDir(t)
	services.stack("more", "auth required pam_one.so", "account required pam_two.so",
		"session required pam_three.so", "password required pam_four.so")
	stack := services.stack("test", "auth substack @/more", "account include @/more",
		"-auth [success=ok default=ignore] pam_five.so debug", "session required pam_six.so", "session include @/more")
	lines, err := stack.Parse()
	var modules []string
	for _, l := range lines {
		modules = append(modules, l.Module)
	}
	if got := strings.Join(modules, " "); err != nil || got != " pam_one.so pam_two.so pam_five.so" {
		t.Errorf("got %s, %v", got, err)
	}
}

// The list is made by hand. This checks it against the modules that are installed here.
func TestModulesOnTheListStartNoProgram(t *testing.T) {
	seen := 0
	for name := range withoutHelpers {
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

const onceArgument = "authenticate"

// authenticateOnce makes the test binary ask PAM.
func authenticateOnce(s Stack) int {
	account, err := child(s, nil).Authenticate(context.Background(), Login{User: "root", Password: password})
	fmt.Println(account.Name, err)
	return 0
}

// pausedStack is a stack that waits in pam_access, which reads its rules from a pipe, until the
// test continues. It lets root in.
type pausedStack struct {
	serviceDir
	stack Stack
}

func newPausedStack(t *testing.T, lines ...string) pausedStack {
	t.Helper()
	requireModules(t, "pam_access.so")
	w := pausedStack{serviceDir: newServiceDir(t)}
	if err := syscall.Mkfifo(w.path("rules"), 0o644); err != nil {
		t.Fatal(err)
	}
	w.stack = w.serviceDir.stack("test", append(lines, "account required pam_access.so accessfile="+w.path("rules"))...)
	return w
}

// conversationProcess is a process that has a child hold a conversation.
type conversationProcess struct {
	pid    int
	ended  chan struct{}
	result func() string // after its end
}

// hasNoNewPrivs waits until the conversation has reached pam_access, and reports whether a thread
// of the process's child has no_new_privs. Then the conversation continues.
func (w pausedStack) hasNoNewPrivs(t *testing.T, r conversationProcess) (has bool) {
	t.Helper()
	go func() { // if the process ends too early, the test must not wait
		<-r.ended
		if f, err := os.OpenFile(w.path("rules"), os.O_RDONLY|syscall.O_NONBLOCK, 0); err == nil {
			t.Cleanup(func() { _ = f.Close() })
		}
	}()
	pipe, err := os.OpenFile(w.path("rules"), os.O_WRONLY, 0) // returns when the other end is open
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close() // not earlier: pam_access opens it twice
	// Between the two, a write would fail without a reader.
	reader, err := os.OpenFile(w.path("rules"), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	for _, pid := range childrenOf(strconv.Itoa(r.pid)) {
		for _, thread := range numericNames(fmt.Sprintf("/proc/%d/task", pid)) {
			has = has || hasNoNewPrivs(t, fmt.Sprintf("/proc/%d/task/%d", pid, thread))
		}
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

// start starts such a process. With the variables of a CGI program it starts the child before Go.
func start(t *testing.T, stack Stack, as *syscall.Credential, variables ...string) conversationProcess {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var out syncBuffer
	cmd := exec.Command(exe, onceArgument, stack.Service, stack.Confdir)
	cmd.Env = append(os.Environ(), variables...)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := conversationProcess{
		pid:    cmd.Process.Pid,
		ended:  make(chan struct{}),
		result: func() string { return strings.TrimSpace(out.String()) },
	}
	go func() {
		_ = cmd.Wait()
		close(r.ended)
	}()
	return r
}

// cgiLogin are variables of a CGI program that has a login.
var cgiLogin = []string{"GATEWAY_INTERFACE=CGI/1.1", "REQUEST_METHOD=GET", "HTTP_AUTHORIZATION=Basic " + password}

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
		{"an unknown program", "pam_exec.so", "auth required pam_exec.so /bin/true", false},
	}
	for _, tt := range tests {
		for how, variables := range map[string][]string{"in CGI": cgiLogin, "in a process that stays": nil} {
			t.Run(tt.name+", "+how, func(t *testing.T) {
				requireModules(t, tt.needs)
				w := newPausedStack(t, tt.auth)
				r := start(t, w.stack, nil, variables...)
				if has := w.hasNoNewPrivs(t, r); has != tt.has {
					t.Errorf("no_new_privs is %t", has)
				}
				if got := r.result(); got != "root <nil>" {
					t.Errorf("got %s", got)
				}
			})
		}
	}
}

// pam_unix asks a set-group-id program about passwords that it cannot read itself.
func TestPamUnixKeepsItsHelperWhereItNeedsIt(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can change user")
	}
	if hasNoNewPrivs(t, "/proc/self") || isConfined() {
		t.Skip("these tests themselves run under no_new_privs, or confined")
	}
	requireModules(t, "pam_unix.so")
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
		{"a user in the group of the shadow file",
			syscall.Credential{Uid: nobody, Gid: nobody, Groups: []uint32{shadow}}, true},
		{"a web server's user", syscall.Credential{Uid: nobody, Gid: nobody}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newPausedStack(t, "auth optional pam_unix.so nodelay", permitAuth)
			reachable(t, w.dir)
			exe, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			reachable(t, filepath.Dir(exe))
			r := start(t, w.stack, &tt.as)
			if has := w.hasNoNewPrivs(t, r); has != tt.has {
				t.Errorf("no_new_privs is %t", has)
			}
			if got := r.result(); got != "root <nil>" {
				t.Errorf("got %s", got)
			}
		})
	}
}

// reachable lets every user into a temporary folder.
func reachable(t *testing.T, dir string) {
	t.Helper()
	for ; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}
