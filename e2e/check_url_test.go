package e2e

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
)

// finding is one result of check.
type finding struct{ Level, Code, Subject, What, Why, Remedy string }

// findingsReport is the output of check and its findings for some subjects.
type findingsReport struct {
	findings []finding
	output
}

// examine runs check and keeps the findings whose subject begins with one of the words. Others
// concern the site's files.
func examine(t *testing.T, cmd *exec.Cmd, stdin string, subjects ...string) findingsReport {
	t.Helper()
	r := findingsReport{output: run(t, stdin, cmd)}
	var all struct{ Findings []finding }
	if err := json.Unmarshal([]byte(r.stdout), &all); err != nil {
		t.Fatalf("read what check says: %v: %v", err, r.output)
	}
	for _, f := range all.Findings {
		for _, subject := range subjects {
			if f.Subject == subject || strings.HasPrefix(f.Subject, subject+".") {
				r.findings = append(r.findings, f)
			}
		}
	}
	return r
}

// expect wants exactly these complaints, "level subject", and text in one of the findings.
func (r findingsReport) expect(t *testing.T, complaints, text string) {
	t.Helper()
	var got []string
	var words strings.Builder
	for _, f := range r.findings {
		if f.Level == "warning" || f.Level == "error" {
			got = append(got, f.Level+" "+f.Subject)
		}
		words.WriteString(strings.Join([]string{f.Level, f.Subject, f.What, f.Why, f.Remedy}, " ") + "\n")
	}
	if list := strings.Join(got, ", "); list != complaints {
		t.Errorf("check complains of %q, want %q", list, complaints)
	}
	if !strings.Contains(words.String(), text) {
		t.Errorf("no finding says %q", text)
	}
	if t.Failed() {
		t.Log(words.String())
	}
}

func (s *testEnv) checkURL(t *testing.T, path string) findingsReport {
	t.Helper()
	cmd := exec.Command(binary(t), "check", "--json", "--config", s.configFile, "--url", "http://"+s.address+path)
	return examine(t, cmd, "", "url")
}

func TestCheckFindsNoProblemBehindAnyWebServer(t *testing.T) {
	for _, th := range []frontend{httpFrontend, apacheCGI, apacheHtaccess, apacheFcgid, apacheProxyFcgi, nginxFcgiwrap,
		nginxFastCGI, nginxHTTP, lighttpdFastCGI, caddyFastCGI, haproxyFastCGI} {
		t.Run(th.name, func(t *testing.T) {
			t.Parallel()
			s := openFrontend(t, th, envOptions{})
			runs := 0
			for _, mount := range s.mounts {
				for _, path := range []string{mount + "/docker/v2/token", mount + "/auth/token"} {
					s.checkURL(t, path).expect(t, "", "credentials arrive")
					runs++
				}
			}
			refused := 0
			for _, line := range s.requestLines() {
				if line["grant"] == "password" {
					t.Errorf("a password was shown, so PAM and the throttle were asked: %v", line)
				}
				if line["outcome"] == "refused" {
					refused++
				}
			}
			if refused > 2*runs {
				t.Errorf("%d refusals in %d runs: fail2ban would ban the administrator", refused, runs)
			}
		})
	}
}

func TestCheckNamesTheDirectiveThatIsMissing(t *testing.T) {
	for _, th := range []frontend{apacheCGI, apacheHtaccess, apacheFcgid, apacheProxyFcgi} {
		t.Run(th.name, func(t *testing.T) {
			t.Parallel()
			s := openFrontend(t, th, envOptions{}, [2]string{"CGIPassAuth On", "# CGIPassAuth On"})
			s.checkURL(t, s.mounts[0]+"/docker/v2/token").expect(t, "error url.authorization", "CGIPassAuth On")
		})
	}
}

func TestCheckSeesADropInThatIsServedInsteadOfRun(t *testing.T) {
	t.Parallel()
	need(t, apacheHtaccess.name, apacheHtaccess.needs...)
	s := newTestEnv(t, envOptions{})
	s.dropIn("None", true)
	r := s.checkURL(t, "/docker/v2/token")
	r.expect(t, "error url.files, error url.files, error url.files, error url.get",
		"/config.yml is served to the world")
	for _, file := range []string{"/key.pem", "/.htaccess"} {
		if !strings.Contains(r.stdout, file+" is served to the world") {
			t.Errorf("%s is not named", file)
		}
	}
	for _, text := range fileContents(t, s)[:1] {
		if strings.Contains(r.stdout, text) {
			t.Error("check prints the key")
		}
	}
}

func TestCheckSeesAnHtaccessThatAsksForTooMuch(t *testing.T) {
	t.Parallel()
	need(t, apacheHtaccess.name, apacheHtaccess.needs...)
	s := newTestEnv(t, envOptions{})
	s.dropIn("FileInfo AuthConfig", true)
	s.checkURL(t, "/docker/v2/token").expect(t, "error url.get", "AllowOverride")
}

func TestCheckSeesARedirect(t *testing.T) {
	t.Parallel()
	s := openFrontend(t, nginxHTTP, envOptions{},
		[2]string{"proxy_intercept_errors", "return 308 https://$host$request_uri; proxy_intercept_errors"})
	s.checkURL(t, "/docker/v2/token").expect(t, "error url.get", "redirected (308)")
}

// TestCheckAsksARegistry runs check against registries that trust the key and others that do not.
func TestCheckAsksARegistry(t *testing.T) {
	for _, kind := range []registryKind{registry28, registry31} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			needRegistry(t, kind)
			s := newSite(t, siteOptions{certificate: true})
			_, realm := s.serveHTTP(t)
			unknown := newSite(t, siteOptions{})
			other := *s
			other.issuer += "/"
			for _, test := range []struct {
				name             string
				site             *site
				bundle           string
				complaints, says string
			}{
				{"that trusts the key", s, s.certFile, "", "the registry takes dockerauth's tokens"},
				{"that trusts another key", s, unknown.certFile, "error registry.token", "rootcertbundle"},
				{"that knows another issuer", &other, s.certFile, "error registry.token", "issuer"},
			} {
				t.Run(test.name, func(t *testing.T) {
					r := startRegistry(t, kind, test.site, realm, trust{bundle: test.bundle})
					cmd := exec.Command(binary(t), "check", "--json", "--config", s.configFile,
						"--registry", "http://"+r.host, "--url", realm)
					examine(t, cmd, "", "registry", "url").expect(t, test.complaints, test.says)
				})
			}
		})
	}
}
