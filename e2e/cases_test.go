package e2e

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A testCase is one request in bytes and the expected answer. Its name is a sentence.
type testCase struct {
	name string
	send func(c *client) string
	want want
}

// want is an expected answer. Every answer must also be JSON, uncacheable and no redirect.
type want struct {
	status  int
	code    string            // of the error list
	message string            // all of it; "" = any
	mention string            // part of the message
	oauth   string            // the "error" of RFC 6749 §5.2; checked on every error
	header  map[string]string // "" = must not be there
	text    string            // of a text page, instead of JSON

	// Of a token.
	subject string
	granted string // as scopes, joined with spaces; "-" = nothing granted
	scope   string // the "scope" field, which only POST has; "-" = present and empty
	refresh string // "" = none, "new", or "same" as the one that was sent

	log    map[string]string // fields of the log line; a value that begins with "~" is a part of the field
	silent bool              // no log line: the request is not for a token

	// Answers of the web server itself.
	html bool // it may have any form
	web  bool // in dockerauth's form, but without a log line of the service
}

// client runs cases against one test environment.
type client struct {
	*testEnv
	mount    string // where the endpoint is: one of the environment's mounts
	endpoint string // its path below the mount
	secrets  map[string]bool
	tokens   map[string]string // placeholders' values
	from     string            // source address of the current case
	failures int
	asked    int // number of token request lines that the log must have by now
}

func newClient(s *testEnv) *client {
	return &client{testEnv: s, from: freshAddress(), mount: s.mounts[0], endpoint: "/docker/v2/token",
		secrets: make(map[string]bool), tokens: make(map[string]string)}
}

// run sends a request and compares the answer with the expected one.
func (c *client) run(t *testing.T, tc testCase) {
	t.Helper()
	c.t = t
	c.from = freshAddress() // each case has its own count of tries
	w := c.wanted(tc)
	request := tc.send(c)
	answer, body, err := c.exchange(request)
	if err != nil && (answer == nil || !w.html) {
		t.Fatalf("%v\nrequest: %s", err, excerpt(request))
	}
	defer func() {
		if t.Failed() {
			t.Logf("request: %s\nanswer: %s %v\n%s", excerpt(request), answer.Status, answer.Header,
				excerpt(string(body)))
		}
	}()
	c.check(t, w, answer, body)
	if w.silent || w.html || w.web {
		return
	}
	c.checkLog(t, w, c.nextRequestLine(), body)
}

// wanted is the case's expectation, or that of the front end whose web server answers by itself.
func (c *client) wanted(tc testCase) want {
	if w, ok := c.ownAnswers[tc.name]; ok {
		return w
	}
	return tc.want
}

func (c *client) check(t *testing.T, w want, answer *http.Response, body []byte) {
	t.Helper()
	if answer.StatusCode != w.status {
		t.Errorf("status %d, want %d", answer.StatusCode, w.status)
		return
	}
	if l := answer.Header.Get("Location"); l != "" {
		t.Errorf("the answer redirects to %q", l)
	}
	if w.html {
		return
	}
	if got := answer.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control %q, want no-store", got)
	}
	for name, value := range w.header {
		if got := answer.Header.Get(name); got != value {
			t.Errorf("header %s: %q, want %q", name, got, value)
		}
	}
	if w.text != "" {
		checkPage(t, w, answer, body)
		return
	}
	if got := answer.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type %q, want application/json", got)
	}
	if answer.Request.Method == http.MethodHead {
		return
	}
	if w.status == http.StatusOK {
		c.checkToken(t, w, body)
		return
	}
	checkError(t, w, answer, body)
}

func checkPage(t *testing.T, w want, answer *http.Response, body []byte) {
	t.Helper()
	if got := answer.Header.Get("Content-Type"); !strings.HasPrefix(got, "text/plain") {
		t.Errorf("Content-Type %q, want text/plain", got)
	}
	if !strings.Contains(string(body), w.text) {
		t.Errorf("page %q does not say %q", body, w.text)
	}
}

func checkError(t *testing.T, w want, answer *http.Response, body []byte) {
	t.Helper()
	var got struct {
		Errors []struct{ Code, Message string }
		Error  string `json:"error"`
		Text   string `json:"error_description"`
		Token  string `json:"token"`
	}
	if err := unmarshalExact(body, &got); err != nil {
		t.Errorf("body: %v", err)
		return
	}
	if got.Token != "" || len(got.Errors) != 1 || got.Errors[0].Code != w.code {
		t.Errorf("errors %+v, want one with code %q", got, w.code)
		return
	}
	message := got.Errors[0].Message
	if message == "" || (w.message != "" && message != w.message) || !strings.Contains(message, w.mention) {
		t.Errorf("message %q, want %q", message, w.message+w.mention)
	}
	if got.Error != w.oauth || (w.oauth != "" && got.Text == "") {
		t.Errorf("error %q, error_description %q, want error %q", got.Error, got.Text, w.oauth)
	}
	challenge := answer.Header.Get("WWW-Authenticate")
	if isChallenge := strings.HasPrefix(challenge,
		"Basic realm="); isChallenge != (w.status == http.StatusUnauthorized) {
		t.Errorf("WWW-Authenticate %q with status %d", challenge, w.status)
	}
	retry, err := strconv.Atoi(answer.Header.Get("Retry-After"))
	if wait := err == nil && retry > 0; wait != (w.status == http.StatusServiceUnavailable) {
		t.Errorf("Retry-After %q with status %d", answer.Header.Get("Retry-After"), w.status)
	}
}

// tokenAnswer has every field that an answer may have.
type tokenAnswer struct {
	Token        string    `json:"token"`
	AccessToken  string    `json:"access_token"`
	ExpiresIn    int       `json:"expires_in"`
	IssuedAt     time.Time `json:"issued_at"`
	Scope        *string   `json:"scope"`
	RefreshToken *string   `json:"refresh_token"`
}

func (c *client) checkToken(t *testing.T, w want, body []byte) {
	t.Helper()
	var got tokenAnswer
	if err := unmarshalExact(body, &got); err != nil {
		t.Errorf("body: %v", err)
		return
	}
	c.keepSecret(got.Token)
	if got.Token == "" || got.Token != got.AccessToken {
		t.Error("token and access_token are not the same token")
		return
	}
	if got.ExpiresIn != 900 {
		t.Errorf("expires_in %d, want 900", got.ExpiresIn)
	}
	if age := time.Since(got.IssuedAt); age < -time.Minute || age > time.Minute || got.IssuedAt.Location() != time.UTC {
		t.Errorf("issued_at %v is not now, in UTC", got.IssuedAt)
	}
	c.checkRefresh(t, w, got.RefreshToken)
	checkScopeField(t, w, got.Scope)
	claims, err := verify(got.Token, c.key.Public())
	if err != nil {
		t.Errorf("access token: %v", err)
		return
	}
	checkClaims(t, w, c.site, claims)
}

func (c *client) checkRefresh(t *testing.T, w want, got *string) {
	t.Helper()
	switch {
	case w.refresh == "" && got != nil:
		t.Error("an unrequested refresh token: docker would discard the password")
	case w.refresh != "" && (got == nil || *got == ""):
		t.Error("no refresh_token")
	case w.refresh == "same" && *got != c.tokens["refresh"]:
		t.Error("another refresh_token than the one that was sent")
	case w.refresh == "new" && *got == c.tokens["refresh"]:
		t.Error("the refresh_token is not a new one")
	}
	if got != nil {
		c.keepSecret(*got)
	}
}

func checkScopeField(t *testing.T, w want, got *string) {
	t.Helper()
	switch {
	case w.scope == "" && got != nil:
		t.Errorf("scope %q, want none", *got)
	case w.scope != "" && got == nil:
		t.Errorf("no scope, want %q", w.scope)
	case w.scope != "" && *got != strings.TrimPrefix(w.scope, "-"):
		t.Errorf("scope %q, want %q", *got, w.scope)
	}
}

func checkClaims(t *testing.T, w want, s *site, claims tokenClaims) {
	t.Helper()
	subject := w.subject
	if subject == "" {
		subject = alice
	}
	if claims.Issuer != s.issuer || claims.Subject != subject || claims.Audience != s.audience {
		t.Errorf("iss %q, sub %q, aud %q, want %q, %q, %q", claims.Issuer, claims.Subject, claims.Audience, s.issuer,
			subject, s.audience)
	}
	now := time.Now().Unix()
	if claims.Expires < now+880 || claims.Expires > now+900 || claims.NotBefore > now-25 || claims.IssuedAt > now-25 ||
		claims.NotBefore < now-120 {
		t.Errorf("now is %d, exp %d, nbf %d, iat %d", now, claims.Expires, claims.NotBefore, claims.IssuedAt)
	}
	if len(claims.ID) < 16 {
		t.Errorf("jti %q is short enough to be guessed", claims.ID)
	}
	if granted := claims.scopes(); w.granted != "" && granted != strings.TrimPrefix(w.granted, "-") {
		t.Errorf("granted %q, want %q", granted, w.granted)
	}
}

// checkLog compares the service's log line with the case.
func (c *client) checkLog(t *testing.T, w want, line map[string]any, body []byte) {
	t.Helper()
	if line == nil {
		return
	}
	fields := map[string]string{"outcome": map[int]string{200: "granted", 400: "invalid", 413: "invalid",
		401: "refused", 503: "broken"}[w.status], "remote": c.from}
	maps.Copy(fields, w.log)
	for name, value := range fields {
		got, _ := line[name].(string)
		part, isPart := strings.CutPrefix(value, "~")
		if (isPart && !strings.Contains(got, part)) || (!isPart && got != value) {
			t.Errorf("log: %s is %q, want %q; the line: %v", name, got, value, line)
		}
	}
	if w.status != http.StatusOK {
		return
	}
	var answer tokenAnswer
	_ = json.Unmarshal(body, &answer)
	if claims, err := verify(answer.Token, c.key.Public()); err == nil && line["token"] != claims.ID {
		t.Errorf("log: token is %v, want the token's id %q", line["token"], claims.ID)
	}
}

// nextRequestLine returns the log line of the next request. Each request writes exactly one line.
func (c *client) nextRequestLine() map[string]any {
	c.t.Helper()
	lines := c.awaitRequestLines(c.asked + 1)
	if len(lines) != c.asked+1 {
		c.t.Errorf("the log has %d new lines on token requests, want 1", len(lines)-c.asked)
		c.asked = len(lines)
		return nil
	}
	c.asked++
	return lines[c.asked-1]
}

// awaitRequestLines waits until there are n lines in total.
func (c *client) awaitRequestLines(n int) []map[string]any {
	var lines []map[string]any
	_ = poll(5*time.Second, func() (bool, error) {
		lines = c.requestLines()
		return len(lines) >= n, nil
	})
	return lines
}

// exchange sends a request as it is on a new connection, from the address of the current case.
func (c *client) exchange(request string) (*http.Response, []byte, error) {
	return exchange(c.from, c.address, request)
}

// exchange sends a request from one IP address to another. from "" = any.
func exchange(from, address, request string) (*http.Response, []byte, error) {
	dialer := net.Dialer{Timeout: 5 * time.Second}
	if from != "" {
		dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	c, err := dialer.Dial("tcp", address)
	if err != nil {
		return nil, nil, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(15 * time.Second)); err != nil {
		return nil, nil, err
	}
	method, _, _ := strings.Cut(request, " ")
	// A server may answer and stop reading before it has the whole body.
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = io.WriteString(c, request)
	}()
	answer, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		return nil, nil, fmt.Errorf("read answer: %w", err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return answer, body, fmt.Errorf("read body of answer %s: %w", answer.Status, err)
	}
	c.Close()
	<-sent
	return answer, body, nil
}

// keepSecret adds values that must not appear in a log.
func (c *client) keepSecret(values ...string) {
	for _, v := range values {
		if len(v) >= 6 { // a shorter one could appear by chance
			c.secrets[v] = true
		}
	}
}

// checkSecrets looks for passwords and tokens in everything that was written.
func (c *client) checkSecrets(t *testing.T) {
	t.Helper()
	all := c.everyLog()
	if !strings.Contains(all[c.logFile], "token request") {
		t.Error("the service's log is empty: there was nothing to look through")
	}
	for name, text := range all {
		for secret := range c.secrets {
			if strings.Contains(text, secret) {
				t.Errorf("%s holds the secret %q", name, excerpt(secret))
			}
		}
	}
}

// expand fills in placeholders: {mount} and {path} of the endpoint, {folder} below which dockerauth
// has all URLs, {host}, and the tokens of cases_tokens_test.go.
func (c *client) expand(text string) string {
	text = strings.NewReplacer("{mount}", c.mount, "{folder}", c.mounts[len(c.mounts)-1], "{path}", c.endpoint,
		"{host}", c.address).Replace(text)
	for name, make := range forgeries() {
		if strings.Contains(text, "{"+name+"}") {
			text = strings.ReplaceAll(text, "{"+name+"}", make(c))
		}
	}
	return text
}

// raw is a request as it is, with placeholders and LF line ends.
func raw(lines string) func(c *client) string {
	return func(c *client) string {
		head, body, _ := strings.Cut(lines, "\n\n")
		return strings.ReplaceAll(c.expand(head), "\n", "\r\n") + "\r\n\r\n" + c.expand(body)
	}
}

// get sends a query and header lines.
func get(query string, headers ...string) func(c *client) string {
	return request("GET", "{mount}{path}?"+query, "", headers...)
}

// login sends a GET with user name and password.
func login(user, password, query string) func(c *client) string {
	return func(c *client) string {
		c.keepSecret(password)
		return get(query, c.basic(user, password))(c)
	}
}

// refreshLogin sends a GET with a token as the password of an empty user name.
func refreshLogin(token, query string) func(c *client) string {
	return func(c *client) string { return get(query, c.basic("", c.expand(token)))(c) }
}

// post sends a form.
func post(form string) func(c *client) string {
	return request("POST", "{mount}{path}", form, "Content-Type: application/x-www-form-urlencoded")
}

func request(method, target, body string, headers ...string) func(c *client) string {
	return func(c *client) string {
		target, body := c.expand(target), c.expand(body)
		var b strings.Builder
		fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: e2e\r\nConnection: close\r\n", method, target,
			c.address)
		for _, h := range headers {
			fmt.Fprintf(&b, "%s\r\n", c.expand(h))
		}
		if method == "POST" || method == "PUT" || body != "" {
			fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
		}
		return b.String() + "\r\n" + body
	}
}

// chunked is a body in chunks, as Go's client sends a body of unknown length.
func chunked(body string) string {
	var b strings.Builder
	for chunk := range slices.Chunk([]byte(body), 2048) {
		fmt.Fprintf(&b, "%x\r\n%s\r\n", len(chunk), chunk)
	}
	return b.String() + "0\r\n\r\n"
}

// basic is an Authorization header (RFC 7617). Neither the password nor its encoding may be logged.
func (c *client) basic(user, password string) string {
	encoded := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
	c.keepSecret(password, encoded)
	return "Authorization: Basic " + encoded
}

// unmarshalExact rejects unknown fields and anything after the object.
func unmarshalExact(body []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("more than one JSON value")
	}
	return nil
}

// with merges two maps; entries of the second replace those of the first.
func with[K comparable, V any](first, second map[K]V) map[K]V {
	both := maps.Clone(first)
	maps.Copy(both, second)
	return both
}

func excerpt(text string) string {
	if len(text) > 400 {
		return fmt.Sprintf("%q… (%d bytes)", text[:400], len(text))
	}
	return fmt.Sprintf("%q", text)
}
