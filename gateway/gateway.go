// Package gateway provides the front ends CGI, FastCGI and HTTP, through which a web server or
// proxy calls one [http.Handler].
//
// [Detect] says how the process was started. [CGI] answers one request; [ServeFastCGI] and
// [ServeHTTP] serve a listener until their context ends. Listeners come from [Listen],
// [StdinListener] or [SystemdListeners].
//
// A front end keeps limits and deadlines, recovers panics and finishes requests at shutdown. What
// it answers by itself is JSON with a status, since registry clients read nothing else.
//
// The handler sees the same request in every front end:
//
//   - URL.Path is the path below the mount point, cleaned. URL.RawQuery is the original query.
//   - Header has Authorization, whichever variable held it, and neither Proxy nor Remote-User.
//   - RemoteAddr is "ip:port" of the client. In CGI and FastCGI it is the address that the web
//     server names. In HTTP it is the peer's address, or "ip:0" of the client that a trusted proxy
//     names. It is ":0" when no address is known, which is logged once. The address of an IPv4
//     client is IPv4, also where it arrives in an IPv6 notation, and no address has a zone.
//   - Host is empty, since it is only the client's claim.
//   - Body can be read to its end. ContentLength is -1 when the length was not announced.
//   - The context ends after 60 seconds at the latest. In HTTP it ends when the web server
//     disconnects, in FastCGI within 10 milliseconds.
//
// The handler's response is buffered until the handler returns. So a panic never leaves half a
// response, and every response with a body has a Content-Length.
package gateway

import (
	"log/slog"
	"net/netip"
	"syscall"
	"time"
)

// Options configure a front end.
type Options struct {
	Log     *slog.Logger  // nil = discard
	Program string        // base name of the program in the web server's SCRIPT_NAME
	Grace   time.Duration // for requests in flight at shutdown; 0 = 15 s

	// Trusted reports whether a peer of the HTTP front end is a proxy whose X-Forwarded-For is
	// believed. nil = no peer is. Addresses have the form of RemoteAddr; the peer of a unix socket
	// is the zero Addr. CGI and FastCGI do not ask, because there the web server names the
	// client. Concurrent requests call it.
	Trusted func(peer netip.Addr) bool

	MaxConns int // limit on open connections; 0 = default of the front end

	once *warnings // of this front end
}

// defaultGrace is less than the 20 s and more that systemd and Apache wait before they send
// SIGKILL, and more than the 10 s that a PAM conversation may take.
const defaultGrace = 15 * time.Second

func (o Options) withDefaults() Options {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Grace <= 0 {
		o.Grace = defaultGrace
	}
	o.once = &warnings{}
	return o
}

// Limits that front ends share.
const (
	// requestTimeout is for the handler. Apache's Timeout and nginx's fastcgi_read_timeout are
	// 60 s by default; no client waits longer.
	requestTimeout = 60 * time.Second

	// bodyTimeout is for the arrival of a request body. docker gives up a login after 15 s.
	bodyTimeout = 30 * time.Second

	// writeTimeout is for the sending of one response.
	writeTimeout = 30 * time.Second

	// idleTimeout is how long a connection waits for its next request. nginx closes its end of an
	// idle connection after 60 s.
	idleTimeout = 60 * time.Second

	// handlerGrace is how long a handler whose context has ended may still answer.
	handlerGrace = 2 * time.Second

	// maxBody is how much of a body is kept for the handler. The token endpoint reads 64 KiB and
	// decides itself what is too much.
	maxBody = 256 << 10

	// maxDrainBytes is how much unread body is received and discarded. A client that is still
	// sending when the connection closes loses the response: mod_cgid delays it by five seconds,
	// TCP sends a reset.
	maxDrainBytes = 32 << 20
)

// Frontend is the way in which a process was started.
type Frontend int

const (
	FrontendNone    Frontend = iota // a command line
	FrontendCGI                     // one request in the environment and standard input
	FrontendFastCGI                 // standard input is a listening socket
)

// Detect tells the front ends apart. A FastCGI program has a listening socket as fd 0 (FastCGI 1.0
// §2.2). mod_cgid gives CGI programs a connected one, so a socket alone says nothing. Variables are
// looked at second: a FastCGI process may inherit them from the environment of its web server.
func Detect(fd0 uintptr, getenv func(string) string) Frontend {
	listening, err := syscall.GetsockoptInt(int(fd0), syscall.SOL_SOCKET, syscall.SO_ACCEPTCONN)
	if err == nil && listening != 0 {
		return FrontendFastCGI
	}
	if getenv("GATEWAY_INTERFACE") != "" || getenv("REQUEST_METHOD") != "" {
		return FrontendCGI
	}
	return FrontendNone
}
