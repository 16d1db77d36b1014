package doctor

import (
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// readOther finds what matters in the configuration of lighttpd, Caddy or HAProxy. Their languages
// are not read as a whole: a line that names dockerauth's socket or port is found, and the port
// that they listen on where that is one.
func (w *webServer) readOther(root string) {
	file := map[string]string{"lighttpd": "/etc/lighttpd/lighttpd.conf", "Caddy": "/etc/caddy/Caddyfile",
		"HAProxy": "/etc/haproxy/haproxy.cfg"}[w.kind]
	if given := w.option("-f", "--config"); given != "" {
		file = given
	}
	w.file = file
	o := &otherConfig{kind: w.kind, root: root}
	o.read(file, 0)
	if o.route != nil && w.kind == "HAProxy" {
		o.route.forward = o.forward
		o.route.insert = func(...string) string {
			return sedLine(o.route.place, "^", `    http-request set-header X-Forwarded-For %[src]\n`)
		}
	}
	if o.route != nil && o.fastCGI {
		o.route.protocol = "fastcgi"
	}
	if o.route != nil && o.route.isSocket() {
		o.route.target = filepath.Join(o.chroot, o.route.target)
	}
	if w.kind == "lighttpd" && len(o.sites) == 0 {
		o.sites = []site{{port: 80}}
	}
	for _, s := range o.sites {
		r := o.route
		s.isDefault, s.errorLog = true, o.errorLog
		s.route = func(string) *route { return r }
		w.sites = append(w.sites, s)
	}
}

type otherConfig struct {
	kind, root string
	sites      []site
	errorLog   string
	route      *route // the first that is likely dockerauth's
	mentioned  bool   // dockerauth's name or path has been read
	forward    bool   // HAProxy tells the client's address
	fastCGI    bool   // Caddy or HAProxy speak it
	chroot     string // HAProxy's, in which its sockets are
}

var (
	lighttpdPort   = regexp.MustCompile(`^\s*server\.port\s*=\s*(\d+)`)
	lighttpdLog    = regexp.MustCompile(`^\s*server\.errorlog\s*=\s*"([^"]+)"`)
	lighttpdSocket = regexp.MustCompile(`"socket"\s*=>\s*"([^"]+)"`)
	otherInclude   = regexp.MustCompile(`^\s*(?:include|import)\s+"?([^"\s]+)"?`)
	caddyAddress   = regexp.MustCompile(`^((?:https?://)?[\w.*-]*(?::\d+)?)\s*\{`)
	caddyTarget    = regexp.MustCompile(
		`\b(?:reverse_proxy|php_fastcgi)\s+(?:\S*\*?\S*\s+)?(?:unix/)?(/\S+|[\w.]+:\d+)`,
	)
	haproxyBind    = regexp.MustCompile(`^\s*bind\s+(\S*:\d+)(.*)`)
	haproxyChroot  = regexp.MustCompile(`^\s*chroot\s+(\S+)`)
	fastCGIPattern = regexp.MustCompile(`\b(?:php_fastcgi|transport\s+fastcgi|proto\s+fcgi|use-fcgi-app)\b`)
	haproxyTarget  = regexp.MustCompile(`^\s*server\s+\S+\s+(?:unix@)?(/\S+|[\w.]+:\d+)`)
)

func (o *otherConfig) read(file string, depth int) {
	for i, line := range readLines(o.root, file) {
		line, _, _ = strings.Cut(line, "#")
		o.forward = o.forward || strings.Contains(line, "X-Forwarded-For") ||
			strings.Contains(line, "option forwardfor")
		o.fastCGI = o.fastCGI || fastCGIPattern.MatchString(line)
		o.mentioned = o.mentioned || strings.Contains(line, "dockerauth") || strings.Contains(line, realmEnd)
		if match := otherInclude.FindStringSubmatch(line); match != nil && depth < maxIncludes {
			for _, name := range included(o.root, filepath.Dir(file), match[1]) {
				o.read(name, depth+1)
			}
		}
		var target, protocol string
		switch o.kind {
		case "lighttpd":
			if match := lighttpdPort.FindStringSubmatch(line); match != nil {
				port, _ := strconv.Atoi(match[1])
				o.sites = append(o.sites, site{port: port})
			}
			if match := lighttpdLog.FindStringSubmatch(line); match != nil {
				o.errorLog = match[1]
			}
			target, protocol = firstGroup(lighttpdSocket, line), "fastcgi"
		case "Caddy":
			if match := caddyAddress.FindStringSubmatch(line); match != nil && match[1] != "" {
				o.sites = append(o.sites, caddySite(match[1]))
			}
			target, protocol = firstGroup(caddyTarget, line), "http"
		case "HAProxy":
			if match := haproxyBind.FindStringSubmatch(line); match != nil {
				s := site{tls: strings.Contains(match[2], " ssl ")}
				s.address, s.port = splitAddress(match[1], 0)
				o.sites = append(o.sites, s)
			}
			if folder := firstGroup(haproxyChroot, line); folder != "" {
				o.chroot = folder
			}
			target, protocol = firstGroup(haproxyTarget, line), "http"
		}
		if target != "" && o.route == nil && o.mentioned {
			o.route = &route{place: place{file, i + 1}, protocol: protocol, target: target, forward: true,
				setting: func(string) []directive { return nil }}
		}
	}
}

func firstGroup(pattern *regexp.Regexp, line string) string {
	if match := pattern.FindStringSubmatch(line); match != nil {
		return match[1]
	}
	return ""
}

// caddySite reads a site address. Caddy serves names by HTTPS unless told otherwise.
func caddySite(text string) site {
	name, plain := strings.CutPrefix(text, "http://")
	name = strings.TrimPrefix(name, "https://")
	s := site{tls: !plain && !strings.HasPrefix(name, ":"), port: 443}
	if !s.tls {
		s.port = 80
	}
	host, port := splitAddress(name, s.port)
	s.port = port
	if host != "" && host != "localhost" {
		s.names = []string{host}
	}
	return s
}
