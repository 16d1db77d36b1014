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
	const auth, account = "auth required pam_permit.so\n", "account required pam_permit.so\n"
	const both = auth + account
	tests := []struct {
		name    string
		files   map[string]string // "@/" in them is their folder
		wantErr []string          // none = no error
	}{
		{"both phases", test(both), nil},
		{"types and controls in capitals",
			test("AUTH Required pam_permit.so\nAccount SUFFICIENT pam_permit.so\n"), nil},
		{"blanks, tabs and comments",
			test("# mine\n\n \t auth\trequired  pam_permit.so # why\n\taccount required pam_permit.so"), nil},
		{"a silent module counts", test("-" + auth + "-" + account), nil},
		{"a control in brackets",
			test("auth [success=ok default=bad] pam_permit.so\naccount [default=bad] pam_permit.so\n"), nil},
		{"a continued line", test("auth \\\n required \\\n pam_permit.so\n" + account), nil},
		{"both phases from one include", test("@include @/more\n", both), nil},
		{"each phase from its include", test("auth include @/more\naccount substack @/more\n", both), nil},
		{"an include of an include", test("@include @/more\n", "@include @/most\n", both), nil},
		{"one file for each phase, which is no circle",
			test("auth include @/more\naccount include @/more\n@include @/more\n", both), nil},
		{"a comment that a backslash does not continue", test(auth + "# x \\\n" + account), nil},

		{"no file", nil, []string{"no such file", "dockerauth init makes one", `"other"`}},
		{"an empty file", test(""), []string{`no "auth" line`}},
		{"comments only", test("# " + auth), []string{`no "auth" line`}},
		{"no account phase", test(auth), []string{`no "account" line`, `"other"`}},
		{"no auth phase", test(account + "session required pam_permit.so\n"), []string{`no "auth" line`}},
		{"a phase that the include does not have",
			test("auth include @/more\naccount include @/more\n", auth), []string{`no "account" line`}},
		{"a phase that the include was not asked for", test("auth include @/more\n", both),
			[]string{`no "account" line`}},
		{"an include that does not exist", test(both + "@include @/nowhere\n"),
			[]string{"test:3: ", `/nowhere": no such file`}},
		{"a relative include that does not exist", test(both + "auth include no-such-service-file\n"),
			[]string{"test:3: ", `no-such-service-file": no such file`}},
		{"a circle of includes", test("@include @/test\n"),
			[]string{"test:1: ", "includes itself", "remove the include on that line"}},
		{"a circle of two files", test(both+"auth include @/more\n", "@include @/test\n"),
			[]string{"more:1: ", "includes itself"}},
		{"a chain that is too long", chain(maxIncludes), []string{"more than 16 deep"}},
		{"a vertical tab, which PAM takes for a letter", test(both + "\v" + account), []string{"test:3: "}},
		{"a line of one word, on which libpam 1.5.2 crashes", test(both + "auth\n"), []string{"test:3: "}},
		{"an unknown type", test(both + "authentication required pam_permit.so\n"),
			[]string{"test:3: ", `unknown type "authentication"`, "begin the line with auth"}},
		{"a line without a module", test(both + "auth required\n"), []string{"test:3: ", "no module"}},
		{"a bracket that does not close", test(both + "auth [success=ok pam_permit.so\n"), []string{"test:3: "}},
		{"a huge file", test(both + strings.Repeat("#\n", maxServiceFile)), []string{"larger than"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, text := range tt.files {
				writeFile(t, filepath.Join(dir, name), strings.ReplaceAll(text, "@/", dir+"/"))
			}
			checkError(t, Stack{"test", dir}.Check(), tt.wantErr...)
		})
	}
}

func TestServiceNamesThatPAMReadsDifferentlyAreRefused(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "other"), "auth required pam_permit.so\naccount required pam_permit.so\n")
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o755); err != nil {
		t.Fatal(err)
	}
	for service, want := range map[string]string{
		"folder": "not a regular file", "-": "no such file", "../test": `'/'`, "Test": `'T'`, ".test": "dot",
		"other": "no file of their own", "test\x00": `'\x00'`, strings.Repeat("x", 256): "longer than", "": "no name",
	} {
		checkError(t, Stack{service, dir}.Check(), want)
	}
}

// test are service files: "test", and what it includes, "more" and "most".
func test(texts ...string) map[string]string {
	files := map[string]string{}
	for i, text := range texts {
		files[[]string{"test", "more", "most"}[i]] = text
	}
	return files
}

func TestWritableServiceFilesAreRefused(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "test")
	writeFile(t, file, "auth required pam_permit.so\naccount required pam_permit.so\n")
	if err := os.Chmod(file, 0o666); err != nil {
		t.Fatal(err)
	}
	checkError(t, Stack{"test", dir}.Check(), "anyone may write", "chmod go-w")
	checkError(t, Stack{"test", "relative"}.Check(), "not an absolute path")
}

// chain is a service file that includes another, and so on, n times.
func chain(n int) map[string]string {
	files := map[string]string{"test": "@include @/1\n"}
	for i := 1; i < n; i++ {
		files[fmt.Sprint(i)] = fmt.Sprintf("@include @/%d\n", i+1)
	}
	files[fmt.Sprint(n)] = "auth required pam_permit.so\n"
	return files
}

func TestServiceFilesInWritableFoldersAreRefused(t *testing.T) {
	const both = "auth required pam_permit.so\naccount required pam_permit.so\n"
	for _, open := range []string{"", "included"} {
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, "included"), 0o755); err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(dir, "test"), "@include "+dir+"/included/more\n")
		writeFile(t, filepath.Join(dir, "included", "more"), both)
		checkError(t, Stack{"test", dir}.Check())
		folder := filepath.Join(dir, open)
		for mode, want := range map[os.FileMode][]string{
			0o777:                 {"another file in its place", "chmod go-w " + folder},
			0o777 | os.ModeSticky: nil,
		} {
			if err := os.Chmod(folder, mode); err != nil {
				t.Fatal(err)
			}
			checkError(t, Stack{"test", dir}.Check(), want...)
		}
	}
}

func TestANamedPipeIsNoServiceFile(t *testing.T) {
	for _, name := range []string{"test", "more"} {
		dir := t.TempDir()
		if name == "more" {
			writeFile(t, filepath.Join(dir, "test"), "@include "+dir+"/more\n")
		}
		if err := syscall.Mkfifo(filepath.Join(dir, name), 0o600); err != nil {
			t.Fatal(err)
		}
		checkError(t, Stack{"test", dir}.Check(), "not a regular file") // and returns at once
	}
}

func TestSystemFolderIsTheDefault(t *testing.T) {
	checkError(t, Stack{Service: "no-such-service-file"}.Check(), "/etc/pam.d/no-such-service-file")
}

func writeFile(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// checkError wants an error that contains all of want, or no error if want is empty.
func checkError(t *testing.T, err error, want ...string) {
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
