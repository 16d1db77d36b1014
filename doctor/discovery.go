package doctor

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"dockerauth/config"
	"dockerauth/service"
)

// discoverService finds out what runs dockerauth on this machine and as which user, where the
// command line does not say it. Only root can look as another user.
func (c *checkup) discoverService() {
	u := readUnit(c.root, serviceUnit)
	if u.user == "" {
		c.discoverProgram()
		return
	}
	path := c.path
	if path == "" {
		path, _ = service.FindConfig() // examineConfig reports that there is none
	}
	if path == "" {
		path = u.config
	}
	if u.config != "" && path != u.config && !sameFile(path, u.config) {
		return // it is about another installation
	}
	c.discovered = true
	if _, err := os.Stat(path); err == nil {
		c.path = path
	}
	if c.as == "" && c.program == "" && os.Geteuid() == 0 {
		c.as = u.user
		c.ok("service", "%s runs dockerauth as %s with %s", u.file, u.user, path)
	}
}

// discoverProgram finds the program that a web server of this machine starts, or the process of an
// administrator's own unit.
func (c *checkup) discoverProgram() {
	if c.as != "" || c.program != "" || c.path != "" || os.Geteuid() != 0 {
		return
	}
	own, _ := service.FindConfig() // "" = there is none
	var programs []servedEndpoint
	for _, e := range c.endpoints() {
		if path, err := config.Find(e.route.target, nil); e.route.protocol == "cgi" && e.server.worker.uid != 0 &&
			err == nil && (own == "" || path == own) {
			programs = append(programs, e)
		}
	}
	if len(programs) > 0 {
		e := programs[0]
		path, err := config.Find(e.route.target, nil)
		if err != nil || slices.ContainsFunc(programs, func(o servedEndpoint) bool {
			return o.route.target != e.route.target || o.server.worker.uid != e.server.worker.uid
		}) {
			return // which of several it is about is not known
		}
		c.path, c.program, c.as, c.discovered = path, e.route.target, userName(e.server.worker.uid), true
		c.ok("service", "%s: %s starts %s as %s with %s", e.route.place, e.server.kind, c.program, c.as, path)
		return
	}
	var services []process
	for _, p := range processes(c.root, "dockerauth") {
		if len(p.args) > 1 && (p.args[1] == "fastcgi" || p.args[1] == "http") && p.uid != 0 &&
			readUnit(c.root, p.unit).user == userName(p.uid) {
			services = append(services, p)
		}
	}
	if len(services) != 1 {
		return
	}
	p := services[0]
	file := p.option("--config", "-config")
	if file == "" {
		file, _ = config.Find(p.program(c.root), nil) // "" = there is none
	}
	if !filepath.IsAbs(file) || own != "" && own != file {
		return
	}
	var groups []string
	for _, id := range p.groups {
		groups = append(groups, groupName(id))
	}
	c.path, c.as, c.discovered = file, userName(p.uid), true
	if len(groups) > 0 {
		c.as += ":" + strings.Join(groups, ",")
	}
	c.ok("service", "process %d runs dockerauth as %s with %s", p.pid, c.as, file)
}

// servedEndpoint is a URL path that a web server of this machine hands to dockerauth.
type servedEndpoint struct {
	server *webServer
	site   *site
	route  *route
	path   string
}

// endpointPaths are where the shipped configurations have the endpoint.
var endpointPaths = []string{realmEnd, "/dockerauth" + realmEnd, "/cgi-bin/dockerauth" + realmEnd, autoredirectEnd}

// endpoints are one for each site.
func (c *checkup) endpoints() (list []servedEndpoint) {
	backends := c.backends()
	isOurs := func(r *route) bool {
		return r.protocol == "cgi" || !r.generic || slices.ContainsFunc(backends, func(b backend) bool {
			return b.address == r.target
		})
	}
	for _, w := range webServers(c.root) {
		for i := range w.sites {
			for _, path := range endpointPaths {
				if r := w.sites[i].route(path); r != nil && isOurs(r) {
					list = append(list, servedEndpoint{w, &w.sites[i], r, path})
					break
				}
			}
		}
	}
	return list
}

// discoverEndpoint finds the URL at which this machine's web server has the endpoint.
func (c *checkup) discoverEndpoint() {
	const subject = "url"
	if c.config == nil || c.url != "" {
		return // an endpoint without a usable configuration answers 503
	}
	if c.path != "" && !c.discovered {
		c.notAsked(subject, "the endpoint", "dockerauth check --url "+c.likelyURL())
		return
	}
	list := slices.DeleteFunc(c.endpoints(), func(e servedEndpoint) bool { return !c.isOfThisService(e) })
	// Clients use HTTPS; the realm says which of several it is.
	slices.SortStableFunc(list, func(a, b servedEndpoint) int { return c.rank(b) - c.rank(a) })
	for _, e := range list {
		host, ok := c.hostOf(e.site)
		if !ok {
			continue
		}
		u := url.URL{Scheme: "http", Host: host, Path: e.path}
		usual := 80
		if e.site.tls {
			u.Scheme, usual = "https", 443
		}
		if e.site.port != usual {
			u.Host = net.JoinHostPort(host, strconv.Itoa(e.site.port))
		}
		c.url, c.dial = u.String(), net.JoinHostPort(cmp.Or(e.site.address, "127.0.0.1"), strconv.Itoa(e.site.port))
		c.ok(subject, "%s has %s", e.route.place, c.url)
		return
	}
	what := "the endpoint: no web server that hands requests to dockerauth is found on this machine"
	remedy := "dockerauth check --url " + c.likelyURL()
	if len(list) > 0 {
		what = fmt.Sprintf("the endpoint: %s does not say the name that clients use", list[0].route.place)
	} else if servers := webServers(c.root); len(servers) == 1 {
		if command := c.enableOnlySite(servers[0]); command != "" {
			what, remedy = fmt.Sprintf("the endpoint, which the %s of this machine does not have yet",
				servers[0].kind), command
		}
	}
	c.notAsked(subject, what, remedy)
}

// enableOnlySite is for a web server that has one site, so that it is clear which takes the
// endpoint.
func (c *checkup) enableOnlySite(w *webServer) string {
	for i := range w.sites {
		if w.sites[i].place != w.sites[0].place {
			return ""
		}
	}
	if len(w.sites) == 0 {
		return ""
	}
	return c.enable(w, &w.sites[0])
}

// isOfThisService reports an endpoint that may be that of the configuration which is examined. A
// machine may have several.
func (c *checkup) isOfThisService(e servedEndpoint) bool {
	if e.route.protocol == "cgi" {
		path, err := config.Find(e.route.target, nil)
		return c.path == "" || err == nil && (path == c.path || sameFile(path, c.path))
	}
	return slices.ContainsFunc(c.backends(), c.hasThisConfig)
}

func (c *checkup) rank(e servedEndpoint) (rank int) {
	if realm, err := url.Parse(c.realm); err == nil && slices.Contains(e.site.names, realm.Hostname()) {
		rank += 4
	}
	if e.site.tls {
		rank += 2
	}
	if e.site.port == 80 || e.site.port == 443 {
		rank++
	}
	return rank
}

var hostPattern = regexp.MustCompile(`^[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$`)

// hostOf is the name under which a site is asked.
func (c *checkup) hostOf(s *site) (string, bool) {
	realm, err := url.Parse(c.realm)
	if err == nil &&
		slices.ContainsFunc(s.names, func(name string) bool { return matchesName(name, realm.Hostname()) }) {
		return realm.Hostname(), true
	}
	if !s.tls && s.isDefault {
		return "localhost", true
	}
	for _, name := range s.names {
		if hostPattern.MatchString(name) {
			return name, true
		}
	}
	return "", false
}

// likelyURL is what clients are sent to, as far as that is known.
func (c *checkup) likelyURL() string {
	switch {
	case c.realm != "":
		return c.realm
	case c.config != nil && hostPattern.MatchString(c.config.Issuer):
		return "https://" + c.config.Issuer + realmEnd
	}
	return "https://HOST" + realmEnd
}

// registryFiles are where packages of registries have their configuration: Debian's
// docker-registry, distribution's, Fedora's.
var registryFiles = []string{"/etc/docker/registry/config.yml", "/etc/docker/registry/config.yaml",
	"/etc/distribution/config.yml", "/etc/distribution/config.yaml", "/etc/docker-distribution/registry/config.yml",
	"/etc/docker-registry/config.yml"}

// discoverRegistry finds a registry's configuration on this machine.
func (c *checkup) discoverRegistry() {
	if c.settings == nil {
		return
	}
	if c.registryConfig != "" {
		if r, err := loadRegistryConfig(c.registryConfig); err == nil && r.Token != nil {
			c.takeRealm(r)
		}
		return
	}
	what := "a registry's configuration, which is at none of the usual places"
	for _, file := range registryFiles {
		path := filepath.Join(c.root, file)
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) || c.path != "" && !c.discovered {
			continue
		}
		r, err := loadRegistryConfig(path)
		if err != nil || r.Token == nil {
			what = fmt.Sprintf("a registry's configuration: %s has no section auth.token", file)
			continue
		}
		c.registryConfig = path
		c.takeRealm(r)
		c.ok("registry", "%s has a section auth.token", file)
		return
	}
	c.notAsked("registry", what, "dockerauth check --registry-config "+registryFiles[0])
}

// takeRealm notes a realm that may be shown: one may hold a password.
func (c *checkup) takeRealm(r *registryConfig) {
	if u, err := parseRealm(r.Token.Realm.Value); err == nil {
		c.realm = u.String()
	}
}

// nameTheRest says what else could be looked at.
func (c *checkup) nameTheRest() {
	if c.config == nil {
		return
	}
	if c.registry == "" {
		host := c.config.Audience[0]
		if !hostPattern.MatchString(host) {
			host = "HOST"
		}
		c.notAsked("registry", "the registry itself", "dockerauth check --registry https://"+host)
	}
	if c.login == "" {
		c.notAsked(
			"login",
			"a login, which takes a password",
			"dockerauth check --login "+cmp.Or(os.Getenv("SUDO_USER"), "NAME"),
		)
	}
}
