package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"slices"
	"strings"
	"time"

	"dockerauth/config"
)

// namesArg is the argument with which the binary starts itself to look names up.
const namesArg = "look-up-names"

// The bounds of looking names up: it is a courtesy, not a condition.
const (
	namesTime = 10 * time.Second
	maxNames  = 1000
)

// strangers warns of accounts and groups that rules name and this machine does
// not know: a typo in a name is no error, since the name may come to exist. The
// directory is asked in a child, as for PAM: it may hang, or crash who asks.
func strangers(cfg *config.Config) []string {
	accounts, groups := cfg.Access.Principals()
	lines := map[string]int{}
	var names []string
	for kind, all := range map[string]map[string]int{"account": accounts, "group": groups} {
		for name, line := range all {
			lines[kind+" "+name] = line
			names = append(names, kind+" "+name)
		}
	}
	if len(names) == 0 || len(names) > maxNames {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), namesTime)
	defer cancel()
	child := exec.CommandContext(ctx, "/proc/self/exe", namesArg)
	child.Args[0] = os.Args[0] // as the system's log names it
	child.Env = []string{}
	child.Stdin = strings.NewReader(strings.Join(names, "\n"))
	out, err := child.Output()
	if err != nil {
		return nil // the directory is out of reach: nothing can be said of the names
	}
	var warnings []string
	for name := range strings.Lines(string(out)) {
		name = strings.TrimSuffix(name, "\n")
		kind, bare, _ := strings.Cut(name, " ")
		warnings = append(warnings, fmt.Sprintf("%s:%d: access.to: there is no %s %q on this machine", cfg.Path, lines[name], kind, bare))
	}
	slices.Sort(warnings)
	return warnings
}

// lookUpNames is what the child does: it prints the names that do not exist.
func lookUpNames(streams Streams) int {
	names, err := io.ReadAll(streams.In)
	if err != nil {
		return fail(streams.Err, err)
	}
	for name := range bytes.SplitSeq(names, []byte("\n")) {
		kind, bare, _ := strings.Cut(string(name), " ")
		if isStranger(kind, bare) {
			fmt.Fprintf(streams.Out, "%s\n", name)
		}
	}
	return exitDone
}

// isStranger is false where the directory gave no answer.
func isStranger(kind, name string) bool {
	if kind == "group" {
		_, err := user.LookupGroup(name)
		return errors.As(err, new(user.UnknownGroupError))
	}
	_, err := user.Lookup(name)
	return errors.As(err, new(user.UnknownUserError))
}
