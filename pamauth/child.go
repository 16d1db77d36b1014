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
	p, err := c.start(order{Stack: c.Stack, Login: l, Brand: b})
	if err != nil {
		return Account{}, fmt.Errorf("%w: start child: %w", ErrBroken, err)
	}
	defer p.close()
	timely := p.wait(ctx)
	text := p.chatter()
	c.relay(text)
	if timely {
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

// process is a child that was started, and our ends of its pipes.
type process struct {
	cmd    *exec.Cmd
	order  *os.File // held open: its end tells the child that nobody waits any more
	answer *os.File
	noise  chan []byte
	stderr *os.File
	ended  chan struct{}
}

// start runs the program with nothing of ours but the order.
func (c Child) start(o order) (*process, error) {
	frame, err := o.encode()
	if err != nil {
		return nil, err
	}
	var pipes [6]*os.File
	for i := 0; i < len(pipes); i += 2 {
		if pipes[i], pipes[i+1], err = os.Pipe(); err != nil {
			closeAll(pipes[:])
			return nil, err
		}
	}
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
		Stdin:       pipes[0], Stdout: pipes[3], Stderr: pipes[5],
	}
	// The order fits into the pipe, so this does not wait for the child.
	if _, err = pipes[1].Write(frame); err == nil {
		err = cmd.Start()
	}
	clear(frame)
	closeAll([]*os.File{pipes[0], pipes[3], pipes[5]})
	if err != nil {
		closeAll([]*os.File{pipes[1], pipes[2], pipes[4]})
		return nil, err
	}
	p := &process{cmd: cmd, order: pipes[1], answer: pipes[2], stderr: pipes[4], noise: make(chan []byte, 1), ended: make(chan struct{})}
	go p.listen()
	go func() {
		_ = cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		if f != nil {
			_ = f.Close()
		}
	}
}

// listen keeps the beginning of what the child prints and swallows the rest, so that it never waits for a reader.
func (p *process) listen() {
	text, _ := io.ReadAll(io.LimitReader(p.stderr, maxChatter))
	_, _ = io.Copy(io.Discard, p.stderr)
	p.noise <- text
}

// wait is true when the child ended in time. Else it was made to end: first by the end of its order, at which it kills what it started, because
// it sees more of that than we do where /proc is mounted with hidepid; then by force.
func (p *process) wait(ctx context.Context) bool {
	select {
	case <-p.ended:
		return true
	case <-ctx.Done():
	}
	_ = p.order.Close()
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

// verdict reads what is in the pipe. The child has ended, so that is all of it. The end of file may not be there yet, since a sibling holds a
// copy of the pipe between its fork and its exec; and a time limit would pass unread when this process gets no turn for as long.
func (p *process) verdict() (verdict, error) {
	conn, err := p.answer.SyscallConn()
	if err != nil {
		return verdict{}, err
	}
	var b []byte
	var failed error
	err = conn.Read(func(fd uintptr) bool {
		b, failed = readReady(int(fd), maxVerdict+1)
		return true
	})
	if err := errors.Join(err, failed); err != nil {
		return verdict{}, err
	}
	return decodeVerdict(b)
}

// readReady takes up to most bytes from a pipe without waiting for more.
func readReady(fd, most int) ([]byte, error) {
	b := make([]byte, most)
	n := 0
	for n < most {
		got, err := syscall.Read(fd, b[n:])
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
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
	closeAll([]*os.File{p.order, p.answer, p.stderr})
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
