package doctor

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"

	"dockerauth/cli"
)

// level is how bad a finding is.
type level string

const (
	levelOK      level = "ok"
	levelWarning level = "warning"
	levelError   level = "error"
)

// finding is one thing that check has looked at. None of its texts holds a secret or a line break.
type finding struct {
	Level   level  `json:"level"`
	Subject string `json:"subject"`          // what was looked at, such as "certificate" or "registry.issuer"
	What    string `json:"what"`             // what is so
	Why     string `json:"why,omitempty"`    // what follows from it; "" for what is in order
	Remedy  string `json:"remedy,omitempty"` // what to do; "" for what is in order
}

// findings are printed as they come, one on a line, or all at the end as JSON.
type findings struct {
	list []finding
	out  io.Writer // nil = not as they come
}

func (f *findings) ok(subject, format string, args ...any) {
	f.add(finding{Level: levelOK, Subject: subject, What: fmt.Sprintf(format, args...)})
}

func (f *findings) warn(subject, what, why, remedy string) {
	f.add(finding{levelWarning, subject, what, why, remedy})
}

func (f *findings) fail(subject, what, why, remedy string) {
	f.add(finding{levelError, subject, what, why, remedy})
}

func (f *findings) add(one finding) {
	one.What, one.Why, one.Remedy = onOneLine(one.What), onOneLine(one.Why), onOneLine(one.Remedy)
	f.list = append(f.list, one)
	if f.out != nil {
		fmt.Fprintln(f.out, one)
	}
}

// String is the finding on one line: "error    registry.issuer  what: why; what to do".
func (f finding) String() string {
	text := fmt.Sprintf("%-7s  %s  %s", f.Level, f.Subject, f.What)
	if f.Why != "" {
		text += ": " + f.Why
	}
	if f.Remedy != "" {
		text += "; " + f.Remedy
	}
	return text
}

// status is the exit status: 0 = nothing but ok, 1 = warnings, 2 = errors.
func (f *findings) status() int {
	status := cli.ExitDone
	for _, one := range f.list {
		switch one.Level {
		case levelError:
			return 2
		case levelWarning:
			status = 1
		}
	}
	return status
}

func (f *findings) writeJSON(out io.Writer) error {
	text, err := json.MarshalIndent(struct {
		Findings []finding `json:"findings"`
		Status   int       `json:"status"`
	}{f.list, f.status()}, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s\n", text)
	return err
}

// onOneLine joins the lines of an error with its hints. It drops what is unprintable: a server may
// send control characters for the operator's terminal.
func onOneLine(text string) string {
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r != ' ' && !unicode.IsPrint(r) }), " ")
}
