package doctor

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dockerauth/config"
	"dockerauth/handler"
	"dockerauth/pamauth"
	"dockerauth/service"
)

const plainConfig = "private_key: privkey.pem\nissuer: auth.example\naudience: [registry.example, " +
	"second.example]\nstate: \"\"\nlog: {file: service.log}\n"

// checkupOf has a configuration in a folder of its own.
func checkupOf(t *testing.T, text string) *checkup {
	t.Helper()
	dir := t.TempDir()
	der, err := x509.MarshalPKCS8PrivateKey(newTestKey(t))
	if err != nil {
		t.Fatal(err)
	}
	writeTestFile(t, filepath.Join(dir, "privkey.pem"),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	writeTestFile(t, filepath.Join(dir, "config.yml"), text)
	cfg, err := config.Load(filepath.Join(dir, "config.yml"))
	if err != nil {
		t.Fatal(err)
	}
	return &checkup{root: t.TempDir(), config: cfg, now: time.Now}
}

func newTestKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func writeTestFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// untouched fails the test when PAM or the throttle hears of a probe.
type untouched struct{ t *testing.T }

func (u untouched) Authenticate(context.Context, pamauth.Login) (pamauth.Account, error) {
	u.t.Error("PAM was asked")
	return pamauth.Account{}, pamauth.ErrBroken
}

func (u untouched) Begin(context.Context, string, handler.Secret, string) (handler.Attempt, error) {
	u.t.Error("the throttle was asked")
	return nil, handler.ErrRefused
}

func (u untouched) CountAddress(context.Context, handler.Secret, string) error {
	u.t.Error("the throttle was told of a token")
	return nil
}

func endpoint(t *testing.T, cfg *config.Config) http.Handler {
	t.Helper()
	return service.NewHandler(cfg, untouched{t}, untouched{t}, slog.New(slog.DiscardHandler))
}

func testAsker(t *testing.T, roots *x509.CertPool) httpClient {
	t.Helper()
	return newHTTPClient(t.Context(), roots, requestTimeout, time.Now)
}

// complaints are the warnings and errors, "level subject".
func (f *findings) complaints() []string {
	var list []string
	for _, one := range f.list {
		if one.isComplaint() {
			list = append(list, string(one.Level)+" "+one.Subject)
		}
	}
	return list
}

func (f *findings) text() string {
	var b strings.Builder
	for _, one := range f.list {
		fmt.Fprintln(&b, one.Level, sentence(one))
	}
	return b.String()
}

// expectCodes wants these complaints, "level subject code", and no others, and this text somewhere.
func (f *findings) expectCodes(t *testing.T, complaints, text string) {
	t.Helper()
	var got []string
	for _, one := range f.list {
		if one.isComplaint() {
			got = append(got, string(one.Level)+" "+one.Subject+" "+one.Code)
		}
	}
	if found := strings.Join(got, ", "); found != complaints {
		t.Errorf("found %q, want %q", found, complaints)
	}
	f.expect(t, strings.Join(f.complaints(), ", "), text)
}

// expect wants these complaints and no others, and this text somewhere.
func (f *findings) expect(t *testing.T, complaints, text string) {
	t.Helper()
	if got := strings.Join(f.complaints(), ", "); got != complaints {
		t.Errorf("found %q, want %q", got, complaints)
	}
	if !strings.Contains(f.text(), text) {
		t.Errorf("no finding says %q", text)
	}
	if t.Failed() {
		t.Log(f.text())
	}
}

func TestAHealthyEndpointIsFoundToBe(t *testing.T) {
	for name, text := range map[string]string{
		"every account gets what it asks for": plainConfig,
		"anyone gets something":               plainConfig + "access: [{allow: [pull], to: [anyone]}]\n",
	} {
		for _, path := range []string{realmEnd, realmEnd + "/", autoredirectEnd, "/below/a folder" + realmEnd} {
			t.Run(name+" at "+path, func(t *testing.T) {
				c := checkupOf(t, text)
				server := httptest.NewServer(endpoint(t, c.config))
				defer server.Close()
				c.url = server.URL + strings.ReplaceAll(path, " ", "%20")
				c.probeURL(testAsker(t, nil))
				c.expectCodes(t, "", "credentials arrive")
			})
		}
	}
}

func TestAHealthyEndpointNeedsNoConfigurationHere(t *testing.T) {
	c := checkupOf(t, strings.Replace(plainConfig, ", second.example", "", 1))
	server := httptest.NewServer(endpoint(t, c.config))
	defer server.Close()
	c.config, c.url = nil, server.URL+realmEnd
	c.probeURL(testAsker(t, nil))
	c.expectCodes(t, "", "dockerauth answers")
}

func TestOfSeveralAudiencesOneMustBeKnown(t *testing.T) {
	c := checkupOf(t, plainConfig)
	server := httptest.NewServer(endpoint(t, c.config))
	defer server.Close()
	c.config, c.url = nil, server.URL+realmEnd
	c.probeURL(testAsker(t, nil))
	c.expectCodes(t, "error url.anonymous service-unknown-here", "--registry")
	c.findings, c.service = findings{}, "second.example"
	c.probeURL(testAsker(t, nil))
	c.expectCodes(t, "", "credentials arrive")
}

// page is what web servers answer in the service's place.
func page(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=iso-8859-1")
		w.WriteHeader(status)
		fmt.Fprint(w, "<!DOCTYPE HTML><title>Error</title>")
	}
}

// where answers some requests otherwise.
func where(some func(*http.Request) bool, otherwise http.HandlerFunc) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if some(r) {
				otherwise(w, r)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

func always(*http.Request) bool { return true }

func isPost(r *http.Request) bool { return r.Method == http.MethodPost }

func hasCredentials(r *http.Request) bool { return r.Header.Get("Authorization") != "" }

// isAnonymous: as a client asks that has no credentials yet.
func isAnonymous(r *http.Request) bool {
	return isGet("service=registry.example")(r) && !hasCredentials(r)
}

func isGet(query string) func(*http.Request) bool {
	return func(r *http.Request) bool {
		return r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, realmEnd) &&
			strings.Contains(r.URL.RawQuery, query)
	}
}

func breakOff(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

func serveJSON(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		fmt.Fprint(w, text)
	}
}

func isFile(name string) func(*http.Request) bool {
	return func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/"+name) }
}

func redirect(to string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", to)
		w.WriteHeader(http.StatusMovedPermanently)
	}
}

func serve200(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) }
}

// change lets requests through and changes them, or the headers of their answers.
func change(request func(*http.Request), headers func(http.Header)) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if request != nil {
				request(r)
			}
			recorded := httptest.NewRecorder()
			next.ServeHTTP(recorded, r)
			for name, values := range recorded.Header() {
				w.Header()[name] = values
			}
			if headers != nil {
				headers(w.Header())
			}
			w.WriteHeader(recorded.Code)
			_, _ = w.Write(recorded.Body.Bytes())
		})
	}
}

// mistakes are what goes wrong between client and service, each with what check says of it.
var mistakes = []struct {
	name       string
	mistake    func(http.Handler) http.Handler
	complaints string
	says       string
}{
	{"everything is redirected", where(always, redirect("https://else.example/login?token=secret")),
		"error url.get redirected",
		`redirected (301) to "https://else.example/login"`},
	{"a redirect paints no terminal", where(always, redirect("https://else.example/\u009b31m")),
		"error url.get redirected",
		"redirected (301)"},
	{"only POST is redirected", where(isPost, redirect("/docker/v2/token/")), "error url.post redirected",
		"turn a redirected POST into a GET"},
	{"a program that does not start", where(always, page(500)), "error url.get not-json", "error.log"},
	{"a URL that is not mapped", where(always, page(404)), "error url.get not-json", "maps this URL to nothing"},
	{"a service that does not run", where(always, page(503)), "error url.get not-json", "systemctl status dockerauth"},
	{"a folder that is refused", where(always, page(403)), "error url.get not-json", "Require all granted"},
	{"a web server that asks for a password itself", where(always, page(401)), "error url.get not-json", "AuthType"},
	{"another web site", where(always, page(200)), "error url.get not-json", "serves something else"},
	{"the program as a download", where(always, serve200("\x7fELF\x02\x01")), "error url.get not-json",
		"does not run it"},
	{"another program that speaks JSON",
		where(always, serveJSON(`{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`)),
		"error url.get other-program", "another program answers"},
	{"a program that gives tokens for whatever service", where(always, serveJSON(`{"token":"a.b.c"}`)),
		"error url.get other-program",
		"another program answers"},
	{"another program that knows no such path", where(always, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"errors":[{"code":"NOT_FOUND","message":"there is nothing here"}]}`)
	}), "error url.get other-program", "404"},
	{"dockerauth that is told no method", where(always, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `{"errors":[{"code":"BAD_REQUEST","message":"no usable REQUEST_METHOD"}]}`)
	}), "error url.get parameters-missing", "include fastcgi_params;"},
	{"dockerauth that is told another method", change(func(r *http.Request) { r.Method = http.MethodPut }, nil),
		"error url.get parameters-missing", "REQUEST_METHOD"},
	{"dockerauth that is told no query", change(func(r *http.Request) { r.URL.RawQuery = "" }, nil),
		"error url.get query-lost", "REQUEST_URI"},
	{"dockerauth that is told no path", change(func(r *http.Request) { r.URL.Path = "/" }, nil),
		"error url.get path-lost", "REQUEST_URI"},
	{"dockerauth that is told another path", change(func(r *http.Request) { r.URL.Path = "/token" }, nil),
		"error url.get path-lost", "REQUEST_URI"},
	{"a service without a usable configuration", where(always, handler.Unavailable), "error url.get unavailable",
		"the service is unavailable"},
	{"Authorization is kept back", change(func(r *http.Request) { r.Header.Del("Authorization") }, nil),
		"error url.authorization authorization-dropped", "CGIPassAuth On"},
	{"Authorization arrives without its value", change(func(r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			r.Header.Set("Authorization", "")
		}
	}, nil), "error url.authorization authorization-dropped", "CGIPassAuth On"},
	{"long headers are refused",
		where(func(r *http.Request) bool { return len(r.Header.Get("Authorization")) > 1000 }, page(400)),
		"error url.authorization header-too-long", "LimitRequestFieldSize"},
	{"every header is refused",
		where(func(r *http.Request) bool { return r.Header.Get("Authorization") != "" }, page(400)),
		"error url.authorization not-json", "not JSON"},
	{"bodies are dropped", change(func(r *http.Request) { r.Body = http.NoBody }, nil),
		"error url.post body-dropped", "does not arrive"},
	{"bodies without a length are dropped", change(func(r *http.Request) {
		if r.ContentLength < 0 {
			r.Body = http.NoBody
		}
	}, nil), "error url.chunked body-dropped", "fastcgi_request_buffering"},
	{"bodies without a length are refused", where(func(r *http.Request) bool { return r.ContentLength < 0 }, page(411)),
		"error url.chunked not-json", "wants a Content-Length"},
	{"POST is refused", where(isPost, page(405)), "error url.post not-json", "allow GET and POST"},
	{"errors are replaced", where(func(r *http.Request) bool { return r.Method == http.MethodDelete }, page(405)),
		"warning url.errors errors-replaced", "ErrorDocument"},
	{"the content type is another", change(nil, func(h http.Header) { h.Set("Content-Type", "text/plain") }),
		"warning url.headers wrong-content-type", `Content-Type is "text/plain"`},
	{"answers may be cached", change(nil, func(h http.Header) { h.Set("Cache-Control", "max-age=60") }),
		"warning url.headers cacheable", "no-store is missing"},
	{"some answers may be cached", func(next http.Handler) http.Handler {
		return where(isAnonymous,
			change(nil, func(h http.Header) { h.Set("Cache-Control", "public") })(next).ServeHTTP)(next)
	}, "warning url.headers cacheable", "no-store is missing"},
	{"JSON is said to be a page", change(nil, func(h http.Header) { h.Set("Content-Type", "text/html") }),
		"warning url.headers wrong-content-type", "Content-Type is"},
	{"the challenge is taken out", change(nil, func(h http.Header) { h.Del("WWW-Authenticate") }),
		"error url.anonymous no-challenge", "WWW-Authenticate"},
	{"config.yml is served", where(isFile("config.yml"), serve200("private_key: privkey.pem\n")),
		"error url.files files-served, error url.files files-served", "change the key"},
	{"the key is served from the folder",
		where(func(r *http.Request) bool { return r.URL.Path == "/privkey.pem" },
			serve200("-----BEGIN PRIVATE KEY-----\nMIGH\n")), "error url.files files-served", "/privkey.pem is served"},
	{"dockerauth's log is served",
		where(func(r *http.Request) bool { return r.URL.Path == "/service.log" },
			serve200("level=INFO msg=\"token request\"\n")), "error url.files files-served", "/service.log is served"},
	{"the log of the PHP service is served",
		where(func(r *http.Request) bool { return r.URL.Path == "/auth.log" }, serve200(`array("access_token"=>"ey")`)),
		"error url.files files-served", "/auth.log is served"},
	{".htaccess is served",
		where(func(r *http.Request) bool { return r.URL.Path == "/.htaccess" }, serve200("CGIPassAuth On\n")),
		"error url.files files-served", "/.htaccess is served"},
	{"nothing is run and config.yml is served", where(always, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/config.yml" {
			serve200("private_key: privkey.pem\n")(w, r)
			return
		}
		page(404)(w, r)
	}), "error url.files files-served, error url.get not-json", "AllowOverride"},
	{"a web page that speaks of keys is none", where(isFile("config.yml"), serve200("<p>private_key: a setting")), "",
		"are not served"},
	{"a clock half a minute late",
		change(nil,
			func(h http.Header) { h.Set("Date", time.Now().Add(-45*time.Second).UTC().Format(http.TimeFormat)) }),
		"warning url.clock clock-drifts", "behind this machine's"},
	{"a clock an hour early",
		change(nil, func(h http.Header) { h.Set("Date", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)) }),
		"error url.clock clock-off", "ahead of this machine's"},
	{"no clock at all", change(nil, func(h http.Header) { h["Date"] = nil }), "", "dockerauth answers"},
	{"a page without end", where(always, func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			_, _ = io.WriteString(w, strings.Repeat("x", 4096))
		}
	}), "error url.get not-json", "not JSON"},
	{"a web server without the other path",
		where(func(r *http.Request) bool { return r.URL.Path == autoredirectEnd }, page(404)), "",
		"which only registries with"},
	{"a limit of the web server's own", where(always, page(429)), "error url.get not-json", "in the service's place"},
	{"a method that the web server keeps for itself", where(isGet(""), page(405)), "error url.get not-json",
		"allow GET and POST"},
	{"a redirect to nowhere", where(always, redirect("http://[")), "error url url-unreachable", "no usable answer"},
	{"an answer that is neither page nor JSON", where(always, serve200("hello")), "error url.get not-json",
		`something else, "text/plain"`},
	{"an empty answer", where(always, serve200("")), "error url.get not-json", "an empty page"},
	{"a service that is in order only for some", where(isGet("service=registry.example"), handler.Unavailable),
		"error url.anonymous unexpected-answer, error url.authorization unexpected-answer", "it answers 503"},
	{"a service that is unavailable to a request with credentials", where(hasCredentials, handler.Unavailable),
		"error url.authorization unexpected-answer", "credentials are answered with 503"},
	{"tokens for everybody that are none", where(isAnonymous, serveJSON(`{"token":"e30.e30"}`)),
		"error url.token no-token",
		"is no token"},
	{"tokens for everybody that hold nothing", where(isAnonymous, serveJSON(`{"token":"e30.!.e30"}`)),
		"error url.token no-token", "is no token"},
	{"a POST that is answered as a GET", where(isPost, serveJSON(`{"token":"a.b.c"}`)),
		"error url.post body-altered", "is answered with 200"},
	{"a connection that breaks off at credentials", where(hasCredentials, breakOff),
		"error url.authorization connection-broke",
		"no usable answer"},
	{"a connection that breaks off at files", where(isFile("config.yml"), breakOff), "error url.files connection-broke",
		"no usable answer"},
	{"a connection that breaks off in mid-answer", where(isAnonymous, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		fmt.Fprint(w, "{")
	}), "error url.anonymous connection-broke", "no usable answer"},
	{"a connection that breaks off", where(isPost, breakOff), "error url.post connection-broke", "no usable answer"},
}

// What keeps the service from answering was said already.
func TestAnUnavailableServiceIsNoSecondFinding(t *testing.T) {
	for subject, complaints := range map[string]string{
		"":            "error url.get unavailable",
		"private_key": "error private_key unreadable",
		"rights.log":  "error rights.log unreadable",
		"pam":         "error pam unreadable",
		"registry":    "error registry unreadable, error url.get unavailable",
	} {
		c := checkupOf(t, plainConfig)
		server := httptest.NewServer(http.HandlerFunc(handler.Unavailable))
		defer server.Close()
		if subject != "" {
			c.fail(subject, "unreadable", "it cannot be read", "", "")
		}
		c.url = server.URL + realmEnd
		c.probeURL(testAsker(t, nil))
		c.expectCodes(t, complaints, "unavailable")
	}
}

func TestEveryMistakeBeforeTheEndpointIsNamed(t *testing.T) {
	for _, test := range mistakes {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := checkupOf(t, plainConfig)
			server := httptest.NewUnstartedServer(test.mistake(endpoint(t, c.config)))
			server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
			server.Start()
			defer server.Close()
			c.url = server.URL + realmEnd
			c.probeURL(testAsker(t, nil))
			c.expectCodes(t, test.complaints, test.says)
			for _, secret := range []string{"secret", "MIGH", "\u009b"} {
				if strings.Contains(c.text(), secret) {
					t.Errorf("a finding holds %q: %s", secret, c.text())
				}
			}
		})
	}
}

// With one audience a request without a query is answered as any other.
func TestALostQueryIsNoticedWhereOneAudienceIsServed(t *testing.T) {
	one := strings.Replace(plainConfig, ", second.example", "", 1)
	for name, text := range map[string]string{
		"every account gets what it asks for": one,
		"anyone gets something":               one + "access: [{allow: [pull], to: [anyone]}]\n",
	} {
		t.Run(name, func(t *testing.T) {
			c := checkupOf(t, text)
			lose := change(func(r *http.Request) { r.URL.RawQuery = "" }, nil)
			server := httptest.NewServer(lose(endpoint(t, c.config)))
			defer server.Close()
			c.url = server.URL + realmEnd
			c.probeURL(testAsker(t, nil))
			c.expectCodes(t, "error url.get query-lost", "REQUEST_URI")
		})
	}
}

func TestAURLBesideTheEndpointIsCorrected(t *testing.T) {
	c := checkupOf(t, plainConfig)
	server := httptest.NewServer(http.StripPrefix("/dockerauth", endpoint(t, c.config)))
	defer server.Close()
	for _, path := range []string{"/dockerauth/", "/dockerauth/token", "/dockerauth/v2/token"} {
		c.findings, c.url = findings{}, server.URL+path
		c.probeURL(testAsker(t, nil))
		c.expectCodes(t, "error url.get url-wrong-path", "dockerauth check --url "+server.URL+"/dockerauth"+realmEnd)
	}
}

func TestAnotherConfigurationInForceIsNoticed(t *testing.T) {
	anyone := "access: [{allow: [pull], to: [anyone]}]\n"
	for _, test := range []struct{ name, running, ours, complaints, says string }{
		{"it does not know dockerauth's service", strings.Replace(plainConfig, "registry.", "old.", 1), plainConfig,
			"error url.anonymous unknown-service", `does not know the service "registry.example"`},
		{"it does not know dockerauth's second service", strings.Replace(plainConfig, "second.", "old.", 1),
			plainConfig, "error url.service unknown-service", `does not know the service "second.example"`},
		{"it has another issuer", strings.Replace(plainConfig, "auth.", "old.", 1) + anyone, plainConfig,
			"error url.token token-of-another", `from "old.example" for "registry.example"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := httptest.NewServer(endpoint(t, checkupOf(t, test.running).config))
			defer server.Close()
			c := checkupOf(t, test.ours)
			c.url = server.URL + realmEnd
			c.probeURL(testAsker(t, nil))
			c.expectCodes(t, test.complaints, test.says)
		})
	}
}

func TestAServerThatIsNotReachedIsSaidInWords(t *testing.T) {
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	c := checkupOf(t, plainConfig)
	over := httptest.NewUnstartedServer(http.NotFoundHandler())
	over.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	over.StartTLS()
	defer over.Close()
	for _, test := range []struct{ name, url, complaints, says string }{
		{"a name that is not there", "https://no-such-name.invalid" + realmEnd, "error url url-unreachable",
			"is not found"},
		{"a port where nobody listens", closed.URL + realmEnd, "error url url-unreachable", "nobody listens"},
		{"https where there is plain http", "https" + strings.TrimPrefix(plain.URL, "http") + realmEnd,
			"error url url-unreachable",
			"plain HTTP, not HTTPS"},
		{"plain http where there is https", "http" + strings.TrimPrefix(over.URL, "https") + realmEnd,
			"error url.get not-json",
			"write https://"},
		{"a certificate that nobody signed", over.URL + realmEnd, "error url url-unreachable", "/etc/docker/certs.d"},
		{"no URL", "auth.example.com/docker/v2/token", "error url url-invalid", "not a URL"},
		{"another scheme", "ftp://auth.example.com/docker/v2/token", "error url url-invalid", "not a URL"},
		{"no path", plain.URL, "error url url-invalid", "no path"},
		{"a password in it", "https://alice:secret@auth.example.com" + realmEnd, "error url url-invalid",
			"a user name"},
		{"a query", plain.URL + realmEnd + "?service=x", "error url url-invalid", "a query"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c.findings, c.url = findings{}, test.url
			c.probeURL(testAsker(t, nil))
			c.expectCodes(t, test.complaints, test.says)
			if strings.Contains(c.text(), "secret") {
				t.Error("a finding holds the password")
			}
		})
	}
}

func TestANameThatIsNotThereIsToldFromOneThatCannotBeLookedUp(t *testing.T) {
	for _, tt := range []struct {
		err  net.DNSError
		says string
	}{
		{net.DNSError{Name: "auth.example", Err: "no such host", IsNotFound: true}, "clients do not find it either"},
		{net.DNSError{Name: "auth.example", Err: "server misbehaving", IsTemporary: true},
			"this machine cannot look the name up"},
		{net.DNSError{Name: "auth.example", Err: "i/o timeout", IsTimeout: true},
			"this machine cannot look the name up"},
		{net.DNSError{Name: "auth.example", Err: "dial udp 192.0.2.1:53: connect: network is unreachable"},
			"this machine cannot look the name up"},
	} {
		what, why, remedy := describeTransportError(fmt.Errorf("dial: %w", &tt.err))
		if text := what + why; !strings.Contains(text, tt.says) || !strings.Contains(text, "auth.example") ||
			remedy == "" {
			t.Errorf("%s: %s, %s, %s", tt.err.Err, what, why, remedy)
		}
	}
}

func TestTheLogOfAServiceIsWhereItsUnitWritesIt(t *testing.T) {
	unit := map[string]string{"usr/lib/systemd/system/dockerauth.service": "[Service]\nUser=dockerauth\n"}
	for name, test := range map[string]struct {
		files map[string]string
		says  string
	}{"a unit": {unit, "journalctl -n 20 -u dockerauth.service"}, "none": {nil, "/var/log/nginx/error.log"}} {
		t.Run(name, func(t *testing.T) {
			text := plainConfig // its log file may be what cannot be used
			if test.files == nil {
				text = strings.Replace(text, "log: {file: service.log}\n", "", 1)
			}
			c := checkupOf(t, text)
			server := httptest.NewServer(http.HandlerFunc(handler.Unavailable))
			defer server.Close()
			c.root, c.url = plant(t, test.files), server.URL+realmEnd
			c.probeURL(testAsker(t, nil))
			c.expectCodes(t, "error url.get unavailable", test.says)
		})
	}
}

func TestAServerThatDoesNotAnswerIsGivenUp(t *testing.T) {
	c := checkupOf(t, plainConfig)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter,
		r *http.Request) {
		<-r.Context().Done()
	}))
	defer server.Close()
	c.url = server.URL + realmEnd
	c.probeURL(newHTTPClient(t.Context(), nil, 50*time.Millisecond, time.Now))
	c.expectCodes(t, "error url url-unreachable", "no answer in time")
}

// authority signs certificates for web servers.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	key := newTestKey(t)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "the CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	return authority{key, sign(t, template, template, key, key)}
}

func sign(t *testing.T, template, parent *x509.Certificate, key, by *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// issue makes a certificate for 127.0.0.1, or for whatever name is given.
func (a authority) issue(t *testing.T, name string, from, to time.Duration) tls.Certificate {
	t.Helper()
	key := newTestKey(t)
	template := &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(from),
		NotAfter: time.Now().Add(to)}
	if name == "" {
		template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	} else {
		template.DNSNames = []string{name}
	}
	return tls.Certificate{Certificate: [][]byte{sign(t, template, a.cert, key, a.key).Raw}, PrivateKey: key}
}

func (a authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// config is that of a server whose certificate is good.
func (a authority) config(t *testing.T) *tls.Config {
	t.Helper()
	return &tls.Config{Certificates: []tls.Certificate{a.issue(t, "", -time.Hour, 90*24*time.Hour)}}
}

func TestTheWebServersCertificateIsJudged(t *testing.T) {
	ca, unknownCA := newAuthority(t), newAuthority(t)
	const days = 24 * time.Hour
	for _, test := range []struct {
		name             string
		cert             tls.Certificate
		complaints, says string
	}{
		{"good for a while", ca.issue(t, "", -days, 90*days), "", "is good until"},
		{"good for few days", ca.issue(t, "", -days, 10*days), "warning url.tls web-certificate-expires", "in 9 days"},
		{"over", ca.issue(t, "", -90*days, -days), "error url url-unreachable", "expired"},
		{"not yet good", ca.issue(t, "", days, 90*days), "error url url-unreachable", "it is not that time"},
		{"for another name", ca.issue(t, "else.example", -days, 90*days), "error url url-unreachable",
			`for "else.example"`},
		{"from a CA that is not known here", unknownCA.issue(t, "", -days, 90*days), "error url url-unreachable",
			"fullchain.pem"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := checkupOf(t, plainConfig)
			server := httptest.NewUnstartedServer(endpoint(t, c.config))
			server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
			server.TLS = &tls.Config{Certificates: []tls.Certificate{test.cert}}
			server.EnableHTTP2 = true
			server.StartTLS()
			defer server.Close()
			c.url = server.URL + realmEnd
			c.probeURL(testAsker(t, ca.pool()))
			c.expectCodes(t, test.complaints, test.says)
		})
	}
}

func TestPlainHTTPIsForThisMachineOnly(t *testing.T) {
	for host, want := range map[string]string{"localhost": "", "127.3.2.1": "", "::1": "",
		"auth.example.com": "warning url", "192.0.2.7": "warning url"} {
		c := &checkup{root: t.TempDir(), now: time.Now, url: "http://" + net.JoinHostPort(host, "80") + realmEnd}
		base, err := parseRealm(c.url)
		if err != nil {
			t.Fatal(err)
		}
		(&endpointProbe{checkup: c, base: base}).examineTLS(nil)
		if got := strings.Join(c.complaints(), ", "); got != want {
			t.Errorf("%s: %q, want %q", host, got, want)
		}
	}
}

func TestOurFilesAreLookedForByTheirNames(t *testing.T) {
	c := checkupOf(t, plainConfig)
	c.config.PrivateKeyFile = filepath.Join(filepath.Dir(c.config.Path), "keys", "rsa.pem")
	c.config.CertificateFile = "/etc/dockerauth/cert.pem"
	const want = ".htaccess auth.log cert.pem config.yml keys/rsa.pem privkey.pem service.log"
	if got := strings.Join(privateNames(c.config), " "); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	c.config.Log.File = ""
	if got := strings.Join(privateNames(c.config), " "); got != strings.TrimSuffix(want, " service.log") {
		t.Errorf("without a log file: %s", got)
	}
}

func TestFilesAreLookedForWhereTheyCanBe(t *testing.T) {
	for path, want := range map[string]string{
		realmEnd:                                "/ /docker/v2/",
		"/registry" + realmEnd:                  "/ /registry/ /registry/docker/v2/",
		"/cgi-bin/dockerauth" + autoredirectEnd: "/cgi-bin/ /cgi-bin/dockerauth/ /cgi-bin/dockerauth/auth/",
		"/token":                                "/",
		"/a/login/":                             "/a/",
	} {
		base, err := parseRealm("https://auth.example.com" + path)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join((&endpointProbe{base: base}).folders(), " "); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}

func TestACheckLeavesAtMostOneLineInTheLog(t *testing.T) {
	for text, tokens := range map[string]int{
		plainConfig: 0,
		plainConfig + "access: [{allow: [pull], to: [anyone]}]\n": 1,
	} {
		c := checkupOf(t, text)
		var log bytes.Buffer
		server := httptest.NewServer(service.NewHandler(c.config, untouched{t}, untouched{t},
			slog.New(slog.NewTextHandler(&log, nil))))
		c.url = server.URL + realmEnd
		c.probeURL(testAsker(t, nil))
		server.Close()
		lines := strings.Count(log.String(), "\n")
		if lines != tokens || strings.Count(log.String(), "outcome=granted") != tokens {
			t.Errorf("%d lines, want %d:\n%s", lines, tokens, &log)
		}
	}
}
