package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const apacheModules = "/usr/lib/apache2/modules/"

// apacheNeeds are files of the Debian packages apache2 and libapache2-mod-fcgid.
var (
	apacheNeeds      = []string{"apache2", apacheModules + "mod_cgid.so", apacheModules + "mod_rewrite.so"}
	apacheFcgidNeeds = append([]string{apacheModules + "mod_fcgid.so"}, apacheNeeds...)
	apacheProxyNeeds = append([]string{apacheModules + "mod_proxy_fcgi.so"}, apacheNeeds...)
)

var (
	apacheCGI   = apacheProgram("Apache cgi-bin", apacheNeeds, "cgid", "packaging/apache/cgi-bin.conf")
	apacheFcgid = apacheProgram("Apache mod_fcgid", apacheFcgidNeeds, "fcgid", "packaging/apache/fcgid.conf")
)

// apacheProgram is an Apache whose module starts the program.
func apacheProgram(name string, needs []string, module, example string) frontend {
	return frontend{name: name, needs: needs, ownAnswers: apacheAnswers, open: func(t testing.TB, s *testEnv) {
		if module == "fcgid" {
			s.processes = 8 // FcgidMaxProcessesPerClass
		}
		s.apache(module, s.shipped(example, "/usr/lib/cgi-bin", s.dir))
		s.mounts = []string{"", "/cgi-bin/dockerauth"}
		s.homes = []string{"/cgi-bin/dockerauth/"}
	}}
}

var apacheProxyFcgi = frontend{
	name:  "Apache mod_proxy_fcgi",
	needs: apacheProxyNeeds,
	open: func(t testing.TB, s *testEnv) {
		sock := s.serveFastCGI()
		// The file loads mod_proxy and mod_proxy_fcgi itself.
		s.apache("", s.shipped("packaging/apache/proxy-fcgi.conf", "/run/dockerauth/dockerauth.sock", sock))
		s.mounts = []string{"", "/dockerauth"}
		s.homes = []string{"/dockerauth/"}
	},
	ownAnswers: apacheAnswers,
}

// dropInOverride is the AllowOverride that the top of the drop-in file names.
const dropInOverride = "FileInfo AuthConfig Options=ExecCGI"

var apacheHtaccess = frontend{
	name:  "Apache .htaccess",
	needs: apacheNeeds,
	open: func(t testing.TB, s *testEnv) {
		s.dropIn(dropInOverride, false)
	},
	ownAnswers: with(apacheAnswers, map[string]want{
		// The drop-in answers only for its own two names, like the PHP service before it.
		"another path is not found":            {status: 404, html: true},
		"the endpoint is not more than itself": {status: 404, html: true},
	}),
}

// dropIn serves the environment's whole folder, like the PHP service's: program, configuration, key
// and log are in it. Its URLs are a folder below the document root, with a space in its name, and
// an Alias. atRoot makes it the document root instead.
func (s *testEnv) dropIn(override string, atRoot bool) {
	s.t.Helper()
	s.write(".htaccess", s.shipped("htaccess.example"))
	s.mounts = []string{"/registry%20login", "/aliased"}
	s.homes = []string{"/registry%20login/", "/aliased/"}
	root := shortDir(s.t)
	if err := os.Chmod(root, 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Symlink(s.dir, filepath.Join(root, "registry login")); err != nil {
		s.t.Fatal(err)
	}
	if atRoot {
		root, s.mounts, s.homes = s.dir, []string{""}, []string{"/"}
	}
	allow := fmt.Sprintf("    AllowOverride %s\n    Require all granted\n</Directory>\n", override)
	conf := fmt.Sprintf("Alias \"/aliased\" \"%s\"\n<Directory \"%[1]s\">\n%s<Directory \"%s/registry login\">\n%[2]s",
		s.dir, allow, root)
	s.apache("cgid", conf, "DocumentRoot "+root)
}

// apache starts the smallest server that serves conf. modules are loaded in addition to those of
// every Apache on Debian.
func (s *testEnv) apache(modules, conf string, more ...string) {
	s.t.Helper()
	s.apacheAt(s.listen(), modules, conf, more...)
}

func (s *testEnv) apacheAt(port int, modules, conf string, more ...string) {
	s.t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "ServerRoot %s\nServerName localhost\nListen 127.0.0.1:%d\n", s.dir, port)
	// A child that crashes is a notice of the core.
	fmt.Fprintf(&b, "PidFile run/httpd.pid\nErrorLog run/error.log\nLogLevel warn core:notice\n"+
		"DefaultRuntimeDir %s/run\nMutex file:%[1]s/run default\n", s.dir)
	if len(more) == 0 {
		more = []string{"DocumentRoot " + s.path("www")}
	}
	b.WriteString(strings.Join(more, "\n") + "\n")
	if s.web != nil {
		fmt.Fprintf(&b, "User %s\nGroup %[1]s\n", s.web.name)
	}
	for _, m := range strings.Fields("mpm_event authz_core alias rewrite dir " + modules) {
		fmt.Fprintf(&b, "LoadModule %s_module %smod_%[1]s.so\n", m, apacheModules)
	}
	if modules == "cgid" {
		fmt.Fprintf(&b, "ScriptSock %s/run/cgid.sock\n", s.dir)
	}
	if modules == "fcgid" {
		fmt.Fprintf(&b, "FcgidIPCDir %s/ipc\nFcgidProcessTableFile %[1]s/run/fcgid_shm\n", s.dir)
	}
	if s.proxied {
		fmt.Fprintf(&b, "LoadModule remoteip_module %smod_remoteip.so\nRemoteIPHeader X-Forwarded-For\n"+
			"RemoteIPInternalProxy 127.0.0.1\n", apacheModules)
	}
	b.WriteString("<Directory />\n    AllowOverride None\n    Require all denied\n</Directory>\n")
	b.WriteString(conf)
	file := s.write("run/httpd.conf", b.String())
	s.logs = append(s.logs, s.path("run/error.log"))
	s.t.Cleanup(func() {
		if text, err := os.ReadFile(s.path("run/error.log")); err == nil && s.t.Failed() {
			s.t.Logf("the end of Apache's error log:\n%s", tail(string(text), 25))
		}
	})
	s.start("apache2", exec.Command("apache2", "-f", file, "-D", "FOREGROUND")).ready(s.t, "tcp", s.address)
}

// apacheAnswers are httpd's own answers to requests that RFC 9110 lets it refuse.
var apacheAnswers = map[string]want{
	"10,000 scopes in a query": {status: 414, html: true}, // LimitRequestLine
	"a header of 100 KB":       {status: 400, html: true}, // LimitRequestFieldSize
	"a Host that is no host":   {status: 400, html: true}, // HttpProtocolOptions Strict
	"a Host with a path in it": {status: 400, html: true},
	"an empty Host":            {status: 400, html: true},
	"a bad escape in the path": {status: 400, html: true},
	"a NUL in the path":        {status: 404, html: true},
}
