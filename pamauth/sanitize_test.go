//go:build linux && cgo

package pamauth

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// sanitizedChild compiles child.c alone, so that a read or write beyond a buffer ends it. Modules
// that call crypt(3) do not work in it.
func sanitizedChild(t *testing.T, more string) (program []string) {
	t.Helper()
	main := filepath.Join(t.TempDir(), "main.c")
	writeFile(t, main, more+"int main(void) { return 1; }\n")
	file := strings.TrimSuffix(main, ".c")
	if out, err := exec.Command("gcc", "-g", "-O1", "-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Werror",
		"-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-o", file, main, "child.c", "-lpam").
		CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return []string{file, "internal-pam-worker"}
}

func TestTheChildStaysWithinItsBuffers(t *testing.T) {
	requireModules(t, "pam_ftp.so", "pam_debug.so", "pam_exec.so")
	program := sanitizedChild(t, "")
	services := newServiceDir(t)
	services.write("says", "#!/bin/sh\nfor i in $(seq $1); do echo hello $i; done\n", 0o755)
	long := strings.Repeat("x", maxName)
	tests := []struct {
		name  string
		auth  string
		login Login
		want  string // in the error, "" = let in
	}{
		{"a password that a module asks for", "auth required pam_ftp.so users=alice", rightLogin, ""},
		{
			"a prompt too many",
			strings.Repeat("auth required pam_ftp.so users=alice\n", 2),
			rightLogin,
			"more than the one",
		},
		{"a refusal", "auth required pam_debug.so auth=auth_err", rightLogin, "PAM_AUTH_ERR"},
		{"the longest texts", permitAuth, Login{User: long, Password: Password(strings.Repeat("y", maxPassword)),
			Remote: strings.Repeat("1", maxRemote), Groups: true}, ""},
		{"groups", permitAuth, Login{User: "root", Password: password, Groups: true}, ""},
		{"an account check", permitAuth, Login{User: "root", AccountOnly: true, Groups: true}, ""},
		{"a look up", permitAuth, Login{User: "root", AccountOnly: true, LookUpOnly: true, Groups: true}, ""},
		{"too many messages", "auth optional pam_exec.so stdout @/says 40\nauth required pam_deny.so", rightLogin,
			"exceeded 32 messages"},
		{"processes that stay", "auth optional pam_exec.so " + services.path("leave"), rightLogin, ""},
	}
	services.write("leave", "#!/bin/sh\nsleep 60 & sleep 60 & exit 0\n", 0o755)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var stderr syncBuffer
			c := child(services.stack("test", tt.auth, permitAccount), &stderr)
			c.program = program
			_, err := authenticate(t, c, tt.login)
			if tt.want == "" && err != nil ||
				tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) ||
				stderr.String() != "" {
				t.Errorf("got %v, want %q; it printed %s", err, tt.want, stderr.String())
			}
		})
	}
	stack := services.stack("test", permitAuth, permitAccount)
	whole, err := request{Stack: stack, Login: rightLogin}.encode()
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(whole) {
		var stderr syncBuffer
		p, err := startChild(program[0], program)
		if err != nil {
			t.Fatal(err)
		}
		cut := append([]byte{byte(n), 0, 0, 0}, whole[4:max(4, n)]...)
		p.sendRequest(t.Context(), cut)
		p.closeWrite()
		<-p.ended
		if stderr.Write(p.output()); stderr.String() != "" {
			t.Errorf("%d bytes of a request: %s", n, stderr.String())
		}
		p.close()
	}
}

// With some of them missing, access rules would give wrong answers. The group database is the
// test's.
func TestTooManyGroupsAreAnError(t *testing.T) {
	for count, want := range map[int]string{2000: "", 4000: "in 4000 groups", 70000: "in 70000 groups"} {
		c := child(newServiceDir(t).stack("test", permitAuth, permitAccount), nil)
		c.program = sanitizedChild(t, fmt.Sprintf("enum { count = %d };\n", count)+`#include <grp.h>
int getgrouplist(const char *user, gid_t primary, gid_t *ids, int *size)
{
	int space = *size;

	*size = count;
	for (int i = 0; i < count && i < space; i++)
		ids[i] = user[0] == 0 ? primary : (gid_t)i;
	return count > space ? -1 : count;
}
int getgrgid_r(gid_t id, struct group *entry, char *buffer, size_t size, struct group **found)
{
	static char name[] = "twenty-letters-exact";

	*entry = (struct group){.gr_gid = id, .gr_name = size > 0 && buffer != 0 ? name : 0};
	*found = entry;
	return 0;
}
`)
		account, err := authenticate(t, c, Login{User: "root", Password: password, Groups: true})
		switch {
		case want == "" && (err != nil || len(account.Groups) != count || account.Groups[1].ID != 1):
			t.Errorf("%d groups became %d, %v", count, len(account.Groups), err)
		case want != "" && (!errors.Is(err, ErrBroken) || !strings.Contains(err.Error(), want)):
			t.Errorf("%d groups: got %v, want %q", count, err, want)
		}
	}
}
