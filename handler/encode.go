package handler

import (
	"encoding/json"
	"net/http"
	"time"

	"dockerauth/access"
)

// challenge is sent with every 401 (RFC 7617 §2).
const challenge = `Basic realm="dockerauth", charset="UTF-8"`

// tokenBody is the answer to a granted request. Some clients read only token, others only
// access_token, so it has both.
type tokenBody struct {
	Token        string  `json:"token"`
	AccessToken  string  `json:"access_token"`
	ExpiresIn    int64   `json:"expires_in"` // seconds
	IssuedAt     string  `json:"issued_at"`  // RFC 3339, UTC
	Scope        *string `json:"scope,omitempty"`
	RefreshToken string  `json:"refresh_token,omitempty"`
}

// errorBody is the answer to every other request: the error list of registries, and for POST also
// the two fields of RFC 6749 §5.2.
type errorBody struct {
	Errors      []errorItem `json:"errors"`
	Error       string      `json:"error,omitempty"`
	Description string      `json:"error_description,omitempty"`
}

type errorItem struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

func writeResponse(w http.ResponseWriter, req Request, resp Response, ttl time.Duration, now time.Time) {
	body := tokenBody{
		Token:        resp.Token,
		AccessToken:  resp.Token,
		ExpiresIn:    int64(ttl / time.Second),
		IssuedAt:     now.UTC().Format(time.RFC3339),
		RefreshToken: resp.RefreshToken,
	}
	if req.Form {
		scope := access.Format(resp.Granted)
		body.Scope = &scope
	}
	writeJSON(w, http.StatusOK, body)
}

func writeError(w http.ResponseWriter, e errorResponse, form bool) {
	body := errorBody{Errors: []errorItem{{Code: e.code, Message: e.message}}}
	if form && e.oauth != "" {
		body.Error, body.Description = e.oauth, e.message
	}
	if e.challenge {
		w.Header().Set("WWW-Authenticate", challenge)
	}
	if e.retryAfter != "" {
		w.Header().Set("Retry-After", e.retryAfter)
	}
	writeJSON(w, e.status, body)
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	setHeaders(w.Header(), "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client may have disconnected
}

func setHeaders(h http.Header, contentType string) {
	values := []string{contentType, "no-store", "no-cache", "nosniff"}
	h["Content-Type"] = values[0:1:1]
	h["Cache-Control"] = values[1:2:2]
	h["Pragma"] = values[2:3:3] // RFC 6749 §5.1 requires both
	h["X-Content-Type-Options"] = values[3:4:4]
}
