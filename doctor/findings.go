package doctor

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"

	"dockerauth/access"
	"dockerauth/cli"
	"dockerauth/config"
)

// level is how bad a finding is.
type level string

const (
	levelOK       level = "ok"
	levelNotAsked level = "not asked"
	levelWarning  level = "warning"
	levelError    level = "error"
)

// finding is one thing that check has looked at. None of its texts holds a secret or a line break.
type finding struct {
	Level   level  `json:"level"`
	Code    string `json:"code,omitempty"`   // of a warning or an error, such as "module-missing": a stable name
	Subject string `json:"subject"`          // what was looked at, such as "certificate" or "registry.issuer"
	What    string `json:"what"`             // what is so
	Why     string `json:"why,omitempty"`    // what follows from it; "" for what is in order
	Remedy  string `json:"remedy,omitempty"` // a shell command or what to write; "" for what is in order
}

// findings are printed as they come, or all at the end as JSON.
type findings struct {
	list   []finding
	out    io.Writer // nil = not as they come
	quiet  bool      // print warnings and errors only
	colour bool
}

func (f *findings) ok(subject, format string, args ...any) {
	f.add(finding{Level: levelOK, Subject: subject, What: fmt.Sprintf(format, args...)})
}

// notAsked is for what check could find out and was not told to, or has no right to.
func (f *findings) notAsked(subject, what, remedy string) {
	f.add(finding{Level: levelNotAsked, Subject: subject, What: what, Remedy: remedy})
}

func (f *findings) warn(subject, code, what, why, remedy string) {
	f.add(finding{levelWarning, code, subject, what, why, remedy})
}

func (f *findings) fail(subject, code, what, why, remedy string) {
	f.add(finding{levelError, code, subject, what, why, remedy})
}

// failAs is fail for a fault that has its code from the package that found it.
func (f *findings) failAs(subject string, code config.Code, what, why, remedy string) {
	f.add(finding{levelError, string(code), subject, what, why, remedy})
}

// warnAs is warn for a flaw that has its code from the package that found it.
func (f *findings) warnAs(subject string, code access.FlawKind, what, why, remedy string) {
	f.add(finding{levelWarning, string(code), subject, what, why, remedy})
}

func (f *findings) add(one finding) {
	one.What, one.Why, one.Remedy = onOneLine(one.What), onOneLine(one.Why), onOneLine(one.Remedy)
	f.list = append(f.list, one)
	if f.out != nil && (!f.quiet || one.isComplaint()) {
		fmt.Fprintln(f.out, one.text(f.colour))
	}
}

func (f finding) isComplaint() bool { return f.Level == levelWarning || f.Level == levelError }

// String is what a terminal without colour shows.
func (f finding) String() string { return f.text(false) }

// colours are ECMA-48's, as a terminal takes them.
var colours = map[level]string{levelOK: "\x1b[32m", levelNotAsked: "\x1b[2m", levelWarning: "\x1b[33m",
	levelError: "\x1b[31m"}

// text has a line for what is so, and one each for why and fix if there are any:
//
//	error      registry.issuer  is "a", dockerauth's is "b" [registry-value-differs]
//	  why: the registry refuses every token
//	  fix: write issuer: b
func (f finding) text(colour bool) string {
	label := fmt.Sprintf("%-9s", f.Level)
	if colour {
		label = colours[f.Level] + label + "\x1b[0m"
	}
	text := label + "  " + f.Subject + "  " + f.What
	if f.Code != "" {
		text += " [" + f.Code + "]"
	}
	if f.Why != "" {
		text += "\n  why: " + f.Why
	}
	if f.Remedy != "" {
		text += "\n  fix: " + f.Remedy
	}
	return text
}

// summarise prints how many findings of each level there are.
func (f *findings) summarise() {
	if f.out == nil || f.quiet && f.status() == cli.ExitDone {
		return
	}
	count := map[level]int{}
	for _, one := range f.list {
		count[one.Level]++
	}
	fmt.Fprintf(f.out, "%s, %s, %d ok, %d not asked\n", counted(count[levelError], "error"),
		counted(count[levelWarning], "warning"), count[levelOK], count[levelNotAsked])
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
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
