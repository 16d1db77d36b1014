package e2e

import (
	"fmt"
	"net/url"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

// recorder is a test whose failure is a result.
type recorder struct {
	testing.TB
	said string
}

func (r *recorder) Helper() {}

func (r *recorder) Errorf(format string, args ...any) { r.said += fmt.Sprintf(format, args...) + "\n" }

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

// refusal does a step that has to fail, and returns what the client said.
func (w *workspace) refusal(what string, step func(w *workspace)) string {
	w.t.Helper()
	r, inner, done := &recorder{TB: w.t}, *w, make(chan struct{})
	inner.t = r
	go func() {
		defer close(done)
		step(&inner)
	}()
	<-done
	if r.said == "" {
		w.t.Errorf("%s works", what)
	} else if !refusedRegistry.MatchString(r.said) {
		w.t.Errorf("%s: it says\n%s\nwant a refusal", what, r.said)
	}
	return r.said
}

// refusedRegistry is what clients say if they get no token, or one that allows too little.
var refusedRegistry = regexp.MustCompile(`(?i)unauthorized|denied|authorization failed|authentication required|` +
	`invalid username/password|insufficient|forbidden|failed to fetch (oauth|anonymous) token`)

// use signs in with a kept token. ctr remembers nothing: its next step sends it.
func (w *workspace) use(c registryClient, k keptToken) output {
	w.t.Helper()
	w.user, w.refreshToken, w.password = k.login, "", k.text
	w.writeCredentials(map[string]any{"unused.example": map[string]any{}})
	if c.name == ctr.name {
		return output{}
	}
	return c.signIn(w, k.text)
}

// refused signs in with a kept token, which must not work.
func (w *workspace) refused(c registryClient, what string, k keptToken) {
	w.t.Helper()
	o := w.use(c, k)
	if c.name == ctr.name {
		w.refusal(what, c.pull)
		return
	}
	if said := o.stdout + o.stderr; o.status == 0 || !c.refusal.MatchString(said) || strings.Contains(said, k.text) {
		w.t.Errorf("%s: %v\nwant a refusal", what, o)
	}
}

// realm is the address of the service for clients.
func (s *testEnv) realm() string {
	return "http://localhost" + s.address[strings.LastIndexByte(s.address, ':'):] + s.mounts[0] + "/docker/v2/token"
}

// TestEveryClientTakesARobotsToken uses a name with a plus sign and a kept token in all clients.
func TestEveryClientTakesARobotsToken(t *testing.T) {
	leaveAsFound(t, outsidePaths)
	dm := startDaemons(t)
	needRegistry(t, registry31)
	s := openFrontend(t, httpFrontend, envOptions{config: "state: state\ncertificate: cert.pem\n"})
	tp, realm := startTap(t, s.realm())
	r := startRegistry(t, registry31, s.site, realm, trust{bundle: s.certFile})
	robot := s.issue(t, alice, "--robot", "jenkins", "--scope", "repository:ci/**:pull,push")
	for _, c := range registryClients() {
		t.Run(c.name, func(t *testing.T) {
			c.need(t)
			w := newWorkspace(t, r.host, tp, dm)
			w.repo = "ci/" + strings.Fields(c.name)[0]
			tp.take()
			if said := w.use(c, robot); strings.Contains(said.stdout+said.stderr, robot.text) {
				t.Errorf("it shows the token: %v", said)
			}
			c.push(w)
			c.pull(w)
			seen := tp.take()
			bySelf := func(q tokenRequest) bool { return q.account == robot.login && !q.refresh && wasGranted(q) }
			if n := count(seen, bySelf); n == 0 || n != len(seen) {
				t.Errorf("it asked the token service %+v, want only granted requests of %s", seen, robot.login)
			}
			w.repo = "other/" + w.repo
			w.refusal("a push to another repository", c.push)
		})
	}
	for name, text := range s.everyLog() {
		if strings.Contains(text, robot.text) {
			t.Errorf("%s holds the token", name)
		}
	}
}

// tokenClients are one of each kind: docker with its daemon, containers/image, and containerd.
func tokenClients() []registryClient { return append(dockers()[:1:1], skopeo, ctr) }

// TestKeptTokensWithRealClients pulls with tokens, and tries what they are not for.
func TestKeptTokensWithRealClients(t *testing.T) {
	name := makeAccounts(t, []unixAccount{{suffix: "ci"}})["ci"]
	leaveAsFound(t, outsidePaths)
	dm := startDaemons(t)
	state := sharedState(t)
	for _, th := range tokenFrontends {
		t.Run(th.name, func(t *testing.T) {
			t.Parallel()
			needRegistry(t, registry31)
			s := readsAccounts(t, th, "state: "+state+"\ncertificate: cert.pem\n")
			r := startRegistry(t, registry31, s.site, s.realm(), trust{bundle: s.certFile})
			pushes := s.issue(t, name, "--scope", "repository:**:pull,push")
			far := s.issue(t, name, "--scope", "repository:**:pull", "--from", "192.0.2.0/24")
			robots := map[string]keptToken{}
			for _, c := range tokenClients() {
				kind := strings.Fields(c.name)[0]
				robots[kind] = s.issue(t, name, "--robot", kind, "--scope", "repository:ci/**:pull")
			}
			t.Run("clients", func(t *testing.T) {
				for _, c := range tokenClients() {
					t.Run(c.name, func(t *testing.T) {
						t.Parallel()
						c.need(t)
						kind := strings.Fields(c.name)[0]
						useRobotsToken(t, s.testEnv, c, newWorkspace(t, r.host, nil, dm), pushes, robots[kind], far)
					})
				}
			})
			for _, k := range robots {
				s.keepToken(k)
			}
			s.keepToken(pushes)
			s.keepToken(far)
			s.checkSecrets(t)
			s.checkFiles(t, state)
		})
	}
}

// useRobotsToken uses the token pulls, which is for pulls from ci alone, and takes it back.
func useRobotsToken(t *testing.T, s *testEnv, c registryClient, w *workspace, pushes, pulls, far keptToken) {
	kind := strings.Fields(c.name)[0]
	w.use(c, pushes).must(t)
	for _, w.repo = range []string{"other/" + kind, "ci/" + kind} {
		c.push(w)
	}
	w.use(c, pulls).must(t)
	c.pull(w)
	w.repo = "ci/new-" + kind // nothing is pushed that is there already
	w.refusal("a push", c.push)
	w.repo = "other/" + kind
	w.refusal("a pull of another repository", c.pull)
	w.repo = "ci/" + kind
	w.refused(c, "a token for another address", far)
	w.refused(c, "a token with another user name", keptToken{pulls.text, pulls.id, pushes.login})
	w.use(c, pulls).must(t)
	c.pull(w)
	s.revoke(t, pulls.id)
	w.refusal("a pull after revocation", c.pull)
}

// TestALoginEndsWithTheAccountInRealClients pulls with what each client keeps after a login, and
// changes the account between the pulls.
func TestALoginEndsWithTheAccountInRealClients(t *testing.T) {
	name := makeAccounts(t, []unixAccount{{suffix: "login"}})["login"]
	leaveAsFound(t, outsidePaths)
	dm := startDaemons(t)
	needRegistry(t, registry28)
	s := readsAccounts(t, apacheCGI, "state: "+sharedState(t)+"\ncertificate: cert.pem\n")
	r := startRegistry(t, registry28, s.site, s.realm(), trust{bundle: s.certFile})
	type signedIn struct {
		registryClient
		w *workspace
	}
	var clients []signedIn
	for _, c := range tokenClients() {
		w := newWorkspace(t, r.host, nil, dm)
		w.user, w.repo = name, "team/"+strings.Fields(c.name)[0]
		clients = append(clients, signedIn{c, w})
	}
	step := func(name string, do func(t *testing.T, c signedIn)) {
		t.Run(name, func(t *testing.T) {
			for _, c := range clients {
				t.Run(c.name, func(t *testing.T) {
					t.Parallel()
					c.need(t)
					w := *c.w
					w.t = t
					do(t, signedIn{c.registryClient, &w})
					*c.w = w
				})
			}
		})
	}
	logIn := func(password string) func(t *testing.T, c signedIn) {
		return func(t *testing.T, c signedIn) {
			if strings.HasPrefix(c.name, "docker") {
				c.signIn(c.w, password).must(t) // docker keeps a refresh token by itself
				return
			}
			send := login(name, password, url.Values{"service": {audience}, "offline_token": {"true"}}.Encode())
			copied := *s
			copied.secrets = map[string]bool{}
			answer := copied.ask(t, send)
			if answer.token.RefreshToken == nil {
				t.Fatalf("log in: status %d: %s", answer.status, answer.body)
			}
			c.w.useRefreshToken(*answer.token.RefreshToken)
		}
	}
	accepted := func(t *testing.T, c signedIn) { c.push(c.w); c.pull(c.w) }
	refused := func(t *testing.T, c signedIn) { c.w.refusal("a pull", c.pull) }

	step("log in", logIn(unixPassword))
	step("push and pull", accepted)
	setPassword(newUnixPassword)(t, name)
	step("the password is changed", refused)
	step("log in again", logIn(newUnixPassword))
	step("push and pull again", accepted)
	changeWith("usermod", "-L")(t, name)
	step("the account is locked", refused)
	changeWith("usermod", "-U")(t, name)
	step("the account is unlocked", accepted)
	recreate(0)(t, name)
	step("the account is deleted and made again", refused)
}
