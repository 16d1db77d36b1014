package e2e

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dockerauth/credentials"
	"dockerauth/store"
)

// stateWith makes a state folder with records that no command would make.
func stateWith(t *testing.T, fill func(r *credentials.Records, kept store.Store)) string {
	t.Helper()
	dir := shortDir(t)
	state := filepath.Join(dir, "state")
	if err := os.Mkdir(state, 0o700); err != nil {
		t.Fatal(err)
	}
	folder, err := store.OpenFolder(state)
	if err != nil {
		t.Fatal(err)
	}
	fill(&credentials.Records{Kept: folder.Kept(), Counters: folder.Counters()}, folder.Kept())
	if err := folder.Close(); err != nil {
		t.Fatal(err)
	}
	mustRun(t, "chmod", "0755", dir)
	if os.Geteuid() == 0 {
		mustRun(t, "chown", "-R", lookupWebUser(t).name+":", state)
	}
	return state
}

// expiredToken keeps a token of alice that was good for an hour, two hours ago.
func expiredToken(t *testing.T, r *credentials.Records) keptToken {
	t.Helper()
	ago := *r
	ago.Now = func() time.Time { return time.Now().Add(-2 * time.Hour) }
	secret := credentials.NewSecret()
	_, err := ago.Issue(context.Background(), secret, credentials.Token{Kind: credentials.Personal, User: alice,
		Scopes: []string{"repository:**:pull"}, Expires: time.Now().Add(-time.Hour), Keep: true,
		State: credentials.State{UID: -1, Shadow: credentials.ShadowNone}})
	if err != nil {
		t.Fatal(err)
	}
	return keptToken{secret.Reveal(), secret.ID, alice}
}

// withChecksum completes a text that is to look like a kept token.
func withChecksum(text string) string {
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	sum, end := crc32.ChecksumIEEE([]byte(text)), make([]byte, 6)
	for i := range end {
		end[5-i] = digits[sum%62]
		sum /= 62
	}
	return text + string(end)
}

func withWrongChecksum(token string) string {
	last := len(token) - 1
	if token[last] == '0' {
		return token[:last] + "1"
	}
	return token[:last] + "0"
}

// places are where a request may have a credential. The user name is not used everywhere.
var places = []struct {
	name string
	send func(user, token string) func(c *client) string
}{
	{"Basic password", func(user, token string) func(c *client) string {
		return login(user, token, serviceIs+"&offline_token=true")
	}},
	{"Basic password without a user name", func(_, token string) func(c *client) string {
		return refreshLogin(token, serviceIs)
	}},
	{"POST of a password", func(user, token string) func(c *client) string {
		return passwordGrant(user, token, serviceIs)
	}},
	{"POST of a refresh token", func(_, token string) func(c *client) string {
		return post("grant_type=refresh_token&refresh_token=" + url.QueryEscape(token) + "&" + serviceIs)
	}},
	{"POST of a refresh token without grant_type", func(_, token string) func(c *client) string {
		return post("refresh_token=" + url.QueryEscape(token) + "&" + serviceIs)
	}},
	{"Basic user name", func(_, token string) func(c *client) string { return login(token, "x", serviceIs) }},
	{"user name of a POST", func(_, token string) func(c *client) string {
		return passwordGrant(token, "x", serviceIs)
	}},
	{"Bearer", func(_, token string) func(c *client) string {
		return get(serviceIs, "Authorization: Bearer "+token)
	}},
}

// TestTokensOfOneKindAreRefusedInEveryPlaceOfAnother sends tokens of every kind in every place.
func TestTokensOfOneKindAreRefusedInEveryPlaceOfAnother(t *testing.T) {
	t.Parallel()
	const asPassword, asRefresh = "Basic password, POST of a password", "Basic password without a user name, " +
		"POST of a refresh token, POST of a refresh token without grant_type"
	for _, th := range append([]frontend{bareCGI}, tokenFrontends...) {
		t.Run(th.name, func(t *testing.T) {
			t.Parallel()
			var expired keptToken
			state := stateWith(t, func(r *credentials.Records, _ store.Store) { expired = expiredToken(t, r) })
			c := newClient(openFrontend(t, th, envOptions{pam: countingPAM(""), config: "state: " + state + "\n"}))
			issue := func(more ...string) keptToken {
				return c.issue(t, alice, append([]string{"--scope", "repository:**:pull", "--keep"}, more...)...)
			}
			refresh := func() string { return *c.ask(t, asAlice(serviceIs+"&offline_token=true")).token.RefreshToken }
			personal, robot, revoked, replaced := issue(), issue("--robot", "jenkins"), issue(), issue()
			c.revoke(t, revoked.id)
			c.rotate(t, replaced, "0")
			logins := c.ask(t, asAlice(serviceIs+"&offline_token=true"))
			revokedRefresh := refresh()
			c.revoke(t, jwtID(t, revokedRefresh))
			asked := timesAsked(c)
			kinds := []struct {
				name, user, token string
				accepted          string // in these places
			}{
				{"an access token", alice, logins.token.Token, ""},
				{"a refresh token", alice, *logins.token.RefreshToken, asRefresh},
				{"a revoked refresh token", alice, revokedRefresh, ""},
				{"a personal token", alice, personal.text, asPassword},
				{"a robot's token", robot.login, robot.text, asPassword},
				{"a personal token for a robot", robot.login, personal.text, ""},
				{"a robot's token for a person", alice, robot.text, ""},
				{"an expired token", alice, expired.text, ""},
				{"a revoked token", alice, revoked.text, ""},
				{"a token that was replaced", alice, replaced.text, ""},
				{"an invented token", alice, withChecksum("dka_" + strings.Repeat("invented9", 5)[:37]), ""},
				{"another secret with the ID of a token", alice,
					withChecksum(personal.text[:14] + strings.Repeat("other", 6)[:27]), ""},
				{"a wrong checksum", alice, withWrongChecksum(personal.text), ""},
				{"a token that was cut", alice, personal.text[:40], ""},
				{"the prefix alone", alice, "dka_", ""},
				{"the prefix and blanks", alice, "dka_ " + strings.Repeat(" ", 40), ""},
			}
			var requests, labels []string
			var want []bool
			for _, kind := range kinds {
				c.keepSecret(kind.token, base64.StdEncoding.EncodeToString([]byte(kind.user+":"+kind.token)))
				for _, place := range places {
					requests = append(requests, place.send(kind.user, kind.token)(c))
					labels = append(labels, kind.name+" as "+place.name)
					want = append(want, contains(kind.accepted, place.name))
				}
			}
			before := len(c.awaitRequestLines(3))
			refusal := `{"errors":[{"code":"UNAUTHORIZED","message":"authentication failed"}]}` + "\n"
			accepted := 0
			for i, a := range c.askAll(t, requests) {
				body := refusal
				if strings.HasSuffix(labels[i], "Bearer") {
					body = strings.Replace(refusal, "authentication failed", loginNeeded, 1)
				}
				switch {
				case want[i] && a.status == http.StatusOK:
					accepted++
				case want[i] || a.status != http.StatusUnauthorized || string(a.body) != body ||
					a.header.Get("WWW-Authenticate") == "":
					t.Errorf("%s: status %d, want it accepted: %v: %s", labels[i], a.status, want[i], a.body)
				}
			}
			if accepted != 7 {
				t.Errorf("%d requests were accepted, want 7", accepted)
			}
			if n := timesAsked(c); n != asked {
				t.Errorf("PAM was asked %d times about tokens", n-asked)
			}
			if lines := c.awaitRequestLines(before + len(requests)); len(lines) != before+len(requests) {
				t.Errorf("the log has %d lines on %d requests", len(lines)-before, len(requests))
			}
			c.checkSecrets(t)
			c.checkFiles(t, state)
		})
	}
}

func contains(list, name string) bool {
	return strings.Contains(", "+list+", ", ", "+name+", ")
}

// jwtID is the jti of a token.
func jwtID(t *testing.T, token string) string {
	t.Helper()
	_, payload, _, err := split(token)
	var claims struct {
		ID string `json:"jti"`
	}
	if err == nil {
		err = json.Unmarshal(payload, &claims)
	}
	if err != nil || claims.ID == "" {
		t.Fatal(fmt.Errorf("id of a token: %w", err))
	}
	return claims.ID
}

// TestCommandsDoNotRepeatATokenThatIsGivenAsSomethingElse gives the text of a token to commands.
func TestCommandsDoNotRepeatATokenThatIsGivenAsSomethingElse(t *testing.T) {
	state := stateWith(t, func(*credentials.Records, store.Store) {})
	c := newClient(openFrontend(t, httpFrontend, envOptions{config: "state: " + state + "\n"}))
	k := c.issue(t, alice, "--scope", "repository:**:pull", "--keep")
	issue := []string{"token", "issue", "--user", alice, "--scope", "repository:**:pull", "--keep"}
	for _, args := range [][]string{
		{"token", "show", k.text}, {"token", "rotate", k.text}, {"token", "revoke", k.text},
		{"token", "list", k.text}, {"token", k.text}, {"logins", k.text}, {k.text},
		{"explain", k.text, "repository:a:pull"},
		{"token", "list", "--user", k.text}, {"logins", "--user", k.text}, {"token", "revoke", "--user", k.text},
		{"token", "revoke", "--user", alice, "--kind", k.text}, {"token", "revoke", "--reason", k.text, "0123456789"},
		{"token", "rotate", "--overlap", k.text, k.id},
		{"token", "issue", "--user", k.text, "--scope", "repository:**:pull"},
		append(issue, "--robot", k.text), append(issue, "--scope", k.text), append(issue, "--expires", k.text),
		append(issue, "--from", k.text), append(issue, "--note", "it replaces "+k.text), append(issue, k.text),
	} {
		t.Run(strings.ReplaceAll(strings.Join(args, " "), k.text, "TOKEN"), func(t *testing.T) {
			o := run(t, "", c.command(args...))
			if strings.Contains(o.stdout+o.stderr, k.text[14:41]) {
				t.Errorf("it prints the secret of the token: %s",
					strings.ReplaceAll(o.stdout+o.stderr, k.text[14:41], "SECRET"))
			}
		})
	}
	c.keepSecret(k.text, k.text[14:41])
	for name, text := range c.everyLog() {
		if strings.Contains(text, k.text[14:41]) {
			t.Errorf("%s holds the secret of the token", name)
		}
	}
	c.checkFiles(t, state)
}

// TestRefusedTokensCountAgainstTheAddressAlone guesses tokens from one address: it is locked, for
// what is refused. Tokens that are accepted, and texts that are no tokens, do not matter.
func TestRefusedTokensCountAgainstTheAddressAlone(t *testing.T) {
	t.Parallel()
	for _, th := range []frontend{bareCGI, httpFrontend} {
		t.Run(th.name, func(t *testing.T) {
			t.Parallel()
			state := stateWith(t, func(*credentials.Records, store.Store) {})
			c := newClient(openFrontend(t, th, envOptions{pam: countingPAM(""), config: "state: " + state + "\n"}))
			good := c.issue(t, alice, "--scope", "repository:**:pull", "--keep")
			here, there := freshAddress(), freshAddress()
			from := func(address string, n int, token func(i int) string) map[int]int {
				var requests []string
				for i := range n {
					requests = append(requests, login(alice, token(i), serviceIs)(c))
				}
				count := map[int]int{}
				for _, a := range c.askAllFrom(t, func() string { return address }, requests) {
					count[a.status]++
				}
				return count
			}
			guess := func(i int) string { return withChecksum(fmt.Sprintf("dka_guess%05d%027d", i, i)) }
			if got := from(here, 60, guess); got[401] < 10 || got[429] == 0 || got[401]+got[429] != 60 {
				t.Errorf("60 guesses are answered with %v, want some 401 and then 429", got)
			}
			if got := from(there, 60, func(int) string { return withWrongChecksum(good.text) }); got[401] != 60 {
				t.Errorf("60 mistyped tokens are answered with %v, want 401", got)
			}
			if got := from(here, 3, func(int) string { return good.text }); got[200] != 3 {
				t.Errorf("a good token from the address that is locked: %v", got)
			}
			// What is counted against the address is not counted against the user.
			if a := c.ask(t, asAlice(serviceIs)); a.status != http.StatusOK {
				t.Errorf("the password, from elsewhere: status %d", a.status)
			}
			if n := timesAsked(c); n != 1 {
				t.Errorf("PAM was asked %d times, want once", n)
			}
			c.checkSecrets(t)
		})
	}
}
