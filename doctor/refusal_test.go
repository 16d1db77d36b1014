package doctor

import (
	"strings"
	"testing"

	"dockerauth/config"
	"dockerauth/pamauth"
)

// Each row is a rule that keeps an account out which has shown its password. PAM and its modules
// are real. EXEC stands for a module that wants the password, "@/" for the folder.
func TestARefusalIsExplainedByItsLine(t *testing.T) {
	const password, permit = "auth required EXEC\n", "account required pam_permit.so\n"
	tests := []struct {
		name, text, make, login string
		says                    string                         // after the service file's path, if it begins so
		apply                   func(t *testing.T, p *patient) // where the remedy is prose
		root                    bool
	}{
		{
			name: "a rule about uids in both phases",
			text: "auth requisite pam_succeed_if.so quiet uid >= 2 uid ne 65534\n" +
				password + "account requisite pam_succeed_if.so quiet uid >= 2 uid ne 65534\n" + permit,
			says: ":1: pam_succeed_if.so refuses uid 1: it wants uid >= 2",
		},
		{name: "a rule about uids of the account phase", text: password +
			"account required pam_succeed_if.so quiet uid ge 1000\n" + permit,
			says: ":2: pam_succeed_if.so refuses uid 1: it wants uid ge 1000"},
		{
			name: "an account that is not there",
			text: "auth requisite pam_succeed_if.so quiet uid >= 1000\n" + password +
				permit,
			login: "no-such-account",
			says:  `refuses "no-such-account", which is no account of this machine`,
			apply: func(t *testing.T, p *patient) {
				t.Helper()
				p.edit(t, "pam.d/dockerauth", "uid >= 1000", "user = no-such-account")
			},
		},
		{
			name: "a rule about groups",
			text: password + "account required pam_succeed_if.so user ingroup no-such:staff\n" +
				permit,
			says: `:2: pam_succeed_if.so refuses "daemon": it wants user ingroup no-such:staff`,
			apply: func(t *testing.T, p *patient) {
				t.Helper()
				p.edit(t, "pam.d/dockerauth", "no-such:staff", "daemon")
			},
		},
		{name: "a list of names", text: password + "account required pam_succeed_if.so user in alice:bob\n" + permit,
			says: `refuses "daemon": it wants user in alice:bob`, apply: func(t *testing.T, p *patient) {
				t.Helper()
				p.edit(t, "pam.d/dockerauth", "alice:bob", "alice:daemon")
			}},
		{name: "access.conf", text: password + "account required pam_access.so accessfile=@/access.conf\n" + permit,
			make: `printf '# mine\n+ : root (no-such) : LOCAL\n- : ALL EXCEPT root : ALL\n' > pam.d/access.conf`,
			says: "/access.conf:3: - : ALL EXCEPT root : ALL"},
		{
			name: "access.conf by a group",
			text: password + "account required pam_access.so accessfile=@/access.conf\n" +
				permit,
			make: `printf -- '-:(daemon) bin:LOCAL\n' > pam.d/access.conf`,
			says: "/access.conf:1: -:(daemon) bin:LOCAL",
		},
		{name: "a list of those who may", text: "auth required pam_listfile.so item=user sense=allow file=@/may " +
			"onerr=fail\n" + password + permit, make: "echo alice > pam.d/may",
			says: `:1: pam_listfile.so refuses "daemon", which is not in `},
		{name: "a list of those who may not", text: "auth required pam_listfile.so item=user sense=deny file=@/not " +
			"onerr=fail\n" + password + permit, make: "(echo alice; echo daemon) > pam.d/not",
			says: `:1: pam_listfile.so refuses "daemon", since `},
		{
			name: "a list of groups who may not",
			text: "auth required pam_listfile.so item=group sense=deny file=@/not\n" +
				password + permit,
			make: "echo daemon > pam.d/not",
			says: "pam.d/not has daemon",
		},
		{
			name: "a list that anyone may change",
			text: "auth required pam_listfile.so item=user sense=allow file=@/may\n" +
				password + permit,
			make: "echo daemon > pam.d/may && chmod 666 pam.d/may",
			says: "anyone may write to ",
		},
		{
			name:  "a machine that is closed",
			text:  password + "account required pam_nologin.so file=@/nologin\n" + permit,
			make:  "echo soon > pam.d/nologin",
			says:  ":2: pam_nologin.so refuses everybody while there is ",
			apply: shell("rm pam.d/nologin"),
		},
		{
			name: "too many failures",
			text: "auth required pam_faillock.so preauth dir=@/tally deny=2 unlock_time=900\n" +
				"auth [success=1 default=ignore] EXEC\n" +
				"auth [default=die] pam_faillock.so authfail dir=@/tally deny=2\n" +
				"auth required pam_faillock.so authsucc dir=@/tally deny=2\n" + permit,
			make: "mkdir pam.d/tally && for n in 1 2; do echo wrong | " +
				"./program check --config config.yml --login daemon; done; true",
			says: `:1: pam_faillock.so has locked "daemon" until `,
			root: true,
		},
		{name: "too many failures, for good", text: "auth required pam_faillock.so preauth dir=@/tally deny=1 " +
			"unlock_time=0\nauth [success=1 default=ignore] EXEC\n" +
			"auth [default=die] pam_faillock.so authfail dir=@/tally deny=1 unlock_time=0\n" +
			"auth required pam_faillock.so authsucc dir=@/tally deny=1 unlock_time=0\n" +
			permit, make: "mkdir pam.d/tally; echo wrong | ./program check --config config.yml --login daemon; true",
			says: `has locked "daemon" for good`, root: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newPatient(t)
			p.write(t, "ask", "#!/bin/sh\n[ \"$(tr -d '\\0')\" = wonderland ]\n")
			p.run(t, "chmod", "755", p.path("ask"))
			p.run(t, "mv", p.program, p.path("program"))
			p.write(t, "dockerauth", "#!/bin/sh\necho wonderland | exec "+p.path("program")+" \"$@\"\n")
			p.run(t, "chmod", "755", p.program)
			says, login := tt.says, tt.login
			if strings.HasPrefix(says, ":") {
				says = p.path("pam.d/dockerauth") + says
			}
			if login == "" {
				login = "daemon"
			}
			m := mistake{make: func(t *testing.T, p *patient) {
				t.Helper()
				p.service(t, strings.ReplaceAll(tt.text, "EXEC", "pam_exec.so expose_authtok quiet "+p.path("ask")))
				shell("umask 022; "+tt.make)(t, p)
			}, args: []string{"--login", login}, want: wanted{levelError, "login", "login-refused-by-rule", says},
				apply: tt.apply, root: tt.root}
			m.try(t, p)
		})
	}
}

// Where pam_unix alone is asked, the account tells the rest.
func TestARefusalIsExplainedByTheAccount(t *testing.T) {
	needsRoot(t)
	if field, found := shadowField("daemon"); !found || field != "*" {
		t.Skip("daemon has no locked entry in /etc/shadow here")
	}
	for _, tt := range []struct{ name, login, code, says, fix string }{
		{"no account", "no-such-account", "PAM_USER_UNKNOWN", `no account "no-such-account"`, "getent passwd"},
		{"an expired account", "daemon", "PAM_ACCT_EXPIRED", "has expired", "chage -E -1 -I -1 daemon"},
		{"a password that is due", "daemon", "PAM_NEW_AUTHTOK_REQD", "has to be changed", "passwd daemon"},
		{"no password", "daemon", "PAM_AUTH_ERR", `"daemon" has no password`, "passwd daemon"},
	} {
		c := checkup{
			config: &config.Config{},
			stack:  []pamauth.Line{{Phase: "auth", Module: "pam_unix.so", File: "/f"}},
		}
		what, _, fix, ok := c.refusalOf("auth", newLocalAccount(tt.login, "dockerauth"), tt.code)
		if !ok || !strings.Contains(what, tt.says) || !strings.Contains(fix, tt.fix) {
			t.Errorf("%s: %q, %q", tt.name, what, fix)
		}
	}
}
