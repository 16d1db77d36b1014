package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// row compares what dockerauth needs or reaches with what a reference does. Measured were a pair of
// values each time, one after the other.
type row struct {
	Group, Work   string
	A, AUnit      string    // what was measured
	B             string    `json:",omitempty"` // the reference; none if the goal is for the value itself
	Values        []float64 // of A
	References    []float64 `json:",omitempty"` // of B, in pairs with Values
	Goal          float64   `json:",omitempty"` // 0: none, the row is for information
	AtLeast       bool      `json:",omitempty"` // else at most
	GoalIsOfValue bool      `json:",omitempty"` // not of the ratio
	Bound         float64   `json:"-"`          // fails the short form; 0: none

	Median           summary  // of Values
	Reference, Ratio *summary `json:",omitempty"`
	Met              *bool    `json:",omitempty"`
}

// summary is a median with the quartiles around it.
type summary struct{ Median, Low, High float64 }

func summarize(values []float64) summary {
	sorted := slices.Sorted(slices.Values(values))
	return summary{quantile(sorted, 0.5), quantile(sorted, 0.25), quantile(sorted, 0.75)}
}

// quantile interpolates between the two values around it.
func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	at := q * float64(len(sorted)-1)
	low := int(at)
	high := min(low+1, len(sorted)-1)
	return sorted[low] + (at-float64(low))*(sorted[high]-sorted[low])
}

func (r row) summarized() row {
	r.Median = summarize(r.Values)
	if r.B != "" {
		ratios := make([]float64, 0, len(r.Values))
		for n := range r.Values {
			ratios = append(ratios, r.Values[n]/r.References[n])
		}
		reference, ratio := summarize(r.References), summarize(ratios)
		r.Reference, r.Ratio = &reference, &ratio
	}
	if r.Goal != 0 {
		met := !r.worseThan(r.Goal)
		r.Met = &met
	}
	return r
}

func (r row) judged() float64 {
	if r.Ratio == nil || r.GoalIsOfValue {
		return r.Median.Median
	}
	return r.Ratio.Median
}

func (r row) worseThan(goal float64) bool {
	if r.AtLeast {
		return r.judged() < goal
	}
	return r.judged() > goal
}

// results are what bench/results.json has.
type results struct {
	Machine, System, Go, OpenSSL, Nginx, Commit string
	Began                                       time.Time
	Seconds                                     float64
	Rows                                        []row
	Curves                                      []curve
	Notes                                       []string
}

var collected results

// add keeps a row. In the short form, a ratio beyond its bound fails the test.
func add(t testing.TB, r row) {
	t.Helper()
	r = r.summarized()
	progress("%s: %s", r.Work, number(r.judged()))
	collected.Rows = append(collected.Rows, r)
	if testing.Short() && r.Bound != 0 && r.worseThan(r.Bound) {
		t.Errorf("%s: %.2f, and the bound is %.2f", r.Work, r.judged(), r.Bound)
	}
}

// progress says what has been measured: the table comes at the end.
func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%4.0fs  %s\n", time.Since(collected.Began).Seconds(), fmt.Sprintf(format, args...))
}

// note keeps what could not be measured, and why.
func note(format string, args ...any) {
	collected.Notes = append(collected.Notes, fmt.Sprintf(format, args...))
}

// interleave runs each side once to warm it up, then all in turn. Every second round goes
// backwards, so that no side is always the first.
func interleave(rounds int, sides ...func(warm bool)) {
	for _, side := range sides {
		side(true)
	}
	for n := range rounds {
		order := slices.Clone(sides)
		if n%2 == 1 {
			slices.Reverse(order)
		}
		for _, side := range order {
			side(false)
		}
	}
}

// times is a number of rounds, and a smaller one for the short form.
func times(long, short int) int {
	if testing.Short() {
		return short
	}
	return long
}

// TestBench measures everything, or the groups that -run names.
func TestBench(t *testing.T) {
	collected = results{Began: time.Now().UTC().Truncate(time.Second), Machine: machine(), System: system(),
		Go: runtime.Version(), OpenSSL: firstLine("openssl", "version"), Nginx: firstLine("nginx", "-v"),
		Commit: firstLine("git", "describe", "--always", "--dirty")}
	groups := []struct {
		name     string
		measure  func(t *testing.T)
		longOnly bool
	}{
		{"cgi", measureCGI, false}, {"nginx", measureNginx, false}, {"http", measureHTTP, false},
		{"logins", measureLogins, true}, {"memory", measureMemory, true}, {"limits", measureLimits, true},
		{"growth", measureGrowth, true},
	}
	for _, g := range groups {
		if !g.longOnly || !testing.Short() {
			t.Run(g.name, g.measure)
		}
	}
	collected.Seconds = time.Since(collected.Began).Seconds()
	collected.print(os.Stdout)
	if testing.Short() {
		return
	}
	text, err := json.MarshalIndent(collected, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("results.json", append(text, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
	if len(collected.Curves) == len(curves) {
		if err := os.WriteFile("../docs/benchmarks-growth.svg", []byte(plot(collected.Curves)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func machine() string {
	model := "unknown processor"
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if name, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(name) == "model name" {
			model = strings.TrimSpace(value)
			break
		}
	}
	load, _ := os.ReadFile("/proc/loadavg")
	return fmt.Sprintf("%d cores (%s), load %s before", runtime.NumCPU(), model, strings.Fields(string(load) + " ?")[0])
}

func system() string {
	text, _ := os.ReadFile("/etc/os-release")
	name := ""
	for line := range strings.Lines(string(text)) {
		if value, found := strings.CutPrefix(line, "PRETTY_NAME="); found {
			name = strings.Trim(strings.TrimSpace(value), `"`)
		}
	}
	return name + ", Linux " + firstLine("uname", "-r")
}

func firstLine(name string, args ...string) string {
	out, _ := exec.Command(name, args...).CombinedOutput()
	line, _, _ := strings.Cut(string(out), "\n")
	return line
}

// print writes the tables as Markdown.
func (r results) print(w io.Writer) {
	fmt.Fprintf(w, "\n%s; %s; %s; %s; %s; dockerauth %s; %.0f seconds\n\n", r.Machine, r.System, r.Go, r.OpenSSL,
		r.Nginx, r.Commit, r.Seconds)
	table := [][]string{{"work", "value", "reference", "ratio", "goal", ""}}
	for _, row := range r.Rows {
		line := []string{row.Work, row.A + " " + row.Median.text() + " " + row.AUnit, "", "", "", ""}
		if row.B != "" {
			line[2] = row.B + " " + row.Reference.text()
			line[3] = row.Ratio.text()
		}
		if row.Goal != 0 {
			sign, unit := "≤", ""
			if row.AtLeast {
				sign = "≥"
			}
			if row.B == "" || row.GoalIsOfValue {
				unit = " " + row.AUnit
			}
			line[4], line[5] = fmt.Sprintf("%s %g%s", sign, row.Goal, unit), "not met"
			if *row.Met {
				line[5] = "met"
			}
		}
		table = append(table, line)
	}
	printTable(w, table)
	printCurves(w, r.Curves)
	for _, text := range r.Notes {
		fmt.Fprintln(w, "*", text)
	}
}

func printTable(w io.Writer, table [][]string) {
	if len(table) < 2 {
		return
	}
	for n, line := range table {
		fmt.Fprintf(w, "| %s |\n", strings.Join(line, " | "))
		if n == 0 {
			fmt.Fprintf(w, "|%s\n", strings.Repeat("---|", len(line)))
		}
	}
	fmt.Fprintln(w)
}

func (s summary) text() string {
	return fmt.Sprintf("%s (%s–%s)", number(s.Median), number(s.Low), number(s.High))
}

// number prints three digits that count, and no digit after a whole number.
func number(v float64) string {
	switch {
	case v == math.Trunc(v) && v < 1000:
		return fmt.Sprintf("%.0f", v)
	case v >= 1000:
		whole := int(math.Round(v))
		return fmt.Sprintf("%d,%03d", whole/1000, whole%1000)
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}

func TestASummaryHasTheMedianAndTheQuartiles(t *testing.T) {
	got := summarize([]float64{5, 1, 4, 2, 3})
	if want := (summary{3, 2, 4}); got != want {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestAGoalIsComparedWithTheRatioOfPairs(t *testing.T) {
	one, two, three := []float64{1}, []float64{2}, []float64{3}
	for name, tt := range map[string]struct {
		row row
		met bool
	}{
		"at most, and one pair is more": {row{Values: []float64{1, 9, 1}, References: []float64{2, 2, 2}, Goal: 0.6},
			true},
		"at most, and it is more":  {row{Values: two, References: one, Goal: 1.9}, false},
		"at least, and it is more": {row{Values: two, References: one, Goal: 1.9, AtLeast: true}, true},
		"the value itself":         {row{Values: three, References: three, Goal: 2, GoalIsOfValue: true}, false},
	} {
		tt.row.B = "reference"
		if got := tt.row.summarized(); *got.Met != tt.met {
			t.Errorf("%s: met %v: %+v", name, *got.Met, got)
		}
	}
}
