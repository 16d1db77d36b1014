package service

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
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
	"dockerauth/throttle"
)

// cgiMemory is when a CGI program begins to collect garbage after all, in bytes.
const cgiMemory = 64 << 20

// CGI answers the one request that a web server started the process for. It looks at no variable
// that is not the request's.
func CGI(streams cli.Streams) int {
	harden.ForgetEnvironment()
	env := os.Environ()
	os.Clearenv() // PAM modules run programs, and the variables hold the password
	stderr := newStderrWriter(streams.Err, new(atomic.Uint64))
	hardenProcess(stderr)
	// One request makes less garbage than collecting it costs, unless the configuration is huge.
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(cgiMemory)
	log := plainLogger(stderr)
	o := runtimeOptions{stderr: stderr, state: &state{}, checks: &throttle.Checks{},
		converse: func(cfg *config.Config, _ *stackState, _ *service) pamauth.Authenticator {
			return OneConversation(cfg, stderr)
		}}
	defer o.state.close() // after the answer
	r := &reloader{stderr: stderr,
		load: func(previous *service) (*service, error) { return loadFrom("", o, previous) }}
	o.state.live = slog.New(reloadHandler{reloader: r})
	if err := r.reload(); err != nil {
		log.Error("configuration is not usable", "reason", err.Error())
	}
	err := gateway.CGI(context.Background(), r, env, streams.In, streams.Out, options(r))
	if !o.state.later.isEmpty() {
		endOutput(streams.Out)
		o.state.later.finish()
	}
	pamauth.EndEarlyChild()
	if err != nil {
		log.Error("serve CGI request failed", "reason", err.Error())
		return cli.ExitError
	}
	return cli.ExitDone
}

// endOutput lets a web server see the end of the answer before the program's. The descriptor stays
// taken: a file that is opened later must not get what is meant for it.
func endOutput(out io.Writer) {
	file, ok := out.(*os.File)
	if !ok {
		return
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return // the web server waits for the program's end
	}
	defer null.Close()
	_ = syscall.Dup3(int(null.Fd()), int(file.Fd()), 0)
}

// loadFrom loads the configuration at path; "" = where FindConfig finds it.
func loadFrom(path string, o runtimeOptions, previous *service) (_ *service, err error) {
	if path == "" {
		if path, err = FindConfig(); err != nil {
			return nil, err
		}
	}
	return load(path, o, previous)
}

// FindConfig is the path of the configuration that a program without --config reads.
func FindConfig() (string, error) {
	executable, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find own binary: %w", err)
	}
	path, err := config.Find(executable, nil)
	if err == nil && pamauth.HasElevatedIDs() {
		// A hard link to the program finds the configuration of the user who made the link.
		err = pamauth.CheckRootOwned(path)
	}
	return path, err
}

// IsFastCGISocket reports that a web server has handed over a socket as fd 0.
func IsFastCGISocket(stdin *os.File) bool {
	return gateway.Detect(stdin.Fd(), os.Getenv) == gateway.FrontendFastCGI
}

// IsCGI reports that a web server has started this process as a CGI program.
func IsCGI(stdin *os.File) bool { return gateway.Detect(stdin.Fd(), os.Getenv) == gateway.FrontendCGI }

// FastCGISocket serves the socket that mod_fcgid or spawn-fcgi hands over as fd 0, with the
// configuration at path; "" = where FindConfig finds it. A web server restarts a program that ends
// again and again, so without a usable configuration it answers 503 until there is one.
func FastCGISocket(path string, streams cli.Streams) int {
	listener, err := gateway.StdinListener(streams.In)
	if err != nil {
		return cli.Fail(streams.Err, err)
	}
	r := newReloader(path, streams.Err, false)
	os.Clearenv()
	hardenProcess(r.stderr)
	if err := r.reload(); err != nil {
		r.report(err)
	}
	return serve(r, []net.Listener{listener}, gateway.ServeFastCGI, nil)
}

// Server is a service that stays.
type Server struct {
	Config  string         // path; "" = where FindConfig finds it
	Listen  string         // see gateway.Listen; "" = on Sockets
	Sockets []net.Listener // those of systemd
	Admin   string         // HOST:PORT or unix:PATH of the admin listener; "" = none

	serve serveFunc
}

// HTTP is a server that speaks HTTP.
func HTTP() Server { return Server{serve: gateway.ServeHTTP} }

// FastCGI is a server that speaks FastCGI.
func FastCGI() Server { return Server{serve: gateway.ServeFastCGI} }

// SystemdSockets are the listeners that systemd hands over.
func SystemdSockets() ([]net.Listener, error) {
	return gateway.SystemdListeners(os.Getenv, os.Getpid())
}

type serveFunc func(context.Context, net.Listener, http.Handler, gateway.Options) error

// Run serves until SIGTERM. A bad configuration or address ends it at once, with the cause on
// stderr: a person is watching. Behind a socket of systemd's nobody is, and systemd closes the
// socket of a service that ends again and again: there it answers 503 until there is a usable
// configuration.
func (s Server) Run(streams cli.Streams) int {
	r := newReloader(s.Config, streams.Err, true)
	os.Clearenv() // what is started from here needs none of it
	hardenProcess(r.stderr)
	fail := func(err error) int { return cli.Fail(r.stderr.at(priorityError), err) }
	if err := r.reload(); err != nil {
		if s.Listen != "" {
			return fail(err)
		}
		r.report(err)
	}
	listeners := s.Sockets
	if s.Listen != "" {
		listener, err := gateway.Listen(s.Listen)
		if err != nil {
			return fail(err)
		}
		listeners = append(listeners, listener)
	}
	admin, err := adminListener(s.Admin)
	if err != nil {
		for _, listener := range listeners {
			listener.Close() // with it the file of a unix socket
		}
		return fail(fmt.Errorf("--admin: %w", err))
	}
	return serve(r, listeners, s.serve, admin)
}

// newReloader is the service of a process that stays. It loads nothing yet: its caller decides what
// to do when that fails. It needs the environment.
func newReloader(path string, standardError io.Writer, mustLog bool) *reloader {
	m := newMetricSet()
	stderr := newStderrWriter(standardError, &m.droppedLines)
	stderr.journal = isJournal(standardError, os.Getenv("JOURNAL_STREAM"))
	c := newConversations(func(cfg *config.Config) pamauth.Authenticator {
		return child(cfg, stderr.at(priorityWarning)) // what a module prints must not choose its priority
	}, m)
	r := &reloader{stderr: stderr, metrics: m, onReload: func(s *service) { go s.warn() }}
	o := runtimeOptions{stderr: stderr, mustLog: mustLog, checks: &throttle.Checks{}, observe: m.requestEnded,
		state: newState(slog.New(reloadHandler{reloader: r})), converse: c.of}
	r.state = o.state
	r.load = func(previous *service) (*service, error) {
		s, err := loadFrom(path, o, previous)
		if err == nil {
			s.config.Access.Index()
		}
		return s, err
	}
	return r
}

// serverMemory is when a process that stays collects garbage before its time, in bytes: a thousand
// requests at once leave more of it than they need.
const serverMemory = 48 << 20

// serverGarbage is how much of it may be left before that, in percent of what is in use. By Go's
// 100, half of the processor time goes into collecting where there are ten thousand rules.
const serverGarbage, goGarbage = 200, 100

// limitMemory leaves what GOMEMLIMIT and GOGC say.
func limitMemory() {
	if was := debug.SetGCPercent(serverGarbage); was != goGarbage {
		debug.SetGCPercent(was)
	}
	if debug.SetMemoryLimit(-1) == math.MaxInt64 {
		debug.SetMemoryLimit(serverMemory)
	}
}

// serve runs the service behind its front end until SIGTERM or SIGINT, and lets requests finish.
// admin may be nil.
func serve(r *reloader, listeners []net.Listener, frontEnd serveFunc, admin net.Listener) int {
	limitMemory()
	defer r.state.close()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	// A log whose reader has gone is an error of the write, and no reason to end.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGUSR1)
	defer signal.Stop(signals)
	go r.watch(ctx, signals)

	var adminDone sync.WaitGroup
	if admin != nil {
		adminDone.Go(func() { serveAdmin(ctx, r, admin) })
	}
	done := make(chan error, len(listeners))
	for _, listener := range listeners {
		r.log().Info("listening", "address", listener.Addr().String(), "version", cli.Version())
		go func() { done <- frontEnd(ctx, listener, r, options(r)) }()
	}
	code := cli.ExitDone
	for range listeners {
		if err := <-done; err != nil {
			stop() // one listener that fails ends them all: half a service is noticed late
			r.log().Error("stop serving", "reason", err.Error())
			code = cli.ExitError
		}
	}
	adminDone.Wait()
	r.state.later.finish()
	if code == cli.ExitDone {
		r.log().Info("stopped")
	}
	return code
}

// Harden keeps passwords in this process, and what it inherited out of the programs that it starts.
// When that fails, the service works all the same.
func Harden(stderr io.Writer) { hardenProcess(newStderrWriter(stderr, new(atomic.Uint64))) }

func hardenProcess(stderr *logWriter) {
	if err := harden.Process(); err != nil {
		plainLogger(stderr).Error("process hardening failed", "reason", err.Error())
	}
}

func options(r *reloader) gateway.Options {
	return gateway.Options{Log: slog.New(reloadHandler{reloader: r}), Program: filepath.Base(os.Args[0]),
		Trusted: r.trusts}
}
