package e2e

import (
	"fmt"
	"net/http"
	"net/url"
	"sync/atomic"
)

// soakKind is the kind of one request.
type soakKind int

const (
	soakAnonymous  soakKind = iota // a token for what everyone may pull
	soakRefresh                    // a new access token for a refresh token
	soakLogin                      // a new password each time, so that PAM is asked
	soakBadRequest                 // a request that no credentials make valid
	soakRefused                    // a login that is refused and remembered for a while
	soakKinds
)

// soakMix is how many of a thousand requests are of each kind: like a registry with CI, with more
// logins. A login costs 5 ms, the others a tenth of that or less, so with more logins the run would
// mostly measure PAM's children.
var soakMix = [soakKinds]int{soakAnonymous: 548, soakRefresh: 350, soakLogin: 50, soakBadRequest: 51, soakRefused: 1}

const (
	soakScatter   = 617 // no common factor with 1,000, so that kinds alternate
	soakReconnect = 50  // one in so many requests uses a new connection
	soakVerify    = 10  // one in so many tokens is verified; each is decoded
	soakAccounts  = 20  // with refresh tokens

	// soakClients log in. The throttle remembers for a week who has logged in from where, some 300
	// bytes each, up to 100,000 of them: with a new name in each login that would grow. A prime, so
	// that all take turns, and few enough that all have come after a tenth of the short run.
	soakClients = 199
)

// kindOf is the kind of the n-th request.
func kindOf(n int64) soakKind {
	place := int(n * soakScatter % 1000)
	for kind, share := range soakMix {
		if place -= share; place < 0 {
			return soakKind(kind)
		}
	}
	return soakAnonymous
}

var badRequests = []struct {
	request string
	status  int
	code    string
}{
	{askGet("service=another.example&scope=repository:public/app:pull", "", ""), http.StatusBadRequest, "BAD_REQUEST"},
	{askGet(serviceIs+"&"+serviceIs, "", ""), http.StatusBadRequest, "BAD_REQUEST"},
	{askPost(url.Values{"service": {audience}, "grant_type": {"telepathy"}}), http.StatusBadRequest, "BAD_REQUEST"},
	{"GET /docker/v2/token?" + serviceIs + " HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic ~~~\r\n\r\n",
		http.StatusBadRequest, "BAD_REQUEST"},
	{"PUT /docker/v2/token HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}", http.StatusMethodNotAllowed,
		"METHOD_NOT_ALLOWED"},
}

// soakPAM accepts everyone, so that the run does not measure a password file.
func soakPAM(*testEnv) string { return "auth required pam_permit.so\naccount required pam_permit.so\n" }

// soakConfig lets everyone pull what is public.
func soakConfig(s *testEnv) {
	useP256(s)
	s.replace(s.configFile, readFile(s.t,
		s.configFile)+"access:\n  - {allow: [pull], repositories: [\"public/**\"], to: [anyone]}\n"+
		"  - {allow: [pull, push], to: [users]}\n")
}

// soak is one run against one front end.
type soak struct {
	env   *testEnv
	total int64
	next  atomic.Int64 // number of the next request
	done  atomic.Int64
	asked [soakKinds]atomic.Int64
	wrong problems

	refresh [soakAccounts]string // tokens, by account
}

func soakAccount(n int64) string { return fmt.Sprintf("account%02d", n%soakAccounts) }

// logInAccounts fetches the refresh tokens.
func (k *soak) logInAccounts() error {
	c := &steadyClient{address: k.env.address}
	defer c.hangUp()
	for n := range k.refresh {
		got, err := c.token(askGet(serviceIs+"&offline_token=true", soakAccount(int64(n)), "the-first-password"))
		if err != nil {
			return err
		}
		if got.RefreshToken == nil {
			return fmt.Errorf("no refresh token for %s", soakAccount(int64(n)))
		}
		k.refresh[n] = *got.RefreshToken
	}
	return nil
}

// work sends requests until none is left.
func (k *soak) work() {
	c := &steadyClient{address: k.env.address}
	defer c.hangUp()
	for {
		n := k.next.Add(1) - 1
		if n >= k.total {
			return
		}
		kind := kindOf(n)
		if n%soakReconnect == 0 {
			c.hangUp()
		}
		if err := k.request(c, kind, n); err != nil {
			k.wrong.add("request %d: %v", n, err)
		}
		k.asked[kind].Add(1)
		k.done.Add(1)
	}
}

// request sends one request and checks its answer.
func (k *soak) request(c *steadyClient, kind soakKind, n int64) error {
	const scope = "&scope=repository:public/app:pull"
	switch kind {
	case soakAnonymous:
		return k.expectToken(c, askGet(serviceIs+scope, "", ""), "", n)
	case soakRefresh:
		return k.expectRefresh(c, n)
	case soakLogin:
		name := fmt.Sprintf("client%03d", n%soakClients)
		return k.expectToken(c, askGet(serviceIs+scope+"&account="+name, name, fmt.Sprintf("password-%d", n)), name, n)
	case soakBadRequest:
		bad := badRequests[n%int64(len(badRequests))]
		answer, err := c.ask(bad.request)
		if err != nil {
			return err
		}
		return answer.denied(bad.status, bad.code)
	default:
		return k.expectRefusal(n)
	}
}

func (k *soak) expectToken(c *steadyClient, request, subject string, n int64) error {
	got, err := c.token(request)
	if err != nil {
		return err
	}
	return k.sample(got, subject, n)
}

func (k *soak) expectRefresh(c *steadyClient, n int64) error {
	token := k.refresh[n%soakAccounts]
	got, err := c.token(askPost(refreshForm(token)))
	if err != nil {
		return err
	}
	if got.RefreshToken == nil || *got.RefreshToken != token {
		return fmt.Errorf("not the same refresh token back")
	}
	return k.sample(got, soakAccount(n), n)
}

func (k *soak) sample(got tokenAnswer, subject string, n int64) error {
	if n%soakVerify != 0 {
		return nil
	}
	return k.env.verifyToken(got.Token, k.env.key.Public(), subject)
}

// expectRefusal uses its own address, so that its failures do not lock others.
func (k *soak) expectRefusal(n int64) error {
	c := &steadyClient{address: k.env.address, from: loopback(int(n / 1000))}
	defer c.hangUp()
	answer, err := c.ask(askGet(serviceIs, mallory, fmt.Sprintf("guess-%d", n)))
	if err != nil {
		return err
	}
	return answer.denied(http.StatusUnauthorized, "UNAUTHORIZED")
}
