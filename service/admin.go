package service

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"dockerauth/gateway"
	"dockerauth/metrics"
)

// The bounds of the admin listener: one or two probes and a Prometheus ask it every few seconds.
const (
	adminConns = 16
	adminGrace = time.Second
)

// adminListener opens what --admin names, HOST:PORT or unix:PATH; "" is none.
func adminListener(spec string) (net.Listener, error) {
	switch {
	case spec == "":
		return nil, nil
	case !strings.HasPrefix(spec, "unix:"):
		spec = "tcp:" + spec
	}
	return gateway.Listen(spec)
}

// serveAdmin answers until ctx is done. A fault here is logged and stops nothing else. The listener
// is its own, with a few connections, so that probes cannot keep logins waiting.
func serveAdmin(ctx context.Context, r *reloader, listener net.Listener) {
	r.log().Info("admin listening", "address", listener.Addr().String())
	if address, ok := listener.Addr().(*net.TCPAddr); ok && !address.IP.IsLoopback() {
		r.log().Warn("admin listener can be reached from other machines, and asks nobody for a password",
			"address", address.String())
	}
	o := gateway.Options{Log: slog.New(reloadHandler{reloader: r}), Grace: adminGrace, MaxConns: adminConns}
	// At the end it does not wait for connections.
	if err := gateway.ServeHTTP(ctx, listener, admin{r}, o); err != nil && ctx.Err() == nil {
		r.log().Error("admin listener failed", "reason", err.Error())
	}
}

// admin answers /livez, /readyz, /healthz and /metrics. It changes nothing and asks nobody.
type admin struct{ *reloader }

func (a admin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	const text = "text/plain; charset=utf-8"
	answer := map[string]func(){
		// It says that the process answers, and nothing about PAM: what restarts a process because
		// a directory is away ends the logins that need no directory too.
		"/livez":   func() { send(w, http.StatusOK, text, []byte("ok\n")) },
		"/readyz":  func() { a.sendHealth(w) },
		"/healthz": func() { a.sendHealth(w) },
		"/metrics": func() { send(w, http.StatusOK, metrics.ContentType, writeMetrics(a.reloader, time.Now())) },
	}[r.URL.Path]
	switch {
	case answer == nil:
		send(w, http.StatusNotFound, text, []byte("there are /livez, /readyz, /healthz and /metrics here\n"))
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		send(w, http.StatusMethodNotAllowed, text, []byte("only GET and HEAD are answered here\n"))
	default:
		answer()
	}
}

func (a admin) sendHealth(w http.ResponseWriter) {
	h := checkHealth(a.reloader, time.Now())
	text, err := json.MarshalIndent(h, "", "  ")
	if err != nil {
		panic(err) // texts, numbers and times only: cannot happen
	}
	status := http.StatusOK
	if !h.serving {
		status = http.StatusServiceUnavailable
	}
	send(w, status, "application/json", append(text, '\n'))
}

func send(w http.ResponseWriter, status int, contentType string, text []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(text) // the client may have gone
}
