package doctor

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// unit is what matters here of a systemd service or socket (systemd.exec(5), systemd.socket(5)).
type unit struct {
	file            string // "" = there is none
	user            string
	groups          []string // Group and SupplementaryGroups
	noNewPrivileges bool
	readsAll        bool     // CAP_DAC_READ_SEARCH, or what includes it, in AmbientCapabilities
	readOnly        bool     // ProtectSystem=strict
	protectsEtc     bool     // ProtectSystem=full
	hidesHome       bool     // ProtectHome=yes
	stateDirs       []string // StateDirectory, which systemd makes and gives to the user at each start
	logDirs         []string // LogsDirectory, likewise
	writable        []string // what the service can change all the same
	calls           []string // of SystemCallFilter, with their ~
	listens         []string // ListenStream of a socket
	command         []string // ExecStart; nil = none
	config          string   // its --config; "" = none
}

// readUnit reads a unit and its drop-ins from their files: systemd need not run, and asking it
// takes a bus. root stands for /, for tests.
func readUnit(root, name string) unit {
	var u unit
	if name == "" {
		return u
	}
	folders := []string{"/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system",
		"/usr/lib/systemd/system", "/lib/systemd/system"}
	for _, folder := range folders {
		path := filepath.Join(folder, name)
		if text, found := readUnitFile(filepath.Join(root, path)); found {
			u.file = path
			u.read(text)
			break
		}
	}
	if u.file == "" {
		return u
	}
	for _, file := range dropIns(root, folders, name) {
		text, _ := readUnitFile(file)
		u.read(text)
	}
	return u
}

// readUnitFile takes a file that is not believed, such as the null device of a masked unit, for an
// empty one.
func readUnitFile(path string) (text string, found bool) {
	if _, err := os.Stat(path); err != nil {
		return "", false
	}
	if checkTrust(path) != nil {
		return "", true
	}
	data, _ := readSystemFile(path) // none if it cannot be read
	return string(data), true
}

// starts reports that the unit's command is a program of that name.
func (u unit) starts(program string) bool {
	return len(u.command) > 0 && filepath.Base(u.command[0]) == program
}

// dropIns are in the order of their names, in any folder. Of two with one name the first folder's
// counts.
func dropIns(root string, folders []string, name string) []string {
	byName := map[string]string{}
	for _, folder := range folders {
		files, _ := filepath.Glob(filepath.Join(root, folder, name+".d", "*.conf")) // the pattern is well formed
		for _, file := range files {
			if byName[filepath.Base(file)] == "" {
				byName[filepath.Base(file)] = file
			}
		}
	}
	var files []string
	for _, base := range slices.Sorted(maps.Keys(byName)) {
		files = append(files, byName[base])
	}
	return files
}

// read reads one file. An empty value resets a list.
func (u *unit) read(text string) {
	section := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			section = line
		}
		key, value, found := strings.Cut(line, "=")
		if !found || section != "[Service]" && section != "[Socket]" {
			continue
		}
		value = strings.TrimSpace(value)
		switch strings.TrimSpace(key) {
		case "ListenStream":
			if value == "" {
				u.listens = nil
				continue
			}
			u.listens = append(u.listens, value)
		case "ExecStart":
			u.command = strings.Fields(strings.TrimLeft(value, "-@:+!|")) // systemd.service(5), prefixes
			u.config = process{args: u.command}.option("--config", "-config")
		case "User":
			u.user = value
		case "AmbientCapabilities":
			u.readsAll = value != "" && u.readsAll || strings.Contains(value, "CAP_DAC_READ_SEARCH") ||
				strings.Contains(value, "CAP_DAC_OVERRIDE")
		case "Group":
			if value != "" {
				u.groups = append(u.groups, value)
			}
		case "SupplementaryGroups":
			if value == "" {
				u.groups = nil
			}
			u.groups = append(u.groups, strings.Fields(value)...)
		case "ProtectSystem":
			u.readOnly, u.protectsEtc = value == "strict", value == "full"
		case "ProtectHome":
			u.hidesHome = isTrue(value)
		case "StateDirectory", "LogsDirectory", "CacheDirectory", "RuntimeDirectory":
			base := map[byte]string{'S': "/var/lib/", 'L': "/var/log/", 'C': "/var/cache/", 'R': "/run/"}[line[0]]
			for _, name := range strings.Fields(value) {
				u.writable = append(u.writable, base+name)
				switch line[0] {
				case 'S':
					u.stateDirs = append(u.stateDirs, base+name)
				case 'L':
					u.logDirs = append(u.logDirs, base+name)
				}
			}
		case "ReadWritePaths":
			u.writable = append(u.writable, strings.Fields(value)...)
		case "SystemCallFilter":
			deny := strings.HasPrefix(value, "~")
			for _, call := range strings.Fields(strings.TrimPrefix(value, "~")) {
				if deny {
					call = "~" + call
				}
				u.calls = append(u.calls, call)
			}
		case "NoNewPrivileges":
			u.noNewPrivileges = isTrue(value)
		}
	}
}

// isTrue reads a boolean of systemd's (systemd.syntax(7)).
func isTrue(value string) bool {
	return slices.Contains([]string{"1", "yes", "y", "true", "t", "on"}, strings.ToLower(value))
}

// hides reports whether the service does not see a path.
func (u unit) hides(path string) bool {
	return u.hidesHome && isBelowAny(resolved(path), "/home", "/root", "/run/user")
}

// protects names the setting that keeps the service from changing a path; "" = none does. A device
// or a named pipe can be written to all the same.
func (u unit) protects(path string) string {
	real := resolved(path)
	info, err := os.Stat(real)
	switch {
	case u.hides(path):
		return "ProtectHome=yes"
	case err == nil && !info.IsDir() && !info.Mode().IsRegular(), u.mayWrite(path), u.mayWrite(real),
		isBelowAny(real, "/dev", "/proc", "/sys", "/tmp", "/var/tmp"): // PrivateTmp has its own
		return ""
	case u.readOnly:
		return "ProtectSystem=strict"
	case u.protectsEtc && isBelowAny(real, "/usr", "/boot", "/efi", "/etc"):
		return "ProtectSystem=full"
	}
	return ""
}

func isBelowAny(path string, folders ...string) bool {
	return slices.ContainsFunc(folders, func(folder string) bool { return isBelow(path, folder) })
}

// resolved is a path without links, as far as it is there.
func resolved(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	if dir := filepath.Dir(path); dir != path {
		return filepath.Join(resolved(dir), filepath.Base(path))
	}
	return path
}

// mayWrite reports whether the unit leaves a path changeable.
func (u unit) mayWrite(path string) bool {
	return slices.ContainsFunc(u.writable, func(folder string) bool {
		folder = strings.TrimLeft(folder, "+-")
		return path == folder || strings.HasPrefix(path, strings.TrimSuffix(folder, "/")+"/")
	})
}

// forbids reports whether the unit forbids @privileged, to which the call belongs, and does not
// allow the call after that.
func (u unit) forbids(call string) bool {
	return slices.Index(u.calls, "~@privileged") > slices.Index(u.calls, call)
}

// The units that the packages install.
const (
	serviceUnit = "dockerauth.service"
	socketUnit  = "dockerauth.socket"
)

// unitFor is the unit that starts what a runs; one without a file where systemd does not.
func (c *checkup) unitFor(a *runAs) unit {
	u := readUnit(c.root, serviceUnit)
	if !a.isServiceUser || u.config != "" && u.config != c.settings.Path && !sameFile(u.config, c.settings.Path) {
		return unit{}
	}
	return u
}
