//go:build linux && cgo

package pamauth

// #include "child.h"
import "C"

import (
	"context"
	"errors"
	"io"
	"os"
	"syscall"
	"time"
)

const (
	// thisProgram is found even after an upgrade has replaced the file, so that parent and child
	// are always of one version.
	thisProgram = "/proc/self/exe"
	// maxOutput in bytes is how much of what a child and its modules print is passed on.
	maxOutput = 4 << 10
	// killGrace is how long a child whose time is up may take to clean up. It needs a few
	// milliseconds, unless a module has damaged it.
	killGrace = 500 * time.Millisecond
	// outputTimeout is how long to wait for the child's output after its end. All of it is in the
	// pipe by then. Only the end of file may be missing, when a process that could not be killed
	// holds the pipe open.
	outputTimeout = 100 * time.Millisecond
)

// childProcess is a child that was started, and the parent's ends of its socket and pipe.
type childProcess struct {
	process *os.Process
	state   *os.ProcessState // after the end
	sock    *os.File         // for request and answer; when it ends, the child gives up
	stderr  *os.File
	text    chan []byte // the beginning of what came from stderr
	ended   chan struct{}
}

// startChild starts the program with an empty environment. It gets no request yet.
//
// The request goes through a socket, which no other process can open. A pipe could be opened by
// every process that may look into /proc/PID/fd, which is every process of the same user until the
// child is not dumpable.
func startChild(path string, argv []string) (*childProcess, error) {
	sock, childSock, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer childSock.Close()
	stderr, childStderr, err := os.Pipe()
	if err != nil {
		_ = sock.Close()
		return nil, err
	}
	defer childStderr.Close()
	process, err := os.StartProcess(path, argv, &os.ProcAttr{
		Dir: "/", Env: []string{}, Files: []*os.File{childSock, childSock, childStderr},
	})
	if err != nil {
		_ = sock.Close()
		_ = stderr.Close()
		return nil, err
	}
	return newChildProcess(process, sock, stderr), nil
}

// earlyChild is the child that a CGI program started before Go's runtime, or nil.
func earlyChild() *childProcess {
	var sock, stderr C.int
	pid := C.take_early_child(&sock, &stderr)
	if pid == 0 {
		return nil
	}
	process, _ := os.FindProcess(int(pid)) // without an error on Unix
	return newChildProcess(process, os.NewFile(uintptr(sock), "socket to the child"),
		os.NewFile(uintptr(stderr), "standard error of the child"))
}

// EndEarlyChild ends the child of a CGI program that did not ask PAM. Otherwise init would have to
// reap it, which it may not do in a container.
func EndEarlyChild() {
	if p := earlyChild(); p != nil {
		p.close()
		<-p.ended
	}
}

func newChildProcess(process *os.Process, sock, stderr *os.File) *childProcess {
	p := &childProcess{process: process, sock: sock, stderr: stderr, text: make(chan []byte, 1),
		ended: make(chan struct{})}
	go p.readStderr()
	go func() {
		p.state, _ = process.Wait()
		close(p.ended)
		p.expireIO()
	}()
	return p
}

// socketPair connects parent and child. The parent's end is non-blocking.
func socketPair() (parent, child *os.File, err error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	if err := syscall.SetNonblock(fds[0], true); err != nil {
		_ = syscall.Close(fds[0])
		_ = syscall.Close(fds[1])
		return nil, nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(fds[0]), "socket to the child"), os.NewFile(uintptr(fds[1]), "socket to the parent"), nil
}

// sendRequest waits until the child is ready and sends the request. It returns false if the child
// or the context ends before that.
func (p *childProcess) sendRequest(ctx context.Context, frame []byte) bool {
	defer context.AfterFunc(ctx, p.expireIO)()
	var b [1]byte
	if n, err := p.sock.Read(b[:]); n != 1 || err != nil || b[0] != readyByte {
		p.closeWrite() // the program may wait for input
		return false
	}
	_, err := p.sock.Write(frame)
	return err == nil
}

// expireIO ends every read and write of the socket, now and later.
func (p *childProcess) expireIO() { _ = p.sock.SetDeadline(time.Unix(1, 0)) }

// closeWrite tells the child that nothing more comes. Its response can still be read.
func (p *childProcess) closeWrite() {
	if conn, err := p.sock.SyscallConn(); err == nil {
		_ = conn.Control(func(fd uintptr) { _ = syscall.Shutdown(int(fd), syscall.SHUT_WR) })
	}
}

// readStderr keeps the beginning and discards the rest, so that the child never waits for a reader.
func (p *childProcess) readStderr() {
	text, _ := io.ReadAll(io.LimitReader(p.stderr, maxOutput))
	_, _ = io.Copy(io.Discard, p.stderr)
	p.text <- text
}

// wait returns true if the child ends in time. Otherwise it closes the socket, at which the child
// kills what it started: where /proc is mounted with hidepid, the child sees more of that than the
// parent. If that takes too long, it kills the child.
func (p *childProcess) wait(ctx context.Context) bool {
	select {
	case <-p.ended:
		return true
	case <-ctx.Done():
	}
	p.closeWrite()
	select {
	case <-p.ended:
		return false
	case <-time.After(killGrace):
	}
	_ = p.process.Kill()
	select {
	case <-p.ended:
	case <-time.After(killTimeout): // in an uninterruptible system call; it dies when that returns
	}
	return false
}

func (p *childProcess) output() []byte {
	_ = p.stderr.SetReadDeadline(time.Now().Add(outputTimeout))
	return <-p.text
}

// answer reads what the child sent. The child has ended, so all of it is there, but the end of file
// may be missing: a sibling holds a copy of the socket between its fork and its exec. A read
// deadline would be wrong too: it may pass before this process runs again.
func (p *childProcess) answer() (childAnswer, error) {
	conn, err := p.sock.SyscallConn()
	if err != nil {
		return childAnswer{}, err
	}
	var b []byte
	var readErr error
	err = conn.Control(func(fd uintptr) { b, readErr = readAvailable(int(fd), maxAnswer+1) })
	if err := errors.Join(err, readErr); err != nil {
		return childAnswer{}, err
	}
	return decodeAnswer(b)
}

// readAvailable reads up to limit bytes from a non-blocking socket and does not wait for more.
func readAvailable(fd, limit int) ([]byte, error) {
	b := make([]byte, limit)
	n := 0
	for n < limit {
		got, err := syscall.Read(fd, b[n:])
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN, err == syscall.ECONNRESET: // a reset: it left input unread
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

func (p *childProcess) close() {
	_ = p.sock.Close()
	_ = p.stderr.Close()
}
