package e2e

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// redisServer is a real one, whose state a killed process leaves on disk. Debian package:
// redis-server.
type redisServer struct {
	t    testing.TB
	port int
	dir  string
	args []string
	cmd  *exec.Cmd
}

func startRedis(t testing.TB, args ...string) *redisServer {
	t.Helper()
	need(t, "a state server", "redis-server")
	s := &redisServer{t: t, port: freePort(t), dir: shortDir(t)}
	s.args = append([]string{"--bind", "127.0.0.1", "--port", fmt.Sprint(s.port), "--dir", s.dir, "--save", "",
		"--appendonly", "yes", "--appendfsync", "always", "--repl-diskless-sync-delay", "0"}, args...)
	s.start()
	t.Cleanup(s.kill)
	return s
}

func (s *redisServer) start() {
	s.t.Helper()
	s.cmd = exec.Command("redis-server", s.args...)
	s.cmd.Dir = s.dir
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	eventually(s.t, readyWithin, "redis-server to listen", func() bool {
		conn, err := net.DialTimeout("tcp", s.host(), time.Second)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

func (s *redisServer) kill() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

func (s *redisServer) host() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }

func (s *redisServer) address() string { return "redis://" + s.host() }

// cli is the start of a command for it.
func (s *redisServer) cli() string { return fmt.Sprintf("redis-cli -p %d", s.port) }

// do sends a command and returns the answer.
func (s *redisServer) do(args ...string) string {
	o := run(s.t, "", exec.Command("redis-cli", append([]string{"-p", fmt.Sprint(s.port)}, args...)...))
	return o.stdout
}

// sentinels watch a master and make its replica the next one.
type sentinels struct {
	*redisServer // the first of three
	hosts        []string
}

// A busy machine stops a server for a moment, which is no failure.
const downAfter = 2000 // milliseconds

func startSentinels(t testing.TB, master *redisServer) sentinels {
	t.Helper()
	replica := startRedis(t, "--replicaof", "127.0.0.1 "+fmt.Sprint(master.port))
	eventually(t, readyWithin, "the replica to have all", func() bool {
		return strings.Contains(replica.do("info", "replication"), "master_link_status:up")
	})
	all := sentinels{}
	for range 3 {
		s := &redisServer{t: t, port: freePort(t), dir: shortDir(t)}
		config := writeFile(t, filepath.Join(s.dir, "sentinel.conf"), fmt.Sprintf("port %d\nbind 127.0.0.1\n"+
			"sentinel monitor main 127.0.0.1 %d 2\nsentinel down-after-milliseconds main %d\n"+
			"sentinel failover-timeout main 10000\n", s.port, master.port, downAfter), 0o600)
		s.args = []string{config, "--sentinel"}
		s.start()
		t.Cleanup(s.kill)
		if all.hosts = append(all.hosts, s.host()); all.redisServer == nil {
			all.redisServer = s
		}
	}
	eventually(t, readyWithin, "the sentinels to know each other and the replica", func() bool {
		known := all.do("sentinel", "master", "main")
		return strings.Contains(known, "num-slaves\n1\n") && strings.Contains(known, "num-other-sentinels\n2\n") &&
			strings.Contains(all.do("sentinel", "replicas", "main"), "master-link-status\nok\n")
	})
	return all
}

func (s sentinels) address() string {
	return "redis://" + strings.Join(s.hosts, ",") + "?master=main"
}

// master is the address of the one in office.
func (s sentinels) master() string {
	return strings.Join(strings.Fields(s.do("sentinel", "get-master-addr-by-name", "main")), ":")
}

// startRedisWithTLS asks clients for a certificate and a password. The address names files that the
// web server's user can read.
func startRedisWithTLS(t testing.TB, password string) (s *redisServer, address string) {
	t.Helper()
	dir := shortDir(t)
	in := func(name string) string { return filepath.Join(dir, name) }
	key := makeKey(t, p256)
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA"}, IsCA: true,
		BasicConstraintsValid: true, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	ca := signCertificate(t, root, root, key.Public(), key)
	writeFile(t, in("ca.pem"), pemCertificate(ca), 0o600)
	for i, name := range []string{"server", "client"} {
		its := makeKey(t, p256)
		template := &x509.Certificate{SerialNumber: big.NewInt(int64(i + 2)), Subject: pkix.Name{CommonName: name},
			NotBefore: root.NotBefore, NotAfter: root.NotAfter, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
		cert := signCertificate(t, template, ca, its.Public(), key)
		writeFile(t, in(name+".pem"), pemCertificate(cert), 0o600)
		writeFile(t, in(name+"-key.pem"), pemKey(t, its), 0o600)
	}
	writeFile(t, in("password"), password+"\n", 0o600)
	if os.Geteuid() == 0 {
		mustRun(t, "chown", "-R", lookupWebUser(t).name+":", dir)
	}
	port := freePort(t)
	s = startRedis(t, "--requirepass", password, "--tls-port", fmt.Sprint(port), "--tls-auth-clients", "yes",
		"--tls-cert-file", in("server.pem"), "--tls-key-file", in("server-key.pem"), "--tls-ca-cert-file", in("ca.pem"))
	return s, fmt.Sprintf("rediss://127.0.0.1:%d?password_file=%s&ca=%s&certificate=%s&key=%s", port, in("password"),
		in("ca.pem"), in("client.pem"), in("client-key.pem"))
}
