package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// checkFindsWhatRuns runs check without flags behind each of the two web servers, and lets it find
// mistakes and put them right.
func checkFindsWhatRuns(t *testing.T, m *debian) {
	m.findsInOrder(t, "/etc/apache2/conf-enabled/dockerauth.conf:", packageRealm)
	m.repairs(t, "web-wrong-target", func() {
		m.must("sed", "-i", "s#proxy:unix:/run/#proxy:unix:/var/#", "/etc/apache2/conf-available/dockerauth.conf")
		m.must("systemctl", "reload", "apache2")
	})
	m.repairs(t, "web-not-enabled", func() {
		m.must("a2disconf", "-q", "dockerauth")
		m.must("systemctl", "reload", "apache2")
	}, "--url", packageRealm)
	m.repairs(t, "web-socket-denied", func() { m.must("chown", "root:root", "/run/dockerauth/dockerauth.sock") })
	m.must("rm", "-r", "/etc/systemd/system/dockerauth.socket.d")
	m.must("systemctl", "daemon-reload")
	m.must("systemctl", "restart", "dockerauth.socket")
	m.repairs(t, "socket-missing", func() { m.must("systemctl", "stop", "dockerauth.socket") })

	m.must("systemctl", "stop", "apache2")
	m.apt("install", "--no-install-recommends", "nginx-light")
	site := writeFile(t, m.path("etc/nginx/sites-available/default"),
		"server {\n    listen 80 default_server;\n    include snippets/dockerauth.conf;\n}\n", 0o644)
	m.must("systemctl", "restart", "nginx")
	m.findsInOrder(t, "/etc/nginx/snippets/dockerauth.conf:", packageRealm)
	m.repairs(t, "web-wrong-target", func() {
		m.must("sed", "-i", "s#unix:/run/#unix:/var/#", "/etc/nginx/snippets/dockerauth.conf")
		m.must("systemctl", "reload", "nginx")
	})
	m.repairs(t, "web-not-enabled", func() {
		m.must("sed", "-i", "/include/d", "/etc/nginx/sites-available/default")
		m.must("systemctl", "reload", "nginx")
	}, "--url", packageRealm)
	for _, location := range []struct{ code, text string }{
		{"parameters-missing", "fastcgi_pass unix:/run/dockerauth/dockerauth.sock;"},
		{"client-address-missing",
			"fastcgi_pass unix:/run/dockerauth/dockerauth.sock; fastcgi_param REQUEST_URI $request_uri;" +
				" fastcgi_param REQUEST_METHOD $request_method;"},
	} {
		m.repairs(t, location.code, func() {
			text := fmt.Sprintf("server {\n  listen 80;\n  location /docker/v2/token { %s }\n}\n", location.text)
			if err := os.WriteFile(site, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			m.must("systemctl", "reload", "nginx")
		})
	}

	writeFile(t, m.path("etc/docker/registry/config.yml"), "version: 0.1\n"+strings.ReplaceAll(m.auth, m.root, ""),
		0o644)
	m.findsInOrder(t, "/etc/docker/registry/config.yml", packageRealm)
	m.must("rm", "-r", "/etc/docker")
	m.must("systemctl", "stop", "nginx") // to purge it would delete the package's file below /etc/nginx
	m.must("systemctl", "start", "apache2")
}

// check runs check without flags, or with some.
func (m *debian) check(t *testing.T, flags ...string) findingsReport {
	t.Helper()
	r := findingsReport{output: m.do(append([]string{"dockerauth", "check", "--json"}, flags...)...)}
	var all struct{ Findings []finding }
	if err := json.Unmarshal([]byte(r.stdout), &all); err != nil {
		t.Fatalf("read what check says: %v: %v", err, r.output)
	}
	r.findings = all.Findings
	return r
}

// findsInOrder wants no complaint, and findings that name the unit and some words.
func (m *debian) findsInOrder(t *testing.T, words ...string) {
	t.Helper()
	r := m.check(t)
	r.expectCodes(t)
	for _, word := range append(words,
		"/dockerauth.service runs dockerauth as dockerauth with /etc/dockerauth/config.yml") {
		if !strings.Contains(r.stdout, word) {
			t.Errorf("check does not name %q\n%s", word, r.stdout)
		}
	}
}

// repairs makes a mistake, which check finds as the only one, and runs the remedy as printed.
func (m *debian) repairs(t *testing.T, code string, mistake func(), flags ...string) {
	t.Helper()
	mistake()
	r := m.checkUntil(t, flags, code)
	for _, f := range r.findings {
		if f.Code == code {
			m.must("sh", "-c", f.Remedy)
		}
	}
	m.checkUntil(t, flags)
}

// checkUntil runs check until it finds these codes: a web server that reloads answers by the former
// configuration for a moment.
func (m *debian) checkUntil(t *testing.T, flags []string, codes ...string) findingsReport {
	t.Helper()
	var r findingsReport
	_ = poll(5*time.Second, func() (bool, error) {
		r = m.check(t, flags...)
		return slices.Equal(r.codes(), codes), nil
	})
	r.expectCodes(t, codes...)
	return r
}
