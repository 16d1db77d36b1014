// Package pamauth asks PAM whether a person may log in: authentication and account management, in this process or in a short-lived child
// of it, with a deadline after which nothing of the conversation is left.
//
// Everything that stands before the conversation implements Conversation too, so that they can be put on like the skins of an onion:
//
//	child := pamauth.Child{Args: []string{"internal-pam-worker"}, Stack: stack}
//	gate := pamauth.Gate(2, child, observer)
//	share := pamauth.Share(pamauth.Deadline(10*time.Second, gate), observer)
//	pamauth.Cache(30*time.Second, share, observer)
//
// in this order: an answer that is known waits for nobody; equal logins take one seat, not one each; the time for a conversation includes
// the waiting for its seat.
package pamauth

import (
	"context"
	"errors"
	"io"
)

// Conversation is one question to PAM and its answer: the account, ErrRefused, ErrBroken or ErrBusy.
type Conversation interface {
	Hold(ctx context.Context, l Login) (Account, error)
}

// Login is what a person claims.
type Login struct {
	User     string
	Password Password
	// Remote is the client's IP address, for PAM_RHOST; empty if unknown.
	Remote string
	// AccountOnly asks account management alone, for a refresh: the password is not looked at. It does not notice an account locked
	// with "usermod -L", because pam_unix keeps that lock in the password field.
	AccountOnly bool
	// Groups asks for the account's Unix groups as well.
	Groups bool
	// Recheck is asked by a Gate when the login's turn has come: much may have happened while it waited. Its error, as it is, ends the login then, and
	// PAM is not asked. nil means nothing to ask. Logins that are equal but for this share the answer of the first.
	Recheck func() error
}

// Account is who PAM says logged in.
type Account struct {
	// Name is PAM_USER after the conversation: modules may have changed case or domain. Whoever keeps a list of names checks this one.
	Name string
	// Groups are the primary and the supplementary ones, where the Login asked for them. An account that PAM knows and Unix does not
	// has none.
	Groups []Group
}

// Group is a Unix group.
type Group struct {
	Name string
	ID   uint32
}

// Every error of a Conversation wraps one of these. Its text is for the operator: it names the cause and, where there is a remedy, says
// so on a line of its own; it never holds the password. Clients get none of it.
var (
	// ErrRefused: PAM said no, or the login is one that PAM must not be asked about. The person's fault.
	ErrRefused = errors.New("pam refused the login")
	// ErrBroken: there was no answer to be had. Ours, or the system's.
	ErrBroken = errors.New("pam conversation broken")
	// ErrBusy: no turn came before the context's end, or none was to be expected.
	ErrBusy = errors.New("pam conversation not begun")
)

// InProcess holds the conversation in this process: what a Child does, and good for a process that ends soon after.
//
// PAM is asked by one conversation at a time, since modules need not be safe for threads. When the context ends first, Hold kills what
// the modules started and returns, but the stuck thread stays: the process should end soon after. While it runs, other programs must not be
// started from this process, for they would count as the modules' own; and pam_unix may take over SIGCHLD. The process becomes the
// adoptive parent (PR_SET_CHILD_SUBREAPER) of what the modules leave behind.
type InProcess struct {
	Stack Stack
	// TTY is told to the modules as PAM_TTY; "dockerauth" if empty.
	TTY string
	// NoNewPrivileges gives up the use of programs with rights of their own (no_new_privs), where no
	// module needs them: a fault in a module gains nothing from them. The thread of the conversation
	// keeps that, so it is for a process that ends soon after.
	NoNewPrivileges bool
}

// Child holds each conversation in a short-lived child, which is killed together with everything it started when the context ends first.
// A module that hangs, crashes, leaks or is not safe for threads troubles nobody but its own conversation.
type Child struct {
	// Program is run with Args, nothing in its environment, and must call RunChild. Empty means this very program, even when the file
	// has been replaced since it was started.
	Program string
	Args    []string
	Stack   Stack
	// Stderr gets the beginning of what the child and its modules printed, in one Write for each conversation; os.Stderr if nil.
	Stderr io.Writer
}
