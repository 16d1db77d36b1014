package doctor

import (
	"fmt"

	"dockerauth/cli"
	"dockerauth/pamauth"
	"dockerauth/service"
)

// examinePAM looks at the PAM service.
func (c *checkup) examinePAM() {
	lines, err := service.Stack(c.settings).Parse()
	if err != nil {
		cause, hint := cli.SplitHint(err)
		c.fail("pam", "pam-unusable", cause,
			"the service answers 503, since PAM would ask the service \"other\" instead, which may let everybody in",
			hint)
		return
	}
	c.stack = lines
	c.ok("pam", "the service %q has lines for auth and account", c.settings.PAM.Service)
	if by, found := pamauth.FindBypass(lines); found {
		c.fail("pam", "pam-bypass", fmt.Sprintf("%s lets people in who have not shown their password", lineOf(by)),
			"every module that looks at it may say no, and the phase auth still says yes",
			"write pam_unix or a directory's module as \"required\", as packaging/pam/dockerauth does")
	}
	loaded := map[string]bool{}
	for _, line := range lines {
		if key := fmt.Sprint(line.Phase, line.Module, line.Silent); !loaded[key] {
			loaded[key] = true
			c.examineModule(line)
		}
		c.examineLine(line)
	}
	c.examineStack()
}

// lineOf names a line in the form that editors take.
func lineOf(l pamauth.Line) string {
	return fmt.Sprintf("%s:%d: %s", l.File, l.Number, l.Module)
}

// examineModule loads a module. PAM does not report a module that does not load: it answers
// PAM_MODULE_UNKNOWN at every login.
func (c *checkup) examineModule(l pamauth.Line) {
	const why = "PAM fails at every login then"
	path, err := pamauth.FindModule(l.Module)
	if err != nil && l.Silent {
		c.ok("pam", "%s is not installed, which its line allows", lineOf(l))
		return
	}
	if err != nil {
		c.fail("pam", "module-missing", fmt.Sprintf("%s: module not found: %v", lineOf(l), err), why,
			"install the package that has it, or correct its name")
		return
	}
	if err := pamauth.InspectModule(path, l.Phase); err != nil {
		c.fail(
			"pam",
			"module-unusable",
			fmt.Sprintf("%s: %s %v", lineOf(l), path, err),
			why,
			"install it again, for this machine",
		)
		return
	}
	trust := pamauth.CheckRootOwned(path)
	if trust != nil {
		cause, _ := cli.SplitHint(trust)
		c.warn("pam", "module-writable", fmt.Sprintf("%s: %s", lineOf(l), cause),
			"a module sees every password, and anyone who can change it does too",
			fmt.Sprintf("chown root and chmod go-w %s and the folders above it", path))
	}
	a := c.serviceUser()
	if a == nil || a.isRoot() && trust != nil {
		return // loading runs it: not as root, if others may have written it
	}
	answers, err := a.try(attempt{tryModule, path})
	if err != nil {
		c.fail(
			"pam",
			"module-crashes",
			fmt.Sprintf("%s: loading %s ends the program: %v", lineOf(l), path, err),
			why,
			"install it again",
		)
	} else if answers[0] != "" {
		c.fail("pam", "module-not-loading", fmt.Sprintf("%s: does not load: %s", lineOf(l), answers[0]), why,
			"install what it lacks, or let "+a.name+" read it")
	} else {
		c.ok("pam", "%s loads", lineOf(l))
	}
}

// examineLine looks at arguments that matter here.
func (c *checkup) examineLine(l pamauth.Line) {
	if l.Phase != "auth" {
		return
	}
	const holds = "after a wrong password it waits, two seconds by default, and holds one of the few conversations " +
		"that the service allows at a time"
	switch {
	case l.Name() == "pam_unix" && !l.Has("nodelay"):
		c.warn("pam", "pam-delay", lineOf(l)+" lacks \"nodelay\"",
			holds+"; dockerauth makes all refusals take the same time by itself",
			"write nodelay behind it; in a shared file such as common-auth: write pam_unix lines of its own into the "+
				"service's")
	case l.Name() == "pam_faildelay" && !l.Has("delay=0"):
		c.warn("pam", "pam-delay", lineOf(l)+" delays what follows a wrong password",
			holds,
			"leave it out: dockerauth makes all refusals take the same time by itself")
	}
	if l.Name() == "pam_unix" && l.Has("nullok") {
		c.ok("pam", "%s has \"nullok\", to no effect: accounts with an empty password are refused here all the same",
			lineOf(l))
	}
}
