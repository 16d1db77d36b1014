package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every promise of docs/threat-model.md names the tests that keep it, and they exist.
func TestEveryPromiseHasATest(t *testing.T) {
	tests := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range declared.FindAllStringSubmatch(string(text), -1) {
			tests[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("docs/threat-model.md")
	if err != nil {
		t.Fatal(err)
	}
	_, promises, found := strings.Cut(string(page), "\n## What is promised, and the test that keeps it\n")
	if !found {
		t.Fatal("docs/threat-model.md has no promises")
	}
	promises, _, _ = strings.Cut(promises, "\n## ")
	kept := 0
	for line := range strings.Lines(promises) {
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "|---") || strings.HasPrefix(line, "| promise") {
			continue
		}
		names := regexp.MustCompile("`((?:Test|Fuzz)\\w+)`").FindAllStringSubmatch(line, -1)
		if len(names) == 0 {
			t.Errorf("no test keeps: %s", line)
		}
		for _, n := range names {
			kept++
			if !tests[n[1]] {
				t.Errorf("there is no %s, which should keep: %s", n[1], line)
			}
		}
	}
	if kept == 0 {
		t.Error("no promise was found")
	}
}
