//go:build linux && cgo

package pamauth

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// scriptedModule is a serviceDir with a script that pam_exec runs. The script writes process ids to
// a pipe, which the test reads.
type scriptedModule struct {
	serviceDir
	lines *bufio.Reader
}

// newScriptedModule makes a stack whose auth phase runs the script. In it, @/pipe is the pipe.
func newScriptedModule(t *testing.T, script string) (scriptedModule, Stack) {
	t.Helper()
	requireModules(t, "pam_exec.so")
	m := scriptedModule{serviceDir: newServiceDir(t)}
	for _, name := range []string{"pipe", "go"} {
		if err := syscall.Mkfifo(m.path(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pipe, err := os.OpenFile(m.path("pipe"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pipe.Close() })
	m.lines = bufio.NewReader(pipe)
	m.write("script", "#!/bin/sh\nexec 2>/dev/null\n"+script, 0o755)
	return m, m.stack("test", "auth required pam_exec.so "+m.path("script"), permitAccount)
}

// release lets a script continue that waits with "read go < @/go".
func (m scriptedModule) release() {
	if err := os.WriteFile(m.path("go"), []byte("go\n"), 0); err != nil {
		m.t.Error(err)
	}
}

// readPIDs reads n process ids from the pipe.
func (m scriptedModule) readPIDs(n int) []int {
	m.t.Helper()
	var pids []int
	for range n {
		line, err := m.lines.ReadString('\n')
		if err != nil {
			m.t.Fatal(err)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(line))
		if err != nil {
			m.t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}

// processTree is a script that starts a child, one in another session, and one whose parents are
// gone. Each writes its process id.
const processTree = `
echo $$ > @/pipe
sh -c 'echo $$ > @/pipe; exec sleep 600' &
setsid sh -c 'echo $$ > @/pipe; exec sleep 600' &
sh -c 'setsid sh -c "echo \$\$ > @/pipe; trap : TERM; exec sleep 600" & exit' &
`

const processTreeSize = 4

// startWithRequest starts a child and sends it a request.
func startWithRequest(t *testing.T, stack Stack, user string) *childProcess {
	t.Helper()
	frame, err := request{Stack: stack, Login: Login{User: user, Password: password}, Tag: newProcessTag()}.encode()
	if err != nil {
		t.Fatal(err)
	}
	p, err := startChild("", []string{childArgument})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close)
	if !p.sendRequest(t.Context(), frame) {
		t.Fatal("the child was not ready")
	}
	return p
}

func checkGone(t *testing.T, pids []int) {
	t.Helper()
	for _, pid := range pids {
		if isRunning(pid) {
			t.Errorf("process %d is still running", pid)
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

func TestNothingIsLeftWhenTimeIsUp(t *testing.T) {
	for _, how := range []string{"in process", "in a child"} {
		t.Run(how, func(t *testing.T) {
			script, stack := newScriptedModule(t, processTree+"sleep 600\n")
			ctx, cancel := context.WithCancelCause(context.Background())
			defer cancel(nil)
			var pids []int
			go func() {
				pids = script.readPIDs(processTreeSize)
				cancel(context.DeadlineExceeded)
			}()
			_, err := authenticators(stack)[how].Authenticate(ctx, rightLogin)
			if !errors.Is(err, ErrBroken) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
			checkError(t, err, "no answer in time", "a module hangs or is slow")
			if len(pids) != processTreeSize {
				t.Fatalf("%d processes were started", len(pids))
			}
			checkGone(t, pids)
			waitForPAMMutex(t)
		})
	}
}

// waitForPAMMutex waits for the end of the conversation in this process that Authenticate left
// behind at its deadline. Until then anything that this process starts is killed as the modules'
// own.
func waitForPAMMutex(t *testing.T) {
	t.Helper()
	select {
	case pamMutex <- struct{}{}:
		<-pamMutex
	case <-time.After(10 * time.Second):
		t.Error("the conversation in this process has not ended")
	}
}

func TestNothingIsLeftOfProcessesThatForkDuringAScan(t *testing.T) {
	for _, how := range []string{"in process", "in a child"} {
		t.Run(how, func(t *testing.T) {
			mark := fmt.Sprint("600.0", os.Getpid()) // seconds; the digits are this test's own
			_, stack := newScriptedModule(t, strings.Repeat("( ( ( sleep "+mark+" & ) & ) & ) &\n", 4))
			for range 25 {
				if _, err := authenticators(stack)[how].Authenticate(t.Context(), rightLogin); err != nil {
					t.Fatal(err)
				}
				for _, pid := range numericNames("/proc") {
					args, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
					if strings.Contains(string(args), mark) && isRunning(pid) {
						t.Fatalf("process %d is left over: %q", pid, args)
					}
				}
			}
		})
	}
}

func TestNothingIsLeftAfterAnAnswer(t *testing.T) {
	for _, how := range []string{"in process", "in a child"} {
		t.Run(how, func(t *testing.T) {
			script, stack := newScriptedModule(t, processTree+"read go < @/go\n")
			var pids []int
			go func() {
				pids = script.readPIDs(processTreeSize)
				script.release()
			}()
			account, err := authenticate(t, authenticators(stack)[how], rightLogin)
			if err != nil || account.Name != "alice" {
				t.Errorf("got %q, %v", account.Name, err)
			}
			if len(pids) != processTreeSize {
				t.Fatalf("%d processes were started", len(pids))
			}
			checkGone(t, pids)
		})
	}
}

func TestACrashEndsOneConversationAndLeavesNothing(t *testing.T) {
	for _, signal := range []string{"SEGV", "ABRT", "KILL", "FPE", "BUS", "ILL"} {
		t.Run(signal, func(t *testing.T) {
			script, stack := newScriptedModule(t, processTree+"read go < @/go\nkill -"+signal+" $PPID\nsleep 600\n")
			var pids []int
			go func() {
				pids = script.readPIDs(processTreeSize)
				script.release()
			}()
			var stderr syncBuffer
			_, err := authenticate(t, child(stack, &stderr), rightLogin)
			if !errors.Is(err, ErrBroken) {
				t.Errorf("got %v", err)
			}
			name := "SIG" + signal
			if signal == "KILL" {
				name = "signal: killed"
			}
			checkError(t, err, "without a response", name, "a module crashed")
			if strings.Contains(stderr.String()+fmt.Sprint(err), password) {
				t.Error("the password is in what the crash printed")
			}
			if len(pids) != processTreeSize {
				t.Fatalf("%d processes were started", len(pids))
			}
			checkGone(t, pids)
		})
	}
}

func TestNothingIsLeftOfAChildThatCannotCleanUp(t *testing.T) {
	script, stack := newScriptedModule(t, "kill -STOP $PPID\n"+processTree+"sleep 600\n")
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	var pids []int
	go func() {
		pids = script.readPIDs(processTreeSize)
		cancel(context.DeadlineExceeded)
	}()
	_, err := child(stack, nil).Authenticate(ctx, rightLogin)
	if !errors.Is(err, ErrBroken) {
		t.Errorf("got %v", err)
	}
	if len(pids) != processTreeSize {
		t.Fatalf("%d processes were started", len(pids))
	}
	checkGone(t, pids)
}

func TestNothingIsLeftWhenTheParentDies(t *testing.T) {
	script, stack := newScriptedModule(t, processTree+"sleep 600\n")
	p := startWithRequest(t, stack, "alice")
	pids := script.readPIDs(processTreeSize)
	_ = p.sock.Close() // as the kernel does when the parent dies
	<-p.ended
	checkGone(t, append(pids, p.cmd.Process.Pid))
}

func TestChildOutlivesTheSignalThatStopsItsService(t *testing.T) {
	script, stack := newScriptedModule(t, "echo $$ > @/pipe\nread go < @/go\n")
	p := startWithRequest(t, stack, "alice")
	script.readPIDs(1)
	for _, s := range []os.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
		if err := p.cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	script.release()
	<-p.ended
	if v, err := p.response(); err != nil || v.status != accepted || v.text != "alice" {
		t.Errorf("got %v, %v", v, err)
	}
}

func TestModulesCannotForgeAResponse(t *testing.T) {
	// Root can write to the descriptors of a process that is not dumpable; others fail.
	const write = "for fd in 0 1 2; do printf '\\003y\\000\\004root\\000\\000\\000\\000\\000' " +
		"> /proc/$PPID/fd/$fd; done\nexit 0\n"
	_, stack := newScriptedModule(t, write)
	var stderr syncBuffer
	account, err := authenticate(t, child(stack, &stderr), rightLogin)
	if err != nil || account.Name != "alice" {
		t.Errorf("got %q, %v", account.Name, err)
	}
	// A module has the process's own descriptors. This one refuses, unless it can read something.
	forge := compile(t, "pam_forge", "#include <fcntl.h>\n#include <unistd.h>\n"+`int pam_sm_authenticate(void)
{
	char c;

	fcntl(0, F_SETFL, O_NONBLOCK);
	for (int fd = 0; fd < 3; fd++)
		if (write(fd, "\3y\0\4root\0\0\0\0\0", 13) < 0)
			continue;
	return read(0, &c, 1) == 0 ? 7 : 0;
}
`)
	stack = newServiceDir(t).stack("test", "auth required "+forge, permitAccount)
	_, err = authenticate(t, child(stack, &stderr), rightLogin)
	if !errors.Is(err, ErrRefused) {
		t.Errorf("a module that prints a response: got %v", err)
	}
}

// takeRequest is how a script is ready and waits for its request. It leaves the rest of that
// unread, which must not matter.
const takeRequest = "printf r; head -c 1 >/dev/null; "

// printAlice is the response that lets alice in, with the uid 1000.
const printAlice = `printf '\003y\000\005alice\000\000\003\350\000'`

// shellChild runs a shell script in place of the child.
func shellChild(stderr io.Writer, script string, args ...string) Child {
	args = append([]string{"-c", script}, args...)
	return Child{Program: "/bin/sh", Args: args, Stack: Stack{"test", "/"}, Stderr: stderr}
}

func TestOtherProgramsInPlaceOfTheChild(t *testing.T) {
	const noResponse = "without a response"
	tests := []struct {
		name    string
		script  string
		wantErr string
	}{
		{"a program that writes nothing", "exit 0", noResponse + " (exit status 0)"},
		{"a program that fails", "exit 3", noResponse + " (exit status 3)"},
		{"a program that writes something else", "echo yes", noResponse},
		{"a program that responds without a request", printAlice, noResponse},
		{"a program that ends after its request", takeRequest + "exit 3", noResponse + " (exit status 3)"},
		{"a program that writes half a response", takeRequest + `printf '\003y\000\005alic'`, noResponse},
		{"a program that writes a response without a uid", takeRequest + `printf '\003y\000\005alice'`, noResponse},
		{
			"a program that writes a response without a state",
			takeRequest + `printf '\003y\000\005alice\000\000\003\350'`,
			noResponse,
		},
		{"a program that writes more than a response", takeRequest + printAlice + "; printf '!'", noResponse},
		{"a program that writes another version's response",
			takeRequest + `printf '\004y\000\005alice\000\000\003\350\000'`, noResponse},
		{"a program that writes without end", takeRequest + "head -c 60000 /dev/zero", noResponse},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := authenticate(t, shellChild(nil, tt.script), rightLogin)
			if !errors.Is(err, ErrBroken) {
				t.Errorf("got %v", err)
			}
			checkError(t, err, tt.wantErr)
		})
	}
	_, err := authenticate(t, Child{Program: "/no/such/program", Stack: Stack{"test", "/"}}, rightLogin)
	if !errors.Is(err, ErrBroken) {
		t.Errorf("a program that does not exist: %v", err)
	}
	checkError(t, err, "start child", "/no/such/program")
}

// Until the child is hidden, other processes of its user can look into it.
func TestNoRequestIsSentBeforeTheChildIsReady(t *testing.T) {
	for name, script := range map[string]string{
		"a child that writes nothing":        "cat >&2",
		"a child that writes something else": "echo no; cat >&2",
	} {
		t.Run(name, func(t *testing.T) {
			var stderr syncBuffer
			ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
			defer cancel()
			c := shellChild(&stderr, script)
			if _, err := c.Authenticate(ctx, rightLogin); !errors.Is(err, ErrBroken) {
				t.Errorf("got %v", err)
			}
			if got := stderr.String(); got != "" {
				t.Errorf("it was sent %q", got)
			}
		})
	}
}

// Not even by the same process. A process that cannot open it before the child is hidden cannot
// read the request afterwards.
func TestTheSocketToAChildCannotBeOpened(t *testing.T) {
	var stderr syncBuffer
	c := shellChild(&stderr, "LC_ALL=C cat /proc/$$/fd/0 /proc/$$/fd/1; exit 3")
	if _, err := authenticate(t, c, rightLogin); !errors.Is(err, ErrBroken) {
		t.Errorf("got %v", err)
	}
	if got := stderr.String(); strings.Count(got, "No such device or address") != 2 {
		t.Errorf("standard input and output: %q", got)
	}
}

// A sibling that is being started holds a copy of the socket for a moment. Here a process holds it
// for longer.
func TestAResponseIsReadBeforeTheEndOfFile(t *testing.T) {
	c := shellChild(nil, takeRequest+printAlice+"; sleep 1 & exit 0")
	account, err := authenticate(t, c, rightLogin)
	if err != nil || account.Name != "alice" || account.UID != 1000 {
		t.Errorf("got %v, %v", account, err)
	}
}

func TestChildOutputIsForwardedUpToALimit(t *testing.T) {
	var stderr syncBuffer
	c := shellChild(&stderr, "head -c 300000 /dev/zero | tr '\\0' x >&2")
	if _, err := authenticate(t, c, rightLogin); !errors.Is(err, ErrBroken) {
		t.Errorf("got %v", err)
	}
	if got := stderr.String(); got != strings.Repeat("x", maxOutput) {
		t.Errorf("%d bytes", len(got))
	}
}

func TestChildInheritsNothing(t *testing.T) {
	t.Setenv("DOCKERAUTH_TEST_SECRET", password)
	var stderr syncBuffer
	c := shellChild(&stderr, "{ cat /proc/$$/environ; pwd; tr '\\0' ' ' < /proc/$$/cmdline; } >&2", "argument")
	if _, err := authenticate(t, c, rightLogin); !errors.Is(err, ErrBroken) {
		t.Errorf("got %v", err)
	}
	if got := stderr.String(); !strings.HasPrefix(got, "/\n/bin/sh -c ") || !strings.HasSuffix(got, " argument ") {
		t.Errorf("environment, folder and arguments:\n%s", got)
	}
	if strings.Contains(stderr.String(), password) {
		t.Error("the password is among them")
	}
}

// readyArgument makes the test binary a child that prints whether it is hidden when it is ready.
const readyArgument = "ready"

// readyReporter is a standard output that prints whether the process is dumpable when something is
// written.
type readyReporter struct{}

func (readyReporter) Write(b []byte) (int, error) {
	dumpable, _, _ := syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_GET_DUMPABLE, 0, 0)
	return fmt.Printf("%s %d\n", b[:1], dumpable)
}

func TestAChildIsHiddenWhenItIsReady(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(exe, readyArgument).Output()
	if got, _, _ := strings.Cut(string(out), "\n"); got != string(readyByte)+" 0" {
		t.Errorf("ready byte and dumpable: %s (%v)", got, err)
	}
}

func TestConversationsInOneProcessRunOneAfterAnother(t *testing.T) {
	// The script fails when two run at once.
	_, stack := newScriptedModule(t, "mkdir @/lock || exit 1\n"+
		"i=0; while [ $i -lt 1000 ]; do i=$((i+1)); done\nrmdir @/lock\n")
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if _, err := authenticate(t, inProcess{Stack: stack}, rightLogin); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

func TestAConversationThatCannotStartInThisProcessIsBusy(t *testing.T) {
	pamMutex <- struct{}{}
	defer func() { <-pamMutex }()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	stack := newServiceDir(t).stack("test", permitAuth, permitAccount)
	if _, err := (inProcess{Stack: stack}).Authenticate(ctx, rightLogin); !errors.Is(err, ErrBusy) {
		t.Errorf("got %v", err)
	}
}

func TestManyChildrenAtOnce(t *testing.T) {
	requireModules(t, "pam_pwdfile.so")
	services := newServiceDir(t)
	services.write("passwd", passwd, 0o600)
	c := Limit(NewSlots(4), child(services.stack("test", pwdfileAuth, permitAccount), nil), nil)
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			l, want := rightLogin, error(nil)
			if i%2 == 1 {
				l.Password, want = "wrong", ErrRefused
			}
			if _, err := authenticate(t, c, l); !errors.Is(err, want) {
				t.Errorf("%d: %v", i, err)
			}
		})
	}
	all.Wait()
}

func TestParentKeepsNoDescriptors(t *testing.T) {
	stack := newServiceDir(t).stack("test", permitAuth, permitAccount)
	conversations := []Authenticator{
		child(stack, nil),
		Child{Program: "/no/such/program", Stack: stack},
		Child{Program: "/bin/false", Stack: stack},
	}
	once := func() {
		for _, c := range conversations {
			_, _ = authenticate(t, c, rightLogin)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 1)
		defer cancel()
		_, _ = child(stack, nil).Authenticate(ctx, rightLogin)
	}
	once()
	before := len(numericNames("/proc/self/fd"))
	for range 5 {
		once()
	}
	if after := len(numericNames("/proc/self/fd")); after > before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}
