package service

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"

	"dockerauth/cli"
	"dockerauth/config"
	"dockerauth/gateway"
	"dockerauth/harden"
	"dockerauth/pamauth"
)

// cgiMemory is when the CGI door begins to collect garbage after all, in bytes.
const cgiMemory = 64 << 20

// CGI answers the one request that a web server started the process for. The
// arguments are not looked at: a web server makes them of the query string
// (RFC 3875 §4.4), so they are the client's. Neither is any variable that is
// not the request's.
func CGI(streams cli.Streams) int {
	harden.ForgetEnvironment()
	env := os.Environ()
	os.Clearenv() // PAM modules run programs, and the password stands in there
	Harden(streams.Err)
	// One request makes less garbage than collecting it costs, unless the configuration is huge.
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(cgiMemory)
	stderr := stderrLines(streams.Err, new(atomic.Uint64))
	log := plainLogger(stderr)
	l := &live{load: func() (*service, error) {
		return loadBeside(door{stderr: stderr, tallies: inFolder, converse: func(cfg *config.Config) pamauth.Conversation {
			return OneConversation(cfg, stderr)
		}})
	}, stderr: stderr}
	if err := l.reload(); err != nil {
		log.Error("configuration is not usable", "reason", err.Error())
	}
	if err := gateway.CGI(context.Background(), l, env, streams.In, streams.Out, options(l)); err != nil {
		log.Error("answer request", "reason", err.Error())
		return cli.ExitError
	}
	return cli.ExitDone
}

// loadBeside loads the configuration beside the binary.
func loadBeside(d door) (*service, error) {
	path, err := FindConfig()
	if err != nil {
		return nil, err
	}
	return load(path, d)
}

// FindConfig is the path of the configuration that a program without --config reads.
func FindConfig() (string, error) {
	executable, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find own binary: %w", err)
	}
	path, err := config.Find(executable, nil)
	if err == nil && pamauth.Borrowed() {
		// A hard link to the program finds the configuration of whoever made the link.
		err = pamauth.CheckTrust(path)
	}
	return path, err
}

// FastCGISocket serves the socket that mod_fcgid or spawn-fcgi hands over as fd 0, with the configuration at path; "" = beside
// the binary. A web server restarts a program that ends at once again and again, so a configuration that is not usable is
// answered with 503 until it is.
func FastCGISocket(path string, streams cli.Streams) int {
	listener, err := gateway.StdinListener(streams.In)
	if err != nil {
		return cli.Fail(streams.Err, err)
	}
	os.Clearenv()
	Harden(streams.Err)
	l := newLive(path, streams.Err, false)
	if err := l.reload(); err != nil {
		l.report(err)
	}
	return serve(l, []net.Listener{listener}, gateway.ServeFastCGI, nil)
}

// Server is a service that stays.
type Server struct {
	Config string // path; "" = beside the binary
	Listen string // see gateway.Listen; "" = on Sockets
	Admin  string // HOST:PORT or unix:PATH of the admin listener; "" = none

	Sockets []net.Listener // those of systemd
	serve   serveFunc
}

// HTTP is a server that speaks HTTP, FastCGI one that speaks FastCGI.
func HTTP() Server    { return Server{serve: gateway.ServeHTTP} }
func FastCGI() Server { return Server{serve: gateway.ServeFastCGI} }

// SystemdSockets are the listeners that systemd hands over.
func SystemdSockets() ([]net.Listener, error) {
	return gateway.SystemdListeners(os.Getenv, os.Getpid())
}

type serveFunc func(context.Context, net.Listener, http.Handler, gateway.Options) error

// Run serves until SIGTERM. A bad configuration or address ends it at once, with the cause on stderr, since a person is
// watching. Behind a socket of systemd's nobody is, and a service that ends again and again makes systemd close the socket for
// good: there a configuration that is not usable is answered with 503 until it is.
func (s Server) Run(streams cli.Streams) int {
	os.Clearenv() // nothing that is started from here has a use for it
	Harden(streams.Err)
	l := newLive(s.Config, streams.Err, true)
	if err := l.reload(); err != nil {
		if s.Listen != "" {
			return cli.Fail(streams.Err, err)
		}
		l.report(err)
	}
	listeners := s.Sockets
	if s.Listen != "" {
		listener, err := gateway.Listen(s.Listen)
		if err != nil {
			return cli.Fail(streams.Err, err)
		}
		listeners = append(listeners, listener)
	}
	admin, err := adminListener(s.Admin)
	if err != nil {
		for _, listener := range listeners {
			listener.Close() // with it the file of a unix socket
		}
		return cli.Fail(streams.Err, fmt.Errorf("--admin: %w", err))
	}
	return serve(l, listeners, s.serve, admin)
}

// newLive is the service of a long-lived door; path "" = beside the binary.
// The first load is the caller's, who decides whether to go on without.
func newLive(path string, standardError io.Writer, mustLog bool) *live {
	f := newFigures()
	stderr := stderrLines(standardError, &f.losses)
	d := door{stderr: stderr, mustLog: mustLog, tallies: inMemory(), observe: f.observe, converse: func(cfg *config.Config) pamauth.Conversation {
		cfg.Access.Index()
		return f.conversation(cfg, child(cfg, "", stderr))
	}}
	return &live{
		stderr:  stderr,
		figures: f,
		load: func() (*service, error) {
			if path != "" {
				return load(path, d)
			}
			return loadBeside(d)
		},
		begin: func(s *service) { go s.warn() },
	}
}

// frontMemory is when a long-lived door collects garbage before its time, in bytes: a thousand requests at once leave more
// of it than they need. GOMEMLIMIT in its environment comes before it.
const frontMemory = 48 << 20

func limitMemory() {
	if debug.SetMemoryLimit(-1) == math.MaxInt64 {
		debug.SetMemoryLimit(frontMemory)
	}
}

// serve stands the service behind its door until SIGTERM or SIGINT, and lets
// what is under way finish. admin may be nil.
func serve(l *live, listeners []net.Listener, door serveFunc, admin net.Listener) int {
	limitMemory()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	// A log whose reader has gone is an error of the write, and no reason to end.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	go l.watch(ctx, hangup)

	var beside sync.WaitGroup
	if admin != nil {
		beside.Go(func() { l.serveAdmin(ctx, admin) })
	}
	done := make(chan error, len(listeners))
	for _, listener := range listeners {
		l.log().Info("listening", "address", listener.Addr().String(), "version", cli.Version())
		go func() { done <- door(ctx, listener, l, options(l)) }()
	}
	code := cli.ExitDone
	for range listeners {
		if err := <-done; err != nil {
			stop() // one door that fails ends them all: half a service is found out late
			l.log().Error("stop serving", "reason", err.Error())
			code = cli.ExitError
		}
	}
	beside.Wait()
	if code == cli.ExitDone {
		l.log().Info("stopped")
	}
	return code
}

// Harden keeps passwords in this process, and what it inherited out of the programs that it starts. Without that it works all the same.
func Harden(stderr io.Writer) {
	if err := harden.Process(); err != nil {
		plainLogger(stderr).Error("harden this process", "reason", err.Error())
	}
}

func options(l *live) gateway.Options {
	return gateway.Options{Log: slog.New(liveLog{l}), Program: filepath.Base(os.Args[0]), Trusted: l.trusts}
}

// trusts asks the configuration in force.
func (l *live) trusts(peer netip.Addr) bool {
	s := l.current.Load()
	return s != nil && s.config.TrustedProxies.Trust(peer)
}

// IsFastCGISocket reports that a web server has handed over a socket as fd 0, IsCGI that it has started a CGI program.
func IsFastCGISocket(stdin *os.File) bool {
	return gateway.Detect(stdin.Fd(), os.Getenv) == gateway.DoorFastCGI
}

func IsCGI(stdin *os.File) bool { return gateway.Detect(stdin.Fd(), os.Getenv) == gateway.DoorCGI }
