package bench

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// The programs that are measured, in TestMain's folder.
var workDir, dockerauth, referenceC, referenceGo, emptyGo string

func TestMain(m *testing.M) {
	status, err := runTests(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
	}
	os.Exit(status)
}

func runTests(m *testing.M) (status int, err error) {
	if workDir, err = os.MkdirTemp("", "bench-"); err != nil {
		return 1, err
	}
	defer os.RemoveAll(workDir)
	dockerauth, referenceC = filepath.Join(workDir, "dockerauth"), filepath.Join(workDir, "reference-c")
	referenceGo, emptyGo = filepath.Join(workDir, "reference"), filepath.Join(workDir, "empty")
	steps := [][]string{
		{"gcc", "-O2", "-o", referenceC, "reference.c", "-lpam", "-lcrypto"},
		{"go", "build", "-ldflags", "-s -w", "-o", workDir + "/", "./reference", "./empty"},
	}
	if given := os.Getenv("DOCKERAUTH_BINARY"); given != "" {
		steps = append(steps, []string{"cp", given, dockerauth})
	} else {
		steps = append(steps, []string{"go", "build", "-C", "..", "-ldflags", "-s -w", "-o", dockerauth, "."})
	}
	for _, step := range steps {
		if out, err := exec.Command(step[0], step[1:]...).CombinedOutput(); err != nil {
			return 1, fmt.Errorf("run %q: %v\n%s", step, err, out)
		}
	}
	return m.Run(), nil
}

const (
	service  = "registry.example.com"
	password = "wonderland"
	permit   = "auth required pam_permit.so\naccount required pam_permit.so\n"
	// systemUser is in /etc/passwd. For a name that no system file has, NSS loads more libraries.
	systemUser = "games"
	// loginScope is what a user asks for, publicScope what everyone may have.
	loginScope  = "repository:alice/app:pull,push"
	publicScope = "repository:public/app:pull"
)

// installation is a folder with programs, a key, a PAM service and config.yml.
type installation struct {
	t   testing.TB
	dir string
}

type options struct {
	rsa    bool   // the key; P-256 otherwise
	pam    string // the service file; pam_permit otherwise
	config string // more lines
	rules  string // more rules
}

func install(t testing.TB, o options) installation {
	t.Helper()
	// Not t.TempDir: its path is too long for a Unix socket.
	dir, err := os.MkdirTemp(workDir, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	i := installation{t, dir}
	for _, program := range []string{dockerauth, referenceC} {
		if err := os.Link(program, i.path(filepath.Base(program))); err != nil {
			t.Fatal(err)
		}
	}
	der, err := x509.MarshalPKCS8PrivateKey(newKey(t, o.rsa))
	if err != nil {
		t.Fatal(err)
	}
	i.write("privkey.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	if o.pam == "" {
		o.pam = permit
	}
	i.write("pam.d/dockerauth", o.pam)
	if !strings.Contains(o.config, "state:") {
		o.config += "state: \"\"\n"
	}
	if !strings.Contains(o.config, "pam:") {
		o.config += "pam: {confdir: pam.d}\n"
	}
	i.write("config.yml", "private_key: privkey.pem\nissuer: auth.example.com\naudience: "+service+
		"\ntrusted_proxies: [\"127.0.0.1\"]\n"+o.config+"access:\n"+
		"  - allow: [pull]\n    repositories: [\"public/**\"]\n    to: [anyone]\n"+
		"  - allow: [pull, push]\n    repositories: [\"{user}/**\"]\n    to: [users]\n"+o.rules)
	return i
}

func newKey(t testing.TB, isRSA bool) (key crypto.Signer) {
	t.Helper()
	var err error
	if isRSA {
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	} else {
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (i installation) path(name string) string { return filepath.Join(i.dir, name) }

func (i installation) write(name, content string) string {
	i.t.Helper()
	path := i.path(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		i.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		i.t.Fatal(err)
	}
	return path
}

const passwordUsers = 4096

// yescryptPAM is a service file for accounts in a file with Debian's password hash. No password
// file of the system is read. All accounts have one password and one salt: each check costs the
// same.
func yescryptPAM(t testing.TB) string {
	t.Helper()
	cmd := exec.Command("perl", "-e", `print crypt(<STDIN>, q($y$j9T$OneSaltForAllOfThem.$))`)
	cmd.Stdin = strings.NewReader(password)
	hash, err := cmd.Output()
	if err != nil || !strings.HasPrefix(string(hash), "$y$") {
		t.Fatalf("make a yescrypt hash with crypt(3): %v", err)
	}
	var file strings.Builder
	fmt.Fprintf(&file, "alice:%[1]s\n%[2]s:%[1]s\n", hash, systemUser)
	for n := range passwordUsers {
		fmt.Fprintf(&file, "%s:%s\n", userName(n), hash)
	}
	path := filepath.Join(workDir, "passwd")
	if err := os.WriteFile(path, []byte(file.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return "auth required pam_pwdfile.so nodelay pwdfile=" + path + "\naccount required pam_permit.so\n"
}

func userName(n int) string { return fmt.Sprintf("user%04d", n) }

func basic(user string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

func query(scopes ...string) string {
	return url.Values{"service": {service}, "scope": scopes}.Encode()
}

// process is a program that runs until the test ends.
type process struct {
	cmd *exec.Cmd
	log string
}

func start(t testing.TB, cmd *exec.Cmd, network, address string) *process {
	t.Helper()
	file, err := os.CreateTemp(workDir, "log")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	// A long log is cut off between measurements, so the file is written at its end.
	log, err := os.OpenFile(file.Name(), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %q: %v", cmd.Args, err)
	}
	p := &process{cmd, file.Name()}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(15 * time.Second):
			t.Errorf("stop %q: still running after SIGTERM", cmd.Args)
			_ = cmd.Process.Kill()
			<-ended
		}
		if t.Failed() {
			t.Logf("%q wrote at last:\n%s", cmd.Args, p.tail())
		}
		os.Remove(p.log)
	})
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if c, err := net.Dial(network, address); err == nil {
			c.Close()
			return p
		}
		select {
		case <-ended:
			t.Fatalf("start %q: it ended\n%s", cmd.Args, p.tail())
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("start %q: does not listen on %s", cmd.Args, address)
		}
	}
}

func (p *process) tail() string {
	text, _ := os.ReadFile(p.log)
	return string(text[max(0, len(text)-2000):])
}

// truncateLog keeps a measurement from filling the disk.
func (p *process) truncateLog() { _ = os.Truncate(p.log, 0) }

var lastPort atomic.Int32

// freePort returns a loopback address below the ports of outgoing connections.
func freePort(t testing.TB) string {
	t.Helper()
	for range 10000 {
		address := fmt.Sprintf("127.0.0.1:%d", 20000+(os.Getpid()*37+int(lastPort.Add(1)))%12000)
		if l, err := net.Listen("tcp", address); err == nil {
			l.Close()
			return address
		}
	}
	t.Fatal("find a free port: there is none")
	return ""
}

// serveHTTP starts "dockerauth http", behind a prefix of its command line if there is one.
func (i installation) serveHTTP(prefix ...string) (p *process, address string) {
	i.t.Helper()
	address = freePort(i.t)
	args := append(prefix, i.path("dockerauth"), "http", "--listen", address)
	return start(i.t, exec.Command(args[0], args[1:]...), "tcp", address), address
}

func (i installation) serveFastCGI() (p *process, socket string) {
	i.t.Helper()
	socket = i.path("fcgi.sock")
	cmd := exec.Command(i.path("dockerauth"), "fastcgi", "--listen", "unix:"+socket)
	return start(i.t, cmd, "unix", socket), socket
}

func (i installation) serveReference() (p *process, address string) {
	i.t.Helper()
	address = freePort(i.t)
	return start(i.t, exec.Command(referenceGo, address, i.path("privkey.pem")), "tcp", address), address
}

// tokens is the answer of the token endpoint.
type tokens struct {
	Token   string `json:"token"`
	Refresh string `json:"refresh_token"`
}

// fetch asks once, and fails unless the answer is a token that grants something.
func fetch(t testing.TB, r request) (got tokens) {
	t.Helper()
	body, err := r.send(http.DefaultClient)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(body, &got); err != nil || got.Token == "" {
		t.Fatalf("ask %s: %v: %s", r.url, err, body)
	}
	if claims := payload(got.Token); !strings.Contains(claims, `"actions":["`) {
		t.Fatalf("ask %s: the token grants nothing: %s", r.url, claims)
	}
	return got
}

// payload is the JSON of a token's claims.
func payload(token string) string {
	parts := strings.Split(token, ".")
	text, _ := base64.RawURLEncoding.DecodeString(parts[min(1, len(parts)-1)])
	return string(text)
}

// request is one request to the token endpoint. With a body it is a POST.
type request struct {
	url, login, body string
	closed           bool // a new connection for each
	varied           bool // each for another repository than the last, if they are for publicScope
}

func ask(address string, scopes ...string) request {
	return request{url: "http://" + address + "/docker/v2/token?" + query(scopes...)}
}

// refresh is what docker sends to renew a token.
func refresh(address, token string) request {
	form := url.Values{"grant_type": {"refresh_token"}, "service": {service}, "client_id": {"docker"},
		"refresh_token": {token}, "scope": {loginScope}}
	return request{url: "http://" + address + "/docker/v2/token", body: form.Encode()}
}

func (r request) method() string {
	if r.body != "" {
		return http.MethodPost
	}
	return http.MethodGet
}

func (r request) header() map[string]string {
	header := map[string]string{}
	if r.login != "" {
		header["Authorization"] = r.login
	}
	if r.closed {
		header["Connection"] = "close"
	}
	if r.body != "" {
		header["Content-Type"] = "application/x-www-form-urlencoded"
	}
	return header
}

func (r request) send(client *http.Client) ([]byte, error) {
	req, err := http.NewRequest(r.method(), r.url, strings.NewReader(r.body))
	if err != nil {
		return nil, err
	}
	for name, value := range r.header() {
		req.Header.Set(name, value)
	}
	response, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("ask %s: %s: %s", r.url, response.Status, body)
	}
	return body, err
}

// The request reaches wrk through its environment: command lines are public.
const wrkScript = `
wrk.method = os.getenv("BENCH_METHOD")
wrk.body = os.getenv("BENCH_BODY")
if wrk.body == "" then wrk.body = nil end
for name, value in os.getenv("BENCH_HEADER"):gmatch("([^:\n]+): ([^\n]+)") do wrk.headers[name] = value end
if os.getenv("BENCH_VARIED") == "true" then
  local n = 0
  request = function()
    n = n + 1
    return wrk.format(nil, (wrk.path:gsub("public%%2Fapp", "public%%2Fapp" .. n)))
  end
end
done = function(summary, latency)
  local e = summary.errors
  io.write(string.format('\n{"requests": %d, "microseconds": %d, "failed": %d}\n', summary.requests,
    summary.duration, e.connect + e.read + e.write + e.status + e.timeout))
end
`

// rate returns the requests a second that wrk reaches. Every failed one fails the test.
func rate(t testing.TB, r request, connections, seconds int) float64 {
	t.Helper()
	script := filepath.Join(workDir, "wrk.lua")
	if err := os.WriteFile(script, []byte(wrkScript), 0o600); err != nil {
		t.Fatal(err)
	}
	var header strings.Builder
	for name, value := range r.header() {
		fmt.Fprintf(&header, "%s: %s\n", name, value)
	}
	// The shell sets the limit on open files.
	cmd := exec.Command("sh", "-c", `ulimit -n 4096; exec "$@"`, "sh", "wrk", "-t", "1", "-c",
		fmt.Sprint(connections), "-d", fmt.Sprint(seconds), "--timeout", "10", "-s", script, r.url)
	cmd.Env = append(os.Environ(), "BENCH_METHOD="+r.method(), "BENCH_BODY="+r.body,
		"BENCH_HEADER="+header.String(), fmt.Sprint("BENCH_VARIED=", r.varied))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("run wrk: %v\n%s", err, out)
	}
	var got struct{ Requests, Microseconds, Failed float64 }
	last := out[strings.LastIndex(strings.TrimSpace(string(out)), "{"):]
	if err := json.Unmarshal(last, &got); err != nil || got.Failed > 0 || got.Requests == 0 {
		t.Fatalf("wrk: %v\n%s", err, out)
	}
	return got.Requests / got.Microseconds * 1e6
}
