// Package cli is what the commands share: streams, exit codes, flag sets, errors of two lines,
// tables, and the prompt for a password.
package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"text/tabwriter"
)

// Exit codes: 0 done, 1 it did not work, 2 it was called wrongly.
const (
	ExitDone  = 0
	ExitError = 1
	ExitUsage = 2
)

// Streams are the three files of a process.
type Streams struct {
	In       *os.File
	Out, Err io.Writer
}

// Fail prints why a command did not work.
func Fail(stderr io.Writer, err error) int {
	fmt.Fprintf(stderr, "dockerauth: %v\n", err)
	return ExitError
}

// SplitHint takes an error of the form "cause\n  hint" apart.
func SplitHint(err error) (cause, hint string) {
	cause, hint, _ = strings.Cut(err.Error(), "\n")
	return cause, strings.TrimSpace(hint)
}

// Cause is the system's reason in an error, without operation and path; the whole text of another
// error; "" for nil.
func Cause(err error) string {
	var errno syscall.Errno
	switch {
	case err == nil:
		return ""
	case errors.As(err, &errno):
		return errno.Error()
	}
	return err.Error()
}

// NewTable aligns the columns of lines whose cells end with a tab.
func NewTable(out io.Writer) *tabwriter.Writer { return tabwriter.NewWriter(out, 0, 0, 2, ' ', 0) }

// TakesColour reports that out is a terminal whose user wants colour (https://no-color.org).
func TakesColour(out io.Writer) bool {
	file, ok := out.(*os.File)
	return ok && isTerminal(file) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}
