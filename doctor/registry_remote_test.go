package doctor

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// registryLike answers as a registry does (distribution, registry/handlers/app.go): what it takes
// of a token is for e2e to see.
func registryLike(realm, service string, takes func(token string) bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		token, shown := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		switch {
		case r.URL.Path != "/v2/":
			w.WriteHeader(http.StatusNotFound)
		case shown && takes(token):
			fmt.Fprint(w, "{}")
		default:
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s",service="%s"`, realm, service))
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required","detail":null}]}`)
		}
	})
}

func isToken(token string) bool { return strings.Count(token, ".") == 2 }

func TestARegistryIsAskedWhichKeysItTrusts(t *testing.T) {
	const realm = "https://auth.example/docker/v2/token"
	healthy := registryLike(realm, "registry.example", isToken)
	for _, test := range []struct {
		name             string
		registry         http.Handler
		url              string // --url
		complaints, says string
	}{
		{"it takes dockerauth's tokens", healthy, "", "", "the registry takes dockerauth's tokens"},
		{"it sends clients to --url", healthy, realm, "", `sends clients to "` + realm + `"`},
		{"it sends clients to --url but for a slash", healthy, realm + "/", "",
			"the registry takes dockerauth's tokens"},
		{"it sends clients elsewhere", healthy, realm + "2", "warning registry.realm realm-differs", "not to \"" +
			realm + "2\""},
		{"it serves the second audience", registryLike(realm, "second.example", isToken), "", "",
			"the registry takes dockerauth's tokens"},
		{"it calls itself otherwise", registryLike(realm, "Registry.example", isToken), "",
			"error registry.service registry-value-differs",
			`calls itself "Registry.example"`},
		{"it refuses dockerauth's tokens", registryLike(realm, "registry.example", func(string) bool { return false }),
			"", "error registry.token token-refused", "rootcertbundle"},
		{"it lets everybody in", serve200("{}"), "", "error registry registry-open", "without a token"},
		{"it has a password file", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("WWW-Authenticate", `Basic realm="Registry"`)
			w.WriteHeader(http.StatusUnauthorized)
		}), "", "error registry registry-other-auth", "never sends clients to this service"},
		{"it names no service", registryLike(realm, "", isToken), "", "error registry registry-no-realm",
			"no realm or no service"},
		{"it is no registry", page(404), "", "error registry unexpected-answer", "404 and a web page"},
		{"it is elsewhere", redirect("https://registry.example/v2/?secret"), "", "error registry redirected",
			`redirected (301) to "https://registry.example/v2/"`},
		{"long tokens do not get through",
			where(func(r *http.Request) bool { return len(r.Header.Get("Authorization")) > 4000 }, page(400))(healthy),
			"", "warning registry.header long-token-refused", "large_client_header_buffers"},
		{"its clock is late",
			change(nil,
				func(h http.Header) {
					h.Set("Date",
						time.Now().Add(-5*time.Minute).UTC().Format(http.TimeFormat))
				})(healthy), "", "error registry.clock clock-off", "behind"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := checkupOf(t, plainConfig)
			server := httptest.NewServer(test.registry)
			defer server.Close()
			c.registry, c.url = server.URL, test.url
			c.probeRegistry(testAsker(t, nil))
			c.expectCodes(t, test.complaints, test.says)
			if strings.Contains(c.text(), "eyJ") {
				t.Error("a finding holds a token")
			}
		})
	}
}

// Without its file the registry says no more than no: where the file was given, the findings above
// have said which it is.
func TestARegistryThatRefusesUsIsLookedIntoByItsFile(t *testing.T) {
	server := httptest.NewServer(registryLike("https://auth.example/docker/v2/token", "registry.example",
		func(string) bool { return false }))
	defer server.Close()
	for file, want := range map[string]bool{"": true, "registry.yml": false} {
		c := checkupOf(t, plainConfig)
		c.registry, c.registryConfig = server.URL, file
		c.probeRegistry(testAsker(t, nil))
		c.expectCodes(t, "error registry.token token-refused", "docker login fails with 401")
		if strings.Contains(c.text(), "--registry-config") != want {
			t.Errorf("with %q: %s", file, c.text())
		}
	}
}

func TestARegistryThatDoesNotRunIsNoWebServer(t *testing.T) {
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	c := checkupOf(t, plainConfig)
	c.registry = closed.URL
	c.probeRegistry(testAsker(t, nil))
	c.expectCodes(t, "error registry registry-unreachable",
		"nobody listens at that address and port; start the registry")
	if strings.Contains(c.text(), "web server") {
		t.Error(c.text())
	}
}

func TestARegistryWithHTTPSAndAPlainRealm(t *testing.T) {
	c := checkupOf(t, plainConfig)
	server := httptest.NewUnstartedServer(registryLike("http://auth.example/docker/v2/token", "registry.example",
		isToken))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	ca := newAuthority(t)
	server.TLS = ca.config(t)
	server.StartTLS()
	defer server.Close()
	c.registry = server.URL
	c.probeRegistry(testAsker(t, ca.pool()))
	c.expectCodes(t, "warning registry.realm plain-http", "crane")
}

func TestTheRegistrysURLIsOne(t *testing.T) {
	for _, text := range []string{"registry.example.com", "https://registry.example.com/v2/",
		"ftp://registry.example.com", "https://u:secret@registry.example.com"} {
		c := &checkup{now: time.Now, registry: text}
		c.probeRegistry(testAsker(t, nil))
		c.expectCodes(t, "error registry registry-url-invalid", "not the URL of a registry")
	}
}

func TestAChallengeIsRead(t *testing.T) {
	for text, want := range map[string]string{
		`realm="https://a/b?c=d,e",service="r"`:  `https://a/b?c=d,e|r`,
		`realm="x", service="r",scope="a:b:c,d"`: `x|r`,
		`Service=r,Realm=x`:                      `x|r`,
		`realm="x`:                               `x|`,
		`realm`:                                  `|`,
		``:                                       `|`,
		`,,,=,"`:                                 `|`,
	} {
		values := challengeParams(text)
		if got := values["realm"] + "|" + values["service"]; got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}
