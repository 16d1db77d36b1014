package e2e

import (
	"bufio"
	"crypto"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// steadyClient keeps its connection as long as the server does. It never repeats a request, as
// net/http does when a connection breaks, so that a lost request shows.
type steadyClient struct {
	address string
	from    net.IP // source address, nil = the kernel's choice; all of 127.0.0.0/8 is this machine's
	conn    net.Conn
	in      *bufio.Reader
}

// replyTimeout is how long the client waits for an answer: longer than any server here, so that the
// client never closes first.
const replyTimeout = 2 * time.Minute

func (c *steadyClient) connect() error {
	d := net.Dialer{Timeout: replyTimeout}
	if c.from != nil {
		d.LocalAddr = &net.TCPAddr{IP: c.from}
	}
	conn, err := d.Dial("tcp", c.address)
	if err != nil {
		return err
	}
	c.conn, c.in = conn, bufio.NewReader(conn)
	return nil
}

func (c *steadyClient) hangUp() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

// loadAnswer is a complete answer.
type loadAnswer struct {
	*http.Response
	body []byte
	took time.Duration // from the last byte sent to the first received
}

// ask sends one request and reads its answer.
func (c *steadyClient) ask(request string) (loadAnswer, error) {
	if c.conn == nil {
		if err := c.connect(); err != nil {
			return loadAnswer{}, err
		}
	}
	r, err := c.exchange(request)
	if err != nil || r.Close {
		c.hangUp()
	}
	return r, err
}

func (c *steadyClient) exchange(request string) (loadAnswer, error) {
	if err := c.conn.SetDeadline(time.Now().Add(replyTimeout)); err != nil {
		return loadAnswer{}, err
	}
	if _, err := io.WriteString(c.conn, request); err != nil {
		return loadAnswer{}, err
	}
	began := time.Now()
	if _, err := c.in.Peek(1); err != nil {
		return loadAnswer{}, fmt.Errorf("wait for answer: %w", err)
	}
	took := time.Since(began)
	answer, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return loadAnswer{}, fmt.Errorf("read answer: %w", err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return loadAnswer{}, fmt.Errorf("read body of answer %s: %w", answer.Status, err)
	}
	return loadAnswer{answer, body, took}, nil
}

// askGet is a GET with an Authorization header, unless user and password are empty.
func askGet(query, user, password string) string {
	auth := ""
	if user != "" || password != "" {
		auth = "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password)) + "\r\n"
	}
	return "GET /docker/v2/token?" + query + " HTTP/1.1\r\nHost: localhost\r\n" + auth + "\r\n"
}

func askPost(form url.Values) string {
	body := form.Encode()
	return "POST /docker/v2/token HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n" +
		"Content-Length: " +
		strconv.Itoa(len(body)) + "\r\n\r\n" + body
}

func refreshForm(token string) url.Values {
	return url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}, "service": {audience},
		"scope": {"repository:public/app:pull"}}
}

// token sends a request whose answer must be a token.
func (c *steadyClient) token(request string) (tokenAnswer, error) {
	answer, err := c.ask(request)
	if err != nil {
		return tokenAnswer{}, err
	}
	return answer.granted()
}

// granted returns an answer that must be a token.
func (r loadAnswer) granted() (tokenAnswer, error) {
	var got tokenAnswer
	if err := r.must(http.StatusOK); err != nil {
		return got, err
	}
	if err := unmarshalExact(r.body, &got); err != nil {
		return got, err
	}
	if got.Token == "" || got.Token != got.AccessToken {
		return got, errors.New("token and access_token are not the same token")
	}
	return got, nil
}

// denied checks an answer that must be an error of one kind.
func (r loadAnswer) denied(status int, code string) error {
	if err := r.must(status); err != nil {
		return err
	}
	var got struct {
		Errors []struct{ Code, Message string }
		Error  string `json:"error"`
		Text   string `json:"error_description"`
	}
	if err := unmarshalExact(r.body, &got); err != nil {
		return err
	}
	if len(got.Errors) != 1 || got.Errors[0].Code != code {
		return fmt.Errorf("errors %+v, want one with code %s", got, code)
	}
	return nil
}

// must checks what holds for any answer of the endpoint.
func (r loadAnswer) must(status int) error {
	if r.StatusCode != status {
		return fmt.Errorf("status %d, want %d: %s", r.StatusCode, status, excerpt(string(r.body)))
	}
	if kind, cache := r.Header.Get("Content-Type"), r.Header.Get("Cache-Control"); kind != "application/json" ||
		cache != "no-store" {
		return fmt.Errorf("Content-Type %q, Cache-Control %q", kind, cache)
	}
	return nil
}

// retryAfter is how long a client must wait.
func (r loadAnswer) retryAfter() (time.Duration, error) {
	seconds, err := strconv.Atoi(r.Header.Get("Retry-After"))
	if err != nil || seconds <= 0 {
		return 0, fmt.Errorf("status %d with Retry-After %q", r.StatusCode, r.Header.Get("Retry-After"))
	}
	return time.Duration(seconds) * time.Second, nil
}

// verifyToken checks an access token's key, issuer and subject.
func (s *site) verifyToken(token string, key crypto.PublicKey, subject string) error {
	claims, err := verify(token, key)
	if err != nil {
		return fmt.Errorf("access token: %w", err)
	}
	if claims.Issuer != s.issuer || claims.Audience != s.audience || claims.Subject != subject {
		return fmt.Errorf("access token has iss %q, aud %q, sub %q, want sub %q", claims.Issuer, claims.Audience,
			claims.Subject, subject)
	}
	return nil
}

// loopback is the n-th address of this machine that no other client uses, since failures are
// counted by address.
func loopback(n int) net.IP {
	return net.IPv4(127, byte(1+n/62500), byte(n/250%250), byte(1+n%250))
}

// problems collects errors from many goroutines.
type problems struct {
	mu    sync.Mutex
	first []string
	n     int
}

const problemsShown = 5

func (c *problems) add(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	if len(c.first) < problemsShown {
		c.first = append(c.first, fmt.Sprintf(format, args...))
	}
}

func (c *problems) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

// report fails the test if there are any.
func (c *problems) report(t testing.TB, what string) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n > 0 {
		t.Errorf("%d %s, the first of them:\n%s", c.n, what, strings.Join(c.first, "\n"))
	}
}

// showErrors prints the first errors in a service's log after a test has failed: they name the
// cause of an answer.
func showErrors(t testing.TB, s *testEnv) {
	t.Helper()
	if !t.Failed() {
		return
	}
	shown := 0
	for line := range strings.Lines(readFile(t, s.logFile)) {
		if strings.Contains(line, `"level":"ERROR"`) && shown < problemsShown {
			t.Logf("the service logged: %s", line)
			shown++
		}
	}
}

// configured is a front end that opens after a change to the environment's files.
func configured(th frontend, change func(s *testEnv)) frontend {
	open := th.open
	th.open = func(t testing.TB, s *testEnv) {
		change(s)
		open(t, s)
	}
	return th
}

// useP256 sets the kind of key with the fastest signature.
func useP256(s *testEnv) {
	s.key = makeKey(s.t, p256)
	s.replace(s.keyFile, pemKey(s.t, s.key))
}
