package handler

import "net/http"

// Unavailable answers every request with 503, for a service without a usable configuration. The
// cause is in the server's log.
func Unavailable(w http.ResponseWriter, _ *http.Request) {
	writeError(w, responseTo(ErrUnavailable), false)
}
