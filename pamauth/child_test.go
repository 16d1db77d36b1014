//go:build linux && cgo

package pamauth

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
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
	p, err := child(stack, nil).start()
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
	script, stack := newScriptedModule(t, processTree+"sleep 600\n")
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	var pids []int
	go func() {
		pids = script.readPIDs(processTreeSize)
		cancel(context.DeadlineExceeded)
	}()
	_, err := child(stack, nil).Authenticate(ctx, rightLogin)
	if !errors.Is(err, ErrBroken) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	checkError(t, err, "no answer in time", "a module hangs or is slow")
	if len(pids) != processTreeSize {
		t.Fatalf("%d processes were started", len(pids))
	}
	checkGone(t, pids)
}

func TestNothingIsLeftOfProcessesThatForkDuringAScan(t *testing.T) {
	mark := fmt.Sprint("600.0", os.Getpid()) // seconds; the digits are this test's own
	_, stack := newScriptedModule(t, strings.Repeat("( ( ( sleep "+mark+" & ) & ) & ) &\n", 4))
	for range 25 {
		if _, err := child(stack, nil).Authenticate(t.Context(), rightLogin); err != nil {
			t.Fatal(err)
		}
		for _, pid := range numericNames("/proc") {
			args, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
			if strings.Contains(string(args), mark) && isRunning(pid) {
				t.Fatalf("process %d is left over: %q", pid, args)
			}
		}
	}
}

func TestNothingIsLeftAfterAnAnswer(t *testing.T) {
	script, stack := newScriptedModule(t, processTree+"read go < @/go\n")
	var pids []int
	go func() {
		pids = script.readPIDs(processTreeSize)
		script.release()
	}()
	account, err := authenticate(t, child(stack, nil), rightLogin)
	if err != nil || account.Name != "alice" {
		t.Errorf("got %q, %v", account.Name, err)
	}
	if len(pids) != processTreeSize {
		t.Fatalf("%d processes were started", len(pids))
	}
	checkGone(t, pids)
}

func TestACrashEndsOneConversationAndLeavesNothing(t *testing.T) {
	for signal, name := range map[string]string{"SEGV": "segmentation fault", "ABRT": "aborted", "KILL": "killed",
		"FPE": "floating point exception", "BUS": "bus error", "ILL": "illegal instruction"} {
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
			checkError(t, err, "without a response", "signal: "+name, "a module crashed")
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
	checkGone(t, append(pids, p.process.Pid))
}

func TestChildOutlivesTheSignalThatStopsItsService(t *testing.T) {
	script, stack := newScriptedModule(t, "echo $$ > @/pipe\nread go < @/go\n")
	p := startWithRequest(t, stack, "alice")
	script.readPIDs(1)
	for _, s := range []os.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
		if err := p.process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	script.release()
	<-p.ended
	if a, err := p.answer(); err != nil || a.err() != nil || a.name != "alice" {
		t.Errorf("got %v, %v", a, err)
	}
}

func TestModulesCannotForgeAnAnswer(t *testing.T) {
	// Root can write to the descriptors of a process that is not dumpable; others fail.
	const write = "for fd in 0 1 2; do " + printRoot + " > /proc/$PPID/fd/$fd; done\nexit 0\n"
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
		if (write(fd, "\24\0\0\0\5\12\0\0\0\0\0\0\0\0\0root", 20) < 0)
			continue;
	return read(0, &c, 1) == 0 ? 7 : 0;
}
`)
	stack = newServiceDir(t).stack("test", "auth required "+forge, permitAccount)
	_, err = authenticate(t, child(stack, &stderr), rightLogin)
	if !errors.Is(err, ErrRefused) {
		t.Errorf("a module that prints an answer: got %v", err)
	}
}

// takeRequest is how a script is ready and waits for its request. It leaves the rest of that
// unread, which must not matter.
const takeRequest = "printf r; head -c 1 >/dev/null; "

// head follows the length of an answer that lets somebody in; then comes the uid.
const head = `\000\000\000\005\012\000\000\000\000\000`

// printAlice is the answer that lets alice in, with the uid 1000. printRoot does so with root.
const (
	printAlice = `printf '\025` + head + `\350\003\000\000alice\000'`
	printRoot  = `printf '\024` + head + `\000\000\000\000root\000'`
)

// shellChild runs a shell script in place of the child.
func shellChild(t *testing.T, stderr io.Writer, script string, args ...string) Child {
	t.Helper()
	stack := newServiceDir(t).stack("test", permitAuth, permitAccount)
	args = append([]string{"/bin/sh", "-c", script}, args...)
	return Child{program: args, Stack: stack, Stderr: stderr}
}

func TestOtherProgramsInPlaceOfTheChild(t *testing.T) {
	const noAnswer = "without a response"
	tests := []struct {
		name    string
		script  string
		wantErr string
	}{
		{"a program that writes nothing", "exit 0", noAnswer + " (exit status 0)"},
		{"a program that fails", "exit 3", noAnswer + " (exit status 3)"},
		{"a program that writes something else", "echo yes", noAnswer},
		{"a program that answers without a request", printAlice, noAnswer},
		{"a program that ends after its request", takeRequest + "exit 3", noAnswer + " (exit status 3)"},
		{
			"a program that writes half an answer",
			takeRequest + `printf '\023` + head + `\350\003\000\000alic'`,
			noAnswer,
		},
		{
			"a program that writes an answer without a name",
			takeRequest + `printf '\017` + head + `\350\003\000\000'`,
			noAnswer,
		},
		{"a program that writes an answer without a uid", takeRequest + `printf '\013` + head + "'", noAnswer},
		{"a program that writes more than an answer", takeRequest + printAlice + "; printf '!'", noAnswer},
		{"a program that answers twice", takeRequest + printAlice + "; " + printAlice, noAnswer},
		{"a program that writes another version's answer",
			takeRequest + strings.Replace(printAlice, "005", "006", 1), noAnswer},
		{"a program that writes without end", takeRequest + "head -c 61500 /dev/zero", noAnswer},
		{
			"a program that names an unknown phase",
			takeRequest + `printf '\013\000\000\000\005\077\000\000\000\000\000'`,
			"not an answer",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := authenticate(t, shellChild(t, nil, tt.script), rightLogin)
			if !errors.Is(err, ErrBroken) {
				t.Errorf("got %v", err)
			}
			checkError(t, err, tt.wantErr)
		})
	}
	stack := newServiceDir(t).stack("test", permitAuth, permitAccount)
	_, err := authenticate(t, Child{program: []string{"/no/such/program"}, Stack: stack}, rightLogin)
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
			c := shellChild(t, &stderr, script)
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
	c := shellChild(t, &stderr, "LC_ALL=C cat /proc/$$/fd/0 /proc/$$/fd/1; exit 3")
	if _, err := authenticate(t, c, rightLogin); !errors.Is(err, ErrBroken) {
		t.Errorf("got %v", err)
	}
	if got := stderr.String(); strings.Count(got, "No such device or address") != 2 {
		t.Errorf("standard input and output: %q", got)
	}
}

// A sibling that is being started holds a copy of the socket for a moment. Here a process holds it
// for longer.
func TestAnAnswerIsReadBeforeTheEndOfFile(t *testing.T) {
	c := shellChild(t, nil, takeRequest+printAlice+"; sleep 1 & exit 0")
	account, err := authenticate(t, c, rightLogin)
	if err != nil || account.Name != "alice" || account.UID != 1000 {
		t.Errorf("got %v, %v", account, err)
	}
}

func TestChildOutputIsForwardedUpToALimit(t *testing.T) {
	var stderr syncBuffer
	c := shellChild(t, &stderr, "head -c 300000 /dev/zero | tr '\\0' x >&2")
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
	c := shellChild(t, &stderr, "{ cat /proc/$$/environ; pwd; tr '\\0' ' ' < /proc/$$/cmdline; } >&2", "argument")
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
		Child{program: []string{"/no/such/program"}, Stack: stack},
		Child{program: []string{"/bin/false"}, Stack: stack},
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

// earlyArgument makes the test binary a CGI program. It prints how many children it has before it
// asks PAM, and what PAM says.
const earlyArgument = "early"

func authenticateEarly(s Stack) int {
	before := len(childrenOf("self"))
	account, err := child(s, nil).Authenticate(context.Background(), rightLogin)
	fmt.Println(before, account.Name, err, len(childrenOf("self")))
	return 0
}

// unusedArgument makes it one that does not ask PAM.
const unusedArgument = "unused"

func endEarly() int {
	before := len(childrenOf("self"))
	EndEarlyChild()
	fmt.Println(before, hasNoChildren())
	return 0
}

// hasNoChildren counts zombies as children.
func hasNoChildren() bool {
	_, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
	return err == syscall.ECHILD
}

func TestACGIProgramEndsAChildThatItDoesNotNeed(t *testing.T) {
	cmd := exec.Command(os.Args[0], unusedArgument)
	cmd.Env = cgiLogin
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "1 true\n" {
		t.Errorf("got %s (%v)", out, err)
	}
}

func TestACGIProgramWithALoginHasItsChildBeforeGoStarts(t *testing.T) {
	stack := newServiceDir(t).stack("test", permitAuth, permitAccount)
	listening, err := net.Listen("unix", newServiceDir(t).path("socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer listening.Close()
	socket, err := listening.(*net.UnixListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	tests := []struct {
		name      string
		variables []string
		stdin     *os.File
		children  int
	}{
		{"a login in the header", cgiLogin, nil, 1},
		{
			"a login that Apache has renamed",
			[]string{"REQUEST_METHOD=GET", "REDIRECT_REDIRECT_HTTP_AUTHORIZATION=x"},
			nil,
			1,
		},
		{"a form, which may have one", []string{"REQUEST_METHOD=POST"}, nil, 1},
		{"no login", []string{"GATEWAY_INTERFACE=CGI/1.1", "REQUEST_METHOD=GET"}, nil, 0},
		{"an empty login", []string{"GATEWAY_INTERFACE=CGI/1.1", "HTTP_AUTHORIZATION="}, nil, 0},
		{"a FastCGI program in such an environment", cgiLogin, socket, 0},
		{"no CGI program", []string{"HTTP_AUTHORIZATION=x"}, nil, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], earlyArgument, stack.Service, stack.Confdir)
			cmd.Env = tt.variables
			if tt.stdin != nil {
				cmd.Stdin = tt.stdin
			}
			out, err := cmd.CombinedOutput()
			if want := fmt.Sprintln(tt.children, "alice", error(nil), 0); err != nil || string(out) != want {
				t.Errorf("got %s (%v), want %s", out, err, want)
			}
		})
	}
}

// A child that waits for a request has neither the variables nor the descriptors of the CGI
// program. Its parent's end ends it.
func TestAnEarlyChildKeepsNothingOfItsProgram(t *testing.T) {
	stack := newPausedStack(t, permitAuth)
	var out syncBuffer
	cmd := exec.Command(os.Args[0], onceArgument, stack.stack.Service, stack.stack.Confdir)
	pipe, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	cmd.Env, cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = cgiLogin, &out, &out, []*os.File{write}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = write.Close()
	// pam_access opens its rules: the conversation is under way.
	rules, err := os.OpenFile(stack.path("rules"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer rules.Close()
	children := childrenOf(strconv.Itoa(cmd.Process.Pid))
	if len(children) != 1 {
		t.Fatalf("children %v", children)
	}
	proc := fmt.Sprintf("/proc/%d/", children[0])
	if env, err := os.ReadFile(proc + "environ"); err != nil || len(bytes.Trim(env, "\x00")) > 0 {
		t.Errorf("environment %q, %v", env, err)
	}
	for _, fd := range numericNames(proc + "fd") {
		if target, _ := os.Readlink(fmt.Sprintf("%sfd/%d", proc, fd)); strings.HasPrefix(target, "pipe:") && fd != 1 &&
			fd != 2 {
			t.Errorf("descriptor %d is %s", fd, target)
		}
	}
	if cwd, err := os.Readlink(proc + "cwd"); cwd != "/" {
		t.Errorf("folder %q, %v", cwd, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	waitUntilGone(t, children[0])
}

func waitUntilGone(t *testing.T, pid int) {
	t.Helper()
	for range 500 {
		if !isRunning(pid) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("process %d is still running", pid)
}

// Nobody of the same user can read it, it writes no core, and module helpers have signals as usual.
func TestAConversationIsHiddenAndOrdinary(t *testing.T) {
	module := compile(t, "pam_look", "#include <signal.h>\n#include <sys/prctl.h>\n#include <sys/resource.h>\n"+
		"#include <unistd.h>\n#include <sys/wait.h>\n"+`int pam_sm_authenticate(void)
{
	struct rlimit core;
	int status;
	pid_t pid;

	if (prctl(PR_GET_DUMPABLE) != 0)
		return 3;
	if (getrlimit(RLIMIT_CORE, &core) != 0 || core.rlim_max != 0)
		return 4;
	raise(SIGPIPE);
	if (getsid(0) != getpid())
		return 5;
	if ((pid = fork()) == 0) {
		execl("/bin/sh", "sh", "-c", "kill -TERM $$; kill -HUP $$; exit 3", (char *)0);
		_exit(4);
	}
	return waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM ? 0 : 9;
}
`)
	stack := newServiceDir(t).stack("test", "auth required "+module, permitAccount)
	for name, variables := range map[string][]string{"in CGI": cgiLogin, "in a process that stays": nil} {
		cmd := exec.Command(os.Args[0], onceArgument, stack.Service, stack.Confdir)
		cmd.Env = append(os.Environ(), variables...)
		if out, err := cmd.CombinedOutput(); err != nil || string(out) != "root <nil>\n" {
			t.Errorf("%s: got %s (%v)", name, out, err)
		}
	}
}

func TestModulesThatMisbehave(t *testing.T) {
	tests := []struct {
		name    string
		code    string // of pam_sm_authenticate
		login   Login
		err     error
		wantErr string
	}{
		{"a module that forks and returns twice", "return fork() < 0 ? 9 : 0;", rightLogin, nil, ""},
		{"one whose child returns first", "if (fork() > 0) usleep(30000); return 0;", rightLogin, nil, ""},
		{"a module that frees the response of a prompt that failed", `
	const struct pam_message echo = {PAM_PROMPT_ECHO_ON, "code"}, *messages[] = {&echo};
	struct pam_response *response = (void *)1;
	const struct pam_conv *conv;

	pam_get_item(handle, PAM_CONV, (const void **)&conv);
	int code = conv->conv(1, messages, &response, conv->appdata_ptr);
	if (response != NULL)
		free(response);
	return code;`, rightLogin, ErrRefused, "a module asked for more"},
		{
			"a module that leaves an alarm",
			"raise(SIGALRM); raise(SIGUSR1); raise(SIGUSR2); return 0;",
			rightLogin,
			nil,
			"",
		},
		{"a module that reads the environment", "for (char **e = environ; *e; e++) return 9; return 0;",
			rightLogin, nil, ""},
		{"a look up with a password asks PAM", "return 7;", Login{User: "root", Password: password, LookUpOnly: true},
			ErrRefused, "PAM_AUTH_ERR"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			module := compile(t, "pam_misbehaves", "#define _GNU_SOURCE\n#include <security/pam_modules.h>\n"+
				"#include <signal.h>\n#include <stdlib.h>\n#include <unistd.h>\n"+
				"int pam_sm_authenticate(pam_handle_t *handle, int flags, int count, const char **args)\n"+
				"{\n"+tt.code+"\n}\n")
			stack := newServiceDir(t).stack("test", "auth required "+module, permitAccount)
			account, err := authenticate(t, child(stack, nil), tt.login)
			if !errors.Is(err, tt.err) || len(account.Groups) > 0 || err == nil && account.Name != tt.login.User {
				t.Errorf("got %+v, %v, want %v", account, err, tt.err)
			}
			if tt.wantErr != "" {
				checkError(t, err, tt.wantErr)
			}
		})
	}
}

// A child that has given up root's rights cannot kill what root left.
func TestNothingIsLeftThatTheChildMayNotKill(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can change user")
	}
	services := newServiceDir(t)
	file := services.path("pid")
	module := compile(t, "pam_leave", "#include <stdio.h>\n#include <unistd.h>\n"+`int pam_sm_authenticate(void)
{
	pid_t pid = fork();
	FILE *file;

	if (pid == 0) {
		execl("/bin/sleep", "sleep", "600", (char *)0);
		_exit(1);
	}
	file = fopen("`+file+`", "w");
	fprintf(file, "%d", pid);
	fclose(file);
	return setuid(65534);
}
`)
	_, err := authenticate(t, child(services.stack("test", "auth required "+module, permitAccount), nil), rightLogin)
	if err != nil {
		t.Error(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	checkGone(t, []int{number(string(text))})
}
