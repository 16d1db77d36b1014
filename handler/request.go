package handler

import "dockerauth/access"

// Grant is the kind of credentials that a request has.
type Grant string

// The grants of the token endpoint (distribution, docs/spec/auth/oauth.md).
const (
	GrantNone     Grant = ""              // no credentials were sent
	GrantPassword Grant = "password"      // a user name and a password, by Basic or in the form
	GrantRefresh  Grant = "refresh_token" // a refresh token, in the form or as Basic with an empty user
)

// Request is one decoded token request. Nothing after decode reads a query string, a form or a
// header.
type Request struct {
	Grant        Grant
	User         string // as the client sent it
	Password     Secret
	RefreshToken Secret
	Offline      bool   // a refresh token is wanted
	Service      string // "" = the only configured audience
	Scopes       []access.Scope
	Malformed    []string // scopes that do not parse: for the log, nothing is granted for them
	Form         bool     // sent by POST: the answer has the granted scope or an OAuth error code
	Account      string   // claimed by the client: for the log, never for a decision
	ClientID     string   // likewise
	Remote       string   // the client's address
}

// hasCredentials reports whether the client has credentials, even if none arrived: clients send
// account and offline_token only then.
func (r Request) hasCredentials() bool {
	return r.Account != "" || r.Offline
}

// Login is a password on its way to an Authenticator.
type Login struct {
	User     string
	Password Secret
	Remote   string // the client's address
	// Recheck is called after the login has waited for its slot, if any, and before PAM is asked.
	// Its error ends the login. nil = nothing to check.
	Recheck func() error
}

// Response is the answer to a granted request.
type Response struct {
	Token        string
	TokenID      string
	RefreshToken string // "" = none wanted
	Subject      string // the account's name in the system, and its robot's; "" = the anonymous client
	Service      string
	Granted      []access.Scope
	Credential   Credential // that was used, also beside an error, or issued
	Event        string     // of the credential, for the log
}

// The events of credentials.
const (
	EventIssued = "token-issued"
	EventUsed   = "token-used"
)

// Account is an account that an Authenticator accepted.
type Account struct {
	Name   string         // the system's, maybe in other case; "" = the anonymous client
	Groups []access.Group // primary and supplementary, if rules or lists of accounts name any
	State  *State         // nil = not known
}

// State is what tells an account from another of the same name, and from itself with another
// password.
type State struct {
	UID    int    // -1 = Unix does not know the account
	Shadow string // keyed digest of the entry in /etc/shadow, or a word for why there is none
	Locked bool
}
