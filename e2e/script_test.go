package e2e

import (
	"encoding/json"
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
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "shows": shows,
			"applies": applies},
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

// applies runs the remedy of a finding as printed: applies unreadable --config config.yml. It fails
// if check, with the same flags, has the finding afterwards too.
func applies(ts *testscript.TestScript, _ bool, args []string) {
	command := append([]string{"check", "--json"}, args[1:]...)
	remedies := func() []string {
		_ = ts.Exec("dockerauth", command...) // the status is a result
		var report struct {
			Findings []struct{ Code, Remedy string }
		}
		ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &report))
		var remedies []string
		for _, f := range report.Findings {
			if f.Code == args[0] {
				remedies = append(remedies, f.Remedy)
			}
		}
		return remedies
	}
	before := remedies()
	if len(before) != 1 {
		ts.Fatalf("%d findings have the code %s", len(before), args[0])
	}
	ts.Check(ts.Exec("sh", "-c", before[0]))
	if after := remedies(); len(after) != 0 {
		ts.Fatalf("after %q there is %s again", before[0], args[0])
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
