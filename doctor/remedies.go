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
	"strings"
	"syscall"
	"time"

	"dockerauth/config"
	"dockerauth/jwtsign"
	"dockerauth/service"
)

// The remedies here are looked at against the files' owners, the unit and the package: none of them
// takes a right from another service, or opens what must be closed.

const systemConfig = "/etc/dockerauth/config.yml"

var word = jwtsign.ShellWord

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
				"the service answers 503", c.readRemedy(a, u))
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
			"so it cannot read "+u.file+", and the service answers 503", c.enterRemedy(a, folders[at], u.file))
	}
}

// enterRemedy opens a folder of dockerauth's own. Others are closed for a reason.
func (c *checkup) enterRemedy(a *runAs, dir, file string) string {
	own := filepath.Dir(c.settings.Path)
	isOwn := dir == own || strings.HasPrefix(dir, own+"/") || dir == cmp.Or(c.settings.PAM.Confdir, "/etc/pam.d")
	if !isOwn || own == "/root" || strings.HasPrefix(own, "/root/") || strings.HasPrefix(own, "/home/") {
		return fmt.Sprintf(
			"move %s into a folder that %s may enter, such as %s",
			file,
			a.name,
			filepath.Dir(systemConfig),
		)
	}
	return "chmod o+x " + word(dir)
}

// readRemedy lets the user read a file. Only the key is a secret.
func (c *checkup) readRemedy(a *runAs, u unreadable) string {
	if u.subject != "private_key" {
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

// stateRemedy gives the user a folder for state. It leaves alone one that others use.
func (c *checkup) stateRemedy(name, group string, uid int, folder string) string {
	info, owner, _, ok := ownerOf(folder)
	other := folder + "-" + name
	switch {
	case !ok:
		return makeFolder(name, group, "0700", folder)
	case !info.IsDir():
	case owner == uid:
		return "chmod 0700 " + word(folder)
	case owner == 0 && isEmpty(folder):
		return makeFolder(name, group, "0700", folder)
	}
	return fmt.Sprintf("%s && %s", makeFolder(name, group, "0700", other), c.setTopKey("state", other))
}

func isEmpty(folder string) bool {
	entries, err := os.ReadDir(folder)
	return err == nil && len(entries) == 0
}

// setTopKey is a command that sets a key of config.yml that is on a line of its own.
func (c *checkup) setTopKey(key, value string) string {
	line := "$a "
	if n := c.settings.Line(key); n > 0 {
		line = fmt.Sprintf("%dc ", n)
	}
	return fmt.Sprintf("sed -i '%s%s: %s' %s", line, key, value, word(c.settings.Path))
}

// logRemedy lets the user write a log. It leaves alone one that others write, and empties none.
func (c *checkup) logRemedy(name, group, file string, err error) string {
	own := fmt.Sprintf("write a file that only dockerauth writes as log.file at %s:%d", c.settings.Path,
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
// its program file where a web server starts that.
func (c *checkup) shadowRemedy(a *runAs) string {
	info, _, gid, ok := ownerOf(shadowFile)
	byGroup := ok && info.Mode().Perm()&0o040 != 0
	if u := readUnit(c.root, serviceUnit); u.user == a.name {
		setting := "SupplementaryGroups=" + groupName(gid)
		if !byGroup { // as on Fedora; packaging/systemd/shadow.conf says more
			setting = `CapabilityBoundingSet=CAP_DAC_READ_SEARCH\nAmbientCapabilities=CAP_DAC_READ_SEARCH`
		}
		const dropIn = "/etc/systemd/system/" + serviceUnit + ".d"
		return fmt.Sprintf(`mkdir -p %s && printf '[Service]\n%s\n' >%[1]s/shadow.conf && systemctl daemon-reload && `+
			`systemctl try-restart %[3]s`, dropIn, setting, serviceUnit)
	}
	if byGroup && !isPackaged(a.program) {
		return fmt.Sprintf(
			"chown %s:%s %[3]s && chmod 2510 %[3]s",
			word(a.name),
			word(groupForCommands(gid)),
			word(a.program),
		)
	}
	return "run it as a service of its own with SupplementaryGroups=shadow, as the package's " + serviceUnit + " does"
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
		!(&runAs{program: program}).setgid()
}

// stateIsOptional reports the folder that is used if it is there.
func stateIsOptional(folder string) bool { return folder == config.DefaultState }
