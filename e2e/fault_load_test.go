package e2e

import (
	"bufio"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// reply is the result of one login.
type reply struct {
	status int // noAnswer = none
	header http.Header
	body   []byte
	err    error
}

const (
	noAnswer = 0
	// answerWithin is longer than anything in the service may take. An answer after that counts as
	// missing.
	answerWithin = 30 * time.Second
)

// ask logs in on a connection of its own.
func (s *faultEnv) ask(user, password string) reply {
	return s.askFrom("127.0.0.1", user, password)
}

// askFrom logs in from another address of this machine, since wrong passwords are counted by
// address.
func (s *faultEnv) askFrom(from, user, password string) reply {
	return askAt(s.address, from, s.request(user, password))
}

// request is a login in bytes.
func (s *faultEnv) request(user, password string) string {
	return fmt.Sprintf("GET %s/docker/v2/token?%s&scope=%s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n"+
		"Authorization: Basic %s\r\n\r\n",
		s.mounts[0], serviceIs, appScope, s.address, base64.StdEncoding.EncodeToString([]byte(user+":"+password)))
}

func askAt(address, from, request string) reply {
	d := net.Dialer{Timeout: answerWithin, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.Dial("tcp", address)
	if err != nil {
		return reply{err: err}
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(answerWithin)); err != nil {
		return reply{err: err}
	}
	if _, err := io.WriteString(c, request); err != nil {
		return reply{err: err}
	}
	return readReply(c)
}

func readReply(c io.Reader) reply {
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return reply{err: fmt.Errorf("read answer: %w", err)}
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return reply{err: fmt.Errorf("read body of answer %s: %w", answer.Status, err)}
	}
	return reply{status: answer.StatusCode, header: answer.Header, body: body}
}

// flaw says what is wrong with an answer, "" = nothing. right says whether the password was right;
// excused are statuses that this fault may cause besides the right one. An excused 500 is a web
// server's own, in HTML.
func (s *faultEnv) flaw(r reply, user string, right bool, excused ...int) string {
	pardon := slices.Contains(excused, r.status)
	switch r.status {
	case noAnswer:
		if pardon {
			return ""
		}
		return fmt.Sprintf("no answer for %s: %v", user, r.err)
	case http.StatusInternalServerError:
		if pardon {
			return ""
		}
	}
	if flaw := r.form(); flaw != "" {
		return flaw
	}
	switch r.status {
	case http.StatusOK:
		if !right {
			return "200 for a wrong password of " + user
		}
		return s.tokenFlaw(r, user)
	case http.StatusUnauthorized:
		if right && !pardon {
			return "401 for the right password of " + user
		}
		return ""
	}
	if !pardon {
		return fmt.Sprintf("status %d for %s: %s", r.status, user, excerpt(string(r.body)))
	}
	return ""
}

// form checks what every answer must have.
func (r reply) form() string {
	if got := r.header.Get("Content-Type"); got != "application/json" {
		return fmt.Sprintf("status %d as %q instead of JSON: %s", r.status, got, excerpt(string(r.body)))
	}
	retry, err := strconv.Atoi(r.header.Get("Retry-After"))
	if away := r.status == http.StatusServiceUnavailable || r.status == http.StatusTooManyRequests; away &&
		(err != nil || retry <= 0) {
		return fmt.Sprintf("status %d without Retry-After", r.status)
	}
	if r.status == http.StatusOK {
		return ""
	}
	var list struct {
		Errors []struct{ Code, Message string }
		Error  string `json:"error"`
		Text   string `json:"error_description"`
	}
	if err := unmarshalExact(r.body, &list); err != nil || len(list.Errors) != 1 {
		return fmt.Sprintf("status %d with a body that is no list of one error: %v: %s", r.status, err,
			excerpt(string(r.body)))
	}
	return ""
}

func (s *faultEnv) tokenFlaw(r reply, user string) string {
	claims, err := s.claims(r)
	if err != nil {
		return fmt.Sprintf("200 with a bad token for %s: %v: %s", user, err, excerpt(string(r.body)))
	}
	if claims.Subject != user {
		return fmt.Sprintf("a token of %s for %s", claims.Subject, user)
	}
	return ""
}

// claims are those of the token in an answer, if one of the keys has signed it.
func (s *faultEnv) claims(r reply) (tokenClaims, error) {
	var answer tokenAnswer
	if err := unmarshalExact(r.body, &answer); err != nil {
		return tokenClaims{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	err := fmt.Errorf("no key")
	for _, key := range s.keys {
		var claims tokenClaims
		if claims, err = verify(answer.Token, key); err == nil {
			return claims, certificateOf(answer.Token, key)
		}
	}
	return tokenClaims{}, err
}

// certificateOf checks the certificate in a token against the signing key: a registry trusts the
// certificate.
func certificateOf(token string, key crypto.PublicKey) error {
	header, _, _, err := split(token)
	if err != nil {
		return err
	}
	chain, _ := header["x5c"].([]any)
	if len(chain) == 0 {
		return nil
	}
	text, _ := chain[0].(string)
	der, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return err
	}
	if of, ok := cert.PublicKey.(*rsa.PublicKey); !ok || !of.Equal(key) {
		return errors.New("the token carries the certificate of another key")
	}
	return nil
}

// backgroundLoad logs in again and again during a fault, mostly with the right password.
type backgroundLoad struct {
	s       *faultEnv
	excused []int
	stop    chan struct{}
	clients sync.WaitGroup

	mu     sync.Mutex
	got    counts
	lost   []string
	tokens []string // ids of the tokens received
}

const (
	loadClients = 3
	loadPause   = 30 * time.Millisecond // between an answer and the next login
	wrongEvery  = 25                    // one in so many logins has a wrong password
	lostMax     = 20                    // of the losses listed
)

// startLoad starts logins that continue until end is called. excused are statuses as in flaw.
func (s *faultEnv) startLoad(excused ...int) *backgroundLoad {
	l := &backgroundLoad{s: s, excused: excused, stop: make(chan struct{}), got: counts{}}
	for i := range loadClients {
		l.clients.Go(func() { l.runClient(i) })
	}
	return l
}

func (l *backgroundLoad) runClient(i int) {
	for n := i; ; n += loadClients {
		if n%wrongEvery == wrongEvery-1 {
			l.badLogin()
		} else {
			l.goodLogin(loadUser(n))
		}
		select {
		case <-l.stop:
			return
		case <-time.After(loadPause):
		}
	}
}

func (l *backgroundLoad) goodLogin(user string) {
	r := l.s.ask(user, passwordOf(user))
	l.note(r, l.s.flaw(r, user, true, l.excused...))
}

// badLogin uses a new user and address each time, since repeated wrong passwords are throttled.
func (l *backgroundLoad) badLogin() {
	n := l.s.asker.Add(1)
	user := fmt.Sprintf("unknown%d", n)
	r := l.s.askFrom(fmt.Sprintf("127.9.%d.%d", n/250, n%250+1), user, "wrong")
	l.note(r, l.s.flaw(r, user, false, append(l.excused, http.StatusTooManyRequests)...))
}

func (l *backgroundLoad) note(r reply, flaw string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.got[r.summary()]++
	if flaw != "" && len(l.lost) < lostMax {
		l.lost = append(l.lost, flaw)
	}
	if claims, err := l.s.claims(r); err == nil {
		l.tokens = append(l.tokens, claims.ID)
	}
}

// summary is the answer in the table.
func (r reply) summary() string {
	if r.status == noAnswer {
		return "no answer"
	}
	return strconv.Itoa(r.status)
}

// more waits until n more logins were granted.
func (l *backgroundLoad) more(n int) {
	l.s.t.Helper()
	before := l.count("200")
	eventually(l.s.t, answerWithin, fmt.Sprintf("%d more logins to be granted", n),
		func() bool { return l.count("200") >= before+n })
}

// some waits until some more logins were answered, whatever the answer.
func (l *backgroundLoad) some() {
	l.s.t.Helper()
	before := l.count("")
	eventually(l.s.t, answerWithin, "more answers", func() bool { return l.count("") >= before+2*loadClients })
}

// count is how many answers of one kind there were, "" = all.
func (l *backgroundLoad) count(word string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for got, times := range l.got {
		if word == "" || got == word {
			n += times
		}
	}
	return n
}

// end stops the logins and returns the answers and the losses.
func (l *backgroundLoad) end() (counts, []string) {
	close(l.stop)
	l.clients.Wait()
	return l.got, l.lost
}

// unlogged returns how many of the issued tokens do not have exactly one line in the logs, and
// which lines are torn.
func (l *backgroundLoad) unlogged(logs ...string) (missing int, torn []string) {
	var text strings.Builder
	for _, name := range logs {
		content := readFile(l.s.t, name)
		torn = append(torn, tornLines(name, content)...)
		text.WriteString(content)
	}
	all := text.String()
	for _, id := range l.tokens {
		if strings.Count(all, `"token":"`+id+`"`) != 1 {
			missing++
		}
	}
	return missing, torn
}
