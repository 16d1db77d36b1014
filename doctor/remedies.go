package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"dockerauth/config"
	"dockerauth/service"
)

// The remedies here are looked at against the files' owners, the unit and the package: none of them
// takes a right from another service, or opens what must be closed.

const systemConfig = "/etc/dockerauth/config.yml"

// ownerOf is the owner of a file; ok is false where it cannot be known.
func ownerOf(path string) (info os.FileInfo, uid, gid int, ok bool) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, 0, 0, false
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil, 0, 0, false
	}
	return info, int(owner.Uid), int(owner.Gid), true
}

// packageTimeout bounds the question to the package database.
const packageTimeout = 10 * time.Second

// isPackaged reports a file that the system's packages own.
func isPackaged(path string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), packageTimeout)
	defer cancel()
	for _, command := range [][]string{{"dpkg-query", "-S", path}, {"rpm", "-qf", path}} {
		if exec.CommandContext(ctx, command[0], command[1:]...).Run() == nil {
			return true
		}
	}
	return false
}

// foldersAbove are those that a user must enter to reach a file, the outermost first. Behind a link
// there are others.
func foldersAbove(file string) (folders []string) {
	paths := []string{file}
	if real, err := filepath.EvalSymlinks(file); err == nil && real != file {
		paths = append(paths, real)
	}
	for _, path := range paths {
		var above []string
		for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
			above = append(above, dir)
			if dir == "/" || dir == "." {
				break
			}
		}
		slices.Reverse(above)
		folders = append(folders, above...)
	}
	return folders
}

// unreadable is a file that the service's user cannot read.
type unreadable struct{ subject, file, why string }

// consequence is what follows. A service that runs keeps what it has read; libpam reads its files
// at each login.
func (u unreadable) consequence(a *runAs) string {
	if a.isServiceUser && u.subject != "pam" {
		return "the service answers 503 from its next start on"
	}
	return "the service answers 503"
}

// judgeUnreadable names what is in the way of each file: a folder above it, or the file itself.
func (c *checkup) judgeUnreadable(a *runAs, files []unreadable) {
	var looks []attempt
	for _, u := range files {
		for _, dir := range foldersAbove(u.file) {
			looks = append(looks, attempt{tryEnter, dir})
		}
	}
	closed := map[string]bool{}
	if answers, err := a.try(looks...); err == nil {
		for i, why := range answers {
			closed[looks[i].Path] = closed[looks[i].Path] || why != ""
		}
	}
	said := map[string]bool{}
	for _, u := range files {
		folders := foldersAbove(u.file)
		at := slices.IndexFunc(folders, func(dir string) bool { return closed[dir] })
		if at < 0 {
			c.fail("rights."+u.subject, "unreadable", fmt.Sprintf("%s cannot read %s: %s", a.name, u.file, u.why),
				u.consequence(a), c.readRemedy(a, u))
			continue
		}
		if said[folders[at]] {
			continue
		}
		said[folders[at]] = true
		mode := ""
		if info, err := os.Stat(folders[at]); err == nil {
			mode = fmt.Sprintf(", whose mode is %04o", info.Mode().Perm())
		}
		c.fail("rights.folder", "folder-closed", fmt.Sprintf("%s cannot enter %s%s", a.name, folders[at], mode),
			"so it cannot read "+u.file+", and "+u.consequence(a), c.enterRemedy(a, folders[at], u.file))
	}
}

// enterRemedy opens a folder of dockerauth's own. Others are closed for a reason.
func (c *checkup) enterRemedy(a *runAs, dir, file string) string {
	own := filepath.Dir(c.settings.Path)
	isOwn := dir == own || strings.HasPrefix(dir, own+"/") || dir == cmp.Or(c.settings.PAM.Confdir, "/etc/pam.d")
	if !isOwn || own == "/root" || strings.HasPrefix(own, "/root/") || strings.HasPrefix(own, "/home/") {
		return fmt.Sprintf("move %s into a folder that %s may enter, such as %s", word(file), word(a.name),
			filepath.Dir(systemConfig))
	}
	return "chmod o+x " + word(dir)
}

// moveRemedy copies a file that a key of config.yml names to the folder of the packaged service.
func (c *checkup) moveRemedy(a *runAs, subject, file string) string {
	to := filepath.Join(filepath.Dir(systemConfig), filepath.Base(file))
	mode := map[string]string{"private_key": "0640", "certificate": "0644"}[subject]
	set := config.SetCommand(c.settings.Path, subject, yamlText(to))
	if _, err := os.Stat(to); mode == "" || set == "" || !errors.Is(err, fs.ErrNotExist) {
		return fmt.Sprintf("move %s out of /home, /root and /run/user, and write its new path in %s", word(file),
			word(c.settings.Path))
	}
	return inTurn(command("install", "-g", a.group, "-m", mode, file, to), set, restartService)
}

// readRemedy lets the user read a file. Only keys are secrets.
func (c *checkup) readRemedy(a *runAs, u unreadable) string {
	if u.subject != "private_key" && u.subject != "previous_keys" {
		return "chmod o+r " + word(u.file)
	}
	if info, _, gid, ok := ownerOf(u.file); ok && gid != 0 && info.Mode().Perm()&0o040 != 0 {
		// The key is another service's: giving it to this group would take it from that.
		if reader := groupName(gid); reader != a.name {
			if _, err := user.Lookup(reader); err == nil {
				return fmt.Sprintf("dockerauth check --as %s --config %s", word(reader), word(c.settings.Path))
			}
		}
	}
	return fmt.Sprintf("chgrp %s %[2]s && chmod g+r,o= %[2]s", word(a.group), word(u.file))
}

// makeFolder makes a folder for the service's user.
func makeFolder(name, group, mode, path string) string {
	return fmt.Sprintf("install -d -o %s -g %s -m %s %s", word(name), word(group), mode, word(path))
}

// restartService has systemd make the folders of the unit and give them to the service's user.
const restartService = "systemctl restart " + serviceUnit

// stateRemedy gives the user a folder for state, one that the unit makes if there is one. It leaves
// alone one that others use.
func (c *checkup) stateRemedy(u unit, name, group string, uid int, folder string) string {
	info, owner, _, ok := ownerOf(folder)
	other := folder + "-" + name
	isOfUnit := slices.Contains(u.stateDirs, folder)
	switch {
	case isOfUnit && ok && !info.IsDir():
		return inTurn(command("mv", "-T", "--backup=numbered", folder, folder+".old"), restartService)
	case isOfUnit && (!ok || owner != uid):
		return restartService
	case u.protects(folder) != "":
	case !ok:
		return makeFolder(name, group, "0700", folder)
	case !info.IsDir():
	case owner == uid:
		return "chmod 0700 " + word(folder)
	case owner == 0 && isEmpty(folder):
		return makeFolder(name, group, "0700", folder)
	}
	if u.protects(other) == "" {
		made := makeFolder(name, group, "0700", other)
		if set := config.SetCommand(c.settings.Path, "state", yamlText(other)); set != "" {
			return inTurn(made, set)
		}
		return made + " # then write " + word("state: "+yamlText(other)) + " in " + word(c.settings.Path)
	}
	return config.SetAnd(c.settings.Path, "state", config.DefaultState,
		c.restartWith("StateDirectory", "0700", config.DefaultState, u.stateDirs))
}

// restartWith restarts the service, with a folder of systemd's that the unit may not have yet.
func (c *checkup) restartWith(setting, mode, folder string, has []string) string {
	if slices.Contains(has, folder) {
		return restartService
	}
	return c.addDropIn(serviceUnit, "[Service]",
		[]string{setting + "=" + filepath.Base(folder), setting + "Mode=" + mode}, restartService)
}

func isEmpty(folder string) bool {
	entries, err := os.ReadDir(folder)
	return err == nil && len(entries) == 0
}

var plainPath = lazyRegexp(`^/[A-Za-z0-9/._-]*$`)

// yamlText is a path as YAML.
func yamlText(path string) string {
	if plainPath().MatchString(path) {
		return path
	}
	return strconv.Quote(path)
}

// logRemedy lets the user write a log. It leaves alone one that others write, and empties none.
func (c *checkup) logRemedy(u unit, name, group, file string, err error) string {
	dir := filepath.Dir(file)
	switch folder, owner, _, ok := ownerOf(dir); {
	case slices.Contains(u.logDirs, dir) && (!ok || folder.IsDir() && userName(owner) != name):
		return restartService
	case u.protects(file) != "":
		return c.moveLog(u)
	}
	own := fmt.Sprintf("write a file that only dockerauth writes as log.file at %s:%d", word(c.settings.Path),
		c.settings.Line("log.file"))
	info, uid, gid, isThere := ownerOf(file)
	switch {
	case errors.Is(err, syscall.EISDIR), errors.Is(err, syscall.ENOTDIR):
		return own
	case errors.Is(err, syscall.ENXIO):
		return service.RemedyForLog(service.ErrNoReader)
	case errors.Is(err, fs.ErrNotExist):
		return makeFolder(name, group, "0750", filepath.Dir(file))
	case !isThere:
		return fmt.Sprintf("install -o %s -g %s -m 0640 /dev/null %s", word(name), word(group), word(file))
	case uid == 0 && gid == 0 && info.Mode().IsRegular():
		return fmt.Sprintf("chown %s:%s %s", word(name), word(group), word(file))
	}
	return own
}

// moveLog names a log file where the unit lets the service write.
func (c *checkup) moveLog(u unit) string {
	const folder = "/var/log/dockerauth"
	const file = folder + "/dockerauth.log"
	restart := c.restartWith("LogsDirectory", "0750", folder, u.logDirs)
	n := c.settings.Line("log.file")
	text, _ := os.ReadFile(c.settings.Path) // what cannot be read has no such line
	switch lines := strings.Split(string(text), "\n"); {
	case c.settings.Log.File == file:
		return restart
	case n > 0 && n <= len(lines) && strings.HasPrefix(strings.TrimSpace(lines[n-1]), "file:"):
		return fmt.Sprintf("sed -i '%ds|file:.*|file: %s|' %s && %s", n, file, word(c.settings.Path), restart)
	}
	return fmt.Sprintf("write %s as log.file at %s:%d", file, c.settings.Path, n)
}

// errnoOf is the error behind its text, which is what another process has said.
func errnoOf(text string) error {
	for _, errno := range []syscall.Errno{syscall.EISDIR, syscall.ENOTDIR, syscall.ENXIO, syscall.ENOENT,
		syscall.EACCES} {
		if text == errno.Error() {
			return errno
		}
	}
	return errors.New(text)
}

// shadowRemedy gives the right to ask about password hashes to dockerauth alone: to its unit, or to
// its program file where a web server starts that. A service does not start from a set-group-id
// program.
func (c *checkup) shadowRemedy(a *runAs) string {
	info, _, gid, ok := ownerOf(shadowFile)
	byGroup := ok && info.Mode().Perm()&0o040 != 0
	settings := []string{"SupplementaryGroups=" + groupForCommands(gid)}
	if !byGroup { // as on Fedora; packaging/systemd/shadow.conf says more
		settings = []string{"CapabilityBoundingSet=CAP_DAC_READ_SEARCH", "AmbientCapabilities=CAP_DAC_READ_SEARCH"}
	}
	name := c.ownUnit(a)
	if readUnit(c.root, serviceUnit).user == a.name {
		name = serviceUnit
	}
	switch {
	case name != "":
		return c.addDropIn(name, "[Service]", settings, "systemctl try-restart "+name)
	case byGroup && !c.isStartedByWebServer(a):
		return fmt.Sprintf("write %s in the [Service] section of its unit, and look again with that group: %s",
			settings[0], command("dockerauth", "check", "--as", a.name+":"+groupForCommands(gid), "--config",
				c.settings.Path))
	}
	if byGroup && !isPackaged(a.program) {
		return inTurn(
			command("chown", a.name+":"+groupForCommands(gid), a.program),
			command("chmod", "2510", a.program),
		)
	}
	return "run it as a service of its own with SupplementaryGroups=shadow, as the package's " + serviceUnit + " does"
}

// dropInName is one that no package and no document uses, and that is read after theirs.
const dropInName = "zz-dockerauth-check.conf"

// addDropIn makes a drop-in for a unit. One that is there stays.
func (c *checkup) addDropIn(unit, section string, settings []string, then string) string {
	const system = "/etc/systemd/system/"
	folder := system + unit + ".d"
	file := filepath.Join(folder, dropInName)
	key, _, _ := strings.Cut(settings[0], "=")
	for _, other := range dropIns(c.root, []string{system}, unit) {
		text, _ := os.ReadFile(other) // "" sets nothing
		if filepath.Base(other) == dropInName || strings.Contains(string(text), "\n"+key+"=") {
			return fmt.Sprintf("in %s write %s below %s, then: systemctl daemon-reload && %s",
				word(filepath.Join(folder, filepath.Base(other))), word(strings.Join(settings, " and ")), section, then)
		}
	}
	// With noclobber the shell makes the file or fails.
	return inTurn("mkdir -p "+folder, "(set -C; "+printLines(append([]string{section}, settings...)...)+" >"+file+")",
		"systemctl daemon-reload", then)
}

// rootOnly makes a file and the folders above it root's, as far as they are not.
func rootOnly(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	var commands []string
	for at := path; ; at = filepath.Dir(at) {
		if info, uid, _, ok := ownerOf(at); ok {
			if uid != 0 {
				commands = append(commands, "chown root "+word(at))
			}
			if info.Mode().Perm()&0o022 != 0 && info.Mode()&fs.ModeSticky == 0 {
				commands = append(commands, "chmod go-w "+word(at))
			}
		}
		if at == "/" {
			break
		}
	}
	return strings.Join(commands, " && ")
}

// isOfPackage reports that what is looked at is the packaged service, which a unit starts.
func (c *checkup) isOfPackage(program string) bool {
	return c.program == "" && c.settings != nil && c.settings.Path == systemConfig &&
		(&runAs{program: program}).setgid() < 0
}

// stateIsOptional reports the folder that is used if it is there.
func stateIsOptional(folder string) bool { return folder == config.DefaultState }
