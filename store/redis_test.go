package store

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// redisServer is a real one.
type redisServer struct {
	t    testing.TB
	port int
	args []string
	cmd  *exec.Cmd
}

func newRedisServer(t testing.TB, args ...string) *redisServer {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("redis-server is not installed")
		}
		t.Skip("redis-server is not installed")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &redisServer{t: t, port: l.Addr().(*net.TCPAddr).Port, args: args}
	l.Close()
	s.start()
	t.Cleanup(s.kill)
	return s
}

func (s *redisServer) start() {
	s.t.Helper()
	args := append([]string{"--bind", "127.0.0.1", "--port", fmt.Sprint(s.port), "--save", "",
		"--repl-diskless-sync-delay", "0", "--dir", s.t.TempDir()},
		s.args...)
	s.cmd = exec.Command("redis-server", args...)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	for range 200 {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.port))
		if err == nil {
			conn.Close()
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	s.t.Fatal("redis-server does not listen")
}

func (s *redisServer) kill() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

func (s *redisServer) address() string { return fmt.Sprintf("redis://127.0.0.1:%d", s.port) }

func (s *redisServer) do(args ...any) {
	s.t.Helper()
	r := openRedis(s.t, s.address())
	if err := r.client.Do(s.t.Context(), args...).Err(); err != nil {
		s.t.Fatal(err)
	}
}

func openRedis(t testing.TB, address string) *Redis {
	t.Helper()
	r, err := OpenRedis(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// What the clock of the server shows does not matter.
func testRedis(t *testing.T, r *Redis) {
	for name, s := range map[string]Store{"counters": r.Counters(), "kept": r.Kept()} {
		t.Run(name, func(t *testing.T) {
			c := newClock()
			r.Now = c.Now
			testStore(t, s, c)
			testKind[name](t, s, c)
		})
	}
}

func TestRedisIsAStore(t *testing.T) { testRedis(t, openRedis(t, newRedisServer(t).address())) }

func TestARedisClusterIsAStore(t *testing.T) {
	s := newRedisServer(t, "--cluster-enabled", "yes")
	s.do("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
	r := openRedis(t, s.address()+"?cluster=yes")
	for range 100 {
		if _, err := r.Counters().Get(t.Context(), "k"); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	testRedis(t, r)
}

// Two machines count together, each with its own client.
func TestClientsOfRedisCountExactly(t *testing.T) {
	const clients, times = 10, 30
	s := newRedisServer(t)
	var all sync.WaitGroup
	for range clients {
		r := openRedis(t, s.address())
		all.Go(func() {
			for range times {
				if err := update(r.Kept(), "k", increment(time.Now().Add(time.Hour))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	expect(t, openRedis(t, s.address()).Kept(), "k", fmt.Sprint(clients*times))
}

func TestRedisAsksForAPasswordAndNeverShowsIt(t *testing.T) {
	const password = "canary-5f3a"
	s := newRedisServer(t, "--requirepass", password)
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	put(t, openRedis(t, s.address()+"?password_file="+file).Counters(), "k", "x", time.Now().Add(time.Hour))
	if _, err := openRedis(t, s.address()).Counters().Get(t.Context(), "k"); err == nil {
		t.Error("it works without the password")
	}
	if err := os.WriteFile(file, []byte(password+"-wrong"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := openRedis(t, s.address()+"?password_file="+file).Counters().Get(t.Context(), "k")
	if err == nil || strings.Contains(err.Error(), "canary") {
		t.Errorf("with a wrong one: %v", err)
	}
}

func TestRedisOverTLSWithAClientCertificate(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	writePair(t, in("cert.pem"), in("key.pem"))
	s := newRedisServer(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	s.kill()
	s.args = []string{
		"--tls-port",
		fmt.Sprint(port),
		"--tls-cert-file",
		in("cert.pem"),
		"--tls-key-file",
		in("key.pem"),
		"--tls-ca-cert-file",
		in("cert.pem"),
		"--tls-auth-clients",
		"yes",
	}
	s.start()
	address := fmt.Sprintf("rediss://127.0.0.1:%d?", port)
	ca := "ca=" + in("cert.pem")
	pair := "certificate=" + in("cert.pem") + "&key=" + in("key.pem")
	put(t, openRedis(t, address+ca+"&"+pair).Kept(), "k", "x", time.Now().Add(time.Hour))
	for name, address := range map[string]string{
		"no certificate of the client": address + ca,
		"no CA":                        address + pair,
	} {
		if _, err := openRedis(t, address).Kept().Get(t.Context(), "k"); err == nil {
			t.Errorf("%s: it works", name)
		}
	}
}

func writePair(t *testing.T, cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true,
		BasicConstraintsValid: true, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	certDER, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certDER}), 0o600),
		os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600))
	if err != nil {
		t.Fatal(err)
	}
}

// A server that is away, slow or full costs a call an error within a second and a half, and is used
// again without a restart.
func TestOutagesOfRedis(t *testing.T) {
	const bound = 1500 * time.Millisecond
	for _, c := range []struct {
		name       string
		begin, end func(s *redisServer)
		kept       string // what is there after it
	}{
		{"it is killed, and comes back empty", (*redisServer).kill, (*redisServer).start, "none"},
		{"it is stopped", func(s *redisServer) { s.cmd.Process.Signal(syscall.SIGSTOP) },
			func(s *redisServer) { s.cmd.Process.Signal(syscall.SIGCONT) }, "x"},
		{"it pauses clients", func(s *redisServer) { s.do("CLIENT", "PAUSE", 3000, "ALL") },
			func(s *redisServer) { time.Sleep(3 * time.Second) }, "x"},
		{"it has no memory left", func(s *redisServer) { s.do("CONFIG", "SET", "maxmemory", 1) },
			func(s *redisServer) { s.do("CONFIG", "SET", "maxmemory", 0) }, "x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newRedisServer(t)
			r := openRedis(t, s.address())
			put(t, r.Kept(), "k", "x", time.Now().Add(time.Hour))
			c.begin(s)
			answers := c.name == "it has no memory left"
			var all sync.WaitGroup
			for range 20 {
				all.Go(func() {
					began := time.Now()
					err := update(r.Kept(), "l", increment(time.Now().Add(time.Hour)))
					if took := time.Since(began); err == nil || took > bound {
						t.Errorf("update: %v after %s", err, took)
					}
					began = time.Now()
					_, err = r.Kept().Get(t.Context(), "k")
					if took := time.Since(began); took > bound || err == nil && !answers {
						t.Errorf("read: %v after %s", err, took)
					}
				})
			}
			all.Wait()
			c.end(s)
			values, err := r.Kept().Get(t.Context(), "k")
			for n := 0; err != nil && n < 60; n++ { // the client tries to connect once a second
				time.Sleep(50 * time.Millisecond)
				values, err = r.Kept().Get(t.Context(), "k")
			}
			if err != nil || text(values[0]) != c.kept {
				t.Errorf("afterwards %q, %v, want %q", values, err, c.kept)
			}
			put(t, r.Kept(), "k", "y", time.Now().Add(time.Hour))
			expect(t, r.Kept(), "k", "y")
		})
	}
}

// Sentinels make the replica the master when that has gone, and clients follow.
func TestSentinelFailsOver(t *testing.T) {
	master := newRedisServer(t)
	newRedisServer(t, "--replicaof", "127.0.0.1 "+fmt.Sprint(master.port))
	conf := filepath.Join(t.TempDir(), "sentinel.conf")
	config := fmt.Sprintf("sentinel monitor main 127.0.0.1 %d 1\nsentinel down-after-milliseconds main 500\n"+
		"sentinel failover-timeout main 2000\n", master.port)
	if err := os.WriteFile(conf, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	sentinel := newRedisServer(t)
	sentinel.kill()
	sentinel.cmd = exec.Command("redis-server", conf, "--sentinel", "--port", fmt.Sprint(sentinel.port))
	sentinel.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := sentinel.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// The first of the sentinels does not answer.
	sentinels := "redis://" + silentAddress(t) + "," + strings.TrimPrefix(sentinel.address(), "redis://")
	s := openRedis(t, sentinels+"?master=main").Kept()
	info := openRedis(t, sentinel.address()).client
	waitFor(t, "the sentinel to know the replica", func() bool {
		n, err := info.Do(context.Background(), "SENTINEL", "REPLICAS", "main").Slice()
		return err == nil && len(n) == 1
	})
	waitFor(t, "the replica", func() bool { return replicasOf(t, master) == 1 })
	time.Sleep(time.Second) // a sentinel looks at its replicas every second
	waitFor(t, "the sentinel", func() bool { return update(s, "k", increment(time.Now().Add(time.Hour))) == nil })
	before := number(t, s, "k") // an update that ended with an error may be there
	master.kill()
	waitFor(t, "the other", func() bool { return update(s, "l", increment(time.Now().Add(time.Hour))) == nil })
	expect(t, s, "k", fmt.Sprint(before))
	if n := number(t, s, "l"); n == 0 {
		t.Error("the other has nothing")
	}
}

func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	for began := time.Now(); !done(); time.Sleep(50 * time.Millisecond) {
		if time.Since(began) > 20*time.Second {
			t.Fatalf("wait for %s: in vain", what)
		}
	}
}

// replicasOf counts those that are complete.
func replicasOf(t *testing.T, s *redisServer) int {
	t.Helper()
	text, err := openRedis(t, s.address()).client.Info(t.Context(), "replication").Result()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(text, "state=online")
}

func TestAServerWithoutTLSIsNamedAsTheCause(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // it accepts, and says nothing: as a server that waits for the end of a command
	r := openRedis(t, "rediss://"+l.Addr().String())
	_, err = r.Kept().Get(t.Context(), "k")
	if err == nil || !strings.HasSuffix(err.Error(), "the server may not speak TLS at this port") {
		t.Errorf("error %v", err)
	}
}

func TestErrorsOfTheLibraryAreOneLineAndAHint(t *testing.T) {
	for text, want := range map[string]string{
		"a": "a", "a\nb\nc": "a; b; c", "a\n  hint": "a\n  hint", "a\nb\n  hint": "a; b\n  hint",
	} {
		if got := onOneLine(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// silentAddress is one where no connection is made and none refused, as behind a firewall.
func silentAddress(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	loopback := &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
	if err := errors.Join(syscall.Bind(fd, loopback), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	bound, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", bound.(*syscall.SockaddrInet4).Port)
	for range 10 { // until its queue is full
		conn, err := net.DialTimeout("tcp", address, 100*time.Millisecond)
		if err != nil {
			return address
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
	t.Fatal("its queue is never full")
	return ""
}

func TestAddressesOfRedis(t *testing.T) {
	dir := t.TempDir()
	file, empty, pipe := filepath.Join(dir, "password"), filepath.Join(dir, "empty"), filepath.Join(dir, "pipe")
	err := errors.Join(os.WriteFile(file, []byte("secret\n"), 0o600), os.WriteFile(empty, []byte("\n"), 0o600),
		syscall.Mkfifo(pipe, 0o600))
	if err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]string{
		"redis://a":                                   "[a:6379] 0 \"\" \"\" \"\" false false",
		"redis://a:1,b:2/3?master=m":                  "[a:1 b:2] 3 \"\" \"\" \"m\" false false",
		"redis://me@[::1]:7/?password_file=" + file:   "[[::1]:7] 0 \"me\" \"secret\" \"\" false false",
		"rediss://a?master=m":                         "[a:6379] 0 \"\" \"\" \"m\" false true",
		"redis://a,b?cluster=yes":                     "[a:6379 b:6379] 0 \"\" \"\" \"\" true false",
		"redis://":                                    "a host is missing",
		"redis://a/x":                                 "is no number",
		"redis://a?timeout=5":                         `unknown setting "timeout"`,
		"redis://a?ca=" + file:                        "ca is for rediss://",
		"rediss://a?ca=" + file:                       "no certificate in the file",
		"rediss://a?key=" + file:                      "certificate and key",
		"redis://a?password_file=/absent":             "password_file: open /absent",
		"redis://a?password_file=absent":              `password_file: "absent" is not an absolute path`,
		"redis://a?password_file=" + empty:            "empty is empty",
		"redis://a?password_file=" + pipe:             "pipe is no file",
		"redis://a?password_file=" + dir:              "is no file",
		"redis://:6379":                               "a host is missing",
		"redis://a?password_file=/x&password_file=/y": "password_file stands there twice",
		"redis://a?password_file=%zz":                 "not redis://HOST:PORT",
		"redis://a/0#canary":                          "not redis://HOST:PORT",
		"redis://a,b":                                 "several hosts\n  add master=NAME",
		"redis://a,b?cluster=maybe":                   `cluster is "maybe"`,
		"redis://a,b?master=":                         `master is ""`,
		"redis://a,b?master=m&cluster=yes":            "master is for Sentinels, and cluster for a Cluster",
		"redis://a,b/1?cluster=yes":                   "a Cluster has no databases",
		"redis://a/-1":                                "is no number",
		"redis://can@ary@a":                           "password_file",
		"redis://:canary@a":                           "password_file",
	} {
		parsed, err := parseRedis(address)
		got := fmt.Sprint(err)
		if o := parsed.options; err == nil {
			got = fmt.Sprintf(
				"%v %d %q %q %q %v %v",
				o.Addrs,
				o.DB,
				o.Username,
				o.Password,
				o.MasterName,
				o.IsClusterMode,
				o.TLSConfig != nil,
			)
		}
		if !strings.Contains(got, want) || strings.Contains(got, "canary") {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
}
