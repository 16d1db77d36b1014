package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The cost of one CGI request with its process, and of the rules.
func BenchmarkCGIRequest(b *testing.B) {
	rulesFor := func(n int) string {
		var rules strings.Builder
		rules.WriteString(goodConfig + "access:\n")
		for i := range n {
			fmt.Fprintf(&rules,
				"  - allow: [pull, push]\n    repositories: [\"team%d/**\"]\n    to: [alice, \"@team%d\"]\n", i, i)
		}
		return rules.String()
	}
	for name, config := range map[string]string{"0 rules": goodConfig,
		"state": goodConfig + "state: state\n", "20 rules": rulesFor(20),
		"200 rules": rulesFor(200), "10000 rules": rulesFor(10000)} {
		b.Run(name, func(b *testing.B) {
			program, _ := install(b, config)
			if err := os.Mkdir(filepath.Join(filepath.Dir(program), "state"), 0o700); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				cmd := exec.Command(program)
				cmd.Env = cgiEnv(login)
				if out, err := cmd.Output(); err != nil || !strings.HasPrefix(string(out), "Status: 200 ") {
					b.Fatalf("%v: %s", err, out)
				}
			}
		})
	}
}
