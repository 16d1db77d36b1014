package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"dockerauth/credentials"
	"dockerauth/store"
)

// jenkinsScope is what the tokens of this file may be used for.
const jenkinsScope = "repository:ci/**:pull"

// TestKeptTokensOnEveryFrontend uses tokens in a folder that all front ends share, and takes them
// back. All the time, another user looks for their text in the list of processes.
func TestKeptTokensOnEveryFrontend(t *testing.T) {
	names := makeAccounts(t, []unixAccount{{suffix: "kept"}, {suffix: "else"}})
	name := names["kept"]
	state := sharedState(t)
	clients := readAccounts(t, "state: "+state+"\n")
	watched := watchProcessList(t)

	first := clients[0]
	scope := []string{"--scope", jenkinsScope}
	robot := first.issue(t, name, append(scope, "--robot", "jenkins", "--note", "seen in the list")...)
	personal := first.issue(t, name, append(scope, "--expires", "13d")...)
	near := first.issue(t, name, append(scope, "--from", "127.0.0.0/8", "--from", "2001:db8::/32")...)
	far := first.issue(t, name, append(scope, "--from", "192.0.2.0/24")...)
	as := func(k keptToken, login string) keptToken { k.login = login; return k }
	const asked = serviceIs + "&scope=repository:ci/app:pull,push&scope=repository:other/app:pull&offline_token=true"
	posted := func(k keptToken) func(c *client) string {
		return func(c *client) string {
			c.keepToken(k)
			return passwordGrant(k.login, k.text, "access_type=offline&scope=repository:ci/app:pull,push&"+serviceIs)(c)
		}
	}
	cases := []struct {
		name   string
		send   func(c *client) string
		status int
	}{
		{"a robot's", kept(robot, asked), 200},
		{"a robot's by POST", posted(robot), 200},
		{"a personal one", kept(personal, asked), 200},
		{"a personal one by POST", posted(personal), 200},
		{"one for the client's address", kept(near, asked), 200},
		{"one for another address", kept(far, asked), 401},
		{"a robot's with the account's name", kept(as(robot, name), asked), 401},
		{"a robot's with another robot's name", kept(as(robot, name+"+jenkins2"), asked), 401},
		{"a robot's with the name in upper case", kept(as(robot, strings.ToUpper(robot.login)), asked), 401},
		{"a personal one with a robot's name", kept(as(personal, robot.login), asked), 401},
		{"a personal one with another account's name", kept(as(personal, names["else"]), asked), 401},
	}
	each(t, "use", clients, func(t *testing.T, c onFrontend) {
		var requests []string
		for _, tc := range cases {
			requests = append(requests, tc.send(c.client))
		}
		for i, a := range c.askAll(t, requests) {
			switch {
			case a.status != cases[i].status:
				t.Errorf("%s: status %d, want %d: %s", cases[i].name, a.status, cases[i].status, a.body)
			case a.status != http.StatusOK:
			case a.token.RefreshToken != nil:
				t.Errorf("%s: the answer has a refresh token", cases[i].name)
			case a.granted(t, c.client) != "repository:ci/app:pull":
				t.Errorf("%s: granted %q", cases[i].name, a.granted(t, c.client))
			}
		}
		used := 0
		for _, line := range c.awaitRequestLines(len(cases)) {
			if line["event"] == "token-used" && line["credential"] == robot.id {
				used++
				if line["subject"] != robot.login || line["kind"] != "robot" || line["outcome"] != "granted" {
					t.Errorf("the log has %v", line)
				}
			}
		}
		if used != 2 {
			t.Errorf("%d uses of the robot's token in the log, want 2", used)
		}
	})

	// They share a folder, so one of them noted the first use of the day.
	eventually(t, 5*time.Second, "the use and the warning to be noted", func() bool {
		warned := 0
		for _, c := range clients {
			c.t = t
			warned += len(c.events("token-expires"))
		}
		return warned > 0 && first.listTokens(t)[robot.id].LastUse != nil
	})

	overlapped := first.rotate(t, personal, "1h")
	replaced := first.rotate(t, near, "0")
	each(t, "after rotation", clients, func(t *testing.T, c onFrontend) {
		c.expect(t, map[string]int{"the old one in its overlap": 200, "its successor": 200,
			"the old one without overlap": 401, "its successor without overlap": 200},
			map[string]func(c *client) string{
				"the old one in its overlap":    kept(personal, asked),
				"its successor":                 kept(overlapped, asked),
				"the old one without overlap":   kept(near, asked),
				"its successor without overlap": kept(replaced, asked),
			})
	})

	// Every process has seen the token, and refuses it from its next request on.
	first.revoke(t, robot.id, "--reason", "it was left on a train")
	each(t, "after revocation", clients, func(t *testing.T, c onFrontend) {
		before := len(processesOf(c.program))
		if strings.Contains(c.name, "fcgid") && before < 2 {
			t.Errorf("mod_fcgid has %d processes, want several", before)
		}
		requests := slices.Repeat([]string{kept(robot, asked)(c.client)}, 2*c.atOnce())
		for _, a := range c.askAll(t, requests) {
			if a.status != http.StatusUnauthorized {
				t.Errorf("a revoked token: status %d", a.status)
			}
		}
		if a := c.ask(t, kept(overlapped, asked)); a.status != http.StatusOK {
			t.Errorf("another token: status %d", a.status)
		}
	})
	first.revoke(t, "--user", name)
	each(t, "after all are revoked", clients, func(t *testing.T, c onFrontend) {
		c.expect(t, map[string]int{"overlapped": 401, "replaced": 401}, map[string]func(c *client) string{
			"overlapped": kept(overlapped, asked), "replaced": kept(replaced, asked)})
	})

	for event, n := range map[string]int{"token-issued": 4, "token-rotated": 2, "token-revoked": 6} {
		if got := len(first.events(event)); got != n {
			t.Errorf("the log has %d events %s, want %d: %v", got, event, n, first.events(event))
		}
	}
	secrets := map[string]bool{}
	for _, c := range clients {
		c.t = t
		c.keepSecret(shadowField(t, name), shadowField(t, names["else"]))
		c.checkSecrets(t)
		c.checkFiles(t, state)
		for secret := range c.secrets {
			secrets[secret] = true
		}
	}
	watched(secrets)
}

// expect sends requests and compares their status.
func (c *client) expect(t *testing.T, want map[string]int, sends map[string]func(c *client) string) {
	t.Helper()
	var labels, requests []string
	for label, send := range sends {
		labels, requests = append(labels, label), append(requests, send(c))
	}
	for i, a := range c.askAll(t, requests) {
		if a.status != want[labels[i]] {
			t.Errorf("%s: status %d, want %d: %s", labels[i], a.status, want[labels[i]], a.body)
		}
	}
}

// rotate runs "token rotate".
func (s *testEnv) rotate(t testing.TB, k keptToken, overlap string) keptToken {
	t.Helper()
	o := run(t, "", s.command("token", "rotate", "--overlap", overlap, k.id))
	next := keptToken{text: strings.TrimSuffix(o.must(t), "\n"), login: k.login}
	if !tokenText.MatchString(next.text) || next.text == k.text {
		t.Fatalf("token rotate: %d bytes on stdout, which are no new token", len(o.stdout))
	}
	next.id = next.text[4:14]
	return next
}

// planted is in the list of processes, and must be found there.
const planted = "dka_PlantedInTheListOfProcesses"

// watchProcessList has another user look for tokens, hashes and headers in what the kernel shows of
// processes, until the function that it returns is called with the secrets that must not be there.
func watchProcessList(t *testing.T) (check func(secrets map[string]bool)) {
	t.Helper()
	needRoot(t, "a process of another user")
	found, err := os.Create(shortDir(t) + "/found")
	if err != nil {
		t.Fatal(err)
	}
	defer found.Close()
	const pattern = `dka_[0-9A-Za-z]+|\$y\$[^:]+|Basic [0-9A-Za-z+/=]+|eyJ[0-9A-Za-z_.-]+|correct horse[ a-z]*`
	cmd := exec.Command("sh", "-c", `while :; do grep -aohE '`+strings.ReplaceAll(pattern, "dka", "[d]ka")+
		`' /proc/[0-9]*/cmdline /proc/[0-9]*/environ /proc/[0-9]*/task/*/comm; sleep 0.05; done 2>/dev/null`)
	cmd.Stdout = found
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	p := start(t, "a look at the list of processes", cmd)
	decoy := start(t, "a process with a secret", exec.Command("sh", "-c", "while :; do sleep 1; done", planted))
	return func(secrets map[string]bool) {
		t.Helper()
		eventually(t, 10*time.Second, "the planted secret to be found", func() bool {
			return strings.Contains(readFile(t, found.Name()), planted)
		})
		_ = decoy.cmd.Process.Kill()
		_ = syscall.Kill(p.cmd.Process.Pid, syscall.SIGKILL)
		text := readFile(t, found.Name())
		for secret := range secrets {
			if strings.Contains(text, secret) {
				t.Errorf("another user can read the secret %q of a process", excerpt(secret))
			}
		}
	}
}

// TestLoginsAreTakenBackOnEveryFrontend revokes refresh tokens, one and all of an account, in a
// folder that front ends with keys of their own share.
func TestLoginsAreTakenBackOnEveryFrontend(t *testing.T) {
	state := stateWith(t, func(*credentials.Records, store.Store) {})
	var clients []onFrontend
	for _, th := range append([]frontend{bareCGI}, tokenFrontends...) {
		s := openFrontend(t, th, envOptions{config: "state: " + state + "\n"})
		clients = append(clients, onFrontend{th.name, newClient(s)})
	}
	first := clients[0]
	robot := first.issue(t, alice, "--robot", "jenkins", "--scope", jenkinsScope)
	logIn := func(t *testing.T, c onFrontend) string {
		t.Helper()
		a := c.ask(t, asAlice(serviceIs+"&offline_token=true&client_id=docker"))
		if a.token.RefreshToken == nil {
			t.Fatalf("log in: status %d: %s", a.status, a.body)
		}
		return *a.token.RefreshToken
	}
	use := func(refresh string) func(c *client) string {
		return post("grant_type=refresh_token&client_id=docker&refresh_token=" + refresh + "&" + serviceIs)
	}
	var mu sync.Mutex
	logins, known := map[string][2]string{}, map[string]bool{}
	each(t, "log in", clients, func(t *testing.T, c onFrontend) {
		both := [2]string{logIn(t, c), logIn(t, c)}
		mu.Lock()
		defer mu.Unlock()
		logins[c.name] = both
		known[jwtID(t, both[0])], known[jwtID(t, both[1])] = true, true
	})
	listed := func() (ids []string) {
		var all []struct{ ID, User, Client string }
		text := run(t, "", first.command("logins", "--user", alice, "--json")).must(t)
		if err := json.Unmarshal([]byte(text), &all); err != nil {
			t.Fatal(err)
		}
		for _, one := range all {
			if ids = append(ids, one.ID); !known[one.ID] || one.User != alice || one.Client != "docker" {
				t.Errorf("a login that was not made: %+v", one)
			}
		}
		return ids
	}
	eventually(t, 5*time.Second, "all logins to be known", func() bool { return len(listed()) == len(known) })
	for _, c := range clients {
		first.revoke(t, jwtID(t, logins[c.name][0]))
	}
	each(t, "after the revocation of one", clients, func(t *testing.T, c onFrontend) {
		c.expect(t, map[string]int{"revoked": 401, "other": 200}, map[string]func(c *client) string{
			"revoked": use(logins[c.name][0]), "other": use(logins[c.name][1])})
	})
	if n := len(listed()); n != len(clients) {
		t.Errorf("%d logins are listed, want %d", n, len(clients))
	}
	first.revoke(t, "--user", alice, "--kind", "refresh")
	each(t, "after the revocation of all", clients, func(t *testing.T, c onFrontend) {
		c.expect(t, map[string]int{"revoked": 401, "other": 401, "robot": 200, "new": 200},
			map[string]func(c *client) string{"revoked": use(logins[c.name][0]), "other": use(logins[c.name][1]),
				"robot": kept(robot, serviceIs), "new": use(logIn(t, c))})
		c.checkSecrets(t)
		c.checkFiles(t, state)
	})
}

// TestAStateFolderThatWasEmptiedRefusesWhatItForgot empties the folder under a front end that is
// running.
func TestAStateFolderThatWasEmptiedRefusesWhatItForgot(t *testing.T) {
	t.Parallel()
	needRoot(t, "the files of another user")
	for _, th := range []frontend{bareCGI, apacheFcgid, httpFrontend} {
		t.Run(th.name, func(t *testing.T) {
			t.Parallel()
			state := stateWith(t, func(*credentials.Records, store.Store) {})
			c := newClient(openFrontend(t, th, envOptions{config: "state: " + state + "\n"}))
			robot := c.issue(t, alice, "--robot", "jenkins", "--scope", jenkinsScope)
			refresh := *c.ask(t, asAlice(serviceIs+"&offline_token=true")).token.RefreshToken
			sends := map[string]func(c *client) string{
				"robot": kept(robot, serviceIs), "password": asAlice(serviceIs),
				"refresh": post("grant_type=refresh_token&refresh_token=" + refresh + "&" + serviceIs),
			}
			c.expect(t, map[string]int{"robot": 200, "refresh": 200, "password": 200}, sends)
			mustRun(t, "sh", "-c", "rm -- "+state+"/*")
			c.expect(t, map[string]int{"robot": 503, "refresh": 503, "password": 200}, sends)
			again := *c.ask(t, asAlice(serviceIs+"&offline_token=true")).token.RefreshToken
			c.expect(t, map[string]int{"robot": 401, "refresh": 401, "password": 200}, sends)
			if a := c.ask(t, post("grant_type=refresh_token&refresh_token="+again+"&"+serviceIs)); a.status != 200 {
				t.Errorf("a refresh token of now: status %d", a.status)
			}
			c.checkSecrets(t)
		})
	}
}

// TestPasswordsWorkWhileTheStateFolderIsAway takes the folder away and puts it back.
func TestPasswordsWorkWhileTheStateFolderIsAway(t *testing.T) {
	needRoot(t, "the files of another user")
	for _, th := range []frontend{httpFrontend, nginxFastCGI} {
		t.Run(th.name, func(t *testing.T) {
			t.Parallel()
			state := stateWith(t, func(*credentials.Records, store.Store) {})
			c := newClient(openFrontend(t, th, envOptions{config: "state: " + state + "\n"}))
			robot := c.issue(t, alice, "--robot", "jenkins", "--scope", jenkinsScope)
			refresh := *c.ask(t, asAlice(serviceIs+"&offline_token=true")).token.RefreshToken
			sends := map[string]func(c *client) string{
				"robot": kept(robot, serviceIs), "password": asAlice(serviceIs),
				"refresh": post("grant_type=refresh_token&refresh_token=" + refresh + "&" + serviceIs),
			}
			mustRun(t, "mv", state, state+".away")
			c.expect(t, map[string]int{"robot": 503, "refresh": 503, "password": 200}, sends)
			meanwhile := c.ask(t, asAlice(serviceIs+"&offline_token=true")).token.RefreshToken
			if meanwhile == nil {
				t.Fatal("a login while the folder is away gets no refresh token")
			}
			sends["meanwhile"] = post("grant_type=refresh_token&refresh_token=" + *meanwhile + "&" + serviceIs)
			mustRun(t, "mv", state+".away", state)
			c.expect(t, map[string]int{"robot": 200, "refresh": 200, "password": 200, "meanwhile": 200}, sends)
			c.checkSecrets(t)
			c.checkFiles(t, state)
		})
	}
}

// TestAccountsThatMayUseTokensOnly compares the answers to right and to wrong passwords.
func TestAccountsThatMayUseTokensOnly(t *testing.T) {
	t.Parallel()
	names := makeAccounts(t, []unixAccount{
		{suffix: "any"}, {suffix: "excepted"}, {suffix: "staff", change: [][]string{{"usermod", "-a", "-G", "games"}}},
	})
	section := func(allow string) string {
		return fmt.Sprintf("passwords: {allow: %s, except: [\"@games\", %s]}\n", allow, names["excepted"])
	}
	for _, tt := range []struct {
		frontend           frontend
		allow, other       string
		refused, permitted []string
	}{
		{httpFrontend, "tokens-only", "docker-login", []string{"any"}, []string{"excepted", "staff"}},
		{apacheCGI, "docker-login", "tokens-only", []string{"excepted", "staff"}, []string{"any"}},
	} {
		t.Run(tt.frontend.name+", "+tt.allow, func(t *testing.T) {
			t.Parallel()
			state := sharedState(t)
			c := readsAccounts(t, tt.frontend, "state: "+state+"\n"+section(tt.other))
			refreshes := map[string]string{} // while the other word was in the configuration
			for _, who := range tt.refused {
				answer := c.ask(t, login(names[who], unixPassword, serviceIs+"&offline_token=true"))
				refreshes[who] = *answer.token.RefreshToken
			}
			text := readFile(t, c.configFile)
			owner, group := ownerOf(t, c.configFile)
			c.replace(c.configFile, strings.Replace(text, "allow: "+tt.other, "allow: "+tt.allow, 1))
			if err := os.Chown(c.configFile, owner, group); err != nil {
				t.Fatal(err)
			}
			mustRun(t, "chmod", "0644", c.configFile)
			eventually(t, 10*time.Second, "the new configuration to be read", func() bool {
				return c.ask(t, login(names[tt.permitted[0]], unixPassword, serviceIs)).status == http.StatusOK
			})
			for _, who := range tt.permitted {
				if a := c.ask(t, login(names[who], unixPassword, serviceIs)); a.status != http.StatusOK {
					t.Errorf("%s with the password: status %d: %s", who, a.status, a.body)
				}
			}
			for _, who := range tt.refused {
				checkRightIsAsWrong(t, c, names[who])
				token := c.issue(t, names[who], "--scope", jenkinsScope)
				if a := c.ask(t, kept(token, serviceIs)); a.status != http.StatusOK {
					t.Errorf("%s with a token: status %d: %s", who, a.status, a.body)
				}
				refused := c.ask(t, post("grant_type=refresh_token&refresh_token="+refreshes[who]+"&"+serviceIs))
				if refused.status != http.StatusUnauthorized {
					t.Errorf("%s with a refresh token: status %d", who, refused.status)
				}
			}
			checkRightCountsAsWrong(t, c, names[tt.refused[0]])
			c.checkSecrets(t)
			c.checkFiles(t, state)
		})
	}
}

func ownerOf(t *testing.T, path string) (uid, gid int) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	stat := info.Sys().(*syscall.Stat_t)
	return int(stat.Uid), int(stat.Gid)
}

// checkRightIsAsWrong sends right and wrong passwords of an account that may use tokens only.
func checkRightIsAsWrong(t *testing.T, c *client, name string) {
	t.Helper()
	byPOST := func(password string) func(c *client) string {
		return passwordGrant(name, password, serviceIs)
	}
	answers := c.askAll(t, []string{
		login(name, unixPassword, serviceIs)(c), login(name, "wrong-password", serviceIs)(c),
		byPOST(unixPassword)(c), byPOST("another-wrong-password")(c),
	})
	for i := 0; i < len(answers); i += 2 {
		right, wrong := answers[i], answers[i+1]
		for _, h := range []http.Header{right.header, wrong.header} {
			h.Del("Date")
			h.Del("Content-Length") // which Apache adds if it sees the end of a CGI program soon enough
		}
		if right.status != http.StatusUnauthorized || right.status != wrong.status ||
			!bytes.Equal(right.body, wrong.body) ||
			fmt.Sprint(right.header) != fmt.Sprint(wrong.header) {
			t.Errorf("a right password is answered with\n%d %v %s\na wrong one with\n%d %v %s", right.status,
				right.header, right.body, wrong.status, wrong.header, wrong.body)
		}
	}
	said := 0
	for _, line := range c.requestLines() {
		if line["user"] == name && strings.Contains(fmt.Sprint(line["reason"]), "personal and robot tokens only") {
			said++
		}
	}
	if said == 0 {
		t.Error("the log does not say that the account may use tokens only")
	}
}

// checkRightCountsAsWrong locks the account with both: the lock comes with the fifth failure.
func checkRightCountsAsWrong(t *testing.T, c *client, name string) {
	t.Helper()
	c.from = freshAddress()
	for i, password := range []string{unixPassword, "wrong 1", "wrong 2", "wrong 3", "wrong 4", unixPassword} {
		answer, _, err := c.exchange(login(name, password, serviceIs)(c))
		want := map[bool]int{false: http.StatusUnauthorized, true: http.StatusTooManyRequests}[i == 5]
		if err != nil || answer.StatusCode != want {
			t.Errorf("password %d: %v %v, want status %d", i+1, err, answer, want)
		}
	}
}
