package doctor

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"dockerauth/cli"
)

// serviceUser finds out once as which user the service runs; nil = that failed, and a finding has
// said why.
func (c *checkup) serviceUser() *runAs {
	if c.runAsKnown {
		return c.runAs
	}
	c.runAsKnown = true
	a, err := c.newActor()
	if err != nil {
		what, remedy := cli.SplitHint(err)
		const why = "what the service's user may do was not looked at"
		switch {
		case errors.Is(err, errNoGroup):
			c.fail("rights", "group-unknown", what, why, remedy)
		case errors.Is(err, errNotStarted):
			c.fail("rights", "program-not-startable", what, why, remedy)
		default:
			c.fail("rights", "user-unknown", what, why, remedy)
		}
		return nil
	}
	c.runAs = a
	return a
}

func (c *checkup) newActor() (*runAs, error) {
	program, err := c.programFile()
	if err != nil {
		return nil, fmt.Errorf("find the program file: %w", err)
	}
	a := &runAs{program: program}
	if c.as == "" {
		a.name = userName(os.Geteuid())
		a.isServiceUser = a.name == "dockerauth"
		if account, err := user.Lookup(a.name); err == nil {
			a.account = groupsOfAccount(account)
		}
		a.group = groupForCommands(os.Getegid())
		return a, a.identifySelf()
	}
	name, groups, _ := strings.Cut(c.as, ":")
	unit := readUnit(c.root, serviceUnit)
	if unit.user != "" && name != unit.user && c.isOfPackage(program) {
		c.warn("rights", "wrong-user", fmt.Sprintf("%s runs dockerauth as %s, not as %s", unit.file, unit.user, name),
			"what follows is about "+unit.user+"; a right for another user would weaken the service",
			"dockerauth check --as "+unit.user)
		name, groups, c.as = unit.user, "", unit.user
	}
	if err := a.takeAccount(name); err != nil {
		return nil, err
	}
	if c.program != "" && a.who.UID == 0 {
		return nil, errors.New("--program is not started as root\n  name the web server's user with --as")
	}
	if os.Geteuid() != 0 {
		if os.Geteuid() != a.who.UID || groups != "" {
			return nil, fmt.Errorf("only root can look as %s\n  sudo dockerauth check --as %s", c.as, c.as)
		}
		a.as = nil
	}
	a.isServiceUser = name == "dockerauth" || name == unit.user
	a.readsAll = name == unit.user && unit.readsAll
	if a.as != nil && groups == "" && name == unit.user && len(unit.groups) > 0 {
		groups = strings.Join(unit.groups, ",")
		c.ok("rights", "%s has the groups that %s gives the service besides its own: %s", name, unit.file, groups)
	}
	if err := a.addGroups(groups); err != nil {
		return nil, err
	}
	return a, a.identifySelf()
}

// programFile is what runAs starts. Root itself never starts it: another user may own a
// set-group-id install.
func (c *checkup) programFile() (string, error) {
	if c.program == "" {
		return os.Executable()
	}
	path, err := filepath.Abs(c.program)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(path)
}

// examineUser tells users other than the service's so: their rights differ from its, and a remedy
// that names them would give them the key and the password hashes.
func (c *checkup) examineUser(uid int) {
	name := userName(uid)
	user := readUnit(c.root, serviceUnit).user
	if c.as != "" || uid == 0 || user == "" || user == name || user == strconv.Itoa(uid) {
		return
	}
	c.wrongUser, c.runAsKnown = true, true
	remedy := "sudo dockerauth check --as " + user
	if c.discovered {
		remedy = "sudo dockerauth check"
	} else if c.path != "" {
		remedy += " --config " + c.path
	}
	c.fail("rights", "wrong-user", fmt.Sprintf("you are %s, and the service runs as %s", name, user),
		"what it may read and ask is not seen from here",
		remedy)
}
