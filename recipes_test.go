package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	recipePattern     = regexp.MustCompile("(?ms)^## ([^\n]+)\n(.*?)^```yaml\n(.*?)^```$(.*?)(?:\\z|^## )")
	transcriptPattern = regexp.MustCompile(`(?m)^    \$ dockerauth (explain .*)\n((?:    [^$\n].*\n)+)`)
)

// Every recipe is loaded, and every command below it played.
func TestRecipesDoWhatTheySay(t *testing.T) {
	text, err := os.ReadFile("docs/access.md")
	if err != nil {
		t.Fatal(err)
	}
	recipes, commands := 0, 0
	for rest := string(text); ; {
		m := recipePattern.FindStringSubmatchIndex(rest)
		if m == nil {
			break
		}
		name, yaml, below := rest[m[2]:m[3]], rest[m[6]:m[7]], rest[m[8]:m[9]]
		rest = rest[m[9]:]
		recipes++
		t.Run(name, func(t *testing.T) {
			// Three lines stand before the section, so that its numbers are those of a real file.
			head := "private_key: privkey.pem\nissuer: i\naudience: registry.example.com\n"
			if strings.HasPrefix(yaml, "audience:") {
				head = "private_key: privkey.pem\nissuer: i\n"
			}
			program, config := install(t, head+yaml)
			for _, c := range transcriptPattern.FindAllStringSubmatch(below, -1) {
				commands++
				args := append([]string{"explain", "--config", config}, strings.Fields(c[1])[1:]...)
				got := play(t, program, nil, args...)
				want := strings.ReplaceAll(strings.ReplaceAll(c[2], "    repo", "repo"), "/etc/dockerauth",
					filepath.Dir(config))
				if got.stdout != want {
					t.Errorf("%s\nprints\n%s%s\nwant\n%s", c[1], got.stdout, got.stderr, want)
				}
			}
		})
	}
	if recipes != 5 || commands < recipes {
		t.Errorf("%d recipes with %d commands were found", recipes, commands)
	}
}
