package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestScripts runs the commands as a person types them. A script needs neither root nor network.
func TestScripts(t *testing.T) {
	need(t, "script tests (Debian: openssl, jq, db-util)", "openssl", "jq", "db_load")
	program := binary(t)
	packaged, err := filepath.Abs("../packaging")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                filepath.Join("testdata", "script"),
		RequireUniqueNames: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", filepath.Dir(program)+":"+env.Getenv("PATH"))
			env.Setenv("PACKAGED", packaged)
			// init and check refuse folders that others may write to.
			return exec.Command("chmod", "-R", "go-w", env.WorkDir).Run()
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "shows": shows},
	})
}

// exits is "exec" for a program that ends with a status: exits 2 dockerauth help nonsense.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	var exit *exec.ExitError
	err := ts.Exec(args[1], args[2:]...)
	if !errors.As(err, &exit) || strconv.Itoa(exit.ExitCode()) != args[0] {
		ts.Fatalf("want exit status %s: %v", args[0], err)
	}
}

// shows compares an output with a file: shows stdout want. In the file … stands for any text in a
// line, and alone on a line for any lines; $NAME is a variable.
func shows(ts *testscript.TestScript, _ bool, args []string) {
	want := regexp.QuoteMeta(os.Expand(ts.ReadFile(args[1]), ts.Getenv))
	want = regexp.MustCompile(`(?m)^…\n`).ReplaceAllLiteralString(want, `(?:.*\n)*`)
	want = strings.ReplaceAll(want, "…", ".*")
	if !regexp.MustCompile(`^` + want + `$`).MatchString(ts.ReadFile(args[0])) {
		ts.Fatalf("%s is not as in %s", args[0], args[1])
	}
}
