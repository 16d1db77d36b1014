package doctor

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// webServer is a web server that runs on this machine.
type webServer struct {
	process         // the one that reads the configuration
	worker  process // one that answers requests
	file    string  // the configuration
	kind    string  // "nginx", "Apache", "lighttpd", "Caddy", "HAProxy"
	sites   []site
}

// site is what a web server has for one address, port and list of names.
type site struct {
	place            // where nginx's server block can take a directive; line 0 = not known
	address   string // "" = every one of this machine's
	port      int
	tls       bool
	names     []string
	isDefault bool                     // for requests to other names
	errorLog  string                   // "" = not known
	route     func(path string) *route // where it hands requests for a path to; nil = to no program
}

// place is a line in a web server's configuration.
type place struct {
	file string
	line int
}

func (p place) String() string { return fmt.Sprintf("%s:%d", p.file, p.line) }

// route is the line that hands requests to another program.
type route struct {
	place
	protocol string // "fastcgi", "http" or "cgi"
	target   string // "/run/dockerauth/dockerauth.sock", "127.0.0.1:5002" or the file that is started
	script   string // SCRIPT_FILENAME, for fcgiwrap; "" = none
	generic  bool   // it is for every path

	// What of a request gets lost, nil where the web server passes everything by itself.
	passes  map[string]string             // FastCGI parameters
	forward bool                          // an HTTP route tells the client's address
	setting func(name string) []directive // the directives of a name that are in force there
	insert  func(lines ...string) string  // a command that puts directives there
}

// isSocket reports that the target is a Unix socket.
func (r *route) isSocket() bool { return r.protocol != "cgi" && strings.HasPrefix(r.target, "/") }

// written is the target as the configuration has it, as far as that can be replaced.
func (r *route) written() string {
	if r.isSocket() {
		return r.target
	}
	_, port, _ := strings.Cut(r.target, ":")
	return `[[:alnum:].]*:` + port
}

// webServers reads the configuration of all that run here.
func webServers(root string) (servers []*webServer) {
	kinds := map[string]string{"nginx": "nginx", "apache2": "Apache", "httpd": "Apache", "lighttpd": "lighttpd",
		"caddy": "Caddy", "haproxy": "HAProxy"}
	all := processes(root, "nginx", "apache2", "httpd", "lighttpd", "caddy", "haproxy")
	for _, p := range all {
		isChild := func(q process) bool { return q.pid == p.parent && q.name == p.name }
		if slices.ContainsFunc(all, isChild) || !p.isTrusted() {
			continue
		}
		w := &webServer{process: p, worker: p, kind: kinds[p.name]}
		for _, q := range all {
			if q.parent == p.pid && q.name == p.name && q.uid != p.uid {
				w.worker = q
				break
			}
		}
		switch w.kind {
		case "nginx":
			w.readNginx(root)
		case "Apache":
			w.readApache(root)
		default:
			w.readOther(root)
		}
		servers = append(servers, w)
	}
	return servers
}

// isTrusted reports a web server that is the administrator's. Any user can start a program of that
// name, and what its configuration says would end in commands for root.
func (p process) isTrusted() bool {
	return p.uid == 0 || p.uid == os.Geteuid() || p.unit == p.name+".service"
}

// reload is the command that makes it read its configuration again.
func (w *webServer) reload() string {
	if w.unit != "" {
		return "systemctl reload " + strings.TrimSuffix(w.unit, ".service")
	}
	switch {
	case w.kind == "nginx":
		return fmt.Sprintf("kill -HUP %d", w.pid)
	case w.kind == "Apache" || w.kind == "lighttpd":
		return fmt.Sprintf("kill -USR1 %d", w.pid)
	case w.kind == "HAProxy" && (slices.Contains(w.args, "-W") || slices.Contains(w.args, "-Ws")):
		return fmt.Sprintf("kill -USR2 %d", w.pid) // the master follows it, and no other does
	case w.kind == "Caddy":
		return "caddy reload --config " + w.file
	}
	return w.restart()
}

// restart gives its processes the groups that their user has now.
func (w *webServer) restart() string {
	if w.unit != "" {
		return "systemctl restart " + strings.TrimSuffix(w.unit, ".service")
	}
	return "restart " + w.name
}

// siteFor is the one that answers a URL.
func (w *webServer) siteFor(u *url.URL) *site {
	port, _ := strconv.Atoi(portOf(u))
	var best *site
	rank := -1
	for i := range w.sites {
		s := &w.sites[i]
		fits := 0
		switch {
		case s.port != port || s.tls != (u.Scheme == "https"):
			continue
		case slices.ContainsFunc(s.names, func(name string) bool { return matchesName(name, u.Hostname()) }):
			fits = 2
		case s.isDefault:
			fits = 1
		}
		if fits > rank {
			best, rank = s, fits
		}
	}
	return best
}

// matchesName compares a host with a server's name, which may begin with "*." or ".".
func matchesName(name, host string) bool {
	if suffix, wild := strings.CutPrefix(strings.TrimPrefix(name, "*"), "."); wild {
		return strings.HasSuffix(host, "."+suffix) || strings.HasPrefix(name, ".") && host == suffix
	}
	return strings.EqualFold(name, host)
}

func portOf(u *url.URL) string {
	if port := u.Port(); port != "" {
		return port
	}
	if u.Scheme == "https" {
		return "443"
	}
	return "80"
}

// splitAddress reads "80", "*:80", "[::]:80" or "127.0.0.1:80"; port 0 = it is none.
func splitAddress(text string, usual int) (address string, port int) {
	if n, err := strconv.Atoi(text); err == nil {
		return "", n
	}
	host, number, err := net.SplitHostPort(text)
	if err != nil {
		return strings.Trim(text, "[]*"), usual
	}
	port, _ = strconv.Atoi(number)
	if host == "*" || host == "0.0.0.0" || host == "::" || host == "_default_" {
		host = ""
	}
	return host, port
}

// directive is one of nginx or Apache.
type directive struct {
	name  string // Apache's in lower case
	args  []string
	block []directive
	place
}

// sedLine is a command that replaces text in one line. The file is the real one, since sed replaces
// a link by a file.
func sedLine(p place, old, new string) string {
	if strings.ContainsAny(old+new, "'#&") {
		return fmt.Sprintf("in %s write %s in the place of %s", p, new, old)
	}
	return fmt.Sprintf("sed -i '%ds#%s#%s#' %s", p.line, old, new, word(realPath(p.file)))
}

func realPath(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	return path
}

// readLines are the lines of a file that belongs to root; none if it cannot be read.
func readLines(root, file string) []string {
	text, err := os.ReadFile(filepath.Join(root, file))
	if err != nil || len(text) > maxServerConfig {
		return nil
	}
	return strings.Split(string(text), "\n")
}

// maxServerConfig bounds one file of a web server's configuration, in bytes.
const maxServerConfig = 4 << 20

// included are the files that a pattern of a configuration names. A folder stands for all in it.
func included(root, base, pattern string) (files []string) {
	if !filepath.IsAbs(pattern) {
		pattern = filepath.Join(base, pattern)
	}
	names, _ := filepath.Glob(filepath.Join(root, pattern)) // none of a malformed pattern
	for _, name := range names {
		if info, err := os.Stat(name); err == nil && info.IsDir() {
			inside, _ := filepath.Glob(filepath.Join(name, "*"))
			files = append(files, inside...)
			continue
		}
		files = append(files, name)
	}
	for i := range files {
		files[i] = strings.TrimPrefix(files[i], strings.TrimSuffix(root, "/"))
	}
	return files
}
