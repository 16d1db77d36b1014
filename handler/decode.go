package handler

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"

	"dockerauth/access"
)

// The bounds of one request.
const (
	maxBody    = 64 << 10 // bytes; the longest real form is a push with many mounts, a few KiB
	maxQuery   = 64 << 10 // bytes; the same request by GET
	maxService = 256      // bytes
)

// decode parses a request to the token endpoint. Its error is a *badRequest, or errNoCredentials
// for an unknown authentication scheme.
func decode(r *http.Request) (Request, error) {
	req := Request{Remote: remoteHost(r.RemoteAddr), Form: r.Method == http.MethodPost}
	params, err := parameters(r)
	if err != nil {
		return req, err
	}
	if err := readCommon(&req, params); err != nil {
		return req, err
	}
	if req.Form {
		return req, readForm(&req, params)
	}
	return req, readBasic(&req, r.Header.Values("Authorization"), params)
}

// parameters returns the query of a GET or the body of a POST. It ignores the query of a POST,
// because access logs hold query strings.
func parameters(r *http.Request) (url.Values, error) {
	text := r.URL.RawQuery
	if r.Method == http.MethodPost {
		body, err := readBody(r)
		if err != nil {
			return nil, err
		}
		text = body
	}
	if len(text) > maxQuery {
		return nil, &badRequest{text: fmt.Sprintf("the query is longer than %d bytes", maxQuery)}
	}
	params, err := url.ParseQuery(text)
	if err != nil {
		// The cause would quote the parameter, which may be a password.
		return nil, &badRequest{text: "the parameters are not URL-encoded"}
	}
	return params, nil
}

func readBody(r *http.Request) (string, error) {
	const form = "application/x-www-form-urlencoded"
	if kind := r.Header.Get("Content-Type"); kind != "" && kind != form {
		media, _, err := mime.ParseMediaType(kind)
		if err != nil || media != form {
			return "", &badRequest{text: "the body must be application/x-www-form-urlencoded"}
		}
	}
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return "", &badRequest{status: http.StatusRequestEntityTooLarge,
			text: fmt.Sprintf("the body is longer than %d bytes", maxBody)}
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return "", &badRequest{status: http.StatusRequestTimeout, text: "the body took too long to arrive"}
	}
	if err != nil {
		return "", &badRequest{text: "the body ended early"}
	}
	return string(body), nil
}

// readCommon reads the parameters of both GET and POST.
func readCommon(req *Request, params url.Values) error {
	req.Account = params.Get("account")
	req.ClientID = params.Get("client_id")
	service, err := single(params, "service")
	if err != nil {
		return err
	}
	if len(service) > maxService {
		return &badRequest{text: fmt.Sprintf("service is longer than %d bytes", maxService)}
	}
	req.Service = service
	scopes, malformed, err := access.ParseScopes(params["scope"])
	if err != nil {
		return &badRequest{oauth: oauthInvalidScope, text: err.Error()}
	}
	req.Scopes = scopes
	for _, m := range malformed {
		req.Malformed = append(req.Malformed, m.Text)
	}
	return nil
}

// single returns a parameter that may occur only once (RFC 6749 §3.2). The error omits the value,
// which may be a password.
func single(params url.Values, name string) (string, error) {
	values := params[name]
	if len(values) > 1 {
		return "", &badRequest{text: name + " was sent more than once"}
	}
	return params.Get(name), nil
}

// readForm reads the credentials of a POST (distribution, docs/spec/auth/oauth.md; RFC 6749 §4.3
// and §6).
func readForm(req *Request, params url.Values) error {
	values := make(map[string]string)
	for _, name := range []string{"grant_type", "username", "password", "refresh_token", "access_type"} {
		value, err := single(params, name)
		if err != nil {
			return err
		}
		values[name] = value
	}
	grant := values["grant_type"]
	if grant == "" && values["refresh_token"] != "" {
		grant = string(GrantRefresh) // clients of the PHP service send this
	}
	switch Grant(grant) {
	case GrantPassword:
		req.Grant, req.User, req.Password = GrantPassword, values["username"], Secret(values["password"])
		req.Offline = values["access_type"] == "offline"
	case GrantRefresh:
		req.Grant, req.RefreshToken = GrantRefresh, Secret(values["refresh_token"])
		req.Offline = true // the answer repeats the refresh token: distribution's client requires one
	case GrantNone:
		return &badRequest{text: "grant_type is missing: it is password or refresh_token"}
	default:
		return &badRequest{oauth: oauthUnsupportedGrant, text: "grant_type is neither password nor refresh_token"}
	}
	return nil
}

// readBasic reads the credentials of a GET (RFC 7617). With an empty user name the password is a
// refresh token, as containerd's docker resolver sends it.
func readBasic(req *Request, headers []string, params url.Values) error {
	offline := params.Get("offline_token")
	req.Offline = offline == "true" || offline == "1"
	if len(headers) > 1 {
		return &badRequest{text: "Authorization was sent more than once"}
	}
	if len(headers) == 0 || headers[0] == "" {
		return nil
	}
	scheme, encoded, _ := strings.Cut(headers[0], " ")
	if !strings.EqualFold(scheme, "Basic") {
		return fmt.Errorf("%w: an Authorization header of another scheme than Basic", errNoCredentials)
	}
	plain, err := base64.StdEncoding.DecodeString(strings.Trim(encoded, " "))
	if err != nil {
		return &badRequest{text: "the Authorization header is not valid Base64"}
	}
	user, secret, found := strings.Cut(string(plain), ":")
	if !found {
		return &badRequest{text: "the Authorization header has no colon between user name and password"}
	}
	if user == "" {
		req.Grant, req.RefreshToken = GrantRefresh, Secret(secret)
		return nil
	}
	req.Grant, req.User, req.Password = GrantPassword, user, Secret(secret)
	return nil
}

func remoteHost(addr string) string {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	return host
}
