package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// runCGI serves one request and returns how long it took.
func runCGI(ctx context.Context, h http.Handler, vars map[string]string, stdin io.Reader) (reply, time.Duration,
	error) {
	var out bytes.Buffer
	start := time.Now()
	err := CGI(ctx, h, environ(vars), stdin, &out, Options{Program: program})
	r, malformed := parseCGI(out.Bytes())
	return r, time.Since(start), errors.Join(err, malformed)
}

func TestCGIDoesNotReadStdinWithoutABody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		terminal, w := io.Pipe() // never written, never closed
		r, took, err := runCGI(t.Context(), echo, testRequest{method: "GET", target: "/"}.variables(), terminal)
		if err != nil || r.status != 200 || took != 0 {
			t.Errorf("status %d after %s, %v", r.status, took, err)
		}
		w.Close()
	})
}

func TestCGIWithoutStdinAnswers(t *testing.T) {
	r, _, err := runCGI(t.Context(), echo, testRequest{method: "POST", target: "/"}.variables(), nil)
	if err != nil || r.echoed(t).Read != 0 {
		t.Errorf("status %d, %v", r.status, err)
	}
}

func TestCGIReadsNoFurtherThanTheAnnouncedLength(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stdin, w := io.Pipe()
		go io.WriteString(w, "12345") // and keeps it open
		r, took, err := runCGI(t.Context(), echo, testRequest{method: "POST", target: "/", body: "12345"}.variables(),
			stdin)
		if err != nil || took != 0 {
			t.Fatalf("after %s: %v", took, err)
		}
		if s := r.echoed(t); s.Read != 5 || s.Error != "" {
			t.Errorf("read %d bytes, then %q", s.Read, s.Error)
		}
	})
}

func TestCGIReadsToTheEndOfStdinWhatHasNoLength(t *testing.T) {
	for _, length := range []string{"-1", "abc", "+5", "5 ", ""} {
		t.Run(length, func(t *testing.T) {
			vars := with(map[string]string{"CONTENT_LENGTH": length})
			for _, size := range []int{0, 5, maxBody, maxBody + 1} {
				stdin := &zeros{left: size}
				r, _, err := runCGI(t.Context(), echo, vars, stdin)
				if err != nil {
					t.Fatal(err)
				}
				s := r.echoed(t)
				if s.Length != -1 || s.Read != int64(min(size, maxBody)) || (s.Error != "") != (size > maxBody) ||
					stdin.left != 0 {
					t.Errorf("of %d bytes %d were read, then %q; %d are left", size, s.Read, s.Error, stdin.left)
				}
			}
		})
	}
}

func TestCGIABodyShorterThanAHugeLengthIsTruncated(t *testing.T) {
	for _, length := range []string{"1000000000", "9223372036854775807", "9223372036854775808"} {
		vars := with(map[string]string{"CONTENT_LENGTH": length})
		r, _, err := runCGI(t.Context(), echo, vars, strings.NewReader("12345"))
		if err != nil {
			t.Fatal(err)
		}
		if s := r.echoed(t); s.Read != 5 || s.Error != io.ErrUnexpectedEOF.Error() {
			t.Errorf("%s: read %d bytes, then %q", length, s.Read, s.Error)
		}
	}
}

func TestCGIHandlerSeesATruncatedBody(t *testing.T) {
	vars := testRequest{method: "POST", target: "/", body: "12345"}.variables()
	r, _, err := runCGI(t.Context(), echo, vars, strings.NewReader("123"))
	if err != nil {
		t.Fatal(err)
	}
	if s := r.echoed(t); s.Read != 3 || s.Error != io.ErrUnexpectedEOF.Error() {
		t.Errorf("read %d bytes, then %q", s.Read, s.Error)
	}
}

func TestCGIHandlerSeesASlowBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen error
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, seen = io.ReadAll(r.Body)
		})
		stdin, w := io.Pipe()
		_, took, err := runCGI(t.Context(), h, testRequest{method: "POST", target: "/", chunked: true}.variables(),
			stdin)
		if err != nil || !errors.Is(seen, os.ErrDeadlineExceeded) {
			t.Errorf("the handler saw %v; %v", seen, err)
		}
		if took != bodyTimeout+drainTimeout {
			t.Errorf("took %s", took)
		}
		w.Close()
	})
}

// zeros is a reader of left bytes.
type zeros struct{ left int }

func (z *zeros) Read(p []byte) (int, error) {
	if z.left == 0 {
		return 0, io.EOF
	}
	n := min(len(p), z.left)
	z.left -= n
	return n, nil
}

func TestCGIDrainsAnUnreadBodyUpToItsLimit(t *testing.T) {
	cases := []struct {
		name       string
		size, left int
	}{
		{"ten megabytes", 10 << 20, 0},
		{"more than the limit", maxDrainBytes + 100, 100},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			stdin := &zeros{left: c.size}
			r, _, err := runCGI(t.Context(), echo,
				testRequest{method: "POST", target: "/unread", chunked: true}.variables(), stdin)
			if err != nil || r.status != 413 {
				t.Errorf("status %d, %v", r.status, err)
			}
			if stdin.left != c.left {
				t.Errorf("%d bytes left, want %d", stdin.left, c.left)
			}
		})
	}
}

func TestCGIDrainsAfterRejectingARequest(t *testing.T) {
	for _, length := range []string{"-", "1048576", "many", "-1"} {
		t.Run(length, func(t *testing.T) {
			stdin := &zeros{left: 1 << 20}
			vars := with(map[string]string{"REQUEST_URI": "*", "CONTENT_LENGTH": length})
			r, _, err := runCGI(t.Context(), echo, vars, stdin)
			if err != nil || r.status != 400 || stdin.left != 0 {
				t.Errorf("status %d, %d bytes left, %v", r.status, stdin.left, err)
			}
		})
	}
}

func TestCGIAnswersBeforeItDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stdin, w := io.Pipe()
		out, stdout := io.Pipe()
		done := make(chan error, 1)
		vars := testRequest{method: "POST", target: "/unread", chunked: true}.variables()
		go func() { done <- CGI(t.Context(), echo, environ(vars), stdin, stdout, Options{}) }()
		if _, err := out.Read(make([]byte, 1<<10)); err != nil { // while stdin is open
			t.Fatal(err)
		}
		w.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestCGIAnswersForAHandlerThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		h := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release })
		r, took, err := runCGI(t.Context(), h, testRequest{method: "GET", target: "/"}.variables(), nil)
		if !errors.Is(err, errLate) || r.status != 503 || took != requestTimeout+handlerGrace {
			t.Errorf("status %d after %s, %v", r.status, took, err)
		}
		if r.header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
		r.checkJSON(t)
		close(release)
	})
}

func TestCGIHandlerMayAnswerAfterTheContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, err := io.ReadAll(r.Body); errors.Is(err, context.DeadlineExceeded) {
				w.WriteHeader(503)
			}
		})
		stdin, w := io.Pipe()
		r, took, err := runCGI(ctx, h, testRequest{method: "POST", target: "/"}.variables(), stdin)
		if err != nil || r.status != 503 || took != time.Second {
			t.Errorf("status %d after %s, %v", r.status, took, err)
		}
		w.Close()
	})
}

func TestCGIGivesUpOnAWebServerThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out, stdout := io.Pipe()
		err := CGI(t.Context(), echo, environ(testRequest{method: "GET", target: "/"}.variables()), nil, stdout,
			Options{})
		if err == nil {
			t.Error("no error")
		}
		out.Close()
	})
}

func TestAPanicIsLoggedWithoutWhatTheRequestSaid(t *testing.T) {
	for _, target := range []string{"/panic", "/panic/value"} {
		t.Run(target, func(t *testing.T) {
			var log, out bytes.Buffer
			w := testRequest{method: "GET", target: target + "?secret-in-query",
				header: map[string]string{"Authorization": "Basic secret-in-header"}}
			o := Options{Log: slog.New(slog.NewTextHandler(&log, nil)), Program: program}
			if err := CGI(t.Context(), echo, environ(w.variables()), nil, &out, o); err != nil {
				t.Fatal(err)
			}
			text := log.String()
			if !strings.Contains(text, "harness_test.go:") {
				t.Errorf("no stack: %s", text)
			}
			for _, secret := range []string{"secret-in-query", "secret-in-header", "pw-in-panic", "0x"} {
				if strings.Contains(text, secret) {
					t.Errorf("log has %q: %s", secret, text)
				}
			}
		})
	}
}

func TestAHandlerCannotForgeHeaderLines(t *testing.T) {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-A", "b\r\nStatus: 200 forged\r\n\r\nforged body")
		w.Header()["Bad Name\r\n"] = []string{"x"}
		w.Header().Set("Content-Length", "1")
		w.WriteHeader(102)
		w.WriteHeader(401)
		w.WriteHeader(200)
		w.Header().Set("X-Late", "x")
		io.WriteString(w, "{}")
	})
	r, _, err := runCGI(t.Context(), h, testRequest{method: "GET", target: "/"}.variables(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if r.status != 401 || string(r.body) != "{}" || r.header.Get("X-Late") != "" || len(r.header) != 3 {
		t.Errorf("%d %q %q", r.status, r.header, r.body)
	}
}

func TestAnInvalidStatusIsA500(t *testing.T) {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(0) })
	r, _, err := runCGI(t.Context(), h, testRequest{method: "GET", target: "/"}.variables(), nil)
	if err != nil || r.status != 500 {
		t.Errorf("status %d, %v", r.status, err)
	}
}

// FuzzCGIEnvironment: any environment and any stdin give exactly one well-formed response. An error
// is in JSON. A request that reaches the handler is as the package comment says.
func FuzzCGIEnvironment(f *testing.F) {
	if len(recordedEnvs) == 0 {
		f.Fatal("no seeds")
	}
	for _, c := range recordedEnvs {
		f.Add(strings.Join(environ(c.vars), "\x00"), []byte("grant_type=password"))
	}
	for _, uri := range []string{"*", "//a/../b?c#d", "/%zz", "http://h/", "/\x00", "/panic"} {
		f.Add(strings.Join(environ(with(map[string]string{"REQUEST_URI": uri})), "\x00"), []byte{})
	}
	f.Fuzz(func(t *testing.T, env string, stdin []byte) {
		var out bytes.Buffer
		o := Options{Program: program}
		if err := CGI(t.Context(), echo, strings.Split(env, "\x00"), bytes.NewReader(stdin), &out, o); err != nil {
			t.Fatal(err)
		}
		r, err := parseCGI(out.Bytes())
		if err != nil {
			t.Fatalf("%v in %q", err, out.Bytes())
		}
		switch r.status {
		case 200:
			if len(r.body) > 0 {
				checkSeen(t, r.echoed(t))
			}
		case 400, 431, 500:
			r.checkJSON(t)
		case 204, 413: // asked for by the path
		default:
			t.Errorf("status %d", r.status)
		}
	})
}
