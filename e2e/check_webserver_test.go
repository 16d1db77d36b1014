package e2e

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// webMistake is a web server that hands requests to dockerauth in a wrong way, and what check
// finds.
type webMistake struct {
	name string
	frontend
	edit  [][2]string                // of the shipped example
	make  func(*testing.T, *testEnv) // a mistake elsewhere
	path  string                     // of the URL; "" = the endpoint
	code  string                     // "" = it is no mistake
	names string                     // what the finding names; $DIR is the environment's folder
	apply func(*testing.T, *testEnv) // what the remedy says, where it is no command
}

var webMistakes = []webMistake{
	{name: "nginx passes no parameter", frontend: nginxFastCGI, edit: dropped("fastcgi.conf", "fastcgi_param"),
		code: "parameters-missing", names: "$DIR/run/location.conf"},
	{name: "nginx passes no REQUEST_METHOD", frontend: nginxFastCGI, edit: dropped("fastcgi.conf", "REQUEST_METHOD"),
		code: "parameters-missing", names: "fastcgi_param REQUEST_METHOD $request_method;"},
	{name: "nginx passes the same REQUEST_METHOD always", frontend: nginxFastCGI,
		edit: [][2]string{{"$request_method", "DELETE"}}, code: "parameters-missing", names: "$request_method"},
	{
		name:     "nginx passes no query",
		frontend: nginxFastCGI,
		edit:     dropped("fastcgi.conf", "REQUEST_URI", "QUERY_STRING"),
		code:     "query-lost",
		names:    "fastcgi_param REQUEST_URI $request_uri;",
	},
	{name: "nginx passes no path", frontend: nginxFastCGI, edit: dropped("fastcgi.conf", "REQUEST_URI", "SCRIPT_NAME"),
		code: "path-lost", names: "fastcgi_param REQUEST_URI $request_uri;"},
	{name: "nginx passes no client address", frontend: nginxFastCGI, edit: dropped("fastcgi.conf", "REMOTE_ADDR"),
		code: "client-address-missing", names: "$DIR/run/location.conf"},
	{name: "nginx passes its own address", frontend: nginxFastCGI,
		edit: [][2]string{{"REMOTE_ADDR       $remote_addr", "REMOTE_ADDR 127.0.0.1"}}, code: "client-address-missing",
		names: "$remote_addr"},
	{name: "nginx passes nothing that dockerauth does without", frontend: nginxFastCGI,
		edit: dropped(
			"fastcgi.conf",
			"QUERY_STRING",
			"CONTENT_TYPE",
			"CONTENT_LENGTH",
			"HTTPS",
			"REQUEST_SCHEME",
			"SERVER_",
			"GATEWAY_INTERFACE",
			"REMOTE_PORT",
			"SCRIPT_NAME",
		)},
	{name: "nginx passes no header", frontend: nginxFastCGI,
		edit: [][2]string{{"fastcgi_pass_request_headers on", "fastcgi_pass_request_headers off"}},
		code: "authorization-dropped", names: "$DIR/run/location.conf"},
	{name: "nginx passes no body", frontend: nginxFastCGI,
		edit: [][2]string{{"fastcgi_request_buffering    on;", "fastcgi_pass_request_body off;"}},
		code: "body-dropped", names: "$DIR/run/location.conf"},
	{name: "nginx replaces errors", frontend: nginxFastCGI,
		edit: [][2]string{{"fastcgi_intercept_errors     off;", "fastcgi_intercept_errors on; error_page 405 /no;"}},
		code: "errors-replaced", names: "$DIR/run/location.conf"},
	{name: "nginx knows another socket", frontend: nginxFastCGI, edit: [][2]string{{"unix:", "unix:/nowhere"}},
		code: "web-wrong-target", names: "$DIR/run/location.conf:10"},
	{name: "nginx was not reloaded", frontend: nginxFastCGI, edit: [][2]string{{"unix:", "unix:/nowhere"}},
		make: func(t *testing.T, s *testEnv) {
			time.Sleep(time.Second) // processes are dated by hundredths of a second after a whole second
			replaced("run/location.conf", "unix:/nowhere", "unix:")(t, s)
		}, code: "web-not-reloaded", names: "$DIR/run/location.conf"},
	{name: "nginx may not open the socket", frontend: nginxFastCGI, make: forRootOnly("run/fcgi.sock"),
		code: "web-socket-denied", names: "www-data"},
	{name: "nginx may not enter the folder of the socket", frontend: nginxFastCGI, make: forRootOnly("run"),
		code: "web-socket-denied", names: "chmod g+x $DIR/run"},
	{name: "nginx finds no service", frontend: nginxFastCGI, make: stopService,
		code: "web-target-dead", names: "--listen unix:$DIR/run/fcgi.sock", apply: startFastCGI},
	{name: "nginx passes no parameter to fcgiwrap", frontend: nginxFcgiwrap,
		edit: dropped("fcgiwrap.conf", "REQUEST_", "QUERY_STRING", "REMOTE_", "CONTENT_"),
		code: "parameters-missing", names: "$request_method"},
	{name: "fcgiwrap may not start the program", frontend: nginxFcgiwrap, make: notExecutable,
		code: "web-program-unusable", names: "chmod a+rx $DIR/dockerauth"},
	{name: "nginx finds no fcgiwrap", frontend: nginxFcgiwrap, make: stopFcgiwrap,
		code: "web-target-dead", names: "fcgiwrap", apply: func(t *testing.T, s *testEnv) {
			s.spawnFcgi(s.path("run/fcgiwrap.sock"), "/usr/sbin/fcgiwrap", "-f")
		}},
	{name: "nginx as a proxy keeps the client's address", frontend: nginxHTTP,
		edit: [][2]string{{"proxy_set_header   X-Forwarded-For $remote_addr;", ""}},
		code: "client-address-missing", names: "$DIR/run/location.conf"},
	{name: "nginx is no trusted proxy", frontend: nginxHTTP, make: func(t *testing.T, s *testEnv) {
		replaced("config.yml", "trusted_proxies: [127.0.0.1]\n", "")(t, s)
	}, code: "proxy-not-trusted", names: "$DIR/config.yml"},
	{name: "nginx as a proxy takes the path away", frontend: nginxHTTP,
		edit: [][2]string{{"rewrite    ^/dockerauth(/.*)$ $1 break;", "rewrite ^ / break;"}},
		code: "path-lost", names: "$DIR/run/location.conf",
		apply: replaced("run/location.conf", "rewrite ^ / break;", "")},
	{
		name:     "nginx as a proxy knows another port",
		frontend: nginxHTTP,
		edit:     [][2]string{{"proxy_pass http://", "proxy_pass http://127.0.0.1:1; #"}},
		code:     "web-wrong-target",
		names:    "127.0.0.1:1",
	},
	{name: "nginx speaks FastCGI to the HTTP front end", frontend: nginxHTTP,
		edit: [][2]string{{"proxy_pass http://", "fastcgi_pass "}},
		code: "web-wrong-protocol", names: "nginx/http.conf",
		apply: replaced("run/location.conf", "fastcgi_pass ", "proxy_pass http://")},
	{
		name:     "the URL is another one of dockerauth's",
		frontend: nginxFastCGI,
		path:     "/dockerauth/",
		code:     "url-wrong-path",
		names:    "dockerauth check --url http://127.0.0.1:",
		apply:    func(*testing.T, *testEnv) {},
	},

	{name: "Apache keeps a parameter", frontend: apacheProxyFcgi,
		edit: [][2]string{
			{"    CGIPassAuth On\n", "    CGIPassAuth On\n    ProxyFCGISetEnvIf \"true\" REQUEST_METHOD \"\"\n"},
		},
		code: "parameters-missing", names: "$DIR/run/httpd.conf"},
	{
		name:     "Apache knows another socket",
		frontend: apacheProxyFcgi,
		edit:     [][2]string{{"proxy:unix:", "proxy:unix:/nowhere"}},
		code:     "web-wrong-target",
		names:    "$DIR/run/httpd.conf",
	},
	{name: "Apache may not open the socket", frontend: apacheProxyFcgi, make: forRootOnly("run/fcgi.sock"),
		code: "web-socket-denied", names: "www-data"},
	{name: "Apache finds no service", frontend: apacheProxyFcgi, make: stopService,
		code: "web-target-dead", names: "--listen unix:$DIR/run/fcgi.sock", apply: startFastCGI},
	{name: "Apache may not start the program", frontend: apacheCGI, make: notExecutable,
		code: "web-program-unusable", names: "chmod a+rx $DIR/dockerauth"},
	{name: "Apache does not find the program", frontend: apacheCGI,
		edit: [][2]string{{"\"/docker/v2/token\"    \"", "\"/docker/v2/token\" \"/nowhere"}},
		code: "web-program-unusable", names: "$DIR/run/httpd.conf", apply: replaced("run/httpd.conf", "/nowhere", "")},
	{name: "Apache keeps Authorization from a service", frontend: apacheProxyFcgi, edit: noPassAuth,
		code: "authorization-dropped", names: "$DIR/run/httpd.conf"},
	{name: "Apache keeps Authorization from a program", frontend: apacheCGI, edit: noPassAuth,
		code: "authorization-dropped", names: "$DIR/run/httpd.conf"},
	{name: "Apache keeps Authorization from a FastCGI program", frontend: apacheFcgid, edit: noPassAuth,
		code: "authorization-dropped", names: "$DIR/run/httpd.conf"},
	{name: "Apache keeps Authorization from a folder", frontend: apacheHtaccess, edit: noPassAuth,
		code: "authorization-dropped", names: "$DIR/.htaccess"},

	{name: "HAProxy knows another socket", frontend: haproxyFastCGI, edit: [][2]string{{"unix@", "unix@/nowhere"}},
		code: "web-wrong-target", names: "$DIR/run/haproxy.cfg", apply: func(t *testing.T, s *testEnv) {
			replaced("run/haproxy.cfg", "/nowhere", "")(t, s)
			s.stopProcess(t, "haproxy")
			s.start("haproxy", s.asWeb(exec.Command("haproxy", "-db", "-f", s.path("run/haproxy.cfg"))))
		}},
	{name: "HAProxy may not open the socket", frontend: haproxyFastCGI, make: forRootOnly("run/fcgi.sock"),
		code: "web-socket-denied", names: "www-data"},
	{name: "HAProxy finds no service", frontend: haproxyFastCGI, make: stopService,
		code: "web-target-dead", names: "--listen unix:$DIR/run/fcgi.sock", apply: startFastCGI},

	{name: "Caddy knows another socket", frontend: caddyFastCGI, edit: [][2]string{{"unix/", "unix//nowhere"}},
		code: "web-wrong-target", names: "$DIR/run/Caddyfile", apply: func(t *testing.T, s *testEnv) {
			replaced("run/Caddyfile", "/nowhere", "")(t, s)
			s.stopProcess(t, "caddy")
			cmd := s.asWeb(exec.Command("caddy", "run", "--adapter", "caddyfile", "--config", s.path("run/Caddyfile")))
			cmd.Env = []string{"XDG_CONFIG_HOME=" + s.path("run"), "XDG_DATA_HOME=" + s.path("run")}
			s.start("caddy", cmd)
		}},
	{name: "Caddy may not open the socket", frontend: caddyFastCGI, make: forRootOnly("run/fcgi.sock"),
		code: "web-socket-denied", names: "www-data"},
	{name: "Caddy finds no service", frontend: caddyFastCGI, make: stopService,
		code: "web-target-dead", names: "--listen unix:$DIR/run/fcgi.sock", apply: startFastCGI},

	{name: "lighttpd knows another socket", frontend: lighttpdFastCGI,
		edit: [][2]string{{`"socket"          => "`, `"socket"          => "/nowhere`}},
		code: "web-wrong-target", names: "$DIR/run/lighttpd.conf"},
	{name: "lighttpd may not open the socket", frontend: lighttpdFastCGI, make: forRootOnly("run/fcgi.sock"),
		code: "web-socket-denied", names: "www-data"},
	{name: "lighttpd finds no service", frontend: lighttpdFastCGI, make: stopService,
		code: "web-target-dead", names: "--listen unix:$DIR/run/fcgi.sock", apply: startFastCGI},
}

var noPassAuth = [][2]string{{"CGIPassAuth On", "# CGIPassAuth On"}}

// TestCheckTakesTheCauseFromTheWebServer makes each mistake, looks at the finding, and applies its
// remedy as printed.
func TestCheckTakesTheCauseFromTheWebServer(t *testing.T) {
	for _, m := range webMistakes {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			s := openFrontend(t, m.frontend, envOptions{}, m.edit...)
			if m.make != nil {
				m.make(t, s)
			}
			path := m.path
			if path == "" {
				path = s.mounts[0] + "/docker/v2/token"
			}
			if m.code == "" {
				s.checkURL(t, path).expectCodes(t)
				return
			}
			r := s.checkURLAs(t, m.frontend, path)
			r.expectCodes(t, m.code)
			names := strings.ReplaceAll(m.names, "$DIR", s.dir)
			i := slices.IndexFunc(r.findings, func(f finding) bool { return f.Code == m.code })
			if i < 0 || t.Failed() {
				return
			}
			if f := r.findings[i]; !strings.Contains(f.What+f.Why+f.Remedy, names) {
				t.Errorf("%q is not named: %+v", names, f)
			}
			if m.apply != nil {
				m.apply(t, s)
				s.reload(t, m.frontend)
			} else if o := run(t, "", exec.Command("sh", "-c", r.findings[i].Remedy)); o.status != 0 {
				t.Fatalf("the remedy does not work: %v", o)
			}
			if m.path != "" {
				return
			}
			eventually(t, 10*time.Second, "check to find nothing after: "+r.findings[i].Remedy, func() bool {
				return len(s.checkURLAs(t, m.frontend, path).codes()) == 0
			})
		})
	}
}

// checkURLAs runs check as the user that the web server was started by: root believes only its own.
func (s *testEnv) checkURLAs(t *testing.T, th frontend, path string) findingsReport {
	t.Helper()
	cmd := exec.Command(binary(t), "check", "--json", "--config", s.configFile, "--url", "http://"+s.address+path)
	switch th.name {
	case caddyFastCGI.name, haproxyFastCGI.name, lighttpdFastCGI.name:
		cmd = s.asWeb(cmd)
	}
	return examine(t, cmd, "", "url")
}

// codes are those of warnings and errors.
func (r findingsReport) codes() (codes []string) {
	for _, f := range r.findings {
		if f.Code != "" {
			codes = append(codes, f.Code)
		}
	}
	return codes
}

func (r findingsReport) expectCodes(t *testing.T, codes ...string) {
	t.Helper()
	if got := r.codes(); !slices.Equal(got, codes) {
		t.Errorf("check finds %q, want %q\n%s", got, codes, r.stdout)
	}
}

// dropped are edits that take lines with one of the words out of an example for nginx.
func dropped(example string, words ...string) (edits [][2]string) {
	text, err := os.ReadFile("../packaging/nginx/" + example)
	if err != nil {
		panic(err)
	}
	for line := range strings.Lines(string(text)) {
		for _, word := range words {
			if strings.HasPrefix(line, "    fastcgi_param ") && strings.Contains(line, " "+word) {
				edits = append(edits, [2]string{line, ""})
			}
		}
	}
	if len(edits) < len(words) {
		panic(example + " lacks some of " + strings.Join(words, " "))
	}
	return edits
}

// replaced changes a file of the environment.
func replaced(name, old, new string) func(*testing.T, *testEnv) {
	return func(t *testing.T, s *testEnv) {
		text := readFile(t, s.path(name))
		if !strings.Contains(text, old) {
			t.Fatalf("%s has no %q", name, old)
		}
		if err := os.WriteFile(s.path(name), []byte(strings.ReplaceAll(text, old, new)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func forRootOnly(name string) func(*testing.T, *testEnv) {
	return func(t *testing.T, s *testEnv) {
		needRoot(t, "a file that the web server may not open")
		mustRun(t, "chown", "root:root", s.path(name))
		mustRun(t, "chmod", "0700", s.path(name))
	}
}

func stopService(t *testing.T, s *testEnv) { s.service.stop(t) }

func startFastCGI(_ *testing.T, s *testEnv) { s.serveFastCGI() }

// stopProcess stops a program of the front end.
func (s *testEnv) stopProcess(t *testing.T, name string) {
	for _, p := range s.procs {
		if strings.Contains(p.name, name) {
			p.stop(t)
		}
	}
}

func stopFcgiwrap(t *testing.T, s *testEnv) {
	s.stopProcess(t, "fcgiwrap")
	_ = os.Remove(s.path("run/fcgiwrap.sock"))
}

// notExecutable makes the program a file of its own first: it is a link to that of all tests.
func notExecutable(t *testing.T, s *testEnv) {
	mustRun(t, "cp", "--remove-destination", binary(t), s.program)
	mustRun(t, "chmod", "0644", s.program)
}

// reload makes the web server read its configuration again.
func (s *testEnv) reload(t *testing.T, th frontend) {
	for _, p := range s.procs {
		switch p.name {
		case "nginx":
			mustRun(t, "sh", "-c", "kill -HUP $(cat "+s.path("run/nginx.pid")+")")
		case "apache2":
			mustRun(t, "sh", "-c", "kill -USR1 $(cat "+s.path("run/httpd.pid")+")")
		}
	}
}
