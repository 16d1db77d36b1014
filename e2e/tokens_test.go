package e2e

import (
	"encoding/json"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"dockerauth/credentials"
)

// keptToken is what "token issue" printed.
type keptToken struct {
	text  string
	id    string
	login string // the user name to send with it
}

var tokenText = regexp.MustCompile(`^dka_[0-9A-Za-z]{43}$`)

// command is a command of the administrator. A set-group-id program takes none, so it is the same
// one without that.
func (s *testEnv) command(args ...string) *exec.Cmd {
	s.t.Helper()
	n := slices.IndexFunc(args, func(arg string) bool { return strings.HasPrefix(arg, "-") })
	if n < 0 {
		n = len(args)
	}
	cmd := exec.Command(binary(s.t), slices.Insert(slices.Clone(args), n, "--config", s.configFile)...)
	cmd.Dir = s.dir
	return cmd
}

// issue runs "token issue". Nothing but the token is on stdout, and stderr does not have it.
func (s *testEnv) issue(t testing.TB, user string, args ...string) keptToken {
	t.Helper()
	cmd := s.command(append([]string{"token", "issue", "--user", user}, args...)...)
	if os.Getuid() == 0 && strings.Contains(readFile(t, s.configFile), "\nstate: redis") {
		// Root would have to ask a PAM that others can write to.
		cmd = s.asWeb(cmd)
	}
	o := run(t, "", cmd)
	k := keptToken{text: strings.TrimSuffix(o.must(t), "\n"), login: user}
	if !tokenText.MatchString(k.text) || strings.Contains(o.stderr, k.text[14:]) {
		t.Fatalf("token issue: %d bytes on stdout, which are no token; stderr:\n%s", len(o.stdout), o.stderr)
	}
	k.id = k.text[4:14]
	if n := slices.Index(args, "--robot"); n >= 0 {
		k.login += "+" + args[n+1]
	}
	return k
}

// revoke runs "token revoke".
func (s *testEnv) revoke(t testing.TB, args ...string) {
	t.Helper()
	run(t, "", s.command(append([]string{"token", "revoke"}, args...)...)).must(t)
}

// keepToken adds what must not be written anywhere: the token, its secret part and its encodings.
func (c *client) keepToken(k keptToken) {
	c.keepSecret(k.text, k.text[len(credentials.Prefix)+10:41])
	_ = c.basic(k.login, k.text)
}

// kept sends a kept token as the password.
func kept(k keptToken, query string) func(c *client) string {
	return func(c *client) string {
		c.keepToken(k)
		return login(k.login, k.text, query)(c)
	}
}

// passwordGrant sends a user name and a password, or a kept token, in a form.
func passwordGrant(user, password, more string) func(c *client) string {
	return post("grant_type=password&username=" + url.QueryEscape(user) + "&password=" + url.QueryEscape(password) +
		"&" + more)
}

// readsAccounts opens a front end whose program can read /etc/shadow and knows kept tokens: one
// that a web server starts is installed with set-group-id, the others have the group.
func readsAccounts(t *testing.T, th frontend, config string) *client {
	t.Helper()
	need(t, th.name, th.needs...)
	s := newTestEnv(t, envOptions{pam: shippedPAM, config: config, groups: []uint32{lookupGroup(t, "shadow")}})
	s.ownAnswers = th.ownAnswers
	if th.name == apacheCGI.name || th.name == apacheFcgid.name {
		s.installSetGroupID()
	}
	th.open(t, s)
	return newClient(s)
}

// installSetGroupID replaces the program. Such a program accepts only files that root has written;
// its log is the web user's.
func (s *testEnv) installSetGroupID() {
	s.t.Helper()
	if err := os.Remove(s.program); err != nil {
		s.t.Fatal(err)
	}
	mustRun(s.t, "install", "-o", s.web.name, "-g", "shadow", "-m", "2510", binary(s.t), s.program)
	mustRun(s.t, "install", "-o", s.web.name, "-m", "0600", "/dev/null", s.logFile)
	mustRun(s.t, "chown", "root:root", s.dir, s.configFile, s.confdir, filepath.Join(s.confdir, "dockerauth"))
	mustRun(s.t, "chmod", "0644", s.configFile)
}

// sharedState makes a state folder for several front ends, and returns its path.
func sharedState(t *testing.T) string {
	t.Helper()
	web, dir := lookupWebUser(t), shortDir(t)
	state := filepath.Join(dir, "state")
	mustRun(t, "chmod", "0755", dir)
	mustRun(t, "install", "-d", "-o", web.name, "-m", "0700", state)
	return state
}

// checkFiles looks for secrets in all files below a folder, databases and their logs too.
func (c *client) checkFiles(t *testing.T, dir string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		files++
		text := readFile(t, path)
		for secret := range c.secrets {
			if strings.Contains(text, secret) {
				t.Errorf("%s holds the secret %q", path, excerpt(secret))
			}
		}
		return nil
	})
	if err != nil || files == 0 {
		t.Errorf("%d files below %s: %v", files, dir, err)
	}
}

// events returns the log lines with an audit event.
func (s *testEnv) events(event string) (lines []map[string]any) {
	for _, line := range s.logLines() {
		if line["event"] == event {
			lines = append(lines, line)
		}
	}
	return lines
}

// listed is a line of "token list --json".
type listed struct {
	ID      string `json:"id"`
	Revoked any    `json:"revoked"`
	LastUse any    `json:"last_use"`
}

func (s *testEnv) listTokens(t testing.TB) map[string]listed {
	t.Helper()
	var all []listed
	if err := json.Unmarshal([]byte(run(t, "", s.command("token", "list", "--json")).must(t)), &all); err != nil {
		t.Fatal(err)
	}
	byID := map[string]listed{}
	for _, one := range all {
		byID[one.ID] = one
	}
	return byID
}

// onFrontend is a client of one front end.
type onFrontend struct {
	name string
	*client
}

// tokenFrontends are one of each kind: a process for each request, several processes that stay, and
// one.
var tokenFrontends = []frontend{apacheCGI, apacheFcgid, nginxFastCGI, httpFrontend}

// readAccounts opens them all.
func readAccounts(t *testing.T, config string) []onFrontend {
	t.Helper()
	var all []onFrontend
	for _, th := range tokenFrontends {
		all = append(all, onFrontend{th.name, readsAccounts(t, th, config)})
	}
	return all
}

// each runs a step for all front ends at once.
func each(t *testing.T, name string, clients []onFrontend, step func(t *testing.T, c onFrontend)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		for _, c := range clients {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				c.t = t
				step(t, c)
			})
		}
	})
}

// answered is an answer to a request.
type answered struct {
	status int
	header http.Header
	body   []byte
	token  tokenAnswer // with status 200
}

// granted is the access claim of the answer's token.
func (a answered) granted(t *testing.T, c *client) string {
	t.Helper()
	claims, err := verify(a.token.Token, c.key.Public())
	if err != nil {
		t.Errorf("access token: %v: %s", err, excerpt(string(a.body)))
	}
	return claims.scopes()
}

// atOnce is how many requests are under way: a refusal is held back for a second.
func (s *testEnv) atOnce() int {
	if s.processes > 0 {
		return s.processes
	}
	return 24
}

// askAll sends requests, each from an address of its own, and returns the answers in the same
// order.
func (c *client) askAll(t *testing.T, requests []string) []answered {
	t.Helper()
	return c.askAllFrom(t, freshAddress, requests)
}

func (c *client) askAllFrom(t *testing.T, from func() string, requests []string) []answered {
	t.Helper()
	all := make([]answered, len(requests))
	next := make(chan int, len(requests))
	for i := range requests {
		next <- i
	}
	close(next)
	var workers sync.WaitGroup
	for range c.atOnce() {
		workers.Go(func() {
			for i := range next {
				answer, body, err := exchange(from(), c.address, requests[i])
				if err != nil {
					t.Errorf("%v: %s", err, body)
					continue
				}
				all[i] = answered{status: answer.StatusCode, header: answer.Header, body: body}
				if answer.StatusCode == http.StatusOK {
					if err := unmarshalExact(body, &all[i].token); err != nil {
						t.Errorf("body: %v", err)
					}
				}
			}
		})
	}
	workers.Wait()
	for _, a := range all {
		c.keepSecret(a.token.Token)
		if a.token.RefreshToken != nil {
			c.keepSecret(*a.token.RefreshToken)
		}
	}
	return all
}

// ask is askAll for one request.
func (c *client) ask(t *testing.T, send func(c *client) string) answered {
	t.Helper()
	return c.askAll(t, []string{send(c)})[0]
}

// shadowField is what /etc/shadow has for the password of an account.
func shadowField(t *testing.T, name string) string {
	t.Helper()
	for line := range strings.Lines(readFile(t, "/etc/shadow")) {
		if f := strings.Split(line, ":"); f[0] == name {
			return f[1]
		}
	}
	t.Fatalf("/etc/shadow has no %s", name)
	return ""
}
