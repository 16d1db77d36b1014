package e2e

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

var lighttpdFastCGI = frontend{
	name:  "lighttpd",
	needs: []string{"lighttpd"},
	open: func(t testing.TB, s *testEnv) {
		sock := s.serveFastCGI()
		s.lighttpd(s.shipped("packaging/lighttpd/dockerauth.conf", "/run/dockerauth/dockerauth.sock", sock))
		s.mounts = []string{"", "/dockerauth"}
		s.homes = []string{"/dockerauth/"}
	},
	ownAnswers: map[string]want{
		"an invented method is not allowed":  {status: 501, html: true},
		"10,000 scopes in a query":           {status: 431, html: true}, // server.max-request-field-size
		"a header of 100 KB":                 {status: 431, html: true},
		"a Host that is no host":             {status: 400, html: true}, // server.http-parseopts, host-strict
		"a Host with a path in it":           {status: 400, html: true},
		"an empty Host":                      {status: 400, html: true},
		"a bad escape in the path":           {status: 404, html: true},
		"an absolute URL":                    {status: 400, html: true},
		"the body of a GET is not looked at": {status: 400, html: true}, // method-get-body
		"a NUL in the path":                  {status: 400, html: true},
	},
}

func (s *testEnv) lighttpd(conf string) {
	s.t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "server.bind = \"127.0.0.1\"\nserver.port = %d\nserver.document-root = \"%s/www\"\n"+
		"server.upload-dirs = ( \"%[2]s/tmp\" )\nserver.errorlog = \"%[2]s/run/lighttpd.log\"\n", s.listen(), s.dir)
	if s.web != nil {
		fmt.Fprintf(&b, "server.username = %q\nserver.groupname = %[1]q\n", s.web.name)
	}
	b.WriteString(conf)
	file := s.write("run/lighttpd.conf", b.String())
	s.logs = append(s.logs, s.path("run/lighttpd.log"))
	s.start("lighttpd", exec.Command("lighttpd", "-D", "-f", file)).ready(s.t, "tcp", s.address)
}
