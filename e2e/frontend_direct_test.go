package e2e

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/textproto"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The front ends without a web server in front.

var httpFrontend = frontend{
	name: "HTTP front end",
	open: func(t testing.TB, s *testEnv) {
		s.listen()
		s.serve("http", "--listen", s.address).ready(t, "tcp", s.address)
		s.mounts = []string{"", "/any/folder"}
		s.homes = []string{"/"}
	},
	ownAnswers: netHTTPAnswers,
}

// netHTTPAnswers are Go's own answers, in plain text, before a handler is called.
var netHTTPAnswers = map[string]want{
	"a Host that is no host":   {status: 400, html: true},
	"a Host with a path in it": {status: 400, html: true},
	"a bad escape in the path": {status: 400, html: true},
	"10,000 scopes in a query": {status: 431, html: true},
	"a header of 100 KB":       {status: 431, html: true},
}

var bareCGI = frontend{
	name: "bare CGI",
	open: func(t testing.TB, s *testEnv) {
		s.listen()
		startGateway(t, s)
		s.mounts = []string{"", "/cgi-bin/dockerauth"}
		s.homes = []string{"/cgi-bin/dockerauth/"}
	},
}

// startGateway serves CGI by RFC 3875 like mod_cgid, without any check on the way: net/http/cgi
// would refuse chunked bodies and hostile hosts before the program sees them.
func startGateway(t testing.TB, s *testEnv) {
	t.Helper()
	l, err := net.Listen("tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	stderr, err := os.OpenFile(s.path("run/cgi.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o666)
	if err != nil {
		t.Fatal(err)
	}
	s.logs = append(s.logs, stderr.Name())
	t.Cleanup(func() { stderr.Close() })
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				answer, err := s.gateway(ctx, c, stderr)
				if err != nil {
					answer = []byte("HTTP/1.1 500 gateway\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n" +
						err.Error())
				}
				_, _ = c.Write(answer)
			}()
		}
	}()
}

// gateway reads one request, runs the program once and returns the answer as HTTP.
func (s *testEnv) gateway(ctx context.Context, c net.Conn, stderr *os.File) ([]byte, error) {
	in := bufio.NewReader(c)
	text := textproto.NewReader(in)
	line, err := text.ReadLine()
	if err != nil {
		return nil, err
	}
	method, rest, _ := strings.Cut(line, " ")
	uri, proto, _ := strings.Cut(rest, " HTTP/")
	header, err := text.ReadMIMEHeader()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	cmd := s.asWeb(exec.CommandContext(ctx, s.program))
	remote, port, _ := net.SplitHostPort(c.RemoteAddr().String())
	if s.proxied {
		remote = header.Get("X-Forwarded-For")
	}
	cmd.Env = append(metaVariables(method, uri, proto, header, remote, port), "SCRIPT_FILENAME="+s.program)
	cmd.Stdin = requestBody(in, header)
	var stdout bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, stderr
	cmd.WaitDelay = time.Second // for a client that stops sending its body
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("the program failed: %v, and had written %q", err, stdout.String())
	}
	return toHTTP(stdout.Bytes())
}

// metaVariables is RFC 3875 §4.1; the program is mounted at the root and at /cgi-bin/dockerauth.
func metaVariables(method, uri, proto string, header textproto.MIMEHeader, remote, port string) []string {
	path, query, _ := strings.Cut(uri, "?")
	script := ""
	if rest, below := strings.CutPrefix(path, "/cgi-bin/dockerauth"); below {
		script, path = "/cgi-bin/dockerauth", rest
	}
	env := []string{
		"GATEWAY_INTERFACE=CGI/1.1", "SERVER_PROTOCOL=HTTP/" + proto, "SERVER_SOFTWARE=e2e", "SERVER_NAME=localhost",
		"PATH=/usr/bin:/bin",
		"REQUEST_METHOD=" + method, "REQUEST_URI=" + uri, "QUERY_STRING=" + query, "SCRIPT_NAME=" + script,
		"PATH_INFO=" + path,
		"REMOTE_ADDR=" + remote, "REMOTE_PORT=" + port,
	}
	for name, values := range header {
		name = strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
		value := strings.Join(values, ", ")
		switch {
		case strings.ContainsRune(name+value, 0): // execve(2) could not pass it on
		case name == "CONTENT_LENGTH", name == "CONTENT_TYPE":
			env = append(env, name+"="+value)
		default:
			env = append(env, "HTTP_"+name+"="+value)
		}
	}
	return env
}

// requestBody hides chunking from the program, which then gets no CONTENT_LENGTH, as under
// mod_cgid.
func requestBody(in io.Reader, header textproto.MIMEHeader) io.Reader {
	if header.Get("Transfer-Encoding") == "chunked" {
		return httputil.NewChunkedReader(in)
	}
	n, _ := strconv.ParseInt(header.Get("Content-Length"), 10, 64)
	return io.LimitReader(in, n)
}

// toHTTP turns a CGI answer (RFC 3875 §6.2.1) into an HTTP one. A missing Status line is an error:
// dockerauth always writes one.
func toHTTP(cgi []byte) ([]byte, error) {
	head, body, found := bytes.Cut(cgi, []byte("\r\n\r\n"))
	if !found {
		return nil, fmt.Errorf("the program's answer has no end of headers: %q", cgi)
	}
	header, err := textproto.NewReader(bufio.NewReader(bytes.NewReader(append(head, "\r\n\r\n"...)))).ReadMIMEHeader()
	if err != nil {
		return nil, fmt.Errorf("the program's headers: %v: %q", err, head)
	}
	status := header.Get("Status")
	if status == "" {
		return nil, fmt.Errorf("the program's answer has no Status: %q", head)
	}
	header.Del("Status")
	var b bytes.Buffer
	fmt.Fprintf(&b, "HTTP/1.1 %s\r\nConnection: close\r\n", status)
	if err := http.Header(header).Write(&b); err != nil {
		return nil, err
	}
	b.WriteString("\r\n")
	b.Write(body)
	return b.Bytes(), nil
}
