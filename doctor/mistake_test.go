package doctor

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// wanted is a finding: its code, and a value that it must name, such as a path.
type wanted struct {
	level   level
	subject string
	code    string // "" of what is in order
	says    string
}

func (w wanted) in(t *testing.T, findings []finding) {
	t.Helper()
	w.find(t, findings)
}

// find returns the finding, or fails the test.
func (w wanted) find(t *testing.T, findings []finding) finding {
	t.Helper()
	for _, f := range findings {
		if f.Level == w.level && f.Code == w.code && isAbout(f.Subject, w.subject) &&
			strings.Contains(sentence(f), w.says) {
			return f
		}
	}
	t.Fatalf("no %s %q about %s says %q:\n%s", w.level, w.code, w.subject, w.says, listed(findings))
	return finding{}
}

// maxLine is what a terminal shows in two lines, paths aside.
const maxLine = 150

var aPath = regexp.MustCompile(`/[\w.-]+(/[\w.-]+)+(:\d+)?`)

var aFingerprint = regexp.MustCompile(`([0-9A-F]{2}:){31}[0-9A-F]{2}`)

// mistake is a row: what is wrong, the finding about it, and that its remedy puts it right.
type mistake struct {
	name string
	make func(t *testing.T, p *patient)
	args []string
	want wanted
	also []string // codes of other complaints that the same mistake causes; a comment says why they stand
	// apply does what the remedy says, where that is not a command; nil = sh -c runs the remedy.
	apply func(t *testing.T, p *patient)
	types string // what the operator types when the remedy asks for it
	root  bool   // the mistake takes root to make or to see
}

// try makes the mistake, finds it, applies the remedy, and finds nothing more.
func (m mistake) try(t *testing.T, p *patient) {
	t.Helper()
	if m.root {
		needsRoot(t)
	}
	if m.make != nil {
		m.make(t, p)
	}
	findings, status := p.check(t, m.args...)
	found := m.want.find(t, findings)
	if !found.isComplaint() {
		return
	}
	if found.Why == "" && found.Remedy == "" {
		t.Errorf("says neither why nor what to do: %s", found)
	}
	for _, f := range findings {
		for _, line := range []string{f.What, f.Why} {
			plain := aFingerprint.ReplaceAllString(aPath.ReplaceAllString(line, ""), "")
			if f.isComplaint() && len(plain) > maxLine {
				t.Errorf("a line of %d bytes without paths: %s", len(plain), line)
			}
		}
	}
	if want := map[level]int{levelWarning: 1, levelError: 2}[found.Level]; status < want {
		t.Errorf("status %d after an %s", status, found.Level)
	}
	for _, f := range findings {
		if f.isComplaint() && f != found && !slices.Contains(m.also, f.Code) {
			t.Errorf("one mistake, and another finding: %s", f)
		}
	}
	if m.apply != nil {
		m.apply(t, p)
	} else {
		p.applyRemedy(t, found, m.types)
	}
	findings, status = p.check(t, m.args...)
	if status != 0 {
		t.Errorf("after the remedy %q the status is %d:\n%s", found.Remedy, status, complaints(findings))
	}
}

// applyRemedy runs a remedy as an operator who pastes it does. "dockerauth" is the patient's.
func (p *patient) applyRemedy(t *testing.T, f finding, typed string) {
	t.Helper()
	if out, err := p.shell(f.Remedy, typed); err != nil {
		t.Fatalf("the remedy of %s is no command that works: %v: %s", f, err, out)
	}
}

// shell runs a command in the patient's folder, without a terminal. The machine's services are left
// alone.
func (p *patient) shell(command, typed string) (out []byte, err error) {
	if err := os.WriteFile(p.path("systemctl"), []byte("#!/bin/sh\n"), 0o755); err != nil {
		return nil, err
	}
	cmd := exec.Command("sh", "-c", command)
	cmd.Dir = p.dir
	cmd.Stdin = strings.NewReader(typed + "\n")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Env = append(os.Environ(), "PATH="+p.dir+":"+os.Getenv("PATH"))
	return cmd.CombinedOutput()
}

func complaints(findings []finding) string {
	return listed(slices.DeleteFunc(slices.Clone(findings), func(f finding) bool { return !f.isComplaint() }))
}
