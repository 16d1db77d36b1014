// Package handler is the token endpoint of a Docker registry: a request comes
// in, credentials are checked, a signed token goes out (distribution,
// docs/spec/auth/token.md and oauth.md).
package handler

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"
)

// The resources, at whatever folder the web server serves the program from.
// Registries with autoredirect send clients to the second one (distribution,
// registry/auth/token/accesscontroller.go).
const (
	tokenPath = "/docker/v2/token"
	aliasPath = "/auth/token"
)

// page is the text at the root: it says to people who look there that the
// service is there, and nothing more.
const page = "This is the token service of a Docker registry. It speaks to Docker clients, not to browsers.\n"

// Handler serves an Endpoint over HTTP. It translates and logs, and decides nothing.
type Handler struct {
	Endpoint *Endpoint
	Log      *slog.Logger
	Now      func() time.Time // nil = time.Now
	// Observe is called for each token request with the outcome in its log line, whatever the log's
	// level. nil = nothing to do.
	Observe func(outcome string, took time.Duration)
}

// ServeHTTP answers one request, whose path is the one below the folder that
// the web server serves the program from.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case isTokenPath(r.URL.Path):
		h.serveToken(w, r)
	case r.URL.Path == "/" || r.URL.Path == "":
		servePage(w, r)
	default:
		writeAnswer(w,
			answer{status: http.StatusNotFound, code: "NOT_FOUND",
				message: "there is nothing here: the token endpoint is " + tokenPath}, false)
	}
}

func isTokenPath(path string) bool {
	path = strings.TrimSuffix(path, "/")
	return strings.HasSuffix(path, tokenPath) || strings.HasSuffix(path, aliasPath)
}

func (h *Handler) serveToken(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		refuseMethod(w, "GET, POST")
		return
	}
	begin := h.now()
	var response Response
	request, err := decode(r)
	if err == nil {
		response, err = h.Endpoint.Token(r.Context(), request)
	}
	if err != nil {
		writeAnswer(w, answerTo(err), request.Form)
	} else {
		writeResponse(w, request, response, h.Endpoint.AccessTTL, begin)
	}
	h.note(r, request, response, err, h.now().Sub(begin))
}

func servePage(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		refuseMethod(w, "GET")
		return
	}
	setHeaders(w.Header(), "text/plain; charset=utf-8")
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write([]byte(page)) // a client that has gone needs no answer
}

func refuseMethod(w http.ResponseWriter, allow string) {
	w.Header().Set("Allow", allow)
	writeAnswer(w,
		answer{status: http.StatusMethodNotAllowed, code: "METHOD_NOT_ALLOWED", message: "only " + allow +
			" is answered here"}, false)
}

func (h *Handler) now() time.Time {
	if h.Now == nil {
		return time.Now()
	}
	return h.Now()
}

// note is the end of a request: it is counted and logged, in the same word.
func (h *Handler) note(r *http.Request, req Request, resp Response, err error, took time.Duration) {
	result := outcome(err)
	if (result == "broken" || result == "busy") && errors.Is(r.Context().Err(), context.Canceled) {
		result = "abandoned" // the client hung up: nothing is broken, and no operator should be alarmed
	}
	if h.Observe != nil {
		h.Observe(result, took)
	}
	logRequest(h.Log, r, result, req, resp, err, took)
}
