package e2e

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
)

// measurements is where a test writes results: its output, and the file that DOCKERAUTH_REPORT
// names.
type measurements struct {
	out    io.Writer
	widths []int
}

func newMeasurements(t testing.TB, title string) *measurements {
	t.Helper()
	m := &measurements{out: t.Output()}
	if path := os.Getenv("DOCKERAUTH_REPORT"); path != "" {
		file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { file.Close() })
		m.out = io.MultiWriter(m.out, file)
	}
	m.line("\n%s", title)
	return m
}

func (m *measurements) line(format string, args ...any) { fmt.Fprintf(m.out, format+"\n", args...) }

// head begins a table. Rows are written while the test runs, so a column is as wide as its heading,
// which may have padding.
func (m *measurements) head(columns ...string) {
	m.widths = nil
	var rule []string
	for _, c := range columns {
		m.widths = append(m.widths, len(c))
		rule = append(rule, strings.Repeat("-", len(c)))
	}
	m.row(columns...)
	m.line("%s", strings.Join(rule, "-|-"))
}

// row writes a row: the first column to the left, the others to the right.
func (m *measurements) row(cells ...string) {
	for i, c := range cells {
		if i == 0 {
			cells[i] = fmt.Sprintf("%-*s", m.widths[i], c)
			continue
		}
		cells[i] = fmt.Sprintf("%*s", m.widths[i], c)
	}
	m.line("%s", strings.Join(cells, " | "))
}

// thousands writes 1234567 as 1,234,567.
func thousands[N int | int32 | int64](n N) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// hardware says on what machine the results were measured.
func hardware(t testing.TB) string {
	t.Helper()
	cpu := "processor unknown"
	for line := range strings.Lines(readFile(t, "/proc/cpuinfo")) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			cpu = strings.TrimSpace(value)
			break
		}
	}
	memory := field([]byte(readFile(t, "/proc/meminfo")), "MemTotal:") >> 20
	kernel := strings.TrimSpace(readFile(t, "/proc/sys/kernel/osrelease"))
	return fmt.Sprintf("%d cores (%s), %d GiB, Linux %s, %s", runtime.NumCPU(), cpu, memory, kernel, runtime.Version())
}
