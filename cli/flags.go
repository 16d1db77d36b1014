package cli

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
)

// NewFlags is the flag set of a command. It prints nothing by itself.
func NewFlags(command string) *flag.FlagSet {
	flags := flag.NewFlagSet("dockerauth "+command, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	return flags
}

// List is the value of a flag that may be given several times.
type List []string

// String is for the flag package.
func (l *List) String() string { return strings.Join(*l, ", ") }

// Set adds a value.
func (l *List) Set(text string) error {
	*l = append(*l, text)
	return nil
}

// Parse reads a command's flags, which may stand before and behind its arguments. ok false = the
// command ends with the status: help was asked for, or a flag is wrong.
func Parse(flags *flag.FlagSet, args []string, help string, streams Streams) (rest []string, status int, ok bool) {
	rest, err := ParseFlags(flags, args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(streams.Out, help)
		return nil, ExitDone, false
	case err != nil:
		fmt.Fprintf(streams.Err, "%s: %v\n", flags.Name(), err)
		return nil, ExitUsage, false
	}
	return rest, ExitDone, true
}

// ParseAll is Parse for a command that takes no arguments but flags.
func ParseAll(flags *flag.FlagSet, args []string, help string, streams Streams) (status int, ok bool) {
	rest, status, ok := Parse(flags, args, help, streams)
	if ok && len(rest) > 0 {
		return Unexpected(flags, rest[0], streams), false
	}
	return status, ok
}

// Unexpected prints that a command does not take an argument.
func Unexpected(flags *flag.FlagSet, arg string, streams Streams) int {
	fmt.Fprintf(streams.Err, "%s: unexpected argument %q\n  see %[1]s --help\n", flags.Name(), arg)
	return ExitUsage
}

// ParseFlags reads flags, and returns the arguments that are none. The error is flag.ErrHelp, or
// has a hint. A flag that is given twice is an error, unless it is a List: the last value would win
// silently.
func ParseFlags(flags *flag.FlagSet, args []string) (rest []string, err error) {
	var wrong error
	flags.VisitAll(func(f *flag.Flag) {
		f.Value = &checkedValue{Value: f.Value, name: f.Name, flags: flags, wrong: &wrong}
	})
	for {
		err := flags.Parse(args)
		switch {
		case errors.Is(err, flag.ErrHelp):
			return nil, err
		case wrong != nil:
			return nil, wrong
		case err != nil:
			return nil, flagError(flags, err)
		}
		behind := flags.Args()
		consumed := args[:len(args)-len(behind)]
		if len(behind) == 0 || len(consumed) > 0 && consumed[len(consumed)-1] == "--" {
			return append(rest, behind...), nil
		}
		rest, args = append(rest, behind[0]), behind[1:]
	}
}

// checkedValue refuses a second value, unless it is a List, and the name of another flag.
type checkedValue struct {
	flag.Value
	name  string
	flags *flag.FlagSet
	set   bool
	wrong *error // why; the flag package keeps only a text
}

// Set is for the flag package.
func (v *checkedValue) Set(text string) error {
	_, isList := v.Value.(*List)
	name, dashed := strings.CutPrefix(text, "--")
	switch {
	case v.set && !isList:
		*v.wrong = fmt.Errorf("%s is given twice\n  keep one of the two", Dashed(v.name))
	case dashed && v.flags.Lookup(name) != nil: // --issuer $EMPTY --audience A
		*v.wrong = fmt.Errorf("%s needs a value, and %s follows it\n  see %s --help", Dashed(v.name), text,
			v.flags.Name())
	default:
		v.set = true
		return v.Value.Set(text)
	}
	return *v.wrong
}

// IsBoolFlag is for the flag package: a flag without a value.
func (v *checkedValue) IsBoolFlag() bool {
	b, ok := v.Value.(interface{ IsBoolFlag() bool })
	return ok && b.IsBoolFlag()
}

// flagError says in this program's words what the flag package says, with a hint. That package
// writes every name with one hyphen.
func flagError(flags *flag.FlagSet, err error) error {
	hint := "see " + flags.Name() + " --help"
	text := err.Error()
	if name, unknown := strings.CutPrefix(text, "flag provided but not defined: -"); unknown {
		var names []string
		flags.VisitAll(func(f *flag.Flag) { names = append(names, f.Name) })
		if best := Closest(name, names); best != "" {
			hint = "did you mean --" + best + "? " + hint
		}
		return fmt.Errorf("unknown flag %s\n  %s", Dashed(name), hint)
	}
	if name, bare := strings.CutPrefix(text, "flag needs an argument: -"); bare {
		return fmt.Errorf("%s needs a value\n  %s", Dashed(name), hint)
	}
	return fmt.Errorf("%s\n  %s", strings.NewReplacer(" for -", " for --", " flag -", " flag --").Replace(text), hint)
}

// Dashed is a flag as a person types it: -h, --help.
func Dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}
