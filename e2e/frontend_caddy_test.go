package e2e

import (
	"os/exec"
	"testing"
)

// Debian package: caddy.
var caddyFastCGI = frontend{
	name:  "Caddy with FastCGI",
	needs: []string{"caddy"},
	open: func(t testing.TB, s *testEnv) {
		sock := s.serveFastCGI()
		s.listen()
		s.mounts = []string{"", "/dockerauth"}
		s.homes = []string{"/dockerauth/"}
		options := "{\n\tadmin off\n\tauto_https off\n}\n"
		site := s.shipped("packaging/caddy/Caddyfile", "/run/dockerauth/dockerauth.sock", sock,
			"auth.example.com", "http://:"+s.address[len("127.0.0.1:"):])
		file := s.write("run/Caddyfile", options+site)
		cmd := s.asWeb(exec.Command("caddy", "run", "--adapter", "caddyfile", "--config", file))
		cmd.Env = []string{"XDG_CONFIG_HOME=" + s.path("run"), "XDG_DATA_HOME=" + s.path("run")}
		s.start("caddy", cmd).ready(t, "tcp", s.address)
	},
	ownAnswers: map[string]want{
		// Twice in the parameters, as REQUEST_URI and QUERY_STRING: dockerauth's own answer.
		"10,000 scopes in a query": {status: 431, code: "HEADERS_TOO_LARGE", silent: true},
		"a Host that is no host":   {status: 400, html: true},
		"a Host with a path in it": {status: 400, html: true},
		"a bad escape in the path": {status: 400, html: true},
		"a NUL in the path":        {status: 404, code: "UNKNOWN", web: true},
	},
}
