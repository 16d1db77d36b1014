package pamauth

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestStacksThatWouldFallBackToOtherAreRefused(t *testing.T) {
	const both = "auth required pam_permit.so\naccount required pam_permit.so\n"
	tests := []struct {
		name    string
		service string // "test" if empty
		files   map[string]string
		says    []string // in the error; none: no error
	}{
		{name: "both phases", files: map[string]string{"test": both}},
		{name: "types and controls in capitals", files: map[string]string{"test": "AUTH Required pam_permit.so\nAccount SUFFICIENT pam_permit.so\n"}},
		{name: "blanks, tabs and comments", files: map[string]string{"test": "# mine\n\n \t auth\trequired  pam_permit.so # why\n\taccount required pam_permit.so"}},
		{name: "a silent module counts", files: map[string]string{"test": "-auth required pam_permit.so\n-account required pam_permit.so\n"}},
		{name: "a control in brackets", files: map[string]string{"test": "auth [success=ok default=bad] pam_permit.so\naccount [default=bad] pam_permit.so\n"}},
		{name: "a line that goes on", files: map[string]string{"test": "auth \\\n required \\\n pam_permit.so\naccount required pam_permit.so\n"}},
		{name: "both phases from one include", files: map[string]string{"test": "@include @/more\n", "more": both}},
		{name: "each phase from its include", files: map[string]string{"test": "auth include @/more\naccount substack @/more\n", "more": both}},
		{name: "an include of an include", files: map[string]string{"test": "@include @/more\n", "more": "@include @/most\n", "most": both}},

		{name: "no file", says: []string{"no such file", "dockerauth init makes one", `"other"`}},
		{name: "an empty file", files: map[string]string{"test": ""}, says: []string{`no "auth" line`}},
		{name: "comments only", files: map[string]string{"test": "# auth required pam_permit.so\n"}, says: []string{`no "auth" line`}},
		{name: "no account phase", files: map[string]string{"test": "auth required pam_permit.so\n"}, says: []string{`no "account" line`, `"other"`}},
		{name: "no auth phase", files: map[string]string{"test": "account required pam_permit.so\nsession required pam_permit.so\n"}, says: []string{`no "auth" line`}},
		{name: "a phase that the include does not have", files: map[string]string{"test": "auth include @/more\naccount include @/more\n", "more": "auth required pam_permit.so\n"}, says: []string{`no "account" line`}},
		{name: "a phase that the include was not asked for", files: map[string]string{"test": "auth include @/more\n", "more": both}, says: []string{`no "account" line`}},
		{name: "a comment that a backslash does not continue", files: map[string]string{"test": "auth required pam_permit.so\n# x \\\naccount required pam_permit.so\n"}},
		{name: "an include that is not there", files: map[string]string{"test": both + "@include @/nowhere\n"}, says: []string{"test:3: ", "nowhere: no such file"}},
		{name: "a relative include that is nowhere", files: map[string]string{"test": both + "auth include no-such-service-file\n"}, says: []string{"test:3: ", "write the whole path"}},
		{name: "a circle of includes", files: map[string]string{"test": "@include @/test\n"}, says: []string{"test:1: ", "includes itself", "take the include on that line away"}},
		{name: "a circle of two", files: map[string]string{"test": both + "auth include @/more\n", "more": "@include @/test\n"}, says: []string{"more:1: ", "includes itself"}},
		{name: "one file for each phase, which is no circle", files: map[string]string{"test": "auth include @/more\naccount include @/more\n@include @/more\n", "more": both}},
		{name: "a chain too long", files: chain(maxIncludes), says: []string{"more than 16 deep"}},
		{name: "a vertical tab, which PAM takes for a letter", files: map[string]string{"test": both + "\vaccount required pam_permit.so\n"}, says: []string{"test:3: "}},
		{name: "a line of one word, on which libpam 1.5.2 crashes", files: map[string]string{"test": both + "auth\n"}, says: []string{"test:3: "}},
		{name: "an unknown type", files: map[string]string{"test": both + "authentication required pam_permit.so\n"}, says: []string{"test:3: ", "does not begin with auth"}},
		{name: "a line without a module", files: map[string]string{"test": both + "auth required\n"}, says: []string{"test:3: ", "without control or module"}},
		{name: "a bracket that does not close", files: map[string]string{"test": both + "auth [success=ok pam_permit.so\n"}, says: []string{"test:3: "}},
		{name: "a huge file", files: map[string]string{"test": both + strings.Repeat("#\n", maxServiceFile)}, says: []string{"larger than"}},
		{name: "a folder", service: "folder", says: []string{"not a regular file"}},

		{name: "a dash", service: "-", says: []string{"no such file"}},
		{name: "a path", service: "../test", says: []string{`'/'`}},
		{name: "capitals, which PAM would lower", service: "Test", says: []string{`'T'`}},
		{name: "a hidden file", service: ".test", says: []string{"dot"}},
		{name: "other itself", service: "other", files: map[string]string{"other": both}, says: []string{"no file of their own"}},
		{name: "a NUL", service: "test\x00", says: []string{`'\x00'`}},
		{name: "a name too long", service: strings.Repeat("x", 256), says: []string{"longer than"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, text := range tt.files {
				put(t, filepath.Join(dir, name), strings.ReplaceAll(text, "@/", dir+"/"))
			}
			if err := os.Mkdir(filepath.Join(dir, "folder"), 0o755); err != nil {
				t.Fatal(err)
			}
			service := tt.service
			if service == "" {
				service = "test"
			}
			says(t, Stack{service, dir}.Check(), tt.says...)
		})
	}
}

func TestStacksOnUnsafeFootingAreRefused(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "test")
	put(t, file, "auth required pam_permit.so\naccount required pam_permit.so\n")
	if err := os.Chmod(file, 0o666); err != nil {
		t.Fatal(err)
	}
	says(t, Stack{"test", dir}.Check(), "anyone may write", "chmod o-w")
	says(t, Stack{"test", "relative"}.Check(), "not an absolute path")
	says(t, Stack{"", dir}.Check(), "no name")
}

// chain is a service file that includes another, and so on, that many times.
func chain(n int) map[string]string {
	files := map[string]string{"test": "@include @/1\n"}
	for i := 1; i < n; i++ {
		files[fmt.Sprint(i)] = fmt.Sprintf("@include @/%d\n", i+1)
	}
	files[fmt.Sprint(n)] = "auth required pam_permit.so\n"
	return files
}

func TestAStackInAFolderThatEverybodyMayChangeIsRefused(t *testing.T) {
	const both = "auth required pam_permit.so\naccount required pam_permit.so\n"
	for _, open := range []string{"", "included"} {
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, "included"), 0o755); err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(dir, "test"), "@include "+dir+"/included/more\n")
		put(t, filepath.Join(dir, "included", "more"), both)
		says(t, Stack{"test", dir}.Check())
		folder := filepath.Join(dir, open)
		for mode, want := range map[os.FileMode][]string{0o777: {"another file in its place", "chmod o-w " + folder}, 0o777 | os.ModeSticky: nil} {
			if err := os.Chmod(folder, mode); err != nil {
				t.Fatal(err)
			}
			says(t, Stack{"test", dir}.Check(), want...)
		}
	}
}

func TestANamedPipeIsNoServiceFile(t *testing.T) {
	for _, name := range []string{"test", "more"} {
		dir := t.TempDir()
		if name == "more" {
			put(t, filepath.Join(dir, "test"), "@include "+dir+"/more\n")
		}
		if err := syscall.Mkfifo(filepath.Join(dir, name), 0o600); err != nil {
			t.Fatal(err)
		}
		says(t, Stack{"test", dir}.Check(), "not a regular file") // and comes back
	}
}

func TestSystemFolderIsTheDefault(t *testing.T) {
	says(t, Stack{Service: "no-such-service-file"}.Check(), "/etc/pam.d/no-such-service-file")
}

func put(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// says wants an error that says all of that, or none.
func says(t *testing.T, err error, want ...string) {
	t.Helper()
	if len(want) == 0 && err != nil {
		t.Errorf("got %v", err)
	}
	if len(want) > 0 && err == nil {
		t.Errorf("got no error, want one about %q", want)
		return
	}
	for _, w := range want {
		if !strings.Contains(fmt.Sprint(err), w) {
			t.Errorf("the error does not say %q:\n%v", w, err)
		}
	}
}
