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

// NamesArg is the argument with which the binary starts itself to look names up.
const NamesArg = "look-up-names"

// The bounds of looking names up: it is a courtesy, not a condition.
const (
	namesTime = 10 * time.Second
	maxNames  = 1000
)

// blacklistLine stands for the line of a name in the blacklist.
const blacklistLine = 0

// UnknownNames warns of accounts and groups that rules name and this machine does
// not know: a typo in a name is no error, since the name may come to exist. The
// directory is asked in a child, as for PAM: it may hang, or crash who asks. The
// child ends with us, since its standard input does.
func UnknownNames(cfg *config.Config) []string {
	accounts, groups := cfg.Access.Principals()
	for _, entry := range cfg.BlacklistedUsers { // a typo there lets somebody in
		if group, isGroup := strings.CutPrefix(entry, "@"); isGroup {
			groups[group] = blacklistLine
		} else {
			accounts[entry] = blacklistLine
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
		return []string{fmt.Sprintf("%s: names %d accounts and groups; more than %d are not looked up", cfg.Path, len(names), maxNames)}
	}
	out, err := askChild(names)
	if err != nil {
		return []string{fmt.Sprintf("%s: whether the accounts and groups in it exist could not be found out: %v", cfg.Path, err)}
	}
	var warnings []string
	for name := range strings.Lines(string(out)) {
		name = strings.TrimSuffix(name, "\n")
		kind, bare, _ := strings.Cut(name, " ")
		where := fmt.Sprintf("%s:%d: access.to", cfg.Path, lines[name])
		if lines[name] == blacklistLine {
			where = cfg.Path + ": blacklisted_users"
		}
		warnings = append(warnings, fmt.Sprintf("%s: there is no %s %q on this machine", where, kind, bare))
	}
	slices.Sort(warnings)
	return warnings
}

func askChild(names []string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), namesTime)
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

// LookUpNames is what the child does: it reads names up to an empty line and
// prints those that do not exist. It ends at once when its input does.
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
		printStrangers(names, streams.Out)
		done <- struct{}{}
	}()
	go func() {
		_, _ = in.ReadByte() // nothing comes: it returns when nobody waits any more
		done <- struct{}{}
	}()
	<-done
	return cli.ExitDone
}

func printStrangers(names []string, out io.Writer) {
	for _, name := range names {
		kind, bare, _ := strings.Cut(name, " ")
		if isStranger(kind, bare) {
			fmt.Fprintln(out, name)
		}
	}
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
