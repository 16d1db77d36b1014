package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// The widths of a line in columns. A tab counts as four.
const (
	maxCodeWidth    = 120
	maxCommentWidth = 100
)

// privateWords had a meaning of their own in this project. The names of their fields are clearer.
// They are written so that a search for them does not find this line.
var privateWords = regexp.MustCompile(`(?i)\b([d]oors?|[r]ooms?|[t]heatres?|[s]eats?|[s]kins?|[s]trangers?|` +
	`[n]ought|[m]ended|[w]hoever|[w]homever|[w]hom|[a]new|[h]all|[o]utoforder)\b`)

func TestSourceLinesAreShortAndHavePlainWords(t *testing.T) {
	seen := 0
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if path != "." && strings.HasPrefix(name, ".") || name == "dist" {
				return fs.SkipDir
			}
			return nil
		}
		// The change log has its history, and the licences of others their wording.
		exempt := []string{"CHANGELOG.md", "LICENSE", "packaging/copyright"}
		if !d.Type().IsRegular() || slices.Contains(exempt, path) {
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil || !utf8.Valid(content) {
			return err
		}
		seen++
		checkLines(t, path, string(content))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen < 100 {
		t.Errorf("%d files were found: too few to be all", seen)
	}
}

func checkLines(t *testing.T, path, text string) {
	t.Helper()
	number := 0
	for line := range strings.Lines(text) {
		number++
		if word := privateWords.FindString(line); word != "" {
			t.Errorf("%s:%d says %q", path, number, word)
		}
		if filepath.Ext(path) != ".go" {
			continue
		}
		line = strings.ReplaceAll(strings.TrimSuffix(line, "\n"), "\t", "    ")
		most := maxCodeWidth
		if strings.HasPrefix(strings.TrimSpace(line), "//") {
			most = maxCommentWidth
		}
		if width := utf8.RuneCountInString(line); width > most {
			t.Errorf("%s:%d has %d columns, the most is %d", path, number, width, most)
		}
	}
}
