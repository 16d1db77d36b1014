package handler

import (
	"dockerauth/access"
)

// Grant is what a request wants to be let in by.
type Grant string

// The grants of the token endpoint (distribution, docs/spec/auth/oauth.md).
const (
	GrantNone     Grant = ""              // no credentials were sent
	GrantPassword Grant = "password"      // a user name and a password, by Basic or in the form
	GrantRefresh  Grant = "refresh_token" // a refresh token, in the form or as Basic with an empty user
)

// Request is one token request, decoded. Nothing after decode looks at a query
// string, a form or a header again.
type Request struct {
	Grant        Grant
	User         string // as the client sent it
	Password     Secret
	RefreshToken Secret
	Offline      bool   // a refresh token is wanted
	Service      string // "" = the only configured audience
	Scopes       []access.Scope
	Form         bool   // it came by POST: the answer names the granted scope and an OAuth error code
	Account      string // what the client says of itself: for the log, never for a decision
	ClientID     string // likewise
	Remote       string // the client's address
}

// hasCredentials reports whether the client has some, whether or not they
// arrived: it sends account and offline_token only then.
func (r Request) hasCredentials() bool {
	return r.Account != "" || r.Offline
}

// Login is a password on its way to an Authenticator.
type Login struct {
	User     string
	Password Secret
	Remote   string // the client's address
	// Recheck is called before PAM is asked, after the login has waited: its error ends the login. nil = nothing to check.
	Recheck func() error
}

// Response is what a granted request is answered with.
type Response struct {
	Token        string
	TokenID      string
	RefreshToken string // "" = none wanted
	Subject      string // the account, under the name that PAM gave back; "" = the anonymous client
	Service      string
	Granted      []access.Scope
}

// Account is who an Authenticator found.
type Account struct {
	Name   string         // the name that PAM gave back; a module may have changed case or domain; "" = the anonymous client
	Groups []access.Group // primary and supplementary, where rules or the blacklist name any
}
