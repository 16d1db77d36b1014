package handler

import (
	"log/slog"
	"net/http"
	"strings"
	"time"

	"dockerauth/access"
)

// How much of one field goes into the log, in bytes: one request must not fill
// a disk. A reason is ours and ends with what to do, so it gets more room.
const (
	maxLogged = 256
	maxReason = 2048
)

// stripped is said where a client meant to log in and no credentials arrived.
const stripped = "no credentials arrived, although the client has some: the web server keeps the Authorization " +
	"header to itself; " +
	"in Apache set \"CGIPassAuth On\" for this folder (or \"FcgidPassHeader Authorization\" for mod_fcgid)"

// Outcomes are the words for how a token request ended, in the log and for Observe.
func Outcomes() []string {
	return []string{"granted", "refused", "throttled", "invalid", "busy", "broken", "abandoned"}
}

// logRequest writes the one line of a request, from a list of fields that may be seen. Passwords,
// tokens and headers are not among them.
func logRequest(log *slog.Logger, r *http.Request, result string, req Request, resp Response, err error,
	took time.Duration) {
	level := slog.LevelInfo
	switch result {
	case "refused", "invalid", "throttled":
		level = slog.LevelWarn
	case "broken", "busy":
		level = slog.LevelError
	}
	if !log.Enabled(r.Context(), level) {
		return
	}
	attrs := []slog.Attr{slog.String("outcome", result)}
	if err != nil {
		attrs = append(attrs, slog.String("reason", clip(reason(req, err), maxReason)))
	}
	add := func(key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, clip(value, maxLogged)))
		}
	}
	add("grant", string(req.Grant))
	add("user", req.User)
	add("subject", resp.Subject)
	add("service", req.Service)
	add("scope", access.Format(req.Scopes))
	add("granted", access.Format(resp.Granted))
	add("client", req.ClientID)
	add("account", req.Account)
	add("remote", req.Remote)
	add("token", resp.TokenID)
	attrs = append(attrs, slog.Duration("duration", took.Round(time.Millisecond/10)))
	log.LogAttrs(r.Context(), level, "token request", attrs...)
}

// reason is the operator's half of an error: the cause in full.
func reason(req Request, err error) string {
	// nolint:errorlint // what wraps it: an Authorization header of another kind did arrive
	if err == errNoCredentials && req.hasCredentials() {
		return stripped
	}
	return err.Error()
}

// clip shortens a text and makes it valid UTF-8; quoting is the log handler's.
func clip(text string, limit int) string {
	if len(text) > limit {
		text = text[:limit] + "…"
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}
