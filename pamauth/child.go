//go:build linux && cgo

package pamauth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

const (
	// thisProgram is found even after an upgrade has replaced the file, so that parent and child are always of one version.
	thisProgram = "/proc/self/exe"
	// maxChatter in bytes is how much of what a child and its modules print is passed on.
	maxChatter = 4 << 10
	// farewell is how long a child that is out of time may take to clean up. It needs a few milliseconds, or its module has damaged it.
	farewell = 500 * time.Millisecond
	// leftovers is how long after the child's end to wait for what it wrote. All of that is in the pipe by then; only an end of file may be
	// wanting, when a process that could not be killed holds the pipe open.
	leftovers = 100 * time.Millisecond
)

// Hold implements Conversation.
func (c Child) Hold(ctx context.Context, l Login) (Account, error) {
	if err := l.check(); err != nil {
		return Account{}, err
	}
	if err := ctx.Err(); err != nil {
		return Account{}, fmt.Errorf("%w: no time left: %w", ErrBusy, context.Cause(ctx))
	}
	b := newBrand()
	frame, err := order{Stack: c.Stack, Login: l, Brand: b}.encode()
	if err != nil {
		return Account{}, fmt.Errorf("%w: start child: %w", ErrBroken, err)
	}
	defer clear(frame)
	p, err := c.start()
	if err != nil {
		return Account{}, fmt.Errorf("%w: start child: %w", ErrBroken, err)
	}
	defer p.close()
	handed := p.hand(ctx, frame)
	timely := p.wait(ctx)
	text := p.chatter()
	c.relay(text)
	if handed && timely {
		if v, err := p.verdict(); err == nil {
			return v.result()
		}
	}
	left := b.sweep(false)
	if !timely {
		return Account{}, late(ctx, left)
	}
	return Account{}, fmt.Errorf("%w: the child ended without a verdict (%s)%s\n  a module crashed or ended it; %s", ErrBroken, p.death(text), survivors(left), seeAuthLog)
}

// process is a child that was started, and our ends of what joins it to us.
type process struct {
	cmd    *exec.Cmd
	line   *os.File // order and verdict; held open: its end tells the child that nobody waits any more
	noise  chan []byte
	stderr *os.File
	ended  chan struct{}
}

// start runs the program with nothing of ours, and no order yet.
//
// The order goes through a socket, because no other process can open that: a pipe can be opened anew by whoever may look into /proc/PID/fd,
// and that is every process of the same user until the child has hidden itself.
func (c Child) start() (*process, error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	stderr, printed, err := os.Pipe()
	if err != nil {
		_ = ours.Close()
		return nil, err
	}
	defer printed.Close()
	// The modules' lines in the system's log begin with the name in the first argument.
	program, name := c.Program, c.Program
	if program == "" {
		program, name = thisProgram, os.Args[0]
	}
	cmd := &exec.Cmd{
		Path: program,
		Args: append([]string{name}, c.Args...),
		Env:  []string{},
		Dir:  "/",
		// The child's own session: a terminal's or a service manager's signals to our group are not its business.
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
		Stdin:       theirs, Stdout: theirs, Stderr: printed,
	}
	if err := cmd.Start(); err != nil {
		_ = ours.Close()
		_ = stderr.Close()
		return nil, err
	}
	p := &process{cmd: cmd, line: ours, stderr: stderr, noise: make(chan []byte, 1), ended: make(chan struct{})}
	go p.listen()
	go func() {
		_ = cmd.Wait()
		close(p.ended)
		p.hurry()
	}()
	return p, nil
}

// socketPair is the line between parent and child. Our end never makes a thread wait.
func socketPair() (ours, theirs *os.File, err error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	if err := syscall.SetNonblock(fds[0], true); err != nil {
		_ = syscall.Close(fds[0])
		_ = syscall.Close(fds[1])
		return nil, nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(fds[0]), "line to the child"), os.NewFile(uintptr(fds[1]), "line to the parent"), nil
}

// hand waits until the child says that it has hidden itself, and gives it the order. It is false when the child or the time ends before that.
func (p *process) hand(ctx context.Context, frame []byte) bool {
	defer context.AfterFunc(ctx, p.hurry)()
	var word [1]byte
	if n, err := p.line.Read(word[:]); n != 1 || err != nil || word[0] != greeting {
		p.hangUp() // to one that never takes an order
		return false
	}
	_, err := p.line.Write(frame)
	return err == nil
}

// hurry ends every wait for the line, now and later.
func (p *process) hurry() { _ = p.line.SetDeadline(time.Unix(1, 0)) }

// hangUp tells the child that nothing more comes. What it says itself is still heard.
func (p *process) hangUp() {
	if conn, err := p.line.SyscallConn(); err == nil {
		_ = conn.Control(func(fd uintptr) { _ = syscall.Shutdown(int(fd), syscall.SHUT_WR) })
	}
}

// listen keeps the beginning of what the child prints and swallows the rest, so that it never waits for a reader.
func (p *process) listen() {
	text, _ := io.ReadAll(io.LimitReader(p.stderr, maxChatter))
	_, _ = io.Copy(io.Discard, p.stderr)
	p.noise <- text
}

// wait is true when the child ended in time. Else it was made to end: first by the end of its line, at which it kills what it started, because
// it sees more of that than we do where /proc is mounted with hidepid; then by force.
func (p *process) wait(ctx context.Context) bool {
	select {
	case <-p.ended:
		return true
	case <-ctx.Done():
	}
	p.hangUp()
	select {
	case <-p.ended:
		return false
	case <-time.After(farewell):
	}
	_ = p.cmd.Process.Kill()
	select {
	case <-p.ended:
	case <-time.After(sweepTime): // in an uninterruptible system call; it dies when that returns
	}
	return false
}

func (p *process) chatter() []byte {
	_ = p.stderr.SetReadDeadline(time.Now().Add(leftovers))
	return <-p.noise
}

// verdict reads what has come. The child has ended, so that is all of it. The end of file may not be there yet, since a sibling holds a
// copy of the child's end between its fork and its exec; and a time limit would pass unread when this process gets no turn for as long.
func (p *process) verdict() (verdict, error) {
	conn, err := p.line.SyscallConn()
	if err != nil {
		return verdict{}, err
	}
	var b []byte
	var failed error
	err = conn.Control(func(fd uintptr) { b, failed = readReady(int(fd), maxVerdict+1) })
	if err := errors.Join(err, failed); err != nil {
		return verdict{}, err
	}
	return decodeVerdict(b)
}

// readReady takes up to most bytes from a socket without waiting for more.
func readReady(fd, most int) ([]byte, error) {
	b := make([]byte, most)
	n := 0
	for n < most {
		got, err := syscall.Read(fd, b[n:])
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN, err == syscall.ECONNRESET: // a reset: it ended before it had read everything
			return b[:n], nil
		case err != nil:
			return nil, os.NewSyscallError("read", err)
		case got == 0:
			return b[:n], nil
		}
		n += got
	}
	return b[:n], nil
}

// death is how the child ended. Go turns most signals of a crash into status 2 and a text, whose first lines name the signal.
func (p *process) death(text []byte) string {
	how := p.cmd.ProcessState.String()
	for line := range bytes.Lines(text) {
		if bytes.HasPrefix(line, []byte("SIG")) || bytes.HasPrefix(line, []byte("[signal SIG")) {
			return fmt.Sprintf("%s, %q", how, bytes.TrimSpace(line))
		}
	}
	return how
}

func (p *process) close() {
	_ = p.line.Close()
	_ = p.stderr.Close()
}

// relay passes on what the child printed.
func (c Child) relay(text []byte) {
	if len(text) == 0 {
		return
	}
	to := c.Stderr
	if to == nil {
		to = os.Stderr
	}
	_, _ = to.Write(text)
}

// result is the Conversation's answer that a verdict stands for.
func (v verdict) result() (Account, error) {
	switch v.outcome {
	case accepted:
		return Account{Name: v.text, Groups: v.groups}, nil
	case refused:
		return Account{}, fmt.Errorf("%w: %s", ErrRefused, v.text)
	}
	return Account{}, fmt.Errorf("%w: %s", ErrBroken, v.text)
}

// verdictOn is what the child says about its conversation's answer.
func verdictOn(account Account, err error) verdict {
	switch {
	case err == nil:
		return verdict{accepted, account.Name, account.Groups}
	case errors.Is(err, ErrRefused):
		return verdict{outcome: refused, text: strings.TrimPrefix(err.Error(), ErrRefused.Error()+": ")}
	}
	return verdict{outcome: broken, text: strings.TrimPrefix(err.Error(), ErrBroken.Error()+": ")}
}
