package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// packageIssuer and packageAudience are arguments of "dockerauth init" in the machine.
const (
	packageIssuer   = "auth.example.com"
	packageAudience = "registry.example.com"
	packageRealm    = "http://localhost/docker/v2/token"
)

// These tests install the package on a clean Debian like a new user, log in behind Apache and
// nginx, upgrade, remove, purge and install it again, and then use the archive instead. The machine
// runs systemd, so the units' restrictions apply.
func TestTheDebianPackageOnDebian12(t *testing.T) {
	fromFirstToLast(t, debianMachine{release: "bookworm", ready: webServers})
}

// Debian 13 has its own lintian.
func TestTheDebianPackageOnDebian13(t *testing.T) {
	fromFirstToLast(t, debianMachine{release: "trixie", installed: []string{"lintian"}, ready: webServers},
		step{"lintian finds nothing", lintianFindsNothing})
}

// step is a part of a test that needs the parts before it.
type step struct {
	name string
	run  func(*testing.T, *debian)
}

func fromFirstToLast(t *testing.T, image debianMachine, first ...step) {
	t.Parallel()
	older, newer := packageFile(t, olderVersion, ".deb"), packageFile(t, newerVersion, ".deb")
	m := bootDebian(t, image)
	// Not below /tmp, which may be a file system in memory.
	mustRun(t, "cp", older, m.path("srv/older.deb"))
	mustRun(t, "cp", newer, m.path("srv/newer.deb"))
	for _, step := range append(first, []step{
		{"without a web server it is installed, and purged without a trace", installAndPurgeAlone},
		{"five commands to the first login", fiveCommands},
		{"check warns of nothing", checkWarnsOfNothing},
		{"the journal has each line with its priority", journalPriorities},
		{"files have their owners and modes", ownersAndModes},
		{"systemd finds nothing wrong with the units", verifyUnits},
		{"the service runs with the rights of its unit and no others", confinement},
		{"no system call that it needs is forbidden", forbiddenCallsKill},
		{"a service without access to the hashes refuses no password as wrong", withoutTheRight},
		{"Apache can also be restarted", restartApache},
		{"check without flags finds what runs, and its remedies work", checkFindsWhatRuns},
		{"nginx takes its snippet, and a virtual host of Apache takes the file", otherSites},
		{"logrotate takes the log away, and the service begins a new one", rotateLog},
		{"an upgrade keeps configuration and socket, and runs the new program", upgrade},
		{"what is removed is gone, and configuration and key are kept", remove},
		{"what is purged leaves the user, and web servers that start", purge},
		{"installed again, it answers 503 until there is a configuration", unusableUntilInit},
		{"what purge says to delete leaves nothing", purgeWithoutATrace},
		{"the archive is a drop-in for a folder of a web site", dropInArchive},
		{"the service is set up by hand", serviceByHand},
		{"dockerauth http behind a proxy", httpBehindAProxy},
	}...) {
		if !t.Run(step.name, func(t *testing.T) { m.t = t; step.run(t, m) }) {
			break
		}
	}
	m.t = t
}

func lintianFindsNothing(t *testing.T, m *debian) {
	if o := m.do("lintian", "--fail-on", "error,warning", "/srv/newer.deb"); o.status != 0 || o.stdout != "" {
		t.Error(o)
	}
}

// apt installs without a network, and returns what the package says. Nobody answers a question, so
// dpkg would fail if it asked one.
func (m *debian) apt(args ...string) (said []string) {
	m.t.Helper()
	o := m.do(append([]string{"apt-get", "-y", "-o", "Acquire::Retries=0", "-o", "Dpkg::Use-Pty=0"},
		args...)...)
	o.must(m.t)
	if strings.Contains(o.stdout+o.stderr, "dpkg: warning") {
		m.t.Errorf("dpkg warns: %v", o)
	}
	return packageLines.FindAllString(o.stdout+o.stderr, -1)
}

// packageLines are the lines that the package's own scripts print.
var packageLines = regexp.MustCompile(`(?m)^(?:dockerauth: |  fix: ).*$`)

// sayNext is the line after an installation without a key.
const sayNext = "dockerauth: next, with your own names: " +
	"dockerauth init --issuer auth.example.com --audience registry.example.com"

// says compares what the package has said.
func says(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("the package says\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// writtenBySystem are the files that every installation changes: data of dpkg and apt, copies of
// the account files, logs.
var writtenBySystem = regexp.MustCompile(
	`^/(var/(lib/(dpkg|apt|systemd)|cache|log/(apt|dpkg\.log|alternatives\.log|lastlog|faillog|wtmp|btmp))\b|` +
		`etc/(passwd|group|shadow|gshadow)-$|etc/\.pwd\.lock$|tmp/|var/tmp/)`)

func installAndPurgeAlone(t *testing.T, m *debian) {
	m.apt("install", "adduser") // it is needed, and stays
	before := m.files()
	says(t, m.apt("install", "--no-install-recommends", "/srv/older.deb"), sayNext)
	if got := m.must("dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n"); strings.Contains(got,
		"apache2 installed") || strings.Contains(got, "nginx installed") {
		t.Fatalf("there is a web server, so this shows nothing:\n%s", got)
	}
	if got := strings.TrimSpace(m.must("systemctl", "is-active", "dockerauth.socket")); got != "active" {
		t.Errorf("the socket is %s", got)
	}
	says(t, m.apt("purge", "dockerauth"))
	for file := range m.files() {
		if !before[file] && !writtenBySystem.MatchString(file) {
			t.Errorf("left behind: %s", file)
		}
	}
	if got := m.must("getent", "passwd", "dockerauth"); !strings.Contains(got, "nologin") {
		t.Errorf("the user is %q, want it kept, without a login", got)
	}
}

// fiveCommands runs the README's commands, of which "docker login" is the fifth. The package has
// another path, and there is no TLS here.
func fiveCommands(t *testing.T, m *debian) {
	commands := documentedCommands(t, "machine", "package")
	if len(commands) != 4 {
		t.Fatalf("the README has %d commands before the login: %q", len(commands), commands)
	}
	here := strings.NewReplacer("apt install ./dockerauth_*.deb",
		"apt-get -y -o Acquire::Retries=0 install /srv/older.deb", "dockerauth init",
		"dockerauth init --realm "+packageRealm)
	for _, command := range commands {
		o := m.do("sh", "-c", here.Replace(command))
		if o.status != 0 {
			t.Fatalf("%s: %v", command, o)
		}
		if strings.HasPrefix(command, "dockerauth init") {
			m.pasteFrom(t, o.stdout)
		}
	}

	m.must("useradd", "-m", alice)
	m.pipe(t, alice+":"+alicePassword+"\n", "chpasswd")
	m.loginWorks(t)
	if o := m.dockerLogin(t, alicePassword); o.status != 0 || !strings.Contains(o.stdout, "Login Succeeded") {
		t.Errorf("docker login: %v\n%s", o, m.journal())
	}
	if o := m.dockerLogin(t, "not-hers"); o.status == 0 || !strings.Contains(o.stderr, "unauthorized") {
		t.Errorf("docker login with a wrong password: %v", o)
	}
}

// initialise makes key, certificate and configuration.
func (m *debian) initialise(t *testing.T) {
	t.Helper()
	o := m.do("dockerauth", "init", "--issuer", packageIssuer, "--audience", packageAudience, "--realm", packageRealm)
	if o.status != 0 {
		t.Fatal(o)
	}
	m.pasteFrom(t, o.stdout)
}

// pasteFrom takes the registry's section from init's output.
func (m *debian) pasteFrom(t *testing.T, printed string) {
	t.Helper()
	section := authSectionPattern.FindString(printed)
	if section == "" {
		t.Fatalf("there is no section auth in\n%s", printed)
	}
	m.auth = bundlePattern.ReplaceAllString(section, "rootcertbundle: "+m.path("etc/dockerauth/cert.pem"))
}

// init's output for the registry is used as printed. The test's registry is outside the machine and
// sees the certificate at another path.
var (
	authSectionPattern = regexp.MustCompile(`(?m)^auth:\n(?: .*\n)+`)
	bundlePattern      = regexp.MustCompile(`rootcertbundle: \S+`)
)

// pipe runs a command in the machine with an input.
func (m *debian) pipe(t *testing.T, stdin string, args ...string) {
	t.Helper()
	run(t, stdin, m.command(args...)).must(t)
}

// ask sends a request to the endpoint: a URL, or a path of the machine's Apache.
func (m *debian) ask(t *testing.T, endpoint, name, password string) (status int, body string) {
	t.Helper()
	if strings.HasPrefix(endpoint, "/") {
		endpoint = "http://localhost" + endpoint
	}
	o := m.do("curl", "-sS", "-w", "\n%{http_code}", "-u", name+":"+password,
		endpoint+"?account="+name+"&service="+packageAudience)
	if o.status != 0 {
		t.Fatal(o)
	}
	i := strings.LastIndex(o.stdout, "\n")
	status, _ = strconv.Atoi(o.stdout[i+1:])
	return status, o.stdout[:i]
}

// loginWorks tries a right password and a wrong one.
func (m *debian) loginWorks(t *testing.T) {
	t.Helper()
	m.loginWorksAt(t, "/docker/v2/token")
}

func (m *debian) loginWorksAt(t *testing.T, path string) {
	t.Helper()
	status, body := m.ask(t, path, alice, alicePassword)
	var answer struct{ Token string }
	if err := json.Unmarshal([]byte(body), &answer); status != 200 || err != nil || answer.Token == "" {
		t.Fatalf("the right password: %d %s\n%s", status, body, m.journal())
	}
	if status, body := m.ask(t, path, alice, "wrong-"+t.Name()); status != 401 ||
		!strings.Contains(body, "UNAUTHORIZED") {
		t.Fatalf("a wrong password: %d %s\n%s", status, body, m.journal())
	}
}

// journal is the end of the service's and Apache's log, for a test that fails.
func (m *debian) journal() string {
	return m.do("sh", "-c",
		"journalctl -o cat --no-pager -n 30 -u dockerauth.service -u dockerauth.socket; tail -n 20 "+
			"/var/log/apache2/error.log").String()
}

// dockerLogin logs docker in at a registry with the section that init printed, both in the
// machine's network.
func (m *debian) dockerLogin(t *testing.T, password string) output {
	t.Helper()
	return m.dockerLoginAs(t, alice, password)
}

func (m *debian) dockerLoginAs(t *testing.T, user, password string) output {
	t.Helper()
	need(t, "docker login (Debian: docker.io, docker-registry)", "docker", "docker-registry")
	dir := shortDir(t)
	const host = "localhost:5000"
	config := fmt.Sprintf("version: 0.1\nstorage: {filesystem: {rootdirectory: %q}}\nhttp: {addr: %q}\n",
		filepath.Join(dir, "storage"), host) + m.auth
	r := start(t, "docker-registry",
		m.nearby("docker-registry", "serve", writeFile(t, filepath.Join(dir, "config.yml"), config, 0o644)))
	r.until(t, "listen", func() bool { return m.do("curl", "-s", "http://"+host).status == 0 })
	// Without a daemon it logs in by itself.
	return run(t, password, m.nearby("docker", "--config", dir, "--host", "unix://"+dir+"/none", "login", "-u", user,
		"--password-stdin", host))
}

// checkWarnsOfNothing runs check on a sound installation.
func checkWarnsOfNothing(t *testing.T, m *debian) {
	if o := m.do("dockerauth", "check", "--as", "dockerauth",
		"--url", "http://localhost/docker/v2/token"); o.status != 0 ||
		!strings.Contains(o.stdout, "\n0 errors, 0 warnings, ") {
		t.Error(o)
	}
}

func ownersAndModes(t *testing.T, m *debian) {
	for file, want := range map[string]string{
		"/usr/bin/dockerauth":                                        "root:root 755",
		"/etc/dockerauth":                                            "root:root 755",
		"/etc/dockerauth/config.yml":                                 "root:root 644",
		"/etc/dockerauth/privkey.pem":                                "root:dockerauth 640",
		"/etc/dockerauth/cert.pem":                                   "root:root 644",
		"/etc/pam.d/dockerauth":                                      "root:root 644",
		"/etc/logrotate.d/dockerauth":                                "root:root 644",
		"/etc/fail2ban/filter.d/dockerauth.conf":                     "root:root 644",
		"/etc/fail2ban/jail.d/dockerauth.conf":                       "root:root 644",
		"/etc/apache2/conf-available/dockerauth.conf":                "root:root 644",
		"/etc/nginx/snippets/dockerauth.conf":                        "root:root 644",
		"/usr/lib/systemd/system/dockerauth.service":                 "root:root 644",
		"/usr/lib/systemd/system/dockerauth.socket":                  "root:root 644",
		"/run/dockerauth/dockerauth.sock":                            "root:www-data 660",
		"/var/lib/dockerauth":                                        "dockerauth:dockerauth 700",
		"/var/log/dockerauth":                                        "dockerauth:dockerauth 750",
		"/usr/share/man/man1/dockerauth.1.gz":                        "root:root 644",
		"/usr/share/man/man5/dockerauth-config.5.gz":                 "root:root 644",
		"/usr/share/doc/dockerauth/examples/config.yml":              "root:root 644",
		"/usr/share/doc/dockerauth/examples/htaccess":                "root:root 644",
		"/usr/share/doc/dockerauth/copyright":                        "root:root 644",
		"/etc/systemd/system/sockets.target.wants/dockerauth.socket": "root:root 777", // a link
	} {
		if got := strings.TrimSpace(m.do("stat", "-c", "%U:%G %a", file).stdout); got != want {
			t.Errorf("%s: %q, want %q", file, got, want)
		}
	}
	if got := strings.TrimSpace(m.must("readlink", "-f", "/usr/lib/cgi-bin/dockerauth")); got != "/usr/bin/dockerauth" {
		t.Errorf("the link in cgi-bin goes to %s", got)
	}
	unit := "/usr/lib/systemd/system/dockerauth.service"
	if got := strings.TrimSpace(m.must("dpkg", "-S", unit)); got != "dockerauth: "+unit {
		t.Errorf("dpkg -S says %q", got)
	}
	var conffiles []string
	for line := range strings.Lines(m.must("dpkg-query", "-W", "-f", "${Conffiles}", "dockerauth")) {
		conffiles = append(conffiles, strings.Fields(line + " -")[0])
	}
	for _, want := range []string{"/etc/dockerauth/config.yml", "/etc/pam.d/dockerauth",
		"/etc/apache2/conf-available/dockerauth.conf", "/etc/nginx/snippets/dockerauth.conf",
		"/etc/logrotate.d/dockerauth",
		"/etc/fail2ban/filter.d/dockerauth.conf", "/etc/fail2ban/jail.d/dockerauth.conf"} {
		if !strings.Contains(strings.Join(conffiles, "\n"), want) {
			t.Errorf("%s is no conffile: an upgrade would take the administrator's edits away", want)
		}
	}
	if got := strings.TrimSpace(m.must("dockerauth", "version")); got != "dockerauth "+olderVersion {
		t.Errorf("the program says it is %q", got)
	}
}

func verifyUnits(t *testing.T, m *debian) {
	// Only the pages of man-db are missing on such a small machine.
	o := m.do("systemd-analyze", "verify", "--man=no", "dockerauth.service", "dockerauth.socket")
	if o.status != 0 || strings.Contains(o.stderr, "dockerauth") {
		t.Error(o)
	}
}

// mainProcess is the service's process id in the machine.
func (m *debian) mainProcess() string {
	m.t.Helper()
	return strings.TrimSpace(m.must("systemctl", "show", "-P", "MainPID", "dockerauth.service"))
}

// confinement checks the running process, not the unit file.
func confinement(t *testing.T, m *debian) {
	status := m.must("cat", "/proc/"+m.mainProcess()+"/status")
	shadow := strings.Split(m.must("getent", "group", "shadow"), ":")[2]
	uid := strings.TrimSpace(m.must("id", "-u", "dockerauth"))
	for _, want := range []string{
		`Uid:\s` + strings.Repeat(uid+`\s`, 4),
		`Groups:\s.*\b` + shadow + `\b`,
		`NoNewPrivs:\s1`, `Seccomp:\s2`, `CapEff:\s0+$`, `CapPrm:\s0+$`, `CapBnd:\s0+$`, `CapAmb:\s0+$`, `CapInh:\s0+$`,
	} {
		if !regexp.MustCompile("(?m)^" + want).MatchString(status) {
			t.Errorf("not %s in\n%s", want, status)
		}
	}
	// What the service sees of the machine, through its own root: it can write to its two folders
	// alone.
	inside := []string{"nsenter", "-t", m.mainProcess(), "-m", "setpriv", "--reuid=dockerauth", "--regid=dockerauth",
		"--groups=" + shadow, "--no-new-privs"}
	for _, c := range []struct {
		name string
		args []string
		may  bool
	}{
		{"write state", []string{"touch", "/var/lib/dockerauth/e2e"}, true},
		{"write its log", []string{"touch", "/var/log/dockerauth/e2e"}, true},
		{"read shadow", []string{"head", "-c", "1", "/etc/shadow"}, true},
		{"read its key", []string{"head", "-c", "1", "/etc/dockerauth/privkey.pem"}, true},
		{"change its key", []string{"touch", "/etc/dockerauth/privkey.pem"}, false},
		{"see homes", []string{"test", "-e", "/home/" + alice}, false},
		{"see other users' processes", []string{"test", "-e", "/proc/1/status"}, false},
	} {
		if o := m.do(append(inside, c.args...)...); (o.status == 0) != c.may {
			t.Errorf("%s: %v", c.name, o)
		}
	}
	m.must("rm", "/var/lib/dockerauth/e2e", "/var/log/dockerauth/e2e")
}

// forbiddenCallsKill makes a system call that the unit forbids fatal, since a module might hide an
// error.
func forbiddenCallsKill(t *testing.T, m *debian) {
	remove := m.dropIn(t, "SystemCallErrorNumber=kill")
	m.loginWorks(t)
	m.must("systemctl", "reload", "dockerauth.service")
	pid := m.mainProcess()
	// Debian's own stack has more modules than the shipped one. A module may also run a program,
	// whose children must be found and ended.
	shipped := readFile(t, m.path("etc/pam.d/dockerauth"))
	writeFile(t, m.path("usr/local/bin/leave"), "#!/bin/sh\nsetsid sleep 31415 &\necho $! >/var/lib/dockerauth/left\n",
		0o755)
	writeFile(t, m.path("etc/pam.d/dockerauth"),
		"auth required pam_exec.so quiet /usr/local/bin/leave\n@include common-auth\n@include common-account\n", 0o644)
	m.must("systemctl", "restart", "dockerauth.service") // so that no answer is remembered
	m.loginWorks(t)
	m.must("rm", "/var/lib/dockerauth/left") // it was there
	eventually(t, 5*time.Second, "what a module left behind to be gone",
		func() bool { return m.do("pgrep", "-f", "sleep 31415").status == 1 })
	if now := m.mainProcess(); now == pid {
		t.Error("the service was not restarted")
	}
	writeFile(t, m.path("etc/pam.d/dockerauth"), shipped, 0o644)
	if got := strings.TrimSpace(m.must("systemctl", "show", "-P", "NRestarts", "dockerauth.service")); got != "0" {
		t.Errorf("the service died and was restarted %s times", got)
	}
	// Proof that the filter is in force: a call that no service needs ends a process.
	if o := m.do("systemd-run", "--wait", "--collect", "--quiet", "-p", "SystemCallFilter=@system-service", "-p",
		"SystemCallFilter=~@privileged", "-p", "SystemCallErrorNumber=kill", "chroot", "/", "true"); o.status == 0 {
		t.Error("filters of system calls do nothing on this machine")
	}
	remove()
}

// dropIn adds a line to the service's unit and restarts the service; remove reverts that.
func (m *debian) dropIn(t *testing.T, line string) (remove func()) {
	t.Helper()
	file := writeFile(t, m.path("etc/systemd/system/dockerauth.service.d/e2e.conf"), "[Service]\n"+line+"\n", 0o644)
	restart := func() {
		m.must("systemctl", "daemon-reload")
		m.must("systemctl", "restart", "dockerauth.service")
	}
	restart()
	return func() {
		if err := os.RemoveAll(filepath.Dir(file)); err != nil {
			t.Fatal(err)
		}
		restart()
	}
}

// withoutTheRight is what the rpm's service has where passwords are in /etc/shadow.
func withoutTheRight(t *testing.T, m *debian) {
	remove := m.dropIn(t, "SupplementaryGroups=")
	if status, body := m.ask(t, "/docker/v2/token", alice, alicePassword); status != 503 {
		t.Errorf("a right password that the service cannot compare: %d %s\n%s", status, body, m.journal())
	}
	remove()
	m.loginWorks(t)
}

func restartApache(t *testing.T, m *debian) {
	m.must("systemctl", "restart", "apache2")
	m.loginWorks(t)
}

// Two more sites, each of which includes a file of the package.
const (
	nginxSite  = "http://localhost:8080"
	apacheHost = "http://localhost:8081"
)

func otherSites(t *testing.T, m *debian) {
	writeFile(t, m.path("etc/apache2/sites-enabled/registry.conf"), "Listen 8081\n<VirtualHost *:8081>\n"+
		"    DocumentRoot /var/www/html\n    Include conf-available/dockerauth.conf\n</VirtualHost>\n", 0o644)
	writeFile(t, m.path("etc/nginx/sites-available/default"), "server {\n    listen 8080;\n"+
		"    root /var/www/html;\n    include snippets/dockerauth.conf;\n}\n", 0o644)
	m.must("systemctl", "restart", "nginx", "apache2")
	m.loginWorksAt(t, nginxSite+"/docker/v2/token")
	m.loginWorksAt(t, apacheHost+"/docker/v2/token")
}

// sitesAreServed restarts the web servers, which both must serve a page besides.
func (m *debian) sitesAreServed(t *testing.T) {
	t.Helper()
	m.must("nginx", "-t")
	m.must("apache2ctl", "configtest")
	m.must("systemctl", "restart", "nginx", "apache2")
	m.must("sh", "-c", "echo a page >/var/www/html/page.txt")
	for _, site := range []string{"http://localhost", nginxSite, apacheHost} {
		if got := m.must("curl", "-sS", site+"/page.txt"); got != "a page\n" {
			t.Errorf("%s: %q", site, got)
		}
	}
}

func rotateLog(t *testing.T, m *debian) {
	config := readFile(t, m.path("etc/dockerauth/config.yml"))
	writeFile(t, m.path("etc/dockerauth/config.yml"), config+"log:\n  file: /var/log/dockerauth/dockerauth.log\n",
		0o644)
	m.must("systemctl", "reload", "dockerauth.service")
	logged := func(what string) {
		eventually(t, 20*time.Second, what, func() bool {
			m.loginWorks(t)
			return strings.Contains(m.do("cat", "/var/log/dockerauth/dockerauth.log").stdout, "outcome=granted")
		})
	}
	logged("a line in the log file")
	m.must("logrotate", "--force", "/etc/logrotate.d/dockerauth")
	if !strings.Contains(m.must("cat", "/var/log/dockerauth/dockerauth.log.1"), "outcome=granted") {
		t.Error("the old log has no line")
	}
	logged("a line in the new log file")
	if got := strings.TrimSpace(m.must("stat", "-c", "%U %a",
		"/var/log/dockerauth/dockerauth.log")); got != "dockerauth 600" {
		t.Errorf("the new log is %s", got)
	}
}

func upgrade(t *testing.T, m *debian) {
	config, key := readFile(t, m.path("etc/dockerauth/config.yml")), readFile(t, m.path("etc/dockerauth/privkey.pem"))
	pid, socket := m.mainProcess(), m.must("stat", "-c", "%i", "/run/dockerauth/dockerauth.sock")
	clients := start(t, "clients", m.command("sh", "-c", `until [ -e /srv/enough ]; do
		curl -s -o /dev/null -w '%{http_code}\n' -u "$1" http://localhost/docker/v2/token
	done`, "sh", alice+":"+alicePassword))
	clients.until(t, "be let in", func() bool { return strings.Contains(clients.output(), "200") })
	says(t, m.apt("install", "/srv/newer.deb"))
	m.must("touch", "/srv/enough")
	<-clients.exited
	if answers := strings.Fields(clients.output()); strings.Count(clients.output(), "200") != len(answers) ||
		len(answers) < 10 {
		t.Errorf("who came while it was upgraded was answered %v", answers)
	}
	if got := strings.TrimSpace(m.must("dpkg-query", "-W", "-f", "${Version} ${db:Status-Status}",
		"dockerauth")); got != newerVersion+" installed" {
		t.Fatal(got)
	}
	if readFile(t, m.path("etc/dockerauth/config.yml")) != config ||
		readFile(t, m.path("etc/dockerauth/privkey.pem")) != key {
		t.Error("configuration or key have changed")
	}
	if now := m.mainProcess(); now == pid || now == "0" {
		t.Errorf("the service's process was %s and is %s", pid, now)
	}
	if m.must("stat", "-c", "%i", "/run/dockerauth/dockerauth.sock") != socket {
		t.Error("the socket was replaced: connections in between were refused")
	}
	m.loginWorks(t)
	if got := strings.TrimSpace(m.must("dockerauth", "version")); got != "dockerauth "+newerVersion {
		t.Errorf("the program says it is %q", got)
	}
}

func remove(t *testing.T, m *debian) {
	says(t, m.apt("remove", "dockerauth"))
	for _, gone := range []string{"/usr/bin/dockerauth", "/usr/lib/systemd/system/dockerauth.service",
		"/usr/lib/systemd/system/dockerauth.socket", "/run/dockerauth/dockerauth.sock", "/usr/lib/cgi-bin/dockerauth",
		"/usr/share/man/man1/dockerauth.1.gz", "/usr/share/doc/dockerauth",
		"/etc/apache2/conf-enabled/dockerauth.conf"} {
		if m.do("test", "-e", gone, "-o", "-L", gone).status == 0 {
			t.Errorf("%s is still there", gone)
		}
	}
	for _, kept := range []string{"/etc/dockerauth/config.yml", "/etc/dockerauth/privkey.pem",
		"/etc/dockerauth/cert.pem", "/etc/pam.d/dockerauth", "/var/lib/dockerauth"} {
		m.must("test", "-e", kept)
	}
	if o := m.do("pgrep", "dockerauth"); o.status == 0 {
		t.Errorf("it still runs: %v", o)
	}
	if status, _ := m.ask(t, "/docker/v2/token", alice, alicePassword); status != 404 {
		t.Errorf("Apache answers %d, want 404", status)
	}
	m.sitesAreServed(t)
	for _, site := range []string{nginxSite, apacheHost} { // these still include the files
		if status, _ := m.ask(t, site+"/docker/v2/token", alice, alicePassword); status != 503 {
			t.Errorf("%s answers %d, want 503", site, status)
		}
	}
}

// The files that dpkg deletes although a web server includes them, and the lines that do.
const (
	apacheFile = "/etc/apache2/conf-available/dockerauth.conf"
	apacheLine = "/etc/apache2/sites-enabled/registry.conf, line 4"
	nginxFile  = "/etc/nginx/snippets/dockerauth.conf"
	nginxLine  = "/etc/nginx/sites-available/default, line 4"
)

// sayPurged is what a purge says. It names the key, and the files that it could not delete.
var sayPurged = []string{
	"dockerauth: deleted the key /etc/dockerauth/privkey.pem, its certificate, state and logs",
	"dockerauth: left a file of comments, " + apacheFile + ": a web server does not start without it",
	"  fix: delete the include in " + apacheLine + ", then: rm " + apacheFile,
	"dockerauth: left a file of comments, " + nginxFile + ": a web server does not start without it",
	"  fix: delete the include in " + nginxLine + ", then: rm " + nginxFile,
}

func purge(t *testing.T, m *debian) {
	says(t, m.apt("purge", "dockerauth"), sayPurged...)
	m.left(t, apacheFile, nginxFile)
	m.must("systemctl", "daemon-reload")
	if o := m.do("systemctl", "--failed", "--plain", "--no-legend"); strings.TrimSpace(o.stdout) != "" {
		t.Errorf("failed units: %s", o.stdout)
	}
	m.sitesAreServed(t)
	for _, site := range []string{"", nginxSite, apacheHost} {
		if status, _ := m.ask(t, site+"/docker/v2/token", alice, alicePassword); status != 404 {
			t.Errorf("%q answers %d, want 404", site, status)
		}
	}
	m.must("getent", "passwd", "dockerauth")
}

// left compares the files that are left of the package.
func (m *debian) left(t *testing.T, want ...string) {
	t.Helper()
	got := strings.Fields(m.must("find", "/", "/run", "-xdev", "-name", "*dockerauth*", "-not", "-path",
		"/var/log/journal/*"))
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("left behind: %q, want %q", got, want)
	}
}

// purgeWithoutATrace does what purge says.
func purgeWithoutATrace(t *testing.T, m *debian) {
	says(t, m.apt("purge", "dockerauth"), sayPurged...)
	for _, included := range []struct{ file, line string }{{apacheFile, apacheLine}, {nginxFile, nginxLine}} {
		file, line, _ := strings.Cut(included.line, ", line ")
		m.must("sed", "-i", line+"d", file)
		m.must("rm", included.file)
	}
	m.left(t)
	m.sitesAreServed(t)
	m.apt("purge", "nginx-light", "nginx-common")
}

// unusableUntilInit has a service whose socket is used before "dockerauth init": it stays up, and
// notices the new configuration.
func unusableUntilInit(t *testing.T, m *debian) {
	says(t, m.apt("install", "/srv/newer.deb"), sayNext)
	m.sitesAreServed(t)
	m.must("a2enconf", "dockerauth")
	m.must("systemctl", "reload", "apache2")
	for range 3 {
		if status, body := m.ask(t, "/docker/v2/token", alice, alicePassword); status != 503 ||
			!strings.Contains(body, "UNAVAILABLE") {
			t.Fatalf("without a configuration: %d %s\n%s", status, body, m.journal())
		}
	}
	pid := m.mainProcess()
	m.initialise(t)
	eventually(t, 20*time.Second, "the service to take its configuration up", func() bool {
		status, _ := m.ask(t, "/docker/v2/token", alice, alicePassword)
		return status == 200
	})
	if now := m.mainProcess(); now != pid {
		t.Errorf("the service's process was %s and is %s: it was to stay", pid, now)
	}
	m.loginWorksAt(t, nginxSite+"/docker/v2/token")
	m.loginWorksAt(t, apacheHost+"/docker/v2/token")
}

// dropInArchive follows INSTALL in the archive.
func dropInArchive(t *testing.T, m *debian) {
	const folder = "/var/www/html/registry-login"
	archive := packageFile(t, newerVersion, ".tar.gz")
	m.must("mkdir", folder)
	mustRun(t, "tar", "-C", m.path(folder), "-xzf", archive, "--strip-components=1", "--no-same-owner")
	writeFile(t, m.path("etc/apache2/conf-enabled/e2e.conf"),
		fmt.Sprintf("<Directory %q>\n    AllowOverride FileInfo AuthConfig Options=ExecCGI\n</Directory>\n", folder),
		0o644)
	m.must("a2enmod", "-q", "cgid", "rewrite")
	m.must("systemctl", "restart", "apache2")
	if status, body := m.ask(t, "/registry-login/config.yml", "", ""); status != 403 ||
		strings.Contains(body, "private_key") {
		t.Fatalf("config.yml is served: %d %s", status, body)
	}

	// The four lines.
	config := readFile(t, m.path(folder+"/config.yml"))
	for _, line := range []struct{ key, value string }{
		{"private_key", "privkey.pem"}, {"issuer", packageIssuer}, {"audience", packageAudience},
		{"blacklisted_users ", "[root]"},
	} {
		edited := regexp.MustCompile(`(?m)^`+line.key+`:.*$`).ReplaceAllString(config, line.key+": "+line.value)
		if edited == config {
			t.Fatalf("no line %s in config.yml", line.key)
		}
		config = edited
	}
	writeFile(t, m.path(folder+"/config.yml"), config, 0o644)

	install := readFile(t, m.path(folder+"/INSTALL"))
	for _, commands := range indented(install, "openssl ", "install -m ") {
		m.do("sh", "-euc", "cd "+folder+"\n"+commands).must(t)
	}
	m.loginWorksAt(t, "/registry-login/docker/v2/token")
	for _, file := range []string{"config.yml", "privkey.pem", "dockerauth", "INSTALL", "pam-service", ".htaccess"} {
		if status, _ := m.ask(t, "/registry-login/"+file, "", ""); status != 403 && file != "dockerauth" {
			t.Errorf("%s: %d, want 403", file, status)
		}
	}

	mustRun(t, "cp", binary(t), m.path("root/dockerauth")) // root starts no program of another user's
	m.findsNothing(t, "/root/dockerauth", "check", "--json", "--config", folder+"/config.yml", "--as", "www-data",
		"--program", folder+"/dockerauth", "--url", "http://localhost/registry-login/docker/v2/token")
}

// serviceByHand runs the commands in docs/install.md, in a folder with the program and the files
// that they install.
func serviceByHand(t *testing.T, m *debian) {
	m.must("rm", "-r", "/var/lib/dockerauth", "/etc/pam.d/dockerauth") // the archive's
	m.must("mkdir", "/srv/source")
	mustRun(t, "cp", binary(t), m.path("srv/source/dockerauth"))
	mustRun(t, "cp", "-R", "../packaging", m.path("srv/source/packaging"))
	commands := documentedBlock(t, "machine", "service")
	commands = strings.Replace(commands, "dockerauth init", "dockerauth init --realm "+packageRealm, 1)
	m.must("sh", "-euc", "cd /srv/source\n"+commands)
	err := poll(10*time.Second, func() (done bool, err error) {
		status, _ := m.ask(t, "/docker/v2/token", "", "")
		return status != 404, nil // Apache reloads in its own time
	})
	if err != nil {
		t.Fatal(err)
	}
	m.loginWorks(t)
	got := m.must("systemctl", "show", "--property=FragmentPath,ExecStart", "dockerauth.service")
	for _, want := range []string{"=/etc/systemd/system/", "path=/usr/local/bin/dockerauth "} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in %s", want, got)
		}
	}
	if got := strings.TrimSpace(m.must("systemctl", "is-enabled", "dockerauth.socket")); got != "enabled" {
		t.Errorf("after a boot the socket is %s", got)
	}
	m.findsNothing(t, "dockerauth", "check", "--json")
}

// httpBehindAProxy lets Apache pass requests on to "dockerauth http".
func httpBehindAProxy(t *testing.T, m *debian) {
	m.must("systemctl", "disable", "--now", "dockerauth.socket", "dockerauth.service")
	m.must("rm", "/etc/systemd/system/dockerauth.socket", "/etc/systemd/system/dockerauth.service")
	m.must("systemctl", "daemon-reload")
	m.must("a2disconf", "-q", "dockerauth")
	m.must("sh", "-c", "echo 'trusted_proxies: [127.0.0.1]' >>/etc/dockerauth/config.yml")
	m.must("systemd-run", "--unit=e2e-http", "-p", "User=dockerauth", "-p", "SupplementaryGroups=shadow",
		"-p", "NoNewPrivileges=yes", "dockerauth", "http", "--config", "/etc/dockerauth/config.yml",
		"--listen", "127.0.0.1:5002")
	writeFile(t, m.path("etc/apache2/conf-enabled/e2e.conf"),
		"ProxyPass /docker/v2/token http://127.0.0.1:5002/docker/v2/token\n", 0o644)
	m.must("a2enmod", "-q", "proxy_http")
	m.must("systemctl", "restart", "apache2")
	eventually(t, readyWithin, "the service to listen", func() bool {
		return m.do("curl", "-s", "http://127.0.0.1:5002/").status == 0
	})
	m.loginWorks(t)
	m.findsNothing(t, "dockerauth", "check", "--json", "--as", "dockerauth:shadow", "--url", packageRealm)
	m.must("systemctl", "stop", "e2e-http")
}

// findsNothing runs check on an installation with nothing wrong.
func (m *debian) findsNothing(t *testing.T, args ...string) {
	t.Helper()
	var report struct{ Findings []finding }
	o := m.do(args...)
	if err := json.Unmarshal([]byte(o.stdout), &report); err != nil {
		t.Fatalf("%v: %v", err, o)
	}
	for _, f := range report.Findings {
		if f.Level == "warning" || f.Level == "error" {
			t.Errorf("a false alarm: %+v", f)
		}
	}
}

// indented are the indented blocks of a text that begin with one of the words.
func indented(text string, words ...string) (blocks []string) {
	for _, block := range regexp.MustCompile(`(?m)(?:^ {7}.*\n)+`).FindAllString(text, -1) {
		for _, word := range words {
			if strings.HasPrefix(strings.TrimSpace(block), word) {
				blocks = append(blocks, block)
			}
		}
	}
	return blocks
}
