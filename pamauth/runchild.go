//go:build linux && cgo

package pamauth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// RunChild is what a program that Child starts must do, and nothing before it. It calls hide, which
// makes the process unreadable to others of its user. Then it reports that it is ready, reads the
// request from stdin, runs the conversation, and writes the response to stdout. It returns the exit
// status; the process should exit.
//
// When stdin ends early, the parent has given up or died: RunChild kills what the modules started
// and returns. With elevated ids (HasElevatedIDs) it accepts requests from its own program only.
func RunChild(stdin io.Reader, stdout io.Writer, hide func() error) int {
	// A service manager signals every process of the service. The child ends with its conversation,
	// or when its parent does.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	if err := runChild(stdin, stdout, hide); err != nil {
		fmt.Fprintln(os.Stderr, "dockerauth: run pam conversation:", err)
		return 1
	}
	return 0
}

func runChild(stdin io.Reader, stdout io.Writer, hide func() error) error {
	if err := hide(); err != nil {
		return err
	}
	if err := checkSender(stdin); err != nil {
		return err
	}
	// From Linux-PAM 1.6 on, pam_unix always asks unix_chkpwd, which goes back to the real group.
	if HasElevatedIDs() {
		if err := syscall.Setregid(os.Getegid(), -1); err != nil {
			return os.NewSyscallError("setregid", err)
		}
	}
	in, out, err := detachStdio(stdin, stdout)
	if err != nil {
		return err
	}
	if _, err := out.Write([]byte{readyByte}); err != nil {
		return err
	}
	r, err := readRequest(in)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, in)
		cancel()
	}()
	account, err := inProcess{Stack: r.Stack, NoNewPrivileges: true}.authenticate(ctx, r.Login, r.Tag)
	_, err = out.Write(responseFor(account, err).encode())
	return err
}

// checkSender protects a set-group-id program: anyone who can start it could otherwise have it ask
// PAM anything, past configuration, blacklist and throttle. The kernel records the ids of the
// process that made a socket pair. A user who starts this process has fewer rights than it. A
// process with the same ids is this program as a front end, whose socket nobody else can get.
func checkSender(stdin io.Reader) error {
	if !HasElevatedIDs() {
		return nil
	}
	if f, ok := stdin.(*os.File); ok {
		sender, err := syscall.GetsockoptUcred(int(f.Fd()), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
		if err == nil && int(sender.Uid) == os.Geteuid() && int(sender.Gid) == os.Getegid() {
			return nil
		}
	}
	return errors.New("request does not come from this program\n" +
		"  a set-group-id program runs PAM conversations for its own front ends only")
}

// detachStdio moves standard input and output out of the modules' reach. What modules read is
// empty, and what they print to stdout goes to stderr.
func detachStdio(stdin io.Reader, stdout io.Writer) (io.Reader, io.Writer, error) {
	if f, ok := stdin.(*os.File); ok {
		null, err := os.Open(os.DevNull)
		if err != nil {
			return nil, nil, err
		}
		defer null.Close()
		if stdin, err = detachFD(f, int(null.Fd())); err != nil {
			return nil, nil, err
		}
	}
	if f, ok := stdout.(*os.File); ok {
		var err error
		if stdout, err = detachFD(f, int(os.Stderr.Fd())); err != nil {
			return nil, nil, err
		}
	}
	return stdin, stdout, nil
}
