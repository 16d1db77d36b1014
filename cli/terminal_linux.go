package cli

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"unsafe"
)

// isTerminal reports that a person can type there.
func isTerminal(in *os.File) bool {
	var modes syscall.Termios
	return ioctl(in, syscall.TCGETS, &modes) == nil
}

// readHidden reads a line from a terminal without showing it (termios(3)). A signal that ends the
// program restores the terminal first. Stopping the program (^Z) has to wait: the shell would be
// left without an echo.
func readHidden(in *os.File, out io.Writer, prompt string) (string, error) {
	var before syscall.Termios
	if err := ioctl(in, syscall.TCGETS, &before); err != nil {
		return "", err
	}
	quiet := before
	quiet.Lflag &^= syscall.ECHO | syscall.ECHONL
	quiet.Lflag |= syscall.ICANON | syscall.ISIG
	quiet.Iflag |= syscall.ICRNL
	restore := func() { _ = ioctl(in, syscall.TCSETS, &before) }

	signal.Ignore(syscall.SIGTSTP)
	defer signal.Reset(syscall.SIGTSTP)
	signals := make(chan os.Signal, 1)
	for _, s := range []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT} {
		if !signal.Ignored(s) { // nohup
			signal.Notify(signals, s)
		}
	}
	defer signal.Stop(signals)
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case s := <-signals:
			restore()
			signal.Reset(s)
			_ = syscall.Kill(syscall.Getpid(), s.(syscall.Signal)) // it ends the program now
		case <-done:
		}
	}()

	if err := ioctl(in, syscall.TCSETS, &quiet); err != nil {
		return "", err
	}
	defer restore()
	fmt.Fprint(out, prompt)
	defer fmt.Fprintln(out) // the one that was typed is not shown either
	return readLine(in)
}

func ioctl(file *os.File, request uintptr, modes *syscall.Termios) error {
	if _, _,
		errno := syscall.Syscall(syscall.SYS_IOCTL, file.Fd(), request, uintptr(unsafe.Pointer(modes))); errno != 0 {
		return os.NewSyscallError("ioctl", errno)
	}
	return nil
}
