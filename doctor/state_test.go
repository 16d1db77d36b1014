package doctor

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"dockerauth/cli"
	"dockerauth/config"
)

// examineState tries and judges what is about state, as the service's user.
func examineState(t *testing.T, state string) *checkup {
	t.Helper()
	c := &checkup{root: t.TempDir(), settings: &config.Config{Path: "/config.yml", State: state}}
	a := &runAs{name: "www-data", group: "web"}
	for _, trial := range append(c.writeChecks(a), c.stateChecks(a)...) {
		trial.judge(cli.Cause(trial.try()))
	}
	c.examineStateAddress()
	return c
}

func TestWhatTokensAreKeptInIsExamined(t *testing.T) {
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("redis-server is not installed")
		}
		t.Skip("redis-server is not installed")
	}
	dir := t.TempDir()
	file := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	secret, open := file("secret", "canary", 0o600), file("open", "canary", 0o644)
	damaged := filepath.Join(dir, "state")
	if err := os.Mkdir(damaged, 0o700); err != nil {
		t.Fatal(err)
	}
	file("state/kept.db", "garbage", 0o600)
	for _, tt := range []struct {
		name     string
		args     []string // of the server
		settings string
		want     []wanted
	}{
		{"a server that forgets", nil, "", []wanted{{levelOK, "rights", "", "in the state server"},
			{levelWarning, "rights.state", "state-forgets", "loses everything when it is killed"}}},
		{"a server that remembers", []string{"--appendonly", "yes", "--appendfsync", "always"}, "",
			[]wanted{{levelOK, "rights", "", "in the state server"}}},
		{"a server that evicts tokens", []string{"--maxmemory", "9mb", "--maxmemory-policy", "allkeys-lru"}, "",
			[]wanted{{levelOK, "rights", "", ""},
				{levelError, "rights.state", "tokens-unusable", "CONFIG SET maxmemory-policy volatile-ttl && "}}},
		{"a server with a password that forgets", []string{"--requirepass", "canary"}, "?password_file=" + secret,
			[]wanted{{levelOK, "rights", "", ""}, {levelWarning, "rights.state", "state-forgets", " -p "}}},
		{"a server that wants a password", []string{"--requirepass", "canary"}, "",
			[]wanted{{levelWarning, "rights.state", "state-unusable", "refresh tokens get 503"}}},
		{"a password for all to read", strings.Fields("--requirepass canary --appendonly yes --appendfsync always"),
			"?password_file=" + open, []wanted{{levelOK, "rights", "", ""},
				{levelWarning, "rights.state", "state-secret-open", "chmod o= "}}},
		{"a password in a file", strings.Fields("--requirepass canary --appendonly yes --appendfsync always"),
			"?password_file=" + secret, []wanted{{levelOK, "rights", "", ""}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := examineState(t, startRedis(t, tt.args...)+tt.settings)
			expectFindings(t, c, tt.want)
			applyAtServer(t, c)
		})
	}
	t.Run("a password in the address", func(t *testing.T) {
		c := examineState(t, "redis://me:canary@127.0.0.1:1")
		expectFindings(t, c, []wanted{{levelWarning, "rights.state", "state-unusable", "a password stands in it"}})
	})
	t.Run("a damaged file of tokens", func(t *testing.T) {
		c := examineState(t, damaged)
		expectFindings(t, c, []wanted{{levelOK, "rights", "", "keep count"},
			{levelError, "rights.state", "tokens-unusable", "kept.db"}})
	})
	t.Run("a folder that is made later", func(t *testing.T) {
		c := examineState(t, filepath.Join(dir, "absent"))
		expectFindings(t, c, []wanted{{levelError, "rights.state", "state-unusable", "absent"}})
	})
}

func TestACommandForTheStateServerNamesIt(t *testing.T) {
	for address, want := range map[string]string{
		"redis://192.0.2.1":                       "redis-cli -h 192.0.2.1 -p 6379 PING",
		"redis://[2001:db8::1]:2/3":               "redis-cli -h 2001:db8::1 -p 2 PING",
		"redis://me@redis.example.com:6380":       "redis-cli -h redis.example.com -p 6380 --user me PING",
		"redis://me:canary@redis.example.com":     "redis-cli -h redis.example.com -p 6379 PING",
		"redis://10.0.0.1,10.0.0.2?master=tokens": "redis-cli -h HOST -p PORT PING",
		"redis://10.0.0.1?password_file=/etc/a secret": `REDISCLI_AUTH="$(cat '/etc/a secret')" ` +
			"redis-cli -h 10.0.0.1 -p 6379 PING",
		"rediss://10.0.0.1?ca=/c.pem&certificate=/a.pem&key=/k.pem": "redis-cli -h 10.0.0.1 -p 6379 --tls " +
			"--cacert /c.pem --cert /a.pem --key /k.pem PING",
	} {
		c := &checkup{settings: &config.Config{State: address}}
		if got := c.redisCLI("PING"); got != want {
			t.Errorf("%s: %s", address, got)
		}
	}
}

func TestTokensThatTravelInClearAreAWarning(t *testing.T) {
	for address, host := range map[string]string{
		"redis://192.0.2.1":                                 "192.0.2.1",
		"redis://user@redis.example.com:6380/1":             "redis.example.com",
		"redis://localhost:1,[2001:db8::1]:2?cluster=yes":   "2001:db8::1",
		"redis://127.0.0.1:6379":                            "",
		"redis://localhost,[::1]:1,127.0.0.2?master=tokens": "",
		"rediss://192.0.2.1":                                "",
		"/var/lib/dockerauth":                               "",
	} {
		c := &checkup{settings: &config.Config{State: address}}
		c.examineStateAddress()
		if host == "" && len(c.list) > 0 {
			t.Errorf("%s: %s", address, listed(c.list))
		}
		if host != "" {
			wanted{levelWarning, "rights.state", "state-not-encrypted", " " + host + " is reached"}.in(t, c.list)
		}
	}
}

// applyAtServer runs the remedies for redis-cli: what they are for must be gone.
func applyAtServer(t *testing.T, c *checkup) {
	t.Helper()
	for _, f := range c.list {
		if !f.isComplaint() || !strings.Contains(f.Remedy, "redis-cli") {
			continue
		}
		if out, err := exec.Command("sh", "-c", f.Remedy).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", f.Remedy, err, out)
		}
		if after := listed(examineState(t, c.settings.State).list); strings.Contains(after, f.Code) {
			t.Errorf("after %s: %s", f.Remedy, after)
		}
	}
}

func expectFindings(t *testing.T, c *checkup, want []wanted) {
	t.Helper()
	for _, w := range want {
		w.in(t, c.list)
	}
	if len(c.list) != len(want) || strings.Contains(listed(c.list), "canary") {
		t.Errorf("findings: %s", listed(c.list))
	}
}

// startRedis returns the address of a real server.
func startRedis(t *testing.T, args ...string) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	l.Close()
	server := exec.Command("redis-server", append([]string{"--bind", "127.0.0.1", "--port", port, "--save", "",
		"--dir", t.TempDir()}, args...)...)
	server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	})
	address = "127.0.0.1:" + port
	for range 200 {
		if conn, err := net.Dial("tcp", address); err == nil {
			conn.Close()
			return fmt.Sprint("redis://", address)
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("redis-server does not listen")
	return ""
}

func TestTokensThatExpireSoonAreNamed(t *testing.T) {
	lines := ""
	for i := range 7 {
		lines += fmt.Sprintf("id%d 2026-12-0%d alice+jenkins\n", i, i+1)
	}
	for _, tt := range []struct {
		answer, level, code, part string
	}{
		{expirePrefix + "Ab12 2026-12-01 alice+jenkins\n", "warning", "tokens-expire",
			"within two weeks expire Ab12 of alice+jenkins on 2026-12-01 [tokens-expire]\n" +
				"  why: who uses such a token is refused from then on\n" +
				"  fix: dockerauth token rotate Ab12 --config /config.yml"},
		{expirePrefix + lines, "warning", "tokens-expire", "id4 of alice+jenkins on 2026-12-05, 2 more ["},
		{"token/Ab12 is damaged", "error", "tokens-unusable", "cannot be listed: token/Ab12 is damaged"},
	} {
		c := &checkup{settings: &config.Config{Path: "/config.yml", State: "/state"}}
		for _, trial := range c.stateChecks(&runAs{name: "www-data"}) {
			if trial.Try == tryTokens {
				trial.judge(tt.answer)
			}
		}
		if got := listed(c.list); len(c.list) != 1 || string(c.list[0].Level) != tt.level ||
			c.list[0].Code != tt.code ||
			!strings.Contains(got, tt.part) {
			t.Errorf("%q: %s", tt.answer, got)
		}
	}
}
