package service

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"dockerauth/handler"
)

var (
	helpLine   = regexp.MustCompile(`^# HELP ([a-z_]+) (\S.*)$`)
	typeLine   = regexp.MustCompile(`^# TYPE ([a-z_]+) (counter|gauge|histogram)$`)
	sampleLine = regexp.MustCompile(
		`^([a-z_]+)(?:\{([a-z]+="(?:[^"\\\n]|\\["\\n])*"(?:,[a-z]+="(?:[^"\\\n]|\\["\\n])*")*)\})? (\S+)$`)
)

// parseExposition reads a page as strictly as its format is written down, and returns its samples
// by name and labels, and its metrics by type.
func parseExposition(t *testing.T, text string) (samples map[string]float64, kinds map[string]string) {
	t.Helper()
	if !strings.HasSuffix(text, "\n") {
		t.Fatal("the last line has no end")
	}
	samples, kinds = map[string]float64{}, map[string]string{}
	name, helped := "", ""
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if m := helpLine.FindStringSubmatch(line); m != nil {
			helped = m[1]
			continue
		}
		if m := typeLine.FindStringSubmatch(line); m != nil {
			if name = m[1]; kinds[name] != "" || helped != name {
				t.Errorf("%s is there twice, or has no help", name)
			}
			kinds[name] = m[2]
			continue
		}
		m := sampleLine.FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("no line of the format: %q", line)
		}
		base := m[1]
		if kinds[name] == "histogram" {
			base = strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(base, "_bucket"), "_sum"), "_count")
		}
		value, err := strconv.ParseFloat(m[3], 64)
		key := m[1]
		if m[2] != "" {
			key += "{" + m[2] + "}"
		}
		if _, twice := samples[key]; err != nil || base != name || twice || kinds[name] == "counter" && value < 0 {
			t.Errorf("%v, after %q: %q", err, name, line)
		}
		samples[key] = value
	}
	for name, kind := range kinds {
		if kind == "counter" != strings.HasSuffix(name, "_total") {
			t.Errorf("%s is a %s", name, kind)
		}
		if kind == "histogram" && samples[name+"_count"] != samples[name+`_bucket{le="+Inf"}`] {
			t.Errorf("%s contradicts itself", name)
		}
	}
	return samples, kinds
}

func TestOperationsListsEveryMetric(t *testing.T) {
	l := newAdminFixture(t)
	l.mustReload(t)
	page, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	for _, m := range regexp.MustCompile("(?m)^\\| `(dockerauth_[a-z_]+|process_[a-z_]+)").FindAllSubmatch(page, -1) {
		listed = append(listed, string(m[1]))
	}
	samples, kinds := parseExposition(t, l.page())
	for name := range kinds {
		if !slices.Contains(listed, name) {
			t.Errorf("docs/operations.md does not list %s", name)
		}
	}
	for _, name := range listed {
		if kinds[name] == "" {
			t.Errorf("docs/operations.md lists %s, which is not there: %v", name, samples)
		}
	}
}

// A lock that comes while a login waits says nothing about PAM: any client can bring it about.
func TestWhoIsLockedOutWhileWaitingBreaksNothing(t *testing.T) {
	locked := &handler.Throttled{After: time.Second, Cause: "this address is locked"}
	for _, err := range []error{locked, fmt.Errorf("a wrapper's words: %w", locked)} {
		if got := resultOf(err); got != resultBusy {
			t.Errorf("%v counts as %s", err, got)
		}
	}
}
