package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

const (
	serviceUser = 54321 // owns the folder with the tokens, and has no account
	otherUser   = 54322
)

// installTokens is install for a service of another user, with a folder for tokens.
func installTokens(t *testing.T) (program, config, dir string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can give a folder away")
	}
	program, config = install(t, goodConfig+"state: state\nlog: {file: log/file}\n")
	dir = filepath.Dir(program)
	makeReachable(t, program)
	for _, name := range []string{"state", "log"} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.Mkdir(path, 0o700), os.Chown(path, serviceUser, serviceUser)); err != nil {
			t.Fatal(err)
		}
	}
	return program, config, dir
}

// runAs runs the program as another user.
func runAs(t *testing.T, uid uint32, program string, args ...string) result {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Env = []string{}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// issuePersonal makes a token that ends with the password of root, and returns its text.
func issuePersonal(t *testing.T, program, config string) string {
	t.Helper()
	got := runProgram(t, program, []string{"SUDO_USER=admin"}, "token", "issue", "--config", config, "--user", "root",
		"--scope", "repository:a/**:pull")
	if got.status != 0 || !regexp.MustCompile(`\Adka_[0-9A-Za-z]{43}\n\z`).MatchString(got.stdout) {
		t.Fatalf("%+v", got)
	}
	return strings.TrimSpace(got.stdout)
}

// A link in the folder, or a hostile database, then leads a command of root's nowhere else.
func TestRootsCommandsWorkInTheFolderAsItsOwner(t *testing.T) {
	program, config, dir := installTokens(t)
	token := issuePersonal(t, program, config)
	id := token[4:14]
	rotated := runProgram(t, program, nil, "token", "rotate", "--config", config, id)
	if rotated.status != 0 || rotated.stdout == "" {
		t.Fatalf("%+v", rotated)
	}
	next := strings.TrimSpace(rotated.stdout)
	if got := runProgram(t, program, nil, "token", "show", "--config", config, "--json", id); got.status != 0 ||
		!strings.Contains(got.stdout, `"replaced_by": "`+next[4:14]+`"`) {
		t.Errorf("%+v", got)
	}
	if got := runProgram(t, program, nil, "token", "revoke", "--config", config, id, next[4:14]); got.status != 0 {
		t.Errorf("%+v", got)
	}
	if got := runProgram(t, program, nil, "token", "rotate", "--config", config, "0123456789"); got.status != 1 ||
		got.stderr != "dockerauth: there is no token 0123456789\n"+
			"  dockerauth token list shows those that have not expired\n" {
		t.Errorf("one that does not exist: %+v", got)
	}
	files := 0
	for _, folder := range []string{"state", "log"} {
		entries, err := os.ReadDir(filepath.Join(dir, folder))
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			files++
			path := filepath.Join(dir, folder, entry.Name())
			info, err := entry.Info()
			if err != nil || info.Sys().(*syscall.Stat_t).Uid != serviceUser || info.Mode().Perm()&0o007 != 0 {
				t.Errorf("%s: %v, %v", path, info.Mode(), err)
			}
			for _, text := range []string{token[14:41], next[14:41]} {
				if strings.Contains(readFile(t, path), text) {
					t.Errorf("%s has a token", path)
				}
			}
		}
	}
	if files < 4 {
		t.Errorf("%d files are there", files)
	}
	log := readFile(t, filepath.Join(dir, "log", "file"))
	for _, line := range []string{
		`msg="token issued" event=token-issued credential=` + id + ` kind=personal subject=root ` +
			`scope=repository:a/\*\*:pull expires=\S+Z by=admin\n`,
		`msg="token rotated" event=token-rotated credential=` + next[4:14] + ` kind=personal .* replaces=` + id +
			` overlap=1d by=root\n`,
		`msg="token revoked" event=token-revoked credential=` + id + ` .* by=root\n`,
	} {
		if !regexp.MustCompile(line).MatchString(log) {
			t.Errorf("the log lacks %s:\n%s", line, log)
		}
	}
}

// Nobody knows such a token, and it would be good for months.
func TestATokenForAClosedPipeIsRevoked(t *testing.T) {
	program, config, dir := installTokens(t)
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	reader.Close()
	defer writer.Close()
	cmd := exec.Command(program, "token", "issue", "--config", config, "--user", "root", "--keep", "--scope",
		"repository:a:pull")
	cmd.Env = []string{}
	cmd.Stdout = writer
	var stderr strings.Builder
	cmd.Stderr = &stderr
	_ = cmd.Run() // the status is looked at
	if cmd.ProcessState.ExitCode() != 1 || !strings.HasSuffix(stderr.String(),
		": broken pipe\n  it is revoked: issue another\n") {
		t.Errorf("%v: %s", cmd.ProcessState, &stderr)
	}
	if log := readFile(t, filepath.Join(dir, "log", "file")); !strings.Contains(log, "event=token-revoked") {
		t.Errorf("the log has\n%s", log)
	}
}

func TestOthersAreToldHowRootRunsTheCommand(t *testing.T) {
	program, config, dir := installTokens(t)
	id := issuePersonal(t, program, config)[4:14]
	list := func(uid uint32) result { return runAs(t, uid, program, "token", "list", "--config", config) }
	const sudo = "\n  run it as root: sudo dockerauth token list\n"
	if got := list(otherUser); got.status != 1 || got.stdout != "" || !strings.HasSuffix(got.stderr, sudo) {
		t.Errorf("without the right to read the key: %+v", got)
	}
	if err := errors.Join(os.Chmod(config, 0o644), os.Chown(filepath.Join(dir, "privkey.pem"), 0, otherUser),
		os.Chmod(filepath.Join(dir, "privkey.pem"), 0o640)); err != nil {
		t.Fatal(err)
	}
	if got := list(otherUser); got.status != 1 || got.stdout != "" || !strings.HasSuffix(got.stderr, sudo) ||
		!strings.Contains(got.stderr, "state: ") {
		t.Errorf("with it: %+v", got)
	}
	if err := os.Chown(filepath.Join(dir, "privkey.pem"), 0, serviceUser); err != nil {
		t.Fatal(err)
	}
	if got := list(serviceUser); got.status != 0 || !strings.Contains(got.stdout, id) {
		t.Errorf("the owner of the folder: %+v", got)
	}
	got := runAs(t, serviceUser, program, "token", "issue", "--config", config, "--user", "root", "--scope",
		"repository:a:pull")
	if got.status != 1 || got.stdout != "" || !strings.Contains(got.stderr, "/etc/shadow cannot be read") {
		t.Errorf("a token that cannot follow the password: %+v", got)
	}
	got = runAs(t, serviceUser, program, "token", "rotate", "--config", config, id)
	if got.status != 1 || got.stdout != "" || !strings.Contains(got.stderr, "/etc/shadow cannot be read") {
		t.Errorf("a successor that cannot follow the password: %+v", got)
	}
	got = runAs(t, serviceUser, program, "token", "issue", "--config", config, "--user", "root", "--keep", "--scope",
		"repository:a:pull")
	if got.status != 0 || !strings.HasPrefix(got.stdout, "dka_") {
		t.Errorf("a token that does not follow it: %+v", got)
	}
}

// The accounts of pam_userdb and others are PAM's alone.
func TestATokenIsForAnAccountThatUnixOrPAMKnows(t *testing.T) {
	program, config := install(t, goodConfig+"state: state\n")
	dir := filepath.Dir(program)
	if err := os.Mkdir(filepath.Join(dir, "state"), 0o700); err != nil {
		t.Fatal(err)
	}
	issue := func() result {
		return runProgram(t, program, nil, "token", "issue", "--config", config, "--user", "no-such-account", "--keep",
			"--scope", "repository:a:pull")
	}
	if got := issue(); got.status != 0 || !strings.HasPrefix(got.stdout, "dka_") {
		t.Errorf("PAM knows it: %+v", got)
	}
	got := runProgram(t, program, nil, "token", "list", "--config", config, "--json")
	var list []struct{ User string }
	if err := json.Unmarshal([]byte(got.stdout), &list); err != nil || fmt.Sprint(list) != "[{no-such-account}]" {
		t.Errorf("%v: %+v", err, got)
	}
	write(t, filepath.Join(dir, "pam.d", "dockerauth"), "auth required pam_deny.so\naccount required pam_deny.so\n")
	if got := issue(); got.status != 1 || got.stdout != "" ||
		!strings.Contains(got.stderr, `there is no account "no-such-account" on this machine`) {
		t.Errorf("neither knows it: %+v", got)
	}
}

// A configuration of the web server's user must not run their modules as root.
func TestRootAsksNoPAMThatOthersCouldHaveWritten(t *testing.T) {
	for _, foreign := range []string{"config.yml", "pam.d", "pam.d/dockerauth", "module.so"} {
		t.Run(foreign, func(t *testing.T) {
			program, config, dir := installTokens(t)
			at := func(name string) string { return filepath.Join(dir, name) }
			if err := os.Chown(at("state"), 0, 0); err != nil {
				t.Fatal(err)
			}
			write(t, at("module.so"), "")
			write(t, at("pam.d/dockerauth"), "auth required pam_permit.so\naccount required pam_permit.so\n"+
				"session optional "+at("module.so")+"\naccount optional "+at("module.so")+"\n")
			issue := func(user string) result {
				return runProgram(t, program, nil, "token", "issue", "--config", config, "--user", user, "--keep",
					"--scope", "repository:a:pull")
			}
			if got := issue("no-such-account"); got.status != 0 {
				t.Fatalf("PAM is asked: %+v", got)
			}
			if err := os.Chown(at(foreign), otherUser, -1); err != nil {
				t.Fatal(err)
			}
			got := issue("no-such-account")
			if got.status != 1 || got.stdout != "" || !strings.Contains(got.stderr, "PAM was not asked about ") ||
				!strings.Contains(got.stderr, "there is no account") ||
				!strings.Contains(got.stderr, foreign) {
				t.Errorf("PAM's own account: %+v", got)
			}
			if got := issue("root"); got.status != 0 || !strings.HasPrefix(got.stdout, "dka_") {
				t.Errorf("an account of Unix: %+v", got)
			}
			// The owner of the folder has no rights that the service lacks.
			if err := errors.Join(os.RemoveAll(at("state")), os.Mkdir(at("state"), 0o700),
				os.Chown(at("state"), serviceUser, serviceUser)); err != nil {
				t.Fatal(err)
			}
			makeReachable(t, at("pam.d/dockerauth"))
			write(t, at("pam.d/dockerauth"), "auth required pam_permit.so\naccount required pam_permit.so\n"+
				"account optional "+at("module.so")+"\naccount required pam_exec.so /usr/bin/touch "+at("log/ran")+"\n")
			got = issue("no-such-account")
			info, err := os.Stat(at("log/ran"))
			if got.status != 0 || err != nil || info.Sys().(*syscall.Stat_t).Uid != serviceUser {
				t.Errorf("PAM is asked as the owner of the folder: %v, %+v", err, got)
			}
			if log := readFile(t, at("log/file")); !strings.Contains(log, " by=root\n") {
				t.Errorf("the log has\n%s", log)
			}
		})
	}
}

// The log of the service may be in a folder of the service's user, who can put a link there.
func TestRootsCommandsFollowNoLinkToALog(t *testing.T) {
	program, config, dir := installTokens(t)
	if err := errors.Join(os.Chown(filepath.Join(dir, "state"), 0, 0),
		os.Symlink("../target", filepath.Join(dir, "log", "file"))); err != nil {
		t.Fatal(err)
	}
	issuePersonal(t, program, config)
	if _, err := os.Lstat(filepath.Join(dir, "target")); err == nil {
		t.Error("a file was made where the link leads")
	}
}

func TestASetGroupIDProgramHasNoTokens(t *testing.T) {
	program, config, _ := installTokens(t)
	if err := errors.Join(os.Chown(program, 0, serviceUser), os.Chmod(program, 0o755|os.ModeSetgid)); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"token", "list"}, {"token", "issue"}, {"logins"}, {"internal-token"}} {
		got := runAs(t, otherUser, program, append(args, "--config", config)...)
		if got.status != 1 || !strings.Contains(got.stderr, "not for a set-group-id program") {
			t.Errorf("%q: %+v", args, got)
		}
	}
}
