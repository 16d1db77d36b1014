package doctor

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"dockerauth/cli"
	"dockerauth/config"
	"dockerauth/pamauth"
)

const shadowFile = "/etc/shadow"

// sssdPipes are where SSSD answers pam_sss. The second is for root alone (sssd
// src/sss_client/sss_cli.h).
var sssdPipes = [...]string{"/var/lib/sss/pipes/pam", "/var/lib/sss/pipes/private/pam"}

// examineRights finds out what the service's user may do.
func (c *checkup) examineRights() {
	if a := c.serviceUser(); a != nil {
		switch {
		case a.isRoot() && c.as == "":
			c.notAsked("rights", "what the service's user may do: root may do everything",
				"dockerauth check --as "+likelyUser())
			c.examinePaths()
		case a.isRoot():
			c.warn("rights", "runs-as-root", "the service runs as root",
				"a fault in it, or in a PAM module, has the whole machine",
				"write User=dockerauth and SupplementaryGroups=shadow in the [Service] section of its unit")
		default:
			c.examineServiceUser(a)
		}
		c.examineOwners(a)
		c.examineStateless(a)
		c.examineStateAddress()
		c.examineSELinux(a)
	}
}

// lockedOut is what follows where only tokens may log in, and there are none.
func (c *checkup) lockedOut() string {
	if len(c.settings.Passwords.Except) > 0 {
		return "passwords.allow is tokens-only, and there are no tokens: nobody but passwords.except can log in"
	}
	return "passwords.allow is tokens-only, and there are no tokens: nobody can log in"
}

// examineStateless is for a configuration without a place for tokens.
func (c *checkup) examineStateless(a *runAs) {
	if c.settings.State != "" || !c.settings.Passwords.TokensOnly {
		return
	}
	name, group := a.name, a.group
	if a.isRoot() {
		name = likelyUser()
		group = name
	}
	c.fail("rights.state", "state-missing", "state in "+c.settings.Path+" is empty", c.lockedOut(),
		config.SetAnd(c.settings.Path, "state", config.DefaultState,
			c.stateRemedy(c.unitFor(a), name, group, a.who.UID, config.DefaultState)))
}

// examineFolder looks at a folder for state as far as that does not depend on its user.
func (c *checkup) examineFolder(folder string) {
	const subject = "rights.state"
	name := likelyUser()
	info, uid, _, ok := ownerOf(folder)
	_, err := os.Stat(folder)
	if ok && !info.IsDir() {
		err = syscall.ENOTDIR
	}
	isMissing := errors.Is(err, fs.ErrNotExist) && stateIsOptional(folder)
	remedy, why := c.stateRemedy(unit{}, name, name, -1, folder), "the service answers 503"
	tokensOnly := c.settings.Passwords.TokensOnly
	if ok && info.IsDir() && info.Mode().Perm()&0o027 != 0 {
		err = fmt.Errorf("it is open to others: its mode is %04o", info.Mode().Perm())
		remedy = "chmod 0700 " + word(folder)
	}
	if stateIsOptional(folder) {
		why = "no wrong password is counted there, and there are no tokens"
		if tokensOnly {
			why = c.lockedOut()
		}
	}
	switch {
	case isMissing && tokensOnly:
		c.fail(subject, "state-missing", "there is no "+folder, why, remedy)
	case isMissing:
		c.ok("rights", "there is no %s: wrong passwords are not counted there, and \"dockerauth token issue\" needs "+
			"it: %s", folder, remedy)
	case err != nil && stateIsOptional(folder) && !tokensOnly:
		c.warn(subject, "state-unusable", fmt.Sprintf("%s cannot be used: %s", folder, cli.Cause(err)), why, remedy)
	case err != nil:
		c.fail(subject, "state-unusable", fmt.Sprintf("%s cannot be used: %s", folder, cli.Cause(err)), why, remedy)
	default:
		if uid != 0 {
			name = userName(uid)
		}
		c.notAsked(subject, "whether the service can use "+folder+", and the tokens in it",
			command("dockerauth", "check", "--as", name, "--config", c.settings.Path))
	}
}

// examinePaths looks at paths that no user can use, root included.
func (c *checkup) examinePaths() {
	name := likelyUser()
	if folder := c.settings.State; folder != "" && !config.IsStateServer(folder) {
		c.examineFolder(folder)
	}
	if file := c.settings.Log.File; file != "" {
		if err := checkLogPath(file); err != nil {
			c.fail(
				"rights.log",
				"log-unwritable",
				fmt.Sprintf("%s cannot be written: %s", file, cli.Cause(err)),
				"a service does not start, and a CGI program logs to the web server",
				c.logRemedy(unit{}, name, name, file, err),
			)
		}
	}
}

// checkLogPath finds the file, or a folder to make it in.
func checkLogPath(file string) error {
	info, err := os.Stat(file)
	switch {
	case err == nil && info.IsDir():
		return syscall.EISDIR
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	folder, err := os.Stat(filepath.Dir(file))
	if err == nil && !folder.IsDir() {
		err = syscall.ENOTDIR
	}
	return err
}

// permissionCheck is something to try, and what to make of the answer: "" is yes.
type permissionCheck struct {
	attempt
	judge   func(why string)
	subject string // of a file to read, which examineServiceUser judges; "" = judge does
}

func (c *checkup) examineServiceUser(a *runAs) {
	trials := slices.Concat(c.readChecks(), c.changeChecks(a), c.writeChecks(a), c.stateChecks(a), c.pamChecks(a),
		c.moduleChecks(a))
	looks := make([]attempt, len(trials))
	for i, t := range trials {
		looks[i] = t.attempt
	}
	answers, err := a.try(looks...)
	if err != nil {
		c.fail("rights", "rights-unknown", fmt.Sprintf("what %s may do could not be found out: %v", a.name, err),
			"",
			"run it as root, with --program FILE where the web server starts another file than this")
		return
	}
	var closed []unreadable
	var open []string
	u := c.unitFor(a)
	for i, t := range trials {
		switch {
		case t.subject != "" && u.hides(t.Path):
			c.fail("rights."+t.subject, "unreadable",
				fmt.Sprintf("%s hides %s from the service: ProtectHome=yes", u.file, t.Path),
				"the service answers 503 from its next start on", c.moveRemedy(a, t.subject, t.Path))
		case t.subject != "" && answers[i] != "":
			closed = append(closed, unreadable{t.subject, t.Path, answers[i]})
		case t.subject != "":
			open = append(open, t.Path)
		default:
			t.judge(answers[i])
		}
	}
	if len(open) > 0 {
		c.ok("rights", "%s can read %s", a.name, strings.Join(open, ", "))
	}
	c.judgeUnreadable(a, closed)
	c.examineSetgid(a)
}

// readChecks are for the files that the program needs at its start.
func (c *checkup) readChecks() (trials []permissionCheck) {
	subjects := map[string]string{c.settings.Path: "config", c.settings.PrivateKeyFile: "private_key",
		c.settings.CertificateFile: "certificate"}
	for _, file := range c.settings.PreviousKeyFiles {
		subjects[file] = "previous_keys"
	}
	files := c.settings.Files()
	for _, line := range c.stack {
		if !slices.Contains(files, line.File) {
			files = append(files, line.File)
		}
	}
	for _, file := range files {
		subject := cmp.Or(subjects[file], "pam")
		trials = append(trials, permissionCheck{attempt{tryRead, file}, nil, subject})
	}
	return trials
}

// changeChecks are for --as only: an operator who checks as themselves may own the files.
func (c *checkup) changeChecks(a *runAs) (trials []permissionCheck) {
	if c.as == "" {
		return nil
	}
	for _, path := range c.accessFiles() {
		trials = append(trials, permissionCheck{attempt{tryWrite, path}, func(why string) {
			if why == "" {
				c.warn("rights.config", "config-writable", fmt.Sprintf("%s can change %s", a.name, path),
					"who takes over something that runs as that user chooses the key, the rules and the PAM service",
					fmt.Sprintf("chown root %[1]s && chmod go-w %[1]s", word(path)))
			}
		}, ""})
	}
	return trials
}

// accessFiles decide who gets in. Each is followed by its folder, where it could be replaced.
func (c *checkup) accessFiles() (paths []string) {
	files := []string{c.settings.Path}
	for _, line := range c.stack {
		files = append(files, line.File)
	}
	for _, file := range files {
		for _, path := range []string{file, filepath.Dir(file)} {
			if !slices.Contains(paths, path) {
				paths = append(paths, path)
			}
		}
	}
	return paths
}

// examineOwners warns of files that belong to neither root nor the service's user. The modes do not
// keep an owner out.
func (c *checkup) examineOwners(a *runAs) {
	var paths []string
	if a.setgid() < 0 { // examineSetgid names them
		paths = c.accessFiles()
	}
	keys := slices.DeleteFunc(append([]string{c.settings.PrivateKeyFile}, c.settings.PreviousKeyFiles...),
		func(key string) bool { return key == "" })
	for _, key := range keys {
		for _, path := range []string{key, filepath.Dir(key)} {
			if !slices.Contains(paths, path) {
				paths = append(paths, path)
			}
		}
	}
	owned := map[int][]string{}
	for _, path := range paths {
		if _, uid, _, ok := ownerOf(path); ok && !c.mayOwn(a, uid) {
			owned[uid] = append(owned[uid], path)
		}
	}
	for _, uid := range slices.Sorted(maps.Keys(owned)) {
		theirs := owned[uid]
		why := "who owns a file can change it, and so decide who gets in"
		if slices.ContainsFunc(keys, func(key string) bool { return slices.Contains(theirs, key) }) {
			why = "who has the key can sign tokens as any account"
		}
		what := fmt.Sprintf("%s owns %s", userName(uid), theirs[0])
		if more := len(theirs) - 1; more > 0 {
			what += fmt.Sprintf(" and %d more", more)
		}
		c.warn("rights.owner", "other-owner", what, why, command(append([]string{"chown", "root"}, theirs...)...))
	}
}

// mayOwn reports an owner that has the rights anyway, or has no account here, as in a container.
// Where the service's user is not known, an account of the system may be it.
func (c *checkup) mayOwn(a *runAs, uid int) bool {
	const firstOrdinary = 1000 // login.defs(5), UID_MIN
	_, err := user.LookupId(strconv.Itoa(uid))
	return err != nil || uid == 0 || uid == os.Geteuid() || uid == a.who.UID ||
		c.as == "" && (uid < firstOrdinary || userName(uid) == likelyUser())
}

// writeChecks are for the state folder and the log.
func (c *checkup) writeChecks(a *runAs) (trials []permissionCheck) {
	uncounted := "no wrong password is counted, so anyone may guess for ever, and there are no tokens"
	unlogged := "it logs to the web server's error log"
	if !c.isStartedByWebServer(a) {
		uncounted = "wrong passwords are counted in memory only, a restart forgets them, and there are no tokens"
		unlogged = "the service does not start"
		if a.isServiceUser && readUnit(c.root, socketUnit).file != "" {
			unlogged = "the service answers 503" // systemd starts it at each request
		}
	}
	u := c.unitFor(a)
	if folder := c.settings.State; folder != "" {
		trials = append(trials, permissionCheck{attempt{tryState, folder}, func(why string) {
			why, _, _ = strings.Cut(why, "\n") // the hint is for that process
			place := folder
			if config.IsStateServer(folder) {
				place = "the state server" // a password may stand in its address
			}
			what := fmt.Sprintf("%s cannot use %s: %s", a.name, place, strings.TrimPrefix(why, "folder for state: "))
			remedy := c.stateRemedy(u, a.name, a.group, a.who.UID, folder)
			if setting := u.protects(folder); setting != "" {
				why = setting
				what = fmt.Sprintf("%s does not let the service write to %s: %s", u.file, folder, setting)
			}
			switch {
			case why == "":
				c.ok("rights", "%s can keep count of wrong passwords in %s", a.name, place)
			case config.IsStateServer(folder):
				c.warn("rights.state", "state-unusable", what,
					"each process counts wrong passwords for itself, and refresh tokens get 503",
					"start the server, or write its address, password_file and ca as state in "+c.settings.Path)
			case !stateIsOptional(folder):
				c.fail("rights.state", "state-unusable", what, "the service answers 503", remedy)
			case why == syscall.ENOENT.Error() && (slices.Contains(u.stateDirs, folder) ||
				a.isServiceUser && !c.settings.Passwords.TokensOnly):
				c.ok("rights", "there is no %s yet: a unit with StateDirectory= makes it", folder)
			case why == syscall.ENOENT.Error() && c.settings.Passwords.TokensOnly:
				c.fail("rights.state", "state-missing", "there is no "+folder, c.lockedOut(), remedy)
			case why == syscall.ENOENT.Error():
				c.warn("rights.state", "state-missing", "there is no "+folder, uncounted, remedy)
			case c.settings.Passwords.TokensOnly:
				c.fail("rights.state", "state-unusable", what, c.lockedOut(), remedy)
			default:
				c.warn("rights.state", "state-unusable", what, uncounted, remedy)
			}
		}, ""})
	}
	if file := c.settings.Log.File; file != "" {
		trials = append(trials, permissionCheck{attempt{tryAppend, file}, func(why string) {
			what := fmt.Sprintf("%s cannot write to %s: %s", a.name, file, why)
			if setting := u.protects(file); setting != "" {
				what = fmt.Sprintf("%s does not let the service write to %s: %s", u.file, file, setting)
			} else if why == "" {
				c.ok("rights", "%s can write to the log %s", a.name, file)
				return
			}
			c.fail(
				"rights.log",
				"log-unwritable",
				what,
				unlogged,
				c.logRemedy(u, a.name, a.group, file, errnoOf(why)),
			)
		}, ""})
	}
	return trials
}

// pamChecks are for what the modules need. Their order matters: the second is judged with the
// result of the first.
func (c *checkup) pamChecks(a *runAs) (trials []permissionCheck) {
	directory := false
	if c.asks("pam_sss") {
		reached := ""
		for i, pipe := range sssdPipes {
			trials = append(trials, permissionCheck{attempt{tryConnect, pipe}, func(why string) {
				if why == "" {
					directory = true
				} else if i == 0 {
					reached = why
				}
				if i+1 < len(sssdPipes) {
					return
				}
				if directory {
					c.ok("rights", "%s reaches SSSD", a.name)
					return
				}
				c.fail(
					"rights.sssd",
					"sssd-unreachable",
					fmt.Sprintf("%s cannot reach SSSD at %s: %s", a.name, sssdPipes[0], reached),
					"pam_sss answers that it is unavailable, and every login 503",
					"systemctl enable --now sssd",
				)
			}, ""})
		}
	}
	if c.asks("pam_unix") {
		trials = append(trials,
			permissionCheck{attempt{tryRead, shadowFile}, func(why string) { c.judgeShadow(a, why, directory) }, ""})
	}
	trials = append(trials, permissionCheck{attempt{tryRead, a.program}, func(why string) {
		// the kernel hides a set-group-id program from the exec on
		if why == "" && !a.isServiceUser && !a.who.Borrowed {
			c.ok("rights",
				"%s can read the program file, so that in a CGI set-up its other programs may see a password for "+
					"some milliseconds; mode 0711 prevents that", a.name)
		}
	}, ""})
	return trials
}

// asks reports that the stack has the module.
func (c *checkup) asks(module string) bool {
	return slices.ContainsFunc(c.stack, func(l pamauth.Line) bool { return l.Name() == module })
}

func (c *checkup) judgeShadow(a *runAs, why string, directory bool) {
	switch {
	case why == "" && a.who.Borrowed:
		c.ok("rights", "%s can read %s by the set-group-id bit of %s, and not otherwise", a.name, shadowFile, a.program)
	case why == "":
		c.ok("rights", "the service can read %s as %s", shadowFile, a.name)
	case a.readsAll:
		c.ok("rights", "the service can read %s by the capability that its unit gives it", shadowFile)
	case directory:
		c.warn("rights.shadow", "shadow-unreadable", fmt.Sprintf("%s cannot read %s: %s", a.name, shadowFile, why),
			"accounts of the directory can log in, those of this machine cannot",
			c.shadowRemedy(a))
	default:
		c.fail("rights.shadow", "shadow-unreadable", fmt.Sprintf("%s cannot read %s: %s", a.name, shadowFile, why),
			"pam_unix can check nobody's password, and every login is answered with 503",
			c.shadowRemedy(a))
	}
	info, err := os.Stat(shadowFile)
	if err != nil {
		return
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	mode := info.Mode().Perm()
	switch {
	case mode&0o004 != 0:
		c.warn("rights.shadow", "shadow-world-readable", fmt.Sprintf("every user can read %s", shadowFile),
			"anyone with an account on this machine can try out the hashes of all passwords",
			"chmod o-r "+shadowFile)
	case ok && mode&0o040 != 0 && !a.isServiceUser && slices.Contains(a.account, int(owner.Gid)):
		c.warn("rights.shadow", "shadow-shared", fmt.Sprintf("%s is in the group of %s", a.name, shadowFile),
			"everything else that runs as that user can read the hashes of all passwords",
			inTurn(command("gpasswd", "-d", a.name, groupForCommands(int(owner.Gid))), c.shadowRemedy(a)))
	}
}

// examineSetgid looks at what a set-group-id program needs.
func (c *checkup) examineSetgid(a *runAs) {
	if a.setgid() < 0 {
		return
	}
	if !a.who.Borrowed {
		c.fail(
			"rights.setgid",
			"setgid-ineffective",
			fmt.Sprintf("the set-group-id bit of %s does not count", a.program),
			"it is started under no_new_privs, or lies on a file system that is mounted nosuid",
			"run it as a service of its own with SupplementaryGroups=shadow, as the package's "+serviceUnit+" does",
		)
		return
	}
	for _, server := range []string{"apache2.service", "httpd.service", "nginx.service", "fcgiwrap.service",
		"lighttpd.service"} {
		if u := readUnit(c.root, server); u.noNewPrivileges {
			c.warn("rights.setgid", "setgid-ineffective", fmt.Sprintf("%s has NoNewPrivileges=", u.file),
				"what it starts has no use of a set-group-id bit",
				"run it as a service of its own with SupplementaryGroups=shadow, as the package's "+serviceUnit+" does")
		}
	}
	files := []string{c.settings.Path}
	if c.settings.PAM.Confdir != "" {
		files = append(files, filepath.Join(c.settings.PAM.Confdir, c.settings.PAM.Service))
	}
	for _, file := range files {
		if err := pamauth.CheckRootOwned(file); err != nil {
			cause, hint := cli.SplitHint(err)
			c.fail("rights.setgid", "setgid-untrusted", cause, hint,
				rootOnly(file))
		}
	}
	if found, err := config.Find(a.program, nil); err != nil || !sameFile(found, c.settings.Path) {
		c.warn("rights.setgid", "setgid-other-config", fmt.Sprintf("%s does not read %s", a.program, c.settings.Path),
			"a set-group-id program takes no --config, it reads config.yml beside itself or in /etc/dockerauth",
			fmt.Sprintf("dockerauth check --as %s --program %s", word(a.name), word(a.program)))
	}
}

func sameFile(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}

// examineSELinux looks at the booleans that keep a web server's programs from asking PAM
// (httpd_selinux(8)).
func (c *checkup) examineSELinux(a *runAs) {
	const folder = "/sys/fs/selinux"
	enforce, err := os.ReadFile(filepath.Join(c.root, folder, "enforce"))
	if err != nil {
		return // there is no SELinux
	}
	if strings.TrimSpace(string(enforce)) != "1" {
		c.ok("selinux", "it only reports (permissive)")
		return
	}
	for _, one := range []struct{ name, what string }{
		{"httpd_enable_cgi", "the web server may start no programs"},
		{"httpd_mod_auth_pam", "what the web server starts may not ask PAM"},
		{"httpd_can_network_connect", "the web server may not reach \"dockerauth http\" over TCP"},
	} {
		text, err := os.ReadFile(filepath.Join(c.root, folder, "booleans", one.name))
		if err != nil {
			continue // a policy that does not know it
		}
		needed := !a.isServiceUser && one.name != "httpd_can_network_connect"
		switch on := strings.HasPrefix(string(text), "1"); {
		case on:
			c.ok("selinux", "%s is on", one.name)
		case needed:
			c.warn("selinux", "selinux-boolean", one.name+" is off", one.what, "setsebool -P "+one.name+" on")
		default:
			c.ok("selinux", "%s is off: %s; if that is how it is reached: setsebool -P %s on", one.name, one.what,
				one.name)
		}
	}
}
