// Package pamauth asks PAM whether a user may log in: authentication and account management, in a
// short-lived child. A conversation has a deadline, after which nothing that it started is left.
//
// Child implements Authenticator. So does each wrapper in front of it:
//
//	child := pamauth.Child{Stack: stack}
//	limited := pamauth.Limit(pamauth.NewSlots(2), child, observer)
//	coalesced := pamauth.Coalesce(pamauth.Deadline(10*time.Second, limited), observer)
//	authenticator := pamauth.Cache(30*time.Second, coalesced, observer)
//
// The order matters, from the outside in:
//
//	Cache      a known answer waits for nothing
//	Coalesce   equal logins use one slot, not one each
//	Deadline   includes the wait for a slot
//	Limit      bounds the conversations that run at once
//	Child      one conversation
package pamauth

import (
	"context"
	"errors"
	"io"
	"slices"
)

// Authenticator asks PAM about one login. The error wraps ErrRefused, ErrBroken or ErrBusy.
type Authenticator interface {
	Authenticate(ctx context.Context, l Login) (Account, error)
}

// Login is what a client claims.
type Login struct {
	User     string
	Password Password
	// Remote is the client's IP address, for PAM_RHOST; "" = unknown. One that is IPv4 is not in an
	// IPv6 notation, or it would wait in the queue of others.
	Remote string
	// AccountOnly asks account management alone, for a token: the password is ignored. It does not
	// notice "usermod -L", because pam_unix keeps that lock in the password field: Shadow.Locked
	// does.
	AccountOnly bool
	// LookUpOnly goes with AccountOnly, and does not ask PAM at all: the answer is what the system
	// has of that name.
	LookUpOnly bool
	// Groups asks for the account's Unix groups as well.
	Groups bool
	// StateKey asks for the account's entry in /etc/shadow, and is the key of its digest: 16 random
	// bytes or more. nil = not asked for.
	StateKey StateKey
	// Recheck is called by Limit when the login's turn has come, since much may have happened while
	// it waited. Its error is returned as it is, and PAM is not asked. nil = no check. Logins that
	// differ only in Recheck share the answer of the first.
	Recheck func() error
}

// Account is the account that PAM let in.
type Account struct {
	// Name is the system's name for PAM_USER after the conversation, or PAM_USER if the system has
	// none: case and domain may differ from what was typed, and modules may have made it what is no
	// user name. Lists of names must be compared with this one.
	Name string
	// Groups are the primary and the supplementary ones, if the Login asked for them. An account
	// that Unix does not know has none.
	Groups []Group
	// UID is -1 for an account that Unix does not know.
	UID int
	// Shadow is the account's entry in /etc/shadow as it was when the conversation began, if the
	// Login asked for it.
	Shadow Shadow
}

// clone copies the groups, which callers may change.
func (a Account) clone() Account {
	a.Groups = slices.Clone(a.Groups)
	return a
}

// Group is a Unix group.
type Group struct {
	Name string
	ID   uint32
}

// Every error of an Authenticator wraps one of these, or is that of Login.Recheck. Its text is for
// the operator: the cause and, on a line of its own, what to do. It never holds the password.
// Clients must not see it.
var (
	// ErrRefused: PAM refused the login, or PAM must not be asked about such a login.
	ErrRefused = errors.New("pam refused the login")
	// ErrBroken: there is no answer, for a reason on this machine or in a directory server.
	ErrBroken = errors.New("pam conversation failed")
	// ErrBusy: no slot was free before the context's end, or none could be expected.
	ErrBusy = errors.New("pam conversation not started")
)

// Child runs each conversation in a short-lived child process. If the context ends first, the child
// is killed with everything that it started. A module that hangs, crashes, leaks or is not safe for
// threads affects its own conversation only.
//
// The child is C code of this package (child.c), in a process of the program that imports it. It
// takes over before Go's runtime starts. In a CGI program it is forked off then, if the request has
// a login, and waits.
type Child struct {
	Stack Stack
	// Stderr gets the beginning of what the child and its modules print, in one Write for each
	// conversation; nil = os.Stderr.
	Stderr io.Writer
	// BeforeStart is called in the thread that starts a child; nil = nothing is.
	BeforeStart func()

	program []string // with its arguments, in place of this one; nil = this one
}
