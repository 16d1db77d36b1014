package main

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

// What one request costs in the CGI front end, process and all, and what ten
// thousand rules add to it.
func BenchmarkCGIRequest(b *testing.B) {
	var rules strings.Builder
	rules.WriteString(goodConfig + "access:\n")
	for i := range 10000 {
		fmt.Fprintf(&rules, "  - allow: [pull, push]\n    repositories: [\"team%d/**\"]\n    to: [alice, \"@team%d\"]\n", i, i)
	}
	for name, config := range map[string]string{"no rules": goodConfig, "ten thousand rules": rules.String()} {
		b.Run(name, func(b *testing.B) {
			program, _ := install(b, config)
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
