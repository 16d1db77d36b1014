package e2e

import (
	"os"
	"strings"
	"testing"
)

// A CGI program itself keeps to one CPU.
func TestModulesOfACGIProgramMayUseEveryCPU(t *testing.T) {
	const show = "#!/bin/sh\ngrep Cpus_allowed_list: /proc/self/status >"
	for name, config := range map[string]string{
		"in the child that is there":                                         "",
		"in one that is started later, after a look at the account's groups": "passwords:\n  except: [\"@nogroup\"]\n",
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(openFrontend(t, bareCGI, envOptions{config: config, pam: func(s *testEnv) string {
				script := s.write("show", show+s.path("run/cpus")+"\n")
				if err := os.Chmod(script, 0o755); err != nil {
					s.t.Fatal(err)
				}
				return "auth optional pam_exec.so quiet " + script + "\n" + defaultPAM(s)
			}}))
			c.tries(t, 200, alice, freshAddress(), alicePassword)
			got := readFile(t, c.path("run/cpus"))
			if got == "" || !strings.Contains(readFile(t, "/proc/self/status"), got) {
				t.Errorf("modules have %q, and this test has other CPUs", got)
			}
		})
	}
}
