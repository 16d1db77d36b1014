package e2e

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// An rpm system is the one thing missing here. The rpm is read, installed beside a Debian root with
// its scripts, and erased.
func TestTheRpmIsInstalledAndErased(t *testing.T) {
	t.Parallel()
	needRoot(t, "rpm --root")
	need(t, "rpm (Debian: rpm, mmdebstrap)", "rpm", "mmdebstrap")
	file := packageFile(t, olderVersion, ".rpm")
	for _, c := range []struct {
		query string
		lines []string // regular expressions
	}{
		{"-qpl", []string{"/usr/bin/dockerauth", "/usr/lib/systemd/system/dockerauth.service",
			"/usr/lib/systemd/system/dockerauth.socket",
			"/usr/lib/systemd/system/dockerauth.service.d/00-rpm.conf",
			"/usr/lib/systemd/system/dockerauth.socket.d/00-rpm.conf", "/etc/httpd/dockerauth.conf",
			"/etc/nginx/dockerauth.conf",
			"/usr/share/man/man1/dockerauth.1.gz", "/usr/share/man/man5/dockerauth-config.5.gz",
			"/usr/share/licenses/dockerauth/LICENSE"}},
		{"-qpc", []string{"/etc/dockerauth/config.yml", "/etc/pam.d/dockerauth", "/etc/httpd/dockerauth.conf",
			"/etc/nginx/dockerauth.conf", "/etc/logrotate.d/dockerauth"}},
		{"-qplv", []string{`-rwxr-xr-x .* root +root .* /usr/bin/dockerauth`,
			`-rw-r--r-- .* root +root .* /etc/dockerauth/config.yml`}},
		{"-qpi", []string{`Version +: 1\.0\.0~e2e`, `Architecture: .*`}},
	} {
		o := run(t, "", exec.Command("rpm", c.query, file))
		for _, line := range c.lines {
			if !regexp.MustCompile(`(?m)^` + line + `$`).MatchString(o.stdout) {
				t.Errorf("%s shows no %s: %v", c.query, line, o)
			}
		}
	}
	// Only Apache's folder conf.d is read without a word of the administrator.
	if o := run(t, "", exec.Command("rpm", "-qpl", file)); strings.Contains(o.stdout, "/etc/httpd/conf.d/") {
		t.Errorf("httpd reads a file of the package at its next reload: %v", o)
	}
	root := filepath.Join(shortDir(t), "root")
	mustRun(t, "mkdir", "-m", "0755", root)
	archive, err := debianMachine{release: "bookworm", ready: webServers}.archive()
	if err != nil {
		t.Fatal(err)
	}
	mustRun(t, "tar", "-C", root, "-xpf", archive)
	rpm := func(args ...string) []string {
		o := run(t, "", exec.Command("rpm", append([]string{"--root", root, "--dbpath", "/var/lib/rpm"}, args...)...))
		o.must(t)
		return packageLines.FindAllString(o.stdout+o.stderr, -1)
	}
	says(t, rpm("-i", "--nodeps", "--ignorearch", file), sayNext)
	inRoot := func(args ...string) output {
		return run(t, "", exec.Command("chroot", append([]string{root}, args...)...))
	}
	if o := inRoot("/usr/bin/dockerauth", "version"); o.stdout != "dockerauth "+olderVersion+"\n" {
		t.Error(o)
	}
	for file, want := range map[string]string{"/var/lib/dockerauth": "dockerauth:dockerauth 700",
		"/var/log/dockerauth": "dockerauth:dockerauth 750"} {
		if o := inRoot("stat", "-c", "%U:%G %a", file); strings.TrimSpace(o.stdout) != want {
			t.Errorf("%s: %v, want %s", file, o, want)
		}
	}
	httpd := readFile(t, filepath.Join(root, "etc/httpd/dockerauth.conf"))
	if strings.Contains(httpd, "/usr/lib/apache2") ||
		!strings.Contains(httpd, "LoadModule proxy_fcgi_module modules/mod_proxy_fcgi.so") {
		t.Errorf("Apache's modules are elsewhere there:\n%s", httpd)
	}
	// Fedora has no group shadow, and a unit with a missing group does not start.
	if got := readFile(t, filepath.Join(root,
		"usr/lib/systemd/system/dockerauth.service.d/00-rpm.conf")); !strings.HasSuffix(got,
		"[Service]\nSupplementaryGroups=\n") {
		t.Error(got)
	}
	// nginx and httpd do not start if a file that they include is missing.
	included := map[string]string{"etc/nginx/dockerauth.conf": "etc/nginx/conf.d/site.conf",
		"etc/httpd/dockerauth.conf": "etc/httpd/conf.d/site.conf"}
	writeFile(t, filepath.Join(root, "etc/nginx/conf.d/site.conf"), "server {\n    include dockerauth.conf;\n}\n",
		0o644)
	writeFile(t, filepath.Join(root, "etc/httpd/conf.d/site.conf"), "\nInclude dockerauth.conf\n", 0o644)
	says(t, rpm("-e", "dockerauth"),
		"dockerauth: left a file of comments, /etc/httpd/dockerauth.conf: a web server does not start without it",
		"  fix: delete the include in /etc/httpd/conf.d/site.conf, line 2, then: rm /etc/httpd/dockerauth.conf",
		"dockerauth: left a file of comments, /etc/nginx/dockerauth.conf: a web server does not start without it",
		"  fix: delete the include in /etc/nginx/conf.d/site.conf, line 2, then: rm /etc/nginx/dockerauth.conf")
	for _, gone := range []string{"/usr/bin/dockerauth", "/usr/lib/systemd/system/dockerauth.service.d",
		"/etc/pam.d/dockerauth"} {
		if found(root + gone) {
			t.Errorf("%s is still there", gone)
		}
	}
	says(t, rpm("-i", "--nodeps", "--ignorearch", file), sayNext)
	for file, site := range included {
		if got := readFile(t, filepath.Join(root, file)); !strings.Contains(got, "/run/dockerauth/dockerauth.sock") {
			t.Errorf("installed again, %s has\n%s", file, got)
		}
		mustRun(t, "rm", filepath.Join(root, site))
	}
	says(t, rpm("-e", "dockerauth"))
	for file := range included {
		if found(filepath.Join(root, file)) {
			t.Errorf("%s is still there, and nothing includes it", file)
		}
	}
}

// rpm's own build adds what its tool elfdeps finds in a program.
func TestTheRpmRequiresItsLibraries(t *testing.T) {
	t.Parallel()
	const elfdeps = "/usr/lib/rpm/elfdeps"
	need(t, "rpm (Debian: rpm)", "rpm", elfdeps)
	for arch, name := range map[string]string{"amd64": "x86_64", "arm64": "aarch64"} {
		want := strings.Fields(run(t, "", exec.Command(elfdeps, "--requires", releasedProgram(t, arch))).must(t))
		file := filepath.Join(releaseFolder(t), "dockerauth-"+releaseVersion+"-1."+name+".rpm")
		got := strings.Fields(run(t, "", exec.Command("rpm", "-qp", "--requires", file)).must(t))
		for _, library := range append(want, "libc.so.6()(64bit)", "libpam.so.0(LIBPAM_1.0)(64bit)") {
			if !slices.Contains(got, library) {
				t.Errorf("%s: does not require %s, only %q", arch, library, got)
			}
		}
		for _, library := range got {
			if strings.Contains(library, "(64bit)") && !slices.Contains(want, library) {
				t.Errorf("%s: requires %s, which the program does not use", arch, library)
			}
		}
	}
}
