package handler

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"dockerauth/access"
)

// Authenticator decides who is let in. Its errors are ErrRefused,
// ErrUnavailable or ErrBusy (errors.Is); any other counts as ErrUnavailable.
type Authenticator interface {
	// Authenticate asks whether the password is this user's and the account
	// is in order. An error of the login's own is passed on as it is.
	Authenticate(ctx context.Context, login Login) (Account, error)
	// CheckAccount asks only whether the account is in order.
	CheckAccount(ctx context.Context, user, remote string) (Account, error)
}

// Signer makes tokens and knows its own again.
type Signer interface {
	// AccessToken returns a compact JWT and its id. entries becomes the "access" claim.
	AccessToken(subject, audience string, ttl time.Duration, entries any) (token, id string, err error)
	// RefreshToken returns a compact JWT that no registry accepts, and its id.
	RefreshToken(subject string, ttl time.Duration) (token, id string, err error)
	// VerifyRefresh returns the subject and the id of a refresh token that is
	// genuine and has not expired.
	VerifyRefresh(token string) (subject, id string, err error)
}

// The bounds of a login. Whatever breaks them is refused like a wrong
// password, and PAM is not asked.
const (
	maxUserLen     = 256 // bytes; LOGIN_NAME_MAX, the terminating NUL included, is 256
	maxPasswordLen = 512 // bytes; PAM_MAX_RESP_SIZE
)

// Endpoint answers token requests. All fields but Throttle, Blacklist and Policy must be set.
type Endpoint struct {
	Authenticator Authenticator
	Throttle      Throttle // nil = none
	Signer        Signer
	Audiences     []string         // the services that tokens are issued for
	Blacklist     access.Blacklist // asked about the name that the client sent, and the one that PAM gave back
	Policy        *access.Policy   // nil = every account gets what it asks for
	AccessTTL     time.Duration
	RefreshTTL    time.Duration
	FailureDelay  time.Duration // a refused password is answered after a whole number of these; 0 = at once
}

// Token answers one request: cheap refusals first, then the credentials, then
// what the account may do, then the signature.
func (e *Endpoint) Token(ctx context.Context, req Request) (Response, error) {
	audience, err := e.audience(req.Service)
	if err != nil {
		return Response{}, err
	}
	account, err := e.authenticate(ctx, req)
	if err != nil {
		return Response{}, err
	}
	granted := e.Policy.Grant(who(account, req.Remote, audience), req.Scopes)
	token, id, err := e.Signer.AccessToken(account.Name, audience, e.AccessTTL, granted)
	if err != nil {
		return Response{}, fmt.Errorf("%w: sign access token: %v", ErrUnavailable, err)
	}
	if len(token) > maxTokenSize {
		return Response{}, &badRequest{oauth: oauthInvalidScope, text: fmt.Sprintf("the token for these scopes would be longer than the %d bytes that fit in a header: ask for fewer at once", maxTokenSize)}
	}
	refresh, err := e.refreshToken(req, account)
	if err != nil {
		return Response{}, err
	}
	return Response{Token: token, TokenID: id, RefreshToken: refresh, Subject: account.Name, Service: audience, Granted: granted}, nil
}

// audience returns the service that the token is for.
func (e *Endpoint) audience(service string) (string, error) {
	if service == "" && len(e.Audiences) == 1 {
		return e.Audiences[0], nil
	}
	if service == "" {
		return "", &badRequest{text: "service is missing, and there is more than one to choose from"}
	}
	if !slices.Contains(e.Audiences, service) {
		return "", &badRequest{text: fmt.Sprintf("unknown service %q", service)}
	}
	return service, nil
}

func who(account Account, remote, audience string) access.Who {
	w := access.Who{Name: account.Name, Groups: account.Groups, Service: audience}
	w.Remote, _ = netip.ParseAddr(remote) // the zero Addr is in no prefix
	return w
}

// authenticate never takes a client for anonymous that showed credentials or
// has some: whoever means to log in must hear that it did not work.
func (e *Endpoint) authenticate(ctx context.Context, req Request) (Account, error) {
	if req.Grant == GrantNone {
		if req.hasCredentials() || !e.Policy.AllowsAnyone() {
			return Account{}, errNoCredentials
		}
		return Account{}, nil
	}
	if req.Grant == GrantPassword {
		return e.checkPassword(ctx, req)
	}
	return e.decide(ctx, req, nil)
}

// decide asks whether the credentials are good and the account may come in.
func (e *Endpoint) decide(ctx context.Context, req Request, recheck func() error) (Account, error) {
	account, err := e.ask(ctx, req, recheck)
	if err != nil {
		return Account{}, err
	}
	if !validUser(account.Name) {
		return Account{}, refuse("PAM gave back an account name that cannot be one")
	}
	// Again, since a module may have turned one name into another.
	if entry := e.Blacklist.Find(account.Name, account.Groups); entry != "" {
		return Account{}, refuse("%q is blacklisted, by the entry %q", account.Name, entry)
	}
	return account, nil
}

func (e *Endpoint) ask(ctx context.Context, req Request, recheck func() error) (Account, error) {
	if req.Grant == GrantRefresh {
		return e.askRefresh(ctx, req)
	}
	if err := e.admissible(req.User); err != nil {
		return Account{}, err
	}
	if !validPassword(req.Password.Reveal()) {
		return Account{}, refuse("the password is empty, too long or holds a NUL")
	}
	return e.Authenticator.Authenticate(ctx, Login{req.User, req.Password, req.Remote, recheck})
}

// askRefresh lets the bearer of a refresh token in if the account would still
// be let in.
func (e *Endpoint) askRefresh(ctx context.Context, req Request) (Account, error) {
	subject, id, err := e.Signer.VerifyRefresh(req.RefreshToken.Reveal())
	if err != nil {
		return Account{}, refuse("refresh token: %v", err)
	}
	if err := e.admissible(subject); err != nil {
		return Account{}, fmt.Errorf("refresh token %s of %q: %w", id, subject, err)
	}
	account, err := e.Authenticator.CheckAccount(ctx, subject, req.Remote)
	if err != nil {
		return Account{}, fmt.Errorf("refresh token %s of %q: %w", id, subject, err)
	}
	return account, nil
}

func (e *Endpoint) admissible(user string) error {
	if !validUser(user) {
		return refuse("the user name is empty, too long or holds a character that no user name holds")
	}
	if entry := e.Blacklist.Find(user, nil); entry != "" {
		return refuse("%q is blacklisted, by the entry %q", user, entry)
	}
	return nil
}

// refreshToken gives a refresh token back as it came, and a new one to those
// who showed a password and asked for one.
func (e *Endpoint) refreshToken(req Request, account Account) (string, error) {
	if !req.Offline {
		return "", nil
	}
	if req.Grant == GrantRefresh {
		return req.RefreshToken.Reveal(), nil
	}
	token, _, err := e.Signer.RefreshToken(account.Name, e.RefreshTTL)
	if err != nil {
		return "", fmt.Errorf("%w: sign refresh token: %v", ErrUnavailable, err)
	}
	return token, nil
}

// validUser refuses what could be taken for another name on the way to PAM and
// its modules: NUL ends a C string, a slash leaves the folder of a module that
// keeps a file for each user, control characters forge lines, and directories
// overlook a space at either end.
func validUser(name string) bool {
	if name == "" || len(name) > maxUserLen || name == "." || name == ".." {
		return false
	}
	if !utf8.ValidString(name) || strings.Contains(name, "/") || strings.TrimSpace(name) != name {
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) })
}

func validPassword(password string) bool {
	return password != "" && len(password) <= maxPasswordLen && !strings.Contains(password, "\x00")
}
