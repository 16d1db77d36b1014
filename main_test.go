package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// programName makes the test binary behave as the program, so that long-lived front ends run under
// the race detector. A variable cannot do this, since the program starts itself with an empty
// environment.
const programName = "dockerauth-of-the-tests"

// scratchDir exists until all tests have ended.
var scratchDir string

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == programName {
		main()
	}
	if os.Args[0] == "/proc/self/exe" {
		panic("the program started itself under another name and would run its tests without end")
	}
	var err error
	if scratchDir, err = os.MkdirTemp("", "dockerauth-"); err != nil {
		panic(err)
	}
	code := m.Run()
	_ = os.RemoveAll(scratchDir)
	os.Exit(code)
}

// build builds the real program once. It starts a hundred times faster than a test binary with the
// race detector.
var build = sync.OnceValues(func() (string, error) {
	program := filepath.Join(scratchDir, "dockerauth")
	out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out)
	}
	return program, err
})

// install puts the program and a configuration into a new folder and returns both paths.
func install(t testing.TB, config string) (program, configFile string) {
	t.Helper()
	built, err := build()
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	program = filepath.Join(dir, "dockerauth")
	link(t, built, program)
	link(t, self, filepath.Join(dir, programName))
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "privkey.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	if err := os.Mkdir(filepath.Join(dir, "pam.d"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "pam.d", "dockerauth"), "auth required pam_permit.so\naccount required pam_permit.so\n")
	configFile = filepath.Join(dir, "config.yml")
	write(t, configFile, config)
	return program, configFile
}

const goodConfig = "private_key: privkey.pem\nissuer: i\naudience: registry.example.com\npam: {confdir: pam.d}\n"

func link(t testing.TB, from, to string) {
	t.Helper()
	if os.Link(from, to) == nil {
		return
	}
	content, err := os.ReadFile(from) // another file system
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, content, 0o755); err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

type result struct {
	stdout, stderr string
	status         int
}

// runProgram runs the program to its end. A nil environment is an empty one.
func runProgram(t *testing.T, program string, env []string, args ...string) result {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Env = append([]string{}, env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(""), &stdout, &stderr
	err := cmd.Run()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

const login = "HTTP_AUTHORIZATION=Basic YWxpY2U6d29uZGVybGFuZA==" // alice:wonderland

func cgiEnv(more ...string) []string {
	return append([]string{"GATEWAY_INTERFACE=CGI/1.1", "REQUEST_METHOD=GET", "REQUEST_URI=/docker/v2/token",
		"REMOTE_ADDR=192.0.2.7"}, more...)
}

func TestCGIReadsConfigYmlBesideTheProgram(t *testing.T) {
	program, _ := install(t, goodConfig)
	got := runProgram(t, program, cgiEnv(login))
	if !strings.HasPrefix(got.stdout, "Status: 200 OK\r\n") || !strings.Contains(got.stdout, `"access_token"`) {
		t.Errorf("stdout %q, stderr %q", got.stdout, got.stderr)
	}
	if !strings.Contains(got.stderr, "outcome=granted") || strings.Contains(got.stderr, "wonderland") {
		t.Errorf("log %q", got.stderr)
	}
}

// Init has to reap what a program leaves, and in a container it may not. This process becomes the
// one that orphans belong to.
func TestCGILeavesNoProcess(t *testing.T) {
	program, _ := install(t, goodConfig)
	const setSubreaper = 36 // PR_SET_CHILD_SUBREAPER
	subreaper := func(on uintptr) {
		if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, setSubreaper, on, 0); errno != 0 {
			t.Fatal(errno)
		}
	}
	subreaper(1)
	defer subreaper(0)
	for name, env := range map[string][]string{
		"with an answer from PAM":          cgiEnv(login),
		"with a login for an unknown path": append(cgiEnv(login), "REQUEST_URI=/nowhere"),
		"with a form that is none":         append(cgiEnv(), "REQUEST_METHOD=POST"),
	} {
		runProgram(t, program, env)
		if pid, err := syscall.Wait4(-1, nil, 0, nil); err != syscall.ECHILD {
			t.Errorf("a request %s left process %d, %v", name, pid, err)
		}
	}
}

// A web server passes a query string without "=" as arguments to a CGI program (RFC 3875 §4.4), so
// they are under the control of the client.
func TestCGIIgnoresArgumentsAndConfigurationFromOutside(t *testing.T) {
	program, _ := install(t, goodConfig)
	for _, args := range [][]string{{"version"}, {"internal-pam-worker"}, {"http", "--listen", "127.0.0.1:0"},
		{"--config=/etc/passwd"}} {
		got := runProgram(t, program, cgiEnv(login, "DOCKERAUTH_CONFIG=/etc/passwd"), args...)
		if !strings.HasPrefix(got.stdout, "Status: 200 OK\r\n") {
			t.Errorf("%q: stdout %q", args, got.stdout)
		}
	}
}

func TestCGIAnswers503WithoutAUsableConfiguration(t *testing.T) {
	program, config := install(t, goodConfig)
	tests := []struct {
		name, log string
		breakIt   func()
	}{
		{"no PAM service", "pam.d/dockerauth",
			func() { os.Remove(filepath.Join(filepath.Dir(config), "pam.d", "dockerauth")) }},
		{"a broken configuration", config + ":1: ", func() { write(t, config, "isuer: typo\n") }},
		{"no configuration", "config.yml", func() { os.Remove(config) }},
	}
	for _, tt := range tests { // in this order: each one breaks more
		tt.breakIt()
		got := runProgram(t, program, cgiEnv(login))
		if !strings.HasPrefix(got.stdout, "Status: 503 ") || !strings.Contains(got.stdout, `"UNAVAILABLE"`) ||
			!strings.Contains(got.stdout, "Retry-After: ") {
			t.Errorf("%s: stdout %q", tt.name, got.stdout)
		}
		if !strings.Contains(got.stderr, tt.log) || strings.Contains(got.stdout, tt.log) {
			t.Errorf("%s: stderr %q, stdout %q", tt.name, got.stderr, got.stdout)
		}
	}
}

// The store of tokens costs a login without one nothing.
func TestCGIOpensTheStoreOfTokensOnlyForARefreshToken(t *testing.T) {
	program, config := install(t, goodConfig+"state: state\n")
	state := filepath.Join(filepath.Dir(config), "state")
	if err := os.Mkdir(state, 0o700); err != nil {
		t.Fatal(err)
	}
	exists := func(name string) bool {
		_, err := os.Stat(filepath.Join(state, name))
		return err == nil
	}
	runProgram(t, program, cgiEnv(login))
	if !exists("counters.db") || exists("kept.db") {
		t.Error("a login without a refresh token opens kept.db, or counts nothing")
	}
	got := runProgram(t, program, cgiEnv(login, "QUERY_STRING=offline_token=true",
		"REQUEST_URI=/docker/v2/token?offline_token=true"))
	if !strings.Contains(got.stdout, `"refresh_token"`) || !exists("kept.db") || strings.Contains(got.stderr, "WARN") {
		t.Errorf("stdout %q, stderr %q", got.stdout, got.stderr)
	}
}

func TestTokensOnlyWithoutAPlaceForTokensIsLogged(t *testing.T) {
	for settings, logged := range map[string]bool{
		"state: \"\"\npasswords: {allow: tokens-only}\n": true,
		"state: \"\"\n": false,
	} {
		program, _ := install(t, goodConfig+settings)
		got := runProgram(t, program, cgiEnv(login))
		if strings.Contains(got.stderr, "only tokens may log in, and there are none") != logged {
			t.Errorf("%q: stderr %q", settings, got.stderr)
		}
	}
}

// If a log folder has the wrong owner, logins must work, and the web server's log must say why
// the file is not used.
func TestCGILogsToTheWebServerIfItsLogFileCannotBeOpened(t *testing.T) {
	program, config := install(t, goodConfig+"log: {file: pam.d}\n") // a folder
	got := runProgram(t, program, cgiEnv(login))
	if !strings.HasPrefix(got.stdout, "Status: 200 OK\r\n") {
		t.Errorf("stdout %q", got.stdout)
	}
	for _, want := range []string{"log file is not usable", config, "log.file", "outcome=granted"} {
		if !strings.Contains(got.stderr, want) {
			t.Errorf("stderr lacks %q: %s", want, got.stderr)
		}
	}
}

// serve starts the HTTP front end and returns its URL and log.
func serve(t *testing.T, program string, inherited ...*os.File) (url string, log *os.File, cmd *exec.Cmd) {
	t.Helper()
	return serveWith(t, program, nil, inherited...)
}

func serveWith(t *testing.T, program string, args []string, inherited ...*os.File) (url string, log *os.File,
	cmd *exec.Cmd) {
	t.Helper()
	address := freeAddress(t)
	cmd = exec.Command(filepath.Join(filepath.Dir(program), programName),
		append([]string{"http", "--listen", address}, args...)...)
	log = start(t, cmd, inherited...)
	until(t, "it listens", func() bool {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return "http://" + address + "/docker/v2/token", log, cmd
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// until polls, because another process gives no event to wait for.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timed out waiting until %s", what)
		}
	}
}

func requestToken(t *testing.T, url string) (status int, body map[string]any) {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth("alice", "wonderland")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, body
}

func TestALongLivedServiceReloadsItsConfiguration(t *testing.T) {
	program, config := install(t, goodConfig)
	url, log, cmd := serve(t, program)
	lifetime := func() any {
		status, body := requestToken(t, url)
		if status != http.StatusOK {
			t.Fatalf("status %d: %v", status, body)
		}
		return body["expires_in"]
	}
	if got := lifetime(); got != float64(900) {
		t.Fatalf("expires_in %v", got)
	}
	write(t, config, goodConfig+"access_token_ttl: 2m\n")
	until(t, "the new lifetime holds", func() bool { return lifetime() == float64(120) })

	write(t, config, goodConfig+"access_token_ttl: 3 fortnights\n")
	warnings := func() int { return strings.Count(read(t, log), "configuration is not usable") }
	until(t, "it warns", func() bool { return warnings() == 1 })
	if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if got := lifetime(); got != float64(120) {
		t.Errorf("the last good configuration is not in force: expires_in %v", got)
	}

	// By rename: the signal may be handled at this moment, and a partial file would cause another
	// warning.
	write(t, config+".new", goodConfig+"access_token_ttl: 5m\n")
	if err := os.Rename(config+".new", config); err != nil {
		t.Fatal(err)
	}
	until(t, "the repaired one holds", func() bool { return lifetime() == float64(300) })
	if warnings() != 1 {
		t.Errorf("it warned %d times:\n%s", warnings(), read(t, log))
	}
}

// serveOnSystemdSocket starts a front end with an inherited socket, as systemd does
// (sd_listen_fds(3)), and returns its URL and log.
func serveOnSystemdSocket(t *testing.T, program string, args ...string) (url string, log *os.File, cmd *exec.Cmd) {
	t.Helper()
	socket, address := listeningSocket(t)
	program = filepath.Join(filepath.Dir(program), programName)
	cmd = exec.Command("/bin/sh", append([]string{"-c", `LISTEN_PID=$$ exec "$0" "$@"`, program}, args...)...)
	cmd.Env = append(os.Environ(), "LISTEN_FDS=1")
	return "http://" + address + "/docker/v2/token", start(t, cmd, socket), cmd
}

// listeningSocket returns a socket for a program to inherit, and its address.
func listeningSocket(t *testing.T) (socket *os.File, address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if socket, err = l.(*net.TCPListener).File(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	return socket, l.Addr().String()
}

// start starts a program, kills it at the end of the test, and returns its log.
func start(t *testing.T, cmd *exec.Cmd, inherited ...*os.File) (log *os.File) {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr, cmd.ExtraFiles = log, inherited
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		log.Close()
	})
	return log
}

// If a service keeps ending, systemd closes its socket for good.
func TestAServiceBehindASystemdSocketWaitsForItsConfiguration(t *testing.T) {
	unset := readFile(t, "packaging/config.yml")
	tests := []struct {
		name, config, reason string
	}{
		{"no configuration", "", "config.yml"},
		{"a configuration with a mistake", "isuer: typo\n", "config.yml:1: isuer: unknown key"},
		{"the configuration of a package, which is not set up", unset, "dockerauth init --dir "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			program, config := install(t, goodConfig)
			if err := os.Remove(config); err != nil {
				t.Fatal(err)
			}
			if tt.config != "" {
				write(t, config, tt.config)
			}
			url, log, cmd := serveOnSystemdSocket(t, program, "http")
			for range 3 {
				if status, body := requestToken(t, url); status != http.StatusServiceUnavailable {
					t.Fatalf("status %d: %v", status, body)
				}
			}
			write(t, config, goodConfig)
			until(t, "the configuration holds", func() bool {
				status, _ := requestToken(t, url)
				return status == http.StatusOK
			})
			output := read(t, log)
			if strings.Count(output, "every request is answered with 503") != 1 ||
				!strings.Contains(output, tt.reason) {
				t.Errorf("want the cause, once: %s", output)
			}
			terminate(t, cmd)
		})
	}
}

func TestASystemdSocketAndAListenAddressConflict(t *testing.T) {
	program, _ := install(t, goodConfig)
	_, log, cmd := serveOnSystemdSocket(t, program, "http", "--listen", "127.0.0.1:0")
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 2 ||
		!strings.Contains(read(t, log), "both --listen and a socket from systemd") {
		t.Errorf("%v: %s", err, read(t, log))
	}
}

func TestSIGTERMEndsALongLivedServiceWithStatus0(t *testing.T) {
	program, _ := install(t, goodConfig)
	url, _, cmd := serve(t, program)
	if status, _ := requestToken(t, url); status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	terminate(t, cmd)
}

// terminate sends SIGTERM and expects status 0.
func terminate(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
}

// The files in /proc of a process that is not dumpable belong to root (proc(5)).
func TestThePasswordInACGIEnvironmentCannotBeReadByOthersOfTheSameUser(t *testing.T) {
	program, _ := install(t, goodConfig)
	checkHidden(t, program, cgiEnv(login, "CONTENT_LENGTH=1"))
}

func TestTheMemoryOfALongLivedServiceCannotBeReadByOthersOfTheSameUser(t *testing.T) {
	program, config := install(t, goodConfig)
	checkHidden(t, program, nil, "http", "--config", config, "--listen", freeAddress(t))
}

// checkHidden starts the program and waits until the kernel hides its memory and environment from
// its own user.
func checkHidden(t *testing.T, program string, env []string, args ...string) {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Env = env
	body, err := cmd.StdinPipe() // held open: the process waits for the body
	if err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		const nobody = 65534
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		makeReachable(t, program)
		for _, name := range []string{"config.yml", "privkey.pem", "pam.d/dockerauth"} {
			if err := os.Chown(filepath.Join(filepath.Dir(program), name), nobody, nobody); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	environ := filepath.Join("/proc", strconv.Itoa(cmd.Process.Pid), "environ")
	until(t, "environ belongs to root", func() bool {
		info, err := os.Stat(environ)
		if !isAlive(cmd.Process.Pid) {
			t.Fatal("it ended before its environ was root's")
		}
		return err == nil && info.Sys().(*syscall.Stat_t).Uid == 0
	})
	if os.Getuid() == 0 { // root's tools copy it: process lists, crash reports
		until(t, "environ is overwritten", func() bool {
			text, err := os.ReadFile(environ)
			return err == nil && !strings.Contains(string(text), "HTTP_AUTHORIZATION")
		})
	} else if _, err := os.ReadFile(environ); err == nil {
		t.Error("environ can be read")
	}
	body.Close()
	_ = cmd.Process.Signal(syscall.SIGTERM)
	_ = cmd.Wait() // the answer does not matter
}

// isAlive returns false for a zombie, whose files always belong to root.
func isAlive(pid int) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

// makeReachable lets every user start the program. Only the owner can enter t.TempDir.
func makeReachable(t *testing.T, program string) {
	t.Helper()
	if err := os.Chmod(program, 0o755); err != nil {
		t.Fatal(err)
	}
	for dir := filepath.Dir(program); dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

func read(t *testing.T, f *os.File) string {
	t.Helper()
	content, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
