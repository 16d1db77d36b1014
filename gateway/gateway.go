// Package gateway is the doors through which a web server reaches one
// http.Handler: CGI, FastCGI and plain HTTP.
//
// Bytes come in, the handler is called, bytes go out. Whatever a door has to say
// by itself (a request that makes no sense, a panic, a shutdown) is JSON with a
// status, in every door, because registry clients cannot read anything else.
//
// What the handler sees is the same behind every door:
//
//   - URL.Path is the path below the mount point, cleaned; URL.RawQuery the original query;
//   - Header has Authorization, whichever variable carried it, and neither Proxy nor Remote-User;
//   - RemoteAddr is "ip:port" of the peer that the web server names (":0" when it names none), in
//     the HTTP door that of the peer itself, or "ip:0" of the client that a trusted proxy names;
//   - Host is empty: it is the client's claim, and nothing here depends on it;
//   - Body can be read to its end, ContentLength is -1 when nobody announced it;
//   - the context ends when the web server goes away, and after requestTime at the latest.
//
// The handler's answer is held in memory until it returns. So a panic never
// leaves half an answer, and every answer has its Content-Length.
package gateway

import (
	"log/slog"
	"net/netip"
	"syscall"
	"time"
)

// Options are what the doors need to know about the program around them.
type Options struct {
	Log     *slog.Logger  // nil = discard
	Program string        // base name of the program as the web server knows it, to recognise SCRIPT_NAME
	Grace   time.Duration // how long requests under way may take after shutdown; 0 = 15 s

	// Trusted says which peers of the HTTP door are proxies whose X-Forwarded-For is believed.
	// nil = nobody. A peer that came through a unix socket has no address: it is asked for as the
	// zero Addr, and trusted only if that is. Addresses come unmapped and without a zone. The other doors do
	// not ask: there the web server itself names the client. Called by many requests at once.
	Trusted func(peer netip.Addr) bool

	MaxConns int // how many connections may be open; 0 = as many as the door sees fit
}

// defaultGrace fits under the 20 s and more that systemd and Apache wait before
// they send SIGKILL, and over the 10 s that a PAM conversation may take.
const defaultGrace = 15 * time.Second

func (o Options) withDefaults() Options {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Grace <= 0 {
		o.Grace = defaultGrace
	}
	return o
}

// Bounds that hold in every door.
const (
	// requestTime is how long a handler may take. Apache's Timeout and nginx's
	// fastcgi_read_timeout are 60 s by default; nobody listens after that.
	requestTimeout = 60 * time.Second

	// bodyTime is how long a body may take to arrive. docker gives up a login
	// after 15 s; nobody sends 64 KiB for longer than this.
	bodyTimeout = 30 * time.Second

	// lastWord is how long a handler whose context has ended is waited for.
	handlerGrace = 2 * time.Second

	// maxBody is how much of a body is kept for the handler. Well above what the
	// token endpoint reads (64 KiB), so that the handler decides what is too
	// much; well below what would hurt when every connection does it.
	maxBody = 256 << 10

	// drainBytes is how much unread body is taken in, only to be thrown away. A
	// peer that is still writing when we leave loses our answer: mod_cgid makes
	// the client wait five seconds for it, TCP answers with a reset.
	maxDrainBytes = 32 << 20
)

// Door is the way in which this process was started.
type Frontend int

const (
	FrontendNone    Frontend = iota // a person, or something that needs a command
	FrontendCGI                     // one request in environment and stdin
	FrontendFastCGI                 // fd 0 is a listening socket
)

// Detect tells the doors apart. FastCGI gives a socket that *accepts* as fd 0
// (FastCGI 1.0 §2.2); mod_cgid gives CGI programs a connected one, so being a
// socket is not enough. The environment comes second: mod_fcgid and spawn-fcgi
// set no GATEWAY_INTERFACE, but may pass on one from the environment they were started in.
func Detect(fd0 uintptr, getenv func(string) string) Frontend {
	accepts, err := syscall.GetsockoptInt(int(fd0), syscall.SOL_SOCKET, syscall.SO_ACCEPTCONN)
	if err == nil && accepts != 0 {
		return FrontendFastCGI
	}
	if getenv("GATEWAY_INTERFACE") != "" || getenv("REQUEST_METHOD") != "" {
		return FrontendCGI
	}
	return FrontendNone
}
