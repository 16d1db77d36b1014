package doctor

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"dockerauth/cli"
	"dockerauth/config"
	"dockerauth/jwtsign"
	"dockerauth/pamauth"
	"dockerauth/service"
)

// examinePAM looks at the PAM service.
func (c *checkup) examinePAM() {
	lines, err := service.Stack(c.settings).Parse()
	if faults := (pamauth.StackErrors)(nil); errors.As(err, &faults) {
		for _, fault := range faults {
			c.reportFault(fault, lines)
		}
		return
	}
	c.stack = lines
	c.ok("pam", "the service %q has lines for auth and account", c.settings.PAM.Service)
	loaded := map[string]bool{}
	for _, line := range lines {
		if line.Module == "" {
			continue // a substack begins
		}
		if key := line.Phase + " " + line.Module; !loaded[key] {
			loaded[key] = true
			c.examineModule(line)
		}
		c.examineLine(line)
		c.examineRule(line)
	}
	c.examineOutcome()
	c.examineStack()
}

// examineOutcome says when the stack lets in everybody, or nobody.
func (c *checkup) examineOutcome() {
	remedy := "write the module that checks passwords, such as pam_unix.so, as required in " + c.serviceFile()
	asksDirectory := c.asks("pam_sss") || c.asks("pam_ldap") || c.asks("pam_krb5")
	if fresh := c.freshServiceFile(); fresh != "" && (!asksDirectory || !c.hasOwnService()) {
		remedy = fresh
	}
	if by, found := pamauth.FindBypass(c.stack); found {
		c.fail("pam", "pam-bypass", fmt.Sprintf("%s lets people in who have not shown their password", lineOf(by)),
			"every module that looks at it may say no, and the phase auth still says yes", remedy)
	} else {
		c.examineUnknown()
	}
	for _, phase := range []string{"auth", "account"} {
		if !pamauth.CanSucceed(c.stack, phase, func(pamauth.Line) bool { return false }) {
			c.fail(
				"pam",
				"pam-refuses-all",
				fmt.Sprintf("%s refuses everybody in the phase %s", c.serviceFile(), phase),
				"no line of it can make the phase succeed",
				remedy,
			)
		}
	}
}

// examineUnknown names installed modules that may let people in and are not known.
func (c *checkup) examineUnknown() {
	for _, l := range pamauth.UnknownModules(c.stack) {
		if slices.Contains(c.missing, l.Module) {
			continue
		}
		c.warn("pam", "pam-module-unknown", lineOf(l)+" is not known to check passwords",
			"if it lets people in without one, no other line of the phase auth stops them",
			fmt.Sprintf("see what its documentation says; a line with pam_unix.so, required, in %s makes sure of it",
				c.serviceFile()))
	}
}

func (c *checkup) serviceFile() string {
	return filepath.Join(cmp.Or(c.settings.PAM.Confdir, "/etc/pam.d"), c.settings.PAM.Service)
}

// hasOwnService reports that the service is dockerauth's. Another program may use any other, and a
// command must not change what that program's file means.
func (c *checkup) hasOwnService() bool { return c.settings.PAM.Service == ownService }

// ownService is the default of pam.service.
const ownService = "dockerauth"

// ownsFile reports that a file is dockerauth's service file: no included one, and no link to one.
func (c *checkup) ownsFile(file string) bool {
	info, err := os.Lstat(file)
	return c.hasOwnService() && file == c.serviceFile() && err == nil && info.Mode().IsRegular()
}

// byHand says what to write in a file that a command must not change.
func (c *checkup) byHand(file string, line int, what string) string {
	if !c.hasOwnService() {
		return c.freshServiceFile()
	}
	return fmt.Sprintf("at %s:%d: %s; other programs may use that file", file, line, what)
}

// freshServiceFile is a command that puts the service file that ships in the place of a broken one,
// or how to use one in the place of another program's; "" = there is none.
func (c *checkup) freshServiceFile() string {
	command := config.InitCommand(c.settings.Path)
	if !c.hasOwnService() {
		return fmt.Sprintf("use a service file of its own: in %s set service under pam to %s, then: %s",
			c.settings.Path, ownService, cmp.Or(command, "dockerauth init"))
	}
	if _, err := os.Lstat(c.serviceFile()); command == "" || err != nil {
		return command
	}
	return fmt.Sprintf("mv -T --backup=numbered %s %s && %s", jwtsign.ShellWord(c.serviceFile()),
		jwtsign.ShellWord(c.serviceFile()+".old"), command)
}

// reportFault says what is wrong with the service file. lines are those that can be read.
func (c *checkup) reportFault(e *pamauth.StackError, lines []pamauth.Line) {
	const unavailable = "the service answers 503"
	what, why := e.Cause, unavailable
	if e.Line > 0 {
		what = fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Cause)
	}
	if e.Effect != "" {
		why = e.Effect + "; " + unavailable
	}
	switch e.Fault {
	case pamauth.FaultService:
		c.fail("pam", "pam-service-invalid", fmt.Sprintf("pam.service %q: %s", e.Service, what), why,
			fmt.Sprintf("in %s: %s", c.settings.Path, e.Hint))
	case pamauth.FaultNoFile:
		c.fail(
			"pam",
			"pam-file-missing",
			fmt.Sprintf("there is no %s", e.File),
			why,
			cmp.Or(c.freshServiceFile(), e.Hint),
		)
	case pamauth.FaultFile:
		remedy := e.Hint
		if errors.Is(e, fs.ErrPermission) {
			remedy = fmt.Sprintf("let the user that runs dockerauth read %s; other programs may use that file", e.File)
			if c.ownsFile(e.File) {
				remedy = "chmod 644 " + jwtsign.ShellWord(e.File)
			}
		} else if e.File == c.serviceFile() {
			remedy = cmp.Or(c.freshServiceFile(), e.Hint)
		}
		c.fail("pam", "pam-file-unusable", what, why, remedy)
	case pamauth.FaultWritable:
		c.fail("pam", "pam-file-writable", what, "anyone who can do that chooses who logs in; "+unavailable, e.Hint)
	case pamauth.FaultLine, pamauth.FaultIncludesItself:
		remedy := c.wordRemedy(e, meant(e))
		c.fail("pam", "pam-line-invalid", what, why, cmp.Or(remedy, c.hintAt(e)))
	case pamauth.FaultInclude:
		remedy := c.wordRemedy(e, closestFile(e.Word, c.serviceFile()))
		c.fail("pam", "pam-include-missing", what, why, cmp.Or(remedy, c.hintAt(e)))
	case pamauth.FaultPhase:
		c.fail("pam", "pam-phase-missing", what, why, cmp.Or(c.phaseRemedy(e.Word, lines), c.hintAt(e)))
	}
}

// meant is what a wrong word may stand for: "ok" for "okay" too; "" = nothing.
func meant(e *pamauth.StackError) string {
	word := cli.Closest(e.Word, e.Known)
	for _, known := range e.Known {
		if word == "" && strings.HasPrefix(e.Word, known) {
			word = known
		}
	}
	return word
}

// hintAt is a command, or what to write where.
func (c *checkup) hintAt(e *pamauth.StackError) string {
	switch isCommand := strings.HasPrefix(e.Hint, "sed "); {
	case isCommand && !c.ownsFile(e.File):
		return c.byHand(e.File, e.Line, "correct it by hand")
	case isCommand:
		return e.Hint
	case !c.hasOwnService():
		return c.freshServiceFile()
	}
	if e.Line == 0 {
		return fmt.Sprintf("in %s: %s", e.File, e.Hint)
	}
	return fmt.Sprintf("at %s:%d: %s", e.File, e.Line, e.Hint)
}

// wordRemedy is a command that puts another word in the place of the wrong one; "" = there is none.
func (c *checkup) wordRemedy(e *pamauth.StackError, right string) string {
	if right == "" && e.Fault == pamauth.FaultLine && strings.HasPrefix(e.Word, "pam_") {
		right = "required " + e.Word
	}
	if right == "" {
		return ""
	}
	return c.replaceWord(e.File, e.Line, e.End, e.Word, right)
}

var plainWord = lazyRegexp(`^[A-Za-z0-9_./-]+$`)

var plainWords = lazyRegexp(`^[A-Za-z0-9_./= -]+$`)

// replaceWord is a command that replaces a word of the service file, in lines from first to last,
// or says so where another program may use the file; "" = it holds what sed would take for
// something else.
func (c *checkup) replaceWord(file string, first, last int, word, right string) string {
	if !plainWord().MatchString(word) || !plainWords().MatchString(right) {
		return ""
	}
	if !c.ownsFile(file) {
		return c.byHand(file, first, fmt.Sprintf("write %s in the place of %s", right, word))
	}
	lines := fmt.Sprint(first)
	if last > first {
		lines = fmt.Sprintf("%d,%d", first, last)
	}
	// A word may begin or end with what is no letter to sed.
	before, after := `\<`, `\>`
	if strings.ContainsAny(word[:1], "./-") {
		before = ""
	}
	if strings.ContainsAny(word[len(word)-1:], "./-") {
		after = ""
	}
	return fmt.Sprintf("sed -i '%ss|%s%s%s|%s|' %s", lines, before, strings.ReplaceAll(word, ".", `\.`), after, right,
		jwtsign.ShellWord(file))
}

// closestFile is the service file that a mistyped include may mean: an absolute path of one beside
// the service file, or the name with one letter changed; "" = there is none.
func closestFile(name, serviceFile string) string {
	folder := "/etc/pam.d"
	if filepath.IsAbs(name) {
		folder = filepath.Dir(name)
	} else if beside := filepath.Join(filepath.Dir(serviceFile), name); beside != filepath.Join(folder, name) {
		if _, err := os.Stat(beside); err == nil {
			return beside
		}
	}
	entries, _ := os.ReadDir(folder) // a folder that is not there has none
	var names []string
	for _, entry := range entries {
		if entry.Type().IsRegular() && entry.Name() != filepath.Base(serviceFile) {
			names = append(names, entry.Name())
		}
	}
	best := cli.Closest(filepath.Base(name), names)
	if best != "" && filepath.IsAbs(name) {
		best = filepath.Join(folder, best)
	}
	return best
}

// phaseRemedy adds the phase that is missing, by the modules of the other one; "" = there are none.
func (c *checkup) phaseRemedy(phase string, lines []pamauth.Line) string {
	switch {
	case len(lines) == 0 || !c.hasOwnService():
		return c.freshServiceFile()
	case !c.ownsFile(c.serviceFile()):
		return ""
	}
	add := ""
	for _, l := range lines {
		switch name := filepath.Base(l.File); name {
		case "common-auth", "common-account":
			add = "@include common-" + phase
		case "password-auth", "system-auth":
			add = phase + " include " + name
		}
	}
	for _, module := range []string{"pam_sss", "pam_ldap", "pam_krb5", "pam_winbind"} {
		if add == "" && slices.ContainsFunc(lines, func(l pamauth.Line) bool { return l.Name() == module }) {
			add = fmt.Sprintf("%s required %s.so", phase, module)
		}
	}
	if add == "" {
		add = phase + ` requisite pam_succeed_if.so quiet uid >= 1000 uid ne 65534\n` + phase + " required pam_unix.so"
		if phase == "auth" {
			add += " nodelay"
		}
	}
	return fmt.Sprintf(`printf '\n%s\n' >> %s`, add, jwtsign.ShellWord(c.serviceFile()))
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
	if err != nil {
		c.missingModule(l.Module, err)
		return
	}
	if err := pamauth.InspectModule(path, l.Phase); err != nil {
		remedy := fmt.Sprintf("at %s:%d: name a module that has the phase %s", l.File, l.Number, l.Phase)
		c.fail("pam", "module-unusable", fmt.Sprintf("%s: %s %v", lineOf(l), path, err), why, remedy)
		return
	}
	trust := pamauth.CheckRootOwned(path)
	if trust != nil {
		cause, _ := cli.SplitHint(trust)
		c.warn("pam", "module-writable", fmt.Sprintf("%s: %s", lineOf(l), cause),
			"a module sees every password, and anyone who can change it does too", ownCommand(path))
	}
	a := c.serviceUser()
	if a == nil || os.Geteuid() == 0 && trust != nil {
		return // loading runs it: not with rights that root gives, if others may have written it
	}
	again := cmp.Or(c.installCommand(l.Module, true),
		fmt.Sprintf("install the package that has %s again, or name another module at %s:%d", path, l.File, l.Number))
	answers, err := a.try(attempt{tryModule, path})
	if err != nil {
		c.fail("pam", "module-crashes", fmt.Sprintf("%s: loading %s ends the program: %v", lineOf(l), path, err), why,
			again)
	} else if answers[0] != "" {
		c.fail("pam", "module-not-loading", fmt.Sprintf("%s: does not load: %s", lineOf(l), answers[0]), why, again)
	} else {
		c.ok("pam", "%s loads", lineOf(l))
	}
}

// missingModule reports a module once. It tells one whose lines PAM skips from one without which
// nobody is let in.
func (c *checkup) missingModule(module string, cause error) {
	var lines []pamauth.Line
	for _, l := range c.stack {
		if l.Module == module {
			lines = append(lines, l)
		}
	}
	if slices.Contains(c.missing, module) {
		return
	}
	c.missing = append(c.missing, module)
	for _, l := range lines {
		isMissing := func(other pamauth.Line) bool { return other.File == l.File && other.Number == l.Number }
		if !pamauth.CanSucceed(c.stack, l.Phase, isMissing) {
			c.fail("pam", "module-missing", lineOf(l)+" is not installed",
				fmt.Sprintf("PAM refuses every login then: %v", cause), c.moduleRemedy(l))
			return
		}
	}
	for _, l := range lines {
		if !l.Silent {
			c.warn(
				"pam",
				"module-skipped",
				lineOf(l)+" is not installed",
				fmt.Sprintf(
					"PAM goes on without it, and writes so to its log at every login: %v",
					cause,
				),
				c.moduleRemedy(l),
			)
			return
		}
	}
	c.ok("pam", "%s is not installed, and PAM skips its line", lineOf(lines[0]))
}

func (c *checkup) moduleRemedy(l pamauth.Line) string {
	name := filepath.Base(l.Module)
	if command := c.installCommand(name, false); command != "" {
		return command
	}
	right := cli.Closest(name, pamauth.Modules())
	if !strings.HasSuffix(name, ".so") && slices.Contains(pamauth.Modules(), name+".so") {
		right = name + ".so"
	}
	if right != "" {
		if command := c.replaceWord(l.File, l.Number, l.End, l.Module, right); command != "" {
			return command
		}
	}
	return fmt.Sprintf("install the package that has %s, or correct its name at %s:%d", name, l.File, l.Number)
}

// ownModules are Linux-PAM's.
const ownModules = " access debug deny echo env exec faildelay faillock group issue keyinit lastlog " +
	"limits listfile localuser loginuid mail mkhomedir motd namespace nologin permit pwhistory rhosts rootok " +
	"securetty selinux sepermit shells stress succeed_if time timestamp tty_audit umask unix userdb usertype warn " +
	"wheel xauth "

// packagesOf are the packages that have a module: Debian's name, and that of Fedora and its kin;
// "" = not known.
func packagesOf(module string) [2]string {
	name, _ := strings.CutPrefix(module, "pam_")
	name, found := strings.CutSuffix(name, ".so")
	if found && strings.Contains(ownModules, " "+name+" ") {
		return [2]string{"libpam-modules", "pam"}
	}
	return map[string][2]string{
		"pam_sss.so":                  {"libpam-sss", "sssd-client"},
		"pam_krb5.so":                 {"libpam-krb5", "pam_krb5"},
		"pam_oath.so":                 {"libpam-oath", "pam_oath"},
		"pam_google_authenticator.so": {"libpam-google-authenticator", "google-authenticator"},
		"pam_ldap.so":                 {"libpam-ldapd", "nss-pam-ldapd"},
		"pam_pwdfile.so":              {"libpam-pwdfile", ""},
		"pam_winbind.so":              {"libpam-winbind", "samba-winbind-modules"},
		"pam_yubico.so":               {"libpam-yubico", "pam_yubico"},
		"pam_u2f.so":                  {"libpam-u2f", "pam-u2f"},
		"pam_radius_auth.so":          {"libpam-radius-auth", "pam_radius"},
		"pam_script.so":               {"libpam-script", "pam_script"},
		"pam_mysql.so":                {"libpam-mysql", ""},
		"pam_cap.so":                  {"libpam-cap", "libcap"},
		"pam_systemd.so":              {"libpam-systemd", "systemd-pam"},
		"pam_pwquality.so":            {"libpam-pwquality", "libpwquality"},
		"pam_duo.so":                  {"libpam-duo", "duo_unix"},
	}[module]
}

// installCommand installs the package of a module, or installs it again; "" = it is not known.
func (c *checkup) installCommand(module string, again bool) string {
	commands := [2]string{"apt-get install -y ", "dnf install -y "}
	if again {
		commands = [2]string{"apt-get install -y --reinstall ", "dnf reinstall -y "}
	}
	for i, name := range packagesOf(module) {
		manager, _, _ := strings.Cut(commands[i], " ")
		if _, err := os.Stat(filepath.Join("/", c.root, "usr/bin", manager)); err == nil && name != "" {
			return commands[i] + name
		}
	}
	return ""
}

// ownCommand gives a file, and the folders above it, to root alone, where they are not.
func ownCommand(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	var steps []string
	for step := path; step != "/"; step = filepath.Dir(step) {
		info, err := os.Lstat(step)
		if err != nil {
			continue
		}
		owner, ok := info.Sys().(*syscall.Stat_t)
		if ok && owner.Uid != 0 || info.Mode().Perm()&0o022 != 0 && info.Mode()&os.ModeSticky == 0 {
			steps = append([]string{jwtsign.ShellWord(step)}, steps...)
		}
	}
	all := strings.Join(steps, " ")
	return fmt.Sprintf("chown root %s && chmod go-w %[1]s", all)
}

// examineRule finds rules that their module does not take: it answers PAM_SERVICE_ERR at every
// login.
func (c *checkup) examineRule(l pamauth.Line) {
	const why = "the module answers PAM_SERVICE_ERR at every login, which is a failure of the service: 503"
	fix := fmt.Sprintf("correct %s:%d", l.File, l.Number)
	fault := ""
	switch l.Name() {
	case "pam_succeed_if":
		var wrong, right string
		if fault, wrong, right = ruleFault(l); right != "" && plainRule().MatchString(wrong) &&
			c.ownsFile(l.File) {
			fix = fmt.Sprintf(`sed -i '%d,%ds|\([[:blank:]]\)%s\([[:blank:]]\)|\1%s\2|' %s`, l.Number, l.End, wrong,
				right, jwtsign.ShellWord(l.File))
		}
	case "pam_listfile":
		file, _ := l.Value("file")
		item, _ := l.Value("item")
		sense, _ := l.Value("sense")
		onError, _ := l.Value("onerr")
		_, err := os.Lstat(file)
		switch {
		case onError == "succeed":
		case !slices.Contains([]string{"user", "group", "tty", "rhost", "ruser", "shell"}, item):
			fault, fix = "no item=user or item=group", fix+": write item=user"
		case sense != "allow" && sense != "deny":
			fault, fix = "no sense=allow or sense=deny", fix+": write sense=allow or sense=deny"
		case file == "":
			fault, fix = "no file=", fix+": name the list with file="
		case errors.Is(err, fs.ErrNotExist):
			fault = fmt.Sprintf("there is no %s", file)
			fix = fmt.Sprintf("put %s there, with one name a line; an empty list denies nobody", file)
			if sense == "allow" && filepath.IsAbs(file) { // an empty one lets nobody in
				fix = fmt.Sprintf("install -m 644 /dev/null %s", jwtsign.ShellWord(file))
			}
		}
	}
	if fault != "" {
		c.fail("pam", "pam-rule-invalid", fmt.Sprintf("%s: %s", lineOf(l), fault), why, fix)
	}
}

var plainRule = lazyRegexp(`^[a-z<>=!~]+$`)

// ruleFault is what pam_succeed_if does not take of its conditions; "" = nothing. Where another
// word would do, wrong is the one that is written.
func ruleFault(l pamauth.Line) (fault, wrong, right string) {
	attributes := []string{"user", "login", "name", "uid", "gid", "shell", "home", "homedir", "dir", "service", "ruser",
		"rhost", "tty"}
	numbers := []string{"<", "lt", "<=", "le", ">", "gt", ">=", "ge", "eq", "ne"}
	texts := []string{"=", "!=", "=~", "glob", "!~", "noglob", "in", "notin", "ingroup", "notingroup", "innetgr",
		"notinnetgr"}
	tests, complete := conditions(l)
	for _, test := range tests {
		attribute, operator := strings.ToLower(test[0]), strings.ToLower(test[1])
		known := append(slices.Clone(numbers), texts...)
		switch {
		case !slices.Contains(attributes, attribute):
			return fmt.Sprintf("%q is no attribute of an account", test[0]), test[0], cli.Closest(test[0], attributes)
		case !slices.Contains(known, operator):
			equal := "="
			if _, err := strconv.ParseInt(test[2], 10, 64); err == nil {
				equal = "eq"
			}
			meant := map[string]string{"=>": ">=", "=<": "<=", "==": equal, "<>": "ne", "=!": "!="}
			return fmt.Sprintf("%q is no comparison", test[1]), test[1], meant[test[1]]
		case slices.Contains(numbers, operator):
			if _, err := strconv.ParseInt(test[2], 10, 64); err != nil {
				return fmt.Sprintf("%q is no number", test[2]), "", ""
			}
		}
	}
	if !complete && !l.Has("use_uid") {
		return "the last condition is not complete: each is attribute, comparison, value", "", ""
	}
	return "", "", ""
}

var aNumber = lazyRegexp(`^[0-9]+$`)

// examineLine looks at arguments that matter here.
func (c *checkup) examineLine(l pamauth.Line) {
	if l.Phase != "auth" {
		return
	}
	const holds = "after a wrong password it waits, two seconds by default, and holds one of the few conversations " +
		"that the service allows at a time"
	shared := func(what string) string {
		if !c.hasOwnService() {
			return c.freshServiceFile()
		}
		return fmt.Sprintf("in %s: in place of the include write the lines of %s, with %s", c.serviceFile(), l.File,
			what)
	}
	switch {
	case l.Name() == "pam_unix" && !l.Has("nodelay"):
		remedy := shared("nodelay behind pam_unix.so")
		if c.ownsFile(l.File) {
			remedy = c.replaceWord(l.File, l.Number, l.End, l.Module, l.Module+" nodelay")
		}
		c.warn("pam", "pam-delay", lineOf(l)+" lacks \"nodelay\"", holds, remedy)
	case l.Name() == "pam_faildelay" && !l.Has("delay=0"):
		remedy := shared("delay=0 behind pam_faildelay.so")
		if delay, found := l.Value("delay"); c.ownsFile(l.File) {
			// Its line stays: a jump may count it.
			switch {
			case !found:
				remedy = c.replaceWord(l.File, l.Number, l.End, l.Module, l.Module+" delay=0")
			case aNumber().MatchString(delay):
				remedy = fmt.Sprintf("sed -i '%d,%ds/delay=%s/delay=0/' %s", l.Number, l.End, delay,
					jwtsign.ShellWord(l.File))
			default:
				remedy = fmt.Sprintf("at %s:%d: write delay=0 behind %s", l.File, l.Number, l.Module)
			}
		}
		c.warn("pam", "pam-delay", lineOf(l)+" delays what follows a wrong password", holds, remedy)
	}
	if l.Name() == "pam_unix" && l.Has("nullok") {
		c.ok("pam", "%s has \"nullok\", to no effect: accounts with an empty password are refused here all the same",
			lineOf(l))
	}
}
