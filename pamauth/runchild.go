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

// RunChild is what the program that Child starts must do, and nothing before it: hide, say so on stdout, read the order from stdin, hold the
// conversation, write the verdict to stdout. hide makes the process unreadable to others of its user. It returns the status to exit with, and the process should exit. When stdin ends before that, the
// parent has given up or died: RunChild kills what the modules started and returns. A Borrowed process takes orders from its like only.
func RunChild(stdin io.Reader, stdout io.Writer, hide func() error) int {
	// A service manager signals every process of the service. This one ends with its conversation, or when the parent does.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	if err := runChild(stdin, stdout, hide); err != nil {
		fmt.Fprintln(os.Stderr, "dockerauth: hold pam conversation:", err)
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
	in, out, err := TakeAside(stdin, stdout)
	if err != nil {
		return err
	}
	if _, err := out.Write([]byte{greeting}); err != nil {
		return err
	}
	o, err := readOrder(in)
	if err != nil {
		return err
	}
	ctx, giveUp := context.WithCancel(context.Background())
	defer giveUp()
	go func() {
		_, _ = io.Copy(io.Discard, in)
		giveUp()
	}()
	account, err := InProcess{Stack: o.Stack, TTY: o.TTY, NoNewPrivileges: true}.hold(ctx, o.Login, o.Brand)
	_, err = out.Write(verdictOn(account, err).encode())
	return err
}

// checkSender keeps whoever can start a set-group-id program from having it ask PAM what he likes, past configuration, blacklist and throttle.
// The kernel notes with a socket pair the rights of the process that made it. The one who started this process has less than these rights; one
// that has them all is this program behind one of its doors, out of whose hands nobody gets its end of the pair.
func checkSender(stdin io.Reader) error {
	if !Borrowed() {
		return nil
	}
	if f, ok := stdin.(*os.File); ok {
		sender, err := syscall.GetsockoptUcred(int(f.Fd()), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
		if err == nil && int(sender.Uid) == os.Geteuid() && int(sender.Gid) == os.Getegid() {
			return nil
		}
	}
	return errors.New("the order does not come from this program\n  a set-group-id program holds conversations for its own web server's doors only")
}

// TakeAside keeps two files of a process, its standard input and output, out of the modules' hands: they read nothing, and what they print to stdout goes to stderr.
func TakeAside(stdin io.Reader, stdout io.Writer) (io.Reader, io.Writer, error) {
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
