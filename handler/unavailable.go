package handler

import "net/http"

// Unavailable answers every request as a service without a usable
// configuration does. The cause is in the server's log.
func Unavailable(w http.ResponseWriter, _ *http.Request) {
	writeAnswer(w, answerTo(ErrUnavailable), false)
}
