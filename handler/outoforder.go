package handler

import "net/http"

// OutOfOrder answers every request as a service does that has no usable
// configuration. The operator finds the cause in the log of whoever installs it.
func OutOfOrder(w http.ResponseWriter, _ *http.Request) {
	writeAnswer(w, answerTo(ErrUnavailable), false)
}
