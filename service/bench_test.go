package service

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// benchService is a whole request without front end and PAM.
func benchService(t testing.TB) *adminFixture {
	s := newAdminFixture(t)
	if err := os.Mkdir(filepath.Join(s.dir, "state"), 0o700); err != nil {
		t.Fatal(err)
	}
	s.write(t, "config.yml", fixtureConfig+"state: state\nlog: {file: log}\naccess:\n"+
		"  - {allow: [pull], repositories: [\"public/**\"], to: [anyone]}\n"+
		"  - {allow: [pull, push], repositories: [\"{user}/**\"], to: [users]}\n")
	s.mustReload(t)
	s.current.Load().config.Access.Index()
	t.Cleanup(s.state.close)
	return s
}

const benchQuery = "/docker/v2/token?service=a&scope=repository:"

// benchRequests are those of an anonymous client, and of one with a refresh token.
func benchRequests(t testing.TB, s *adminFixture) map[string]func() *http.Request {
	login := httptest.NewRequest(http.MethodGet, benchQuery+"accepted/app:pull,push&offline_token=true", nil)
	login.SetBasicAuth(resultAccepted, "x")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, login)
	var answer struct {
		Refresh string `json:"refresh_token"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || answer.Refresh == "" {
		t.Fatalf("%d: %s", w.Code, w.Body)
	}
	form := url.Values{"grant_type": {"refresh_token"}, "service": {"a"}, "client_id": {"docker"},
		"scope": {"repository:accepted/app:pull,push"}, "refresh_token": {answer.Refresh}}.Encode()
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte(resultAccepted+":x"))
	request := func(method, target, authorization, body string) func() *http.Request {
		u, err := url.Parse(target)
		if err != nil {
			t.Fatal(err)
		}
		header := http.Header{}
		if authorization != "" {
			header.Set("Authorization", authorization)
		}
		if body != "" {
			header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		return func() *http.Request {
			r := &http.Request{Method: method, URL: u, Header: header, RemoteAddr: "192.0.2.7:4711"}
			r.Body = http.NoBody
			if body != "" {
				r.Body = readCloser{strings.NewReader(body)}
			}
			return r
		}
	}
	return map[string]func() *http.Request{
		"anonymous": request(http.MethodGet, benchQuery+"public/app:pull", "", ""),
		"password":  request(http.MethodGet, benchQuery+"accepted/app:pull,push", basic, ""),
		"refresh":   request(http.MethodPost, "/docker/v2/token", "", form),
	}
}

type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }

// discarder is a response that is thrown away.
type discarder struct {
	header http.Header
	status int
}

func (d *discarder) Header() http.Header         { return d.header }
func (d *discarder) WriteHeader(status int)      { d.status = status }
func (d *discarder) Write(p []byte) (int, error) { return len(p), nil }

func (s *adminFixture) answer(t testing.TB, r *http.Request) {
	d := discarder{header: http.Header{}}
	s.ServeHTTP(&d, r)
	if d.status != http.StatusOK {
		t.Fatalf("status %d", d.status)
	}
}

// BenchmarkRequest is what a request costs between front end and PAM, with its line in a log file.
func BenchmarkRequest(b *testing.B) {
	s := benchService(b)
	for name, request := range benchRequests(b, s) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.answer(b, request())
			}
		})
		b.Run(name+", all processors", func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					s.answer(b, request())
				}
			})
		})
	}
}

// BenchmarkLogLine is the way of a line from the fields to a file or a pipe.
func BenchmarkLogLine(b *testing.B) {
	line := []byte(strings.Repeat("x", 299) + "\n")
	reader, pipe, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	go func() {
		buffer := make([]byte, 1<<16)
		for {
			if _, err := reader.Read(buffer); err != nil {
				return
			}
		}
	}()
	b.Cleanup(func() { pipe.Close() })
	file, err := openLog(filepath.Join(b.TempDir(), "log"), os.Stderr, new(atomic.Uint64))
	if err != nil {
		b.Fatal(err)
	}
	for name, w := range map[string]*logWriter{"file": file, "pipe": newStderrWriter(pipe, new(atomic.Uint64))} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = w.Write(line)
			}
		})
		b.Run(name+", all processors", func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(8)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					_, _ = w.Write(line)
				}
			})
		})
	}
}

// The ceilings leave a margin for the race detector. Two thirds of a refresh are SQLite's and
// ECDSA's.
func TestAWholeRequestTakesFewAllocations(t *testing.T) {
	s := benchService(t)
	requests := benchRequests(t, s)
	for name, most := range map[string]float64{"anonymous": 58, "refresh": 302} {
		request := requests[name]
		if got := testing.AllocsPerRun(100, func() { s.answer(t, request()) }); got > most {
			t.Errorf("%s: %v allocations, the most is %v", name, got, most)
		}
	}
	w := s.current.Load().out
	line := []byte("line\n")
	const most = 15 // it goes through a queue; the race detector adds some
	if got := testing.AllocsPerRun(100, func() { _, _ = w.Write(line) }); got > most {
		t.Errorf("a line in a file: %v allocations, the most is %v", got, most)
	}
}
