package doctor

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// isStopped reports a web server that has the endpoint in its configuration and does not run.
func (c *checkup) isStopped() bool {
	for _, e := range c.endpointsOf(stoppedServers(c.root)) {
		if c.isOfThisService(e) {
			c.fail("url", "web-not-running",
				fmt.Sprintf("%s: %s has the endpoint, and does not run", e.route.place, e.server.kind),
				nobodyLogsIn, startOf(strings.TrimSuffix(e.server.unit, ".service")))
			return true
		}
	}
	return false
}

// stoppedServers reads the configuration of those that are installed and do not run.
func stoppedServers(root string) (servers []*webServer) {
	for _, name := range []string{"nginx", "apache2"} {
		unit := name + ".service"
		if readUnit(root, unit).file == "" || len(processes(root, name)) > 0 {
			continue
		}
		w := &webServer{process: process{name: name, unit: unit}, files: serverFiles{root: root}}
		if w.kind = "nginx"; name == "nginx" {
			w.readNginx()
		} else {
			w.kind = "Apache"
			w.readApache()
		}
		if w.files.foreign == nil {
			servers = append(servers, w)
		}
	}
	return servers
}

// startOf starts a web server's unit. Its own test says what keeps it from starting.
func startOf(unit string) string {
	test := map[string]string{"nginx": "nginx -t", "apache2": "apache2ctl configtest",
		"httpd": "apachectl configtest"}[unit]
	if test == "" {
		return "systemctl start " + unit
	}
	return test + " && systemctl start " + unit
}

// isNotEnabled reports a web server that was not told of dockerauth: the only one of this machine,
// or the one with the name that clients are sent to. A service with a port may have another's.
func (c *checkup) isNotEnabled() bool {
	if slices.ContainsFunc(c.backends(), func(b backend) bool { return !strings.HasPrefix(b.address, "/") }) {
		return false
	}
	servers := webServers(c.root)
	for _, w := range servers {
		s, named := c.siteOfClients(w)
		if !named && len(servers) > 1 {
			continue
		}
		remedy := c.enable(w, &s)
		if remedy == "" && w.kind == "nginx" && len(w.sites) > 0 && c.enable(w, &w.sites[0]) != "" {
			remedy = "write include snippets/dockerauth.conf; in nginx's server block for clients, as in " +
				w.sites[0].String() + ", then: " + w.reload()
		}
		if remedy == "" {
			continue
		}
		c.fail("url", "web-not-enabled", w.kind+" runs, and does not have the endpoint", nobodyLogsIn, remedy)
		return true
	}
	return false
}

// siteOfClients is the site with the name that clients are sent to, with TLS if there is one, or
// the only site; else one without a place.
func (c *checkup) siteOfClients(w *webServer) (best site, named bool) {
	host := c.config.Issuer
	if realm, err := url.Parse(c.realm); err == nil && realm.Hostname() != "" {
		host = realm.Hostname()
	}
	for _, s := range w.sites {
		if s.isNamed(host) && (!named || s.tls && !best.tls) {
			best, named = s, true
		}
	}
	others := func(s site) bool { return s.place != w.sites[0].place }
	if !named && len(w.sites) > 0 && !slices.ContainsFunc(w.sites, others) {
		best = w.sites[0]
	}
	return best, named
}
