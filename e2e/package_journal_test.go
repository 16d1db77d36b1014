package e2e

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
)

// journalPriorities looks for the service's lines by their priority, as an administrator does.
func journalPriorities(t *testing.T, m *debian) {
	m.loginWorks(t)
	journal := func(args ...string) string {
		return m.must(append([]string{"journalctl", "--no-pager", "-u", "dockerauth.service"}, args...)...)
	}
	warnings := journal("-o", "cat", "-p", "warning")
	if !strings.Contains(warnings, "outcome=refused") || strings.Contains(warnings, "level=INFO") {
		t.Errorf("journalctl -p warning shows\n%s", warnings)
	}
	priorities := map[string]string{"INFO": "6", "WARN": "4", "ERROR": "3"}
	level := regexp.MustCompile(`^time=\S+ level=([A-Z]+) `)
	seen := map[string]bool{}
	for line := range strings.Lines(journal("-o", "json")) {
		var entry struct{ MESSAGE, PRIORITY string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if found := level.FindStringSubmatch(entry.MESSAGE); found != nil {
			seen[found[1]] = true
			if entry.PRIORITY != priorities[found[1]] {
				t.Errorf("priority %s: %s", entry.PRIORITY, entry.MESSAGE)
			}
		}
		if strings.HasPrefix(entry.MESSAGE, "<") {
			t.Errorf("the journal does not read the priority of %q", entry.MESSAGE)
		}
	}
	if !seen["INFO"] || !seen["WARN"] {
		t.Errorf("the journal has lines of %v only", seen)
	}
}
