// Package handler implements the token endpoint of a Docker registry (distribution,
// docs/spec/auth/token.md and oauth.md).
//
// A [Handler] decodes a request, calls its [Endpoint], encodes the answer and writes one log line.
// The Endpoint checks the credentials, applies the access rules and signs a token. It reaches PAM,
// the throttle and the key through the interfaces of this package.
package handler

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"
)

// The paths of the endpoint, below any folder of the web server. Registries with autoredirect
// send clients to the second one (distribution, registry/auth/token/accesscontroller.go).
const (
	TokenPath = "/docker/v2/token"
	AliasPath = "/auth/token"
)

// rootPage is the text at the root. It says only that the service exists.
const rootPage = "This is the token service of a Docker registry. It speaks to Docker clients, not to browsers.\n"

// Handler serves an Endpoint over HTTP. It translates and logs, and decides nothing.
type Handler struct {
	Endpoint *Endpoint
	Log      *slog.Logger
	Now      func() time.Time // nil = time.Now
	// Observe is called for each token request with the outcome in its log line, also if the log
	// level hides that line. nil = none.
	Observe func(outcome string, took time.Duration)
}

// ServeHTTP answers one request. Its path starts below the folder at which the web server serves
// the program.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case isTokenPath(r.URL.Path):
		h.serveToken(w, r)
	case r.URL.Path == "/" || r.URL.Path == "":
		serveRoot(w, r)
	default:
		writeError(w,
			errorResponse{status: http.StatusNotFound, code: "NOT_FOUND",
				message: "there is nothing here: the token endpoint is " + TokenPath}, false)
	}
}

func isTokenPath(path string) bool {
	path = strings.TrimSuffix(path, "/")
	return strings.HasSuffix(path, TokenPath) || strings.HasSuffix(path, AliasPath)
}

func (h *Handler) serveToken(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		refuseMethod(w, "GET, POST")
		return
	}
	begin := h.now()
	var response Response
	request, err := decode(r)
	result := errPanicked
	defer func() { h.finish(r, &request, &response, result, h.now().Sub(begin)) }()
	if err == nil {
		response, err = h.Endpoint.Token(r.Context(), request)
	}
	if err != nil {
		writeError(w, responseTo(err), request.Form)
	} else {
		writeResponse(w, request, response, h.Endpoint.AccessTTL, begin)
	}
	result = err
}

func serveRoot(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		refuseMethod(w, "GET")
		return
	}
	setHeaders(w.Header(), "text/plain; charset=utf-8")
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write([]byte(rootPage)) // the client may have disconnected
}

func refuseMethod(w http.ResponseWriter, allow string) {
	w.Header().Set("Allow", allow)
	writeError(w,
		errorResponse{status: http.StatusMethodNotAllowed, code: "METHOD_NOT_ALLOWED", message: "only " + allow +
			" is answered here"}, false)
}

func (h *Handler) now() time.Time {
	if h.Now == nil {
		return time.Now()
	}
	return h.Now()
}

// finish counts and logs a request, with the same outcome.
func (h *Handler) finish(r *http.Request, req *Request, resp *Response, err error, took time.Duration) {
	result := outcome(err)
	if (result == "broken" || result == "busy") && errors.Is(r.Context().Err(), context.Canceled) {
		result = "abandoned" // the client disconnected, which is no failure of the service
	}
	if h.Observe != nil {
		h.Observe(result, took)
	}
	logRequest(h.Log, r, result, req, resp, err, took)
	if note := resp.Credential.Note; err == nil && note != nil {
		note(req.ClientID, req.Remote)
	}
}
