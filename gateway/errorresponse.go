package gateway

import (
	"encoding/json"
	"log/slog"
	"net/http"
)

// errorResponse is a response that a front end gives by itself. The message goes to the client and
// the log: a fixed text, never anything out of the request.
type errorResponse struct {
	status  int
	code    string
	message string
}

func badRequest(message string) *errorResponse {
	return &errorResponse{http.StatusBadRequest, "BAD_REQUEST", message}
}

func tooLarge(message string) *errorResponse {
	return &errorResponse{http.StatusRequestHeaderFieldsTooLarge, "HEADERS_TOO_LARGE", message}
}

func unavailable(message string) *errorResponse {
	return &errorResponse{http.StatusServiceUnavailable, "UNAVAILABLE", message}
}

func internalError() *errorResponse {
	return &errorResponse{http.StatusInternalServerError, "UNKNOWN", "internal error"}
}

// retryAfter is the Retry-After of a 503, in seconds. A restart takes less.
const retryAfter = "5"

// reject logs e and returns it as a finished response.
func reject(e *errorResponse, log *slog.Logger) *bufferedResponse {
	log.Warn("request rejected by transport", "status", e.status, "reason", e.message)
	return e.response()
}

// response is e in the registry's error format (distribution, registry/api/errcode).
func (e *errorResponse) response() *bufferedResponse {
	type entry struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	text, err := json.Marshal(map[string][]entry{"errors": {{e.code, e.message}}})
	if err != nil {
		panic(err) // two strings always marshal
	}
	r := newBufferedResponse(nil)
	r.Header().Set("Content-Type", "application/json")
	r.Header().Set("Cache-Control", "no-store")
	if e.status == http.StatusServiceUnavailable {
		r.Header().Set("Retry-After", retryAfter)
	}
	r.WriteHeader(e.status)
	r.Write(append(text, '\n'))
	r.finish()
	return r
}
