package service

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"dockerauth/cli"
)

// standardErrorFile is a file that stands for standard error, and its JOURNAL_STREAM.
func standardErrorFile(t *testing.T) (file *os.File, stream string) {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	var stat syscall.Stat_t
	if err := syscall.Fstat(int(file.Fd()), &stat); err != nil {
		t.Fatal(err)
	}
	return file, fmt.Sprintf("%d:%d", stat.Dev, stat.Ino)
}

func linesOf(t *testing.T, name string) []string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Collect(strings.Lines(string(text)))
}

func TestLinesHavePrioritiesOnlyForTheJournal(t *testing.T) {
	const another = "1:2"
	tests := []struct {
		name, stream, config string
		priorities           bool
	}{
		{"the journal", "", fixtureConfig + "log: {level: debug}\n", true},
		{"the journal, in JSON", "", fixtureConfig + "log: {level: debug, format: json}\n", true},
		{"the journal, without a usable configuration", "", "isuer: i\n", true},
		{"a file that is not the journal's", another, fixtureConfig + "log: {level: debug}\n", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newAdminFixture(t)
			s.write(t, "config.yml", tt.config)
			file, stream := standardErrorFile(t)
			if tt.stream != "" {
				stream = tt.stream
			}
			t.Setenv("JOURNAL_STREAM", stream)
			r := newReloader(s.config, file, true)
			r.report(r.reload())
			log := r.log().With("a", 1).WithGroup("g")
			log.Debug("level=DEBUG")
			log.Info("level=INFO <3>\n<3>")
			log.Warn("level=WARN")
			log.Error("level=ERROR")
			r.stderr.at(priorityWarning).Write([]byte("level=WARN of a module\n<0>level=WARN, an emergency\n"))
			cli.Fail(r.stderr.at(priorityError), fmt.Errorf("level=ERROR\n  level=ERROR, and what to do"))
			lines := linesOf(t, file.Name())
			if len(lines) < 8 {
				t.Fatalf("%d lines: %q", len(lines), lines)
			}
			for _, line := range lines {
				level := regexp.MustCompile("DEBUG|INFO|WARN|ERROR").FindString(line)
				want := map[string]string{"DEBUG": "<7>", "INFO": "<6>", "WARN": "<4>", "ERROR": "<3>"}[level]
				if tt.priorities && !strings.HasPrefix(line, want) ||
					!tt.priorities && !strings.Contains(line, "an emergency") && line[0] == '<' {
					t.Errorf("got %q", line)
				}
			}
		})
	}
}

func TestAnythingButTheJournalsFileIsNotTheJournal(t *testing.T) {
	file, stream := standardErrorFile(t)
	other, _ := standardErrorFile(t)
	tests := []struct {
		name   string
		is     bool
		stream string
		stderr *os.File
	}{
		{"its file", true, stream, file},
		{"another file", false, stream, other},
		{"no variable", false, "", file},
		{"a variable that is cut", false, stream[:len(stream)-1], file},
	}
	for _, tt := range tests {
		if got := isJournal(tt.stderr, tt.stream); got != tt.is {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
	if isJournal(new(strings.Builder), stream) {
		t.Error("what is no file is taken for the journal")
	}
}

// A log file is no journal, although standard error is.
func TestAFileHasNoPriorities(t *testing.T) {
	s := newAdminFixture(t)
	s.write(t, "config.yml", fixtureConfig+"log: {file: auth.log}\n")
	file, stream := standardErrorFile(t)
	t.Setenv("JOURNAL_STREAM", stream)
	r := newReloader(s.config, file, true)
	r.report(r.reload())
	r.log().Warn("here")
	r.logWriter().drop(errWriteTimeout)
	for _, line := range linesOf(t, filepath.Join(s.dir, "auth.log")) {
		if line[0] == '<' {
			t.Errorf("the file has %q", line)
		}
	}
	said := linesOf(t, file.Name())
	if len(said) != 2 || !strings.HasPrefix(said[0], "<3>dockerauth: write log") ||
		!strings.HasPrefix(said[1], "<3>  ") {
		t.Errorf("standard error has %q", said)
	}
}
