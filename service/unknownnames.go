package service

import (
	"bufio"
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

	"dockerauth/cli"
	"dockerauth/config"
)

// NamesArg is the argument with which the program starts itself to look names up.
const NamesArg = "internal-lookup"

// The bounds of looking names up: the service does not depend on it.
const (
	namesTimeout = 10 * time.Second
	maxNames     = 1000
)

// What stands for the line of a name in a list without one.
const (
	blacklistLine = -iota
	exceptLine
)

// UnknownNames warns of accounts and groups that rules name and this machine does not know, with a
// hint where it is known what is meant. Such a name is no error: it may come to exist. A child asks
// the directory, as for PAM: the directory may hang, or crash the process. The child ends with this
// process, since its standard input does.
func UnknownNames(cfg *config.Config) []string {
	accounts, groups := cfg.Access.Principals()
	for line, list := range [][]string{cfg.BlacklistedUsers, cfg.Passwords.Except} { // a typo there lets somebody in
		for _, entry := range list {
			if group, isGroup := strings.CutPrefix(entry, "@"); isGroup {
				groups[group] = -line
			} else {
				accounts[entry] = -line
			}
		}
	}
	lines := map[string]int{}
	var names []string
	for kind, all := range map[string]map[string]int{"account": accounts, "group": groups} {
		for name, line := range all {
			lines[kind+" "+name] = line
			names = append(names, kind+" "+name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	if len(names) > maxNames {
		return []string{fmt.Sprintf("%s: names %d accounts and groups; more than %d are not looked up",
			cfg.Path, len(names), maxNames)}
	}
	out, err := lookUpInChild(names)
	if err != nil {
		return []string{fmt.Sprintf("%s: whether the accounts and groups in it exist could not be found out: %v",
			cfg.Path, err)}
	}
	var warnings []string
	for name := range strings.Lines(string(out)) {
		name, isOther := strings.CutPrefix(strings.TrimSuffix(name, "\n"), otherKind)
		kind, bare, _ := strings.Cut(name, " ")
		where := fmt.Sprintf("%s:%d: access.to", cfg.Path, lines[name])
		switch lines[name] {
		case blacklistLine:
			where = cfg.Path + ": blacklisted_users"
		case exceptLine:
			where = cfg.Path + ": passwords.except"
		}
		warning := fmt.Sprintf("%s: there is no %s %q on this machine", where, kind, bare)
		switch {
		case isOther && kind == "group":
			warning += fmt.Sprintf("\n  write %q: it is an account", bare)
		case isOther:
			warning += fmt.Sprintf("\n  write %q: it is a group", "@"+bare)
		}
		warnings = append(warnings, warning)
	}
	slices.Sort(warnings)
	return warnings
}

func lookUpInChild(names []string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), namesTimeout)
	defer cancel()
	child := exec.CommandContext(ctx, "/proc/self/exe", NamesArg)
	child.Args[0] = os.Args[0] // as the system's log names it
	child.Env = []string{}
	child.WaitDelay = time.Second // a helper of the directory's may hold the pipe open
	in, err := child.StdinPipe()
	if err != nil {
		return nil, err
	}
	defer in.Close()
	go func() { _, _ = io.WriteString(in, strings.Join(names, "\n")+"\n\n") }()
	return child.Output()
}

// otherKind comes before an account that is a group, and a group that is an account.
const otherKind = "other "

// LookUpNames is what the child does. It reads names up to an empty line and prints those that do
// not exist. It ends at once when its input does.
func LookUpNames(streams cli.Streams) int {
	in := bufio.NewReader(streams.In)
	var names []string
	for {
		name, err := in.ReadString('\n')
		if err != nil {
			return cli.ExitError
		}
		if name == "\n" {
			break
		}
		names = append(names, strings.TrimSuffix(name, "\n"))
	}
	done := make(chan struct{}, 2)
	go func() {
		printUnknown(names, streams.Out)
		done <- struct{}{}
	}()
	go func() {
		_, _ = in.ReadByte() // it returns when the parent has ended
		done <- struct{}{}
	}()
	<-done
	return cli.ExitDone
}

func printUnknown(names []string, out io.Writer) {
	for _, name := range names {
		kind, bare, _ := strings.Cut(name, " ")
		other := map[string]string{"account": "group", "group": "account"}[kind]
		switch {
		case !isUnknown(lookUp(kind, bare)):
		case lookUp(other, bare) == nil:
			fmt.Fprintln(out, otherKind+name)
		default:
			fmt.Fprintln(out, name)
		}
	}
}

func lookUp(kind, name string) (err error) {
	if kind == "group" {
		_, err = user.LookupGroup(name)
	} else {
		_, err = user.Lookup(name)
	}
	return err
}

// isUnknown is false where the directory gave no answer.
func isUnknown(err error) bool {
	return errors.As(err, new(user.UnknownGroupError)) || errors.As(err, new(user.UnknownUserError))
}
