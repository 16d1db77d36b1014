package e2e

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"
	"unicode/utf8"
)

// row is one fault behind one front end, and its effects.
type row struct {
	fault    string
	frontend string
	done     string // what was done
	got      string // what the clients got
	lost     int    // wrong or missing answers, torn log lines, leftovers
	normal   string // from the end of the fault to the first good login
	note     string // below the table
}

// frontendNames are the names in the table.
var frontendNames = map[string]string{
	httpFrontend.name: "http", apacheCGI.name: "cgi-bin", apacheFcgid.name: "mod_fcgid", nginxFastCGI.name: "fastcgi",
	namespaceFrontend.name: "http", clockFrontend.name: "http", nginxHTTP.name: "nginx+http",
}

// report is the table of all rows, in the order of the tests.
type report struct {
	mu   sync.Mutex
	rows map[int][]row // by test
}

func (r *report) add(test int, one row) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rows[test] = append(r.rows[test], one)
}

// text is the table, aligned, with a line for each row.
func (r *report) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var tests []int
	for test := range r.rows {
		tests = append(tests, test)
	}
	slices.Sort(tests)
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	head := []string{"fault", "front end", "what was done", "what clients got", "lost", "until normal"}
	fmt.Fprintln(w, strings.Join(head, "\t"))
	fmt.Fprintln(w, strings.Join(underlined(head), "\t"))
	for _, test := range tests {
		for _, o := range r.rows[test] {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\n", o.fault, o.frontend, o.done, o.got, o.lost, o.normal)
		}
	}
	_ = w.Flush() // a builder takes everything
	noted := map[string]bool{}
	for _, test := range tests {
		for _, o := range r.rows[test] {
			if o.note != "" && !noted[o.note] {
				fmt.Fprintf(&b, "\n%s\n", o.note)
				noted[o.note] = true
			}
		}
	}
	return b.String()
}

func underlined(head []string) []string {
	lines := make([]string, len(head))
	for i, h := range head {
		lines[i] = strings.Repeat("-", utf8.RuneCountInString(h))
	}
	return lines
}

// publish prints the table and writes it to the file that DOCKERAUTH_REPORT names.
func (r *report) publish(t *testing.T) {
	if len(r.rows) == 0 {
		return
	}
	text := r.text()
	fmt.Printf("\n%s\n", text)
	name := os.Getenv("DOCKERAUTH_REPORT")
	if name == "" {
		return
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Errorf("write report: %v", err)
	}
}

// counts counts answers by their status.
type counts map[string]int

func (c counts) String() string {
	var parts []string
	for _, status := range slices.Sorted(maps.Keys(c)) {
		parts = append(parts, fmt.Sprintf("%s ×%d", status, c[status]))
	}
	if len(parts) == 0 {
		return "-"
	}
	return strings.Join(parts, ", ")
}

// milliseconds is a duration in the table.
func milliseconds(d time.Duration) string { return fmt.Sprintf("%d ms", d.Milliseconds()) }
