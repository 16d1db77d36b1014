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
	"slices"
	"strconv"
	"strings"
	"syscall"

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
	if c.path == "" && c.isForeign(path, "dockerauth check --as "+word(u.user)+" --config "+word(path)) {
		return
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
		user := userName(e.server.worker.uid)
		flags := fmt.Sprintf("dockerauth check --as %s --program %s --config %s", word(user), word(e.route.target),
			word(path))
		if c.isForeign(path, flags) || c.isForeign(e.route.target, flags) {
			return
		}
		c.path, c.program, c.as, c.discovered = path, e.route.target, user, true
		c.ok("service", "%s: %s starts %s as %s with %s", e.route.place, e.server.kind, c.program, c.as, path)
		return
	}
	c.discoverUnit(own)
}

// discoverUnit finds an administrator's own unit by the process that it has started.
func (c *checkup) discoverUnit(own string) {
	var units []unit
	for _, p := range processes(c.root, "dockerauth") {
		if u, ok := c.unitOf(p); ok && p.uid != 0 && (u.command[1] == "fastcgi" || u.command[1] == "http") {
			units = append(units, u)
		}
	}
	if len(units) != 1 {
		return
	}
	u := units[0]
	file := u.config
	if file == "" {
		file, _ = config.Find(u.command[0], nil) // "" = there is none
	}
	if !filepath.IsAbs(file) || own != "" && own != file {
		return
	}
	as := strings.TrimSuffix(u.user+":"+strings.Join(u.groups, ","), ":")
	if c.isForeign(file, "dockerauth check --as "+word(as)+" --config "+word(file)) {
		return
	}
	c.path, c.as, c.discovered = file, as, true
	c.ok("service", "%s runs dockerauth as %s with %s", u.file, c.as, file)
}

// isForeign reports a file that was found, and that root does not believe. It says so.
func (c *checkup) isForeign(path, flags string) bool {
	err := checkTrust(path)
	if err == nil {
		return false
	}
	c.untrusted = true
	c.warn("config", "config-untrusted", fmt.Sprintf("the configuration is not looked at: %v", err),
		"what another user wrote could mislead root; flags name what to look at", flags)
	return true
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
func (c *checkup) endpoints() []servedEndpoint { return c.endpointsOf(webServers(c.root)) }

func (c *checkup) endpointsOf(servers []*webServer) (list []servedEndpoint) {
	backends := c.backends()
	isOurs := func(r *route) bool {
		return r.protocol == "cgi" || !r.generic || slices.ContainsFunc(backends, func(b backend) bool {
			return b.address == r.target
		})
	}
	for _, w := range servers {
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
		c.notAsked(subject, "the endpoint", "dockerauth check --url "+word(c.likelyURL()))
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
		c.url, c.dial = u.String(), e.site.dial()
		c.found = fmt.Sprintf("%s has %s (%s)", e.server.kind, c.url, e.route.place)
		c.ok(subject, "%s has %s", e.route.place, c.url)
		c.askWhereClientsAsk(u)
		return
	}
	for _, w := range allWebServers(c.root) {
		if err := w.files.foreign; err != nil {
			c.notAsked(subject, fmt.Sprintf("the endpoint: %s reads a configuration of which %v", w.kind, err),
				"dockerauth check --url "+word(c.likelyURL()))
			return
		}
	}
	what := "the endpoint: no web server that hands requests to dockerauth is found on this machine"
	remedy := "dockerauth check --url " + word(c.likelyURL())
	if len(list) > 0 {
		what = fmt.Sprintf("the endpoint: %s does not say the name that clients use", list[0].route.place)
	} else if c.isStopped() || c.isNotEnabled() {
		return
	}
	c.notAsked(subject, what, remedy)
}

// askWhereClientsAsk makes the registry's realm the URL, where that is not what was found: clients
// ask there. The realm may be another path of the site that was found.
func (c *checkup) askWhereClientsAsk(found url.URL) {
	realm, err := parseRealm(c.realm)
	if err != nil || strings.TrimSuffix(c.realm, "/") == strings.TrimSuffix(found.String(), "/") {
		return
	}
	c.url = c.realm
	if realm.Scheme == found.Scheme && realm.Hostname() == found.Hostname() && portOf(realm) == portOf(&found) {
		return
	}
	c.dial = ""
	for _, w := range webServers(c.root) {
		if s := w.siteFor(realm); s != nil && s.isNamed(realm.Hostname()) {
			c.dial = s.dial()
			return
		}
	}
}

// isNamed reports a site that has a name, and not only every one.
func (s *site) isNamed(host string) bool {
	return slices.ContainsFunc(s.names, func(name string) bool { return matchesName(name, host) })
}

// dial is where a site is on this machine.
func (s *site) dial() string {
	return net.JoinHostPort(cmp.Or(s.address, "127.0.0.1"), strconv.Itoa(s.port))
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
		if aHostName().MatchString(name) {
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
	case c.config != nil && aHostName().MatchString(c.config.Issuer):
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
	remedy := "dockerauth check --registry-config " + registryFiles[0]
	for _, file := range registryFiles {
		path := filepath.Join(c.root, file)
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) || c.path != "" && !c.discovered {
			continue
		}
		if err := checkTrust(path); err != nil {
			c.notAsked("registry", fmt.Sprintf("a registry's configuration: %v", err),
				"dockerauth check --registry-config "+word(path))
			return
		}
		remedy = "dockerauth check --registry-config " + word(file)
		if f, err := os.Open(path); errors.Is(err, fs.ErrPermission) {
			what, remedy = fmt.Sprintf("a registry's configuration: you may not read %s", file), "sudo dockerauth check"
			continue
		} else if err == nil {
			_ = f.Close()
		}
		r, err := loadRegistryConfig(path)
		switch {
		case err != nil:
			c.registryConfig = path // examineRegistry says what is wrong with it
			return
		case r.Token == nil && len(r.Auth) > 0:
			what = fmt.Sprintf("a registry's configuration: %s has auth.%s, and no section auth.token", file, r.Auth[0])
			continue
		case r.Token == nil:
			what = fmt.Sprintf("a registry's configuration: %s has no section auth", file)
			continue
		}
		c.registryConfig = path
		c.takeRealm(r)
		c.ok("registry", "%s has a section auth.token", file)
		c.tryRegistry(r)
		return
	}
	c.notAsked("registry", what, remedy)
}

// tryRegistry looks whether the registry of a configuration on this machine runs.
func (c *checkup) tryRegistry(r *registryConfig) {
	host, port, err := net.SplitHostPort(r.Address)
	if err != nil {
		return
	}
	if host == "" || host == "0.0.0.0" || host == "::" {
		host = "127.0.0.1"
	}
	conn, err := net.DialTimeout("tcp", net.JoinHostPort(host, port), connectTimeout)
	if err == nil {
		_ = conn.Close()
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return
	}
	for _, name := range registryUnits {
		if readUnit(c.root, name).file != "" {
			c.warn("registry", "registry-stopped", fmt.Sprintf("nobody listens at %s, which %s has", r.Address, r.Path),
				"nobody can push or pull", "systemctl enable --now "+strings.TrimSuffix(name, ".service"))
			return
		}
	}
	c.notAsked("registry", fmt.Sprintf("the registry: nobody listens at %s, which %s has", r.Address, r.Path), "")
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
		if !aHostName().MatchString(host) {
			host = "HOST"
		}
		c.notAsked("registry", "the registry itself", "dockerauth check --registry https://"+host)
	}
	if c.login == "" {
		c.notAsked(
			"login",
			"a login, which takes a password",
			"dockerauth check --login "+word(cmp.Or(os.Getenv("SUDO_USER"), "NAME")),
		)
	}
}
