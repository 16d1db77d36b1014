//go:build linux && cgo

package pamauth

import (
	"context"
	"fmt"
	"runtime"

	"github.com/msteinert/pam/v2"
)

// pamTTY is PAM_TTY: there is no terminal, but some modules (pam_access, pam_time) want a name
// for the origin of the login.
const pamTTY = "dockerauth"

// pamMutex is held by the one conversation of this process. A stuck conversation keeps it.
var pamMutex = make(chan struct{}, 1)

// Authenticate implements Authenticator.
func (p inProcess) Authenticate(ctx context.Context, l Login) (Account, error) {
	return p.authenticate(ctx, l, newProcessTag())
}

// authenticate is Authenticate with a tag that the parent process knows too.
func (p inProcess) authenticate(ctx context.Context, l Login, tag processTag) (Account, error) {
	if err := l.check(); err != nil {
		return Account{}, err
	}
	lines, err := p.Stack.Parse()
	if err != nil {
		return Account{}, fmt.Errorf("%w: %w", ErrBroken, err)
	}
	select {
	case pamMutex <- struct{}{}:
	case <-ctx.Done():
		return Account{}, fmt.Errorf(
			"%w: another conversation is running in this process: %w",
			ErrBusy,
			context.Cause(ctx),
		)
	}
	if err := setSubreaper(); err != nil {
		<-pamMutex
		return Account{}, fmt.Errorf("%w: %w", ErrBroken, err)
	}
	resetTag, err := setTag(tag)
	if err != nil {
		<-pamMutex
		return Account{}, fmt.Errorf("%w: %w", ErrBroken, err)
	}
	type answer struct {
		account Account
		err     error
	}
	done := make(chan answer, 1)
	go func() {
		runtime.LockOSThread() // modules keep data in the thread
		defer runtime.UnlockOSThread()
		account, err := p.converse(l, lines)
		if !hasNoChildren() {
			killTagged(tag, true)
		}
		resetTag()
		<-pamMutex
		done <- answer{account, err}
	}()
	select {
	case a := <-done:
		return a.account, a.err
	case <-ctx.Done():
	}
	return Account{}, errContextEnded(ctx, killTagged(tag, true))
}

// converse asks PAM, phase by phase.
func (p inProcess) converse(l Login, lines []Line) (Account, error) {
	if p.NoNewPrivileges && !needsHelpers(lines) {
		if err := setNoNewPrivs(); err != nil {
			return Account{}, fmt.Errorf("%w: %w", ErrBroken, err)
		}
	}
	// Opened before the password is asked about: if it is changed meanwhile, a token made from the
	// old one has the old state, and ends at its first use.
	shadow, err := openShadow(l.StateKey)
	if err != nil {
		return Account{}, err
	}
	defer shadow.close()
	if l.AccountOnly && l.LookUpOnly {
		return systemAccount(l.User, l.Groups, shadow)
	}
	h := &convHandler{}
	if !l.AccountOnly {
		h.Password = l.Password
	}
	t, err := pam.StartConfDir(p.Stack.Service, l.User, h, p.Stack.confdir())
	if err != nil {
		return Account{}, classify("start", err, h)
	}
	defer func() { _ = t.End() }()
	if err := p.setItems(t, l); err != nil {
		return Account{}, classify("start", err, h)
	}
	// Without DisallowNullAuthtok an account with an empty password accepts any password where the
	// stack says nullok, as Debian's does.
	const flags = pam.Silent | pam.DisallowNullAuthtok
	if !l.AccountOnly {
		if err := classify("authenticate", t.Authenticate(flags), h); err != nil {
			return Account{}, err
		}
	}
	h.unanswered = false
	if err := classify("account", t.AcctMgmt(flags), h); err != nil {
		return Account{}, err
	}
	name, err := t.GetItem(pam.User)
	if err != nil {
		return Account{}, classify("read PAM_USER", err, h)
	}
	return systemAccount(name, l.Groups, shadow)
}

// setItems tells the modules where the login comes from.
func (p inProcess) setItems(t *pam.Transaction, l Login) error {
	if err := t.SetItem(pam.Tty, pamTTY); err != nil {
		return err
	}
	if l.Remote == "" {
		return nil
	}
	return t.SetItem(pam.Rhost, l.Remote)
}
