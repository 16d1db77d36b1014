package gateway

import (
	"encoding/json"
	"net/http"
)

// refusal is an answer that a door gives by itself. The message goes to the
// client and the log alike: a fixed text, never anything out of the request.
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

// retryAfter is what clients are told with a 503, in seconds: a restart is over by then.
const retryAfter = "5"

// answer writes the refusal in the registry's error format
// (distribution, registry/api/errcode).
func (no *errorResponse) answer() *answer {
	type entry struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	text, err := json.Marshal(map[string][]entry{"errors": {{no.code, no.message}}})
	if err != nil {
		panic(err) // two strings always marshal
	}
	a := newBufferedResponse()
	a.Header().Set("Content-Type", "application/json")
	a.Header().Set("Cache-Control", "no-store")
	if no.status == http.StatusServiceUnavailable {
		a.Header().Set("Retry-After", retryAfter)
	}
	a.WriteHeader(no.status)
	a.Write(append(text, '\n'))
	return a
}
