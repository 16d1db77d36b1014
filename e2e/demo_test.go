package e2e

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The demonstration prints what the README shows. "make demo-clean" leaves the folder, and the
// demonstration leaves the home folder, as they were.
func TestTheDemonstrationWorksAndLeavesNothing(t *testing.T) {
	t.Parallel()
	need(t, "the demonstration (run scripts/build-tools)", "git", "go", "make", toolPath("oras"))
	if o := run(t, "", exec.Command("scripts/setup", "--check", "demo")); o.status != 0 {
		missing(t, "the demonstration: %s", o.stderr)
	}
	tree, home, temporary := shortDir(t), t.TempDir(), t.TempDir()
	mustRun(t, "sh", "-euc", `cd ..; git ls-files -z | tar --null -T - -c | tar -x -C "$1"`, "sh", tree)
	port := portPair(t)
	typed := func(target string) string {
		cmd := exec.Command("make", "-C", tree, "--no-print-directory", target)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "TMPDIR=" + temporary, "GOPROXY=off",
			"DEMO_EXIT=1", fmt.Sprint("DEMO_PORT=", port)}
		for _, name := range []string{"GOCACHE", "GOMODCACHE"} { // those that have it all
			cmd.Env = append(cmd.Env, name+"="+strings.TrimSpace(run(t, "", exec.Command("go", "env", name)).stdout))
		}
		o := run(t, "", cmd)
		if o.status != 0 {
			t.Fatal(o)
		}
		return regexp.MustCompile("\x1b\\[[0-9]*m").ReplaceAllString(o.stdout, "")
	}
	before := fileNames(t, tree)

	printed := typed("demo")
	_, shown, found := strings.Cut(readFile(t, "../README.md"), "```console\nA wrong password")
	shown, _, _ = strings.Cut(shown, "\n```")
	shown = strings.ReplaceAll("A wrong password"+shown, "localhost:5055", fmt.Sprint("localhost:", port))
	if !found || !strings.Contains(printed, "\n"+shown+"\n") {
		t.Errorf("the README shows\n%s\nand this was printed:\n%s", shown, printed)
	}
	for name := range fileNames(t, tree) {
		if !before[name] && !strings.HasPrefix(name, ".demo-cache") {
			t.Errorf("left behind: %s", name)
		}
	}

	// As it is after the packages were installed, and after a demonstration was killed.
	writeFile(t, filepath.Join(tree, ".demo-cache/packages"), "gcc\nlibpam0g-dev\n", 0o644)
	writeFile(t, filepath.Join(tree, ".demo-cache/go-mod/module/file"), "", 0o444)
	if err := os.Chmod(filepath.Join(tree, ".demo-cache/go-mod/module"), 0o555); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(tree, ".demo-5055/privkey.pem"), "", 0o600)
	if said := typed("demo-clean"); !strings.Contains(said, "apt-mark auto gcc libpam0g-dev && apt-get autoremove\n") {
		t.Errorf("about the packages it says: %s", said)
	}
	for name := range fileNames(t, tree) {
		if !before[name] {
			t.Errorf("left behind by demo-clean: %s", name)
		}
	}
	for _, dir := range []string{home, temporary} {
		for name := range fileNames(t, dir) {
			t.Errorf("left behind outside: %s", name)
		}
	}
}

// portPair is the first of two neighbouring ports that are free.
func portPair(t *testing.T) int {
	t.Helper()
	for range 100 {
		if port := freePort(t); freePort(t) == port+1 {
			return port
		}
	}
	t.Fatal("no two neighbouring ports are free")
	return 0
}

// fileNames are the files and folders below a folder.
func fileNames(t *testing.T, dir string) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, _ fs.DirEntry, err error) error {
		names[path] = path != "."
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	delete(names, ".")
	return names
}
