package doctor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dockerauth/config"
	"dockerauth/pamauth"
)

// stackOf is a service file, without its comments.
func stackOf(t *testing.T, text string) (stack []pamauth.Line) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "dockerauth"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	stack, err := pamauth.Stack{Service: "dockerauth", Confdir: dir}.Parse()
	if err != nil {
		t.Fatal(err)
	}
	return stack
}

func shippedStack(t *testing.T, kind string) string {
	t.Helper()
	text, err := os.ReadFile("../packaging/pam/" + kind)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestLinesThatWorkOnlyTogether(t *testing.T) {
	files, err := filepath.Glob("../packaging/pam/*")
	if err != nil || len(files) < 7 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		c := checkup{stack: stackOf(t, shippedStack(t, filepath.Base(file)))}
		c.examineStack()
		if len(c.list) > 0 {
			t.Errorf("%s as shipped:\n%s", file, listed(c.list))
		}
		if by, found := pamauth.FindBypass(c.stack); found {
			t.Errorf("%s as shipped can be passed without a password, by line %d", file, by.Number)
		}
	}
	tests := []struct {
		name, kind, old, new string
		level                level
		code                 string
	}{
		{"a lock that nobody looks at", "faillock", "pam_faillock.so preauth", "pam_permit.so", levelError,
			"faillock-lines"},
		{"a lock without counts", "faillock", "pam_faillock.so authfail", "pam_deny.so", levelError, "faillock-lines"},
		{"counts that stay", "faillock", "pam_faillock.so authsucc", "pam_permit.so", levelWarning, "faillock-lines"},
		{"counts that a refresh sets back", "faillock", "account  required   pam_unix.so",
			"account required pam_faillock.so\naccount required pam_unix.so", levelWarning, "faillock-account"},
		{"a code behind the password", "oath", "auth     requisite  pam_oath.so",
			"auth required pam_unix.so\nauth requisite pam_oath.so", levelError, "code-order"},
		{"a second question", "oath", "use_first_pass ", "", levelError, "code-prompt"},
		{"a code that stays with the password", "google-authenticator", "forward_pass", "", levelError, "code-prompt"},
		{"secrets in home folders", "google-authenticator", "secret=/var/lib/dockerauth-otp/${USER}", "", levelError,
			"code-home"},
		{"secrets in home folders by a variable", "google-authenticator", "secret=/var/lib/dockerauth-otp/${USER}",
			"secret=${HOME}/.otp", levelError, "code-home"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			shipped := shippedStack(t, tt.kind)
			text := strings.Replace(shipped, tt.old, tt.new, 1)
			if text == shipped {
				t.Fatalf("%s has no %q", tt.kind, tt.old)
			}
			c := checkup{stack: stackOf(t, text)}
			c.examineStack()
			if len(c.list) != 1 || c.list[0].Level != tt.level || c.list[0].Code != tt.code {
				t.Errorf("want one finding, %s %s:\n%s", tt.level, tt.code, listed(c.list))
			}
		})
	}
	t.Run("a code that the cache accepts again", func(t *testing.T) {
		c := checkup{stack: stackOf(t, shippedStack(t, "oath")),
			settings: &config.Config{PAM: config.PAM{Cache: 30 * time.Second}}}
		c.examineStack()
		wanted{levelOK, "pam", "", "works again for 30s"}.in(t, c.list)
	})
}

func TestFilesOfModulesAreTriedAsTheServicesUser(t *testing.T) {
	const unitFile = "usr/lib/systemd/system/dockerauth.service"
	shipped, err := os.ReadFile("../packaging/systemd/dockerauth.service")
	if err != nil {
		t.Fatal(err)
	}
	dropIn := func(name string) map[string]string {
		text, err := os.ReadFile("../packaging/systemd/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return map[string]string{unitFile: string(shipped), unitFile + ".d/" + name: string(text)}
	}
	without := map[string]string{unitFile: string(shipped)}
	const no, gone = "permission denied", "no such file or directory"
	tests := []struct {
		name, kind string
		files      map[string]string
		answers    map[string]string // by path; what is not there is granted
		want       string            // codes
		says       string
	}{
		{"no file of its own", "sssd", without, nil, "", ""},
		{"a list of accounts that can be read", "access", without, nil, "", ""},
		{"a list of accounts that cannot be read", "access", without,
			map[string]string{
				"/etc/dockerauth/access.conf": no,
			}, "module-file", "chmod 644 /etc/dockerauth/access.conf"},
		{"a keytab that cannot be read", "krb5", without, map[string]string{"/etc/dockerauth/krb5.keytab": no},
			"module-file", "chgrp dockerauth /etc/dockerauth/krb5.keytab"},
		{"the account phase needs no keytab", "krb5", without, map[string]string{"/etc/krb5.keytab": no}, "", ""},
		{"locks with their drop-in", "faillock", dropIn("faillock.conf"), nil, "", ""},
		{"locks without their folder", "faillock", without, map[string]string{"/var/lib/dockerauth-faillock": gone},
			"module-file", "examples/systemd/faillock.conf /etc/systemd/system/dockerauth.service.d/faillock.conf"},
		{
			"locks in a folder that the unit protects",
			"faillock",
			without,
			nil,
			"module-file-unit",
			"dockerauth.service",
		},
		{"codes with their drop-in", "oath", dropIn("otp.conf"), nil, "", ""},
		{"codes with a folder and without the drop-in's calls", "oath", map[string]string{unitFile: string(shipped),
			unitFile + ".d/x.conf": "[Service]\nReadWritePaths=/var/lib/dockerauth-otp\n"}, nil,
			"module-call", "@chown"},
		{"codes without their folder", "oath", without, map[string]string{"/var/lib/dockerauth-otp": gone,
			"/var/lib/dockerauth-otp/users.oath": gone}, "module-file", "otp.conf"},
		{"codes in a file of another user", "oath", dropIn("otp.conf"),
			map[string]string{"/var/lib/dockerauth-otp/users.oath": no}, "module-file",
			"chown dockerauth /var/lib/dockerauth-otp/users.oath"},
		{"files of codes with their drop-in", "google-authenticator", dropIn("otp.conf"), nil, "", ""},
		{"files of codes without the drop-in's calls", "google-authenticator", map[string]string{
			unitFile:               string(shipped),
			unitFile + ".d/x.conf": "[Service]\nStateDirectory=dockerauth-otp\n"}, nil, "module-call", "setfsuid"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := checkup{root: plant(t, tt.files), stack: stackOf(t, shippedStack(t, tt.kind))}
			for _, trial := range c.moduleChecks(&runAs{name: "dockerauth", group: "dockerauth", isServiceUser: true}) {
				trial.judge(tt.answers[trial.Path])
			}
			var codes []string
			for _, f := range c.list {
				if f.Level != levelOK {
					codes = append(codes, f.Code)
				}
			}
			if got := strings.Join(codes, " "); got != tt.want || !strings.Contains(listed(c.list), tt.says) {
				t.Errorf("findings %q, want %q with %q:\n%s", got, tt.want, tt.says, listed(c.list))
			}
		})
	}
}
