package e2e

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"
)

func connectionTests() []faultTest {
	return []faultTest{
		{name: "idle connections", frontend: httpFrontend, run: runIdle, options: faultOptions{prepare: manyFiles}},
		{name: "idle connections", frontend: nginxFastCGI, run: runIdle, options: faultOptions{prepare: manyFiles}},
		{name: "slow headers", frontend: httpFrontend, run: func(s *faultEnv) { s.runSlow("headers", slowHeaders(s)) }},
		{name: "slow bodies", frontend: httpFrontend, run: func(s *faultEnv) { s.runSlow("bodies", slowBody(s)) }},
	}
}

// idleConnections are opened and never used.
func idleConnections() int {
	if long() {
		return 10000
	}
	return 3000
}

// slowConnections send one byte at a time.
const slowConnections = 500

// manyFiles raises the limit of open files for this process and those that it starts.
func manyFiles(s *faultEnv) { raiseFiles(s.t) }

func raiseFiles(t testing.TB) {
	t.Helper()
	// This process has the other end of one test's connections, and needs some for the others.
	const want = 10000 + 2000
	var now syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &now); err != nil {
		t.Fatal(err)
	}
	if now.Cur >= want {
		return
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE,
		&syscall.Rlimit{Cur: want, Max: max(want, now.Max)}); err != nil {
		missing(t, "%d descriptors: %v", want, err)
	}
}

// behind is where the service itself listens, as opposed to a web server in front of it.
func (s *faultEnv) behind() (network, address string) {
	if s.frontend.name == httpFrontend.name {
		return "tcp", s.address
	}
	return "unix", s.path("run/fcgi.sock")
}

// connect opens n connections to the service. They come from many addresses, since one has no more
// than 28,000 ports.
func (s *faultEnv) connect(n int) (all []net.Conn, err error) {
	network, address := s.behind()
	for i := range n {
		d := net.Dialer{Timeout: answerWithin}
		if network == "tcp" {
			d.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 7, byte(i/1000), 1)}
		}
		var c net.Conn
		err := poll(answerWithin, func() (bool, error) {
			var err error
			c, err = d.Dial(network, address)
			if errors.Is(err, syscall.EAGAIN) { // a Unix socket's backlog is full
				return false, nil
			}
			return err == nil, err
		})
		if err != nil {
			return all, fmt.Errorf("connection %d: %w", i+1, err)
		}
		all = append(all, c)
	}
	return all, nil
}

func closeConnections(all []net.Conn) {
	for _, c := range all {
		_ = c.Close()
	}
}

// idleTurn: two tests at a time would need more descriptors than a process may have on some
// machines.
var idleTurn sync.Mutex

// runIdle opens connections that send nothing while others log in.
func runIdle(s *faultEnv) {
	idleTurn.Lock()
	defer idleTurn.Unlock()
	l := s.startLoad()
	l.more(1)
	before := descriptors(s.pid())
	idle, err := s.connect(idleConnections())
	if err != nil {
		s.t.Error(err)
	}
	l.more(someLogins())
	closeConnections(idle)
	normal := s.normal()
	l.more(1)
	got, lost := l.end()
	lost = append(lost, s.tooManyDescriptors(s.pid(), before)...)
	s.row(row{fault: "idle connections", done: fmt.Sprintf("%d opened, nothing said", len(idle)), got: got.String(),
		normal: normal}, lost)
}

// slowHeaders and slowBody are sent byte by byte.
func slowHeaders(*faultEnv) string {
	return "GET /docker/v2/token?service=x HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
}

func slowBody(s *faultEnv) string {
	return "POST /docker/v2/token HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n" +
		"Content-Length: 5000\r\n\r\n"
}

// runSlow opens connections that send one byte after another without an end, while others log in.
// Connections that the service closes are opened again.
func (s *faultEnv) runSlow(what, start string) {
	l := s.startLoad()
	l.more(1)
	before := descriptors(s.pid())
	stop := make(chan struct{})
	var all sync.WaitGroup
	for range slowConnections {
		all.Go(func() { s.dribble(start, stop) })
	}
	eventually(s.t, answerWithin, "slow connections to be open",
		func() bool { return descriptors(s.pid())["socket"] > slowConnections/2 })
	l.more(2 * someLogins())
	close(stop)
	all.Wait()
	normal := s.normal()
	l.more(1)
	got, lost := l.end()
	lost = append(lost, s.tooManyDescriptors(s.pid(), before)...)
	s.row(row{fault: "slow " + what, done: fmt.Sprintf("%d connections, a byte at a time", slowConnections),
		got: got.String(), normal: normal}, lost)
}

// dribbleEvery is the time between two bytes, short enough for a server that only checks whether
// something arrives.
const dribbleEvery = 200 * time.Millisecond

func (s *faultEnv) dribble(start string, stop <-chan struct{}) {
	for {
		c, err := net.DialTimeout("tcp", s.address, answerWithin)
		if err != nil {
			return
		}
		_ = send(c, start)
		for err == nil {
			select {
			case <-stop:
				c.Close()
				return
			case <-time.After(dribbleEvery):
				err = send(c, "x")
			}
		}
		c.Close()
	}
}
