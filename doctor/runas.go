package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"dockerauth/cli"
)

// attemptTimeout bounds one child: a module may hang when it loads, a network path when it opens.
const attemptTimeout = 15 * time.Second

// runAs is the user of the service. check performs operations as that user instead of inferring
// permissions: file modes are only a part of them. It starts this very program as that user, so
// that a set-group-id bit counts, or is seen not to.
type runAs struct {
	name          string              // "www-data"
	isServiceUser bool                // nothing but the service runs as that user
	program       string              // the file that is started
	as            *syscall.Credential // nil = the user of this process
	who           identity            // of the started program
	account       []int               // the groups that the account has by itself
	readsAll      bool                // the service's unit lets it read every file, which cannot be tried from here
	group         string              // the first of them: "www-data"
}

var (
	errNoGroup    = errors.New("there is no such group on this machine")
	errNotStarted = errors.New("the program does not start")
)

// takeAccount takes the ids of an account and its groups.
func (a *runAs) takeAccount(name string) error {
	account, err := user.Lookup(name)
	if err != nil {
		return fmt.Errorf("there is no account %q on this machine\n  --as wants the user of the web server or "+
			"of the service", name)
	}
	a.name = name
	a.who.UID, _ = strconv.Atoi(account.Uid) // ids are numbers
	a.who.GID, _ = strconv.Atoi(account.Gid)
	a.as = &syscall.Credential{Uid: uint32(a.who.UID), Gid: uint32(a.who.GID)}
	a.account = groupsOfAccount(account)
	a.group = groupForCommands(a.who.GID)
	for _, id := range a.account {
		a.as.Groups = append(a.as.Groups, uint32(id))
	}
	return nil
}

// addGroups adds groups that a service manager gives.
func (a *runAs) addGroups(groups string) error {
	if a.as == nil {
		return nil
	}
	for _, name := range strings.FieldsFunc(groups, func(r rune) bool { return r == ',' || r == ' ' }) {
		group, err := user.LookupGroup(name)
		if err != nil {
			return fmt.Errorf("%w: %q\n  groupadd --system %s, or correct the name", errNoGroup, name, word(name))
		}
		n, _ := strconv.Atoi(group.Gid)
		a.as.Groups = append(a.as.Groups, uint32(n))
	}
	return nil
}

// identifySelf starts the program as that user and asks for its ids. Later attempts run with those
// ids as their own, with nothing borrowed.
func (a *runAs) identifySelf() error {
	if err := a.run(IdentityArg, nil, &a.who); err != nil {
		hint := "chmod o+rx " + word(a.program)
		for _, dir := range foldersAbove(a.program) {
			if info, err := os.Stat(dir); err == nil && info.Mode().Perm()&0o001 == 0 {
				hint = fmt.Sprintf("let %s enter %s, or move the program to another folder", a.name, dir)
			}
		}
		return fmt.Errorf("%w: %s cannot start %s: %w\n  %s", errNotStarted, a.name, a.program, err, hint)
	}
	if a.as != nil {
		gid := uint32(a.who.GID)
		if !slices.Contains(a.as.Groups, a.as.Gid) {
			a.as.Groups = append(a.as.Groups, a.as.Gid)
		}
		a.as.Gid = gid
	}
	return nil
}

// try says for each attempt why it failed.
func (a *runAs) try(looks ...attempt) ([]string, error) {
	var answers []string
	if err := a.run(ProbeArg, looks, &answers); err != nil {
		return nil, err
	}
	if len(answers) != len(looks) {
		return nil, errors.New("the program started as that user gave no answer")
	}
	return answers, nil
}

// run starts the program with no variables, no descriptors and no terminal: a module could type
// into a terminal what root's shell runs next (TIOCSTI).
func (a *runAs) run(arg string, question, answer any) error {
	ctx, cancel := context.WithTimeout(context.Background(), attemptTimeout)
	defer cancel()
	in, err := json.Marshal(question)
	if err != nil {
		return err
	}
	child := exec.CommandContext(ctx, a.program, arg)
	child.Env = []string{}
	child.Dir = "/"
	child.Stdin = bytes.NewReader(in)
	child.WaitDelay = time.Second // a module may have started something that holds the pipe
	child.SysProcAttr = &syscall.SysProcAttr{Credential: a.as, Setsid: true}
	out, err := child.Output()
	if ctx.Err() != nil {
		return fmt.Errorf("no answer within %v", attemptTimeout)
	}
	if err != nil {
		var failed *exec.ExitError
		if errors.As(err, &failed) {
			return fmt.Errorf("it ended with %s", failed.ProcessState)
		}
		return errors.New(cli.Cause(err))
	}
	return json.Unmarshal(out, answer)
}

// isRoot reports that everything is allowed.
func (a *runAs) isRoot() bool { return a.who.UID == 0 }

// setgid reports that the program file bears the bit, whether it counts or not.
func (a *runAs) setgid() bool {
	info, err := os.Stat(a.program)
	return err == nil && info.Mode()&os.ModeSetgid != 0
}
