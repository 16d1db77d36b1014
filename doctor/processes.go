package doctor

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// process is one on this machine, as /proc shows it (proc(5)).
type process struct {
	pid, parent int
	uid, gid    int // effective, as the groups
	groups      []int
	name        string
	args        []string
	unit        string // the systemd service that it belongs to; "" = none
}

// processes are those with one of the names. Those in containers have other files and are left out.
func processes(root string, names ...string) (found []process) {
	folders, _ := filepath.Glob(filepath.Join(root, "/proc/[0-9]*")) // the pattern is well formed
	own, _ := os.Readlink(filepath.Join(root, "/proc/self/ns/pid"))
	for _, folder := range folders {
		comm, _ := os.ReadFile(filepath.Join(folder, "comm")) // "" for one that has ended
		name := strings.TrimSpace(string(comm))
		if !slices.Contains(names, name) {
			continue
		}
		// It cannot be read of another user's process.
		if space, err := os.Readlink(filepath.Join(folder, "ns/pid")); err == nil && space != own {
			continue
		}
		if p, ok := readProcess(folder, name); ok {
			found = append(found, p)
		}
	}
	return found
}

var serviceOfGroup = regexp.MustCompile(`(?m)/system\.slice/([^/\n]+\.service)`)

func readProcess(folder, name string) (p process, ok bool) {
	status, err := os.ReadFile(filepath.Join(folder, "status"))
	if err != nil {
		return process{}, false
	}
	p = process{name: name}
	p.pid, _ = strconv.Atoi(filepath.Base(folder))
	for line := range strings.Lines(string(status)) {
		fields := strings.Fields(line)
		switch {
		case len(fields) > 1 && fields[0] == "PPid:":
			p.parent, _ = strconv.Atoi(fields[1])
		case len(fields) > 2 && fields[0] == "Uid:":
			p.uid, _ = strconv.Atoi(fields[2])
		case len(fields) > 2 && fields[0] == "Gid:":
			p.gid, _ = strconv.Atoi(fields[2])
		case len(fields) > 0 && fields[0] == "Groups:":
			for _, field := range fields[1:] {
				if id, err := strconv.Atoi(field); err == nil {
					p.groups = append(p.groups, id)
				}
			}
		}
	}
	command, _ := os.ReadFile(filepath.Join(folder, "cmdline"))
	// nginx writes "nginx: master process nginx -c FILE" there, without any NUL in between
	p.args = strings.FieldsFunc(string(command), func(r rune) bool { return r == 0 || r == ' ' })
	groups, _ := os.ReadFile(filepath.Join(folder, "cgroup"))
	if match := serviceOfGroup.FindSubmatch(groups); match != nil {
		p.unit = string(match[1])
	}
	return p, true
}

// began is when the process was started, from the clock ticks in its stat (proc(5)).
func (p process) began(root string) (t time.Time, known bool) {
	line, _ := os.ReadFile(filepath.Join(root, fmt.Sprintf("/proc/%d/stat", p.pid)))
	_, rest, _ := strings.Cut(string(line), ") ")
	fields := strings.Fields(rest)
	system, _ := os.ReadFile(filepath.Join(root, "/proc/stat"))
	_, boot, _ := strings.Cut(string(system), "\nbtime ")
	boot, _, _ = strings.Cut(boot, "\n")
	seconds, err := strconv.ParseInt(boot, 10, 64)
	if err != nil || len(fields) < 20 {
		return time.Time{}, false
	}
	ticks, err := strconv.ParseInt(fields[19], 10, 64)
	return time.Unix(seconds, 0).Add(time.Duration(ticks) * time.Second / 100), err == nil
}

// program is the file that was started, as far as it may be known.
func (p process) program(root string) string {
	if exe, err := os.Readlink(filepath.Join(root, fmt.Sprintf("/proc/%d/exe", p.pid))); err == nil {
		return exe
	}
	return p.args[0]
}

// option is the value of a command-line option, such as "-c FILE" or "--listen=ADDRESS"; "" = it is
// not there.
func (p process) option(names ...string) string {
	for i, arg := range p.args {
		name, value, joined := strings.Cut(arg, "=")
		if !slices.Contains(names, name) {
			continue
		}
		if joined {
			return value
		}
		if i+1 < len(p.args) {
			return p.args[i+1]
		}
	}
	return ""
}

// backend is a dockerauth that web servers can reach.
type backend struct {
	protocol string // "fastcgi" or "http"
	address  string // "/run/dockerauth/dockerauth.sock" or "127.0.0.1:5002"
	config   string // "" = not known
	unit     bool   // it is the one of the package's units
}

// backends are those of the units, and the processes that an administrator has started.
func (c *checkup) backends() (list []backend) {
	service := readUnit(c.root, serviceUnit)
	for _, address := range readUnit(c.root, socketUnit).listens {
		if !strings.Contains(address, "%") { // no specifier (systemd.unit(5))
			list = append(list, backend{"fastcgi", address, service.config, true})
		}
	}
	for _, p := range processes(c.root, "dockerauth") {
		if !c.isServiceUser(p.uid, service.user) {
			continue
		}
		address := p.option("--listen", "-listen")
		if len(p.args) < 2 || address == "" {
			continue
		}
		path := p.option("--config", "-config")
		if path == "" {
			path = filepath.Join(filepath.Dir(p.program(c.root)), "config.yml")
		}
		address = strings.TrimPrefix(strings.TrimPrefix(address, "unix:"), "tcp:")
		one := backend{p.args[1], address, path, false}
		if one.protocol == "fastcgi" || one.protocol == "http" {
			list = append(list, one)
		}
	}
	return list
}

// isServiceUser reports a user whose process may be the service: a web server that is led to
// another's would show it passwords.
func (c *checkup) isServiceUser(uid int, ofUnit string) bool {
	if uid == 0 || uid == os.Geteuid() {
		return true
	}
	name := userName(uid)
	as, _, _ := strings.Cut(c.as, ":")
	_, owner, _, known := ownerOf(c.path)
	return name == ofUnit || name == as || known && owner == uid
}

// hasThisConfig reports a backend of the configuration that is examined, as far as that is known.
func (c *checkup) hasThisConfig(b backend) bool {
	return c.path == "" || b.unit && b.config == "" || b.config == c.path || sameFile(b.config, c.path)
}

// backendOf is the one whose configuration is examined, or the only one.
func (c *checkup) backendOf(protocol string) (backend, bool) {
	var fitting []backend
	for _, b := range c.backends() {
		if b.protocol == protocol && c.hasThisConfig(b) {
			fitting = append(fitting, b)
		}
	}
	if len(fitting) != 1 {
		return backend{}, false
	}
	return fitting[0], true
}
