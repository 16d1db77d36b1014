package doctor

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// readApache finds the sites of an Apache.
func (w *webServer) readApache(root string) {
	base, file := w.option("-d"), w.option("-f")
	if base == "" {
		base = map[string]string{"apache2": "/etc/apache2", "httpd": "/etc/httpd"}[w.name]
	}
	switch {
	case file == "" && w.name == "httpd":
		file = filepath.Join(base, "conf/httpd.conf")
	case file == "":
		file = filepath.Join(base, "apache2.conf")
	case !filepath.IsAbs(file):
		file = filepath.Join(base, file)
	}
	w.file = file
	a := &apacheConfig{root: root, base: base, values: map[string]string{}, modules: map[string]bool{}}
	for _, line := range readLines(root, filepath.Join(base, "envvars")) {
		if name, value, found := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "export "), "="); found {
			a.values[name] = strings.ReplaceAll(value, "$SUFFIX", "")
		}
	}
	a.addSites(w, a.parse(file, 0))
}

func (a *apacheConfig) addSites(w *webServer, top []directive) {
	add := func(s site, scope [][]directive) {
		s.errorLog = a.errorLog(scope)
		s.route = func(path string) *route { return apacheRoute(scope, path) }
		s.isDefault = !slices.ContainsFunc(w.sites, func(o site) bool { return o.port == s.port })
		w.sites = append(w.sites, s)
	}
	for _, host := range named(top, "virtualhost") {
		s := site{}
		for _, d := range host.block {
			switch {
			case d.name == "servername" && len(d.args) > 0:
				name, _ := splitAddress(strings.TrimPrefix(d.args[0], "https://"), 0)
				s.names = append(s.names, name)
			case d.name == "serveralias":
				s.names = append(s.names, d.args...)
			case d.name == "sslengine" && len(d.args) > 0:
				s.tls = strings.EqualFold(d.args[0], "on")
			}
		}
		for _, address := range host.args {
			s.address, s.port = splitAddress(address, 80)
			add(s, [][]directive{top, host.block})
		}
	}
	for _, d := range named(top, "listen") {
		if len(d.args) == 0 {
			continue
		}
		s := site{}
		s.address, s.port = splitAddress(d.args[0], 80)
		s.tls = len(d.args) > 1 && d.args[1] == "https"
		if s.port != 443 && !slices.ContainsFunc(w.sites, func(o site) bool { return o.port == s.port }) {
			add(s, [][]directive{top})
		}
	}
}

func (a *apacheConfig) errorLog(scope [][]directive) string {
	for _, block := range slices.Backward(scope) {
		list := named(block, "errorlog")
		if len(list) == 0 || len(list[0].args) == 0 {
			continue
		}
		file := list[len(list)-1].args[0]
		if strings.HasPrefix(file, "|") || strings.HasPrefix(file, "syslog") {
			return ""
		}
		if !filepath.IsAbs(file) {
			file = filepath.Join(a.base, file)
		}
		return file
	}
	return filepath.Join(a.base, "logs/error_log") // compiled in
}

// apacheRoute finds where requests for a path go. Of sections the last one counts, of ProxyPass and
// aliases the first.
func apacheRoute(scope [][]directive, path string) *route {
	for _, find := range []func([]directive, string) *route{handlerRoute, proxyRoute, aliasRoute} {
		for _, block := range slices.Backward(scope) {
			if r := find(block, path); r != nil {
				r.setting = func(name string) (list []directive) {
					for _, block := range slices.Backward(scope) {
						list = append(list, within(block, strings.ToLower(name))...)
					}
					return list
				}
				return r
			}
		}
	}
	return nil
}

// within are the directives of a name in a block and its sections, those of virtual hosts excepted.
func within(block []directive, name string) (list []directive) {
	for _, d := range block {
		if d.name == name {
			list = append(list, d)
		}
		if d.name != "virtualhost" {
			list = append(list, within(d.block, name)...)
		}
	}
	return list
}

func handlerRoute(block []directive, path string) (r *route) {
	for _, section := range block {
		if !sectionCovers(section, path) {
			continue
		}
		for _, d := range section.block {
			if d.name != "sethandler" || len(d.args) == 0 {
				continue
			}
			if target, isProxy := strings.CutPrefix(d.args[0], "proxy:"); isProxy {
				r = proxyTarget(d, target)
				r.insert = insertBefore(d)
			}
		}
	}
	return r
}

func sectionCovers(d directive, path string) bool {
	if len(d.args) == 0 {
		return false
	}
	var pattern string
	switch {
	case d.name == "locationmatch":
		pattern = d.args[0]
	case d.name == "location" && d.args[0] == "~" && len(d.args) > 1:
		pattern = d.args[1]
	case d.name == "location":
		return isBelow(path, d.args[0])
	default:
		return false
	}
	re, err := regexp.Compile(pattern)
	return err == nil && re.MatchString(path)
}

func isBelow(path, folder string) bool {
	rest, found := strings.CutPrefix(path, strings.TrimSuffix(folder, "/"))
	return found && (rest == "" || rest[0] == '/')
}

func proxyRoute(block []directive, path string) *route {
	for _, d := range block {
		switch {
		case d.name == "proxypass" && len(d.args) > 1 && isBelow(path, d.args[0]) && d.args[1] != "!":
			r := proxyTarget(d, d.args[1])
			r.generic = d.args[0] == "/"
			r.insert = appendLocation(d)
			return r
		case d.name == "proxypassmatch" && len(d.args) > 1 && d.args[1] != "!":
			if re, err := regexp.Compile(d.args[0]); err == nil && re.MatchString(path) {
				return proxyTarget(d, d.args[1])
			}
		case d.name == "location" && len(d.args) > 0 && isBelow(path, d.args[0]):
			for _, inner := range named(d.block, "proxypass") {
				if len(inner.args) > 0 && inner.args[0] != "!" {
					r := proxyTarget(inner, inner.args[0])
					r.insert = insertBefore(inner)
					r.generic = d.args[0] == "/"
					return r
				}
			}
		}
	}
	return nil
}

// proxyTarget reads "unix:PATH|fcgi://LABEL", "fcgi://HOST:PORT/" or "http://HOST:PORT/".
func proxyTarget(d directive, text string) *route {
	r := &route{place: d.place, protocol: "http", forward: true}
	path, rest, isSocket := strings.Cut(text, "|")
	if isSocket {
		text = rest
	}
	if strings.HasPrefix(text, "fcgi:") {
		r.protocol = "fastcgi"
	}
	if isSocket {
		r.target = strings.TrimPrefix(path, "unix:")
		return r
	}
	_, text, _ = strings.Cut(text, "://")
	r.target, _, _ = strings.Cut(text, "/")
	r.target = strings.Replace(r.target, "localhost:", "127.0.0.1:", 1)
	return r
}

func aliasRoute(block []directive, path string) *route {
	for _, d := range block {
		if (d.name == "scriptalias" || d.name == "alias") && len(d.args) > 1 && isBelow(path, d.args[0]) &&
			filepath.Base(d.args[1]) == "dockerauth" {
			return &route{place: d.place, protocol: "cgi", target: d.args[1], insert: appendLocation(d)}
		}
	}
	return nil
}

// appendLocation makes a command that writes lines for the URL of a directive behind it.
func appendLocation(d directive) func(lines ...string) string {
	return func(lines ...string) string {
		return fmt.Sprintf(
			`printf '<Location "%s">\n    %s\n</Location>\n' >>%s`,
			d.args[0],
			strings.Join(lines, `\n    `),
			word(realPath(d.file)),
		)
	}
}

// insertBefore makes a command that puts lines before a directive.
func insertBefore(d directive) func(lines ...string) string {
	return func(lines ...string) string {
		return fmt.Sprintf(`sed -i '%di\    %s' %s`, d.line, strings.Join(lines, `\n    `), word(realPath(d.file)))
	}
}

// apacheConfig reads a configuration in the order in which Apache does.
type apacheConfig struct {
	root, base string
	values     map[string]string // of ${NAME}
	modules    map[string]bool   // "proxy_module" and "mod_proxy.c"
	skipping   int               // sections around whose condition does not hold
}

// parse reads a file and those that it includes.
func (a *apacheConfig) parse(file string, depth int) []directive {
	lines := readLines(a.root, file)
	list, _ := a.block(file, lines, 0, depth)
	return list
}

var apacheWord = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|'[^']*'|\S+`)

// block reads directives from a line on, up to the end of a section. next is the line after it.
func (a *apacheConfig) block(file string, lines []string, from, depth int) (list []directive, next int) {
	for i := from; i < len(lines); i++ {
		at := place{file, i + 1}
		line := strings.TrimSpace(lines[i])
		for strings.HasSuffix(line, `\`) && i+1 < len(lines) {
			i++
			line = strings.TrimSuffix(line, `\`) + " " + strings.TrimSpace(lines[i])
		}
		if line == "" || line[0] == '#' {
			continue
		}
		if strings.HasPrefix(line, "</") {
			return list, i + 1
		}
		section := line[0] == '<'
		if section {
			line = strings.TrimSuffix(line[1:], ">")
		}
		words := apacheWord.FindAllString(a.expand(line), -1)
		if len(words) == 0 {
			continue
		}
		d := directive{name: strings.ToLower(words[0]), place: at}
		for _, word := range words[1:] {
			d.args = append(d.args, strings.Trim(word, `"'`))
		}
		if section {
			holds := a.holds(d)
			if !holds {
				a.skipping++
			}
			d.block, i = a.block(file, lines, i+1, depth)
			i--
			switch {
			case !holds:
				a.skipping--
			case strings.HasPrefix(d.name, "if") && d.name != "if":
				list = append(list, d.block...)
			default:
				list = append(list, d)
			}
			continue
		}
		list = append(list, a.apply(d, depth)...)
	}
	return list, len(lines)
}

// holds reports that a section is read. Conditions other than IfModule are taken to hold.
func (a *apacheConfig) holds(d directive) bool {
	if d.name != "ifmodule" || len(d.args) == 0 {
		return true
	}
	module, not := strings.CutPrefix(d.args[0], "!")
	return a.modules[module] != not
}

// apply follows what changes how the rest is read.
func (a *apacheConfig) apply(d directive, depth int) []directive {
	switch {
	case a.skipping > 0 || len(d.args) == 0:
	case d.name == "serverroot":
		a.base = d.args[0]
	case d.name == "define" && len(d.args) > 1:
		a.values[d.args[0]] = d.args[1]
	case d.name == "loadmodule" && len(d.args) > 1:
		a.modules[d.args[0]] = true
		a.modules[strings.TrimSuffix(filepath.Base(d.args[1]), ".so")+".c"] = true
	case (d.name == "include" || d.name == "includeoptional") && depth < maxIncludes:
		var list []directive
		for _, file := range included(a.root, a.base, d.args[0]) {
			list = append(list, a.parse(file, depth+1)...)
		}
		return list
	}
	return []directive{d}
}

var apacheVariable = regexp.MustCompile(`\$\{(\w+)\}`)

func (a *apacheConfig) expand(line string) string {
	return apacheVariable.ReplaceAllStringFunc(line, func(name string) string {
		if value, known := a.values[name[2:len(name)-1]]; known {
			return value
		}
		return name
	})
}
