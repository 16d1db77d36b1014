package handler

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"
)

// The errors that end a request without a token. Those of an Authenticator match one of the first
// three (errors.Is). Their text is for the operator's log; the client never sees it.
var (
	// ErrRefused is a wrong password, an unknown, expired or blacklisted account, or an invalid
	// refresh token.
	ErrRefused = errors.New("refused")
	// ErrUnavailable means that the credentials could not be checked, because of a failure.
	ErrUnavailable = errors.New("unavailable")
	// ErrBusy means that no answer came in time, because too many logins wait.
	ErrBusy = errors.New("too busy")

	errNoCredentials = errors.New("no credentials")

	errPanicked = fmt.Errorf("%w: the handler panicked; the log says where", ErrUnavailable)
)

// failure is an error of one kind, with the text of its cause.
type failure struct {
	kind error
	text string
}

// Failure returns an error that matches kind, which is one of the three above. Its text is the
// cause's.
func Failure(kind, cause error) error { return &failure{kind, cause.Error()} }

func (e *failure) Error() string        { return e.text }
func (e *failure) Is(target error) bool { return target == e.kind }

func refuse(format string, args ...any) error {
	return &failure{ErrRefused, fmt.Sprintf(format, args...)}
}

// Values of Retry-After, in seconds.
const (
	retryBusy        = "5"
	retryUnavailable = "10"
)

// The error codes of RFC 6749 §5.2 that this endpoint uses.
const (
	oauthInvalidRequest   = "invalid_request"
	oauthInvalidScope     = "invalid_scope"
	oauthUnsupportedGrant = "unsupported_grant_type"
)

// badRequest is an invalid request. Its text names the parameter and the fault, for the client.
type badRequest struct {
	status int    // 0 = 400
	oauth  string // RFC 6749 §5.2; "" = invalid_request
	text   string
}

func (e *badRequest) Error() string { return e.text }

// errorResponse is what the client sees of an error. The texts are fixed, so that a refusal does
// not reveal its cause.
type errorResponse struct {
	status     int
	code       string // of the registry's error list (distribution, registry/api/errcode)
	message    string
	oauth      string
	retryAfter string
	challenge  bool
}

// seconds formats a Retry-After, rounded up.
func seconds(d time.Duration) string {
	return strconv.FormatInt(int64(max(1, math.Ceil(d.Seconds()))), 10)
}

// responseTo maps errors to status codes; no other place does. It never uses 403, after which
// containerd and buildkit do not try again.
func responseTo(err error) errorResponse {
	var bad *badRequest
	var throttled *Throttled
	switch {
	case errors.As(err, &bad):
		return bad.response()
	case errors.As(err, &throttled):
		return errorResponse{status: http.StatusTooManyRequests, code: "TOOMANYREQUESTS",
			message: "too many failed logins, try again later", retryAfter: seconds(throttled.After)}
	case errors.Is(err, errNoCredentials):
		return errorResponse{status: http.StatusUnauthorized, code: "UNAUTHORIZED", message: "authentication required",
			challenge: true}
	case errors.Is(err, ErrRefused):
		return errorResponse{status: http.StatusUnauthorized, code: "UNAUTHORIZED", message: "authentication failed",
			challenge: true}
	case errors.Is(err, ErrBusy):
		return errorResponse{status: http.StatusServiceUnavailable, code: "UNAVAILABLE",
			message: "too many logins at once, try again", retryAfter: retryBusy}
	default:
		return errorResponse{status: http.StatusServiceUnavailable, code: "UNAVAILABLE",
			message: "authentication service unavailable; see the server's log", retryAfter: retryUnavailable}
	}
}

func (e *badRequest) response() errorResponse {
	r := errorResponse{status: http.StatusBadRequest, code: "BAD_REQUEST", message: e.text, oauth: oauthInvalidRequest}
	if e.oauth != "" {
		r.oauth = e.oauth
	}
	if e.status != 0 {
		r.status = e.status
	}
	switch r.status {
	case http.StatusRequestEntityTooLarge:
		r.code = "TOO_LARGE"
	case http.StatusRequestTimeout:
		r.code = "TIMEOUT"
	}
	return r
}

// outcome is the word for an error in the log.
func outcome(err error) string {
	if err == nil {
		return "granted"
	}
	var bad *badRequest
	var throttled *Throttled
	switch {
	case errors.As(err, &bad):
		return "invalid"
	case errors.As(err, &throttled):
		return "throttled"
	case errors.Is(err, errNoCredentials), errors.Is(err, ErrRefused):
		return "refused"
	case errors.Is(err, ErrBusy):
		return "busy"
	default:
		return "broken"
	}
}

// MaxTokenSize fits in a header line behind "Authorization: Bearer ". Apache reads 8190 bytes of a
// line, nginx 8 KiB.
const MaxTokenSize = 8000

// Throttled means that there were too many wrong passwords.
type Throttled struct {
	After time.Duration // when to try again
	Cause string        // for the operator
}

func (e *Throttled) Error() string { return e.Cause }
