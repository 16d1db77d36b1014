package doctor

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"dockerauth/cli"
	"dockerauth/config"
	"dockerauth/pamauth"
)

// patient is an installation to be looked at, in a folder that every user may enter.
type patient struct {
	dir     string
	program string
	key     crypto.Signer
}

// newPatient is in good health: a P-256 key with a self-signed certificate that is no CA, the PAM
// service that ships, no state folder.
func newPatient(t *testing.T) *patient {
	t.Helper()
	from, err := built()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "dockerauth-check-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	p := &patient{dir: dir, program: filepath.Join(dir, "dockerauth"), key: newEC(elliptic.P256(), false)}
	p.run(t, "chmod", "0755", dir)
	p.run(t, "cp", from, p.program)
	p.run(t, "mkdir", p.path("pam.d"))
	p.run(t, "cp", "../packaging/pam/dockerauth", p.path("pam.d/dockerauth"))
	p.write(t, "config.yml",
		"private_key: privkey.pem\ncertificate: cert.pem\nissuer: auth.example.com\naudience: "+
			"registry.example.com\nstate: \"\"\npam: {confdir: pam.d}\n")
	p.keep(t)
	p.certify(t, nil)
	return p
}

func (p *patient) path(name string) string { return filepath.Join(p.dir, name) }

func (p *patient) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(p.path(name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// edit replaces a part of a file that must be there.
func (p *patient) edit(t *testing.T, name, old, new string) {
	t.Helper()
	text, err := os.ReadFile(p.path(name))
	if err != nil || !strings.Contains(string(text), old) {
		t.Fatalf("%s has no %q: %v", name, old, err)
	}
	p.write(t, name, strings.Replace(string(text), old, new, 1))
}

func (p *patient) run(t *testing.T, command ...string) {
	t.Helper()
	if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v: %s", command, err, out)
	}
}

// keep writes the key.
func (p *patient) keep(t *testing.T) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(p.key)
	if err != nil {
		t.Fatal(err)
	}
	p.write(t, "privkey.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	p.run(t, "chmod", "0600", p.path("privkey.pem"))
}

// rekey gives it another key, and a certificate for it.
func (p *patient) rekey(t *testing.T, key crypto.Signer) {
	t.Helper()
	p.key = key
	p.keep(t)
	p.certify(t, nil)
}

// certify makes the key's certificate, signed by itself.
func (p *patient) certify(t *testing.T, change func(*x509.Certificate)) {
	t.Helper()
	p.write(t, "cert.pem", selfSigned(t, p.key, change))
}

func selfSigned(t *testing.T, key crypto.Signer, change func(*x509.Certificate)) string {
	t.Helper()
	template := newTemplate(change)
	return certificatePEM(t, template, template, key.Public(), key)
}

func newTemplate(change func(*x509.Certificate)) *x509.Certificate {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "dockerauth"},
		BasicConstraintsValid: true,
		NotBefore:             time.Now().Add(-time.Hour), NotAfter: time.Now().Add(3650 * 24 * time.Hour),
	}
	if change != nil {
		change(template)
	}
	return template
}

func certificatePEM(t *testing.T, template, parent *x509.Certificate, public crypto.PublicKey,
	by crypto.Signer) string {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, by)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func newEC(curve elliptic.Curve, leading bool) *ecdsa.PrivateKey {
	for {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			panic(err)
		}
		if leadingZero(&key.PublicKey) == leading {
			return key
		}
	}
}

func newRSA(bits int) *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		panic(err)
	}
	return key
}

func newEd25519() ed25519.PrivateKey {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
}

// check is what the real program finds, from its JSON.
func (p *patient) check(t *testing.T, args ...string) (findings []finding, status int) {
	t.Helper()
	return checkWith(t, nil, p.program,
		append([]string{"check", "--json", "--config", p.path("config.yml")}, args...)...)
}

func checkWith(t *testing.T, before []string, program string, args ...string) (findings []finding, status int) {
	t.Helper()
	command := append(append(append([]string{}, before...), program), args...)
	cmd := exec.Command(command[0], command[1:]...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	_ = cmd.Run() // the status is a result
	var report struct {
		Findings []finding
		Status   int
	}
	if err := json.Unmarshal(out.Bytes(), &report); err != nil {
		t.Fatalf("%v: %v\n%s%s", command, err, &out, &errs)
	}
	if report.Status != cmd.ProcessState.ExitCode() {
		t.Errorf("the report has status %d, the program ended with %d", report.Status, cmd.ProcessState.ExitCode())
	}
	return report.Findings, report.Status
}

// sentence is a finding on one line.
func sentence(f finding) string {
	return fmt.Sprintf("%s %s: %s; %s", f.Subject, f.What, f.Why, f.Remedy)
}

// isAbout: "registry 2.8, 3.1" is about "registry 3.1".
func isAbout(subject, wanted string) bool {
	versions, many := strings.CutPrefix(subject, "registry ")
	return subject == wanted || many &&
		slices.Contains(strings.Split(versions, ", "), strings.TrimPrefix(wanted, "registry "))
}

func listed(findings []finding) string {
	var b strings.Builder
	for _, f := range findings {
		fmt.Fprintln(&b, f)
	}
	return b.String()
}

func needsRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: it looks as another user")
	}
}

// webUser is somebody without rights.
const webUser = "www-data"

// Mistakes that take root, a compiled module or an unusual certificate. e2e/testdata/script has the
// others.
func TestCheckNamesEachMistake(t *testing.T) {
	tests := []mistake{
		// PAM
		{name: "a module that lacks something", make: func(t *testing.T, p *patient) {
			p.compile(t, "pam_lacks",
				"int nobody_has_this(void); int pam_sm_acct_mgmt(void) { return nobody_has_this(); }\n")
			p.edit(t, "pam.d/dockerauth", "account  required   pam_unix.so", "account required "+p.path("pam_lacks.so"))
		}, want: wanted{levelError, "pam", "module-not-loading", "undefined symbol: nobody_has_this"},
			apply: func(t *testing.T, p *patient) {
				t.Helper()
				p.edit(t, "pam.d/dockerauth", p.path("pam_lacks.so"), "pam_unix.so")
			}},
		{name: "a module that crashes when it is loaded", make: func(t *testing.T, p *patient) {
			p.compile(t, "pam_crash",
				"int pam_sm_acct_mgmt(void) { return 0; }\n__attribute__((constructor)) static void crash(void) { "+
					"*(volatile int *)0 = 1; }\n")
			p.edit(t, "pam.d/dockerauth", "account  required   pam_unix.so", "account required "+p.path("pam_crash.so"))
		}, want: wanted{levelError, "pam", "module-crashes", "ends the program"},
			apply: func(t *testing.T, p *patient) {
				t.Helper()
				p.edit(t, "pam.d/dockerauth", p.path("pam_crash.so"), "pam_unix.so")
			}},
		{name: "a module is loaded out of reach of root's terminal", make: func(t *testing.T, p *patient) {
			p.compile(t, "pam_session",
				"#include <stdlib.h>\n#include <unistd.h>\nint pam_sm_acct_mgmt(void) { return 0; }\n"+
					"__attribute__((constructor)) static void look(void) { if (getsid(0) != getpid()) abort(); }\n")
			p.edit(t, "pam.d/dockerauth", "account  required   pam_unix.so", "account required "+
				p.path("pam_session.so"))
		}, want: wanted{levelOK, "pam", "", "pam_session.so loads"}},
		{name: "a module in a folder that anyone may change", make: func(t *testing.T, p *patient) {
			p.run(t, "mkdir", p.path("modules"))
			p.compile(t, "modules/pam_open", "int pam_sm_acct_mgmt(void) { return 0; }\n")
			p.run(t, "chmod", "0777", p.path("modules"), p.path("modules/pam_open.so"))
			p.edit(t, "pam.d/dockerauth", "account  required   pam_unix.so", "account required "+
				p.path("modules/pam_open.so"))
		}, want: wanted{levelWarning, "pam", "module-writable", "/modules"}, root: true},
		{name: "a module that somebody else may change", make: func(t *testing.T, p *patient) {
			p.compile(t, "pam_theirs",
				"#include <sys/stat.h>\nint pam_sm_acct_mgmt(void) { return 0; }\n"+
					"__attribute__((constructor)) static void crash(void) { struct stat s; "+
					`stat("`+p.path("pam_theirs.so")+`", &s); if (s.st_uid) *(volatile int *)0 = 1; }`+"\n")
			p.run(t, "chown", webUser, p.path("pam_theirs.so"))
			p.edit(t, "pam.d/dockerauth", "account  required   pam_unix.so", "account required "+
				p.path("pam_theirs.so"))
		}, want: wanted{levelWarning, "pam", "module-writable", "a module sees every password"},
			root: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.try(t, newPatient(t))
		})
	}
}

func (p *patient) compile(t *testing.T, name, source string) {
	t.Helper()
	p.write(t, name+".c", source)
	p.run(t, "gcc", "-shared", "-fPIC", "-o", p.path(name+".so"), p.path(name+".c"))
}

func TestCheckFindsNothingWhereNothingIsWrong(t *testing.T) {
	healthy := func(t *testing.T, findings []finding, status int) {
		t.Helper()
		if status != cli.ExitDone {
			t.Errorf("status %d", status)
		}
		for _, f := range findings {
			if f.isComplaint() {
				t.Errorf("%s", f)
			}
		}
	}
	t.Run("every key that is taken", func(t *testing.T) {
		for _, key := range []crypto.Signer{newRSA(2048), newEC(elliptic.P384(), false), newEC(elliptic.P521(), true),
			newEd25519()} {
			p := newPatient(t)
			p.rekey(t, key)
			if os.Geteuid() != 0 {
				p.write(t, "pam.d/dockerauth", "auth required pam_userdb.so db=/x\naccount required pam_permit.so\n")
			}
			findings, status := p.check(t)
			healthy(t, findings, status)
		}
	})
	t.Run("a set-group-id program, as in the README", func(t *testing.T) {
		needsRoot(t)
		p := newPatient(t)
		p.run(t, "chown", webUser+":", p.path("privkey.pem"))
		p.run(t, "chmod", "0400", p.path("privkey.pem"))
		p.run(t, "install", "-d", "-o", webUser, "-g", webUser, "-m", "0700", p.path("state"))
		p.edit(t, "config.yml", `state: ""`, "state: state")
		p.run(t, "install", "-o", webUser, "-g", "shadow", "-m", "2510", p.program, p.path("installed"))
		p.run(t, "mv", p.path("installed"), p.program)
		findings, status := checkWith(t, nil, p.program, "check", "--json", "--as", webUser)
		healthy(t, findings, status)
		wanted{levelOK, "rights", "", "can read /etc/shadow by the set-group-id bit"}.in(t, findings)
		findings, status = checkWith(t, nil, p.program, "check", "--json")
		healthy(t, findings, status)

		t.Run("without the bit, under no_new_privs", func(t *testing.T) {
			findings,
				_ := checkWith(t, []string{"setpriv", "--no-new-privs"}, p.program, "check", "--json", "--as", webUser)
			wanted{levelError, "rights.setgid", "setgid-ineffective", "does not count"}.in(t, findings)
			wanted{
				levelError,
				"rights.shadow",
				"shadow-unreadable",
				"pam_unix can check nobody's password",
			}.in(
				t,
				findings,
			)
		})
		t.Run("with a configuration that the web server's user may change", func(t *testing.T) {
			p.run(t, "chown", webUser, p.path("config.yml"))
			findings, _ := checkWith(t, nil, p.program, "check", "--json", "--as", webUser)
			wanted{levelError, "rights.setgid", "setgid-untrusted", "does not belong to root"}.in(t, findings)
		})
		t.Run("with a configuration that it does not read", func(t *testing.T) {
			p.run(t, "cp", p.path("config.yml"), p.path("other.yml"))
			findings,
				_ := checkWith(t, nil, p.program, "check", "--json", "--as", webUser, "--config", p.path("other.yml"))
			wanted{levelWarning, "rights.setgid", "setgid-other-config", "takes no --config"}.in(t, findings)
		})
	})
	t.Run("a container: nothing is kept, and root looks", func(t *testing.T) {
		p := newPatient(t)
		p.edit(t, "config.yml", "state: \"\"\n", "state: \"\"\nlog: {format: json}\n")
		if os.Geteuid() != 0 {
			p.write(t, "pam.d/dockerauth", "auth required pam_userdb.so db=/x\naccount required pam_permit.so\n")
		}
		findings, status := p.check(t)
		healthy(t, findings, status)
	})
	t.Run("a service behind a proxy", func(t *testing.T) {
		needsRoot(t)
		p := newPatient(t)
		p.run(t, "chgrp", webUser, p.path("privkey.pem"))
		p.run(t, "chmod", "0640", p.path("privkey.pem"))
		p.run(t, "install", "-d", "-o", webUser, "-m", "0750", p.path("log"))
		p.run(t, "install", "-d", "-o", webUser, "-m", "0700", p.path("state"))
		p.edit(
			t,
			"config.yml",
			"state: \"\"\n",
			"state: state\nlog: {file: log/dockerauth.log}\ntrusted_proxies: [127.0.0.1]\n"+
				"access:\n  - {allow: [pull], to: [anyone], repositories: [\"public/**\"]}\n"+
				"  - {allow: [\"*\"], to: [users], repositories: [\"{user}/**\"]}\n",
		)
		findings, status := p.check(t, "--as", webUser+":shadow")
		healthy(t, findings, status)
	})
	t.Run("a service of its own", func(t *testing.T) {
		needsRoot(t)
		p := newPatient(t)
		p.run(t, "chgrp", webUser, p.path("privkey.pem"))
		p.run(t, "chmod", "0640", p.path("privkey.pem"))
		findings, status := p.check(t, "--as", webUser+":shadow")
		healthy(t, findings, status)
		wanted{levelOK, "private_key", "", "can be read by root and the group www-data"}.in(t, findings)
	})
}

// An install of the README's kind lets its starter borrow the group shadow: what check starts
// itself with must not lend it to the starter.
func TestNothingOfCheckIsForTheUserOfASetGroupIDProgram(t *testing.T) {
	needsRoot(t)
	p := newPatient(t)
	p.run(t, "chgrp", "shadow", p.program)
	p.run(t, "chmod", "2755", p.program)
	p.compile(t, "pam_mine",
		"#include <unistd.h>\n__attribute__((constructor)) static void mine(void) { write(1, \"loaded\", 6); }\n")
	asWebUser := func(stdin string, args ...string) (out string, status int) {
		cmd := exec.Command("setpriv",
			append([]string{"--reuid=" + webUser, "--regid=" + webUser, "--clear-groups", p.program}, args...)...)
		cmd.Stdin = strings.NewReader(stdin)
		text, _ := cmd.CombinedOutput() // the status is looked at
		return string(text), cmd.ProcessState.ExitCode()
	}
	for _, question := range []string{
		`[{"try":"read","path":"/etc/shadow"}]`,
		`[{"try":"read","path":"` + p.path("config.yml") + `"}]`,
		`[{"try":"module","path":"` + p.path("pam_mine.so") + `"}]`,
	} {
		if out, status := asWebUser(question, ProbeArg); status != cli.ExitError ||
			!strings.Contains(out, "not for a set-group-id program") || strings.Contains(out, "loaded") {
			t.Errorf("%s: status %d, %s", question, status, out)
		}
	}
	for _, args := range [][]string{{"check"}, {"check", "--config", p.path("config.yml")},
		{"check", "--registry-config", "/etc/shadow"}} {
		if out, status := asWebUser("", args...); status != cli.ExitError ||
			!strings.Contains(out, "not for a set-group-id program") {
			t.Errorf("%v: status %d, %s", args, status, out)
		}
	}
	out, status := asWebUser("/etc/shadow", IdentityArg)
	var who identity
	if err := json.Unmarshal([]byte(out), &who); err != nil || status != cli.ExitDone {
		t.Fatalf("status %d, %v: %s", status, err, out)
	}
	if !who.Borrowed || who.UID == 0 || groupName(who.GID) != "shadow" {
		t.Errorf("got %+v", who)
	}
	if strings.Contains(out, "root") {
		t.Errorf("it says more than ids: %s", out)
	}
}

func TestAUserThatMayReadTheHashesIsAWarning(t *testing.T) {
	needsRoot(t)
	shadow, err := user.LookupGroup("shadow")
	if err != nil {
		t.Fatal(err)
	}
	gid, _ := strconv.Atoi(shadow.Gid)
	for _, tt := range []struct {
		name   string
		runAs  runAs
		status int
	}{
		{"a web server's user in the group shadow", runAs{name: webUser, account: []int{33, gid}}, 1},
		{"a service's own user in the group shadow",
			runAs{name: "dockerauth", isServiceUser: true, account: []int{gid}}, 0},
		{"a web server's user who is not", runAs{name: webUser, account: []int{33}}, 0},
	} {
		c := checkup{}
		c.judgeShadow(&tt.runAs, "", false)
		if c.status() != tt.status {
			t.Errorf("%s: %s", tt.name, listed(c.list))
		}
	}
}

func TestWithoutAFolderACGIProgramCountsNoWrongPasswords(t *testing.T) {
	const no = "no such file or directory"
	for _, tt := range []struct {
		name, folder, why string
		runAs             runAs
		want              wanted
	}{
		{"a web server's user", config.DefaultState, no, runAs{name: "www-data", group: "web"},
			wanted{levelWarning, "rights.state", "state-missing",
				"install -d -o www-data -g web -m 0700 /var/lib/dockerauth"}},
		{"a service's own user", config.DefaultState, no,
			runAs{name: "dockerauth", group: "dockerauth", isServiceUser: true},
			wanted{levelOK, "rights", "", "there is no /var/lib/dockerauth yet"}},
		{"a folder of somebody else's", config.DefaultState, "permission denied", runAs{name: "www-data", group: "web"},
			wanted{levelWarning, "rights.state", "state-unusable", "cannot use /var/lib/dockerauth"}},
		{"a folder that can be used", config.DefaultState, "", runAs{name: "www-data", group: "web"},
			wanted{levelOK, "rights", "", "can keep count"}},
		{"a folder that was asked for", "/srv/state", no,
			runAs{name: "dockerauth", group: "dockerauth", isServiceUser: true},
			wanted{levelError, "rights.state", "state-unusable", "the service answers 503"}},
	} {
		c := checkup{settings: &config.Config{State: tt.folder}}
		trials := c.writeChecks(&tt.runAs)
		if len(trials) != 1 {
			t.Fatalf("%s: %d trials", tt.name, len(trials))
		}
		trials[0].judge(tt.why)
		tt.want.in(t, c.list)
	}
}

// There is no SSSD here: a fake answers in place of its pipes.
func TestSSSDAndTheHashesAreJudgedTogether(t *testing.T) {
	const no, sss = "permission denied", "pam_sss.so"
	tests := []struct {
		name    string
		stack   []string
		answers map[string]string // by path; what is not there is granted
		want    []wanted
		status  int
	}{
		{"SSSD alone", []string{sss}, map[string]string{sssdPipes[1]: no},
			[]wanted{{levelOK, "rights", "", "reaches SSSD"}}, 0},
		{"SSSD by root's own pipe", []string{sss}, map[string]string{sssdPipes[0]: no},
			[]wanted{{levelOK, "rights", "", "reaches SSSD"}}, 0},
		{"SSSD away", []string{sss}, map[string]string{sssdPipes[0]: "connection refused", sssdPipes[1]: no},
			[]wanted{{levelError, "rights.sssd", "sssd-unreachable", "connection refused"}}, 2},
		{"SSSD, and no right to ask about local accounts", []string{"pam_unix.so", sss},
			map[string]string{sssdPipes[1]: no, shadowFile: no},
			[]wanted{{levelOK, "rights", "", "reaches SSSD"},
				{levelWarning, "rights.shadow", "shadow-unreadable", "accounts of the directory can log in"}}, 1},
		{"neither", []string{"pam_unix.so", sss}, map[string]string{sssdPipes[0]: no, sssdPipes[1]: no, shadowFile: no},
			[]wanted{{levelError, "rights.sssd", "sssd-unreachable", "cannot reach"},
				{levelError, "rights.shadow", "shadow-unreadable", "every login is answered with 503"}}, 2},
		{"a stack that asks neither", []string{"pam_ldap.so"}, map[string]string{shadowFile: no}, nil, 0},
	}
	for _, tt := range tests {
		c := checkup{}
		for _, module := range tt.stack {
			c.stack = append(c.stack, pamauth.Line{Phase: "auth", Module: module})
		}
		for _, trial := range c.pamChecks(&runAs{name: webUser, program: "/usr/bin/dockerauth"}) {
			trial.judge(tt.answers[trial.Path])
		}
		for _, w := range tt.want {
			w.in(t, c.list)
		}
		if c.status() != tt.status {
			t.Errorf("%s: status %d\n%s", tt.name, c.status(), listed(c.list))
		}
	}
}

// Here are no SELinux and no systemd: the files in which they say what is so are made by the test,
// in the form of the kernel's and systemd's.
func TestCheckOnAMachineOfOtherKind(t *testing.T) {
	tests := []struct {
		name          string
		files         map[string]string
		isServiceUser bool
		want          []wanted
		lacks         string
	}{
		{name: "no SELinux", lacks: "selinux"},
		{name: "SELinux that only reports",
			files: map[string]string{"sys/fs/selinux/enforce": "0",
				"sys/fs/selinux/booleans/httpd_mod_auth_pam": "0 0"},
			want: []wanted{{levelOK, "selinux", "", "permissive"}}, lacks: "warning"},
		{name: "SELinux keeps a CGI program from PAM",
			files: map[string]string{"sys/fs/selinux/enforce": "1", "sys/fs/selinux/booleans/httpd_mod_auth_pam": "0 0",
				"sys/fs/selinux/booleans/httpd_enable_cgi":          "1 1",
				"sys/fs/selinux/booleans/httpd_can_network_connect": "0 0"},
			want: []wanted{{levelWarning, "selinux", "selinux-boolean", "setsebool -P httpd_mod_auth_pam on"},
				{levelOK, "selinux", "", "httpd_enable_cgi is on"},
				{levelOK, "selinux", "", "httpd_can_network_connect is off"}}},
		{name: "SELinux lets it",
			files: map[string]string{"sys/fs/selinux/enforce": "1",
				"sys/fs/selinux/booleans/httpd_mod_auth_pam": "1 1"},
			want: []wanted{{levelOK, "selinux", "", "httpd_mod_auth_pam is on"}}, lacks: "warning"},
		{name: "a service of its own has no need of it",
			files: map[string]string{"sys/fs/selinux/enforce": "1",
				"sys/fs/selinux/booleans/httpd_mod_auth_pam": "0 0"}, isServiceUser: true, lacks: "warning"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := checkup{root: plant(t, tt.files)}
			c.examineSELinux(&runAs{name: webUser, isServiceUser: tt.isServiceUser})
			for _, w := range tt.want {
				w.in(t, c.list)
			}
			if tt.lacks != "" && strings.Contains(listed(c.list), tt.lacks) {
				t.Errorf("says something about %s:\n%s", tt.lacks, listed(c.list))
			}
		})
	}
}

func plant(t *testing.T, files map[string]string) (root string) {
	t.Helper()
	root = t.TempDir()
	sow(t, root, files)
	return root
}

func TestAUnitSaysWhichGroupsItGives(t *testing.T) {
	tests := []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"none", nil, "|||false"},
		{"what a package installs",
			map[string]string{"usr/lib/systemd/system/dockerauth.service": "[Unit]\nUser=not-here\n" +
				"[Service]\nUser=dockerauth\nSupplementaryGroups=shadow\nNoNewPrivileges=yes\n"},
			"/usr/lib/systemd/system/dockerauth.service|dockerauth|shadow|true"},
		{"the admin's comes first, drop-ins are added", map[string]string{
			"usr/lib/systemd/system/dockerauth.service": "[Service]\nUser=packaged\n",
			"etc/systemd/system/dockerauth.service":     "[Service]\nUser=admins\nGroup=web\n",
			"etc/systemd/system/dockerauth.service.d/groups.conf": "[Service]\n" +
				"SupplementaryGroups = shadow ssl-cert\n",
			"usr/lib/systemd/system/dockerauth.service.d/nnp.conf": "[Service]\nNoNewPrivileges=false\n",
		}, "/etc/systemd/system/dockerauth.service|admins|web,shadow,ssl-cert|false"},
		{"an empty value takes back", map[string]string{
			"etc/systemd/system/dockerauth.service":          "[Service]\nUser=u\nSupplementaryGroups=shadow\n",
			"etc/systemd/system/dockerauth.service.d/x.conf": "[Service]\nSupplementaryGroups=\n",
		}, "/etc/systemd/system/dockerauth.service|u||false"},
	}
	for _, tt := range tests {
		u := readUnit(plant(t, tt.files), "dockerauth.service")
		if got := fmt.Sprintf("%s|%s|%s|%t", u.file, u.user, strings.Join(u.groups, ","),
			u.noNewPrivileges); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestNoFindingHoldsASecret(t *testing.T) {
	p := newPatient(t)
	key, err := os.ReadFile(p.path("privkey.pem"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(key), "\n")
	folded := strings.ReplaceAll(string(key), "\n", "\n  ")
	// What every P-256 key begins with is no secret.
	secret := strings.Join(lines[1:len(lines)-2], "")[48:]
	const rest = "\nissuer: i\naudience: a\n"
	configs := []string{
		"private_key: |\n  " + folded + rest,
		"private_key: privkey.pem\naudience: a\nissuer: |\n  " + folded + "\n",
		"private_key: privkey.pem\nissuer: i\naudience:\n- |\n  " + folded + "\n",
		"private_key: " + string(key) + rest,
		string(key),
		"private_key: " + lines[1] + rest,
		"private_key: privkey.pem\naudience: a\nissuer: " + lines[1] + "\n",
	}
	for _, line := range lines[1 : len(lines)-2] {
		configs = append(configs, line+": x\n", line+rest, "private_key: |\n "+line+"\n"+line+rest)
	}
	for _, config := range configs {
		p.write(t, "config.yml", config)
		cmd := exec.Command(p.program, "check", "--config", p.path("config.yml"))
		out, _ := cmd.CombinedOutput() // it fails
		if len(out) == 0 {
			t.Errorf("nothing is said of %q", config)
		}
		const part = 12 // more than chance would print
		for i := range len(secret) - part {
			if strings.Contains(string(out), secret[i:i+part]) {
				t.Errorf("a part of the key is in the findings about\n%s\n%s", config, out)
				break
			}
		}
	}
}
