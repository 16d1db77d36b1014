package e2e

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// unixAccount is an account in /etc/passwd and /etc/shadow that a test makes and removes.
type unixAccount struct {
	suffix string
	system bool       // an id below 1000
	change [][]string // commands after the password is set; the name is appended
}

const unixPassword = "correct horse battery staple"

// TestAccountsOfTheSystem asks pam_unix, by the shipped service file, about accounts in every
// state.
func TestAccountsOfTheSystem(t *testing.T) {
	names := makeAccounts(t, []unixAccount{
		{suffix: "ok"},
		{suffix: "expired", change: [][]string{{"chage", "-E", "2001-01-01"}}},
		{suffix: "locked", change: [][]string{{"usermod", "-L"}}},
		{suffix: "due", change: [][]string{{"chage", "-d", "0"}}},
		{suffix: "empty", change: [][]string{{"passwd", "-q", "-d"}}},
		{suffix: "system", system: true},
	})
	cases := []testCase{
		{"the right password", login(names["ok"], unixPassword, serviceIs), want{status: 200, subject: names["ok"]}},
		{"the right password by POST", post("grant_type=password&username=" + names["ok"] + "&password=" +
			strings.ReplaceAll(unixPassword, " ", "+")), want{status: 200, subject: names["ok"], scope: "-"}},
		{"a wrong password", login(names["ok"], "wrong-for-pam-unix", serviceIs), unauthorized("PAM_AUTH_ERR")},
		{"an empty password", login(names["ok"], "", serviceIs), unauthorized("empty")},
		{"an unknown user", login("e2e-nobody-at-all", unixPassword, serviceIs), unauthorized("")},
		{"an account that has expired", login(names["expired"], unixPassword, serviceIs),
			unauthorized("PAM_ACCT_EXPIRED")},
		{"an account that is locked", login(names["locked"], unixPassword, serviceIs), unauthorized("PAM_AUTH_ERR")},
		{"an account whose password must be changed", login(names["due"], unixPassword, serviceIs),
			unauthorized("PAM_NEW_AUTHTOK_REQD")},
		{"an account with an empty password, and any password", login(names["empty"], "any-password", serviceIs),
			unauthorized("")},
		{"an account with an empty password, and none", login(names["empty"], "", serviceIs), unauthorized("")},
		{"an account of the system's own", login(names["system"], unixPassword, serviceIs), unauthorized("")},
		{"root", login("root", unixPassword, serviceIs), unauthorized("")},
		{"nobody", login("nobody", unixPassword, serviceIs), unauthorized("")},
	}
	shadow := []uint32{lookupGroup(t, "shadow")}
	for _, th := range []frontend{bareCGI, httpFrontend} {
		t.Run(th.name, func(t *testing.T) {
			t.Parallel()
			c := newClient(openFrontend(t, th, envOptions{pam: shippedPAM, groups: shadow}))
			c.runAll(t, cases)
			c.checkSecrets(t)
		})
	}
	t.Run("Apache cgi-bin, installed with set-group-id shadow", func(t *testing.T) {
		t.Parallel()
		need(t, apacheCGI.name, apacheCGI.needs...)
		s := newTestEnv(t, envOptions{pam: shippedPAM})
		s.installSetGroupID()
		apacheCGI.open(t, s)
		c := newClient(s)
		c.runAll(t, cases)
		c.checkSecrets(t)
	})
	t.Run("without access to the hashes no password is refused as wrong", func(t *testing.T) {
		t.Parallel()
		c := newClient(openFrontend(t, httpFrontend, envOptions{pam: shippedPAM}))
		c.run(t, testCase{send: login(names["ok"], unixPassword, serviceIs),
			want: want{status: 503, code: "UNAVAILABLE",
				log: map[string]string{"outcome": "broken", "level": "ERROR", "reason": "~-g shadow -m 2510"}}})
		c.checkSecrets(t)
	})
	t.Run("Debian's own stack, which lets empty passwords in elsewhere", func(t *testing.T) {
		t.Parallel()
		need(t, "Debian's PAM stack", "/etc/pam.d/common-auth", "/etc/pam.d/common-account")
		s := openFrontend(t, httpFrontend, envOptions{groups: shadow, pam: func(*testEnv) string {
			return "@include /etc/pam.d/common-auth\n@include /etc/pam.d/common-account\n"
		}})
		if !strings.Contains(readFile(t, "/etc/pam.d/common-auth"), "nullok") {
			t.Error("common-auth has no nullok: this shows nothing any more")
		}
		c := newClient(s)
		c.runAll(t, []testCase{
			{"the right password", login(names["ok"], unixPassword, serviceIs),
				want{status: 200, subject: names["ok"]}},
			{"an empty password in shadow", login(names["empty"], "any-password-at-all", serviceIs), unauthorized("")},
		})
	})
	t.Run("a refresh token of an account that expires later", func(t *testing.T) {
		t.Parallel()
		c := newClient(openFrontend(t, httpFrontend, envOptions{pam: shippedPAM, groups: shadow}))
		forge := func(name string) func(c *client) string {
			return func(c *client) string {
				c.tokens["refresh"] = refreshTokenOf(t, c, names["ok"])
				return post("grant_type=refresh_token&refresh_token=" +
					c.forge(`"sub":"[^"]*"`, `"sub":"`+name+`"`, rs256(c.key)))(c)
			}
		}
		c.runAll(t, []testCase{
			{"of one in order", forge(names["ok"]),
				want{status: 200, subject: names["ok"], scope: "-", refresh: "any"}},
			{"of one that has expired", forge(names["expired"]), unauthorized("PAM_ACCT_EXPIRED")},
			{"of one whose password must be changed", forge(names["due"]), unauthorized("PAM_NEW_AUTHTOK_REQD")},
			{"of one that is gone", forge("e2e-nobody-at-all"), unauthorized("")},
		})
	})
}

func refreshTokenOf(t *testing.T, c *client, name string) string {
	t.Helper()
	_, body, err := c.exchange(login(name, unixPassword, serviceIs+"&offline_token=true")(c))
	var answer tokenAnswer
	if err == nil {
		err = unmarshalExact(body, &answer)
	}
	if err != nil || answer.RefreshToken == nil {
		t.Fatalf("get refresh token: %v: %s", err, body)
	}
	c.nextRequestLine()
	return *answer.RefreshToken
}

// shippedPAM is the service file in the README.
func shippedPAM(s *testEnv) string { return s.shipped("packaging/pam/dockerauth") }

// makeAccounts adds accounts with unused names and removes them when the test ends.
func makeAccounts(t *testing.T, accounts []unixAccount) map[string]string {
	t.Helper()
	needRoot(t, "accounts in /etc/passwd")
	need(t, "accounts in /etc/passwd", "useradd", "userdel", "usermod", "chage", "chpasswd", "passwd",
		"/usr/lib/x86_64-linux-gnu/security/pam_unix.so")
	names := make(map[string]string)
	for _, a := range accounts {
		name := fmt.Sprintf("e2e%d%s", os.Getpid(), a.suffix)
		args := []string{"-M", "-s", "/usr/sbin/nologin"}
		if a.system {
			args = append(args, "-r")
		}
		mustRun(t, "useradd", append(args, name)...)
		t.Cleanup(func() { mustRun(t, "userdel", name) })
		run(t, name+":"+unixPassword+"\n", exec.Command("chpasswd")).must(t)
		for _, c := range a.change {
			mustRun(t, c[0], append(c[1:], name)...)
		}
		names[a.suffix] = name
	}
	return names
}

func lookupGroup(t *testing.T, name string) uint32 {
	t.Helper()
	g, err := user.LookupGroup(name)
	if err != nil {
		missing(t, "accounts in /etc/shadow: there is no group %s on this machine", name)
	}
	id, err := strconv.ParseUint(g.Gid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(id)
}

// modules are PAM modules that no package has. Each does one thing.
var modules = map[string]string{
	// Changes the user's name to lower case, as directories do.
	"lower": `
		const char *name; char small[256]; int i;
		if (pam_get_user(h, &name, 0) != PAM_SUCCESS) return PAM_AUTH_ERR;
		for (i = 0; name[i] && i < 255; i++) small[i] = tolower((unsigned char)name[i]);
		small[i] = 0;
		pam_set_item(h, PAM_USER, small);
		return PAM_SUCCESS;`,
	"crash": `
		*(volatile int *)0 = 1;
		return PAM_SUCCESS;`,
	"exit": `
		_exit(0);`,
	"sleep": `
		for (;;) pause();`,
	// Asks at a prompt that shows the input, and accepts any answer that resembles the password.
	"echo": `
		char *said = 0;
		pam_prompt(h, PAM_PROMPT_ECHO_ON, &said, "login: ");
		return said ? PAM_SUCCESS : PAM_AUTH_ERR;`,
	// Sends messages, and then accepts.
	"chatty": `
		pam_info(h, "Today is a fine day");
		pam_error(h, "Your disk is nearly full");
		return PAM_SUCCESS;`,
}

// module compiles one of them and returns its path.
func module(s *testEnv, name string) string {
	s.t.Helper()
	need(s.t, "a PAM module of the test's own (Debian: gcc, libpam0g-dev)", "gcc",
		"/usr/include/security/pam_modules.h")
	source := s.write(name+".c", `
		#define _GNU_SOURCE
		#include <ctype.h>
		#include <unistd.h>
		#include <security/pam_modules.h>
		#include <security/pam_ext.h>
		int pam_sm_authenticate(pam_handle_t *h, int flags, int argc, const char **argv) {`+modules[name]+`
		}
		int pam_sm_setcred(pam_handle_t *h, int flags, int argc, const char **argv) { return PAM_SUCCESS; }
		int pam_sm_acct_mgmt(pam_handle_t *h, int flags, int argc, const char **argv) { return PAM_SUCCESS; }
	`)
	so := s.path("pam_e2e_" + name + ".so")
	mustRun(s.t, "gcc", "-shared", "-fPIC", "-o", so, source, "-lpam")
	return so
}

// withModule puts a module before the environment's accounts.
func withModule(name string) func(s *testEnv) string {
	return func(s *testEnv) string { return "auth required " + module(s, name) + "\n" + databasePAM(s) }
}

func databasePAM(s *testEnv) string {
	return strings.ReplaceAll("auth required pam_userdb.so db=DB crypt=none\n"+
		"account required pam_userdb.so db=DB crypt=none\n", "DB", s.path("accounts"))
}

// TestModules runs modules with every kind of behaviour: in CGI, which asks PAM itself, and in a
// front end whose child process does.
// TestASetGroupIDProgramBelievesOnlyRoot tries to use a group that the web user does not have, by
// running its own PAM stack with it.
func TestASetGroupIDProgramBelievesOnlyRoot(t *testing.T) {
	needRoot(t, "a set-group-id install")
	web := lookupWebUser(t)
	s := newSite(t, siteOptions{pamService: "auth required pam_permit.so\naccount required pam_permit.so\n"})
	if err := os.Chmod(s.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(s.dir, "dockerauth")
	mustRun(t, "install", "-o", web.name, "-g", "shadow", "-m", "2510", binary(t), program)
	own := filepath.Join(s.dir, "own") // the web user's folder, with a configuration and the same program
	mustRun(t, "install", "-d", "-o", web.name, own)
	if err := os.Link(program, filepath.Join(own, "dockerauth")); err != nil {
		t.Fatal(err)
	}
	mustRun(t, "cp", s.configFile, own)
	// The same, but the configuration is root's while the link to it exists.
	linked := filepath.Join(own, "linked")
	mustRun(t, "install", "-d", "-o", web.name, linked)
	if err := errors.Join(os.Link(program, filepath.Join(linked, "dockerauth")),
		os.Symlink(s.configFile, filepath.Join(linked, "config.yml"))); err != nil {
		t.Fatal(err)
	}
	mustRun(t, "chown", "-R", web.name, own+"/config.yml", s.confdir, s.keyFile)
	cgi := []string{"GATEWAY_INTERFACE=CGI/1.1", "REQUEST_METHOD=GET", "REQUEST_URI=/docker/v2/token",
		"HTTP_AUTHORIZATION=Basic YWxpY2U6eA=="}
	for _, c := range []struct {
		name    string
		program string
		args    []string
		env     []string
		says    string
	}{
		{"a configuration of one's own", program, []string{"http", "--config", s.configFile, "--listen", "127.0.0.1:0"},
			nil, "set-group-id"},
		{"the same over FastCGI", program,
			[]string{"fastcgi", "--config", s.configFile, "--listen", "unix:" + own + "/sock"}, nil, "set-group-id"},
		{"a file that only the group can read", program,
			[]string{"explain", "--config", "/etc/shadow", "x", "repository:a:pull"}, nil, "set-group-id"},
		{"the tokens of others", program, []string{"token", "list", "--config", s.configFile}, nil, "set-group-id"},
		{"a token for oneself", program, []string{"token", "issue", "--config", s.configFile, "--user", alice,
			"--scope", "repository:**:*"}, nil, "set-group-id"},
		{"the record of a token", program, []string{"internal-token"}, nil, "set-group-id"},
		{"the logins of others", program, []string{"logins", "--config", s.configFile}, nil, "set-group-id"},
		{"the keys", program, []string{"jwks", "--config", s.configFile}, nil, "set-group-id"},
		{"a new key", program, []string{"key", "rotate", "--config", s.configFile}, nil, "set-group-id"},
		{"a hard link beside a configuration of one's own", filepath.Join(own, "dockerauth"), nil, cgi,
			"does not belong to root"},
		{"a hard link beside a link to root's configuration", filepath.Join(linked, "dockerauth"), nil, cgi,
			"does not belong to root"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := exec.Command(c.program, c.args...)
			cmd.Env = append([]string{}, c.env...)
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(web.uid),
				Gid: uint32(web.gid)}}
			o := run(t, "", cmd)
			if strings.Contains(o.stdout, "access_token") || !strings.Contains(o.stdout+o.stderr, c.says) {
				t.Errorf("got %v, want %q", o, c.says)
			}
			if strings.Contains(o.stdout+o.stderr, "root:") {
				t.Errorf("it shows what only the group may read: %v", o)
			}
		})
	}
	t.Run("a configuration of one's own, on a FastCGI socket", func(t *testing.T) {
		l, err := net.Listen("unix", filepath.Join(s.dir, "fcgi"))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		socket, err := l.(*net.UnixListener).File()
		if err != nil {
			t.Fatal(err)
		}
		defer socket.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // a service does not end by itself
		defer cancel()
		cmd := exec.CommandContext(ctx, program, "fastcgi", "--config", s.configFile)
		cmd.Env = []string{}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(web.uid),
			Gid: uint32(web.gid)}}
		if o := runOn(t, socket, cmd); o.status != 2 ||
			!strings.Contains(o.stderr, "set-group-id program takes no arguments") {
			t.Errorf("got %v", o)
		}
	})
}

// TestASetGroupIDProgramTakesOrdersFromItselfOnly tries another use of that group: testing
// passwords past configuration, blacklist and throttle.
func TestASetGroupIDProgramTakesOrdersFromItselfOnly(t *testing.T) {
	need(t, "Debian's PAM service of su", "/etc/pam.d/su")
	name := makeAccounts(t, []unixAccount{{suffix: "order"}})["order"]
	web, shadow := lookupWebUser(t), int(lookupGroup(t, "shadow"))
	s := newSite(t, siteOptions{pamService: "auth required pam_permit.so\naccount required pam_permit.so\n"})
	if err := os.Chmod(s.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	borrowing, plain := filepath.Join(s.dir, "borrowing"), filepath.Join(s.dir, "plain")
	mustRun(t, "install", "-o", web.name, "-g", "shadow", "-m", "2510", binary(t), borrowing)
	mustRun(t, "install", binary(t), plain)
	const refuses = "does not come from this program"
	takes := regexp.MustCompile(`(?s)\Ar....\x05\n`)
	for _, c := range []struct {
		name    string
		program string
		gid     int                                // of the user that starts it
		line    func(t *testing.T) (a, b *os.File) // the socket that carries the order
		answer  *regexp.Regexp                     // nil = none
		stderr  string
	}{
		{"any process with the group", plain, shadow, pairOf(web.uid, shadow), takes, ""},
		{"the program itself", borrowing, web.gid, pairOf(web.uid, shadow), takes, ""},
		{"the web user", borrowing, web.gid, pairOf(web.uid, web.gid), nil, refuses},
		{"root, for another user", borrowing, web.gid, pairOf(0, 0), nil, refuses},
		{"another user with that group", borrowing, web.gid, pairOf(web.uid+1, shadow), nil, refuses},
		{"a pipe", borrowing, web.gid, pipe, nil, refuses},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, stack := range [][2]string{{"su", ""}, {"dockerauth", s.confdir}} {
				cmd := exec.Command(c.program, "internal-pam-worker")
				cmd.Env = []string{}
				cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(web.uid),
					Gid: uint32(c.gid)}}
				here, there := c.line(t)
				if _, err := here.WriteString(orderFor(stack[0], stack[1], name, unixPassword)); err != nil {
					t.Fatal(err)
				}
				o := runOn(t, there, cmd)
				answer := make([]byte, 1024)
				n, _, _ := syscall.Recvfrom(int(here.Fd()), answer, syscall.MSG_DONTWAIT)
				got := string(answer[:max(n, 0)])
				wrong := got != ""
				if c.answer != nil {
					wrong = !c.answer.MatchString(got)
				}
				if wrong || !strings.Contains(o.stderr, c.stderr) {
					t.Errorf("%s: got %q, %v, want %q and %q", stack, got, o, c.answer, c.stderr)
				}
			}
		})
	}
}

// orderFor is what a front end sends to the process that holds its conversation.
func orderFor(service, confdir, user, password string) string {
	order := "\x05\x00" + "\x01\x00\x00\x00\x00\x00\x00\x20"
	for _, text := range []string{service, cmp.Or(confdir, "/etc/pam.d"), user, password, ""} {
		order += text + "\x00"
	}
	return string([]byte{byte(len(order)), 0, 0, 0}) + order
}

// pairOf makes socket pairs with the rights of a user and a group, which the kernel records with
// them.
func pairOf(uid, gid int) func(t *testing.T) (a, b *os.File) {
	return func(t *testing.T) (a, b *os.File) {
		t.Helper()
		var errs [2]syscall.Errno
		var fds [2]int
		var failed error
		var done sync.WaitGroup
		done.Go(func() {
			runtime.LockOSThread() // for ever: the thread ends with its rights
			const same = ^uintptr(0)
			_, _, errs[0] = syscall.RawSyscall(syscall.SYS_SETRESGID, same, uintptr(gid), same)
			_, _, errs[1] = syscall.RawSyscall(syscall.SYS_SETRESUID, same, uintptr(uid), same)
			fds, failed = syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
		})
		done.Wait()
		if errs[0] != 0 || errs[1] != 0 || failed != nil {
			t.Fatal(errs, failed)
		}
		return keepOpen(t, os.NewFile(uintptr(fds[0]), "here"), os.NewFile(uintptr(fds[1]), "there"))
	}
}

func pipe(t *testing.T) (a, b *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	return keepOpen(t, w, r)
}

// keepOpen holds both open until the test ends.
func keepOpen(t *testing.T, a, b *os.File) (*os.File, *os.File) {
	t.Cleanup(func() {
		_ = a.Close()
		_ = b.Close()
	})
	return a, b
}

func TestModules(t *testing.T) {
	unavailable := func(reason string) want {
		return want{status: 503, code: "UNAVAILABLE",
			log: map[string]string{"outcome": "broken", "level": "ERROR", "reason": "~" + reason}}
	}
	for _, m := range []struct {
		name   string
		pam    func(s *testEnv) string
		run    testCase
		leaves bool // it writes the ids of processes that it leaves behind into the file "pids"
		fatal  bool // it ends its process: a real web server shows what happens to the answer
	}{
		{name: "a renaming module gives the token its name", pam: withModule("lower"),
			run: testCase{send: login("ALICE", alicePassword, serviceIs),
				want: want{status: 200, subject: alice, log: map[string]string{"user": "ALICE", "subject": alice}}}},
		{name: "a name that becomes a blacklisted one is refused", pam: withModule("lower"),
			run: testCase{send: login("MALLORY", defaultAccounts[mallory], serviceIs),
				want: unauthorized("blacklisted")}},
		{name: "a talkative module is not answered and does no harm", pam: withModule("chatty"),
			run: testCase{send: asAlice(serviceIs), want: want{status: 200}}},
		{name: "the password is not shown at a prompt that shows it", pam: withModule("echo"),
			run: testCase{send: asAlice(serviceIs), want: unauthorized("more than the one password")}},
		{name: "a second prompt is refused",
			pam: func(s *testEnv) string { return strings.Split(databasePAM(s), "\n")[0] + "\n" + databasePAM(s) },
			run: testCase{send: asAlice(serviceIs), want: unauthorized("more than the one password")}},
		{name: "a module that hangs is given up", pam: withModule("sleep"),
			run: testCase{send: asAlice(serviceIs), want: unavailable("no answer in time")}},
		{name: "a program that hangs is ended", pam: hangingProgram, leaves: true,
			run: testCase{send: asAlice(serviceIs), want: unavailable("no answer in time")}},
		{name: "a module that crashes", pam: withModule("crash"), fatal: true,
			run: testCase{send: asAlice(serviceIs), want: unavailable("without a response")}},
		{name: "a module that ends the process", pam: withModule("exit"), fatal: true,
			run: testCase{send: asAlice(serviceIs), want: unavailable("without a response")}},
		{name: "a module that is not there",
			pam: func(s *testEnv) string { return "auth required pam_e2e_missing.so\n" + databasePAM(s) },
			run: testCase{send: asAlice(serviceIs), want: unavailable("PAM_MODULE_UNKNOWN")}},
	} {
		cgi := bareCGI
		if m.fatal {
			cgi = apacheCGI
		}
		for _, th := range []frontend{cgi, httpFrontend} {
			t.Run(m.name+", "+th.name, func(t *testing.T) {
				t.Parallel()
				s := openFrontend(t, th, envOptions{pam: m.pam, timeout: "1s"})
				c := newClient(s)
				c.run(t, m.run)
				if s.service != nil && !s.service.running() {
					t.Error("the service is gone")
				}
				checkNothingLeft(t, s, m.leaves)
				c.checkSecrets(t)
			})
		}
	}
}

// hangingProgram has PAM run a program that leaves its session, starts another and never ends.
func hangingProgram(s *testEnv) string {
	script := fmt.Sprintf("#!/bin/sh\nsleep 1000 &\necho $$ $! > %s/pids.new\nmv %[1]s/pids.new %[1]s/pids\n"+
		"exec sleep 1000\n", s.dir)
	writeFile(s.t, s.path("hang.sh"), script, 0o755)
	return "auth required pam_exec.so quiet " + s.path("hang.sh") + "\n" + databasePAM(s)
}

// checkNothingLeft looks for processes that a module has started, and for conversations.
func checkNothingLeft(t *testing.T, s *testEnv, leaves bool) {
	t.Helper()
	if leaves {
		pids := strings.Fields(readFile(t, s.path("pids")))
		if len(pids) != 2 {
			t.Fatalf("the module's program started processes %q, want two", pids)
		}
		for _, pid := range pids {
			n, _ := strconv.Atoi(pid)
			eventually(t, 5*time.Second, "process "+pid+" of the module to be gone", func() bool { return ended(n) })
		}
	}
	eventually(t, 5*time.Second, "every process of "+s.program+" but the service to be gone", func() bool {
		for _, pid := range processesOf(s.program) {
			if s.service == nil || pid != s.service.cmd.Process.Pid {
				return false
			}
		}
		return true
	})
}

func ended(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(stat), ") Z ") || syscall.Kill(pid, 0) == syscall.ESRCH
}

// processesOf are the running processes of a program file.
func processesOf(program string) []int {
	links, _ := filepath.Glob("/proc/[0-9]*/exe")
	var pids []int
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && target == program {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(link)))
			pids = append(pids, pid)
		}
	}
	return pids
}

// TestAServiceNameWithoutAFileNeverBecomesOther names a PAM service that does not exist: on Debian
// PAM would use "other", which accepts logins.
func TestAServiceNameWithoutAFileNeverBecomesOther(t *testing.T) {
	noSuchService := func(s *testEnv) {
		text := readFile(t, s.configFile)
		text = strings.Replace(text, "service: dockerauth", "service: e2e-no-such-service", 1)
		text = strings.Replace(text, fmt.Sprintf("  confdir: %q\n", s.confdir), "", 1)
		s.replace(s.configFile, text)
	}
	t.Run("the HTTP front end does not start", func(t *testing.T) {
		t.Parallel()
		s := newTestEnv(t, envOptions{})
		noSuchService(s)
		s.listen()
		o := run(t, "", s.asWeb(exec.Command(s.program, "http", "--listen", s.address)))
		if o.status == 0 || !strings.Contains(o.stderr, "e2e-no-such-service") ||
			!strings.Contains(o.stderr, "put a service file there") {
			t.Errorf("%v", o)
		}
	})
	t.Run("CGI answers 503", func(t *testing.T) {
		t.Parallel()
		s := newTestEnv(t, envOptions{})
		noSuchService(s)
		bareCGI.open(t, s)
		c := newClient(s)
		answer, body, err := c.exchange(asAlice(serviceIs)(c))
		if err != nil || answer.StatusCode != http.StatusServiceUnavailable ||
			!strings.Contains(string(body), "UNAVAILABLE") {
			t.Errorf("%v %v %s", err, answer, body)
		}
		if text := readFile(t, s.path("run/cgi.log")); !strings.Contains(text, "put a service file there") {
			t.Errorf("the web server's error log does not say what to do: %s", text)
		}
	})
}
