package e2e

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// slowPAM completes a login after a write to the pipe "go". The file "asked" shows that it waits.
func slowPAM(s *testEnv) string {
	if err := syscall.Mkfifo(s.path("go"), 0o666); err != nil {
		s.t.Fatal(err)
	}
	script := fmt.Sprintf("#!/bin/sh\n: > %[1]s/asked\nread line < %[1]s/go\n", s.dir)
	writeFile(s.t, s.path("wait.sh"), script, 0o755)
	db := s.path("accounts")
	return fmt.Sprintf("auth required pam_exec.so quiet %s\nauth required pam_userdb.so db=%s crypt=none\n"+
		"account required pam_userdb.so db=%[2]s crypt=none\n", s.path("wait.sh"), db)
}

// TestSIGTERMLetsWhatIsUnderWayFinish stops each long-lived front end during a login.
func TestSIGTERMLetsWhatIsUnderWayFinish(t *testing.T) {
	for _, th := range []frontend{httpFrontend, nginxFastCGI, nginxSpawnFcgi, nginxSystemd} {
		t.Run(th.name, func(t *testing.T) {
			t.Parallel()
			s := openFrontend(t, th, envOptions{pam: slowPAM})
			c := newClient(s)
			type result struct {
				answer *http.Response
				body   []byte
				err    error
			}
			done := make(chan result, 1)
			request := asAlice(serviceIs)(c)
			go func() {
				answer, body, err := c.exchange(request)
				done <- result{answer, body, err}
			}()
			awaitFile(t, s.path("asked"))
			if err := s.service.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			eventually(t, 5*time.Second, "the service to stop accepting", func() bool { return !s.accepts() })
			if !s.service.running() {
				t.Fatal("it ended with a login in flight")
			}
			if err := os.WriteFile(s.path("go"), []byte("go\n"), 0); err != nil {
				t.Fatal(err)
			}
			r := <-done
			if r.err != nil || r.answer.StatusCode != http.StatusOK {
				t.Errorf("the login in flight: %v %v %s", r.err, r.answer, r.body)
			}
			eventually(t, 5*time.Second, "the service to end", func() bool { return !s.service.running() })
			if s.service.err != nil {
				t.Errorf("it ended with %v, want status 0", s.service.err)
			}
		})
	}
}

// accepts reports whether the service behind the web server accepts connections.
func (s *testEnv) accepts() bool {
	network, address := "tcp", s.address
	if sock := s.path("run/fcgi.sock"); found(filepath.Dir(sock)) && s.service.name != "dockerauth http" {
		network, address = "unix", sock
	}
	c, err := net.Dial(network, address)
	if err == nil {
		c.Close()
	}
	return err == nil
}

// TestALongLivedServiceTakesUpChangedFiles edits configuration and key of a running service, with a
// broken configuration in between.
func TestALongLivedServiceTakesUpChangedFiles(t *testing.T) {
	for _, th := range []frontend{httpFrontend, nginxSpawnFcgi} {
		t.Run(th.name, func(t *testing.T) {
			t.Parallel()
			s := openFrontend(t, th, envOptions{})
			c := newClient(s)
			good := readFile(t, s.configFile)
			s.expectLogin(c, http.StatusOK, "before any change")

			s.replace(s.configFile, strings.Replace(good, "[root, ", "[root, alice, ", 1))
			s.expectLogin(c, http.StatusUnauthorized, "after alice was blacklisted")

			s.replace(s.configFile, "private_key: 7\n")
			s.awaitLogLine("configuration is not usable")
			s.expectLogin(c, http.StatusUnauthorized,
				"with a broken configuration, where the last good one stays in force")

			s.replace(s.configFile, good)
			s.expectLogin(c, http.StatusOK, "after the good configuration was put back")
			if n := s.countLogLines("configuration is not usable"); n != 1 {
				t.Errorf("the log complains %d times about one broken configuration, want once", n)
			}

			s.key = makeKey(t, rsa2048)
			s.replace(s.keyFile, pemKey(t, s.key))
			eventually(t, 10*time.Second, "tokens signed with the new key", func() bool {
				_, body, err := c.exchange(asAlice(serviceIs)(c))
				if err != nil {
					return false
				}
				var answer tokenAnswer
				if err := unmarshalExact(body, &answer); err != nil {
					return false
				}
				_, err = verify(answer.Token, s.key.Public())
				return err == nil
			})
			if !s.service.running() {
				t.Error("it was restarted")
			}
			c.checkSecrets(t)
		})
	}
}

// replace renames a new file over an old one, as editors and deployment tools do.
func (s *testEnv) replace(path, content string) {
	s.t.Helper()
	next := writeFile(s.t, path+".new", content, 0o600)
	if s.web != nil {
		if err := os.Chown(next, s.web.uid, s.web.gid); err != nil {
			s.t.Fatal(err)
		}
	}
	if err := os.Rename(next, path); err != nil {
		s.t.Fatal(err)
	}
}

func (s *testEnv) expectLogin(c *client, status int, when string) {
	s.t.Helper()
	eventually(s.t, 10*time.Second, fmt.Sprintf("a login to be answered with %d %s", status, when), func() bool {
		answer, _, err := c.exchange(asAlice(serviceIs)(c))
		return err == nil && answer.StatusCode == status
	})
}

// countLogLines counts log lines that begin with a text.
func (s *testEnv) countLogLines(text string) (n int) {
	for _, l := range s.logLines() {
		if msg, _ := l["msg"].(string); strings.HasPrefix(msg, text) {
			n++
		}
	}
	return n
}

func (s *testEnv) awaitLogLine(text string) {
	s.t.Helper()
	eventually(s.t, 10*time.Second, "the log to say: "+text, func() bool { return s.countLogLines(text) > 0 })
}
