package doctor

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"dockerauth/cli"
	"dockerauth/config"
	"dockerauth/jwtsign"
	"dockerauth/pamauth"
)

// giveAway makes a file another user's.
func giveAway(t *testing.T, path string) {
	t.Helper()
	needsRoot(t)
	var a runAs
	if err := a.takeAccount(webUser); err != nil {
		t.Skip(err)
	}
	if err := os.Chown(path, a.who.UID, a.who.GID); err != nil {
		t.Fatal(err)
	}
}

// script makes a program of the web server's user.
func script(t *testing.T, text string) (program string) {
	t.Helper()
	needsRoot(t)
	dir, err := os.MkdirTemp(scratch, "")
	if err != nil {
		t.Fatal(err)
	}
	program = filepath.Join(dir, "dockerauth")
	writeTestFile(t, program, "#!/bin/sh\n"+text)
	for _, path := range []string{dir, program} {
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
		giveAway(t, path)
	}
	return program
}

func TestRootDoesNotAskAStackOfAnotherUser(t *testing.T) {
	needsRoot(t)
	for _, foreign := range []string{"pam.d", "pam.d/dockerauth", "pam.d/more", "pam_theirs.so"} {
		t.Run(foreign, func(t *testing.T) {
			p := newPatient(t)
			if err := os.Mkdir(p.path("run"), 0o777); err != nil {
				t.Fatal(err)
			}
			p.write(t, "run.sh", "#!/bin/sh\nid -u >"+p.path("run/ran")+"\n")
			p.run(t, "chmod", "0755", p.path("run.sh"))
			p.write(t, "pam.d/more", "auth required pam_exec.so quiet "+p.path("run.sh")+"\n")
			p.write(
				t,
				"pam.d/dockerauth",
				"auth include "+p.path("pam.d/more")+"\nauth required pam_unix.so\naccount required pam_unix.so\n",
			)
			if filepath.Ext(foreign) == ".so" {
				p.compile(t, "pam_theirs", "int pam_sm_acct_mgmt(void) { return 0; }\n")
				p.edit(t, "pam.d/dockerauth", "account required pam_unix.so", "account required "+p.path(foreign))
			}
			giveAway(t, p.path(foreign))
			cmd := exec.Command(p.program, "check", "--json", "--config", p.path("config.yml"), "--login", webUser)
			cmd.Stdin = strings.NewReader("a-guess\n")
			out, _ := cmd.Output() // the status is a result
			if !strings.Contains(string(out), `"login-untrusted"`) || !strings.Contains(string(out), "sudo -u ") {
				t.Errorf("no finding says that the stack is another user's: %s", out)
			}
			if _, err := os.Stat(p.path("run/ran")); err == nil {
				t.Error("the stack's command ran as root")
			}
		})
	}
}

func TestAProgramDoesNotChooseItsIDs(t *testing.T) {
	for _, ids := range []string{`"uid":UID,"gid":42`, `"uid":UID,"gid":0`, `"uid":0,"gid":GID`} {
		a := &runAs{program: script(t, "")}
		if err := a.takeAccount(webUser); err != nil {
			t.Skip(err)
		}
		ids = strings.NewReplacer("UID", "'$(id -u)'", "GID", "'$(id -g)'").Replace(ids)
		writeTestFile(t, a.program, "#!/bin/sh\necho '{"+ids+"}'\n")
		before := *a.as
		if err := a.identifySelf(); !errors.Is(err, errNotStarted) || !strings.Contains(err.Error(), "does not have") {
			t.Errorf("%s: %v", ids, err)
		}
		if a.as.Gid != before.Gid || len(a.as.Groups) != len(before.Groups) {
			t.Errorf("%s: the next start would have %v", ids, a.as)
		}
	}
}

// A set-group-id program of another user's may be replaced between two starts.
func TestAProgramOfAnotherUserGetsNoGroupOfRoot(t *testing.T) {
	needsRoot(t)
	a := &runAs{}
	if err := a.takeAccount(webUser); err != nil {
		t.Skip(err)
	}
	a.program = script(t, `[ "$1" = `+IdentityArg+` ] && exec echo '{"uid":'$(id -u)',"gid":42}'`+"\nid -G\n")
	if err := errors.Join(os.Chown(a.program, a.who.UID, 42), os.Chmod(a.program, 0o755|os.ModeSetgid)); err != nil {
		t.Fatal(err)
	}
	if err := a.identifySelf(); err != nil {
		t.Fatal(err)
	}
	if answers, err := a.try(attempt{tryEnter, "/"}); err != nil || answers[0] != "" {
		t.Errorf("the attempts are not made by this program: %q, %v", answers, err)
	}
}

func TestAnAnswerIsBounded(t *testing.T) {
	a := &runAs{program: script(t, "exec yes\n")}
	if err := a.takeAccount(webUser); err != nil {
		t.Skip(err)
	}
	if err := a.identifySelf(); err == nil || !strings.Contains(err.Error(), errTooLong.Error()) {
		t.Errorf("an answer without an end: %v", err)
	}
}

// endsSoon fails a test that waits for the other end of a named pipe.
func endsSoon(t *testing.T, what string, do func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { do(); close(done) }()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatalf("%s: waits for a named pipe", what)
	}
}

func TestOnlyRegularFilesAreRead(t *testing.T) {
	root := t.TempDir()
	pipe := func(name string) string {
		path := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), syscall.Mkfifo(path, 0o600)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	pipe("etc/nginx/nginx.conf")
	pipe("etc/systemd/system/x.service")
	pipe("etc/systemd/system/x.service.d/y.conf")
	list := pipe("list")
	line := pamauth.Line{Module: "pam_faillock.so", Args: []string{"conf=" + list, "accessfile=" + list}}
	endsSoon(t, "a web server's configuration", func() { (&serverFiles{root: root}).lines("/etc/nginx/nginx.conf") })
	endsSoon(t, "a unit", func() { readUnit(root, "x.service") })
	endsSoon(t, "faillock.conf", func() { faillockSettings(line) })
	endsSoon(t, "access.conf", func() { judgeAccess(line, localAccount{known: true}) })

	large := filepath.Join(root, "large")
	writeTestFile(t, large, "")
	if err := os.Truncate(large, maxSystemFile+1); err != nil {
		t.Fatal(err)
	}
	if _, err := readSystemFile(large); !errors.Is(err, jwtsign.ErrTooLarge) {
		t.Errorf("a large file: %v", err)
	}
}

func TestAWebServerIsBelievedForItsRootOwnedFiles(t *testing.T) {
	needsRoot(t)
	const caddyfile = ":8080 {\n reverse_proxy /docker/v2/token 127.0.0.1:5002\n}\n"
	const own = "PPid:\t1\nUid:\t33\t33\t33\t33\n"
	site := "server { listen 80; include snippets/dockerauth.conf; }"
	for _, tt := range []struct {
		name    string
		files   map[string]string
		foreign string
		url     string // "" = it is not asked
	}{
		{"root's alone", nginxWith(site), "", "http://localhost/docker/v2/token"},
		{"a site of another user", nginxWith(site), "etc/nginx/sites-enabled/default", ""},
		{"a snippet of another user", nginxWith(site), "etc/nginx/snippets/dockerauth.conf", ""},
		{"a folder of another user", nginxWith(site), "etc/nginx/snippets", ""},
		{"Apache's variables of another user", apacheWith("<VirtualHost *:80>\n</VirtualHost>"),
			"etc/apache2/envvars", ""},
		{"a program in Apache's unit that is called like it", with(apacheWith(""),
			"proc/100/status", own, "proc/101/status", own,
			"proc/100/cmdline", "apache2\x00-f\x00/etc/apache2/evil.conf\x00",
			"etc/apache2/evil.conf", "Listen 80\n"+apacheDropIn,
			"usr/lib/systemd/system/apache2.service", "[Service]\nExecStart=/usr/sbin/apachectl start\n"), "", ""},
		{"a set-user-id program that is called like it", with(nginxWith(site), "proc/100/status",
			"PPid:\t1\nUid:\t1000\t0\t0\t0\n", "proc/101/status", own), "", ""},
		{"a Caddy that is its unit's user", with(machine(running("caddy", "caddy\x00run\x00--config\x00/evil\x00")),
			"proc/100/status", own, "etc/caddy/Caddyfile", caddyfile, "evil", ":81 {\n}\n"+caddyfile,
			"usr/lib/systemd/system/caddy.service", "[Service]\nUser=caddy\nExecStart=/usr/bin/caddy run --environ "+
				"--config /etc/caddy/Caddyfile\n"), "", "http://localhost:8080/docker/v2/token"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := checkup{root: plant(t, tt.files), discovered: true, config: &config.Config{Issuer: "auth.example.com"}}
			if tt.foreign != "" {
				giveAway(t, filepath.Join(c.root, tt.foreign))
			}
			c.discoverEndpoint()
			if c.url != tt.url {
				t.Errorf("found %q, want %q", c.url, tt.url)
			}
			if tt.foreign != "" {
				c.expectCodes(t, "", "does not belong to root")
				c.expectCodes(t, "", "--url https://auth.example.com/docker/v2/token")
			}
		})
	}
}

func TestAConfigurationThatIsFoundIsRootsAlone(t *testing.T) {
	needsRoot(t)
	for _, foreign := range []string{"", "config.yml", "dockerauth", "."} {
		for name, files := range map[string]func(dir string) map[string]string{
			"a package's unit": func(dir string) map[string]string {
				return map[string]string{"usr/lib/systemd/system/dockerauth.service": "[Service]\nUser=dockerauth\n" +
					"ExecStart=/usr/bin/dockerauth fastcgi --config " + dir + "/config.yml\n"}
			},
			"an own unit": func(dir string) map[string]string {
				return with(running("dockerauth", "dockerauth\x00"),
					"proc/101/cgroup", "0::/system.slice/token.service\n",
					"etc/systemd/system/token.service", "[Service]\nUser="+userName(33)+"\nExecStart="+dir+
						"/dockerauth http\n")
			},
			"a CGI program": func(dir string) map[string]string {
				return without("usr/lib/systemd/system/dockerauth.service", apacheWith("",
					"etc/apache2/conf-enabled/dockerauth.conf", "ScriptAlias /docker/v2/token "+dir+"/dockerauth\n"))
			},
		} {
			if foreign == "dockerauth" && name != "a CGI program" {
				continue // it is not started
			}
			t.Run(name+", another user's: "+foreign, func(t *testing.T) {
				dir := t.TempDir()
				writeTestFile(t, dir+"/config.yml", "")
				writeTestFile(t, dir+"/dockerauth", "")
				if foreign != "" {
					giveAway(t, filepath.Join(dir, foreign))
				}
				c := checkup{root: plant(t, files(dir))}
				c.discoverService()
				if foreign == "" {
					if c.as == "" || c.path == "" {
						t.Errorf("found %q with %q: %s", c.as, c.path, c.text())
					}
					return
				}
				c.examineConfig()
				if c.as != "" || c.program != "" || c.path != "" {
					t.Errorf("took %q as %q with %q", c.program, c.as, c.path)
				}
				c.expectCodes(t, "warning config config-untrusted", "--config "+dir+"/config.yml")
			})
		}
	}
}

func TestOnlyTheServiceIsABackend(t *testing.T) {
	needsRoot(t)
	evil := "dockerauth\x00fastcgi\x00--listen\x00unix:/tmp/evil\x00--config\x00CONFIG\x00"
	unit := "[Service]\nUser=" + userName(33) + "\nExecStart=/usr/bin/dockerauth fastcgi --listen unix:/run/good\n"
	for _, tt := range []struct{ name, cgroup, unit, want string }{
		{"a process of the user of --as", "0::/system.slice/apache2.service\n", "", ""},
		{"a process of the service's unit", "0::/system.slice/token.service\n", unit, "/run/good"},
		{"a process of a unit of another user", "0::/system.slice/token.service\n", strings.Replace(unit, userName(33),
			"root", 1), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "config.yml")
			writeTestFile(t, path, "")
			giveAway(t, path)
			files := without("proc/100/comm", running("dockerauth", strings.Replace(evil, "CONFIG", path, 1)))
			c := checkup{as: userName(33), path: path, root: plant(t, with(files, "proc/101/cgroup", tt.cgroup,
				"etc/systemd/system/token.service", tt.unit))}
			got := ""
			for _, b := range c.backends() {
				got += b.address
			}
			if got != tt.want {
				t.Errorf("the backends are %q, want %q", got, tt.want)
			}
		})
	}
}

func TestANameOfTheEnvironmentIsQuoted(t *testing.T) {
	t.Setenv("SUDO_USER", "x;touch X")
	c := checkup{config: &config.Config{Audience: []string{"a"}}, streams: cli.Streams{}}
	c.nameTheRest()
	c.expectCodes(t, "", "--login 'x;touch X'")
	w := webServer{kind: "Caddy", file: "/x;touch X"}
	if got := w.reload(); !strings.HasSuffix(got, " '/x;touch X'") {
		t.Errorf("to reload: %s", got)
	}
}
