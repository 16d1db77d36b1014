package doctor

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// readNginx finds the sites of an nginx.
func (w *webServer) readNginx(root string) {
	prefix := w.option("-p")
	if prefix == "" {
		prefix = "/usr/share/nginx" // Debian's, and Fedora's
	}
	file := w.option("-c")
	switch {
	case file == "":
		file = "/etc/nginx/nginx.conf"
	case !filepath.IsAbs(file):
		file = filepath.Join(prefix, file)
	}
	w.file = file
	top := parseNginx(root, file, filepath.Dir(file), 0)
	for _, http := range named(top, "http") {
		for _, server := range named(http.block, "server") {
			w.readNginxServer(nginxScope{top, http.block, server.block}, prefix)
		}
	}
}

func (w *webServer) readNginxServer(scope nginxScope, prefix string) {
	server := scope[2]
	var names []string
	for _, d := range named(server, "server_name") {
		names = append(names, d.args...)
	}
	listens := named(server, "listen")
	if len(listens) == 0 {
		listens = []directive{{args: []string{"80"}}}
	}
	for _, d := range listens {
		if len(d.args) == 0 || strings.HasPrefix(d.args[0], "unix:") {
			continue
		}
		s := site{place: listens[0].place, names: names, isDefault: slices.Contains(d.args, "default_server"),
			tls: slices.Contains(d.args, "ssl"), errorLog: scope.errorLog(prefix)}
		s.address, s.port = splitAddress(d.args[0], 80)
		s.route = scope.route
		// the first server of an address and port is the one for other names
		s.isDefault = s.isDefault || !slices.ContainsFunc(w.sites, func(o site) bool {
			return o.port == s.port && o.address == s.address
		})
		w.sites = append(w.sites, s)
	}
}

// nginxScope is the blocks around a place, the outermost first.
type nginxScope [][]directive

// all are the directives of a name that are in force: those of the innermost block that has any.
func (s nginxScope) all(name string) []directive {
	for _, block := range slices.Backward(s) {
		if list := named(block, name); len(list) > 0 {
			return list
		}
	}
	return nil
}

func (s nginxScope) errorLog(prefix string) string {
	list := s.all("error_log")
	if len(list) == 0 {
		return "/var/log/nginx/error.log"
	}
	file := list[0].args[0]
	if file == "stderr" || strings.HasPrefix(file, "syslog:") || strings.HasPrefix(file, "memory:") {
		return ""
	}
	if !filepath.IsAbs(file) {
		file = filepath.Join(prefix, file)
	}
	return file
}

// route finds where requests for a path go.
func (s nginxScope) route(path string) *route {
	location, ok := selectLocation(s[len(s)-1], path)
	if !ok {
		return nil
	}
	inner := append(slices.Clone(s), location.block)
	if deeper := inner.route(path); deeper != nil {
		return deeper
	}
	r := &route{generic: slices.Equal(location.args, []string{"/"})}
	for _, d := range location.block {
		if d.name != "fastcgi_pass" && d.name != "proxy_pass" || len(d.args) == 0 || strings.Contains(d.args[0], "$") {
			continue
		}
		r.place = d.place
		if r.protocol = "http"; d.name == "fastcgi_pass" {
			r.protocol = "fastcgi"
		}
		r.target = nginxTarget(d.args[0])
		for _, upstream := range named(s[1], "upstream") {
			servers := named(upstream.block, "server")
			if len(upstream.args) == 1 && upstream.args[0] == r.target && len(servers) == 1 {
				r.place, r.target = servers[0].place, nginxTarget(servers[0].args[0])
			}
		}
		r.describeNginx(inner, d)
		return r
	}
	return nil
}

// describeNginx says what of a request arrives behind the directive that passes it on.
func (r *route) describeNginx(scope nginxScope, pass directive) {
	r.passes = map[string]string{}
	for _, d := range scope.all("fastcgi_param") {
		if len(d.args) > 1 {
			r.passes[d.args[0]] = d.args[1]
		}
	}
	r.script = r.passes["SCRIPT_FILENAME"]
	if r.protocol == "http" {
		r.passes = nil
		r.forward = slices.ContainsFunc(scope.all("proxy_set_header"), func(d directive) bool {
			return strings.EqualFold(d.args[0], "X-Forwarded-For")
		})
	}
	r.setting = scope.all
	r.insert = func(lines ...string) string {
		at := pass
		if inherited := scope.all("fastcgi_param"); len(inherited) > 0 &&
			len(named(scope[len(scope)-1], "fastcgi_param")) == 0 {
			at = inherited[0] // one more in the location would take the others away
		}
		return sedLine(at.place, `\b`+at.name+`\b`, strings.Join(lines, " ")+" "+at.name)
	}
}

// nginxTarget is an address without what is only nginx's.
func nginxTarget(text string) string {
	for _, scheme := range []string{"http://", "https://", "unix:"} {
		text = strings.TrimPrefix(text, scheme)
	}
	if strings.HasPrefix(text, "/") {
		path, _, _ := strings.Cut(text, ":")
		return path
	}
	host, _, _ := strings.Cut(text, "/")
	return strings.Replace(host, "localhost:", "127.0.0.1:", 1)
}

// selectLocation is nginx's choice (ngx_http_core_module, location).
func selectLocation(block []directive, path string) (directive, bool) {
	var prefix, pattern *directive
	longest, final := -1, false
	for i, d := range block {
		if d.name != "location" || len(d.args) == 0 {
			continue
		}
		modifier, text := "", d.args[0]
		if len(d.args) > 1 {
			modifier, text = d.args[0], d.args[1]
		}
		switch modifier {
		case "=":
			if text == path {
				return d, true
			}
		case "~", "~*":
			if modifier == "~*" {
				text = "(?i)" + text
			}
			if re, err := regexp.Compile(text); err == nil && re.MatchString(path) && pattern == nil {
				pattern = &block[i]
			}
		default:
			if strings.HasPrefix(path, text) && len(text) > longest && !strings.HasPrefix(text, "@") {
				prefix, longest, final = &block[i], len(text), modifier == "^~"
			}
		}
	}
	switch {
	case pattern != nil && !final:
		return *pattern, true
	case prefix != nil:
		return *prefix, true
	}
	return directive{}, false
}

func named(block []directive, name string) (list []directive) {
	for _, d := range block {
		if d.name == name {
			list = append(list, d)
		}
	}
	return list
}

// maxIncludes bounds how deep files include each other.
const maxIncludes = 8

// parseNginx reads a file and those that it includes. It takes what it cannot read for nothing.
func parseNginx(root, file, base string, depth int) []directive {
	p := &nginxParser{text: strings.Join(readLines(root, file), "\n"), file: file, line: 1}
	list := p.block()
	return expandIncludes(list, root, base, depth)
}

func expandIncludes(list []directive, root, base string, depth int) (all []directive) {
	for _, d := range list {
		if d.name == "include" && len(d.args) == 1 && depth < maxIncludes {
			for _, file := range included(root, base, d.args[0]) {
				all = append(all, parseNginx(root, file, base, depth+1)...)
			}
			continue
		}
		d.block = expandIncludes(d.block, root, base, depth)
		all = append(all, d)
	}
	return all
}

type nginxParser struct {
	text string
	at   int
	file string
	line int
}

// block reads directives up to "}" or the end.
func (p *nginxParser) block() (list []directive) {
	var d directive
	for {
		word, special, ok := p.word()
		switch {
		case !ok || special && word == "}":
			return list
		case special && word == "{":
			d.block = p.block()
			fallthrough
		case special:
			if d.name != "" {
				list = append(list, d)
			}
			d = directive{}
		case d.name == "":
			d = directive{name: word, place: place{p.file, p.line}}
		default:
			d.args = append(d.args, word)
		}
	}
}

// word is the next one. special ones are ";", "{" and "}".
func (p *nginxParser) word() (word string, special, ok bool) {
	for p.at < len(p.text) {
		switch c := p.text[p.at]; c {
		case '\n':
			p.line++
			p.at++
		case ' ', '\t', '\r':
			p.at++
		case '#':
			end := strings.IndexByte(p.text[p.at:], '\n')
			if end < 0 {
				return "", false, false
			}
			p.at += end
		case ';', '{', '}':
			p.at++
			return string(c), true, true
		case '"', '\'':
			return p.quoted(c), false, true
		default:
			return p.bare(), false, true
		}
	}
	return "", false, false
}

func (p *nginxParser) quoted(quote byte) string {
	var b strings.Builder
	for p.at++; p.at < len(p.text) && p.text[p.at] != quote; p.at++ {
		if p.text[p.at] == '\\' && p.at+1 < len(p.text) && p.text[p.at+1] == quote {
			p.at++
		}
		if p.text[p.at] == '\n' {
			p.line++
		}
		b.WriteByte(p.text[p.at])
	}
	p.at++
	return b.String()
}

func (p *nginxParser) bare() string {
	begin := p.at
	for p.at < len(p.text) && !strings.ContainsRune(" \t\r\n;", rune(p.text[p.at])) {
		if c := p.text[p.at]; c == '{' && p.text[p.at-1] != '$' ||
			c == '}' && !strings.Contains(p.text[begin:p.at], "{") {
			break
		}
		p.at++
	}
	return p.text[begin:p.at]
}
