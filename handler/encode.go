package handler

import (
	"encoding/json"
	"net/http"
	"time"

	"dockerauth/access"
)

// challenge is sent with every 401 (RFC 7617 §2).
const challenge = `Basic realm="dockerauth", charset="UTF-8"`

// tokenBody is the answer to a granted request. Clients read token or
// access_token, some only the one, some only the other, so both are there.
type tokenBody struct {
	Token        string  `json:"token"`
	AccessToken  string  `json:"access_token"`
	ExpiresIn    int64   `json:"expires_in"` // seconds
	IssuedAt     string  `json:"issued_at"`  // RFC 3339, UTC
	Scope        *string `json:"scope,omitempty"`
	RefreshToken string  `json:"refresh_token,omitempty"`
}

// errorBody is the answer to every other request: the registry's error list,
// and on POST the two fields of RFC 6749 §5.2 beside it.
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

func writeAnswer(w http.ResponseWriter, a answer, form bool) {
	body := errorBody{Errors: []errorItem{{Code: a.code, Message: a.message}}}
	if form && a.oauth != "" {
		body.Error, body.Description = a.oauth, a.message
	}
	if a.challenge {
		w.Header().Set("WWW-Authenticate", challenge)
	}
	if a.retryAfter != "" {
		w.Header().Set("Retry-After", a.retryAfter)
	}
	writeJSON(w, a.status, body)
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		panic(err) // strings and numbers only: cannot happen
	}
	setHeaders(w.Header(), "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n')) // a client that has gone needs no answer
}

func setHeaders(h http.Header, contentType string) {
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-store")
	h.Set("Pragma", "no-cache") // RFC 6749 §5.1 asks for both
	h.Set("X-Content-Type-Options", "nosniff")
}
