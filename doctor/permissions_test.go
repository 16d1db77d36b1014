package doctor

import (
	"os"
	"os/user"
	"slices"
	"testing"

	"dockerauth/config"
)

// Mistakes about what the service's user may do. Each takes root, who can look as another user.
func TestCheckNamesEachMistakeOfRights(t *testing.T) {
	asWebUser := []string{"--as", webUser + ":shadow"}
	// The web server's user may read the key, so that only the mistake is wrong.
	readable := shell("chgrp " + webUser + " privkey.pem && chmod 640 privkey.pem")
	for _, m := range []mistake{
		{name: "the key is out of reach", make: shell("chown root:root privkey.pem"), args: asWebUser,
			want: wanted{levelError, "rights.private_key", "unreadable", "/privkey.pem"}},
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
		{name: "root as the service's user", args: []string{"--as", "root"},
			want:  wanted{levelWarning, "rights", "runs-as-root", "User=dockerauth"},
			apply: func(t *testing.T, _ *patient) { t.Skip("changes a unit") }},
	} {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			m.root = true
			p := newPatient(t)
			p.run(t, "cp", p.path("pam.d/dockerauth"), p.path("shipped"))
			m.try(t, p)
		})
	}
	t.Run("the right by a service manager", func(t *testing.T) {
		needsRoot(t)
		p := newPatient(t)
		readable(t, p)
		findings, _ := p.check(t, asWebUser...)
		wanted{levelOK, "rights", "", "can read /etc/shadow as " + webUser}.in(t, findings)
	})
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
