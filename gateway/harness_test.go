package gateway

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// program is the base name of the program in SCRIPT_NAME.
const program = "dockerauth"

// echoed is the request that a handler saw; echo sends it as the response.
type echoed struct {
	Method, Path, Query, Host, Remote, Auth string
	Length, Read                            int64
	Error                                   string
	Header                                  http.Header
	Deadline                                bool
}

// echo responds with the request that it sees. Some paths ask for something else.
var echo = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/panic":
		var missing *echoed
		w.Header().Set("X-Half", "an answer")
		w.Write([]byte("half an ans"))
		missing.Path = "pw-in-panic"
	case "/panic/value":
		panic("pw-in-panic: " + r.Header.Get("Authorization"))
	case "/unread":
		http.Error(w, `{"errors":[]}`, http.StatusRequestEntityTooLarge)
		return
	case "/nothing":
		return
	case "/gone":
		w.WriteHeader(http.StatusNoContent)
		w.Header().Set("X-Late", "not sent")
		return
	}
	n, err := io.Copy(io.Discard, r.Body)
	s := echoed{
		Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery, Host: r.Host, Remote: r.RemoteAddr,
		Auth: r.Header.Get("Authorization"), Length: r.ContentLength, Read: n, Header: r.Header,
	}
	if err != nil {
		s.Error = err.Error()
	}
	_, s.Deadline = r.Context().Deadline()
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Status", "200 forged")
	json.NewEncoder(w).Encode(s)
})

type reply struct {
	status int
	header http.Header
	body   []byte
}

func (r reply) echoed(t testing.TB) echoed {
	t.Helper()
	var s echoed
	if err := json.Unmarshal(r.body, &s); err != nil {
		t.Fatalf("status %d, body %q: %v", r.status, r.body, err)
	}
	return s
}

// checkJSON fails unless r is in the registry's error format.
func (r reply) checkJSON(t testing.TB) {
	t.Helper()
	var e struct {
		Errors []struct{ Code, Message string }
	}
	if err := json.Unmarshal(r.body, &e); err != nil || len(e.Errors) != 1 || e.Errors[0].Code == "" ||
		e.Errors[0].Message == "" {
		t.Errorf("body %q is not an error in JSON: %v", r.body, err)
	}
	if got := r.header.Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type %q", got)
	}
	if got := r.header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control %q", got)
	}
}

// parseCGI parses a CGI document response. There must be exactly one.
func parseCGI(out []byte) (reply, error) {
	in := bufio.NewReader(bytes.NewReader(out))
	line, err := in.ReadString('\n')
	code, text, ok := strings.Cut(strings.TrimSuffix(line, "\r\n"), " ")
	if err != nil || !ok || code != "Status:" {
		return reply{}, fmt.Errorf("first line %q is no Status line", line)
	}
	code, _, _ = strings.Cut(text, " ")
	status, err := strconv.Atoi(code)
	if err != nil || status < 200 || status > 599 {
		return reply{}, fmt.Errorf("first line %q has no status", line)
	}
	header, err := textproto.NewReader(in).ReadMIMEHeader()
	if err != nil {
		return reply{}, fmt.Errorf("read header: %w", err)
	}
	if len(header.Values("Status")) > 0 {
		return reply{}, errors.New("second Status line")
	}
	body, _ := io.ReadAll(in)
	// HEAD gets none.
	if n := header.Get("Content-Length"); n != "" && n != strconv.Itoa(len(body)) && len(body) > 0 {
		return reply{}, fmt.Errorf("Content-Length %s, but %d bytes of body", n, len(body))
	}
	return reply{status, http.Header(header), body}, nil
}

// testRequest is a request in the form that every front end's test client starts from.
type testRequest struct {
	method, target string
	header         map[string]string
	body           string
	chunked        bool
}

// variables are those that Apache's mod_cgid would set, with the program at /cgi-bin.
func (q testRequest) variables() map[string]string {
	p, query, _ := strings.Cut(q.target, "?")
	vars := map[string]string{
		"GATEWAY_INTERFACE": "CGI/1.1",
		"SERVER_PROTOCOL":   "HTTP/1.1",
		"REQUEST_METHOD":    q.method,
		"REQUEST_URI":       q.target,
		"SCRIPT_NAME":       "/cgi-bin/" + program,
		"PATH_INFO":         p,
		"QUERY_STRING":      query,
		"REMOTE_ADDR":       "192.0.2.7",
		"REMOTE_PORT":       "4711",
		"REMOTE_USER":       "forged",
	}
	for name, value := range q.header {
		vars["HTTP_"+strings.ReplaceAll(strings.ToUpper(name), "-", "_")] = value
	}
	switch {
	case q.chunked:
		vars["HTTP_TRANSFER_ENCODING"] = "chunked"
	case q.body != "":
		vars["CONTENT_LENGTH"] = strconv.Itoa(len(q.body))
	}
	return vars
}

func environ(vars map[string]string) []string {
	var env []string
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		env = append(env, name+"="+vars[name])
	}
	return env
}

// transport is a front end under test, with a client for it.
type transport struct {
	name string
	send func(testing.TB, testRequest) reply
}

// transports starts every front end for the time of a test, on real sockets and in real processes.
func transports(t *testing.T) []transport {
	return []transport{
		{"CGI", sendCGI},
		{"CGI in a process", sendCGIProcess},
		{"FastCGI", sendFastCGI(t)},
		{"HTTP", sendHTTP(t)},
	}
}

func sendCGI(t testing.TB, w testRequest) reply {
	t.Helper()
	var out bytes.Buffer
	err := CGI(context.Background(), echo, environ(w.variables()), strings.NewReader(w.body), &out,
		Options{Program: program})
	if err != nil {
		t.Fatal(err)
	}
	r, err := parseCGI(out.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// The test binary becomes the CGI program when this variable is set; see TestMain.
const childEnv = "GATEWAY_TEST_CHILD"

// noRaceDelay stops a child built with -race from waiting for a second at its end.
const noRaceDelay = "GORACE=atexit_sleep_ms=0"

func sendCGIProcess(t testing.TB, w testRequest) reply {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(environ(w.variables()), childEnv+"=cgi", noRaceDelay)
	cmd.Stdin = strings.NewReader(w.body)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	r, err := parseCGI(out)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestMain(m *testing.M) {
	switch os.Getenv(childEnv) {
	case "cgi":
		o := Options{Program: program}
		if err := CGI(context.Background(), echo, os.Environ(), os.Stdin, os.Stdout, o); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	case "systemd":
		os.Exit(systemdChild())
	}
	os.Exit(m.Run())
}

// socket returns a new path for a unix socket, short enough for sun_path.
func socket(t testing.TB) string {
	dir, err := os.MkdirTemp("", "gw")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

type serveFunc func(context.Context, net.Listener, http.Handler, Options) error

// run serves on l until the test ends, and fails the test if serve returns an error.
func run(t testing.TB, serve serveFunc, l net.Listener, h http.Handler) {
	t.Helper()
	runWith(t, serve, l, h, Options{})
}

func runWith(t testing.TB, serve serveFunc, l net.Listener, h http.Handler, o Options) {
	t.Helper()
	o.Program, o.Grace = program, 5*time.Second
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, l, h, o) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func sendFastCGI(t *testing.T) func(testing.TB, testRequest) reply {
	path := socket(t)
	l, err := Listen("unix:" + path)
	if err != nil {
		t.Fatal(err)
	}
	run(t, ServeFastCGI, l, echo)
	return func(t testing.TB, w testRequest) reply {
		t.Helper()
		nc, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		c := newClient(t, nc)
		defer c.Close()
		c.begin(1, false)
		c.params(1, w.variables())
		c.stdin(1, []byte(w.body))
		return c.reply(1)
	}
}

func sendHTTP(t *testing.T) func(testing.TB, testRequest) reply {
	l, err := Listen("tcp:127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	run(t, ServeHTTP, l, echo)
	return func(t testing.TB, w testRequest) reply {
		t.Helper()
		return w.sendHTTPOn(t, dialTo(t, l))
	}
}

// dialTo connects to l until the test ends.
func dialTo(t testing.TB, l net.Listener) net.Conn {
	t.Helper()
	c, err := net.Dial(l.Addr().Network(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// sendHTTPOn writes the request itself, because no client would send the hostile ones.
func (q testRequest) sendHTTPOn(t testing.TB, c net.Conn) reply {
	t.Helper()
	var out bytes.Buffer
	fmt.Fprintf(&out, "%s %s HTTP/1.1\r\nConnection: close\r\n", q.method, q.target)
	if _, ok := q.header["Host"]; !ok {
		out.WriteString("Host: registry.example\r\n")
	}
	for name, value := range q.header {
		fmt.Fprintf(&out, "%s: %s\r\n", name, value)
	}
	switch {
	case q.chunked:
		fmt.Fprintf(&out, "Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(q.body), q.body)
	case q.body != "":
		fmt.Fprintf(&out, "Content-Length: %d\r\n\r\n%s", len(q.body), q.body)
	default:
		out.WriteString("\r\n")
	}
	if _, err := c.Write(out.Bytes()); err != nil {
		t.Fatalf("write request: %v", err)
	}
	res, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: q.method})
	if err != nil {
		t.Fatalf("read response: %v", err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("read response: %v", err)
	}
	return reply{res.StatusCode, res.Header, body}
}

// pipeListener is a listener without a network. Its connections work in a synctest bubble, where a
// test fails if a goroutine is left.
type pipeListener struct {
	conns    chan net.Conn
	failures chan error
	closed   chan struct{}
}

func newPipeListener() *pipeListener {
	return &pipeListener{make(chan net.Conn), make(chan error), make(chan struct{})}
}

func (p *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case err := <-p.failures:
		return nil, &net.OpError{Op: "accept", Err: err}
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipeListener) Close() error {
	close(p.closed)
	return nil
}

func (p *pipeListener) Addr() net.Addr { return &net.UnixAddr{} }

// connect returns the client's end of a new connection, once the server has accepted it.
func (p *pipeListener) connect() net.Conn {
	here, there := net.Pipe()
	p.conns <- there
	return here
}

// blockingHandler is echo, except that a request to /held first waits, unread, until release is
// closed or its context ends.
type blockingHandler struct {
	entered chan *http.Request
	release chan struct{}
}

func newBlockingHandler() *blockingHandler {
	return &blockingHandler{make(chan *http.Request), make(chan struct{})}
}

func (k *blockingHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/held" {
		k.entered <- r
		select {
		case <-k.release:
		case <-r.Context().Done():
		}
	}
	echo(w, r)
}
