package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// Debian packages: nginx-light, fcgiwrap, spawn-fcgi.
var nginxFcgiwrap = frontend{
	name:  "nginx with fcgiwrap",
	needs: []string{"nginx", "/usr/sbin/fcgiwrap", "spawn-fcgi"},
	open: func(t testing.TB, s *testEnv) {
		sock := s.path("run/fcgiwrap.sock")
		s.spawnFcgi(sock, "/usr/sbin/fcgiwrap", "-c", "4", "-f")
		s.nginx("packaging/nginx/fcgiwrap.conf", "/run/fcgiwrap.socket", sock, "/usr/lib/cgi-bin/dockerauth", s.program)
	},
	ownAnswers: nginxAnswers,
}

var nginxSpawnFcgi = frontend{
	name:  "nginx with FastCGI, spawn-fcgi",
	needs: []string{"nginx", "spawn-fcgi"},
	open: func(t testing.TB, s *testEnv) {
		sock := s.path("run/fcgi.sock")
		s.service = s.spawnFcgi(sock, s.program)
		s.nginx("packaging/nginx/fastcgi.conf", "/run/dockerauth/dockerauth.sock", sock)
	},
	ownAnswers: nginxAnswers,
}

var nginxFastCGI = frontend{
	name:  "nginx with FastCGI, dockerauth fastcgi --listen",
	needs: []string{"nginx"},
	open: func(t testing.TB, s *testEnv) {
		sock := s.serveFastCGI()
		s.nginx("packaging/nginx/fastcgi.conf", "/run/dockerauth/dockerauth.sock", sock)
	},
	ownAnswers: nginxAnswers,
}

var nginxSystemd = frontend{
	name:  "nginx with FastCGI, systemd socket",
	needs: []string{"nginx", "systemd-socket-activate"},
	open: func(t testing.TB, s *testEnv) {
		sock := s.path("run/fcgi.sock")
		s.service = s.start("systemd-socket-activate",
			s.asWeb(exec.Command("systemd-socket-activate", "-l", sock, s.program, "fastcgi")))
		// No test connection: systemd-socket-activate becomes dockerauth at the first connection,
		// which must be nginx's.
		s.service.until(t, "make its socket", func() bool { return found(sock) })
		s.nginx("packaging/nginx/fastcgi.conf", "/run/dockerauth/dockerauth.sock", sock)
	},
	ownAnswers: nginxAnswers,
}

var nginxHTTP = frontend{
	name:  "nginx with the HTTP front end",
	needs: []string{"nginx"},
	open: func(t testing.TB, s *testEnv) {
		address := fmt.Sprintf("127.0.0.1:%d", freePort(t))
		s.serve("http", "--listen", address).ready(t, "tcp", address)
		s.nginx("packaging/nginx/http.conf", "127.0.0.1:5002", address)
	},
	ownAnswers: nginxAnswers,
}

// spawnFcgi starts a program as the web user, with the listening socket as file descriptor 0.
func (s *testEnv) spawnFcgi(sock string, program ...string) *process {
	s.t.Helper()
	args := append([]string{"-n", "-s", sock, "-M", "0660", "--"}, program...)
	p := s.start("spawn-fcgi "+program[0], s.asWeb(exec.Command("spawn-fcgi", args...)))
	p.ready(s.t, "unix", sock)
	return p
}

// nginx starts the smallest server that includes a shipped example.
func (s *testEnv) nginx(example string, replace ...string) {
	s.t.Helper()
	s.mounts = []string{"", "/dockerauth"}
	s.homes = []string{"/dockerauth/"}
	s.nginxWith(s.shipped(example, replace...))
}

// nginxWith starts the smallest server that has these lines in its server block.
func (s *testEnv) nginxWith(lines string) {
	s.t.Helper()
	include := s.write("run/location.conf", lines)
	realIP := ""
	if s.proxied {
		realIP = "set_real_ip_from 127.0.0.1;\nreal_ip_header X-Forwarded-For;\n"
	}
	server := fmt.Sprintf("server {\nlisten 127.0.0.1:%d;\nserver_name localhost;\nroot %s/www;\ninclude %s;\n}\n",
		s.listen(), s.dir, include)
	s.logs = append(s.logs, s.path("run/nginx.log"))
	s.startNginx(realIP+server, s.address)
}

// startNginx starts nginx with lines in its http block, and waits until it listens.
func (s *testEnv) startNginx(lines, address string) {
	s.t.Helper()
	var b strings.Builder
	if s.web != nil {
		fmt.Fprintf(&b, "user %s;\n", s.web.name)
	}
	fmt.Fprintf(&b, "daemon off;\nworker_processes 1;\nworker_rlimit_nofile 8192;\npid run/nginx.pid;\n"+
		"error_log %s/run/nginx.log;\nevents { worker_connections 4096; }\nhttp {\naccess_log off;\n", s.dir)
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&b, "%s_temp_path %s/tmp/%[1]s;\n", kind, s.dir)
	}
	file := s.write("run/nginx.conf", b.String()+lines+"}\n")
	s.start("nginx", exec.Command("nginx", "-p", s.dir, "-c", file)).ready(s.t, "tcp", address)
}

var nginxAnswers = map[string]want{
	// client_max_body_size; the shipped examples make the answer JSON.
	"a body of 10 MB is too large": {status: 413, code: "TOO_LARGE", web: true},
	"10,000 scopes in a query":     {status: 414, html: true}, // large_client_header_buffers
	"a header of 100 KB":           {status: 400, html: true},
	"a Host that is no host":       {status: 400, html: true},
	"a Host with a path in it":     {status: 400, html: true},
	"an empty Host":                {status: 400, html: true},
	"a bad escape in the path":     {status: 400, html: true},
	"a NUL in the path":            {status: 400, html: true},
}

// awaitFile waits for a file that another program makes.
func awaitFile(t testing.TB, path string) {
	t.Helper()
	eventually(t, 20*time.Second, path, func() bool { _, err := os.Stat(path); return err == nil })
}
