package command

import (
	"context"
	"errors"
	"flag"
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

	"dockerauth/config"
	"dockerauth/gateway"
	"dockerauth/pamauth"
)

// Exit codes: 0 done, 1 it did not work, 2 it was called wrongly.
const (
	exitDone  = 0
	exitError = 1
	exitUsage = 2
)

// Streams are the three files of a process.
type Streams struct {
	In       *os.File
	Out, Err io.Writer
}

// cgiMemory is when the CGI door begins to collect garbage after all, in bytes.
const cgiMemory = 64 << 20

// CGI answers the one request that a web server started the process for. The
// arguments are not looked at: a web server makes them of the query string
// (RFC 3875 §4.4), so they are the client's. Neither is any variable that is
// not the request's.
func CGI(streams Streams) int {
	env := os.Environ()
	os.Clearenv() // PAM modules run programs, and the password stands in there
	harden(streams.Err)
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
		return exitError
	}
	return exitDone
}

// loadBeside loads the configuration beside the binary.
func loadBeside(d door) (*service, error) {
	path, err := findConfig()
	if err != nil {
		return nil, err
	}
	return load(path, d)
}

func findConfig() (string, error) {
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

// FastCGIOnStdin serves the socket that mod_fcgid or spawn-fcgi hands over as
// fd 0. A web server restarts a program that ends at once again and again, so
// a configuration that is not usable is answered with 503 until it is.
func FastCGIOnStdin(args []string, streams Streams) int {
	var path string
	if len(args) > 0 && pamauth.Borrowed() {
		fmt.Fprintln(streams.Err, "dockerauth: a set-group-id program takes no arguments on a FastCGI socket")
		return exitUsage
	}
	if len(args) > 0 { // a wrapper line such as "dockerauth fastcgi --config F"
		flags := newFlags("fastcgi")
		flags.StringVar(&path, "config", "", "")
		admin := flags.String("admin", "", "")
		if args[0] != "fastcgi" || flags.Parse(args[1:]) != nil || flags.NArg() > 0 {
			fmt.Fprintln(streams.Err, "dockerauth: on a FastCGI socket only \"fastcgi --config FILE\" is understood")
			return exitUsage
		}
		if *admin != "" {
			fmt.Fprintln(streams.Err, "dockerauth: --admin cannot be had on a FastCGI socket that a web server hands over: it starts several processes, and one address is for one\n"+
				"  start a service of its own: dockerauth fastcgi --listen unix:PATH --admin HOST:PORT")
			return exitUsage
		}
	}
	listener, err := gateway.StdinListener(streams.In)
	if err != nil {
		return fail(streams.Err, err)
	}
	os.Clearenv()
	harden(streams.Err)
	l := newLive(path, streams.Err, false)
	if err := l.reload(); err != nil {
		l.report(err)
	}
	return serve(l, []net.Listener{listener}, gateway.ServeFastCGI, nil)
}

// FastCGI is the command "fastcgi".
func FastCGI(args []string, streams Streams) int {
	return longLived("fastcgi", "unix:PATH or tcp:HOST:PORT", func(spec string) string { return spec }, gateway.ServeFastCGI, args, streams)
}

// HTTP is the command "http".
func HTTP(args []string, streams Streams) int {
	return longLived("http", "HOST:PORT", func(spec string) string { return "tcp:" + spec }, gateway.ServeHTTP, args, streams)
}

type serveFunc func(context.Context, net.Listener, http.Handler, gateway.Options) error

// longLived is what the two commands that stay have in common: a bad
// configuration or address ends them at once, with the cause on stderr, since
// a person is watching. Behind a socket of systemd's nobody is, and a service
// that ends again and again makes systemd close the socket for good: there a
// configuration that is not usable is answered with 503 until it is.
func longLived(name, form string, spec func(string) string, door serveFunc, args []string, streams Streams) int {
	flags := newFlags(name)
	path := flags.String("config", "", "")
	listen := flags.String("listen", "", "")
	adminAt := flags.String("admin", "", "")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(streams.Out, helpOf(name))
		return exitDone
	case err != nil:
		return misused(streams.Err, flags, err)
	case flags.NArg() > 0:
		fmt.Fprintf(streams.Err, "dockerauth %s: unexpected argument %q\n  see dockerauth %s --help\n", name, flags.Arg(0), name)
		return exitUsage
	}
	listeners, err := gateway.SystemdListeners(os.Getenv, os.Getpid())
	if err != nil {
		return fail(streams.Err, err)
	}
	if len(listeners) == 0 && *listen == "" {
		fmt.Fprintf(streams.Err, "dockerauth %s: no address to listen on\n  give --listen %s, or start it from a systemd socket unit\n", name, form)
		return exitUsage
	}
	if len(listeners) > 0 && *listen != "" {
		fmt.Fprintf(streams.Err, "dockerauth %s: both --listen and a socket from systemd\n  leave one of them out\n", name)
		return exitUsage
	}
	os.Clearenv() // nothing that is started from here has a use for it
	harden(streams.Err)
	l := newLive(*path, streams.Err, true)
	if err := l.reload(); err != nil {
		if *listen != "" {
			return fail(streams.Err, err)
		}
		l.report(err)
	}
	if *listen != "" {
		listener, err := gateway.Listen(spec(*listen))
		if err != nil {
			return fail(streams.Err, err)
		}
		listeners = append(listeners, listener)
	}
	admin, err := adminListener(*adminAt)
	if err != nil {
		for _, listener := range listeners {
			listener.Close() // with it the file of a unix socket
		}
		return fail(streams.Err, fmt.Errorf("--admin: %w", err))
	}
	return serve(l, listeners, door, admin)
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
		l.log().Info("listening", "address", listener.Addr().String(), "version", Version())
		go func() { done <- door(ctx, listener, l, options(l)) }()
	}
	code := exitDone
	for range listeners {
		if err := <-done; err != nil {
			stop() // one door that fails ends them all: half a service is found out late
			l.log().Error("stop serving", "reason", err.Error())
			code = exitError
		}
	}
	beside.Wait()
	if code == exitDone {
		l.log().Info("stopped")
	}
	return code
}

// harden keeps passwords in this process, and what it inherited out of the programs that it starts. Without that it works all the same.
func harden(stderr io.Writer) {
	if err := pamauth.Harden(); err != nil {
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

func fail(stderr io.Writer, err error) int {
	fmt.Fprintf(stderr, "dockerauth: %v\n", err)
	return exitError
}

// newFlags is a flag set that prints nothing by itself.
func newFlags(name string) *flag.FlagSet {
	flags := flag.NewFlagSet("dockerauth "+name, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	return flags
}

// misused says what is wrong with a command's flags.
func misused(stderr io.Writer, flags *flag.FlagSet, err error) int {
	fmt.Fprintf(stderr, "%s: %v\n  see %[1]s --help\n", flags.Name(), err)
	return exitUsage
}
