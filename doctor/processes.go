package doctor

import (
	"fmt"
	"os"
	"path/filepath"
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

// serviceOfGroup is anchored: users can make groups of any name below their own.
var serviceOfGroup = lazyRegexp(`(?m)^\d+:[^:\n]*:/system\.slice/([^/\n]+\.service)`)

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
			if fields[1] != fields[2] {
				return process{}, false // a set-user-id program, under any name and with any user's arguments
			}
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
	if match := serviceOfGroup().FindSubmatch(groups); match != nil {
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
		if p.uid != 0 && p.uid != os.Geteuid() {
			u, isService := c.unitOf(p)
			if !isService {
				continue
			}
			p.args = u.command
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

// unitOf is the unit that runs a process as a service of dockerauth; ok = there is one. Any user
// can start a program of that name, and a web server that is led to it would show it passwords:
// only what the unit's file says is believed.
func (c *checkup) unitOf(p process) (u unit, ok bool) {
	u = readUnit(c.root, p.unit)
	return u, len(u.command) > 1 && u.starts("dockerauth") && u.user == userName(p.uid)
}

// ownUnit is an administrator's own unit that runs dockerauth as a user; "" = none runs.
func (c *checkup) ownUnit(a *runAs) string {
	for _, p := range processes(c.root, "dockerauth") {
		if _, ok := c.unitOf(p); ok && p.uid == a.who.UID {
			return p.unit
		}
	}
	return ""
}

// isStartedByWebServer reports that the program is not a service of its own, as far as can be told.
func (c *checkup) isStartedByWebServer(a *runAs) bool {
	switch {
	case a.isServiceUser || c.ownUnit(a) != "":
		return false
	case c.program != "" || a.setgid() >= 0 || slices.Contains([]string{"www-data", "apache", "nginx"}, a.name):
		return true
	}
	return slices.ContainsFunc(webServers(c.root), func(w *webServer) bool { return w.worker.uid == a.who.UID })
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
