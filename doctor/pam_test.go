package doctor

import (
	"os"
	"strings"
	"testing"
)

// service replaces the PAM service file. "@/" in it is the folder of service files.
func (p *patient) service(t *testing.T, text string) {
	t.Helper()
	p.write(t, "pam.d/dockerauth", strings.ReplaceAll(text, "@/", p.path("pam.d")+"/"))
}

// Each row is a mistake in the service file. pamauth's TestLinesThatLibpamDoesNotTake asks libpam
// about the same ones.
func TestMistakesInTheServiceFile(t *testing.T) {
	const unix, account = "auth required pam_unix.so nodelay\n", "account required pam_unix.so\n"
	tests := []struct {
		name  string
		text  string // of the service file; "" = make
		make  string // a shell command
		level level  // levelError if empty
		code  string
		says  string                          // after the service file's path, where it begins with a colon
		write string                          // what the remedy, which is prose, has one write; "" = it is a command
		check func(t *testing.T, text string) // looks at the service file afterwards; nil = not looked at
	}{
		{name: "a misspelled control", text: "auth requred pam_unix.so nodelay\n" + account, code: "pam-line-invalid",
			says: `:1: unknown control "requred"`, check: holds("auth required pam_unix.so")},
		{
			name:  "a misspelled control on a continued line",
			text:  "auth \\\n  requred \\\n pam_unix.so nodelay\n" + account,
			code:  "pam-line-invalid",
			says:  `:1: unknown control "requred"`,
			check: holds("  required \\"),
		},
		{name: "a control that is swapped", text: unix + "account reuqired pam_unix.so\n", code: "pam-line-invalid",
			says: `:2: unknown control "reuqired"`, check: holds("account required pam_unix.so")},
		{name: "no control", text: "auth pam_unix.so nodelay\n" + account, code: "pam-line-invalid",
			says: `:1: no control before the module "pam_unix.so"`, check: holds("auth required pam_unix.so nodelay")},
		{name: "a result in capitals", text: "auth [SUCCESS=ok default=die] pam_unix.so nodelay\n" + account,
			code: "pam-line-invalid", says: `:1: unknown result "SUCCESS"`, check: holds("[success=ok default=die]")},
		{name: "a misspelled result", text: "auth [success=ok defualt=die] pam_unix.so nodelay\n" + account,
			code: "pam-line-invalid", says: `:1: unknown result "defualt"`, check: holds("[success=ok default=die]")},
		{name: "an action in capitals", text: "auth [success=OK default=die] pam_unix.so nodelay\n" + account,
			code: "pam-line-invalid", says: `:1: unknown action "OK"`, check: holds("[success=ok default=die]")},
		{name: "a misspelled action", text: "auth [success=okay default=die] pam_unix.so nodelay\n" + account,
			code: "pam-line-invalid", says: `:1: unknown action "okay"`, check: holds("[success=ok default=die]")},
		{name: "a jump over nothing", text: "auth [default=die success=0] pam_unix.so nodelay\n" +
			"auth required pam_permit.so\n" + account, code: "pam-line-invalid", says: `:1: a jump over no lines, "0"`,
			write: "auth [success=ok default=die] pam_unix.so nodelay\nauth required pam_permit.so\n" + account},
		{name: "a jump past the end", text: "auth [success=2 default=ignore] pam_unix.so nodelay\n" +
			"auth requisite pam_deny.so\n" + account, code: "pam-line-invalid",
			says: ":1: success=2 jumps past the last line of auth",
			write: "auth [success=1 default=ignore] pam_unix.so nodelay\nauth requisite pam_deny.so\n" +
				"auth required pam_permit.so\n" + account},
		{name: "a bracket that does not close", text: "auth [success=ok default=die pam_unix.so nodelay\n" + account,
			code: "pam-line-invalid", says: ":1: the bracket of the control does not close", write: unix + account},
		{name: "a misspelled type", text: unix + "acount required pam_unix.so\n" + account, code: "pam-line-invalid",
			says: `:2: unknown type "acount"`, check: holds("\naccount required pam_unix.so\naccount ")},
		{name: "another comment sign", text: "; mine\n" + unix + account, code: "pam-line-invalid",
			says: ":1: unknown type of 1 bytes", check: holds("# ; mine\n")},
		{name: "no module", text: "auth required\n" + account, code: "pam-line-invalid", says: ":1: no module",
			write: unix + account},
		{name: "line ends of Windows", text: strings.ReplaceAll(unix+account, "\n", "\r\n"), code: "pam-line-invalid",
			says: ":1: a carriage return at the end", check: holds(unix + account)},
		{name: "a byte order mark", text: "\ufeff" + unix + account, code: "pam-line-invalid",
			says: ":1: a byte order mark", check: holds(unix + account)},
		{
			name:  "a NUL character",
			text:  unix + "account required\x00 pam_unix.so\n" + account,
			code:  "pam-line-invalid",
			says:  ":2: a NUL character",
			write: unix + account,
		},
		{name: "a backslash at the end", text: unix + account + "session optional pam_permit.so \\",
			code: "pam-line-invalid", says: ":3: a backslash at the end of the file",
			check: holds("session optional pam_permit.so ")},
		{name: "a continuation over a comment", text: "auth required \\\n# why\n pam_unix.so nodelay\n" + account,
			code: "pam-line-invalid", says: ":1: a backslash continues it with an empty line or a comment",
			check: holds("auth required \\\n pam_unix.so")},
		{name: "a line that is too long", text: "# " + strings.Repeat("x", 1100) + "\n" + unix + account,
			code: "pam-line-invalid", says: ":1: longer than 1022 bytes", write: unix + account},
		{
			name:  "an include that names itself",
			text:  unix + account + "@include @/dockerauth\n",
			code:  "pam-line-invalid",
			says:  "includes itself",
			write: unix + account,
		},
		{name: "an include with a mistyped name", text: "auth include @/shraed\n" + account,
			make: "echo auth required pam_unix.so nodelay > pam.d/shared", code: "pam-include-missing",
			says: "/pam.d/shraed\": no such file", check: holds("/pam.d/shared\n")},
		{name: "an include that is looked up in the system's folder", text: "auth include here\n" + account,
			make: "echo auth required pam_unix.so nodelay > pam.d/here", code: "pam-include-missing",
			says: `includes "/etc/pam.d/here": no such file`, check: holds("/pam.d/here\n")},
		{name: "an include of nothing", text: unix + "account include @/nowhere\n", code: "pam-include-missing",
			says: `/pam.d/nowhere": no such file`, write: unix + account},
		{name: "no account phase", text: unix, code: "pam-phase-missing", says: `has no "account" line`,
			check: holds("account required pam_unix.so")},
		{name: "no account phase behind an unfinished last line", text: strings.TrimSuffix(unix, "\n"),
			code: "pam-phase-missing", says: `has no "account" line`, check: holds(unix)},
		{name: "no auth phase", text: account, code: "pam-phase-missing", says: `has no "auth" line`,
			check: holds("auth required pam_unix.so nodelay")},
		{name: "an empty file", text: "\n", code: "pam-phase-missing", says: `has no "auth" line`},
		{name: "no file", make: "rm pam.d/dockerauth", code: "pam-file-missing", says: "there is no /"},
		{
			name: "a folder in its place",
			make: "rm pam.d/dockerauth && mkdir pam.d/dockerauth",
			code: "pam-file-unusable",
			says: "not a regular file",
		},
		{name: "a named pipe in its place", make: "rm pam.d/dockerauth && mkfifo pam.d/dockerauth",
			code: "pam-file-unusable", says: "not a regular file"},
		{name: "a file that anyone may change", make: "chmod 666 pam.d/dockerauth", code: "pam-file-writable",
			says: "anyone may write to it"},
		{name: "a folder that anyone may change", make: "chmod 777 pam.d", code: "pam-file-writable",
			says: "anyone may put another file in its place"},
		{name: "an included file that anyone may change", text: "auth include @/more\n" + account,
			make: "echo auth required pam_unix.so nodelay > pam.d/more && chmod 666 pam.d/more",
			code: "pam-file-writable", says: "/pam.d/more\": anyone may write to it"},

		{name: "nobody needs a password", text: "auth required pam_permit.so\n" + account, code: "pam-bypass",
			says: ":1: pam_permit.so lets people in"},
		{
			name: "an optional password",
			text: "auth optional pam_unix.so nodelay\nauth required pam_permit.so\n" + account,
			code: "pam-bypass",
			says: ":2: pam_permit.so lets people in",
		},
		{
			name: "a stack that refuses everybody",
			text: "auth requisite pam_deny.so\n" + account,
			code: "pam-refuses-all",
			says: "refuses everybody in the phase auth",
		},
		{name: "an account phase that refuses everybody", text: unix + "account required pam_deny.so\n",
			code: "pam-refuses-all", says: "refuses everybody in the phase account"},
		{name: "a mistyped module", text: "auth required pam_unx.so nodelay\n" + account, code: "module-missing",
			says: ":1: pam_unx.so", check: holds("pam_unix.so nodelay")},
		{
			name:  "a module without its suffix",
			text:  "auth required pam_unix nodelay\n" + account,
			code:  "module-missing",
			says:  ":1: pam_unix is not installed",
			check: holds("pam_unix.so nodelay"),
		},
		{name: "a missing module with a dash that is required", text: unix + "-account required pam_unx.so\n",
			code: "module-missing", says: ":2: pam_unx.so"},
		{name: "a missing module that PAM skips", text: "auth optional pam_unx.so\n" + unix + account,
			level: levelWarning, code: "module-skipped", says: ":1: pam_unx.so", write: unix + account},
		{name: "a module that both phases miss", text: "auth required pam_mine.so\naccount required pam_mine.so\n",
			code: "module-missing", says: ":1: pam_mine.so", write: unix + account},
		{name: "no such module", text: unix + "account required pam_mine.so\n", code: "module-missing",
			says: ":2: pam_mine.so", write: unix + account},
		{name: "no module at all", text: unix + "account required /etc/passwd\n", code: "module-unusable",
			says: ":2: /etc/passwd", write: unix + account},
		{name: "a module that has not the phase", text: unix + "account required pam_env.so\n", code: "",
			level: levelOK, says: "pam_env.so loads"},
		{name: "a comparison with its signs swapped", text: "auth requisite pam_succeed_if.so quiet uid => 1000\n" +
			unix + account, code: "pam-rule-invalid", says: `:1: pam_succeed_if.so: "=>" is no comparison`,
			check: holds("quiet uid >= 1000\n")},
		{name: "a comparison with two signs", text: "auth requisite pam_succeed_if.so user == alice\n" + unix + account,
			code: "pam-rule-invalid", says: `:1: pam_succeed_if.so: "==" is no comparison`,
			check: holds("user = alice\n")},
		{name: "a mistyped attribute", text: unix + "account requisite pam_succeed_if.so udi >= 1000\n" + account,
			code: "pam-rule-invalid", says: `:2: pam_succeed_if.so: "udi" is no attribute`,
			check: holds("pam_succeed_if.so uid >= 1000")},
		{name: "a comparison in two words", text: "auth requisite pam_succeed_if.so uid > = 1000\n" + unix + account,
			code: "pam-rule-invalid", says: `:1: pam_succeed_if.so: "=" is no number`, write: unix + account},
		{name: "a condition without a value", text: "auth requisite pam_succeed_if.so uid >=\n" + unix + account,
			code: "pam-rule-invalid", says: ":1: pam_succeed_if.so: the last condition is not complete",
			write: unix + account},
		{name: "a list that is not there", text: "auth requisite pam_listfile.so item=user sense=deny file=@/not\n" +
			unix + account, code: "pam-rule-invalid", says: ":1: pam_listfile.so: there is no /"},
		{name: "a list without its sense", text: "auth requisite pam_listfile.so item=user file=@/not\n" + unix +
			account, code: "pam-rule-invalid", says: ":1: pam_listfile.so: no sense=allow or sense=deny",
			write: unix + account},
		{
			name:  "pam_unix that waits",
			text:  "auth required pam_unix.so try_first_pass\n" + account,
			level: levelWarning,
			code:  "pam-delay",
			says:  ":1: pam_unix.so",
			check: holds("pam_unix.so nodelay try_first_pass"),
		},
		{name: "pam_faildelay", text: "auth optional pam_faildelay.so delay=2000000\n" + unix + account,
			level: levelWarning, code: "pam-delay", says: ":1: pam_faildelay.so",
			check: holds("pam_faildelay.so delay=0\n")},
		{name: "pam_faildelay with login.defs' delay", text: "auth optional pam_faildelay.so\n" + unix + account,
			level: levelWarning, code: "pam-delay", says: ":1: pam_faildelay.so",
			check: holds("pam_faildelay.so delay=0\n")},
		{name: "pam_unix that waits in a file of others", text: "auth include @/shared\n" + account,
			make: "echo auth required pam_unix.so > pam.d/shared", level: levelWarning, code: "pam-delay",
			says: "/shared:1: pam_unix.so", write: unix + account},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newPatient(t)
			says := tt.says
			if strings.HasPrefix(says, ":") {
				says = p.path("pam.d/dockerauth") + says
			}
			m := mistake{make: func(t *testing.T, p *patient) {
				t.Helper()
				if tt.text != "" {
					p.service(t, tt.text)
				}
				shell("umask 022; "+tt.make)(t, p)
			}, want: wanted{tt.level, "pam", tt.code, says}}
			if tt.level == "" {
				m.want.level = levelError
			}
			if tt.write != "" {
				m.apply = func(t *testing.T, p *patient) {
					t.Helper()
					p.service(t, tt.write)
				}
			}
			m.try(t, p)
			if tt.check == nil {
				return
			}
			text, err := os.ReadFile(p.path("pam.d/dockerauth"))
			if err != nil {
				t.Fatal(err)
			}
			tt.check(t, string(text))
		})
	}
}

// holds wants a part of the text.
func holds(part string) func(*testing.T, string) {
	return func(t *testing.T, text string) {
		t.Helper()
		if !strings.Contains(text, part) {
			t.Errorf("the service file has no %q:\n%s", part, text)
		}
	}
}

// A remedy names the package that has a module, where this machine has a program to install it.
func TestAMissingModuleComesFromAPackage(t *testing.T) {
	debian := plant(t, map[string]string{"usr/bin/apt-get": ""})
	fedora := plant(t, map[string]string{"usr/bin/dnf": ""})
	for _, tt := range []struct{ root, module, want string }{
		{debian, "pam_sss.so", "apt-get install -y libpam-sss"},
		{debian, "pam_ldap.so", "apt-get install -y libpam-ldapd"},
		{debian, "pam_faillock.so", "apt-get install -y libpam-modules"},
		{fedora, "pam_sss.so", "dnf install -y sssd-client"},
		{fedora, "pam_access.so", "dnf install -y pam"},
		{fedora, "pam_pwdfile.so", ""},
		{debian, "pam_mine.so", ""},
		{plant(t, nil), "pam_sss.so", ""},
	} {
		c := checkup{root: tt.root}
		if got := c.installCommand(tt.module, false); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.module, got, tt.want)
		}
	}
}
