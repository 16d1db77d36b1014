//go:build linux && cgo

package pamauth

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
)

// Authenticate implements Authenticator.
func (c Child) Authenticate(ctx context.Context, l Login) (Account, error) {
	if err := l.check(); err != nil {
		return Account{}, err
	}
	if err := ctx.Err(); err != nil {
		return Account{}, fmt.Errorf("%w: no time left: %w", ErrBusy, context.Cause(ctx))
	}
	tag := newProcessTag()
	frame, err := request{Stack: c.Stack, Login: l, Tag: tag}.encode()
	if err != nil {
		return Account{}, fmt.Errorf("%w: start child: %w", ErrBroken, err)
	}
	defer clear(frame)
	p, err := startChild(c.Program, c.Args)
	if err != nil {
		return Account{}, fmt.Errorf("%w: start child: %w", ErrBroken, err)
	}
	defer p.close()
	sent := p.sendRequest(ctx, frame)
	inTime := p.wait(ctx)
	output := p.output()
	c.forward(output)
	if sent && inTime {
		if r, err := p.response(); err == nil {
			return r.result()
		}
	}
	left := killTagged(tag, false)
	if !inTime {
		return Account{}, errContextEnded(ctx, left)
	}
	return Account{}, fmt.Errorf("%w: child ended without a response (%s)%s\n  a module crashed or ended it; %s",
		ErrBroken, p.exitReason(output), leftText(left), seeAuthLog)
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

// result is the Authenticator's answer that a response stands for.
func (r response) result() (Account, error) {
	switch r.status {
	case accepted:
		return Account{Name: r.text, Groups: r.groups, UID: r.uid, Shadow: r.shadow}, nil
	case refused:
		return Account{}, fmt.Errorf("%w: %s", ErrRefused, r.text)
	}
	return Account{}, fmt.Errorf("%w: %s", ErrBroken, r.text)
}

// responseFor is the response that stands for an Authenticator's answer.
func responseFor(account Account, err error) response {
	switch {
	case err == nil:
		return response{accepted, account.Name, account.UID, account.Shadow, account.Groups}
	case errors.Is(err, ErrRefused):
		return response{status: refused, text: strings.TrimPrefix(err.Error(), ErrRefused.Error()+": ")}
	}
	return response{status: broken, text: strings.TrimPrefix(err.Error(), ErrBroken.Error()+": ")}
}
