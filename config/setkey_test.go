package config

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A command that sets a key leaves all others as they are, or there is none.
func TestAKeyIsSetWhereOneLineDoesIt(t *testing.T) {
	const no = "no command"
	for _, c := range []struct{ name, text, value, want string }{
		{"a line of its own", "issuer: a\nstate: /old\naudience: b\n", "/new", "issuer: a\nstate: /new\naudience: b\n"},
		{"a key that is not there", "issuer: a\n", "/new", "issuer: a\nstate: /new\n"},
		{"a last line without an end", "issuer: a", "/new", "issuer: a\nstate: /new\n"},
		{"an empty value", "state:\nissuer: a\n", "/new", "state: /new\nissuer: a\n"},
		{"a value in quotes", "issuer: a\n", `"/it's \"x\" \\ $(touch X)"`,
			"issuer: a\nstate: \"/it's \\\"x\\\" \\\\ $(touch X)\"\n"},
		{"the same word in a section", "issuer: a\npam:\n  state: x\n", "/new",
			"issuer: a\npam:\n  state: x\nstate: /new\n"},
		{"braces around all", "{issuer: a, state: /old}\n", "/new", no},
		{"braces around all, without the key", "{issuer: a}\n", "/new", no},
		{"braces over several lines", "{\nstate: /old,\nissuer: a\n}\n", "/new", no},
		{"a text of several lines", "issuer: a\nstate: >\n  /old\n", "/new", no},
		{"a value on the next line", "issuer: a\nstate:\n  /old\n", "/new", no},
		{"a list on the next lines", "issuer: a\nstate:\n- x\n", "/new", no},
		{"a document that ends", "issuer: a\n...\n", "/new", no},
		{"a text in quotes at the end", "issuer: \"a\n\n  b\n", "/new", no},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "con'fig.yml")
			put(t, path, []byte(c.text), 0o644)
			command := SetCommand(path, "state", c.value)
			if c.want == no {
				if command != "" {
					t.Errorf("got %s", command)
				}
				if said := SetAnd(path, "state", c.value, "true"); !strings.HasPrefix(said, "write ") {
					t.Errorf("got %s", said)
				}
				return
			}
			if out, err := exec.Command("sh", "-c", command).CombinedOutput(); err != nil {
				t.Fatalf("%s: %v: %s", command, err, out)
			}
			if got, err := os.ReadFile(path); err != nil || string(got) != c.want {
				t.Errorf("%s: %v\ngot\n%s\nwant\n%s", command, err, got, c.want)
			}
		})
	}
}

func TestAnOlderCopyStays(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "cert.pem")
	put(t, path, []byte("new"), 0o644)
	put(t, path+".old", []byte("old"), 0o644)
	if out, err := exec.Command("sh", "-c", aside(path)+"true").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for name, want := range map[string]string{".old": "new", ".old.~1~": "old"} {
		if got, err := os.ReadFile(path + name); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// The folder of a configuration may be another user's, and root pastes the remedy.
func TestAnotherEncodingIsWrittenThroughNoLink(t *testing.T) {
	dir := t.TempDir()
	path, victim := filepath.Join(dir, "config.yml"), filepath.Join(dir, "victim")
	text := []byte(head + "# caf\xe9\n")
	put(t, path, text, 0o644)
	if err := os.Symlink(victim, path+".new"); err != nil {
		t.Fatal(err)
	}
	_, errs := parse(path, dir, text)
	if len(errs) != 1 {
		t.Fatal(errs)
	}
	if out, err := exec.Command("sh", "-c", errs[0].Hint).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", errs[0].Hint, err, out)
	}
	if _, err := os.Lstat(victim); err == nil {
		t.Errorf("%s writes through the link", errs[0].Hint)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != head+"# café\n" {
		t.Errorf("%q, %v", got, err)
	}
}
