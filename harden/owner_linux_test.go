package harden

import (
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

// becomeArgument UID PATH makes the test binary a process of that account, which then becomes the
// folder's owner, and prints the error or what it is.
const becomeArgument = "become"

func printBecome(uid, path string) {
	if n, err := strconv.Atoi(uid); err != nil || syscall.Setuid(n) != nil {
		fmt.Println("setuid", uid, err)
		return
	}
	if err := BecomeOwnerOf(path); err != nil {
		fmt.Println(err)
		return
	}
	threads, _ := filepath.Glob("/proc/self/task/*/status")
	seen := map[string]bool{}
	for _, thread := range threads {
		text, _ := os.ReadFile(thread)
		is := ""
		for line := range strings.Lines(string(text)) {
			switch name, value, _ := strings.Cut(line, ":"); name {
			case "Uid", "Gid", "Groups", "CapPrm", "CapEff":
				is += name + " " + strings.Join(strings.Fields(value), " ") + ", "
			}
		}
		if !seen[is] {
			seen[is] = true
			fmt.Print(is)
		}
	}
	fmt.Print("root again: ", syscall.Setuid(0) == nil || syscall.Setresuid(-1, 0, -1) == nil)
	dumpable, _, _ := syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_GET_DUMPABLE, 0, 0)
	fmt.Println(", dumpable", dumpable)
}

func TestACommandOfRootBecomesTheFoldersOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root becomes somebody else")
	}
	dir := t.TempDir()
	if err := errors.Join(os.Chmod(dir, 0o755), os.Chmod(filepath.Dir(dir), 0o755)); err != nil {
		t.Fatal(err)
	}
	mkdir := func(name string, uid, gid int) string {
		path := filepath.Join(dir, name)
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(path, uid, gid); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const noCaps = "CapPrm 0000000000000000, CapEff 0000000000000000, root again: false, dumpable 0"
	web, group := mkdir("web", 33, 0), 33
	if groupOf(33, -1) == -1 {
		group = 0 // this system has no such account
	}
	unknown, roots := mkdir("unknown", 54321, 54322), mkdir("root", 0, 0)
	hidden := filepath.Join(mkdir("hidden", 0, 0), "folder")
	link, file := filepath.Join(dir, "link"), filepath.Join(dir, "file")
	if err := os.Symlink(web, link); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, uid, path, want string }{
		{"of an account's folder, that account", "0", web,
			fmt.Sprintf("Uid 33 33 33 33, Gid %[1]d %[1]d %[1]d %[1]d, Groups %[1]d, %s", group, noCaps)},
		{"of a folder whose owner has no account, its owner and group", "0", unknown,
			"Uid 54321 54321 54321 54321, Gid 54322 54322 54322 54322, Groups 54322, " + noCaps},
		{"of a folder that is root's, nobody else", "0", roots, "Uid 0 0 0 0, Gid 0 0 0 0, Groups 0 4, CapPrm"},
		{"and the owner's own process stays", "54321", unknown,
			"Uid 54321 54321 54321 54321, Gid 0 0 0 0, Groups 0 4, "},
		{"but others do not become it", "54321", web,
			"belongs to uid 33, and this process is uid 54321\n  run it with sudo"},
		{"nor root", "54321", roots, "belongs to uid 0, and this process is uid 54321\n  run it with sudo"},
		{"nor look for one that they may not see", "54321", hidden, "permission denied\n  run it with sudo"},
		{"a link is not followed", "0", link, link + " is a link\n  name the folder itself: " + web},
		{"not even with a slash behind it", "0", link + "/", "is a link\n"},
		{"a file is no folder", "0", file, file + " is no folder"},
		{"no folder has no owner", "0", filepath.Join(dir, "absent"), "absent: no such file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], becomeArgument, c.uid, c.path)
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Groups: []uint32{0, 4}}}
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(out), c.want) {
				t.Errorf("%v, %s\nwant %s", err, out, c.want)
			}
		})
	}
}
