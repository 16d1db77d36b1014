//go:build linux && cgo

package pamauth

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"github.com/msteinert/pam/v2"
)

// defaultTTY is PAM_TTY: there is no terminal, but some modules (pam_access, pam_time) want a name for where the login comes from.
const defaultTTY = "dockerauth"

// turn is held by the one conversation in this process; a stuck one keeps it.
var turn = make(chan struct{}, 1)

// Hold implements Conversation.
func (p InProcess) Hold(ctx context.Context, l Login) (Account, error) {
	return p.hold(ctx, l, newBrand())
}

// hold is Hold under a brand that somebody else knows too.
func (p InProcess) hold(ctx context.Context, l Login, b brand) (Account, error) {
	if err := l.check(); err != nil {
		return Account{}, err
	}
	lines, err := p.Stack.read()
	if err != nil {
		return Account{}, fmt.Errorf("%w: %w", ErrBroken, err)
	}
	select {
	case turn <- struct{}{}:
	case <-ctx.Done():
		return Account{}, fmt.Errorf("%w: another conversation is under way in this process: %w", ErrBusy, context.Cause(ctx))
	}
	if err := setSubreaper(); err != nil {
		<-turn
		return Account{}, fmt.Errorf("%w: %w", ErrBroken, err)
	}
	unbrand, err := b.burn()
	if err != nil {
		<-turn
		return Account{}, fmt.Errorf("%w: %w", ErrBroken, err)
	}
	type answer struct {
		account Account
		err     error
	}
	done := make(chan answer, 1)
	go func() {
		runtime.LockOSThread() // modules keep things in the thread
		defer runtime.UnlockOSThread()
		account, err := p.bounded(l, modulesOf(lines))
		if !childless() {
			b.sweep(true)
		}
		unbrand()
		<-turn
		done <- answer{account, err}
	}()
	select {
	case a := <-done:
		return a.account, a.err
	case <-ctx.Done():
	}
	return Account{}, late(ctx, b.sweep(true))
}

// bounded is converse with no rights to be gained by what the modules start, where NoNewPrivileges is set and none of them needs that.
func (p InProcess) bounded(l Login, modules []string) (Account, error) {
	if p.NoNewPrivileges && !needHelpers(modules) {
		if err := setNoNewPrivs(); err != nil {
			return Account{}, fmt.Errorf("%w: %w", ErrBroken, err)
		}
	}
	return p.converse(l)
}

// late is what is said of a conversation that its context ended.
func late(ctx context.Context, left int) error {
	cause := context.Cause(ctx)
	if errors.Is(cause, context.Canceled) {
		return fmt.Errorf("%w: given up, nobody waits for the answer%s: %w", ErrBroken, survivors(left), cause)
	}
	return fmt.Errorf("%w: no answer in time%s: %w\n  a module hangs or is slow: see whether the directory that it asks can be reached; %s",
		ErrBroken, survivors(left), cause, seeAuthLog)
}

// survivors tells of processes that could not be killed: such as changed all their user ids.
func survivors(left int) string {
	if left == 0 {
		return ""
	}
	return fmt.Sprintf(" (and %d processes that it started could not be killed)", left)
}

// converse asks PAM, phase by phase.
func (p InProcess) converse(l Login) (Account, error) {
	a := &answers{}
	if !l.AccountOnly {
		a.Password = l.Password
	}
	t, err := pam.StartConfDir(p.Stack.Service, l.User, a, p.Stack.confdir())
	if err != nil {
		return Account{}, judge("start", err, a)
	}
	defer func() { _ = t.End() }()
	if err := p.describe(t, l); err != nil {
		return Account{}, judge("start", err, a)
	}
	// Without DisallowNullAuthtok an account with an empty password lets any password in where the stack says nullok, as Debian's does.
	const flags = pam.Silent | pam.DisallowNullAuthtok
	if !l.AccountOnly {
		if err := judge("authenticate", t.Authenticate(flags), a); err != nil {
			return Account{}, err
		}
	}
	a.asked = false
	if err := judge("account", t.AcctMgmt(flags), a); err != nil {
		return Account{}, err
	}
	name, err := t.GetItem(pam.User)
	if err != nil {
		return Account{}, judge("read PAM_USER", err, a)
	}
	if err := checkName(name); err != nil {
		return Account{}, fmt.Errorf("%w: PAM_USER %w after the conversation\n  a module renamed the account to that", ErrBroken, err)
	}
	if !l.Groups {
		return Account{Name: name}, nil
	}
	groups, err := Groups(name)
	if err != nil {
		return Account{}, fmt.Errorf("%w: look up groups: %w\n  see whether \"id\" shows the account's groups on this machine", ErrBroken, err)
	}
	return Account{Name: name, Groups: groups}, nil
}

// describe tells the modules where the login comes from.
func (p InProcess) describe(t *pam.Transaction, l Login) error {
	tty := p.TTY
	if tty == "" {
		tty = defaultTTY
	}
	if err := t.SetItem(pam.Tty, tty); err != nil {
		return err
	}
	if l.Remote == "" {
		return nil
	}
	return t.SetItem(pam.Rhost, l.Remote)
}
