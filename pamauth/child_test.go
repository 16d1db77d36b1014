//go:build linux && cgo

package pamauth

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// cast is a stage on which a script of pam_exec plays: it writes what it has to say to a pipe, which the test reads.
type cast struct {
	stage
	lines *bufio.Reader
}

// newCast makes a stack whose auth phase runs the script. In it, @/pipe is the pipe.
func newCast(t *testing.T, script string) (cast, Stack) {
	t.Helper()
	need(t, "pam_exec.so")
	c := cast{stage: newStage(t)}
	if err := syscall.Mkfifo(c.path("pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	pipe, err := os.OpenFile(c.path("pipe"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pipe.Close() })
	c.lines = bufio.NewReader(pipe)
	c.write("script", "#!/bin/sh\nexec 2>/dev/null\n"+script, 0o755)
	return c, c.stack("test", "auth required pam_exec.so "+c.path("script"), permitAccount)
}

// numbers reads n process ids from the pipe.
func (c cast) numbers(n int) []int {
	c.t.Helper()
	var pids []int
	for range n {
		line, err := c.lines.ReadString('\n')
		if err != nil {
			c.t.Fatal(err)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(line))
		if err != nil {
			c.t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}

// family is a script that starts a child, one that left the session, and one whose parents are gone; each tells its number.
const family = `
echo $$ > @/pipe
sh -c 'echo $$ > @/pipe; exec sleep 600' &
setsid sh -c 'echo $$ > @/pipe; exec sleep 600' &
sh -c 'setsid sh -c "echo \$\$ > @/pipe; trap : TERM; exec sleep 600" & exit' &
`

const familySize = 4

// begin starts a child and gives it its order.
func begin(t *testing.T, stack Stack, user string) *process {
	t.Helper()
	frame, err := order{Stack: stack, Login: Login{User: user, Password: password}, Brand: newBrand()}.encode()
	if err != nil {
		t.Fatal(err)
	}
	p, err := child(stack, nil).start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close)
	if !p.hand(t.Context(), frame) {
		t.Fatal("the child took no order")
	}
	return p
}

func gone(t *testing.T, pids []int) {
	t.Helper()
	for _, pid := range pids {
		if living(pid) {
			t.Errorf("process %d still lives", pid)
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

func TestNothingIsLeftWhenTimeIsUp(t *testing.T) {
	for _, way := range []string{"in process", "in a child"} {
		t.Run(way, func(t *testing.T) {
			cast, stack := newCast(t, family+"sleep 600\n")
			ctx, cancel := context.WithCancelCause(context.Background())
			defer cancel(nil)
			var pids []int
			go func() {
				pids = cast.numbers(familySize)
				cancel(context.DeadlineExceeded)
			}()
			_, err := ways(stack)[way].Hold(ctx, Login{User: "alice", Password: password})
			if !errors.Is(err, ErrBroken) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
			says(t, err, "no answer in time", "a module hangs or is slow")
			if len(pids) != familySize {
				t.Fatalf("%d processes were started", len(pids))
			}
			gone(t, pids)
			settle(t)
		})
	}
}

// settle waits until the conversation in this process, which Hold left behind when its time was up, has ended. Until then whatever this
// process starts counts as the modules' own and is killed.
func settle(t *testing.T) {
	t.Helper()
	select {
	case turn <- struct{}{}:
		<-turn
	case <-time.After(10 * time.Second):
		t.Error("the conversation in this process has not ended")
	}
}

// A process that forks and ends while it is looked for is found in its child, whenever it does so.
func TestNothingIsLeftOfWhatForksBehindOnesBack(t *testing.T) {
	for _, way := range []string{"in process", "in a child"} {
		t.Run(way, func(t *testing.T) {
			mark := fmt.Sprint("600.0", os.Getpid()) // seconds, and told from others' by its digits
			_, stack := newCast(t, strings.Repeat("( ( ( sleep "+mark+" & ) & ) & ) &\n", 4))
			for range 25 {
				if _, err := ways(stack)[way].Hold(t.Context(), Login{User: "alice", Password: password}); err != nil {
					t.Fatal(err)
				}
				for _, pid := range numbered("/proc") {
					args, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
					if strings.Contains(string(args), mark) && living(pid) {
						t.Fatalf("process %d is left over: %q", pid, args)
					}
				}
			}
		})
	}
}

func TestNothingIsLeftAfterAnAnswer(t *testing.T) {
	for _, way := range []string{"in process", "in a child"} {
		t.Run(way, func(t *testing.T) {
			cast, stack := newCast(t, family+"read go < @/go\n")
			if err := syscall.Mkfifo(cast.path("go"), 0o600); err != nil {
				t.Fatal(err)
			}
			var pids []int
			go func() {
				pids = cast.numbers(familySize)
				_ = os.WriteFile(cast.path("go"), []byte("go\n"), 0)
			}()
			account, err := hold(t, ways(stack)[way], Login{User: "alice", Password: password})
			if err != nil || account.Name != "alice" {
				t.Errorf("got %q, %v", account.Name, err)
			}
			if len(pids) != familySize {
				t.Fatalf("%d processes were started", len(pids))
			}
			gone(t, pids)
		})
	}
}

func TestCrashTakesNobodyAlongAndLeavesNothing(t *testing.T) {
	for _, signal := range []string{"SEGV", "ABRT", "KILL", "FPE", "BUS", "ILL"} {
		t.Run(signal, func(t *testing.T) {
			cast, stack := newCast(t, family+"read go < @/go\nkill -"+signal+" $PPID\nsleep 600\n")
			if err := syscall.Mkfifo(cast.path("go"), 0o600); err != nil {
				t.Fatal(err)
			}
			var pids []int
			go func() {
				pids = cast.numbers(familySize)
				_ = os.WriteFile(cast.path("go"), []byte("go\n"), 0)
			}()
			var stderr notes
			_, err := hold(t, child(stack, &stderr), Login{User: "alice", Password: password})
			if !errors.Is(err, ErrBroken) {
				t.Errorf("got %v", err)
			}
			name := "SIG" + signal
			if signal == "KILL" {
				name = "signal: killed"
			}
			says(t, err, "without a verdict", name, "a module crashed")
			if strings.Contains(stderr.String()+fmt.Sprint(err), password) {
				t.Error("the password is in what the crash printed")
			}
			if len(pids) != familySize {
				t.Fatalf("%d processes were started", len(pids))
			}
			gone(t, pids)
		})
	}
}

func TestNothingIsLeftOfAChildThatCannotCleanUp(t *testing.T) {
	cast, stack := newCast(t, "kill -STOP $PPID\n"+family+"sleep 600\n")
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	var pids []int
	go func() {
		pids = cast.numbers(familySize)
		cancel(context.DeadlineExceeded)
	}()
	_, err := child(stack, nil).Hold(ctx, Login{User: "alice", Password: password})
	if !errors.Is(err, ErrBroken) {
		t.Errorf("got %v", err)
	}
	if len(pids) != familySize {
		t.Fatalf("%d processes were started", len(pids))
	}
	gone(t, pids)
}

func TestNothingIsLeftWhenTheParentDies(t *testing.T) {
	cast, stack := newCast(t, family+"sleep 600\n")
	p := begin(t, stack, "alice")
	pids := cast.numbers(familySize)
	_ = p.line.Close() // as the kernel does when the parent is killed
	<-p.ended
	gone(t, append(pids, p.cmd.Process.Pid))
}

func TestChildOutlivesTheSignalThatStopsItsService(t *testing.T) {
	cast, stack := newCast(t, "echo $$ > @/pipe\nread go < @/go\n")
	if err := syscall.Mkfifo(cast.path("go"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := begin(t, stack, "alice")
	cast.numbers(1)
	for _, s := range []os.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
		if err := p.cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(cast.path("go"), []byte("go\n"), 0); err != nil {
		t.Fatal(err)
	}
	<-p.ended
	if v, err := p.verdict(); err != nil || v.outcome != accepted || v.text != "alice" {
		t.Errorf("got %v, %v", v, err)
	}
}

func TestModulesCannotForgeAVerdict(t *testing.T) {
	// Root may write to the descriptors of a process that is not dumpable, others fail; neither must matter.
	_, stack := newCast(t, "for fd in 0 1 2; do printf '\\001y\\000\\004root' > /proc/$PPID/fd/$fd; done\nexit 0\n")
	var stderr notes
	account, err := hold(t, child(stack, &stderr), Login{User: "alice", Password: password})
	if err != nil || account.Name != "alice" {
		t.Errorf("got %q, %v", account.Name, err)
	}
	// A module has the process's own descriptors. It refuses, unless there is something for it to
	// read.
	forge := compile(t, "pam_forge", "#include <fcntl.h>\n#include <unistd.h>\n"+`int pam_sm_authenticate(void)
{
	char c;

	fcntl(0, F_SETFL, O_NONBLOCK);
	for (int fd = 0; fd < 3; fd++)
		if (write(fd, "\1y\0\4root", 8) < 0)
			continue;
	return read(0, &c, 1) == 0 ? 7 : 0;
}
`)
	stack = newStage(t).stack("test", "auth required "+forge, permitAccount)
	_, err = hold(t, child(stack, &stderr), Login{User: "alice", Password: password})
	if !errors.Is(err, ErrRefused) {
		t.Errorf("a module that prints a verdict: got %v", err)
	}
}

// takeOrder is how a script greets and waits for its order. It leaves the rest of that unread, which must not matter.
const takeOrder = "printf r; head -c 1 >/dev/null; "

func TestProgramsThatAreNotTheChild(t *testing.T) {
	tests := []struct {
		name    string
		program string
		script  string
		says    []string
	}{
		{"one that is not there", "/no/such/program", "", []string{"start child", "/no/such/program"}},
		{"one that says nothing", "/bin/sh", "exit 0", []string{"without a verdict (exit status 0)"}},
		{"one that fails", "/bin/sh", "exit 3", []string{"without a verdict (exit status 3)"}},
		{"one that says something else", "/bin/sh", "echo yes", []string{"without a verdict"}},
		{"one that says a verdict unasked", "/bin/sh", `printf '\001y\000\005alice'`, []string{"without a verdict"}},
		{"one that says nothing more", "/bin/sh", takeOrder + "exit 3", []string{"without a verdict (exit status 3)"}},
		{"one that says half a verdict", "/bin/sh", takeOrder + `printf '\001y\000\005alic'`, []string{"without a verdict"}},
		{"one that says more than a verdict", "/bin/sh", takeOrder + `printf '\001y\000\005alice!'`, []string{"without a verdict"}},
		{"one that says a verdict of another version", "/bin/sh", takeOrder + `printf '\002y\000\005alice'`, []string{"without a verdict"}},
		{"one that talks without end", "/bin/sh", takeOrder + "head -c 60000 /dev/zero", []string{"without a verdict"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := Child{Program: tt.program, Args: []string{"-c", tt.script}, Stack: Stack{"test", "/"}}
			_, err := hold(t, c, Login{User: "alice", Password: password})
			if !errors.Is(err, ErrBroken) {
				t.Errorf("got %v", err)
			}
			says(t, err, tt.says...)
		})
	}
}

// Until a child says that it has hidden itself, others of its user may look into it.
func TestAnOrderWaitsForTheGreeting(t *testing.T) {
	for name, script := range map[string]string{
		"a child that says nothing":        "cat >&2",
		"a child that says something else": "echo no; cat >&2",
	} {
		t.Run(name, func(t *testing.T) {
			var stderr notes
			ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
			defer cancel()
			c := Child{Program: "/bin/sh", Args: []string{"-c", script}, Stack: Stack{"test", "/"}, Stderr: &stderr}
			if _, err := c.Hold(ctx, Login{User: "alice", Password: password}); !errors.Is(err, ErrBroken) {
				t.Errorf("got %v", err)
			}
			if got := stderr.String(); got != "" {
				t.Errorf("it was given %q", got)
			}
		})
	}
}

// Not even by the same process. Whoever cannot open it before the child has hidden itself has nothing to read the order from afterwards.
func TestTheLineToAChildCannotBeOpened(t *testing.T) {
	var stderr notes
	c := Child{Program: "/bin/sh", Args: []string{"-c", "LC_ALL=C cat /proc/$$/fd/0 /proc/$$/fd/1; exit 3"}, Stack: Stack{"test", "/"}, Stderr: &stderr}
	if _, err := hold(t, c, Login{User: "alice", Password: password}); !errors.Is(err, ErrBroken) {
		t.Errorf("got %v", err)
	}
	if got := stderr.String(); strings.Count(got, "No such device or address") != 2 {
		t.Errorf("standard input and output: %q", got)
	}
}

// A sibling that is just being started holds a copy of the pipe for a moment; here it is a process that holds it for longer.
func TestAVerdictIsBelievedBeforeTheEndOfFile(t *testing.T) {
	c := Child{Program: "/bin/sh", Args: []string{"-c", takeOrder + `printf '\001y\000\005alice'; sleep 1 & exit 0`}, Stack: Stack{"test", "/"}}
	account, err := hold(t, c, Login{User: "alice", Password: password})
	if err != nil || account.Name != "alice" {
		t.Errorf("got %q, %v", account.Name, err)
	}
}

func TestWhatAChildPrintsIsPassedOnWithinBounds(t *testing.T) {
	var stderr notes
	c := Child{Program: "/bin/sh", Args: []string{"-c", "head -c 300000 /dev/zero | tr '\\0' x >&2"}, Stack: Stack{"test", "/"}, Stderr: &stderr}
	if _, err := hold(t, c, Login{User: "alice", Password: password}); !errors.Is(err, ErrBroken) {
		t.Errorf("got %v", err)
	}
	if got := stderr.String(); got != strings.Repeat("x", maxChatter) {
		t.Errorf("%d bytes", len(got))
	}
}

func TestChildInheritsNothing(t *testing.T) {
	t.Setenv("DOCKERAUTH_TEST_SECRET", password)
	var stderr notes
	c := Child{Program: "/bin/sh", Args: []string{"-c", "{ cat /proc/$$/environ; pwd; tr '\\0' ' ' < /proc/$$/cmdline; } >&2", "argument"},
		Stack: Stack{"test", "/"}, Stderr: &stderr}
	if _, err := hold(t, c, Login{User: "alice", Password: password}); !errors.Is(err, ErrBroken) {
		t.Errorf("got %v", err)
	}
	if got := stderr.String(); !strings.HasPrefix(got, "/\n/bin/sh -c ") || !strings.HasSuffix(got, " argument ") {
		t.Errorf("environment, folder and arguments:\n%s", got)
	}
	if strings.Contains(stderr.String(), password) {
		t.Error("the password is among them")
	}
}

// greetArgument makes the test binary the program that Child starts, which prints whether it is
// hidden when it greets.
const greetArgument = "greet"

// greeter is a standard output that prints whether the process is dumpable when something is written.
type greeter struct{}

func (greeter) Write(b []byte) (int, error) {
	dumpable, _, _ := syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_GET_DUMPABLE, 0, 0)
	return fmt.Printf("%s %d\n", b[:1], dumpable)
}

func TestAChildHidesBeforeItGreets(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(exe, greetArgument).Output()
	if got, _, _ := strings.Cut(string(out), "\n"); got != string(greeting)+" 0" {
		t.Errorf("greeting and dumpable: %s (%v)", got, err)
	}
}

func TestConversationsInOneProcessTakeTurns(t *testing.T) {
	// The script fails when it is not alone.
	_, stack := newCast(t, "mkdir @/lock || exit 1\ni=0; while [ $i -lt 1000 ]; do i=$((i+1)); done\nrmdir @/lock\n")
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if _, err := hold(t, InProcess{Stack: stack}, Login{User: "alice", Password: password}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

func TestConversationInThisProcessThatGetsNoTurnIsBusy(t *testing.T) {
	turn <- struct{}{}
	defer func() { <-turn }()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	stack := newStage(t).stack("test", permitAuth, permitAccount)
	if _, err := (InProcess{Stack: stack}).Hold(ctx, Login{User: "alice", Password: password}); !errors.Is(err, ErrBusy) {
		t.Errorf("got %v", err)
	}
}

func TestManyChildrenAtOnce(t *testing.T) {
	need(t, "pam_pwdfile.so")
	stage := newStage(t)
	stage.write("passwd", passwd, 0o600)
	c := Gate(4, child(stage.stack("test", expand(stage, []string{pwdfileAuth, permitAccount})...), nil), nil)
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			l, want := Login{User: "alice", Password: password}, error(nil)
			if i%2 == 1 {
				l.Password, want = "wrong", ErrRefused
			}
			if _, err := hold(t, c, l); !errors.Is(err, want) {
				t.Errorf("%d: %v", i, err)
			}
		})
	}
	all.Wait()
}

func TestParentKeepsNoDescriptors(t *testing.T) {
	stack := newStage(t).stack("test", permitAuth, permitAccount)
	conversations := []Conversation{
		child(stack, nil),
		Child{Program: "/no/such/program", Stack: stack},
		Child{Program: "/bin/false", Stack: stack},
	}
	once := func() {
		for _, c := range conversations {
			_, _ = hold(t, c, Login{User: "alice", Password: password})
		}
		ctx, cancel := context.WithTimeout(context.Background(), 1)
		defer cancel()
		_, _ = child(stack, nil).Hold(ctx, Login{User: "alice", Password: password})
	}
	once()
	before := len(numbered("/proc/self/fd"))
	for range 5 {
		once()
	}
	if after := len(numbered("/proc/self/fd")); after > before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}
