package main

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// installProbeModule compiles a PAM module that writes what it can read, installs it in the PAM
// stack of the program, and returns the path of its output.
func installProbeModule(t *testing.T, program string) (output string) {
	t.Helper()
	dir := filepath.Dir(program)
	so := filepath.Join(dir, "pam_tell.so")
	cmd := exec.Command("gcc", "-shared", "-fPIC", "-o", so, "pamauth/testdata/pam_tell.c")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	output = filepath.Join(dir, "output")
	write(t, filepath.Join(dir, "pam.d", "dockerauth"), "auth required "+so+" "+output+
		"\naccount required pam_permit.so\n")
	return output
}

// openStrayFile opens a file for a process to inherit by mistake.
func openStrayFile(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "a stray file"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// checkModuleOutput looks for data that must reach neither a module nor the programs it starts.
func checkModuleOutput(t *testing.T, output string) {
	t.Helper()
	for _, secret := range []string{"YWxpY2U6d29uZGVybGFuZA", "wonderland", "HTTP_AUTHORIZATION", "REQUEST_METHOD",
		"variable: "} {
		if strings.Contains(output, secret) {
			t.Errorf("the output contains %q", secret)
		}
	}
	for _, want := range []string{"/proc/self/environ: ", "dumpable: 0, core: 0\n", "in a program:", "0\nP"} {
		if !strings.Contains(output, want) {
			t.Errorf("the output lacks %q", want)
		}
	}
	_, program, _ := strings.Cut(output, "in a program:")
	if strings.Contains(program, "stray") {
		t.Error("a program that a module starts has the stray file")
	}
	if t.Failed() {
		t.Log(output)
	}
}

func TestModulesSeeNothingInCGI(t *testing.T) {
	program, _ := install(t, goodConfig)
	output := installProbeModule(t, program)
	cmd := exec.Command(program)
	cmd.Env = cgiEnv(login)
	cmd.ExtraFiles = []*os.File{openStrayFile(t)}
	out, err := cmd.Output()
	if err != nil || !strings.HasPrefix(string(out), "Status: 200 OK\r\n") {
		t.Fatalf("%v: %s", err, out)
	}
	got := readFile(t, output)
	checkModuleOutput(t, got)
	if strings.Contains(got, "stray") {
		t.Errorf("the module's own process has the stray file:\n%s", got)
	}
}

func TestModulesSeeNothingInALongLivedService(t *testing.T) {
	program, _ := install(t, goodConfig)
	output := installProbeModule(t, program)
	t.Setenv("HTTP_AUTHORIZATION", "wonderland")
	url, _, _ := serve(t, program, openStrayFile(t))
	if status, body := requestToken(t, url); status != http.StatusOK {
		t.Fatalf("status %d: %v", status, body)
	}
	got := readFile(t, output)
	checkModuleOutput(t, got)
	if strings.Contains(got, "stray") {
		t.Errorf("the module's own process has the stray file:\n%s", got)
	}
}
