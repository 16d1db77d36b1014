package pamauth

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Hints that are commands are pasted by root: into a folder of any name, twice, and after the file
// has changed.
func TestHintsThatAreCommands(t *testing.T) {
	const both = "auth required pam_permit.so\naccount required pam_permit.so\n"
	for _, tt := range []struct {
		name, text, want string // want is the text afterwards; "" = the hint is prose
	}{
		{"another comment sign", both + "; mine\n", both + "# ; mine\n"},
		{"C's comment sign behind blanks", both + "\t// mine\n", both + "# \t// mine\n"},
		{"a byte order mark", "\ufeff" + both, both},
		{"line ends of Windows", strings.ReplaceAll(both, "\n", "\r\n"), both},
		{"line ends of Windows around a backslash", "auth required pam_permit.so\r\n" +
			"account required pam_deny.so \\\r\naccount required pam_permit.so\r\n", "auth required pam_permit.so\n" +
			"account required pam_deny.so \\\r\naccount required pam_permit.so\n"},
		{"a backslash at the end", both + "session optional pam_permit.so \\",
			both + "session optional pam_permit.so "},
		{"a carriage return behind a backslash", "auth requisite pam_deny.so \\\r\n" + both, ""},
		{"an empty line before the next line", "auth required pam_permit.so \\\n\n" + both, ""},
		{"an empty line within a line", "auth required \\\n\n pam_permit.so\n" + both, ""},
		{"a comment before the next line", "auth required pam_permit.so \\\n# why\n" + both, ""},
		{"another comment sign before a line that a backslash adds", "; mine \\\n" + both, ""},
		{"another comment sign behind a dash", "-; mine\n" + both, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "it's; touch X;'$(touch X)`touch X` &")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(dir, "test")
			writeFile(t, file, tt.text)
			hint := firstHint(t, Stack{"test", dir})
			if tt.want == "" {
				if strings.HasPrefix(hint, "sed ") {
					t.Errorf("a command that may change what the file means: %s", hint)
				}
				return
			}
			for range 2 {
				paste(t, hint, filepath.Dir(dir))
				if got := readFile(t, file); got != tt.want {
					t.Errorf("%s\nmakes\n%q", hint, got)
				}
			}
			if !strings.HasPrefix(hint, "sed -i '3") {
				return
			}
			shifted := "# new\nsession required pam_permit.so\n# new\n" + tt.text
			writeFile(t, file, shifted)
			if paste(t, hint, filepath.Dir(dir)); readFile(t, file) != shifted {
				t.Errorf("%s\nchanges another line:\n%s", hint, readFile(t, file))
			}
		})
	}
}

func TestHintsAboutWritableFilesAreQuoted(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "it's; touch X;'$(touch X)")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "test")
	writeFile(t, file, "auth required pam_permit.so\naccount required pam_permit.so\n")
	for _, path := range []string{file, dir} {
		if err := os.Chmod(path, 0o777); err != nil {
			t.Fatal(err)
		}
		paste(t, firstHint(t, Stack{"test", dir}), filepath.Dir(dir))
		checkError(t, Stack{"test", dir}.Check())
	}
}

func firstHint(t *testing.T, stack Stack) string {
	t.Helper()
	_, err := stack.Parse()
	var all StackErrors
	if !errors.As(err, &all) {
		t.Fatalf("got %v, want an error with a hint", err)
	}
	return all[0].Hint
}

// paste runs a command in a folder and wants no file X there.
func paste(t *testing.T, command, dir string) {
	t.Helper()
	cmd := exec.Command("sh", "-c", command)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%s: %v: %s", command, err, out)
	}
	if _, err := os.Lstat(filepath.Join(dir, "X")); err == nil {
		t.Errorf("a path became a command: %s", command)
	}
}

func readFile(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
