package e2e

import (
	"bufio"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/textproto"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// FastCGI 1.0 §8, as far as it is used here.
const (
	fcgiBegin, fcgiAbort, fcgiEnd, fcgiParams, fcgiStdin, fcgiStdout = 1, 2, 3, 4, 5, 6
	fcgiGetValues, fcgiGetValuesResult                               = 9, 10
	fcgiHeader                                                       = 8
)

// record is one record in bytes.
func record(kind byte, id int, content string, padding int) string {
	head := []byte{1, kind, byte(id >> 8), byte(id), byte(len(content) >> 8), byte(len(content)), byte(padding), 0}
	return string(head) + content + strings.Repeat("\x00", padding)
}

// begin opens a request and asks to keep the connection.
func begin(id int) string { return record(fcgiBegin, id, "\x00\x01\x01\x00\x00\x00\x00\x00", 0) }

func pair(name, value string) string {
	length := func(n int) string { return string([]byte{0x80 | byte(n>>24), byte(n >> 16), byte(n >> 8), byte(n)}) }
	return length(len(name)) + length(len(value)) + name + value
}

// loginParams are those of a login, as nginx sends them.
func (s *faultEnv) loginParams(user string) string {
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+passwordOf(user)))
	return pair("GATEWAY_INTERFACE", "CGI/1.1") + pair("REQUEST_METHOD", "GET") +
		pair("REQUEST_URI", "/docker/v2/token?"+serviceIs) +
		pair("QUERY_STRING", serviceIs) + pair("SERVER_PROTOCOL", "HTTP/1.1") + pair("REMOTE_ADDR", "127.0.0.1") +
		pair("HTTP_AUTHORIZATION", basic)
}

// formParams are those of a POST with a Content-Length.
func formParams(length string) string {
	return pair("REQUEST_METHOD", "POST") + pair("REQUEST_URI", "/docker/v2/token") +
		pair("SERVER_PROTOCOL", "HTTP/1.1") +
		pair("CONTENT_TYPE", "application/x-www-form-urlencoded") + pair("CONTENT_LENGTH", length) +
		pair("REMOTE_ADDR", "127.0.0.1")
}

func params(id int, content string) string {
	return record(fcgiParams, id, content, 0) + record(fcgiParams, id, "", 0)
}

// wholeLogin is a well-formed request.
func (s *faultEnv) wholeLogin(user string) string {
	const id = 1
	return begin(id) + params(id, s.loginParams(user)) + record(fcgiStdin, id, "", 0)
}

// recordCase is something that no web server would send. want is the answer: for each request its
// status or, without one, the protocol status that ended it; or "closed".
type recordCase struct {
	name  string
	user  int // user of request 1; request 2 has the next one
	bytes func(s *faultEnv) string
	apart bool // each byte in a write of its own
	fin   bool // half-close the connection after the bytes
	want  string
}

var recordCases = []recordCase{
	{name: "torn into bytes", apart: true, want: "200",
		bytes: func(s *faultEnv) string { return s.wholeLogin(loadUser(0)) }},
	{name: "padded", want: "200", user: 1, bytes: func(s *faultEnv) string {
		return begin(1) + record(fcgiParams, 1, s.loginParams(loadUser(1)), 255) + record(fcgiParams, 1, "", 7) +
			record(fcgiStdin, 1, "", 200)
	}},
	// A request on a busy connection is refused with FCGI_CANT_MPX_CONN.
	{name: "two requests interleaved", want: "200, end 1", user: 12,
		bytes: func(s *faultEnv) string { return interleaved(s, 2) }},
	{name: "nine requests interleaved", want: "200, end 1 ×8", user: 12,
		bytes: func(s *faultEnv) string { return interleaved(s, 9) }},
	{name: "100 KB in one variable", want: "431", bytes: func(s *faultEnv) string {
		return begin(1) + record(fcgiParams, 1, s.loginParams(loadUser(2)), 0) + manyParams(1, 3) +
			record(fcgiParams, 1, "", 0) + record(fcgiStdin, 1, "", 0)
	}},
	{name: "8 MB of variables", want: "431", bytes: func(s *faultEnv) string {
		return begin(1) + manyParams(1, 128) + record(fcgiParams, 1, "", 0) + record(fcgiStdin, 1, "", 0)
	}},
	{name: "400 variables", want: "431", bytes: func(s *faultEnv) string {
		var b strings.Builder
		for i := range 400 {
			b.WriteString(pair(fmt.Sprintf("HTTP_X%d", i), "y"))
		}
		return begin(1) + params(1, s.loginParams(loadUser(3))+b.String()) + record(fcgiStdin, 1, "", 0)
	}},
	{name: "lengths of variables that lie", want: "400", bytes: func(s *faultEnv) string {
		return begin(1) + params(1, "\xff\xff\xff\xff\x7fREQUEST_METHOD") + record(fcgiStdin, 1, "", 0)
	}},
	{name: "a body of 40 MB", want: "413 or closed", bytes: func(s *faultEnv) string {
		return begin(1) + params(1, formParams("41943040")) +
			strings.Repeat(record(fcgiStdin, 1, strings.Repeat("a", 65535), 0), 640) + record(fcgiStdin, 1, "", 0)
	}},
	{name: "a body that is shorter than announced", want: "400", bytes: func(s *faultEnv) string {
		return begin(1) + params(1, formParams("500")) + record(fcgiStdin, 1, "grant_type=pass", 0) +
			record(fcgiStdin, 1, "", 0)
	}},
	{name: "a role that is not known", want: "end 3",
		bytes: func(s *faultEnv) string { return record(fcgiBegin, 1, "\x00\x03\x01\x00\x00\x00\x00\x00", 0) }},
	{name: "a type that is not known, then a login", want: "200", user: 4,
		bytes: func(s *faultEnv) string { return record(77, 0, "what is this", 4) + s.wholeLogin(loadUser(4)) }},
	{name: "a question for values, then a login", want: "200, FCGI_MPXS_CONNS=0", user: 5,
		bytes: func(s *faultEnv) string {
			return record(fcgiGetValues, 0, pair("FCGI_MAX_CONNS", ""), 0) + s.wholeLogin(loadUser(5))
		}},
	{name: "aborted in the parameters", want: "end 0", bytes: func(s *faultEnv) string {
		return begin(1) + record(fcgiParams, 1, s.loginParams(loadUser(6)), 0) + record(fcgiAbort, 1, "", 0)
	}},
	{name: "aborted in the conversation", want: "503", bytes: func(s *faultEnv) string {
		return s.wholeLogin(awaiting(0)) + record(fcgiAbort, 1, "", 0)
	}},
	{name: "another version", want: "closed",
		bytes: func(s *faultEnv) string { return "\x09" + s.wholeLogin(loadUser(7))[1:] }},
	{name: "one id twice", want: "closed", bytes: func(s *faultEnv) string { return begin(1) + begin(1) }},
	{name: "a body before the parameters' end", want: "closed", bytes: func(s *faultEnv) string {
		return begin(1) + record(fcgiParams, 1, s.loginParams(loadUser(8)), 0) + record(fcgiStdin, 1, "x", 0)
	}},
	{name: "parameters after their end", want: "closed", bytes: func(s *faultEnv) string {
		return begin(1) + params(1, s.loginParams(awaiting(1))) + record(fcgiParams, 1, pair("A", "b"), 0)
	}},
	{name: "a short BEGIN", want: "closed",
		bytes: func(s *faultEnv) string { return record(fcgiBegin, 1, "\x00\x01", 0) }},
	{name: "half a record, and the end", fin: true, want: "closed",
		bytes: func(s *faultEnv) string { r := s.wholeLogin(loadUser(9)); return r[:len(r)/2] }},
	{name: "half a record, and nothing more", want: "closed",
		bytes: func(s *faultEnv) string { r := s.wholeLogin(loadUser(10)); return r[:len(r)/2] }},
	{name: "HTTP", fin: true, want: "closed",
		bytes: func(s *faultEnv) string { return s.request(loadUser(11), passwordOf(loadUser(11))) }},
	{name: "noise", fin: true, want: "closed", bytes: noise},
	{name: "noise in records", fin: true, want: "FCGI_MPXS_CONNS=0 ×20, closed", bytes: func(s *faultEnv) string {
		var b strings.Builder
		for i := range 200 {
			b.WriteString(record(byte(2+i%10), i%5, noise(s)[:i], i%8))
		}
		return b.String()
	}},
}

// interleaved are n logins on one connection with their records mixed.
func interleaved(s *faultEnv, n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(begin(i + 1))
	}
	for _, end := range []bool{false, true} {
		for i := range n {
			text := s.loginParams(loadUser(12 + i))
			if end {
				b.WriteString(record(fcgiParams, i+1, text[len(text)/2:], 0))
				b.WriteString(record(fcgiParams, i+1, "", 0))
			} else {
				b.WriteString(record(fcgiParams, i+1, text[:len(text)/2], 0))
			}
		}
	}
	for i := range n {
		b.WriteString(record(fcgiStdin, i+1, "", 0))
	}
	return b.String()
}

func manyParams(id, n int) string {
	return strings.Repeat(record(fcgiParams, id, pair("HTTP_X", strings.Repeat("x", 65000)), 0), n)
}

// noise is the same each time.
func noise(*faultEnv) string {
	b := make([]byte, 1000)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range b {
		b[i] = byte(r.IntN(256))
	}
	return string(b)
}

func recordTests() []faultTest {
	return []faultTest{{name: "FastCGI records", frontend: nginxFastCGI, options: awaitingOptions(2), run: runRecords}}
}

// runRecords sends all cases to the service at once, while other logins go through the web server.
func runRecords(s *faultEnv) {
	s.ask(loadUser(0), passwordOf(loadUser(0)))
	before := descriptors(s.pid())
	l := s.startLoad()
	l.more(1)
	results := make([]string, len(recordCases))
	flaws := make([][]string, len(recordCases))
	var all sync.WaitGroup
	for i, r := range recordCases {
		all.Go(func() { results[i], flaws[i] = s.runRecord(r) })
	}
	all.Wait()
	normal := s.normal()
	l.more(1)
	_, lost := l.end()
	lost = append(lost, s.leftovers()...)
	lost = append(lost, s.tooManyDescriptors(s.pid(), before)...)
	for i, r := range recordCases {
		wrong := flaws[i]
		if !strings.Contains(" or "+r.want+" or ", " or "+results[i]+" or ") {
			wrong = append(wrong, fmt.Sprintf("%s: %q came back, want %q", r.name, results[i], r.want))
		}
		if i == 0 {
			wrong = append(wrong, lost...)
		}
		s.row(row{fault: "FastCGI: " + r.name, done: "straight to the socket", got: results[i], normal: normal}, wrong)
	}
	if n := s.goroutines(); n > goroutinesAtRest {
		s.t.Errorf("%d goroutines are left over: %s", n, tail(s.service.output(), 200))
	}
}

// runRecord returns the answer in words, and what is wrong with it.
func (s *faultEnv) runRecord(r recordCase) (got string, lost []string) {
	c, err := net.DialTimeout("unix", s.path("run/fcgi.sock"), answerWithin)
	if err != nil {
		return "no connection", []string{err.Error()}
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(answerWithin))
	text := r.bytes(s)
	go func() {
		defer func() {
			if r.fin {
				_ = c.(*net.UnixConn).CloseWrite()
			}
		}()
		if !r.apart {
			_, _ = io.WriteString(c, text)
			return
		}
		for i := range len(text) {
			if _, err := io.WriteString(c, text[i:i+1]); err != nil {
				return
			}
		}
	}()
	return s.readRecords(c, r)
}

// words is how many of them are wanted.
func (r recordCase) words() (n int) {
	for word := range strings.SplitSeq(r.want, ", ") {
		times := 1
		if _, count, several := strings.Cut(word, " ×"); several {
			times, _ = strconv.Atoi(count)
		}
		n += times
	}
	return n
}

// readRecords reads until r.words() answers have come, or the connection is closed.
func (s *faultEnv) readRecords(c net.Conn, r recordCase) (got string, lost []string) {
	in := bufio.NewReader(c)
	stdout := map[int]*strings.Builder{}
	var words []string
	for len(words) < r.words() {
		kind, id, content, err := readRecord(in)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return "nothing", append(lost, "neither an answer nor the connection's end")
		}
		if err != nil {
			return counted(append(words, "closed")), lost
		}
		switch kind {
		case fcgiStdout:
			if stdout[id] == nil {
				stdout[id] = &strings.Builder{}
			}
			stdout[id].WriteString(content)
		case fcgiGetValuesResult:
			words = append(words, values(content))
		case fcgiEnd:
			word, flaw := s.ended(stdout[id], content, loadUser(r.user+id-1))
			words = append(words, word)
			if flaw != "" {
				lost = append(lost, flaw)
			}
		}
	}
	return counted(words), lost
}

// values are the pairs of a GET_VALUES_RESULT, all of them short.
func values(content string) string {
	var all []string
	for len(content) >= 2 {
		name, value := 2+int(content[0]), 2+int(content[0])+int(content[1])
		all = append(all, content[2:name]+"="+content[name:value])
		content = content[value:]
	}
	return strings.Join(all, " ")
}

// counted lists each word once, with its count if that is more than one.
func counted(words []string) string {
	slices.Sort(words)
	var all []string
	for _, w := range slices.Compact(slices.Clone(words)) {
		n := 0
		for _, other := range words {
			if other == w {
				n++
			}
		}
		if n > 1 {
			w = fmt.Sprintf("%s ×%d", w, n)
		}
		all = append(all, w)
	}
	return strings.Join(all, ", ")
}

// ended is a request's answer in a word.
func (s *faultEnv) ended(stdout *strings.Builder, end, user string) (word, flaw string) {
	if stdout == nil {
		return fmt.Sprintf("end %d", end[4]), ""
	}
	head := bufio.NewReader(strings.NewReader(stdout.String()))
	header, err := textproto.NewReader(head).ReadMIMEHeader()
	if err != nil {
		return "torn", err.Error()
	}
	var r reply
	if _, err := fmt.Sscan(header.Get("Status"), &r.status); err != nil {
		return "torn", "no status in " + excerpt(stdout.String())
	}
	r.header = http.Header(header)
	r.body, _ = io.ReadAll(head)
	if r.status == http.StatusOK {
		return r.summary(), s.flaw(r, user, true)
	}
	return r.summary(), r.form()
}

func readRecord(in *bufio.Reader) (kind byte, id int, content string, err error) {
	var head [fcgiHeader]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return 0, 0, "", err
	}
	b := make([]byte, int(head[4])<<8|int(head[5])+int(head[6]))
	if _, err := io.ReadFull(in, b); err != nil {
		return 0, 0, "", err
	}
	return head[1], int(head[2])<<8 | int(head[3]), string(b[:len(b)-int(head[6])]), nil
}
