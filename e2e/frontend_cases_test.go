package e2e

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestFrontends runs the same cases on every front end. Front ends run in parallel; the cases of
// one run one after another, so that each finds its line at the end of the log.
func TestFrontends(t *testing.T) {
	for _, th := range frontends {
		t.Run(th.name, func(t *testing.T) {
			t.Parallel()
			s := openFrontend(t, th, envOptions{})
			c := newClient(s)
			c.runAll(t, endpointCases)
			c.runAll(t, clientCases)
			c.runAll(t, badCases)
			t.Run("every mount", c.runMounts)
			t.Run("eight at once", c.runAtOnce)
			t.Run("no secret is written anywhere", c.checkSecrets)
			t.Run("every exception was met", func(t *testing.T) { checkExceptions(t, th) })
		})
	}
}

// openFrontend makes a test environment and starts the front end.
func openFrontend(t testing.TB, th frontend, o envOptions, edit ...[2]string) *testEnv {
	t.Helper()
	need(t, th.name, th.needs...)
	s := newTestEnv(t, o)
	s.edit, s.ownAnswers = edit, th.ownAnswers
	th.open(t, s)
	return s
}

// enoughFailures ends a front end's run: one that does not answer would need a time limit for each
// case.
const enoughFailures = 8

func (c *client) runAll(t *testing.T, cases []testCase) {
	for _, tc := range cases {
		if !t.Run(tc.name, func(t *testing.T) { c.run(t, tc) }) {
			c.failures++
		}
		if c.failures >= enoughFailures {
			t.Fatalf("%d cases failed, the others do not run", c.failures)
		}
	}
}

// runMounts runs a few cases at every URL of the endpoint, with both names and with and without a
// slash at the end.
func (c *client) runMounts(t *testing.T) {
	defer func(mount, endpoint string) { c.mount, c.endpoint = mount, endpoint }(c.mount, c.endpoint)
	for _, c.mount = range c.mounts {
		for _, c.endpoint = range endpointPaths {
			for _, tc := range mountCases {
				t.Run(c.mount+c.endpoint+" "+tc.name, func(t *testing.T) { c.run(t, tc) })
			}
		}
	}
	for _, c.mount = range c.homes {
		t.Run(c.mount, func(t *testing.T) { c.run(t, homeCase) })
	}
}

// runAtOnce logs in eight times at once. CGI processes share nothing; in the other front ends the
// logins wait for a conversation.
func (c *client) runAtOnce(t *testing.T) {
	c.t = t
	request := asAlice(serviceIs + "&scope=" + appScope)(c)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			answer, body, err := c.exchange(request)
			if err != nil {
				t.Error(err)
			} else if answer.StatusCode != http.StatusOK {
				t.Errorf("status %d: %s", answer.StatusCode, body)
			}
		})
	}
	all.Wait()
	if lines := c.awaitRequestLines(c.asked + 8); len(lines) != c.asked+8 {
		t.Errorf("the log has %d new lines on token requests, want 8", len(lines)-c.asked)
	}
	c.asked = len(c.requestLines())
}

// checkExceptions fails for an exception without a case, which would explain nothing.
func checkExceptions(t *testing.T, th frontend) {
	names := make(map[string]bool)
	for _, cases := range [][]testCase{endpointCases, clientCases, badCases} {
		for _, tc := range cases {
			if names[tc.name] {
				t.Errorf("two cases are named %q", tc.name)
			}
			names[tc.name] = true
		}
	}
	for name := range th.ownAnswers {
		if !names[name] {
			t.Errorf("no case is named %q", name)
		}
	}
}

// TestTheLogNamesTheDirectiveThatIsMissing removes from the shipped examples the one line that
// makes Apache or HAProxy pass passwords on.
func TestTheLogNamesTheDirectiveThatIsMissing(t *testing.T) {
	for _, tt := range []struct {
		frontend  frontend
		directive string
	}{
		{apacheCGI, "CGIPassAuth On"}, {apacheHtaccess, "CGIPassAuth On"}, {apacheFcgid, "CGIPassAuth On"},
		{apacheProxyFcgi, "CGIPassAuth On"}, {haproxyFastCGI, "pass-header Authorization"},
	} {
		t.Run(tt.frontend.name, func(t *testing.T) {
			t.Parallel()
			c := newClient(openFrontend(t, tt.frontend, envOptions{}, [2]string{tt.directive, "# " + tt.directive}))
			c.run(t, testCase{
				send: asAlice(serviceIs + "&account=alice&client_id=docker&offline_token=true"),
				want: want{status: 401, code: "UNAUTHORIZED", message: loginNeeded,
					log: map[string]string{"reason": "~" + tt.directive}},
			})
			c.checkSecrets(t)
		})
	}
}

// TestWithoutALogFileTheLogIsTheWebServers looks for a request's line in the web server's log.
func TestWithoutALogFileTheLogIsTheWebServers(t *testing.T) {
	for _, where := range []struct {
		frontend
		log string // a file of the environment; "" = the service's own output
	}{
		{apacheCGI, "run/error.log"},
		{apacheHtaccess, "run/error.log"},
		{apacheFcgid, "run/error.log"},
		{nginxFcgiwrap, "run/nginx.log"},
		{nginxSpawnFcgi, ""},
		{httpFrontend, ""},
	} {
		t.Run(where.name, func(t *testing.T) {
			t.Parallel()
			c := newClient(openFrontend(t, where.frontend, envOptions{noLogFile: true}))
			if _, body, err := c.exchange(login(alice, "wrong-and-not-logged",
				serviceIs+"&client_id=looked-for")(c)); err != nil {
				t.Fatalf("%v: %s", err, body)
			}
			eventually(t, 5*time.Second, "the line of the request", func() bool {
				var text string
				if where.log == "" {
					text = c.service.output()
				} else {
					text = readFile(t, c.path(where.log))
				}
				return strings.Contains(text, "token request") && strings.Contains(text, "client=looked-for")
			})
			for name, text := range c.everyLog() {
				if strings.Contains(text, "wrong-and-not-logged") {
					t.Errorf("%s holds the password", name)
				}
			}
		})
	}
}

// TestTheShippedExamplesAreTheFilesInUse checks that a front end runs every example in the
// packaging folder.
func TestTheShippedExamplesAreTheFilesInUse(t *testing.T) {
	var all strings.Builder
	for _, name := range []string{"frontend_apache_test.go", "frontend_nginx_test.go", "frontend_lighttpd_test.go",
		"frontend_caddy_test.go", "frontend_haproxy_test.go", "cluster_test.go"} {
		all.WriteString(readFile(t, name))
	}
	for _, pattern := range []string{"../packaging/apache/*", "../packaging/nginx/*", "../packaging/lighttpd/*",
		"../packaging/caddy/*", "../packaging/haproxy/*", "../htaccess.example"} {
		for _, name := range glob(t, pattern) {
			if !strings.Contains(all.String(), `"`+strings.TrimPrefix(name, "../")+`"`) {
				t.Errorf("no front end runs %s", name)
			}
		}
	}
}
