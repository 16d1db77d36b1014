package e2e

import (
	"os/exec"
	"testing"
)

// Debian package: haproxy.
var haproxyFastCGI = frontend{
	name:  "HAProxy with FastCGI",
	needs: []string{"haproxy"},
	open: func(t testing.TB, s *testEnv) {
		sock := s.serveFastCGI()
		s.listen()
		s.mounts = []string{"", "/dockerauth"}
		s.homes = []string{"/dockerauth/"}
		file := s.write("run/haproxy.cfg", s.shipped("packaging/haproxy/fcgi.cfg",
			"unix@/run/dockerauth/dockerauth.sock", "unix@"+sock,
			":443 ssl crt /etc/haproxy/auth.example.com.pem", s.address))
		s.start("haproxy", s.asWeb(exec.Command("haproxy", "-db", "-f", file))).ready(t, "tcp", s.address)
	},
	ownAnswers: map[string]want{
		// The buffer has 16 KiB.
		"a chunked body over 64 KiB is too large": {status: 400, code: "BAD_REQUEST", web: true},
		"10,000 scopes in a query":                {status: 400, html: true},
		"a header of 100 KB":                      {status: 400, html: true},
		"an absolute URL":                         {status: 400, html: true}, // the Host field has another host
		"a bad escape in the path":                {status: 500, code: "UNKNOWN", web: true},
	},
}
