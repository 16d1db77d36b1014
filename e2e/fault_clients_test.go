package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"sync"
	"syscall"
	"time"
)

// awaiting are users whose conversations wait for the file "go".
func awaiting(i int) string { return fmt.Sprintf("awaiting%d", i) }

// awaitingOptions have n of them.
func awaitingOptions(n int) faultOptions {
	o := faultOptions{timeout: seconds(3), concurrency: 4}
	for i := range n {
		o.users = append(o.users, awaiting(i))
		o.pamArgs += fmt.Sprintf(" %s=await", awaiting(i))
	}
	return o
}

func clientTests() []faultTest {
	o := awaitingOptions(hangUpAtOnce)
	o.concurrency = hangUpAtOnce + 2 // they hold their slots to the end, and other logins need some too
	return []faultTest{
		{name: "clients that hang up", frontend: httpFrontend, options: o, run: runHangingUp},
		{name: "clients that hang up", frontend: nginxFastCGI, options: o, run: runHangingUp},
		{name: "clients that hang up", frontend: apacheCGI, options: o, run: runHangingUp, long: true},
		{name: "clients that hang up", frontend: apacheFcgid, options: o, run: runHangingUp, long: true},
	}
}

// hangUps are the moments at which clients disconnect, and how many do at once.
var hangUps = []struct {
	moment string
	leave  func(s *faultEnv, n int, c *net.TCPConn) error // n is the client's number
}{
	{"in the headers", func(s *faultEnv, n int, c *net.TCPConn) error {
		r := s.request(loadUser(n), passwordOf(loadUser(n)))
		return send(c, r[:len(r)/2])
	}},
	{"in the body", func(s *faultEnv, n int, c *net.TCPConn) error {
		return send(c, fmt.Sprintf("POST %s/docker/v2/token HTTP/1.1\r\nHost: %s\r\n"+
			"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 500\r\n\r\ngrant_type=pass",
			s.mounts[0], s.address))
	}},
	{"right after sending", func(s *faultEnv, n int, c *net.TCPConn) error {
		return send(c, s.request(loadUser(n), passwordOf(loadUser(n))))
	}},
	{"in the answer", func(s *faultEnv, n int, c *net.TCPConn) error {
		if err := send(c, s.request(loadUser(n), passwordOf(loadUser(n)))); err != nil {
			return err
		}
		_, err := io.ReadFull(c, make([]byte, 10))
		return err
	}},
	{inConversation, func(s *faultEnv, n int, c *net.TCPConn) error {
		if err := send(c, s.request(awaiting(n), passwordOf(awaiting(n)))); err != nil {
			return err
		}
		c.SetReadDeadline(time.Now().Add(hangUpAfter))
		_, err := c.Read(make([]byte, 1))
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		return fmt.Errorf("an answer before the conversation was over: %v", err)
	}},
}

const inConversation = "in the conversation"

// hangUpAfter is when a client disconnects during the conversation. The conversation has begun and
// runs to its end or its time limit: PAM's answer counts.
const hangUpAfter = 200 * time.Millisecond

func send(c net.Conn, text string) error {
	_, err := io.WriteString(c, text)
	return err
}

// hangUpTimes is how often each happens.
func hangUpTimes() int {
	if long() {
		return 100
	}
	return 24
}

// hangUpAtOnce is how many clients are connected at the same time.
const hangUpAtOnce = 6

// runHangingUp disconnects clients at every moment, half of them with a FIN and half with a reset.
func runHangingUp(s *faultEnv) {
	var before map[string]int
	if s.service != nil {
		s.ask(loadUser(0), passwordOf(loadUser(0)))
		before = descriptors(s.pid())
	}
	for _, h := range hangUps {
		others := s.startLoad()
		times := hangUpTimes()
		if h.moment == inConversation {
			// Each conversation runs to its time limit, and an equal login waits for the same
			// result. So one for each slot.
			times = hangUpAtOnce
		}
		lost := s.hangUp(times, h.leave)
		normal := s.normal()
		others.more(1)
		got, wrong := others.end()
		lost = append(lost, wrong...)
		lost = append(lost, s.leftovers()...)
		if s.service != nil {
			lost = append(lost, s.tooManyDescriptors(s.pid(), before)...)
		}
		s.row(row{fault: "a client hangs up", done: fmt.Sprintf("%s, %d times", h.moment, times), got: "others " +
			got.String(), normal: normal}, lost)
	}
	if s.service != nil {
		if n := s.goroutines(); n > goroutinesAtRest {
			s.t.Errorf("%d goroutines are left over: %s", n, tail(s.service.output(), 200))
		}
	}
}

func (s *faultEnv) hangUp(times int, leave func(*faultEnv, int, *net.TCPConn) error) (lost []string) {
	var mu sync.Mutex
	var all sync.WaitGroup
	for client := range hangUpAtOnce {
		all.Go(func() {
			for n := client; n < times; n += hangUpAtOnce {
				if err := s.hangUpOnce(leave, client, n%2 == 0); err != nil {
					mu.Lock()
					lost = append(lost, err.Error())
					mu.Unlock()
				}
			}
		})
	}
	all.Wait()
	return lost
}

func (s *faultEnv) hangUpOnce(leave func(*faultEnv, int, *net.TCPConn) error, client int, reset bool) error {
	c, err := net.DialTimeout("tcp", s.address, answerWithin)
	if err != nil {
		return err
	}
	defer c.Close()
	tcp := c.(*net.TCPConn)
	if reset {
		_ = tcp.SetLinger(0)
	}
	_ = tcp.SetDeadline(time.Now().Add(answerWithin))
	return leave(s, client, tcp)
}

// goroutinesAtRest is more than an idle service has, and far fewer than the clients that
// disconnected.
const goroutinesAtRest = 20

var goroutineHead = regexp.MustCompile(`(?m)^goroutine \d+ `)

// goroutines ends the service with SIGQUIT, which makes Go list its goroutines, and counts them.
func (s *faultEnv) goroutines() int {
	s.t.Helper()
	if err := s.service.cmd.Process.Signal(syscall.SIGQUIT); err != nil {
		s.t.Fatal(err)
	}
	<-s.service.exited
	n := len(goroutineHead.FindAllString(s.service.output(), -1))
	if n == 0 {
		s.t.Errorf("the service lists no goroutines when it gets SIGQUIT")
	}
	return n
}
