//go:build linux && cgo

package pamauth

// #include "child.h"
import "C"

import (
	"context"
	"fmt"
	"os"
	"runtime"
)

// Authenticate implements Authenticator.
func (c Child) Authenticate(ctx context.Context, l Login) (Account, error) {
	if err := l.check(); err != nil {
		return Account{}, err
	}
	if err := ctx.Err(); err != nil {
		return Account{}, fmt.Errorf("%w: no time left: %w", ErrBusy, context.Cause(ctx))
	}
	lines, err := c.Stack.Parse()
	if err != nil {
		return Account{}, fmt.Errorf("%w: %w", ErrBroken, err)
	}
	// Opened before the password is asked about: if it is changed meanwhile, a token made from the
	// old one has the old state, and ends at its first use.
	shadow, err := openShadow(l.StateKey)
	if err != nil {
		return Account{}, err
	}
	defer shadow.close()
	a, err := c.ask(ctx, request{Stack: c.Stack, Login: l, Tag: newProcessTag(), NoNewPrivileges: !needsHelpers(lines)})
	if err != nil {
		return Account{}, err
	}
	if err := a.err(); err != nil {
		return Account{}, err
	}
	account := Account{Name: a.name, Groups: a.groups, UID: a.uid}
	account.Shadow, err = shadow.find(account.Name, account.UID)
	return account, err
}

// ask has a child hold the conversation. The error wraps ErrBroken.
func (c Child) ask(ctx context.Context, r request) (childAnswer, error) {
	frame, err := r.encode()
	if err != nil {
		return childAnswer{}, fmt.Errorf("%w: start child: %w", ErrBroken, err)
	}
	defer clear(frame)
	p, err := c.start()
	if err != nil {
		return childAnswer{}, fmt.Errorf("%w: start child: %w", ErrBroken, err)
	}
	defer p.close()
	sent := p.sendRequest(ctx, frame)
	inTime := p.wait(ctx)
	c.forward(p.output())
	if sent && inTime {
		if a, err := p.answer(); err == nil {
			if a.leftOver {
				killTagged(r.Tag)
			}
			return a, nil
		}
	}
	left := killTagged(r.Tag)
	if !inTime {
		return childAnswer{}, errContextEnded(ctx, left)
	}
	return childAnswer{}, fmt.Errorf("%w: child ended without a response (%s)%s\n  a module crashed or ended it; %s",
		ErrBroken, p.state, leftText(left), seeAuthLog)
}

// start starts a child, or takes the one that a CGI program has already.
func (c Child) start() (*childProcess, error) {
	if c.program != nil {
		return startChild(c.program[0], c.program)
	}
	if p := earlyChild(); p != nil {
		return p, nil
	}
	if c.BeforeStart != nil {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		c.BeforeStart()
	}
	return startChild(thisProgram, []string{os.Args[0], C.CHILD_ARGUMENT}) // modules' log lines begin with the name
}

// forward passes on what the child printed.
func (c Child) forward(output []byte) {
	if len(output) == 0 {
		return
	}
	if c.Stderr == nil {
		c.Stderr = os.Stderr
	}
	_, _ = c.Stderr.Write(output)
}
