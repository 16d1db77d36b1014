package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// principal sends requests to the token service from a chosen loopback address.
type principal struct {
	user, password string // "" = anonymous
	from           string // "" = 127.0.0.1
	refresh        string // a refresh token instead of the password
}

// ask sends a GET, or a POST if there is a refresh token.
func (p principal) ask(t testing.TB, realm string, query url.Values) (*http.Response, []byte) {
	t.Helper()
	method, body := http.MethodGet, ""
	target := realm + "?" + query.Encode()
	if p.refresh != "" {
		query.Set("grant_type", "refresh_token")
		query.Set("refresh_token", p.refresh)
		method, target, body = http.MethodPost, realm, query.Encode()
	}
	return p.send(t, method, target, body)
}

func (p principal) send(t testing.TB, method, target, body string) (*http.Response, []byte) {
	t.Helper()
	q, err := http.NewRequest(method, target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		q.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if p.user != "" {
		q.SetBasicAuth(p.user, p.password)
	}
	if p.from == "" {
		p.from = "127.0.0.1"
	}
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(p.from)}}
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			return dialer.DialContext(ctx, "tcp4", address)
		},
	}
	a, err := transport.RoundTrip(q)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	answer, err := io.ReadAll(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	return a, answer
}

// granted returns the token and its access, in the form of a requested scope.
func (p principal) granted(t testing.TB, s *site, realm, service, scope string) (access, token string) {
	t.Helper()
	a, body := p.ask(t, realm, url.Values{"service": {service}, "scope": {scope}})
	var answer tokens
	if err := json.Unmarshal(body, &answer); err != nil || a.StatusCode != http.StatusOK {
		return fmt.Sprintf("status %d: %s", a.StatusCode, body), ""
	}
	claims, err := verify(answer.Token, s.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	if claims.Audience != service {
		t.Errorf("a token for %q, want %q", claims.Audience, service)
	}
	return claims.scopes(), answer.Token
}

func (p principal) refreshToken(t testing.TB, realm string) string {
	t.Helper()
	a, body := p.ask(t, realm, url.Values{"service": {audience}, "offline_token": {"true"}})
	var answer tokens
	if err := json.Unmarshal(body, &answer); err != nil || answer.RefreshToken == "" {
		t.Fatalf("ask for a refresh token: %s %s", a.Status, body)
	}
	return answer.RefreshToken
}

// catalogElsewhere requests the catalog from other addresses and for other services than this
// machine's clients do.
func (sc *scenario) catalogElsewhere(t *testing.T) {
	for _, c := range []struct {
		name, as, from, service string
		granted                 bool
	}{
		{"from the address of the rule", "fay", "127.0.0.2", audience, true},
		{"from the address next to it", "fay", "127.0.0.3", audience, false},
		{"from within the prefix of the rule", "adm", "127.9.9.9", audience, true},
		{"for the service of the rule", "ola", "127.0.0.1", otherAudience, true},
		{"for another service than the rule's", "adm", "127.0.0.1", otherAudience, false},
		{"for another account than the rule's", "ben", "127.0.0.2", audience, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			const catalog = "registry:catalog:*"
			want := map[bool]string{true: catalog}[c.granted]
			access, token := principal{user: sc.name(t, c.as), password: unixPassword, from: c.from}.granted(t, sc.s,
				sc.directRealm, c.service, catalog)
			if access != want {
				t.Errorf("granted %q, want %q", access, want)
			}
			// The registry refuses a token for the other service, whatever it grants.
			opens := c.granted && c.service == audience
			if status, _ := sc.r.ask(t, http.MethodGet, "/v2/_catalog", token); (status == http.StatusOK) != opens {
				t.Errorf("the registry answers %d to that token, want 200: %v", status, opens)
			}
		})
	}
}

// blacklisted checks that a member of a blacklisted group, an admin by the rules, gets the same
// answers as a wrong password.
func (sc *scenario) blacklisted(t *testing.T) {
	zed := sc.name(t, "zed")
	wrong := []struct{ what, user, password string }{
		{"a wrong password", sc.name(t, "ben"), wrongPassword},
		{"an account that does not exist", "e2e-nobody-at-all", unixPassword},
		{"a wrong password of the blacklisted", zed, wrongPassword},
	}
	scope := url.Values{"service": {audience}, "scope": {"repository:public/app:pull"}}
	ask := map[string]func(t *testing.T, user, password string) string{
		"GET": func(t *testing.T, user, password string) string {
			return answerText(principal{user: user, password: password}.send(t, http.MethodGet,
				sc.directRealm+"?"+scope.Encode(), ""))
		},
		"POST": func(t *testing.T, user, password string) string {
			form := url.Values{"grant_type": {"password"}, "username": {user}, "password": {password},
				"service": {audience}, "scope": scope["scope"]}
			return answerText(principal{}.send(t, http.MethodPost, sc.directRealm, form.Encode()))
		},
	}
	for _, h := range []tool{dockerTool, skopeoTool} {
		ask[h.name+" login"] = func(t *testing.T, user, password string) string {
			h.need(t)
			o := h.login(newWorkspace(t, sc.r.host, sc.tap, sc.dm), user, password)
			if o.status == 0 {
				t.Errorf("%s logged in as %s", h.name, user)
			}
			return skopeoTime.ReplaceAllString(o.String(), "")
		}
	}
	for way, ask := range ask {
		t.Run(way, func(t *testing.T) {
			got := ask(t, zed, unixPassword)
			if method := !strings.Contains(way, " "); method && !strings.HasPrefix(got, "401 ") {
				t.Errorf("answered with %s\nwant 401", got)
			}
			for _, w := range wrong {
				if want := ask(t, w.user, w.password); got != want {
					t.Errorf("a blacklisted account is told\n%s\nand %s\n%s", got, w.what, want)
				}
			}
		})
	}
	if !strings.Contains(sc.service.output(), "is blacklisted, by the entry") {
		t.Error("the log does not say who was refused for the blacklist")
	}
}

// skopeoTime is the timestamp of a line that skopeo prints.
var skopeoTime = regexp.MustCompile(`time="[^"]*" `)

// answerText is an answer without its Date.
func answerText(a *http.Response, body []byte) string {
	a.Header.Del("Date")
	var b strings.Builder
	fmt.Fprintln(&b, a.Status)
	_ = a.Header.Write(&b) // into memory
	b.Write(body)
	return b.String()
}

// TestRulesChangeUnderARunningService rewrites the rules, breaks them and repairs them, and checks
// each step with skopeo.
func TestRulesChangeUnderARunningService(t *testing.T) {
	leaveAsFound(t, outsidePaths)
	for _, registry := range []registryKind{registry28, registry31} {
		t.Run(string(registry), func(t *testing.T) {
			t.Parallel()
			// alice need not be a Unix account.
			everyone := accountSet{map[string]string{alice: alice}, strings.NewReplacer()}
			sc := openScenario(t, registry, everyone, siteOptions{extra: "access: []\n"}, nil)
			tr := sc.startTool(t, skopeoTool)
			as := principal{user: alice, password: unixPassword}
			const scope = "repository:alice/app:pull,push"
			await := func(what, want string) {
				t.Helper()
				eventually(t, 10*time.Second, what, func() bool {
					got, _ := as.granted(t, sc.s, sc.directRealm, audience, scope)
					return got == want
				})
			}
			pushes := func(refused bool) {
				t.Helper()
				tr.do(operation{as: alice, verb: "push", repo: "alice/app", refused: refused})
			}

			await("rules that allow nothing", "")
			if a, _ := (principal{}).ask(t, sc.directRealm,
				url.Values{"service": {audience}, "scope": {scope}}); a.StatusCode != http.StatusUnauthorized {
				t.Errorf("without a rule for anyone a client without credentials is answered with %s, want 401",
					a.Status)
			}
			pushes(true)

			sc.rewrite(t, `access: [{allow: [push], repositories: ["{user}/**"], to: [users]}]`)
			await("the rule that was added", scope)
			pushes(false)
			asLater := principal{refresh: as.refreshToken(t, sc.directRealm)}

			broken := sc.rewrite(t, "access:\n  - allow: [pull]\n    to: [users]\n  - allow: [pul]\n    to: [users]")
			eventually(t, 10*time.Second, "the log to name file and line of the broken rule", func() bool {
				return strings.Contains(sc.service.output(),
					fmt.Sprintf("%s:%d: access.allow: unknown action", sc.s.configFile, broken+3))
			})
			if got, _ := as.granted(t, sc.s, sc.directRealm, audience, scope); got != scope {
				t.Errorf("with a broken rule %q is granted, want the old %q", got, scope)
			}
			if n := strings.Count(sc.service.output(), "access.allow: unknown action"); n != 1 {
				t.Errorf("the log names the broken rule %d times, want once", n)
			}

			sc.rewrite(t, "access: [{allow: [pull], to: [users]}]")
			await("the rule that was narrowed", "repository:alice/app:pull")
			if got, _ := asLater.granted(t, sc.s, sc.directRealm, audience, scope); got != "repository:alice/app:pull" {
				t.Errorf("a refresh token of before gets %q, want what the rules say now", got)
			}
			pushes(true)
			tr.do(operation{as: alice, verb: "pull", repo: "alice/app"})

			sc.rewrite(t, "")
			await("a configuration without rules", scope)
			pushes(false)
			if !sc.service.running() {
				t.Error("the service was restarted")
			}
		})
	}
}

// rewrite replaces the rules in config.yml and returns the line on which they begin.
func (sc *scenario) rewrite(t *testing.T, rules string) (line int) {
	t.Helper()
	text := sc.s.config(siteOptions{certificate: true})
	next := writeFile(t, sc.s.configFile+".new", text+rules+"\n", 0o600)
	if err := os.Rename(next, sc.s.configFile); err != nil {
		t.Fatal(err)
	}
	return strings.Count(text, "\n") + 1
}

// TestGroupsAreLookedUpOnlyWhereARuleNamesOne gives the service a directory that knows accounts and
// never answers about groups: /etc/group is a pipe without a writer, so opening it blocks. The name
// of an account is always looked up.
func TestGroupsAreLookedUpOnlyWhereARuleNamesOne(t *testing.T) {
	needMountNamespace(t)
	const unavailable = "status 503"
	for _, c := range []struct{ name, rules, want string }{
		{"no rules", "", "repository:alice/app:pull"},
		{"rules for users and their namespaces", `access: [{allow: [pull], repositories: ["{user}/**"], to: [users]}]`,
			"repository:alice/app:pull"},
		{"rules for anyone", `access: [{allow: [pull], to: [anyone]}]`, "repository:alice/app:pull"},
		{"rules for one account", `access: [{allow: [pull], to: [alice]}]`, "repository:alice/app:pull"},
		{"a blacklist of names", `blacklisted_users: [mallory]`, "repository:alice/app:pull"},
		{"a rule for a group", `access: [{allow: [pull], to: [users, "@team"]}]`, unavailable},
		{"a rule with a namespace for groups",
			`access: [{allow: [pull], to: [users]}, {allow: [pull], repositories: ["{group}/**"], to: [alice]}]`,
			unavailable},
		{"a blacklist with a group", `blacklisted_users: ["@banned"]`, unavailable},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, siteOptions{extra: "  timeout: 1s\n" + c.rules + "\n"})
			realm := s.serveWithoutGroups(t)
			scope := "repository:alice/app:pull"
			got, _ := principal{user: alice, password: alicePassword}.granted(t, s, realm, audience, scope)
			if !strings.HasPrefix(got, c.want) {
				t.Errorf("answered with %q, want %q", got, c.want)
			}
			if c.want == unavailable {
				// A client without an account has no groups to look up.
				if a, _ := (principal{}).ask(t, realm,
					url.Values{"service": {audience}}); a.StatusCode != http.StatusUnauthorized {
					t.Errorf("a client without credentials is answered with %s, want 401", a.Status)
				}
			}
		})
	}
}

// ownMounts starts a program in a private mount namespace (syscall.SysProcAttr, Unshareflags).
func ownMounts() *syscall.SysProcAttr { return &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS} }

func needMountNamespace(t testing.TB) {
	t.Helper()
	needRoot(t, "a mount namespace")
	cmd := exec.Command("mount", "--bind", t.TempDir(), t.TempDir())
	cmd.SysProcAttr = ownMounts()
	if msg, err := cmd.CombinedOutput(); err != nil {
		missing(t, "a mount namespace: %v: %s", err, msg)
	}
}

// serveWithoutGroups is serveHTTP in a mount namespace where nobody answers about groups.
func (s *site) serveWithoutGroups(t testing.TB) (realm string) {
	t.Helper()
	silent := filepath.Join(s.dir, "silent")
	if err := syscall.Mkfifo(silent, 0o644); err != nil {
		t.Fatal(err)
	}
	var namespace string
	t.Cleanup(func() { noneLeftIn(t, namespace) }) // after the service was stopped
	files := writeFile(t, filepath.Join(s.dir, "nsswitch.conf"), "passwd: files\ngroup: files\n", 0o644)
	passwd := writeFile(t, filepath.Join(s.dir, "passwd"),
		"root:x:0:0::/root:/bin/sh\n"+alice+":x:4242:4242::/nonexistent:/bin/false\n", 0o644)
	script := fmt.Sprintf(`set -e
mount --bind %[1]s /etc/nsswitch.conf
[ ! -e /run/nscd/socket ] || mount --bind %[1]s /run/nscd/socket
mount --bind %[2]s /etc/group
mount --bind %[3]s /etc/passwd
exec "$@"`, files, silent, passwd)
	listen := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	cmd := exec.Command("sh", "-c", script, "sh", binary(t), "http", "--config", s.configFile, "--listen", listen)
	cmd.SysProcAttr = ownMounts()
	p := start(t, "dockerauth http", cmd)
	p.ready(t, "tcp", listen)
	namespace = mountsOf(p.cmd.Process.Pid)
	return fmt.Sprintf("http://%s/docker/v2/token", listen)
}

// mountsOf is the mount namespace of a process, "" = the process has ended.
func mountsOf(pid int) string {
	name, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", pid))
	if err != nil {
		return ""
	}
	return name
}

// noneLeftIn waits until every process in the namespace has ended.
func noneLeftIn(t testing.TB, namespace string) {
	t.Helper()
	program, _ := buildBinary()
	eventually(t, 5*time.Second, "everything the service started to end", func() bool {
		return namespace == "" || !slices.ContainsFunc(processesOf(program),
			func(pid int) bool { return mountsOf(pid) == namespace })
	})
}

// TestCGIReadsTenThousandRules sends a registry's clients to CGI, which reads the configuration for
// each request.
func TestCGIReadsTenThousandRules(t *testing.T) {
	leaveAsFound(t, outsidePaths)
	groups := makeGroups(t, []string{"large"}, nil)
	accounts := makeAccounts(t, []unixAccount{{suffix: "member",
		change: [][]string{{"usermod", "-a", "-G", groups["large"]}}}})
	member := accounts["member"]
	everyone := accountSet{accounts,
		strings.NewReplacer("%member", member, "@large", "@"+groups["large"], "%large", groups["large"])}
	for _, c := range []struct {
		name     string
		registry registryKind
		rule     string // how one is written: action, pattern, principal
	}{
		{"a key on each line, and registry 2.8", registry28,
			"  - allow: [%s]\n    repositories: [\"%s\"]\n    to: [\"%s\"]\n"},
		{"a rule on each line, and registry 3.1", registry31,
			"  - {allow: [%s], repositories: [\"%s\"], to: [\"%s\"]}\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			needRegistry(t, c.registry)
			s := newTestEnv(t, envOptions{pam: func(s *testEnv) string {
				s.accounts[member] = unixPassword
				s.userdb(s.t)
				return databasePAM(s)
			}})
			text := strings.Replace(readFile(t, s.configFile), "pam:\n",
				fmt.Sprintf("certificate: %q\npam:\n", s.certFile), 1)
			s.replace(s.configFile, text+everyone.named(t, tenThousandRules(c.rule)))
			bareCGI.open(t, s)
			_, port, _ := net.SplitHostPort(s.address)
			sc := &scenario{accountSet: everyone, s: s.site}
			sc.tap, sc.realm = startTap(t, "http://localhost:"+port+"/docker/v2/token")
			sc.r = startRegistry(t, c.registry, s.site, sc.realm, trust{bundle: s.certFile})
			tr := sc.startTool(t, skopeoTool)
			for _, op := range []operation{
				{as: "member", verb: "push", repo: "first/app"},
				{as: "member", verb: "push", repo: "last/app"},
				{as: "member", verb: "push", repo: "%large/app"},
				{as: "member", verb: "pull", repo: "last/app"},
				{as: "member", verb: "push", repo: "team17/app", refused: true},
				{as: "member", verb: "delete", repo: "last/app", refused: true},
				{verb: "pull", repo: "first/app", refused: true},
			} {
				tr.do(op)
			}
		})
	}
}

// tenThousandRules are mostly about other principals.
func tenThousandRules(rule string) string {
	var b strings.Builder
	b.WriteString("access:\n")
	fmt.Fprintf(&b, rule, "push", "first/**", "users")
	fmt.Fprintf(&b, rule, "pull", "public/**", "anyone")
	for i := range 9996 {
		team := fmt.Sprintf("team%d", i)
		fmt.Fprintf(&b, rule, "push", team+"/**", "@e2e-"+team)
	}
	fmt.Fprintf(&b, rule, "push", "{group}/**", "@large")
	fmt.Fprintf(&b, rule, "push", "last/*", "users")
	return b.String()
}
