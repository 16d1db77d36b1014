package e2e

import (
	"os"
	"strings"
	"testing"
)

// A CGI program stays on one CPU. A module that hashes a password may take any other.
func TestModulesOfACGIProgramMayUseEveryCPU(t *testing.T) {
	const show = "#!/bin/sh\ngrep Cpus_allowed_list: /proc/self/status >"
	c := newClient(openFrontend(t, bareCGI, envOptions{pam: func(s *testEnv) string {
		script := s.write("show", show+s.path("run/cpus")+"\n")
		if err := os.Chmod(script, 0o755); err != nil {
			s.t.Fatal(err)
		}
		return "auth optional pam_exec.so quiet " + script + "\n" + defaultPAM(s)
	}}))
	c.tries(t, 200, alice, freshAddress(), alicePassword)
	if got := readFile(t, c.path("run/cpus")); got == "" || !strings.Contains(readFile(t, "/proc/self/status"), got) {
		t.Errorf("modules have %q, and this test has other CPUs", got)
	}
}
