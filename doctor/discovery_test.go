package doctor

import (
	"fmt"
	"maps"
	"net/http/httptest"
	"strings"
	"testing"

	"dockerauth/config"
)

// machine is files of a machine on which a package is installed.
func machine(more ...map[string]string) map[string]string {
	files := map[string]string{
		"usr/lib/systemd/system/dockerauth.socket":  "[Socket]\nListenStream=/run/dockerauth/dockerauth.sock\n",
		"usr/lib/systemd/system/dockerauth.service": "[Service]\nUser=dockerauth\n",
	}
	for _, m := range more {
		maps.Copy(files, m)
	}
	return files
}

// running is a web server's process and that of a worker with uid 33.
func running(name, command string) map[string]string {
	files := map[string]string{}
	for pid, parent := range map[int]int{100: 1, 101: 100} {
		folder := fmt.Sprintf("proc/%d/", pid)
		files[folder+"comm"] = name + "\n"
		files[folder+"cmdline"] = command
		files[folder+"status"] = fmt.Sprintf(
			"PPid:\t%d\nUid:\t%[2]d\t%[2]d\t%[2]d\t%[2]d\nGid:\t33\t33\t33\t33\nGroups:\t33 \n",
			parent,
			33*(pid-100),
		)
		files[folder+"cgroup"] = "0::/system.slice/" + name + ".service\n"
	}
	return files
}

const (
	nginxCommand = "nginx: master process /usr/sbin/nginx -g daemon on; master_process on;"
	nginxMain    = "user www-data;\nhttp {\n\tinclude /etc/nginx/conf.d/*.conf;\n\tinclude sites-enabled/*;\n}\n"
	nginxSnippet = "# dockerauth\nlocation ~ ^(?:/dockerauth/.*|/docker/v2/token/?)$ {\n" +
		"  fastcgi_pass unix:/run/dockerauth/dockerauth.sock;\n  fastcgi_param REMOTE_ADDR $remote_addr;\n}\n"
)

// nginxWith is an nginx with a site.
func nginxWith(site string, more ...string) map[string]string {
	files := machine(running("nginx", nginxCommand), map[string]string{
		"etc/nginx/nginx.conf": nginxMain, "etc/nginx/snippets/dockerauth.conf": nginxSnippet,
		"etc/nginx/sites-enabled/default": site})
	return with(files, more...)
}

const apacheMain = "User ${APACHE_RUN_USER}\nErrorLog ${APACHE_LOG_DIR}/error.log\nInclude ports.conf\n" +
	"IncludeOptional mods-enabled/*.load\nIncludeOptional conf-enabled/*.conf\nIncludeOptional sites-enabled/*.conf\n"

const apacheDropIn = "<LocationMatch \"^(?:/dockerauth(?:/.*)?|/docker/v2/token/?|/auth/token/?)$\">\n" +
	"    SetHandler \"proxy:unix:/run/dockerauth/dockerauth.sock|fcgi://dockerauth\"\n</LocationMatch>\n"

// apacheWith is an Apache of Debian's with a virtual host.
func apacheWith(host string, more ...string) map[string]string {
	files := machine(running("apache2", "/usr/sbin/apache2\x00-k\x00start\x00"), map[string]string{
		"etc/apache2/apache2.conf": apacheMain, "etc/apache2/conf-enabled/dockerauth.conf": apacheDropIn,
		"etc/apache2/envvars": "export APACHE_RUN_USER=www-data\n" +
			"export APACHE_LOG_DIR=/var/log/apache2$SUFFIX\n",
		"etc/apache2/ports.conf":                     "Listen 80\n<IfModule ssl_module>\n    Listen 443\n</IfModule>\n",
		"etc/apache2/sites-enabled/000-default.conf": host})
	return with(files, more...)
}

func without(name string, files map[string]string) map[string]string {
	delete(files, name)
	return files
}

// with adds files.
func with(files map[string]string, more ...string) map[string]string {
	for i := 0; i < len(more); i += 2 {
		files[more[i]] = more[i+1]
	}
	return files
}

func TestTheEndpointOfThisMachineIsFound(t *testing.T) {
	const snippet = "include snippets/dockerauth.conf;"
	for _, tt := range []struct {
		name      string
		files     map[string]string
		url, dial string // "" = it is not found
		says      string
	}{
		{"no web server", machine(), "", "", "--url https://auth.example.com/docker/v2/token"},
		{"an nginx without dockerauth",
			nginxWith("server {\n listen 80;\n listen [::]:80;\n location / { root /srv; } }"),
			"", "", "sed -i '2s#\\blisten\\b#include snippets/dockerauth.conf; listen#' "},
		{"an nginx with several sites and without dockerauth",
			nginxWith("server { listen 80; }\nserver { listen 81; }"),
			"", "", "--url https://auth.example.com/docker/v2/token"},
		{"an Apache that was not told of it", without("etc/apache2/conf-enabled/dockerauth.conf",
			apacheWith("<VirtualHost *:80>\n</VirtualHost>", "etc/apache2/conf-available/dockerauth.conf",
				apacheDropIn)),
			"", "", "a2enconf dockerauth && systemctl reload apache2"},
		{"nginx's default site", nginxWith("server {\n listen 80 default_server;\n listen [::]:80 default_server;\n" +
			" server_name _;\n " + snippet + "\n}"),
			"http://localhost/docker/v2/token", "127.0.0.1:80", "/etc/nginx/snippets/dockerauth.conf:3"},
		{"nginx with TLS beside plain HTTP", nginxWith("server { listen 80; " + snippet + " }\n" +
			"server { listen 443 ssl; server_name auth.example.com; " + snippet + " }"),
			"https://auth.example.com/docker/v2/token", "127.0.0.1:443", ""},
		{"nginx with another port and address",
			nginxWith("server { listen 192.0.2.1:8443 ssl; server_name auth.example.com; " +
				snippet + " }"), "https://auth.example.com:8443/docker/v2/token", "192.0.2.1:8443", ""},
		{"nginx with TLS and no name", nginxWith("server { listen 443 ssl; server_name ~^auth; " + snippet + " }"),
			"", "", "/etc/nginx/snippets/dockerauth.conf:3"},
		{"nginx without listen", nginxWith("server { server_name auth.example.com; " + snippet + " }"),
			"http://localhost/docker/v2/token", "127.0.0.1:80", ""},
		{"nginx, below a folder alone",
			nginxWith("server { listen 80; location ^~ /dockerauth/ { proxy_pass http://auth; } }",
				"etc/nginx/conf.d/auth.conf", "upstream auth { server 127.0.0.1:5002; }"),
			"http://localhost/dockerauth/docker/v2/token", "127.0.0.1:80", "/etc/nginx/conf.d/auth.conf:1"},
		{"nginx that hands all to dockerauth", nginxWith("server { listen 80; location / {" +
			" fastcgi_pass unix:/run/dockerauth/dockerauth.sock; } }"),
			"http://localhost/docker/v2/token", "127.0.0.1:80", "/etc/nginx/sites-enabled/default:1"},
		{"nginx that hands all to another program", nginxWith("server { listen 80; location / {" +
			" proxy_pass http://127.0.0.1:3000; } }"), "", "", ""},
		{"an nginx in a folder of its own", machine(running("nginx", "nginx: master process nginx -p /srv -c n.conf"),
			map[string]string{"srv/n.conf": "http { server { listen 8080; include d.conf; } }",
				"srv/d.conf": nginxSnippet}),
			"http://localhost:8080/docker/v2/token", "127.0.0.1:8080", "/srv/d.conf:3"},
		{"a file that includes itself, and one that breaks off",
			nginxWith("server { listen 80; include sites-enabled/*; "+
				snippet+" } server { \"", "etc/nginx/conf.d/x.conf", "}}}; {"),
			"http://localhost/docker/v2/token", "127.0.0.1:80", ""},

		{"Apache's default site", apacheWith("<VirtualHost *:80>\n ServerAdmin a@b\n</VirtualHost>"),
			"http://localhost/docker/v2/token", "127.0.0.1:80", "/etc/apache2/conf-enabled/dockerauth.conf:2"},
		{"Apache without a site", apacheWith(""), "http://localhost/docker/v2/token", "127.0.0.1:80", ""},
		{"Apache with TLS", apacheWith("<VirtualHost *:80>\n</VirtualHost>\n<VirtualHost _default_:443>\n" +
			" ServerName auth.example.com:443\n SSLEngine on\n</VirtualHost>"),
			"https://auth.example.com/docker/v2/token", "127.0.0.1:443", ""},
		{"Apache that proxies in a host", apacheWith("<VirtualHost *:80>\n ProxyPass /docker/v2/token \\\n"+
			"  http://localhost:5002/docker/v2/token\n</VirtualHost>", "etc/apache2/conf-enabled/dockerauth.conf", ""),
			"http://localhost/docker/v2/token", "127.0.0.1:80", "/etc/apache2/sites-enabled/000-default.conf:2"},
		{"Apache that proxies all to another program",
			apacheWith("<VirtualHost *:80>\n ProxyPass / http://[::1]:3000/\n"+
				"</VirtualHost>", "etc/apache2/conf-enabled/dockerauth.conf", ""), "", "", ""},
		{"Apache that starts the program", apacheWith("<VirtualHost *:80>\n</VirtualHost>",
			"etc/apache2/conf-enabled/dockerauth.conf",
			"ScriptAlias \"/docker/v2/token\" \"/usr/lib/cgi-bin/dockerauth\"\n"),
			"http://localhost/docker/v2/token", "127.0.0.1:80", "/etc/apache2/conf-enabled/dockerauth.conf:1"},
		{"Apache with the module that a condition asks for", apacheWith("", "etc/apache2/mods-enabled/x.load",
			"LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so\n",
			"etc/apache2/conf-enabled/dockerauth.conf",
			"<IfModule mod_proxy.c>\n<IfModule !mod_proxy.c>\n</IfModule>\n"+apacheDropIn+"</IfModule>\n"),
			"http://localhost/docker/v2/token", "127.0.0.1:80", "/etc/apache2/conf-enabled/dockerauth.conf:5"},
		{"Apache without the module that a condition asks for", apacheWith("",
			"etc/apache2/conf-enabled/dockerauth.conf",
			"<IfModule mod_proxy.c>\n"+apacheDropIn+"</IfModule>\n"), "", "", ""},

		{"an nginx of some user's", with(nginxWith("server { listen 8080; "+snippet+" }"), "proc/100/status",
			"PPid:\t1\nUid:\t1000\t1000\t1000\t1000\n", "proc/100/cgroup", "0::/user.slice/x.scope\n"), "", "", ""},
		{"lighttpd", machine(running("lighttpd", "/usr/sbin/lighttpd\x00-D\x00-f\x00/etc/lighttpd/lighttpd.conf\x00"),
			map[string]string{"etc/lighttpd/lighttpd.conf": "server.port = 81\n" +
				"include \"/etc/lighttpd/conf-enabled/*.conf\"\n",
				"etc/lighttpd/conf-enabled/60-dockerauth.conf": "var.dockerauth = ((\n" +
					" \"socket\" => \"/run/x.sock\",\n))\n"}),
			"http://localhost:81/docker/v2/token", "127.0.0.1:81", "/etc/lighttpd/conf-enabled/60-dockerauth.conf:2"},
		{"Caddy", machine(running("caddy", "/usr/bin/caddy\x00run\x00--config\x00/etc/caddy/Caddyfile\x00"),
			map[string]string{"etc/caddy/Caddyfile": "auth.example.com {\n" +
				" reverse_proxy /docker/v2/token 127.0.0.1:5002\n}\n"}),
			"https://auth.example.com/docker/v2/token", "127.0.0.1:443", "/etc/caddy/Caddyfile:2"},
		{"Caddy without TLS", machine(running("caddy", "caddy\x00run\x00"),
			map[string]string{"etc/caddy/Caddyfile": ":8080 {\n # dockerauth\n handle /docker/v2/token* {\n" +
				"  reverse_proxy unix//run/dockerauth/dockerauth.sock {\n transport fastcgi\n}\n}\n}\n"}),
			"http://localhost:8080/docker/v2/token", "127.0.0.1:8080", "/etc/caddy/Caddyfile:4"},
		{"HAProxy with a certificate of some name", machine(running("haproxy",
			"/usr/sbin/haproxy\x00-Ws\x00-f\x00/etc/haproxy/haproxy.cfg\x00"),
			map[string]string{"etc/haproxy/haproxy.cfg": "frontend f\n" +
				" bind :443 ssl crt /x.pem\n default_backend dockerauth\n" +
				"backend dockerauth\n server one 127.0.0.1:5002\n"}), "", "", "/etc/haproxy/haproxy.cfg:5"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := checkup{root: plant(t, tt.files), discovered: true, config: &config.Config{Issuer: "auth.example.com"}}
			c.discoverEndpoint()
			if c.url != tt.url || c.dial != tt.dial {
				t.Errorf("found %q at %q, want %q at %q", c.url, c.dial, tt.url, tt.dial)
			}
			c.expectCodes(t, "", tt.says)
		})
	}
}

func TestARealmSaysWhichSiteIsTheEndpoint(t *testing.T) {
	const snippet = "include snippets/dockerauth.conf;"
	c := checkup{discovered: true, config: &config.Config{}, realm: "https://token.example.com/docker/v2/token",
		root: plant(t, nginxWith("server { listen 443 ssl; server_name a.example.com; "+snippet+" }\n"+
			"server { listen 443 ssl; server_name *.example.com token.example.com; "+snippet+" }"))}
	c.discoverEndpoint()
	if c.url != c.realm {
		t.Errorf("found %s", c.url)
	}
}

func TestARegistrysConfigurationIsFoundWhereItsPackageHasIt(t *testing.T) {
	token := "auth:\n  token:\n    realm: https://auth.example.com/docker/v2/token\n    service: s\n"
	for _, tt := range []struct {
		name, file, text, found, realm, says string
	}{
		{"none", "etc/x", "", "", "", "--registry-config"},
		{"Debian's", "etc/docker/registry/config.yml", token, "/etc/docker/registry/config.yml",
			"https://auth.example.com/docker/v2/token", "/etc/docker/registry/config.yml has a section auth.token"},
		{"Fedora's", "etc/docker-distribution/registry/config.yml", token,
			"/etc/docker-distribution/registry/config.yml",
			"https://auth.example.com/docker/v2/token", ""},
		{"distribution's", "etc/distribution/config.yml", token, "/etc/distribution/config.yml",
			"https://auth.example.com/docker/v2/token", ""},
		{"one without tokens", "etc/docker/registry/config.yml", "version: 0.1\n", "", "",
			"/etc/docker/registry/config.yml has no section auth.token"},
		{"one that cannot be read", "etc/docker/registry/config.yml", "\t:", "", "", "--registry-config"},
		{"one with a password", "etc/docker/registry/config.yml", strings.Replace(token, "auth.ex",
			"a:secret@auth.ex", 1),
			"/etc/docker/registry/config.yml", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := checkup{
				root:       plant(t, map[string]string{tt.file: tt.text}),
				settings:   &config.Config{},
				discovered: true,
			}
			c.discoverRegistry()
			if got := strings.TrimPrefix(c.registryConfig, c.root); got != tt.found || c.realm != tt.realm {
				t.Errorf("found %q with %q", got, c.realm)
			}
			c.expectCodes(t, "", tt.says)
			if strings.Contains(c.text(), "secret") {
				t.Error("the password is shown")
			}
		})
	}
}

func TestTheServiceOfThisMachineIsFound(t *testing.T) {
	needsRoot(t)
	dir := t.TempDir()
	file := dir + "/config.yml"
	writeTestFile(t, file, "")
	unit := func(more string) map[string]string {
		return map[string]string{"usr/lib/systemd/system/dockerauth.service": "[Service]\nUser=dockerauth\nExecStart=" +
			"/usr/bin/dockerauth fastcgi --config " + file + "\n" + more}
	}
	program := dir + "/dockerauth"
	writeTestFile(t, program, "")
	for _, tt := range []struct {
		name     string
		files    map[string]string
		given    checkup
		as, path string
	}{
		{"nothing", nil, checkup{}, "", ""},
		{"a unit", unit(""), checkup{}, "dockerauth", file},
		{"a unit, and its configuration given", unit(""), checkup{path: file}, "dockerauth", file},
		{"a unit, and another configuration given", unit(""), checkup{path: program}, "", program},
		{"a unit, and a user given", unit(""), checkup{as: "alice"}, "alice", file},
		{"a web server that starts the program", apacheWith("<VirtualHost *:80>\n</VirtualHost>",
			"etc/apache2/conf-enabled/dockerauth.conf", "ScriptAlias /docker/v2/token "+program+"\n",
			"usr/lib/systemd/system/dockerauth.service", ""), checkup{}, userName(33), file},
		{"a process of some user's", running("dockerauth", "/tmp/dockerauth\x00http\x00--config\x00"+file+"\x00"),
			checkup{},
			"", ""},
		{"a service of the administrator's own", with(running("dockerauth",
			"/usr/local/bin/dockerauth\x00http\x00--config\x00"+
				file+"\x00--listen\x00127.0.0.1:5002\x00"), "etc/systemd/system/dockerauth.service", "",
			"etc/systemd/system/token.service", "[Service]\nUser="+userName(33)+"\n",
			"proc/101/cgroup", "0::/system.slice/token.service\n"), checkup{}, userName(33) + ":" + groupName(33),
			file},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := tt.given
			c.root = plant(t, tt.files)
			c.discoverService()
			if c.as != tt.as || c.path != tt.path {
				t.Errorf("found %q with %q, want %q with %q", c.as, c.path, tt.as, tt.path)
			}
			if c.as != "" && tt.given.as == "" && !strings.Contains(c.text(), file) {
				t.Errorf("it is not said: %s", c.text())
			}
		})
	}
}

// What check asks of a URL that it has found itself stays on this machine.
func TestAFoundEndpointIsAskedOnThisMachine(t *testing.T) {
	c := checkupOf(t, plainConfig)
	server := newEndpointServer(t, c)
	c.url, c.dial = "http://auth.example.invalid"+realmEnd, strings.TrimPrefix(server, "http://")
	c.probeURL(testAsker(t, nil).dialTo(c.dial))
	c.expectCodes(t, "", "credentials arrive")
}

func newEndpointServer(t *testing.T, c *checkup) (url string) {
	t.Helper()
	server := httptest.NewServer(endpoint(t, c.config))
	t.Cleanup(server.Close)
	return server.URL
}
