package e2e

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// accountsMachine has the directories and their clients. krb5-kdc does not start without a realm,
// and Samba not without a network.
var accountsMachine = debianMachine{release: "bookworm",
	installed: []string{"nginx-light", "openssl", "slapd", "ldap-utils", "sssd-ldap", "sssd-ad", "sssd-tools",
		"libnss-sss", "libpam-sss", "adcli", "samba", "samba-ad-provision", "samba-dsdb-modules", "samba-vfs-modules",
		"winbind", "libpam-krb5", "krb5-user", "libpam-oath", "oathtool", "libpam-google-authenticator"},
	ready: []string{"krb5-kdc", "krb5-admin-server"},
	idle:  []string{"nmbd", "smbd", "winbind", "slapd"},
}

// accountRules are about a group of each directory.
const accountRules = `
pam:
  cache: 0
blacklisted_users: [mallory]
access:
  - allow: [pull]
    to: [users]
  - allow: [push]
    repositories: ["{user}/**"]
    to: [users]
  - allow: [push]
    repositories: ["team/**"]
    to: ["@registry-push", "@local-push"]
`

// TestAccountsOfADirectory sets up each kind of accounts as docs/accounts.md says, with the real
// directory beside it, and logs in. The machine runs systemd, so the unit's restrictions apply.
func TestAccountsOfADirectory(t *testing.T) {
	t.Parallel()
	need(t, "a network for the directories (Debian: iproute2)", "ip")
	deb := packageFile(t, newerVersion, ".deb")
	m := bootDebian(t, accountsMachine)
	mustRun(t, "cp", deb, m.path("srv/dockerauth.deb"))
	for _, step := range []struct {
		name string
		run  func(*testing.T, *debian)
	}{
		{"the package is installed", installForAccounts},
		{"local accounts", localAccounts},
		{"LDAP by SSSD", ldapAccounts},
		{"Active Directory by SSSD", activeDirectory},
		{"Kerberos", kerberosAccounts},
		{"one-time codes by pam_oath", oathCodes},
		{"one-time codes by pam_google_authenticator", googleCodes},
		{"pam_faillock", faillockAccounts},
		{"pam_access", accessAccounts},
	} {
		if !t.Run(step.name, func(t *testing.T) { m.t = t; step.run(t, m) }) {
			t.Log(m.do("journalctl", "-o", "cat", "--no-pager", "-n", "40"))
			break // most steps need what one before has made
		}
	}
	m.t = t
}

func installForAccounts(t *testing.T, m *debian) {
	m.apt("install", "--no-install-recommends", "/srv/dockerauth.deb")
	m.initialise(t)
	config := readFile(t, m.path("etc/dockerauth/config.yml"))
	writeFile(t, m.path("etc/dockerauth/config.yml"), config+accountRules, 0o644)
	m.must("systemctl", "reload-or-restart", "dockerauth.service")
	writeFile(t, m.path("etc/nginx/sites-available/default"),
		"server {\n    listen 80;\n    include snippets/dockerauth.conf;\n}\n", 0o644)
	m.must("systemctl", "restart", "nginx")
	// The directories want names, and Samba an interface other than loopback.
	for _, args := range []string{"link add directory0 type veth peer name directory1",
		"address add 192.0.2.1/24 dev directory0", "address add 192.0.2.2/24 dev directory0",
		"link set directory0 up", "link set directory1 up"} {
		run(t, "", m.nearby(append([]string{"ip"}, strings.Fields(args)...)...)).must(t)
	}
	hosts := readFile(t, m.path("etc/hosts"))
	writeFile(t, m.path("etc/hosts"), hosts+"127.0.0.1 ldap.example.com kdc.example.com\n"+
		"192.0.2.2 registry.ad.example.com registry\n192.0.2.1 dc.ad.example.com dc\n", 0o644)
	m.must("hostname", "registry.ad.example.com")
}

// accountTry is a login and its result.
type accountTry struct {
	name           string
	user, password string
	status         int
	reason         string // in the log
	account        string // in the token; "" = user
	team           bool   // push in team/app is granted
}

func (m *debian) tries(t *testing.T, tries ...accountTry) {
	t.Helper()
	for _, try := range tries {
		answer := m.requestToken(t, "grant_type=password", try.user, try.password)
		m.compare(t, try, answer)
	}
}

func (m *debian) compare(t *testing.T, try accountTry, answer accountAnswer) {
	t.Helper()
	if answer.status != try.status {
		t.Errorf("%s: status %d, want %d\n%s", try.name, answer.status, try.status, m.lastRequest(t))
		return
	}
	if try.status != 200 {
		if line := m.lastRequest(t); !strings.Contains(line, try.reason) {
			t.Errorf("%s: the log does not say %q: %s", try.name, try.reason, line)
		}
		return
	}
	want := try.account
	if want == "" {
		want = try.user
	}
	var granted []string
	if !strings.Contains(want, "@") { // no repository has such a name
		granted = append(granted, want+"/app:push")
	}
	if try.team {
		granted = append(granted, "team/app:push")
	}
	if answer.subject != want || fmt.Sprint(answer.granted) != fmt.Sprint(granted) {
		t.Errorf("%s: the token is for %q with %q, want %q with %q", try.name, answer.subject, answer.granted, want,
			granted)
	}
}

// accountAnswer is the endpoint's answer, with what the token says.
type accountAnswer struct {
	status  int
	subject string
	granted []string // repository:action
	refresh string
}

// requestToken asks for push in the account's own repository and in the team's.
func (m *debian) requestToken(t *testing.T, grant, user, secret string) (a accountAnswer) {
	t.Helper()
	form := url.Values{"service": {packageAudience}, "client_id": {"docker"}, "access_type": {"offline"},
		"scope": {"repository:" + plainName(user) + "/app:push repository:team/app:push"}}
	switch grant {
	case "grant_type=password":
		form.Set("grant_type", "password")
		form.Set("username", user)
		form.Set("password", secret)
	default:
		form.Set("grant_type", "refresh_token")
		form.Set("refresh_token", secret)
	}
	// By standard input: a command line can be read by others.
	o := run(t, form.Encode(), m.command("curl", "-sS", "-w", "\n%{http_code}", "--data-binary", "@-", packageRealm))
	printed := o.must(t)
	end := strings.LastIndex(printed, "\n")
	body, status := printed[:end], printed[end+1:]
	a.status, _ = strconv.Atoi(status)
	var answer struct {
		Token        string `json:"access_token"`
		RefreshToken string `json:"refresh_token"`
	}
	if a.status != 200 {
		return a
	}
	var claims struct {
		Sub    string
		Access []struct {
			Name    string
			Actions []string
		}
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(answer.Token+"..", ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatalf("%v: %s", err, payload)
	}
	a.subject, a.refresh = claims.Sub, answer.RefreshToken
	for _, access := range claims.Access {
		a.granted = append(a.granted, access.Name+":"+strings.Join(access.Actions, ","))
	}
	return a
}

// plainName is an account as it can be part of a repository's name.
func plainName(user string) string {
	name := user[strings.LastIndexByte(user, '\\')+1:]
	name, _, _ = strings.Cut(name, "@")
	return strings.ToLower(name)
}

// lastRequest is the last line about a request in the service's log.
func (m *debian) lastRequest(t *testing.T) string {
	t.Helper()
	m.must("journalctl", "--sync")
	lines := regexp.MustCompile(`(?m)^.*msg="token request".*$`).FindAllString(m.must("journalctl", "-o", "cat",
		"--no-pager", "-n", "50", "-u", "dockerauth.service"), -1)
	if len(lines) == 0 {
		return ""
	}
	return lines[len(lines)-1]
}

// dockerLogins log docker in, with the right password and a wrong one.
func (m *debian) dockerLogins(t *testing.T, user, password string) {
	t.Helper()
	if o := m.dockerLoginAs(t, user, password); o.status != 0 || !strings.Contains(o.stdout, "Login Succeeded") {
		t.Errorf("docker login as %s: %v\n%s", user, o, m.lastRequest(t))
	}
	if o := m.dockerLoginAs(t, user, "not-the-one"); o.status == 0 || !strings.Contains(o.stderr, "unauthorized") {
		t.Errorf("docker login as %s with a wrong password: %v", user, o)
	}
}

// checkFinds compares the codes of what check finds wrong.
func (m *debian) checkFinds(t *testing.T, codes ...string) {
	t.Helper()
	o := m.do("dockerauth", "check", "--as", "dockerauth", "--json")
	var report struct {
		Findings []struct{ Code string }
	}
	if err := json.Unmarshal([]byte(o.stdout), &report); err != nil {
		t.Fatalf("%v: %v", err, o)
	}
	var got []string
	for _, f := range report.Findings {
		if f.Code != "" && f.Code != "unknown-name" { // a group that is not there yet, or no longer
			got = append(got, f.Code)
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(codes) {
		t.Errorf("check finds %q, want %q: %v", got, codes, o)
	}
}

// accountsPattern matches the blocks of docs/accounts.md: the PAM service file of a kind, a
// configuration file, commands.
var accountsPattern = regexp.MustCompile("(?ms)^<!-- (pam|conf|shell): (\\S+) -->\n```\\w*\n(.*?)^```$")

// accountsBlock is the block of that name below a heading.
func accountsBlock(t *testing.T, heading, kind, name string) string {
	t.Helper()
	_, section, _ := strings.Cut(readFile(t, "../docs/accounts.md"), "\n## "+heading+"\n")
	section, _, _ = strings.Cut(section, "\n## ")
	for _, b := range accountsPattern.FindAllStringSubmatch(section, -1) {
		if b[1] == kind && b[2] == name {
			return b[3]
		}
	}
	t.Fatalf("docs/accounts.md has no block %s: %s below %q", kind, name, heading)
	return ""
}

// follow writes the documented files and types the documented commands. edit are pairs of a text
// and what the test types instead.
func (m *debian) follow(t *testing.T, heading string, confs, commands []string, edit ...string) {
	t.Helper()
	for _, name := range confs {
		writeFile(t, m.path(name), accountsBlock(t, heading, "conf", name), 0o644)
	}
	for _, name := range commands {
		m.must("sh", "-euc", strings.NewReplacer(edit...).Replace(accountsBlock(t, heading, "shell", name)))
	}
}

// restartAfter restarts a directory's server, and waits until a login works again.
func (m *debian) restartAfter(t *testing.T, unit string, sssd bool, try accountTry) {
	t.Helper()
	try.name = unit + " is back"
	m.must("systemctl", "start", unit)
	eventually(t, 2*time.Minute, try.name, func() bool {
		if sssd { // which would try by itself after a minute
			m.must("systemctl", "kill", "--signal=USR2", "--kill-who=main", "sssd.service")
		}
		return m.requestToken(t, "grant_type=password", try.user, try.password).status == 200
	})
	m.tries(t, try)
}

func (m *debian) localPassword(t *testing.T, user, password string) {
	t.Helper()
	if m.do("id", user).status != 0 {
		m.must("useradd", user)
	}
	hash := strings.TrimSpace(run(t, password, m.command("openssl", "passwd", "-6", "-stdin")).must(t))
	m.must("usermod", "-p", hash, user)
}

const localPassword = "a-password-of-this-machine"

func localAccounts(t *testing.T, m *debian) {
	for _, user := range []string{"frank", "grace", "heidi", "mallory"} {
		m.localPassword(t, user, localPassword)
	}
	m.must("groupadd", "--gid", "4001", "registry-push")
	m.must("usermod", "-aG", "registry-push", "frank")
	m.must("dockerauth", "init", "--accounts", "local")
	m.checkFinds(t)
	m.dockerLogins(t, "frank", localPassword)
	m.tries(t,
		accountTry{name: "in the group", user: "frank", password: localPassword, status: 200, team: true},
		accountTry{name: "not in the group", user: "grace", password: localPassword, status: 200},
		accountTry{name: "another spelling is another account", user: "Grace", password: localPassword, status: 401,
			reason: "authenticate: PAM_USER_UNKNOWN"},
		accountTry{name: "blacklisted", user: "mallory", password: localPassword, status: 401, reason: "blacklisted"},
	)
	m.must("groupdel", "registry-push") // the directories have one too
}
