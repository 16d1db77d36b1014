package e2e

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Debian packages: fail2ban; python3-systemd and systemd-journal-remote for the journal.
const (
	fail2banFilter = "../packaging/fail2ban/filter.conf"
	fail2banJail   = "../packaging/fail2ban/jail.conf"
	journalRemote  = "/lib/systemd/systemd-journal-remote"
)

// victim is an address that a forger wants banned, in every form that a log line may contain.
const victim = "192.0.2.66"

// forgedTexts try to end the value that holds them, to begin a line of their own, or to make their
// line unreadable.
func forgedTexts() map[string]string {
	fields := `outcome=refused reason=x grant=password user=root remote=` + victim + ` duration=1s`
	line := `time=` + time.Now().Format(time.RFC3339Nano) + ` level=WARN msg="token request" ` + fields
	object := `{"time":"` + time.Now().Format(time.RFC3339Nano) +
		`","level":"WARN","msg":"token request","outcome":"refused","reason":"x","grant":"password","remote":"` +
		victim + `"}`
	apache := time.Now().Format("[Mon Jan 02 15:04:05.000000 2006]") + ` [cgid:error] [pid 1:tid 2] [client ` + victim +
		`:3] AH01215: stderr from /dockerauth: ` + line
	return map[string]string{
		"an address":                       "remote=" + victim,
		"an address after a space":         "x remote=" + victim + " ",
		"an address after a quote":         `x" remote=` + victim + ` y="`,
		"after an escaped quote":           `x\" remote=` + victim + ` y=\"`,
		"after two backslashes":            `x\\" remote=` + victim + ` y="`,
		"after three backslashes":          `x\\\" remote=` + victim + ` y="`,
		"after Apache's byte":              `x\x22" remote=` + victim + ` y="\x`,
		"after half of Apache's byte":      `x\x" remote=` + victim + ` y="\x2`,
		"JSON's end of a string":           `x","remote":"` + victim + `","y":"`,
		"JSON's, escaped":                  `x\",\"remote\":\"` + victim + `\",\"y\":\"`,
		"JSON's, escaped twice":            `x\\","remote":"` + victim + `","y":"`,
		"a line":                           "x\n" + line + "\n",
		"a line after a carriage return":   "x\r" + line + "\r\n",
		"a line after NEL":                 "x\u0085" + line,
		"a line after a line separator":    "x\u2028" + line + "\u2029",
		"a line after a form feed":         "x\f" + line + "\v" + line,
		"a line after DEL":                 "x\x7f" + line,
		"a line after a C1 control":        "x\u009b31m" + line,
		"a line after a bidi override":     "x\u202e" + line,
		"DEL alone":                        "x\x7f",
		"an override, then an address":     "\u202e\" remote=" + victim + " \u202c=\"",
		"JSON's end after an override":     "\u202e\",\"remote\":\"" + victim + "\",\"y\":\"\u202c",
		"tags, then an address":            "\U000e0001 remote=" + victim + " x",
		"a line after C1 bytes":            "x\x85" + line + "\x1c\x1d\x1e",
		"a line of its own":                line,
		"a JSON line":                      "x\n" + object + "\n",
		"a line of Apache's":               "x\n" + apache + "\n",
		"a line of the journal":            "x\nhost dockerauth[1]: " + line + "\n",
		"a quote":                          `"`,
		"a backslash":                      `\`,
		"two backslashes":                  `\\`,
		"an equals sign":                   `=`,
		"a granted login":                  `x" outcome=granted user="`,
		"bytes that are no text":           "\xff\xfe\xc3(\xa0\xa1",
		"half a letter at the clip":        strings.Repeat("a", 255) + "ü",
		"300 letters":                      strings.Repeat("a", 300),
		"300 quotes":                       strings.Repeat(`"`, 300),
		"300 backslashes":                  strings.Repeat(`\`, 300),
		"301 backslashes and quotes":       strings.Repeat(`\"`, 150) + `\`,
		"255 backslashes before the clip":  strings.Repeat(`\`, 255) + `" remote=` + victim,
		"256 backslashes before the clip":  strings.Repeat(`\`, 256) + `" remote=` + victim,
		"NUL":                              "x\x00" + line,
		"letters beyond ASCII":             "ünïcödé",
		"beyond ASCII, then an address":    "ü\" remote=" + victim + " ü=\"",
		"a domain":                         `EXAMPLE\bob`,
		"the tags of a filter":             `<HOST> <ADDR> %(_text)s (?P<host>x) .*`,
		"a log time":                       "2020-01-01T00:00:00Z",
		"Apache's other line":              "x, referer: remote=" + victim,
		"spaces at both ends":              "  x  ",
		"a tab":                            "\tremote=" + victim + "\t",
		"an address in front of the field": "remote=" + victim + " grant=password",
	}
}

// attempt is one request from an address of its own, and how often the filter must find that
// address.
type attempt struct {
	name    string
	request string
	from    string // where it comes from
	remote  string // in the log, "" = from
	found   int
}

func (v attempt) address() string {
	if v.remote != "" {
		return v.remote
	}
	return v.from
}

// attempts are hostile requests, whose addresses must be found, and ordinary ones.
func attempts(c *client, forwarded bool) []attempt {
	var all []attempt
	add := func(found int, name, request string) {
		all = append(all, attempt{name, request, freshAddress(), "", found})
	}
	for name, text := range forgedTexts() {
		quoted := url.QueryEscape(text)
		add(1, name+", as user", post("grant_type=password&password=wrong&service="+audience+"&username="+quoted)(c))
		add(1, name+", as account", login(alice, "wrong", serviceIs+"&account="+quoted)(c))
		add(1, name+", as client", login(alice, "wrong", serviceIs+"&client_id="+quoted)(c))
		add(1, name+", as scope, which is no scope", login(alice, "wrong", serviceIs+"&scope="+quoted)(c))
		add(0, name+", as service, which there is not", login(alice, "wrong", "service="+quoted)(c))
		if !forwarded { // Apache would append it to the line
			add(1, name+", as referer", get(serviceIs, c.basic(alice, "wrong"), "Referer: "+printable(text))(c))
		}
	}
	add(1, "a scope of many", login(alice, "wrong",
		serviceIs+"&scope=repository(plugin):host:5000/a:pull,push&scope=registry:catalog:*")(c))
	add(1, "blacklisted", login(mallory, defaultAccounts[mallory], serviceIs)(c))
	add(1, "expired", login(carol, defaultAccounts[carol], serviceIs)(c))
	add(1, "an empty password", login(alice, "", serviceIs)(c))
	add(0, "a login", asAlice(serviceIs)(c))
	add(0, "no credentials", get(serviceIs)(c))
	add(0, "credentials that the web server kept", get(serviceIs+"&account=alice&offline_token=true")(c))
	add(0, "another scheme", get(serviceIs, "Authorization: Bearer x")(c))
	add(0, "a refresh token that is none", refreshLogin("none", serviceIs)(c))
	add(0, "a forged text without credentials", get(serviceIs+"&account="+url.QueryEscape(forgedTexts()["a line"]))(c))
	add(0, "a directory that is away", login(dora, defaultAccounts[dora], serviceIs)(c))
	robot := c.issue(c.t, alice, "--robot", "ci", "--scope", "repository:**:pull")
	elsewhere := c.issue(c.t, alice, "--robot", "cd", "--scope", "repository:**:pull", "--from", victim)
	add(0, "a token", kept(robot, serviceIs)(c))
	add(0, "a token as a refresh token", useRefresh(robot.text, serviceIs)(c))
	add(1, "a token of another address", kept(elsewhere, serviceIs)(c))
	add(1, "a token with another user name", login(alice, robot.text, serviceIs)(c))
	add(1, "a token that is cut short", login(robot.login, robot.text[:40], serviceIs)(c))
	add(0, "nothing that is here", request("GET", "{mount}/elsewhere", "")(c))
	if forwarded {
		for i, name := range []string{"IPv6", "IPv6, short"} {
			remote := []string{"2001:db8:1:2:3:4:5:6", "2001:db8::7"}[i]
			all = append(all, attempt{name, get(serviceIs, c.basic(alice, "wrong"), "X-Forwarded-For: "+remote)(c),
				"127.0.0.1", remote, 1})
		}
		add(1, "an address that a client claims",
			get(serviceIs, c.basic(alice, "wrong"), "X-Forwarded-For: "+victim)(c))
	}
	return all
}

// printable is the part of a text that a header may hold.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, text)
}

// attemptAll sends all requests, some at once: each refusal takes a second.
func (c *client) attemptAll(t *testing.T, all []attempt) {
	t.Helper()
	var wg sync.WaitGroup
	slots := make(chan struct{}, 40)
	for _, v := range all {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if _, _, err := exchange(v.from, c.address, v.request); err != nil {
				t.Errorf("%s: %v", v.name, err)
			}
		})
	}
	wg.Wait()
}

// fail2banLogs are the places and formats of log lines that the filter supports.
var fail2banLogs = []struct {
	name     string
	frontend frontend
	format   string
	file     string // in the environment's folder; "" = the service's standard error
	journal  bool
}{
	{"a log file", httpFrontend, "text", "service.log", false},
	{"a log file, JSON", httpFrontend, "json", "service.log", false},
	{"Apache's error log", apacheCGI, "text", "run/error.log", false},
	{"Apache's error log, JSON", apacheCGI, "json", "run/error.log", false},
	{"Apache's error log with mod_fcgid", apacheFcgid, "text", "run/error.log", false},
	{"the journal", httpFrontend, "text", "", true},
	{"the journal, JSON", httpFrontend, "json", "", true},
}

func TestTheFail2banFilterFindsEveryAddressAndNoOther(t *testing.T) {
	need(t, "fail2ban", "fail2ban-regex")
	for _, l := range fail2banLogs {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			need(t, l.frontend.name, l.frontend.needs...)
			config := "state: state\nlog:\n  format: " + l.format + "\n"
			if l.file == "service.log" {
				config += "  file: service.log\n"
			}
			c := newClient(openFrontend(t, l.frontend, envOptions{noLogFile: true, config: config}))
			all := attempts(c, l.frontend.name == httpFrontend.name)
			if l.frontend.name == apacheFcgid.name { // it has a handful of processes, each for one request at a time
				all = slices.Concat(all[:6], all[len(all)-12:])
			}
			c.attemptAll(t, all)
			// Six from one address: the last is throttled.
			guesser := attempt{name: "six guesses", from: freshAddress(), found: 6}
			c.tries(t, 401, bob, guesser.from, "one", "two", "three", "four", "five")
			c.tries(t, 429, bob, guesser.from, "six")
			c.compare(t, c.fail2banRegex(t, l.file, l.journal), append(all, guesser))
		})
	}
}

// compare checks that each address was found as often as its attempt says, and no other.
func (c *client) compare(t *testing.T, found []string, all []attempt) {
	t.Helper()
	times := make(map[string]int)
	for _, address := range found {
		times[address]++
	}
	for _, v := range all {
		if times[v.address()] != v.found {
			t.Errorf("%s, from %s: found %d times, want %d: %s", v.name, v.address(), times[v.address()], v.found,
				c.linesWith(v.address()))
		}
		delete(times, v.address())
	}
	if len(times) > 0 {
		t.Errorf("addresses without a request: %v", times)
	}
}

func (c *client) linesWith(text string) string {
	var lines strings.Builder
	for _, log := range c.everyLog() {
		for line := range strings.Lines(log) {
			if strings.Contains(line, text) {
				lines.WriteString(line)
			}
		}
	}
	return lines.String()
}

// fail2banRegex returns the addresses that the filter finds in a file, or in a journal made from
// the service's lines.
func (c *client) fail2banRegex(t *testing.T, file string, journal bool) []string {
	t.Helper()
	log := c.path(file)
	if journal {
		log = "systemd-journal[journalfiles=" + c.journal(t) + "]"
	}
	o := run(t, "", exec.Command("fail2ban-regex", "-o", "ip", log, fail2banFilter))
	if o.status != 0 || o.stderr != "" {
		t.Fatalf("fail2ban-regex: %v", o)
	}
	return strings.Fields(o.stdout)
}

// journal writes the service's lines into a journal, and a line of another unit that must be
// ignored.
func (c *client) journal(t *testing.T) string {
	t.Helper()
	foreign := strings.ReplaceAll(strings.Split(c.linesWith("outcome=refused"), "\n")[0], "127.", "126.")
	return c.journalOf(t, map[string]string{"dockerauth.service": c.service.output(), "another.service": foreign})
}

// journalOf writes the lines of units into a journal, in systemd's form.
func (c *client) journalOf(t *testing.T, units map[string]string) string {
	t.Helper()
	need(t, "a journal (Debian: systemd-journal-remote, python3-systemd)", journalRemote)
	var export strings.Builder
	for unit, lines := range units {
		for line := range strings.Lines(lines) {
			fmt.Fprintf(&export,
				"__REALTIME_TIMESTAMP=%d\n_BOOT_ID=%032d\n_HOSTNAME=host\nSYSLOG_IDENTIFIER=dockerauth\n_PID=7\n"+
					"_SYSTEMD_UNIT=%s\nMESSAGE=%s\n\n", time.Now().UnixMicro(), 1, unit, strings.TrimSuffix(line, "\n"))
		}
	}
	file := c.path("run/journal.journal")
	run(t, export.String(), exec.Command(journalRemote, "--output="+file, "-")).must(t)
	return file
}

// fail2ban is a server with Debian's configuration and dockerauth's filter and jail, in its own
// folder. To ban an address, it writes it into a file.
type fail2ban struct {
	dir    string
	banned string
}

func newFail2ban(t *testing.T, local string) *fail2ban {
	t.Helper()
	needRoot(t, "fail2ban")
	need(t, "fail2ban", "fail2ban-server", "fail2ban-client", "/etc/fail2ban/jail.conf")
	f := &fail2ban{dir: shortDir(t)}
	f.banned = filepath.Join(f.dir, "banned")
	if err := os.CopyFS(filepath.Join(f.dir, "etc"), os.DirFS("/etc/fail2ban")); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(f.dir, "etc/jail.d")); err != nil { // Debian's own jail for sshd
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(f.dir, "etc/filter.d/dockerauth.conf"), readFile(t, fail2banFilter), 0o644)
	writeFile(t, filepath.Join(f.dir, "etc/jail.d/dockerauth.conf"), readFile(t, fail2banJail), 0o644)
	writeFile(t, filepath.Join(f.dir, "etc/fail2ban.local"), "[Definition]\ndbfile = :memory:\nlogtarget = STDOUT\n",
		0o644)
	writeFile(t, filepath.Join(f.dir, "etc/action.d/note.conf"),
		"[Definition]\nactionban = echo <ip> >>"+f.banned+"\nactionunban = true\n", 0o644)
	writeFile(t, filepath.Join(f.dir, "etc/jail.local"), local, 0o644)
	return f
}

func (f *fail2ban) command(program string, args ...string) *exec.Cmd {
	return exec.Command(program, append([]string{"-c", filepath.Join(f.dir, "etc"), "-s", filepath.Join(f.dir, "sock"),
		"-p", filepath.Join(f.dir, "pid")}, args...)...)
}

func (f *fail2ban) bans() []string {
	b, _ := os.ReadFile(f.banned) // no ban yet
	return strings.Fields(string(b))
}

func TestTheFail2banJailIsOffAsItComes(t *testing.T) {
	f := newFail2ban(t, "")
	if o := run(t, "", f.command("fail2ban-client", "-d")); o.status != 0 ||
		strings.Contains(o.stdout+o.stderr, "dockerauth") || strings.Contains(o.stderr, "ERROR") {
		t.Errorf("the jail as it is shipped: %v", o)
	}
	f = newFail2ban(t, "[dockerauth]\nenabled = true\n")
	o := run(t, "", f.command("fail2ban-client", "-d"))
	for _, want := range []string{"['add', 'dockerauth', 'systemd']", "_SYSTEMD_UNIT=dockerauth.service",
		"'maxretry', 30"} {
		if o.status != 0 || !strings.Contains(o.stdout, want) {
			t.Errorf("the jail, enabled, has no %q: %v", want, o)
		}
	}
}

func TestFail2banBansAnAddressThatKeepsGuessing(t *testing.T) {
	c := newClient(openFrontend(t, httpFrontend, envOptions{noLogFile: true, config: "log:\n  file: service.log\n"}))
	f := newFail2ban(t, "[DEFAULT]\nignoreself = false\nignoreip =\nbanaction = note\nbanaction_allports = note\n\n"+
		"[dockerauth]\nenabled = true\nbackend = polling\nlogpath = "+c.logFile+"\naction = note\n")
	writeFile(t, c.logFile, "", 0o644)
	server := start(t, "fail2ban-server", f.command("fail2ban-server", "-f", "start"))
	server.until(t, "start the jail", func() bool {
		o, err := f.command("fail2ban-client", "status", "dockerauth").CombinedOutput()
		return err == nil && strings.Contains(string(o), c.logFile)
	})

	guesser, mistyping, innocent, forger := freshAddress(), freshAddress(), freshAddress(), freshAddress()
	var all []attempt
	add := func(times int, from, request string) {
		for range times {
			all = append(all, attempt{name: from, request: request, from: from})
		}
	}
	// A user who mistypes: five wrong passwords, each sent twice by the client, and then the locked
	// account.
	for _, password := range []string{"one", "two", "three", "four", "five"} {
		add(2, mistyping, login(alice, password, serviceIs)(c))
	}
	add(10, mistyping, asAlice(serviceIs)(c))
	add(40, innocent, login(bob, defaultAccounts[bob], serviceIs)(c))
	add(40, innocent, get(serviceIs)(c))
	add(1, forger, post("grant_type=password&password=wrong&service="+audience+
		"&username="+url.QueryEscape(forgedTexts()["a line"]))(c))
	c.attemptAll(t, all)
	all = nil
	for i := range 29 {
		add(1, guesser, login(alice, fmt.Sprint("guess ", i), serviceIs)(c))
	}
	c.attemptAll(t, all)
	c.awaitLines(t, guesser, 29)
	f.seen(t, server, guesser, 29)
	if banned := f.bans(); len(banned) != 0 {
		t.Fatalf("banned after 29 guesses: %v", banned)
	}
	c.tries(t, 429, alice, guesser, "guess 30")
	server.until(t, "ban "+guesser, func() bool { return slices.Contains(f.bans(), guesser) })
	if banned := f.bans(); len(banned) != 1 {
		t.Errorf("banned: %v, want %s alone", banned, guesser)
	}
}

// awaitLines waits until the service's log has n lines with a text.
func (c *client) awaitLines(t *testing.T, text string, n int) {
	t.Helper()
	eventually(t, readyWithin, fmt.Sprintf("%d lines with %s", n, text), func() bool {
		b, _ := os.ReadFile(c.logFile)
		return strings.Count(string(b), "remote="+text+" ") == n
	})
}

// seen waits until the server has found an address n times, and so has read everything before.
func (f *fail2ban) seen(t *testing.T, server *process, address string, n int) {
	t.Helper()
	server.until(t, "find "+address, func() bool { return strings.Count(server.output(), "Found "+address+" ") == n })
}
