package pamauth

import (
	"fmt"
	"strings"
)

// Fault is the kind of a StackError.
type Fault int

const (
	FaultService        Fault = iota // the name of the service, or of its folder
	FaultNoFile                      // the service has no file
	FaultFile                        // not to be read, or no regular file
	FaultWritable                    // users other than root may write to File
	FaultLine                        // libpam does not take the line
	FaultInclude                     // an included file is missing
	FaultIncludesItself              // and libpam never ends
	FaultPhase                       // no line for the phase Word
)

// StackError says why a PAM service is not used. Where another word would do, Word and Known have
// what is written and what may be.
type StackError struct {
	Fault   Fault
	Service string
	File    string // "" = none
	Line    int    // its first line in File; 0 = none
	End     int    // its last line
	Cause   string // never the text of a line: the file may hold secrets
	Effect  string // what libpam does with it
	Hint    string // what to do
	Word    string
	Known   []string
	err     error
}

// Error has the hint on a line of its own.
func (e *StackError) Error() string {
	text := fmt.Sprintf("check PAM service %q: ", e.Service)
	if e.Line > 0 {
		text += fmt.Sprintf("%s:%d: ", e.File, e.Line)
	}
	text += e.Cause
	if e.Effect != "" {
		text += "; " + e.Effect
	}
	return text + "\n  " + e.Hint
}

func (e *StackError) Unwrap() error { return e.err }

// StackErrors are what is wrong with a PAM service, in the order of its lines.
type StackErrors []*StackError

// Error is the first, and how many more there are.
func (e StackErrors) Error() string {
	if len(e) == 1 {
		return e[0].Error()
	}
	cause, hint, _ := strings.Cut(e[0].Error(), "\n")
	return fmt.Sprintf("%s (and %d more)\n%s", cause, len(e)-1, hint)
}

func (e StackErrors) Unwrap() []error {
	all := make([]error, len(e))
	for i := range e {
		all[i] = e[i]
	}
	return all
}
