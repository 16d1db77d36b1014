package handler

import (
	"log/slog"
	"net/http"
	"strings"
	"time"
	"unicode"

	"dockerauth/access"
)

// The longest field in the log, in bytes: one request must not fill a disk. A reason is the
// program's own text and ends with the remedy, so it may be longer.
const (
	maxLogged = 256
	maxReason = 2048
	maxAttrs  = 17 // of one line
)

// headerMissing is the reason if a client has credentials and none arrived.
const headerMissing = "no credentials arrived, although the client has some: the web server removes the " +
	"Authorization header; " +
	"in Apache set \"CGIPassAuth On\" for this folder (or \"FcgidPassHeader Authorization\" for mod_fcgid), " +
	"in HAProxy \"pass-header Authorization\" in the fcgi-app"

// Outcomes are the possible outcomes of a token request, in the log and for Observe.
func Outcomes() []string {
	return []string{"granted", "refused", "throttled", "invalid", "busy", "broken", "abandoned"}
}

// CheckClient is the client id of dockerauth check.
const CheckClient = "dockerauth-check"

// isProbe reports a request of dockerauth check that leaves no line: each check would leave six.
// Its name is no secret, so a request with it is logged all the same if it got a token or may have
// tried a password or a token. What remains is no more than one for an unknown path, which leaves
// no line either.
func isProbe(req *Request, result string) bool {
	if req.ClientID != CheckClient || result != "refused" && result != "invalid" {
		return false
	}
	return req.Grant == GrantNone || req.Grant == GrantRefresh && strings.Trim(req.RefreshToken.Reveal(), "x") == ""
}

// logRequest writes the log line of a request from an allow-list of fields. Passwords, tokens and
// headers are not among them.
func logRequest(log *slog.Logger, r *http.Request, result string, req *Request, resp *Response, err error,
	took time.Duration) {
	level := slog.LevelInfo
	switch result {
	case "refused", "invalid", "throttled":
		level = slog.LevelWarn
	case "broken", "busy":
		level = slog.LevelError
	}
	if isProbe(req, result) || !log.Enabled(r.Context(), level) {
		return
	}
	log.LogAttrs(r.Context(), level, "token request", logAttrs(result, req, resp, err, took)...)
}

// logAttrs is no part of logRequest: a thousand connections would each hold its stack.
//
//go:noinline
func logAttrs(result string, req *Request, resp *Response, err error, took time.Duration) []slog.Attr {
	attrs := make([]slog.Attr, 0, maxAttrs)
	attrs = append(attrs, slog.String("outcome", result))
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
	add("malformed", strings.Join(req.Malformed, " "))
	add("granted", access.Format(resp.Granted))
	add("client", req.ClientID)
	add("account", req.Account)
	add("remote", req.Remote)
	add("token", resp.TokenID)
	add("credential", resp.Credential.ID)
	add("kind", string(resp.Credential.Kind))
	add("event", resp.Event)
	return append(attrs, slog.Duration("duration", took.Round(time.Millisecond/10)))
}

// reason is the full cause of an error, for the operator.
func reason(req *Request, err error) string {
	// nolint:errorlint // a wrapped one means that an Authorization header did arrive
	if err == errNoCredentials && req.hasCredentials() {
		return headerMissing
	}
	return err.Error()
}

func isWordRune(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) }

// clip shortens a text and makes it valid UTF-8. The log handler quotes it. Stars replace a kept
// token that was sent as something else than a password.
func clip(text string, limit int) string {
	if strings.Contains(text, KeptPrefix) {
		parts := strings.Split(text, KeptPrefix)
		for i := range parts[1:] {
			parts[i+1] = stars + strings.TrimLeftFunc(parts[i+1], isWordRune)
		}
		text = strings.Join(parts, KeptPrefix)
	}
	if len(text) > limit {
		text = text[:limit] + "…"
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}
