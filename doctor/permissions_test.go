package doctor

import (
	"os"
	"os/user"
	"slices"
	"strings"
	"testing"

	"dockerauth/config"
)

// Mistakes about what the service's user may do. Each takes root, who can look as another user.
func TestCheckNamesEachMistakeOfRights(t *testing.T) {
	asWebUser := []string{"--as", webUser + ":shadow"}
	// The web server's user may read the key, so that only the mistake is wrong.
	readable := shell("chgrp " + webUser + " privkey.pem && chmod 640 privkey.pem")
	ownState := then(shell("install -d -o "+webUser+" -m 700 state"), edits("config.yml", `state: ""`, "state: state"))
	for _, m := range []mistake{
		{name: "the key is out of reach", make: shell("chown root:root privkey.pem"), args: asWebUser,
			want: wanted{levelError, "rights.private_key", "unreadable", "/privkey.pem"}},
		{name: "a previous key is out of reach", make: then(readable, shell("openssl genpkey -algorithm EC "+
			"-pkeyopt ec_paramgen_curve:P-256 -out old.pem && chmod 600 old.pem"),
			edits("config.yml", "state:", "previous_keys: [old.pem]\nstate:")), args: asWebUser,
			want: wanted{levelError, "rights.previous_keys", "unreadable", "chmod g+r,o= "}},
		{name: "config.yml is out of reach", make: then(readable, shell("chmod 600 config.yml")), args: asWebUser,
			want: wanted{levelError, "rights.config", "unreadable", "/config.yml"}},
		{name: "the certificate is out of reach", make: then(readable, shell("chmod 600 cert.pem")), args: asWebUser,
			want: wanted{levelError, "rights.certificate", "unreadable", "/cert.pem"}},
		{name: "the service file is out of reach", make: then(readable, shell("chmod 600 pam.d/dockerauth")),
			args: asWebUser,
			want: wanted{levelError, "rights.pam", "unreadable", "/pam.d/dockerauth"}},
		{name: "the folder of key and certificate is closed",
			make: then(readable, shell("mkdir keys && mv *.pem keys/ && "+
				"chmod 700 keys && sed -i 's,privkey,keys/privkey,; s,cert.pem,keys/cert.pem,' config.yml")),
			args: asWebUser,
			want: wanted{levelError, "rights.folder", "folder-closed", "/keys"}},
		{name: "the folder of config.yml is closed", make: then(readable,
			shell("mkdir -m 700 etc && mv config.yml etc/ && ln -s etc/config.yml config.yml")), args: asWebUser,
			want: wanted{levelError, "rights.folder", "folder-closed", "/etc"}},
		{name: "the folder of PAM services is closed", make: then(readable, shell("chmod 700 pam.d")), args: asWebUser,
			want: wanted{levelError, "rights.folder", "folder-closed", "/pam.d"}},
		{name: "behind a link is a folder that is not dockerauth's",
			make: then(readable, func(t *testing.T, p *patient) {
				dir, err := os.MkdirTemp("", "dockerauth-closed-")
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = os.RemoveAll(dir) })
				p.run(t, "mv", p.path("cert.pem"), dir+"/cert.pem")
				p.run(t, "ln", "-s", dir+"/cert.pem", p.path("cert.pem"))
			}), args: asWebUser, want: wanted{levelError, "rights.folder", "folder-closed", "move /"},
			apply: shell("cp --remove-destination $(readlink cert.pem) cert.pem")},
		{name: "the key is for another service", make: then(readable, shell("chgrp games privkey.pem")),
			args: asWebUser,
			want: wanted{levelError, "rights.private_key", "unreadable", "check --as games "}, apply: readable},

		{name: "no right to ask", make: readable, args: []string{"--as", webUser},
			want: wanted{levelError, "rights.shadow", "shadow-unreadable", "chmod 2510 /"}},
		{name: "a group that is not there", make: readable, args: []string{"--as", webUser + ":nobody-has-this"},
			want:  wanted{levelError, "rights", "group-unknown", "groupadd "},
			apply: func(t *testing.T, _ *patient) { t.Skip("makes no group on this machine") }},
		{name: "a program that the user cannot start", make: then(readable, shell("chmod 700 dockerauth")),
			args: asWebUser,
			want: wanted{levelError, "rights", "program-not-startable", "/dockerauth"}},
		{name: "SSSD that is away", make: func(t *testing.T, p *patient) {
			readable(t, p)
			p.compile(t, "pam_sss",
				"int pam_sm_acct_mgmt(void) { return 0; }\nint pam_sm_authenticate(void) { return 0; }\n")
			p.write(t, "pam.d/dockerauth", "auth required "+p.path("pam_sss.so")+"\naccount required "+
				p.path("pam_sss.so")+"\n")
		}, args: asWebUser, want: wanted{levelError, "rights.sssd", "sssd-unreachable", "systemctl enable --now sssd"},
			// SSSD does not run here: another module is asked instead
			apply: shell("sed -i 's/[^ ]*pam_sss.so/pam_userdb.so db=accounts/' pam.d/dockerauth")},

		{name: "no state folder", make: then(readable, edits("config.yml", `state: ""`, "state: state")),
			args: asWebUser,
			want: wanted{levelError, "rights.state", "state-unusable", "/state"}},
		{name: "an empty state folder of root's", make: then(readable, shell("mkdir -m 700 state"),
			edits("config.yml", `state: ""`, "state: state")), args: asWebUser,
			want: wanted{levelError, "rights.state", "state-unusable", "install -d -o " + webUser}},
		{name: "another service's state folder", make: then(readable, shell("install -d -o games -m 700 state"),
			edits("config.yml", `state: ""`, "state: state")), args: asWebUser,
			want: wanted{levelError, "rights.state", "state-unusable", "/state-" + webUser}},
		{name: "a folder of something else's for state",
			make: then(readable, edits("config.yml", `state: ""`, "state: pam.d")),
			args: asWebUser, want: wanted{levelError, "rights.state", "state-unusable", "/pam.d-" + webUser}},
		{name: "a file for state", make: then(readable, edits("config.yml", `state: ""`, "state: cert.pem")),
			args: asWebUser,
			want: wanted{levelError, "rights.state", "state-unusable", "/cert.pem-" + webUser}},
		{name: "a state folder that is open to others",
			make: then(readable, shell("install -d -o "+webUser+" -m 755 state"),
				edits("config.yml", `state: ""`, "state: state")), args: asWebUser,
			want: wanted{levelError, "rights.state", "state-unusable", "chmod 0700 /"}},

		{name: "root's log",
			make: then(readable, shell("echo x >auth.log"),
				edits("config.yml", "issuer:", "log: {file: auth.log}\nissuer:")),
			args: asWebUser, want: wanted{levelError, "rights.log", "log-unwritable", "/auth.log"}},
		{name: "a log that cannot be made",
			make: then(readable, edits("config.yml", "issuer:", "log: {file: auth.log}\nissuer:")),
			args: asWebUser, want: wanted{levelError, "rights.log", "log-unwritable", "/auth.log"}},
		{name: "another service's log", make: then(readable, shell("install -o games /dev/null auth.log"),
			edits("config.yml", "issuer:", "log: {file: auth.log}\nissuer:")), args: asWebUser,
			want:  wanted{levelError, "rights.log", "log-unwritable", "/config.yml:3"},
			apply: then(shell("install -o "+webUser+" /dev/null own.log"), edits("config.yml", "auth.log", "own.log"))},
		{name: "a log that is a folder",
			make: then(readable, edits("config.yml", "issuer:", "log: {file: pam.d}\nissuer:")),
			args: asWebUser, want: wanted{levelError, "rights.log", "log-unwritable", "/config.yml:3"},
			apply: then(shell("install -o "+webUser+" /dev/null own.log"),
				edits("config.yml", "file: pam.d", "file: own.log"))},
		{name: "a log in no folder",
			make: then(readable, edits("config.yml", "issuer:", "log: {file: absent/auth.log}\nissuer:")),
			args: asWebUser, want: wanted{levelError, "rights.log", "log-unwritable", "install -d -o " + webUser}},
		{name: "a log that is a folder, seen by root",
			make:  edits("config.yml", "issuer:", "log: {file: pam.d}\nissuer:"),
			want:  wanted{levelError, "rights.log", "log-unwritable", "/pam.d"},
			apply: edits("config.yml", "log: {file: pam.d}\n", "")},
		{name: "a log in no folder, seen by root",
			make: edits("config.yml", "issuer:", "log: {file: absent/auth.log}\nissuer:"),
			want: wanted{levelError, "rights.log", "log-unwritable", "/absent"}},
		{name: "a state folder that is not there, seen by root",
			make: edits("config.yml", `state: ""`, "state: absent"),
			want: wanted{levelError, "rights.state", "state-unusable", "/absent"}},
		{name: "a state folder that is open to others, seen by root",
			make: then(shell("mkdir -m 755 state"), edits("config.yml", `state: ""`, "state: state")),
			want: wanted{levelError, "rights.state", "state-unusable", "it is open to others: its mode is 0755"}},
		{name: "a damaged state folder, seen by root",
			make: then(shell("install -d -o "+webUser+" -m 700 state && echo garbage >state/kept.db"),
				edits("config.yml", `state: ""`, "state: state")),
			want: wanted{levelNotAsked, "rights.state", "", "check --as " + webUser}},
		{name: "tokens only, and no state", make: then(readable,
			edits("config.yml", `state: ""`, "state: \"\"\npasswords: {allow: tokens-only}")), args: asWebUser,
			want: wanted{levelError, "rights.state", "state-missing", "nobody can log in"}, apply: ownState},
		{name: "tokens only, and no state, seen by root",
			make:  edits("config.yml", `state: ""`, "state: \"\"\npasswords: {allow: tokens-only, except: [root]}"),
			want:  wanted{levelError, "rights.state", "state-missing", "nobody but passwords.except can log in"},
			apply: ownState},
		{name: "a state folder that is a file, seen by root", make: edits("config.yml", `state: ""`, "state: cert.pem"),
			want: wanted{levelError, "rights.state", "state-unusable", "/cert.pem"}},

		{name: "the service's user may change the configuration",
			make: shell("chown " + webUser + " config.yml privkey.pem"),
			args: asWebUser, want: wanted{levelWarning, "rights.config", "config-writable", "/config.yml"}},
		{name: "the service's user may change the PAM service",
			make: then(readable, shell("chown "+webUser+" pam.d/dockerauth")),
			args: asWebUser, want: wanted{levelWarning, "rights.config", "config-writable", "/pam.d/dockerauth"}},
		{name: "the service's user may put another PAM service in its place",
			make: then(readable, shell("chown "+webUser+" pam.d")), args: asWebUser,
			want: wanted{levelWarning, "rights.config", "config-writable", "/pam.d"}},
		{name: "somebody else owns config.yml", make: then(readable, shell("chown games config.yml")),
			args: asWebUser, want: wanted{levelWarning, "rights.owner", "other-owner", "games owns /"}},
		{name: "somebody else owns the key", make: then(readable, shell("chown games privkey.pem")), args: asWebUser,
			want: wanted{levelWarning, "rights.owner", "other-owner", "can sign tokens"}},
		{name: "somebody else owns all", make: then(readable, shell("chown games . config.yml privkey.pem pam.d "+
			"pam.d/dockerauth")), args: asWebUser,
			want: wanted{levelWarning, "rights.owner", "other-owner", " and 4 more"}},
		{name: "an ordinary user owns the folder", make: shell("chown nobody ."),
			want: wanted{levelWarning, "rights.owner", "other-owner", "chown root /"}},
		{name: "root as the service's user", args: []string{"--as", "root"},
			want:  wanted{levelWarning, "rights", "runs-as-root", "User=dockerauth"},
			apply: func(t *testing.T, _ *patient) { t.Skip("changes a unit") }},
	} {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			m.root = true
			p := newPatientIn(t, planted)
			p.run(t, "cp", p.path("pam.d/dockerauth"), p.path("shipped"))
			m.try(t, p)
		})
	}
	t.Run("the right by a service manager", func(t *testing.T) {
		needsRoot(t)
		p := newPatientIn(t, planted)
		readable(t, p)
		findings, _ := p.check(t, asWebUser...)
		wanted{levelOK, "rights", "", "can read /etc/shadow as " + webUser}.in(t, findings)
	})
}

// A service does not start from a set-group-id program, and logs to no web server.
func TestAServiceOfAnotherUserIsNoProgramOfAWebServer(t *testing.T) {
	needsRoot(t)
	const own = "games" // an account of every Debian, which no web server has
	if _, err := user.Lookup(own); err != nil {
		t.Skip(err)
	}
	p := newPatient(t)
	p.run(t, "chgrp", own, p.path("privkey.pem"))
	p.run(t, "chmod", "0640", p.path("privkey.pem"))
	p.edit(t, "config.yml", "issuer:", "log: {file: auth.log}\nissuer:")
	findings, _ := p.check(t, "--as", own)
	wanted{levelError, "rights.shadow", "shadow-unreadable", "SupplementaryGroups=shadow in the [Service] section " +
		"of its unit, and look again with that group: dockerauth check --as " + own + ":shadow "}.in(t, findings)
	wanted{levelError, "rights.log", "log-unwritable", "the service does not start"}.in(t, findings)
	findings, _ = p.check(t, "--as", own+":shadow")
	wanted{levelOK, "rights", "", "can read /etc/shadow as " + own}.in(t, findings)
}

func TestTheDefaultFolderThatIsMissingIsNamed(t *testing.T) {
	needsRoot(t)
	if _, err := os.Stat(config.DefaultState); err == nil {
		t.Skip(config.DefaultState + " is there")
	}
	p := newPatient(t)
	p.run(t, "chown", webUser, p.path("privkey.pem"))
	p.edit(t, "config.yml", "state: \"\"\n", "")
	findings, _ := p.check(t)
	wanted{levelOK, "rights", "", "token issue\" needs it: install -d -o "}.in(t, findings)
	findings, _ = p.check(t, "--as", webUser+":shadow")
	wanted{levelWarning, "rights.state", "state-missing", "there are no tokens; install -d -o "}.in(t, findings)
	p.edit(t, "config.yml", "issuer:", "passwords: {allow: tokens-only}\nissuer:")
	for _, args := range [][]string{nil, {"--as", webUser + ":shadow"}, {"--as", "games:shadow"}} {
		findings, _ = p.check(t, args...)
		wanted{levelError, "rights.state", "state-missing", "nobody can log in"}.in(t, findings)
	}
}

// The packaged service runs as its own user. What another user lacks must not be given to it.
func TestAnotherUserOfThePackagedServiceIsGivenNothing(t *testing.T) {
	needsRoot(t)
	const own = "games" // an account of every Debian, in place of dockerauth
	if _, err := user.Lookup(own); err != nil {
		t.Skip(err)
	}
	root := plant(t, map[string]string{
		"usr/lib/systemd/system/dockerauth.service": "[Service]\nUser=" + own + "\nSupplementaryGroups=shadow\n"})
	for path, want := range map[string]string{systemConfig: own, "/srv/dockerauth/config.yml": webUser} {
		c := checkup{root: root, as: webUser, settings: &config.Config{Path: path}}
		_ = c.serviceUser() // these tests' program may be where that user cannot start it
		if c.as != want {
			t.Errorf("%s: looks as %s, want %s", path, c.as, want)
		}
		at := slices.IndexFunc(c.list, func(f finding) bool { return f.Code == "wrong-user" })
		if (at >= 0) != (want == own) || at >= 0 && c.list[at].Remedy != "dockerauth check --as "+own {
			t.Errorf("%s:\n%s", path, listed(c.list))
		}
	}
}

// The packaged unit lets the service write to few places, and hides home folders. The user alone
// may do more.
func TestWhatTheUnitKeepsFromTheServiceIsNamed(t *testing.T) {
	const own, lib = "[Service]\nUser=games\n", "usr/lib/systemd/system/"
	shipped, err := os.ReadFile("../packaging/systemd/dockerauth.service")
	if err != nil {
		t.Fatal(err)
	}
	packaged := map[string]string{lib + serviceUnit: string(shipped), lib + socketUnit: "[Socket]\n"}
	bare := map[string]string{lib + serviceUnit: "[Service]\nProtectSystem=strict\n"}
	with := func(dropIn string) map[string]string {
		return map[string]string{lib + serviceUnit: string(shipped), lib + socketUnit: "[Socket]\n",
			"etc/systemd/system/dockerauth.service.d/x.conf": "[Service]\n" + dropIn + "\n"}
	}
	const restart = "systemctl restart dockerauth.service"
	const no = "permission denied"
	for _, tt := range []struct {
		name  string
		files map[string]string
		key   string // of config.yml
		why   string // the answer to the attempt
		want  string
		says  string
	}{
		{"no unit", nil, "state: /srv/absent", "", "", ""},
		{"a unit of no restrictions", map[string]string{lib + serviceUnit: own}, "state: /srv/absent", "", "", ""},
		{"the unit's state folder", packaged, "state: /var/lib/dockerauth", "", "", ""},
		{"the unit's state folder, which is another user's", packaged, "state: /var/lib/dockerauth", no,
			"warning rights.state state-unusable", "; " + restart},
		{"a state folder elsewhere", packaged, "state: /srv/absent", "",
			"error rights.state state-unusable", "sed -i '/^state:/c state: /var/lib/dockerauth' CONFIG && " + restart},
		{"a state folder elsewhere, which is not there", packaged, "state: /srv/absent", "no such file or directory",
			"error rights.state state-unusable", "ProtectSystem=strict"},
		{"a state folder elsewhere that a drop-in allows", with("ReadWritePaths=-/srv/absent"), "state: /srv/absent",
			"", "", ""},
		{"a unit without a state folder", bare, "state: /srv/absent", "",
			"error rights.state state-unusable", "'StateDirectory=dockerauth' 'StateDirectoryMode=0700' >/"},
		{"the unit's log", packaged, "log:\n  file: /var/log/dockerauth/dockerauth.log", "", "", ""},
		{"a device", packaged, "log: {file: /dev/stderr}", "", "", ""},
		{"a log beside the unit's", packaged, "log:\n  file: /var/log/dockerauth.log", no,
			"error rights.log log-unwritable",
			"sed -i '2s|file:.*|file: /var/log/dockerauth/dockerauth.log|' CONFIG && " + restart},
		{"a log beside the unit's, which the user may write", packaged, "log:\n  file: /var/log/dockerauth.log", "",
			"error rights.log log-unwritable", "the service answers 503"},
		{"a log on a line with others", packaged, "log: {file: /srv/log}", "",
			"error rights.log log-unwritable", "write /var/log/dockerauth/dockerauth.log as log.file at CONFIG:1"},
		{"a log in a home folder", with("ReadWritePaths=/home"), "log: {file: /home/absent/log}", "",
			"error rights.log log-unwritable", "ProtectHome=yes"},
		{"a unit without a folder for logs", bare, "log:\n  file: /srv/log", "", "error rights.log log-unwritable",
			"'LogsDirectory=dockerauth' 'LogsDirectoryMode=0750' >/"},
		{"a unit that protects /etc alone", map[string]string{lib + serviceUnit: "[Service]\nProtectSystem=full\n"},
			"log:\n  file: /etc/dockerauth/log", "", "error rights.log log-unwritable", "ProtectSystem=full"},
		{"a log that such a unit leaves alone", map[string]string{
			lib + serviceUnit: "[Service]\nProtectSystem=full\n"}, "log:\n  file: /srv/log", "", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPatient(t)
			p.write(t, "config.yml", tt.key+"\n"+strings.Replace(p.read(t, "config.yml"), "state: \"\"\n", "", 1))
			cfg, err := config.LoadTolerant(p.path("config.yml"))
			if err != nil {
				t.Fatal(err)
			}
			c := checkup{root: plant(t, tt.files), settings: cfg}
			if len(tt.files) > 0 { // the unit is about this configuration
				sow(t, c.root, map[string]string{"etc/systemd/system/dockerauth.service.d/y.conf": "[Service]\n" +
					"ExecStart=/usr/bin/dockerauth fastcgi --config " + cfg.Path + "\n"})
			}
			for _, trial := range c.writeChecks(&runAs{name: "dockerauth", group: "dockerauth", isServiceUser: true}) {
				if trial.Path != config.DefaultState || strings.HasPrefix(tt.key, "state") {
					trial.judge(tt.why)
				}
			}
			says := strings.ReplaceAll(tt.says, "CONFIG", cfg.Path)
			c.expectCodes(t, tt.want, says)
		})
	}
}

func TestFilesThatTheUnitHidesAreNamed(t *testing.T) {
	shipped, err := os.ReadFile("../packaging/systemd/dockerauth.service")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	const unitFile = "usr/lib/systemd/system/" + serviceUnit
	for _, tt := range []struct{ name, dropIn, complaints, says string }{
		{"a home folder", "", "error rights.private_key unreadable",
			"install -g dockerauth -m 0640 /home/absent/privkey.pem /etc/dockerauth/privkey.pem && sed -i " +
				"'/^private_key:/c private_key: /etc/dockerauth/privkey.pem' "},
		{"a home folder that a drop-in opens", "ProtectHome=no\n", "error rights.folder folder-closed",
			"cannot enter /home/absent"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPatient(t)
			p.edit(t, "config.yml", "privkey.pem", "/home/absent/privkey.pem")
			cfg, _ := config.LoadTolerant(p.path("config.yml")) // the key is not there
			c := checkup{settings: cfg, root: plant(t, map[string]string{unitFile: string(shipped),
				unitFile + ".d/x.conf": "[Service]\nExecStart=/usr/bin/dockerauth fastcgi --config " + cfg.Path + "\n" +
					tt.dropIn})}
			c.examineServiceUser(&runAs{name: "dockerauth", group: "dockerauth", isServiceUser: true, program: program})
			c.expectCodes(t, tt.complaints, tt.says)
		})
	}
}

func TestAServiceThatRunsKeepsItsKey(t *testing.T) {
	for _, tt := range []struct {
		subject       string
		isServiceUser bool
		want          string
	}{
		{"private_key", true, "the service answers 503 from its next start on"},
		{"private_key", false, "the service answers 503"}, // a web server starts it for each request
		{"pam", true, "the service answers 503"},
	} {
		got := (unreadable{subject: tt.subject}).consequence(&runAs{isServiceUser: tt.isServiceUser})
		if got != tt.want {
			t.Errorf("%+v: %s", tt, got)
		}
	}
}
