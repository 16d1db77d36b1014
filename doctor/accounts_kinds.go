package doctor

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"dockerauth/pamauth"
)

// What the modules for one-time codes, locks and lists of accounts need (docs/accounts.md). They
// say little or nothing when they lack it.

// argument is the value of an argument such as "dir=/run/faillock".
func argument(l pamauth.Line, key, fallback string) string {
	if value, found := l.Value(key); found {
		return value
	}
	return fallback
}

// moduleFile is a file or folder that a module uses as the service's user.
type moduleFile struct {
	line pamauth.Line
	attempt
	why    string // what follows if the service cannot
	call   string // that the module makes and the unit's filter must allow; "" = none
	remedy string // beside a folder that is not there
}

// moduleFiles are those of the stack, each once.
func moduleFiles(stack []pamauth.Line) (files []moduleFile) {
	add := func(f moduleFile) {
		if f.Path != "" && !slices.ContainsFunc(files, func(o moduleFile) bool { return o.attempt == f.attempt }) {
			files = append(files, f)
		}
	}
	const refused = "right codes are refused, and the log says no more: the module notes each used code there"
	for _, l := range stack {
		if l.Phase != "auth" && l.Name() != "pam_access" {
			continue
		}
		switch l.Name() {
		case "pam_access":
			add(moduleFile{line: l, attempt: attempt{tryRead, argument(l, "accessfile", "/etc/security/access.conf")},
				why: "every login is answered with 503 (PAM_ABORT)"})
		case "pam_faillock":
			add(moduleFile{line: l, attempt: attempt{tryWrite, argument(l, "dir", "/run/faillock")},
				why: "no account is ever locked", remedy: dropInRemedy("faillock")})
		case "pam_krb5":
			add(moduleFile{line: l, attempt: attempt{tryRead, argument(l, "keytab", "/etc/krb5.keytab")},
				why: "every right password is refused; without " +
					"verify_ap_req_nofail, any program can answer for the KDC"})
		case "pam_oath":
			file := argument(l, "usersfile", "/etc/users.oath")
			add(moduleFile{line: l, attempt: attempt{tryWrite, filepath.Dir(file)}, why: refused, call: "@chown",
				remedy: dropInRemedy("otp")})
			add(moduleFile{line: l, attempt: attempt{tryWrite, file}, why: refused})
		case "pam_google_authenticator":
			// The part before ${USER} or another variable.
			before, _, _ := strings.Cut(argument(l, "secret", ""), "$")
			if !filepath.IsAbs(before) {
				continue // examineStack names it
			}
			add(moduleFile{line: l, attempt: attempt{tryWrite, filepath.Dir(before)}, why: refused, call: "setfsuid",
				remedy: dropInRemedy("otp")})
		}
	}
	return files
}

// dropInRemedy installs a drop-in that the packages bring as an example.
func dropInRemedy(name string) string {
	return fmt.Sprintf("install -D -m 644 /usr/share/doc/dockerauth/examples/systemd/%s.conf "+
		"/etc/systemd/system/%s.d/%[1]s.conf && systemctl daemon-reload && systemctl restart dockerauth", name,
		serviceUnit)
}

// moduleChecks are for files and folders of modules.
func (c *checkup) moduleChecks(a *runAs) (trials []permissionCheck) {
	u := readUnit(c.root, serviceUnit)
	failed := map[string]bool{} // folders, which come before the files in them
	for _, f := range moduleFiles(c.stack) {
		trials = append(trials, permissionCheck{f.attempt, func(why string) {
			if failed[f.Path] = why != ""; !failed[filepath.Dir(f.Path)] {
				c.judgeModuleFile(a, u, f, why)
			}
		}, ""})
	}
	return trials
}

func (c *checkup) judgeModuleFile(a *runAs, u unit, f moduleFile, why string) {
	verb := "read"
	if f.Try == tryWrite {
		verb = "write to"
	}
	inUnit := a.isServiceUser && u.file != ""
	switch {
	case why != "":
		c.fail("rights.pam", "module-file", fmt.Sprintf("%s: %s cannot %s %s: %s", lineOf(f.line), a.name, verb, f.Path,
			why), f.why, f.fix(a))
	case inUnit && f.Try == tryWrite && u.readOnly && !u.mayWrite(f.Path):
		c.fail("rights.pam", "module-file-unit", fmt.Sprintf("%s: %s does not let the service write to %s",
			lineOf(f.line), u.file, f.Path), f.why, cmp.Or(f.remedy, "add ReadWritePaths="+f.Path+" to the unit"))
	case inUnit && f.call != "" && u.forbids(f.call):
		c.fail("rights.pam", "module-call", fmt.Sprintf("%s: %s forbids a system call that it needs: %s",
			lineOf(f.line), u.file, f.call), f.why, f.remedy)
	default:
		c.ok("rights", "%s: %s can %s %s", lineOf(f.line), a.name, verb, f.Path)
	}
}

func (f moduleFile) fix(a *runAs) string {
	switch {
	case f.remedy != "":
		return f.remedy
	case f.Try == tryWrite:
		return fmt.Sprintf("chown %s %s && chmod 600 %[2]s", a.name, f.Path)
	case f.line.Name() == "pam_krb5":
		return fmt.Sprintf("chgrp %s %s && chmod 640 %[2]s", cmp.Or(a.group, a.name), f.Path)
	}
	return "chmod 644 " + f.Path
}

// examineStack looks at lines that work only together.
func (c *checkup) examineStack() {
	c.examineFaillock()
	c.examineCodes()
}

func (c *checkup) examineFaillock() {
	var first pamauth.Line
	has := map[string]bool{}
	for _, l := range c.stack {
		if l.Name() != "pam_faillock" {
			continue
		}
		if first.Module == "" {
			first = l
		}
		for _, arg := range append(l.Args, "") {
			has[l.Phase+" "+arg] = true
		}
		if l.Phase == "account" {
			c.warn("pam", "faillock-account", lineOf(l)+" in the phase account sets the count back",
				"each refresh of a docker login does too, so that somebody who guesses is not locked out",
				"remove the line; in the phase auth, put pam_faillock.so authsucc behind authfail")
		}
	}
	const fix = "write the three lines of docs/accounts.md, or: dockerauth init --accounts faillock"
	switch {
	case first.Module == "":
	case !has["auth preauth"]:
		c.fail("pam", "faillock-lines", lineOf(first)+" has no line with preauth before the password",
			"a locked account can log in", fix)
	case !has["auth authfail"]:
		c.fail("pam", "faillock-lines", lineOf(first)+" has no line with authfail behind the password",
			"no wrong password is counted", fix)
	case !has["auth authsucc"] && !has["account "]:
		c.warn("pam", "faillock-lines", lineOf(first)+" has no line with authsucc",
			"a right password does not set the count back, and people are locked out after mistakes of many days", fix)
	}
}

// takesPassword holds for modules that compare the password.
func takesPassword(l pamauth.Line) bool {
	return slices.Contains(
		[]string{"pam_unix", "pam_sss", "pam_krb5", "pam_ldap", "pam_winbind", "pam_userdb"},
		l.Name(),
	)
}

// examineCodes looks at modules for one-time codes: they take the code off, and what stands behind
// them gets the password.
func (c *checkup) examineCodes() {
	const kinds = "write the lines of docs/accounts.md, or: dockerauth init --accounts oath"
	var code *pamauth.Line
	for i, l := range c.stack {
		if l.Phase != "auth" {
			continue
		}
		switch {
		case l.Name() == "pam_oath", l.Name() == "pam_google_authenticator":
			code = &c.stack[i]
			if slices.ContainsFunc(
				c.stack[:i],
				func(l pamauth.Line) bool { return l.Phase == "auth" && takesPassword(l) },
			) {
				c.fail("pam", "code-order", lineOf(l)+" stands behind the module that compares the password",
					"that module gets password and code together, and refuses them", kinds)
			}
			if l.Name() == "pam_google_authenticator" && !l.Has("forward_pass") {
				c.fail("pam", "code-prompt", lineOf(l)+" lacks \"forward_pass\"",
					"it takes the whole answer for the code, and refuses it", "write forward_pass behind it")
			}
			if l.Name() == "pam_google_authenticator" && !strings.HasPrefix(argument(l, "secret", ""), "/") {
				c.fail("pam", "code-home", lineOf(l)+" reads a file in each home folder",
					"only root can do that for other users, so every code is refused",
					"write secret=/var/lib/dockerauth-otp/${USER} user=dockerauth behind it")
			}
		case code != nil && takesPassword(l) && !l.Has("use_first_pass") && !l.Has("try_first_pass"):
			c.fail("pam", "code-prompt", fmt.Sprintf("%s, behind %s, lacks \"use_first_pass\"", lineOf(l), code.Module),
				"it asks for the password again, and a client answers only once", "write use_first_pass behind it")
		}
	}
	if code != nil && c.settings != nil && c.settings.PAM.Cache > 0 {
		c.ok("pam", "%s: a code that was used works again for %v, since pam.cache remembers the login", lineOf(*code),
			c.settings.PAM.Cache)
	}
}
