package main

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// module compiles the PAM module that tells what it sees, installs it in the stack of the program,
// and returns where it writes.
func module(t *testing.T, program string) (told string) {
	t.Helper()
	dir := filepath.Dir(program)
	so := filepath.Join(dir, "pam_tell.so")
	if out,
		err := exec.Command("gcc", "-shared", "-fPIC", "-o", so,
		"pamauth/testdata/pam_tell.c").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	told = filepath.Join(dir, "told")
	write(t, filepath.Join(dir, "pam.d", "dockerauth"), "auth required "+so+" "+told+
		"\naccount required pam_permit.so\n")
	return told
}

// stray is a descriptor that somebody forgot to close.
func stray(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "a stray file"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func contents(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// bare looks for what must reach neither a module nor what it starts.
func bare(t *testing.T, told string) {
	t.Helper()
	for _, secret := range []string{"YWxpY2U6d29uZGVybGFuZA", "wonderland", "HTTP_AUTHORIZATION", "REQUEST_METHOD",
		"variable: "} {
		if strings.Contains(told, secret) {
			t.Errorf("%q is there", secret)
		}
	}
	for _, want := range []string{"/proc/self/environ: ", "dumpable: 0, core: 0\n", "in a program:", "0\nP"} {
		if !strings.Contains(told, want) {
			t.Errorf("%q is not there", want)
		}
	}
	_, program, _ := strings.Cut(told, "in a program:")
	if strings.Contains(program, "stray") {
		t.Error("a program that a module starts has the stray file")
	}
	if t.Failed() {
		t.Log(told)
	}
}

func TestModulesSeeNothingInCGI(t *testing.T) {
	program, _ := install(t, goodConfig)
	told := module(t, program)
	cmd := exec.Command(program)
	cmd.Env = cgiEnv(login)
	cmd.ExtraFiles = []*os.File{stray(t)}
	out, err := cmd.Output()
	if err != nil || !strings.HasPrefix(string(out), "Status: 200 OK\r\n") {
		t.Fatalf("%v: %s", err, out)
	}
	got := contents(t, told)
	bare(t, got)
	if strings.Contains(got, "stray") {
		t.Errorf("the module's own process has the stray file:\n%s", got)
	}
}

func TestModulesSeeNothingInALongLivedService(t *testing.T) {
	program, _ := install(t, goodConfig)
	told := module(t, program)
	t.Setenv("HTTP_AUTHORIZATION", "wonderland")
	url, _, _ := serve(t, program, stray(t))
	if status, body := ask(t, url); status != http.StatusOK {
		t.Fatalf("status %d: %v", status, body)
	}
	got := contents(t, told)
	bare(t, got)
	if strings.Contains(got, "stray") {
		t.Errorf("the module's own process has the stray file:\n%s", got)
	}
}
