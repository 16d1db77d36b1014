package e2e

import "strings"

const (
	loginFailed = "authentication failed"
	loginNeeded = "authentication required"
	appScope    = "repository:team/app:pull,push"
	serviceIs   = "service=" + audience
)

// unauthorized is the answer to every refused login, whatever the reason.
func unauthorized(reason string) want {
	return want{status: 401, code: "UNAUTHORIZED", message: loginFailed, log: map[string]string{"reason": "~" + reason}}
}

func badRequest(mention string) want {
	return want{status: 400, code: "BAD_REQUEST", mention: mention}
}

func badForm(oauth, mention string) want {
	return want{status: 400, code: "BAD_REQUEST", mention: mention, oauth: oauth}
}

// malformed is the answer to a login whose only scope does not parse.
func malformed(scope string) want {
	return want{status: 200, granted: "-", log: map[string]string{"malformed": scope}}
}

// endpointCases is the table of what the token endpoint answers.
var endpointCases = []testCase{
	{"no credentials are asked for with Basic", get(serviceIs + "&scope=" + appScope),
		want{status: 401, code: "UNAUTHORIZED", message: loginNeeded,
			log: map[string]string{"service": audience, "scope": appScope, "reason": "no credentials"}}},
	{"credentials that the web server kept are noticed in the log",
		get(serviceIs + "&account=alice&client_id=docker&offline_token=true"),
		want{status: 401, code: "UNAUTHORIZED", message: loginNeeded,
			log: map[string]string{"reason": "~CGIPassAuth On", "client": "docker", "account": alice}}},
	{"a user name and a password are checked by PAM", asAlice(serviceIs + "&scope=" + appScope),
		want{status: 200, granted: appScope,
			log: map[string]string{"user": alice, "subject": alice, "scope": appScope, "granted": appScope,
				"service": audience}}},
	{"a password may hold colons, spaces and UTF-8", login(bob, defaultAccounts[bob], serviceIs),
		want{status: 200, subject: bob, granted: "-"}},
	{"login without a scope checks the password all the same", asAlice(serviceIs), want{status: 200, granted: "-"}},
	{"login without a scope refuses a wrong password all the same", login(alice, "wrong-without-scope", serviceIs),
		unauthorized("")},
	{"an empty user name means that the password is a refresh token",
		refreshLogin("{refresh}", serviceIs+"&scope="+appScope),
		want{status: 200, granted: appScope, log: map[string]string{"grant": "refresh_token", "subject": alice}}},
	{"an empty user name with a bad token is refused and never anonymous", refreshLogin("no-token-at-all", serviceIs),
		unauthorized("refresh token")},
	{"an empty user name with an empty password is refused", login("", "", serviceIs), unauthorized("")},
	{"an empty password is refused without asking PAM", login(alice, "", serviceIs), unauthorized("password is empty")},
	{"offline_token=true brings a refresh token too", asAlice(serviceIs + "&offline_token=true"),
		want{status: 200, refresh: "new"}},
	{"offline_token=false brings none", asAlice(serviceIs + "&offline_token=false"), want{status: 200}},
	{"POST with a password", post(aliceForm + "&" + serviceIs + "&scope=" + appScope + "&client_id=e2e"),
		want{status: 200, granted: appScope, scope: appScope,
			log: map[string]string{"grant": "password", "client": "e2e"}}},
	{"POST with a password and access_type=offline", post(aliceForm + "&access_type=offline&" + serviceIs),
		want{status: 200, granted: "-", scope: "-", refresh: "new"}},
	{"POST with a refresh token brings the same one back",
		post("grant_type=refresh_token&refresh_token={refresh}&" + serviceIs + "&scope=" + appScope),
		want{status: 200, granted: appScope, scope: appScope, refresh: "same"}},
	{"POST of a refresh token without a grant type, as to the PHP service",
		post("refresh_token={refresh}&" + serviceIs + "&scope=" + appScope),
		want{status: 200, granted: appScope, scope: appScope, refresh: "same"}},
	{"POST with another grant", post("grant_type=authorization_code&code=x&" + serviceIs),
		badForm("unsupported_grant_type", "grant_type")},
	{"POST without any grant", post(serviceIs), badForm("invalid_request", "grant_type")},
	{"POST with nothing in it", post(""), badForm("invalid_request", "grant_type")},
	{"POST with a wrong password", func(c *client) string {
		c.keepSecret("wrong-in-a-form")
		return post("grant_type=password&username=alice&password=wrong-in-a-form&" + serviceIs)(c)
	}, unauthorized("")},
	{"POST with a bad refresh token", post("grant_type=refresh_token&refresh_token=nonsense&" + serviceIs),
		unauthorized("refresh token")},
	{"POST with an empty password", post("grant_type=password&username=alice&password=&" + serviceIs),
		unauthorized("password is empty")},
	{"credentials in the query of a POST are not looked at", request("POST", "{mount}{path}?"+aliceForm, serviceIs,
		formType), badForm("invalid_request", "grant_type")},
	{"a wrong password", login(alice, "not-wonderland-at-all", serviceIs+"&scope="+appScope), unauthorized("")},
	{"an unknown user gets the same answer as a wrong password",
		login("nobody-by-that-name", "whatever-it-takes", serviceIs), unauthorized("")},
	{"a blacklisted user gets the same answer too", login(mallory, defaultAccounts[mallory], serviceIs),
		unauthorized("blacklisted")},
	{"a blacklisted user is not helped by capital letters", login("Mallory", defaultAccounts[mallory], serviceIs),
		unauthorized("blacklisted")},
	{"an expired account gets the same answer too", login(carol, defaultAccounts[carol], serviceIs),
		unauthorized("PAM_ACCT_EXPIRED")},
	{"a directory that cannot be reached is no refusal", login(dora, defaultAccounts[dora], serviceIs),
		want{status: 503, code: "UNAVAILABLE",
			log: map[string]string{"outcome": "broken", "level": "ERROR", "user": dora}}},
	{"a directory that cannot be reached is no refusal on POST either",
		post("grant_type=password&username=dora&password=doras-password-is-right&" + serviceIs),
		want{status: 503, code: "UNAVAILABLE", log: map[string]string{"outcome": "broken"}}},
	{"less is granted than asked where nothing is left",
		asAlice(serviceIs + "&scope=something:odd:*"), want{status: 200, granted: "-"}},
	{"an unknown service is named", asAlice("service=other.example"), badRequest("other.example")},
	{"an unknown service is named on POST", post(aliceForm + "&service=other.example"),
		badForm("invalid_request", "other.example")},
	{"a missing service is the only audience", asAlice("scope=" + appScope), want{status: 200, granted: appScope}},
	{"an empty service is a missing one", asAlice("service=&scope=" + appScope), want{status: 200, granted: appScope}},
	{"a service sent twice", asAlice(serviceIs + "&" + serviceIs), badRequest("service")},
	{"a password sent twice", post("grant_type=password&username=alice&password=x1234567&password=" + alicePassword),
		badForm("invalid_request", "password")},
	{"account never becomes the subject", login(bob, defaultAccounts[bob], serviceIs+"&account=alice"),
		want{status: 200, subject: bob, log: map[string]string{"account": alice, "user": bob}}},
	{"the body of a GET is not looked at", request("GET", "{mount}{path}?"+serviceIs, aliceForm, formType),
		noCredentials},

	// Scopes.
	{"repeated scopes, joined scopes, empty ones and duplicates all at once", asAlice(
		serviceIs + "&scope=repository:a:pull&scope=&scope=repository:b/c:push,pull+repository:a:push" +
			"&scope=repository:a:pull"),
		want{status: 200, granted: "repository:a:pull,push repository:b/c:push,pull"}},
	{"a name with a host and a port", asAlice(serviceIs + "&scope=repository:localhost:5000/team/app:pull"),
		want{status: 200, granted: "repository:localhost:5000/team/app:pull"}},
	{"a class", asAlice(serviceIs + "&scope=repository(plugin):team/plug:pull"),
		want{status: 200, granted: "repository(plugin):team/plug:pull"}},
	{"the action * on a repository becomes explicit actions", asAlice(serviceIs + "&scope=repository:team/app:*"),
		want{status: 200, granted: "repository:team/app:pull,push,delete"}},
	{"the catalog keeps its *", asAlice(serviceIs + "&scope=registry:catalog:*"),
		want{status: 200, granted: "registry:catalog:*"}},
	{"the catalog is not granted unasked", asAlice(serviceIs + "&scope=repository:a:pull"),
		want{status: 200, granted: "repository:a:pull"}},

	// Everything outside the endpoint.
	{"the endpoint is not more than itself", request("GET", "{folder}{path}/more", ""), notFound},
	{"another path is not found", request("GET", "{folder}/docker/v2/other", ""), notFound},
	{"PUT is not allowed", request("PUT", "{mount}{path}", "a=b", formType), notAllowed},
	{"DELETE is not allowed", request("DELETE", "{mount}{path}", ""), notAllowed},
	{"PATCH is not allowed", request("PATCH", "{mount}{path}", "a=b", formType), notAllowed},
	{"HEAD is not allowed", request("HEAD", "{mount}{path}?"+serviceIs, ""), notAllowed},
	{"OPTIONS is not allowed", request("OPTIONS", "{mount}{path}", ""), notAllowed},
	{"an invented method is not allowed", request("BREW", "{mount}{path}", ""), notAllowed},
}

const formType = "Content-Type: application/x-www-form-urlencoded"

var (
	notFound   = want{status: 404, code: "NOT_FOUND", silent: true}
	notAllowed = want{status: 405, code: "METHOD_NOT_ALLOWED", header: map[string]string{"Allow": "GET, POST"},
		silent: true}
)

// mountCases run at every path where a front end has the endpoint.
var mountCases = []testCase{
	{"GET", asAlice(serviceIs + "&scope=" + appScope), want{status: 200, granted: appScope}},
	{"POST", post("grant_type=refresh_token&refresh_token={refresh}&" + serviceIs),
		want{status: 200, granted: "-", scope: "-", refresh: "same"}},
	{"a wrong password", login(alice, "wrong-at-another-mount", serviceIs), unauthorized("")},
}

// endpointPaths are the paths that a client may use below the mount.
var endpointPaths = []string{"/docker/v2/token", "/docker/v2/token/", "/auth/token", "/auth/token/"}

var homeCase = testCase{"the folder itself shows a short page", request("GET", "{mount}", ""),
	want{status: 200, text: "registry", silent: true}}

// badCases are malformed requests: each gets a clear answer and has no other effect.
var badCases = []testCase{
	{"Base64 that is cut short", get(serviceIs, "Authorization: Basic YWxpY2U6d29uZGVybGFuZ"), badRequest("Base64")},
	{"credentials encoded twice", get(serviceIs, "Authorization: Basic WVd4cFkyVTZkMjl1WkdWeWJHRnVaQT09"),
		badRequest("colon")},
	{"credentials that are not Base64", get(serviceIs, "Authorization: Basic alice:wonderland"), badRequest("Base64")},
	{"no colon", func(c *client) string { return get(serviceIs, "Authorization: Basic "+encode("alice"))(c) },
		badRequest("colon")},
	{"Basic and nothing after it", get(serviceIs, "Authorization: Basic"), badRequest("")},
	{"another scheme", get(serviceIs, "Authorization: Bearer {access}"), noCredentials},
	{"an unknown scheme", get(serviceIs, "Authorization: Digest username=\"alice\""), noCredentials},
	{"a scheme in small letters", func(c *client) string {
		c.keepSecret(encode(alice + ":" + alicePassword))
		return get(serviceIs, "Authorization: basic "+encode(alice+":"+alicePassword))(c)
	}, want{status: 200}},
	{"NUL in a user name", login("alice\x00x", alicePassword, serviceIs), unauthorized("user name")},
	{"NUL in a password", login(alice, alicePassword+"\x00junk", serviceIs), unauthorized("NUL")},
	{"NUL in a form", post("grant_type=password&username=alice%00x&password=" + alicePassword),
		unauthorized("user name")},
	{"a newline in a user name", login("alice\noutcome=granted", alicePassword, serviceIs), unauthorized("user name")},
	{"a user name of invalid UTF-8", login("al\xffice", alicePassword, serviceIs), unauthorized("user name")},
	{"a user name of 10,000 letters",
		post("grant_type=password&username=" + strings.Repeat("a", 10_000) + "&password=" + alicePassword),
		unauthorized("user name")},
	{"a password of 10,000 letters",
		post("grant_type=password&username=alice&password=" + strings.Repeat("long-password-", 800)),
		unauthorized("password")},
	{"a body of 64 KiB is read", postToken(strings.Repeat("x", 64<<10-43)), unauthorized("refresh token")},
	{"a body over 64 KiB is too large", postToken(strings.Repeat("x", 64<<10)), tooLarge},
	{"a chunked body over 64 KiB is too large", chunkedPost(tokenForm + strings.Repeat("x", 64<<10)), tooLarge},
	{"a body of 10 MB is too large", postToken(strings.Repeat("x", 10<<20)), tooLarge},
	{"10,000 scopes in a form", post(aliceForm + "&scope=" + numbered("r:%d:a", "+", 10_000)), tooLarge},
	{"10,000 times the same scope in a form", post(aliceForm + "&scope=" + strings.Repeat("a:b:c+", 10_000)),
		want{status: 200, granted: "a:b:c", scope: "a:b:c"}},
	{"10,000 scopes in a query", asAlice("scope=" + numbered("r:%d:a", "+", 10_000)), badRequest("")},
	{"101 scopes", post(aliceForm + "&" +
		numbered("scope=repository:r%d:pull", "&", 101)), badForm("invalid_scope", "more than 100")},
	{"100 scopes", post(aliceForm + "&scope=" + numbered("repository:r%d:pull", "+", 100)),
		want{status: 200, granted: numbered("repository:r%d:pull", " ", 100),
			scope: numbered("repository:r%d:pull", " ", 100)}},
	{"more scopes than fit in a header", post(aliceForm + "&" +
		numbered("scope=repository:"+strings.Repeat("long/", 40)+"r%d:pull", "&", 99)),
		badForm("invalid_scope", "")},
	{"a scope without actions", asAlice(serviceIs + "&scope=repository:app"), malformed("repository:app")},
	{"a scope without a name", asAlice(serviceIs + "&scope=repository::pull"), malformed("repository::pull")},
	{"a scope of colons, as podman's ping sends it", asAlice(serviceIs + "&scope=::"), malformed("::")},
	{"a scope that is a star, as Gitea's challenge has it", asAlice(serviceIs + "&scope=*"), malformed("*")},
	{"an action with an underscore, as Azure's registry has it",
		asAlice(serviceIs + "&scope=repository:app:metadata_read"), malformed("repository:app:metadata_read")},
	{"a malformed scope leaves the others alone", post(aliceForm + "&scope=nonsense+" + appScope + "&scope=::"),
		want{status: 200, granted: appScope, scope: appScope,
			log: map[string]string{"scope": appScope, "malformed": "nonsense ::"}}},
	{"a scope with markup in it", asAlice(serviceIs + "&scope=repository:%3Cscript%3E:pull"),
		malformed("repository:<script>:pull")},
	{"a scope that is too long", asAlice(serviceIs + "&scope=" + strings.Repeat("a", 513)), badRequest("512 bytes")},
	{"a scope that is too long on POST", post(aliceForm + "&scope=" + strings.Repeat("a", 513)),
		badForm("invalid_scope", "512 bytes")},
	{"a query that is not URL-encoded", asAlice(serviceIs + "&scope=%zz"), badRequest("URL-encoded")},
	{"a form that is not URL-encoded", post("grant_type=password&username=alice&password=%zz"),
		badForm("invalid_request", "URL-encoded")},
	{"JSON instead of a form", request("POST", "{mount}{path}", `{"grant_type":"password"}`,
		"Content-Type: application/json"), badForm("invalid_request", "x-www-form-urlencoded")},
	{"a form without a content type", request("POST", "{mount}{path}", aliceForm),
		want{status: 200, scope: "-", granted: "-"}},
	{"REMOTE_USER and Proxy headers mean nothing",
		get(serviceIs, "Remote-User: alice", "Remote_User: alice", "X-Remote-User: alice", "Proxy: http://127.0.0.1:9"),
		noCredentials},
	{"a made-up address does not reach the log as the client's",
		get(serviceIs+"&client_id=forwarded", "X-Forwarded-For: 203.0.113.7", "X-Real-IP: 203.0.113.7"),
		want{status: 401, code: "UNAUTHORIZED", message: loginNeeded, log: map[string]string{"client": "forwarded"}}},

	// Refresh tokens.
	{"a refresh token made with the service's own key is good", postToken("{refresh-of-bob}"),
		want{status: 200, subject: bob, scope: "-", refresh: "any"}},
	{"a refresh token with alg none", postToken("{refresh-alg-none}"), unauthorized("refresh token")},
	{"a refresh token signed by HS256 with the public key",
		postToken("{refresh-hs256-public-key}"), unauthorized("refresh token")},
	{"a refresh token signed with an unknown key", postToken("{refresh-unknown-key}"), unauthorized("refresh token")},
	{"a refresh token for another audience", postToken("{refresh-other-audience}"), unauthorized("refresh token")},
	{"a refresh token of another issuer", postToken("{refresh-other-issuer}"), unauthorized("refresh token")},
	{"a refresh token that has expired", postToken("{refresh-expired}"), unauthorized("expired")},
	{"a refresh token that never expires", postToken("{refresh-everlasting}"), unauthorized("refresh token")},
	{"a refresh token of type JWT", postToken("{refresh-plain-jwt}"), unauthorized("refresh token")},
	{"a refresh token that is cut short", postToken("{refresh-cut-short}"), unauthorized("refresh token")},
	{"an access token as a refresh token", postToken("{access}"), unauthorized("refresh token")},
	{"an access token as a refresh token by Basic", refreshLogin("{access}", serviceIs), unauthorized("refresh token")},
	{"a refresh token as a password",
		func(c *client) string { return login(alice, c.fetched("refresh"), serviceIs)(c) }, unauthorized("")},
	{"a refresh token of an account that has expired",
		postToken("{refresh-of-carol}"), unauthorized("PAM_ACCT_EXPIRED")},
	{"a refresh token of an account that was blacklisted",
		postToken("{refresh-of-mallory}"), unauthorized("blacklisted")},
	{"a refresh token of an account that is gone", postToken("{refresh-of-unknown-user}"), unauthorized("")},

	// Requests that are hostile to the web server. If it passes one on, the endpoint answers as
	// usual.
	{"a Host that is no host", getAt("{mount}{path}?"+serviceIs, "a b<c>"), noCredentials},
	{"a Host with a path in it", getAt("{mount}{path}?"+serviceIs, "x/../y:99999"), noCredentials},
	{"an empty Host", raw("GET {mount}{path}?" + serviceIs + " HTTP/1.1\nHost:\nConnection: close\n\n"), noCredentials},
	{"no Host at all, by HTTP/1.0", raw("GET {mount}{path}?" + serviceIs + " HTTP/1.0\n\n"), noCredentials},
	{"an absolute URL", getAt("http://evil.example{mount}{path}?"+serviceIs, "{host}"), noCredentials},
	{"a bad escape in the path", getAt("{mount}/docker/v2/%zz/token", "{host}"), badPath},
	{"a NUL in the path", getAt("{mount}/docker/v2/token%00", "{host}"), badPath},
	{"two slashes in the path", getAt("{mount}/docker//v2/token", "{host}"), noCredentials},
	{"a dot and an escaped letter in the path", getAt("{mount}/docker/./v2/%74oken", "{host}"), noCredentials},
	{"a header of 100 KB", get(serviceIs, "X-Long: "+strings.Repeat("x", 100_000)), noCredentials},
}

// noCredentials is the answer to a request without credentials.
var noCredentials = want{status: 401, code: "UNAUTHORIZED", message: loginNeeded}

var tooLarge = want{status: 413, code: "TOO_LARGE", oauth: "invalid_request"}

var badPath = want{status: 400, code: "BAD_REQUEST", silent: true}

// aliceForm and tokenForm are the forms of the two grants.
const (
	aliceForm = "grant_type=password&username=alice&password=" + alicePassword
	tokenForm = "grant_type=refresh_token&refresh_token="
)

func asAlice(query string) func(c *client) string { return login(alice, alicePassword, query) }

func postToken(token string) func(c *client) string { return post(tokenForm + token) }

func getAt(target, host string) func(c *client) string {
	return raw("GET " + target + " HTTP/1.1\nHost: " + host + "\nConnection: close\n\n")
}

// numbered joins n numbered texts.
func numbered(format, between string, n int) string {
	texts := make([]string, n)
	for i := range texts {
		texts[i] = strings.Replace(format, "%d", itoa36(i), 1)
	}
	return strings.Join(texts, between)
}
