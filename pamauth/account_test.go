//go:build linux && cgo

package pamauth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// newAccount makes an account with a password, and removes it when the test ends.
func newAccount(t *testing.T) (name string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can make accounts")
	}
	for _, program := range []string{"useradd", "userdel", "usermod", "chage", "chfn", "chpasswd", "passwd"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(err)
		}
	}
	name = fmt.Sprint("dockerauth", os.Getpid())
	mustRun(t, "", "useradd", "-M", "-s", "/usr/sbin/nologin", name)
	t.Cleanup(func() { mustRun(t, "", "userdel", name) })
	setPassword(t, name, password)
	return name
}

func setPassword(t *testing.T, name, password string) {
	t.Helper()
	mustRun(t, name+":"+password+"\n", "chpasswd")
}

func mustRun(t *testing.T, stdin string, args ...string) {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v: %s", args, err, out)
	}
}

func TestWhatChangesTheStateOfAnAccount(t *testing.T) {
	requireModules(t, "pam_unix.so")
	name := newAccount(t)
	stack := newServiceDir(t).stack("test", "auth required pam_unix.so nodelay", "account required pam_unix.so")
	get := func() Account {
		t.Helper()
		got, err := authenticate(t, child(stack, nil), Login{User: name, AccountOnly: true, StateKey: stateKey})
		if err != nil || got.Name != name || got.UID < 1 || got.Shadow.Status != ShadowFound {
			t.Fatalf("got %v, %v", got, err)
		}
		if inspected, err := Inspect(name, stateKey); err != nil ||
			inspected.Name != got.Name || inspected.UID != got.UID || inspected.Shadow != got.Shadow {
			t.Fatalf("a conversation has %v, inspect has %v, %v", got, inspected, err)
		}
		return got
	}
	begin := get()
	login := Login{User: name, Password: password, StateKey: stateKey}
	if got, err := authenticate(t, child(stack, nil), login); err != nil || got.Shadow != begin.Shadow {
		t.Errorf("a login has %v, %v; an account check has %v", got, err, begin)
	}
	uid := strconv.Itoa(begin.UID)
	seen := map[[16]byte]string{begin.Shadow.Digest: "at the begin"}
	tests := []struct {
		name   string
		change func()
		same   string // the step that had the same state; "" = none
		locked bool
	}{
		{"chage", func() { mustRun(t, "", "chage", "-M", "90", "-W", "9", name) }, "at the begin", false},
		{"chfn", func() { mustRun(t, "", "chfn", "-f", "Somebody Else", name) }, "at the begin", false},
		{"usermod -G", func() { mustRun(t, "", "usermod", "-G", "users", name) }, "at the begin", false},
		{"usermod -s", func() { mustRun(t, "", "usermod", "-s", "/bin/false", name) }, "at the begin", false},
		{"usermod -L", func() { mustRun(t, "", "usermod", "-L", name) }, "", true},
		{"usermod -U", func() { mustRun(t, "", "usermod", "-U", name) }, "at the begin", false},
		{"another password", func() { setPassword(t, name, password+"2") }, "", false},
		{"the first password again", func() { setPassword(t, name, password) }, "", false},
		{"passwd -l", func() { mustRun(t, "", "passwd", "-l", name) }, "", true},
		{"passwd -d", func() { mustRun(t, "", "passwd", "-d", name) }, "", false},
		{"a new account with its uid and password", func() {
			mustRun(t, "", "userdel", name)
			mustRun(t, "", "useradd", "-M", "-u", uid, name)
			setPassword(t, name, password)
		}, "", false},
		{"usermod -u", func() { mustRun(t, "", "usermod", "-u", strconv.Itoa(begin.UID+1000), name) }, "", false},
		{"usermod -u back", func() { mustRun(t, "", "usermod", "-u", uid, name) },
			"a new account with its uid and password", false},
	}
	for _, tt := range tests {
		tt.change()
		got := get()
		if got.Shadow.Locked != tt.locked || seen[got.Shadow.Digest] != tt.same {
			t.Errorf("%s: got %v, as in step %q; want %q", tt.name, got, seen[got.Shadow.Digest], tt.same)
		}
		if tt.same == "" {
			seen[got.Shadow.Digest] = tt.name
		}
	}
}

// If a password is changed while PAM is asked about the old one, a token must not get the new
// state.
func TestTheStateIsThatOfTheBeginOfAConversation(t *testing.T) {
	name := newAccount(t)
	before, err := Inspect(name, stateKey)
	if err != nil {
		t.Fatal(err)
	}
	_, stack := newScriptedModule(t, "echo '"+name+":another' | chpasswd\n")
	got, err := authenticate(t, child(stack, nil), Login{User: name, Password: password, StateKey: stateKey})
	if err != nil || got.Shadow != before.Shadow {
		t.Errorf("got %v, %v; want %v", got, err, before)
	}
	if after, err := Inspect(name, stateKey); err != nil || after.Shadow == before.Shadow {
		t.Errorf("the password was not changed: %v, %v", after, err)
	}
}

func TestTheStateIsThatOfTheNameThatAModuleSet(t *testing.T) {
	requireModules(t, "pam_ftp.so")
	stack := newServiceDir(t).stack("test", "auth required pam_ftp.so users=root,Alice", permitAccount)
	want, err := Inspect("root", stateKey)
	if err != nil || want.Shadow.Status == ShadowNone {
		t.Fatalf("got %v, %v", want, err)
	}
	l := Login{User: "Alice", Password: password, StateKey: stateKey}
	got, err := authenticate(t, child(stack, nil), l)
	if err != nil || got.Name != "root" || got.Shadow != want.Shadow {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
}

// The zero value is root's uid.
func TestAnAccountThatUnixDoesNotKnowHasNoUID(t *testing.T) {
	stack := newServiceDir(t).stack("test", permitAuth, permitAccount)
	c := Cache(time.Hour, Coalesce(Deadline(ample, Limit(NewSlots(1), child(stack, nil), nil)), nil), nil)
	for _, again := range []string{"", " again"} {
		for name, l := range map[string]Login{
			"a login":                       {User: "no-such-account", Password: password},
			"a login with a state":          {User: "no-such-account", Password: password, StateKey: stateKey},
			"an account check":              {User: "no-such-account", AccountOnly: true},
			"an account check with a state": {User: "no-such-account", AccountOnly: true, StateKey: stateKey},
		} {
			got, err := authenticate(t, c, l)
			if err != nil || got.UID != -1 || got.Name != l.User {
				t.Errorf("%s%s: got %v, %v", name, again, got, err)
			}
			if l.StateKey == nil && got.Shadow != (Shadow{}) {
				t.Errorf("%s%s: not asked for: %v", name, again, got)
			}
		}
	}
}

const stateArgument = "state"

// printState makes the test binary a service that asks about the state of root.
func printState(s Stack) int {
	got, err := child(s, nil).Authenticate(context.Background(),
		Login{User: "root", AccountOnly: true, StateKey: stateKey})
	fmt.Println(got.UID, got.Shadow.Status, err)
	return 0
}

// Each row is a way to run the service (docs/accounts.md, "The right to ask PAM").
func TestAServiceHasTheRightToReadTheState(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can change user")
	}
	info, err := os.Stat(shadowFile)
	if err != nil || info.Mode().Perm() != 0o640 {
		t.Skipf("the shadow file has no group: %v, %v", info, err)
	}
	const nobody = 65534
	group := info.Sys().(*syscall.Stat_t).Gid
	stack := newServiceDir(t).stack("test", permitAuth, permitAccount)
	reachable(t, stack.Confdir)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	reachable(t, filepath.Dir(exe))
	setGroupID := filepath.Join(t.TempDir(), "program")
	reachable(t, filepath.Dir(setGroupID))
	mustRun(t, "", "install", "-o", strconv.Itoa(nobody), "-g", strconv.Itoa(int(group)), "-m", "2510", exe, setGroupID)
	tests := []struct {
		name    string
		program string
		as      syscall.Credential
		want    ShadowStatus
	}{
		{"root", exe, syscall.Credential{}, ShadowFound},
		{"a user with SupplementaryGroups=shadow", exe,
			syscall.Credential{Uid: nobody, Gid: nobody, Groups: []uint32{group}}, ShadowFound},
		{"a set-group-id install", setGroupID, syscall.Credential{Uid: nobody, Gid: nobody}, ShadowFound},
		{"a web server's user", exe, syscall.Credential{Uid: nobody, Gid: nobody}, ShadowUnread},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.program == setGroupID && ignoresSetID(t, setGroupID) {
				t.Skip("set-id programs have no effect here")
			}
			cmd := exec.Command(tt.program, stateArgument, stack.Service, stack.Confdir)
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &tt.as}
			out, err := cmd.CombinedOutput()
			if want := fmt.Sprintln(0, tt.want, error(nil)); err != nil || string(out) != want {
				t.Errorf("got %s (%v), want %s", out, err, want)
			}
		})
	}
}

func ignoresSetID(t *testing.T, program string) bool {
	t.Helper()
	const nosuid = 2 // ST_NOSUID of statfs(2)
	var fs syscall.Statfs_t
	if err := syscall.Statfs(program, &fs); err != nil {
		t.Fatal(err)
	}
	return fs.Flags&nosuid != 0 || hasNoNewPrivs(t, "/proc/self")
}

func TestAHashIsNeverPassedOn(t *testing.T) {
	requireModules(t, "pam_unix.so")
	name := newAccount(t)
	mustRun(t, "", "usermod", "-p", canary, name)
	for account, want := range map[string]error{
		"account required pam_unix.so":    nil,
		"account required pam_deny.so":    ErrRefused,
		"account required pam_nowhere.so": ErrBroken,
	} {
		services := newServiceDir(t)
		fds := services.path("fds")
		list := compile(t, "pam_list", "#include <stdlib.h>\n"+
			"int pam_sm_authenticate(void) { return system(\"ls -l /proc/self/fd > "+fds+"\") == 0 ? 0 : 7; }\n")
		stack := services.stack("test", "auth required "+list, account)
		var stderr syncBuffer
		got, err := authenticate(t, child(stack, &stderr), Login{User: name, Password: password, StateKey: stateKey})
		if !errors.Is(err, want) || err == nil && got.Shadow.Status != ShadowFound {
			t.Errorf("%s: got %v, %v", account, got, err)
		}
		checkNoHash(t, account, fmt.Sprintf("%v %s %+v", err, stderr.String(), got))
		listed, err := os.ReadFile(fds)
		if err != nil || !bytes.Contains(listed, []byte("->")) || bytes.Contains(listed, []byte(shadowFile)) {
			t.Errorf("descriptors of a program that a module starts: %s, %v", listed, err)
		}
	}
}

// Such as those of others, whose entries come first.
func TestNoHashIsLeftInMemory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "hash")
	// The hash is made elsewhere, so that this process has no other copy.
	mustRun(t, "", "sh", "-c", `head -c 24 /dev/urandom | od -An -v -tx1 | tr -d ' \n' > "$1"; `+
		`printf 'bob:%s:1\nalice:x:1\n' "$(cat "$1")" > "$1.shadow"`, "sh", file)
	useShadowFile(t, file+".shadow")
	if got, err := Inspect("alice", stateKey); err != nil || got.Shadow.Status != ShadowFound {
		t.Fatalf("got %v, %v", got, err)
	}
	hash, err := os.ReadFile(file)
	if err != nil || len(hash) != 48 {
		t.Fatal(hash, err)
	}
	invert(hash)
	if isInMemory(t, hash) {
		t.Error("the hash of another account is in the memory of this process")
	}
	invert(hash)
	inverted := bytes.Clone(hash)
	invert(inverted)
	if !isInMemory(t, inverted) {
		t.Error("the search does not find a hash that is there")
	}
	runtime.KeepAlive(hash)
}

func invert(b []byte) {
	for i := range b {
		b[i] = ^b[i]
	}
}

// isInMemory looks for a text in the memory that this process may write to. It is given inverted,
// so that it does not find itself.
func isInMemory(t *testing.T, inverted []byte) bool {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	memory, err := os.Open("/proc/self/mem")
	if err != nil {
		t.Fatal(err)
	}
	defer memory.Close()
	buffer := make([]byte, 1<<20)
	for line := range strings.Lines(string(maps)) {
		var begin, end uint64
		var access string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &begin, &end, &access); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(access, "rw") {
			continue
		}
		for at := begin; at < end; at += uint64(len(buffer) - len(inverted)) {
			n, _ := memory.ReadAt(buffer[:min(uint64(len(buffer)), end-at)], int64(at))
			for i := range n - len(inverted) + 1 {
				if isInverse(buffer[i:], inverted) {
					return true
				}
			}
		}
	}
	return false
}

func isInverse(b, inverted []byte) bool {
	for i, c := range inverted {
		if b[i] != ^c {
			return false
		}
	}
	return true
}
