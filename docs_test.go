package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var (
	fencePattern    = regexp.MustCompile("(?ms)^```.*?^```$")
	codePattern     = regexp.MustCompile("`(?:[^`\n]|\n[^`\n])*`")
	headingPattern  = regexp.MustCompile(`(?m)^#{1,6} +(.+?)\s*$`)
	linkPattern     = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	wordPattern     = regexp.MustCompile(`[\pL\pN_ -]`)
	linkTextPattern = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
)

// documents are all Markdown files by path, without their fenced blocks.
func documents(t *testing.T) map[string]string {
	t.Helper()
	pages := map[string]string{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := d.Name(); d.IsDir() && path != "." && (strings.HasPrefix(name, ".") || name == "dist") {
			return fs.SkipDir
		}
		if filepath.Ext(path) == ".md" {
			pages[path] = fencePattern.ReplaceAllString(readFile(t, path), "")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(pages) < 15 {
		t.Fatalf("%d pages were found", len(pages))
	}
	return pages
}

// anchors are the ids that GitHub gives to the headings of a page: lower case, letters, digits,
// hyphens and underscores only, spaces as hyphens, a number behind the second of a name.
func anchors(page string) map[string]bool {
	ids := map[string]bool{}
	for _, m := range headingPattern.FindAllStringSubmatch(page, -1) {
		text := strings.ToLower(strings.ReplaceAll(linkTextPattern.ReplaceAllString(m[1], "$1"), "`", ""))
		id := strings.ReplaceAll(strings.Join(wordPattern.FindAllString(text, -1), ""), " ", "-")
		for base, n := id, 1; ids[id]; n++ {
			id = base + "-" + strconv.Itoa(n)
		}
		ids[id] = true
	}
	return ids
}

func TestAnchorsAreThoseOfGitHub(t *testing.T) {
	got := anchors("# One: `two_three`, four!\n\n## 8.8 – a/b\n\n## Again\n### [Again](x.md)\n")
	for _, want := range []string{"one-two_three-four", "88--ab", "again", "again-1"} {
		if !got[want] {
			t.Errorf("no %q in %v", want, got)
		}
	}
}

func TestEveryLinkInTheDocumentsLeadsSomewhere(t *testing.T) {
	pages := documents(t)
	links, fragments := 0, 0
	for path, page := range pages {
		for _, m := range linkPattern.FindAllStringSubmatch(codePattern.ReplaceAllString(page, ""), -1) {
			if strings.HasPrefix(m[1], "https://") {
				continue
			}
			links++
			file, fragment, found := strings.Cut(m[1], "#")
			target := path
			if file != "" {
				target = filepath.Join(filepath.Dir(path), file)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s: %v", path, m[1], err)
				continue
			}
			if !found {
				continue
			}
			fragments++
			if !anchors(pages[target])[fragment] {
				t.Errorf("%s links to %s: there is no such heading", path, m[1])
			}
		}
	}
	if links < 100 || fragments < 40 {
		t.Errorf("%d links, %d of them with an anchor, were found: too few to be all", links, fragments)
	}
}

func TestEveryPageIsLinkedFromTheReadme(t *testing.T) {
	pages := documents(t)
	for path := range pages {
		if filepath.Dir(path) == "docs" && !strings.Contains(pages["README.md"], "("+path+")") {
			t.Errorf("README.md has no link to %s", path)
		}
	}
}

// e2e/testdata/script/check_doc.txtar runs it.
func TestTheRunOfCheckIsOneThatIsTested(t *testing.T) {
	_, run, found := strings.Cut(readFile(t, "e2e/testdata/script/check_doc.txtar"), "-- transcript --\n")
	if !found {
		t.Fatal("check_doc.txtar has no transcript")
	}
	want := "    # dockerauth check --config /srv/dockerauth/config.yml --quiet\n"
	for line := range strings.Lines(strings.ReplaceAll(run, "$WORK", "/srv/dockerauth")) {
		want += "    " + line
	}
	if !strings.Contains(readFile(t, "docs/check.md"), want) {
		t.Errorf("docs/check.md does not show\n%s", want)
	}
}

func TestTheReadmeIsShort(t *testing.T) {
	const most = 1300
	if got := len(strings.Fields(readFile(t, "README.md"))); got > most {
		t.Errorf("README.md has %d words, the most is %d", got, most)
	}
}

// A name after -run that no test has would pass without running anything.
func TestEveryTestThatTheDocumentsRunExists(t *testing.T) {
	command := regexp.MustCompile(`(?m)^ *(?:cd (\S+) && )?.*\bgo test .*-run (\S+) (\S+)$`)
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	commands := 0
	for path, page := range documents(t) {
		for _, m := range command.FindAllStringSubmatch(page, -1) {
			commands++
			files, err := filepath.Glob(filepath.Join(m[1], m[3], "*_test.go"))
			if err != nil {
				t.Fatal(err)
			}
			name, found := regexp.MustCompile(m[2]), false
			for _, file := range files {
				for _, test := range declared.FindAllStringSubmatch(readFile(t, file), -1) {
					found = found || name.MatchString(test[1])
				}
			}
			if !found {
				t.Errorf("%s: no test is run by %q", path, strings.TrimSpace(m[0]))
			}
		}
	}
	if commands < 2 {
		t.Errorf("%d commands were found", commands)
	}
}

// The messages of dockerauth are looked for in its sources: in pieces, since values stand between
// them.
func TestTheQuotedMessagesAreThoseOfTheProgram(t *testing.T) {
	var sources strings.Builder
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".go" && !strings.HasSuffix(path, "_test.go") {
			sources.WriteString(readFile(t, path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	program := regexp.MustCompile(`" \+\n\t*"`).ReplaceAllString(sources.String(), "")
	page := readFile(t, "docs/troubleshooting.md")
	_, page, _ = strings.Cut(page, "\n## The client says\n")
	page, _, found := strings.Cut(page, "\n## The registry's log says\n")
	if !found {
		t.Fatal("docs/troubleshooting.md has other headings")
	}
	ofClient := regexp.MustCompile(`^\| \w+(, \w+)*: `) // "skopeo: …" is a message of skopeo
	messages := 0
	for line := range strings.Lines(page) {
		cells := strings.Split(line, " | ")
		if len(cells) < 3 || ofClient.MatchString(line) {
			continue
		}
		for _, quoted := range codePattern.FindAllString(cells[0], -1) {
			text := strings.TrimPrefix(strings.Trim(quoted, "`"), "unauthorized: ") // docker adds the code
			if !strings.Contains(text, " ") {
				continue // a word of the log
			}
			messages++
			for _, piece := range regexp.MustCompile(` *(?:…|: ) *`).Split(text, -1) {
				if !strings.Contains(program, piece) {
					t.Errorf("docs/troubleshooting.md quotes %q: nothing prints %q", text, piece)
				}
			}
		}
	}
	if messages < 10 {
		t.Errorf("%d messages were found", messages)
	}
}

// packaging/scripts/build warns of an address that is a placeholder.
func TestTheAddressForReportsIsThatOfTheRelease(t *testing.T) {
	m := regexp.MustCompile(`(?m)^SECURITY_CONTACT=(\S+)$`).FindStringSubmatch(readFile(t, "packaging/release.env"))
	if m == nil {
		t.Fatal("packaging/release.env has no SECURITY_CONTACT")
	}
	if !strings.Contains(readFile(t, "SECURITY.md"), "<"+m[1]+">") {
		t.Errorf("SECURITY.md does not name %s", m[1])
	}
	page := readFile(t, "packaging/man/dockerauth.1")
	home := regexp.MustCompile(`(?m)^HOMEPAGE=(\S+)$`).FindStringSubmatch(readFile(t, "packaging/release.env"))
	if home == nil || !strings.Contains(page, ".Lk "+home[1]+" ") || !strings.Contains(page, ".Mt "+m[1]+"\n") {
		t.Errorf("the section BUGS of dockerauth(1) does not name %s and %q", m[1], home)
	}
}
