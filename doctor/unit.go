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
	writable        []string // what the service can change all the same
	calls           []string // of SystemCallFilter, with their ~
	listens         []string // ListenStream of a socket
	config          string   // --config of ExecStart; "" = none
}

// readUnit reads a unit and its drop-ins from their files: systemd need not run, and asking it
// takes a bus. root stands for /, for tests.
func readUnit(root, name string) unit {
	var u unit
	folders := []string{"/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system",
		"/usr/lib/systemd/system", "/lib/systemd/system"}
	for _, folder := range folders {
		path := filepath.Join(folder, name)
		if text, err := os.ReadFile(filepath.Join(root, path)); err == nil {
			u.file = path
			u.read(string(text))
			break
		}
	}
	if u.file == "" {
		return u
	}
	for _, file := range dropIns(root, folders, name) {
		if text, err := os.ReadFile(file); err == nil {
			u.read(string(text))
		}
	}
	return u
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
			u.config = process{args: strings.Fields(value)}.option("--config", "-config")
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
			u.readOnly = value == "strict"
		case "StateDirectory", "LogsDirectory", "CacheDirectory", "RuntimeDirectory":
			base := map[byte]string{'S': "/var/lib/", 'L': "/var/log/", 'C': "/var/cache/", 'R': "/run/"}[line[0]]
			for _, name := range strings.Fields(value) {
				u.writable = append(u.writable, base+name)
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
			switch strings.ToLower(value) {
			case "1", "yes", "true", "on":
				u.noNewPrivileges = true
			default:
				u.noNewPrivileges = false
			}
		}
	}
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
