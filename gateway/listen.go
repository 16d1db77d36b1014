package gateway

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// socketMode lets owner and group connect, which takes the right to write. The group is the web
// server's; the unit file or the set-gid bit of the folder sets it.
const socketMode = 0o660

// maxSocketPath is the size of sun_path (unix(7)) without the NUL at its end.
const maxSocketPath = 107

// Listen opens "unix:PATH" or "tcp:HOST:PORT". It replaces a unix socket that no process listens
// on; one that answers is an error. HOST must not be empty: "tcp::9000" would listen on every
// interface, and anyone who reaches a FastCGI port may claim any client address.
func Listen(spec string) (net.Listener, error) {
	network, address, _ := strings.Cut(spec, ":")
	switch network {
	case "unix":
		return listenUnix(address)
	case "tcp":
		return listenTCP(address)
	}
	return nil, fmt.Errorf("listen on %q: unknown kind of address\n  write unix:PATH or tcp:HOST:PORT", spec)
}

func listenTCP(address string) (net.Listener, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil || port == "" {
		return nil, fmt.Errorf("listen on %q: not HOST:PORT\n  for example 127.0.0.1:9000 or [::1]:9000", address)
	}
	if host == "" {
		return nil, fmt.Errorf("listen on %q: no host\n"+
			"  127.0.0.1:%s is for this machine only, 0.0.0.0:%s for everyone", address, port, port)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen on %q: %w\n  %s", address, errnoOf(err), remedy(err))
	}
	return l, nil
}

// remedy says what to do about a failed listen on a TCP address.
func remedy(err error) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return "stop what listens there (ss -ltnp shows it), or choose another port"
	case errors.Is(err, syscall.EACCES):
		return "choose a port above 1023, or let systemd open the socket"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "HOST must be an address of this machine (ip addr shows them)"
	}
	return "HOST is an address of this machine, PORT a number from 1 to 65535"
}

func listenUnix(path string) (net.Listener, error) {
	if path == "" || path[0] == '@' {
		return nil, fmt.Errorf("listen on %q: not a path of a socket\n"+
			"  write unix:/run/dockerauth/socket or the like; abstract sockets have no owner and no mode", path)
	}
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("listen on %q: path of a socket is longer than %d bytes\n  choose a shorter one",
			path, maxSocketPath)
	}
	if err := removeStale(path); err != nil {
		return nil, fmt.Errorf("listen on %q: %w", path, err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on %q: %w\n  create the folder, and let the service's user write there",
			path, errnoOf(err))
	}
	// The umask has decided until here. To set it would affect every thread of the process.
	if err := os.Chmod(path, socketMode); err != nil {
		l.Close()
		return nil, fmt.Errorf("listen on %q: %w", path, errnoOf(err))
	}
	return l, nil
}

// removeStale removes a socket that refuses connections, since its process is gone. It removes
// nothing but sockets.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return errnoOf(err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return errors.New("there is something else with this name\n  remove it or choose another path")
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		c.Close()
		return errors.New("another process is listening there\n  stop it or choose another path")
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return errnoOf(err)
	}
	return os.Remove(path)
}

// errnoOf is the system's error without the path, which the caller has quoted already.
func errnoOf(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

// StdinListener returns the listening socket that a FastCGI process manager passes as fd 0 (FastCGI
// 1.0 §2.2). It closes f: a second descriptor would keep the socket accepting after the listener is
// closed.
func StdinListener(f *os.File) (net.Listener, error) {
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("listen on standard input: %w", errnoOf(err))
	}
	f.Close()
	// The lowest free descriptor is 0 now. /dev/null takes it for good, so that no other file
	// becomes standard input.
	_, _ = syscall.Open(os.DevNull, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	return l, nil
}

const (
	firstSystemdSocket = 3  // sd_listen_fds(3)
	maxSystemdSockets  = 64 // a unit has one or two; a wrong number must not close all files
)

// SystemdListeners returns the listening sockets that systemd passed to process pid
// (sd_listen_fds(3)), or nil if there are none or they are for another process. The variables stay
// in the environment; a caller that starts children removes them.
func SystemdListeners(getenv func(string) string, pid int) ([]net.Listener, error) {
	if getenv("LISTEN_PID") != strconv.Itoa(pid) {
		return nil, nil
	}
	n, err := strconv.Atoi(getenv("LISTEN_FDS"))
	if err != nil || n < 0 || n > maxSystemdSockets {
		return nil, fmt.Errorf("read LISTEN_FDS: %q is not a number up to %d",
			getenv("LISTEN_FDS"), maxSystemdSockets)
	}
	for fd := firstSystemdSocket; fd < firstSystemdSocket+n; fd++ {
		syscall.CloseOnExec(fd)
	}
	return fileListeners(firstSystemdSocket, n)
}

// fileListeners turns n descriptors into listeners, all or none.
func fileListeners(first, n int) ([]net.Listener, error) {
	var listeners []net.Listener
	for fd := first; fd < first+n; fd++ {
		f := os.NewFile(uintptr(fd), "socket "+strconv.Itoa(fd))
		l, err := net.FileListener(f) // a duplicate, closed on exec
		f.Close()
		if err != nil {
			for _, l := range listeners {
				l.Close()
			}
			return nil, fmt.Errorf("listen on socket %d from systemd: %w\n"+
				"  the unit must be a stream socket with Accept=no", fd, errnoOf(err))
		}
		listeners = append(listeners, l)
	}
	return listeners, nil
}
