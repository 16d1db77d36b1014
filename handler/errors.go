package handler

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"
)

// The ways in which a request ends without a token. An Authenticator's errors
// are one of the first three (errors.Is); their text is for the operator's log,
// the client never sees it.
var (
	// ErrRefused says that the answer is no: a wrong password, an unknown,
	// expired or blacklisted account, a bad refresh token.
	ErrRefused = errors.New("refused")
	// ErrUnavailable says that there is no answer, because something of ours is broken.
	ErrUnavailable = errors.New("unavailable")
	// ErrBusy says that there is no answer, because too many others are waiting for theirs.
	ErrBusy = errors.New("too busy")

	errNoCredentials = errors.New("no credentials")
)

// refusal is an ErrRefused in words for the operator.
type refusal struct{ text string }

func refuse(format string, args ...any) error { return &refusal{fmt.Sprintf(format, args...)} }

func (e *refusal) Error() string        { return e.text }
func (e *refusal) Is(target error) bool { return target == ErrRefused }

// How long a client is asked to stay away, in seconds.
const (
	retryBusy   = "5"
	retryBroken = "10"
)

// The error codes of RFC 6749 §5.2 that this endpoint uses.
const (
	oauthInvalidRequest   = "invalid_request"
	oauthInvalidScope     = "invalid_scope"
	oauthUnsupportedGrant = "unsupported_grant_type"
)

// badRequest is a request that no credentials could make good. Its text names
// the parameter and what is wrong with it, and is meant for the client.
type badRequest struct {
	status int    // 0 = 400
	oauth  string // RFC 6749 §5.2; "" = invalid_request
	text   string
}

func (e *badRequest) Error() string { return e.text }

// answer is what an error looks like from outside. The texts are fixed: what
// the client learns of a refusal must not depend on its cause.
type answer struct {
	status     int
	code       string // of the registry's error list (distribution, registry/api/errcode)
	message    string
	oauth      string
	retryAfter string
	challenge  bool
}

// seconds is for Retry-After: whole ones, and never fewer than it takes.
func seconds(d time.Duration) string {
	return strconv.FormatInt(int64(max(1, math.Ceil(d.Seconds()))), 10)
}

// answerTo maps an error to its answer: the one place where errors become
// status codes. 403 is never among them, since containerd and buildkit give up
// for good on it.
func answerTo(err error) answer {
	var bad *badRequest
	var throttled *Throttled
	switch {
	case errors.As(err, &bad):
		return bad.answer()
	case errors.As(err, &throttled):
		return answer{status: http.StatusTooManyRequests, code: "TOOMANYREQUESTS",
			message: "too many failed logins, try again later", retryAfter: seconds(throttled.After)}
	case errors.Is(err, errNoCredentials):
		return answer{status: http.StatusUnauthorized, code: "UNAUTHORIZED", message: "authentication required",
			challenge: true}
	case errors.Is(err, ErrRefused):
		return answer{status: http.StatusUnauthorized, code: "UNAUTHORIZED", message: "authentication failed",
			challenge: true}
	case errors.Is(err, ErrBusy):
		return answer{status: http.StatusServiceUnavailable, code: "UNAVAILABLE",
			message: "too many logins at once, try again", retryAfter: retryBusy}
	default:
		return answer{status: http.StatusServiceUnavailable, code: "UNAVAILABLE",
			message:    "the authentication service is out of order, its administrator finds the cause in its log",
			retryAfter: retryBroken}
	}
}

func (e *badRequest) answer() answer {
	a := answer{status: http.StatusBadRequest, code: "BAD_REQUEST", message: e.text, oauth: oauthInvalidRequest}
	if e.oauth != "" {
		a.oauth = e.oauth
	}
	if e.status != 0 {
		a.status = e.status
	}
	switch a.status {
	case http.StatusRequestEntityTooLarge:
		a.code = "TOO_LARGE"
	case http.StatusRequestTimeout:
		a.code = "TIMEOUT"
	}
	return a
}

// outcome is the word for an error in the log.
func outcome(err error) string {
	var bad *badRequest
	var throttled *Throttled
	switch {
	case err == nil:
		return "granted"
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

// maxTokenSize is what fits in a header line together with
// "Authorization: Bearer ": Apache reads 8190 bytes of one, nginx 8 KiB.
const maxTokenSize = 8000

// Throttled says that there were too many wrong passwords.
type Throttled struct {
	After time.Duration // when to try again
	Cause string        // for the operator
}

func (e *Throttled) Error() string { return e.Cause }
