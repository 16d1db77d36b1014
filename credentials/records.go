package credentials

import (
	"context"
	"time"

	"dockerauth/store"
)

// Records are the credentials in a store. All methods may be called at once by anybody.
type Records struct {
	Kept     store.Store      // tokens, revocations, and the store's own id
	Counters store.Store      // logins, which may be forgotten
	Now      func() time.Time // nil = time.Now
}

// Issue keeps a new token. ID, and Created if it is zero, are filled in.
func (r *Records) Issue(ctx context.Context, s Secret, t Token) (Token, error) { panic("TODO") }

// Check returns the token that a client sent as the password of a login, if it may be used now, from an
// address. Whether the account is still in order is for the caller to check, with State. Errors are
// ErrRefused or ErrUnknown.
func (r *Records) Check(ctx context.Context, s Secret, login, remote string) (Token, error) {
	panic("TODO")
}

// Get returns a token, revoked and replaced ones too, until it has expired. The error may be
// ErrNotFound.
func (r *Records) Get(ctx context.Context, id string) (Token, error) { panic("TODO") }

// List calls visit for all tokens, in the order of their IDs, until visit returns false.
func (r *Records) List(ctx context.Context, visit func(Token) bool) error { panic("TODO") }

// Rotate replaces a token that is neither revoked nor replaced by one that differs in secret, ID and
// state, and ends after the same time. The old one ends after the overlap.
func (r *Records) Rotate(ctx context.Context, id string, s Secret, state State, overlap time.Duration) (Token, error) {
	panic("TODO")
}

// Revoke takes tokens back, kept ones and refresh tokens. IDs that are of no kept token are taken for
// those of refresh tokens: they are found in the log, and the store need not know them. It returns
// when the store has them all safe.
func (r *Records) Revoke(ctx context.Context, reason string, ids ...string) error { panic("TODO") }

// RevokeUser takes back all credentials that an account has of some kinds. It takes up to a second:
// tokens have whole seconds, and one that is issued after it returns is accepted. Revoked are the
// kept tokens, and the known logins.
func (r *Records) RevokeUser(ctx context.Context, user, reason string, kinds ...Kind) (revoked []Token, logins []Login, err error) {
	panic("TODO")
}

// ID identifies what the store knows. It is made when it is first wanted. A store that was emptied
// has another, so that what its revocations may have touched is refused.
func (r *Records) ID(ctx context.Context) (string, error) { panic("TODO") }

// RefreshToken is what a refresh token says of itself.
type RefreshToken struct {
	ID     string
	User   string
	Issued time.Time // whole seconds
	Store  string    // Records.ID when it was issued; "" = there was no store
}

// CheckRefresh reports whether a refresh token has been taken back, in one round trip. Errors are
// ErrRefused or ErrUnknown.
func (r *Records) CheckRefresh(ctx context.Context, t RefreshToken) error { panic("TODO") }

// Login is a refresh token in use.
type Login struct {
	ID      string
	User    string
	Client  string // client_id, as the client sent it
	Remote  string
	First   time.Time // the day of the login
	Last    time.Time // the day of the last use
	Expires time.Time
}

// Use notes a use of a kept token, as Check returned it, once a day, and reports whether it is the
// first of the day. It may be called after the answer.
func (r *Records) Use(ctx context.Context, t Token, remote string) (first bool, err error) {
	panic("TODO")
}

// NoteLogin notes the issue or use of a refresh token, once a day. It may be called after the answer, and what it
// notes may be forgotten.
func (r *Records) NoteLogin(ctx context.Context, l Login) error { panic("TODO") }

// Logins calls visit for the refresh tokens that the store knows and that are not revoked, by user; user "" = all.
func (r *Records) Logins(ctx context.Context, user string, visit func(Login) bool) error {
	panic("TODO")
}
