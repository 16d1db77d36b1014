package service

import (
	"context"
	"errors"

	"dockerauth/access"
	"dockerauth/handler"
	"dockerauth/jwtsign"
	"dockerauth/pamauth"
)

// authenticator translates between handler and pamauth.
type authenticator struct {
	pam    pamauth.Authenticator
	groups bool         // rules or lists of accounts name groups
	key    *jwtsign.Key // that signs refresh tokens
}

func (a authenticator) Authenticate(ctx context.Context, l handler.Login) (handler.Account, error) {
	stateKey, err := stateKey(a.key)
	if err != nil {
		return handler.Account{}, handler.Failure(handler.ErrUnavailable, err)
	}
	return a.hold(ctx,
		pamauth.Login{User: l.User, Password: pamauth.Password(l.Password.Reveal()), Remote: l.Remote,
			Recheck: l.Recheck, StateKey: pamauth.StateKey(stateKey.Reveal())})
}

func (a authenticator) CheckAccount(ctx context.Context, user, remote string, stateKey handler.Secret) (
	handler.Account, error) {
	return a.hold(ctx, pamauth.Login{User: user, Remote: remote, AccountOnly: true,
		StateKey: pamauth.StateKey(stateKey.Reveal())})
}

func (a authenticator) LookUp(ctx context.Context, user, remote string) (handler.Account, error) {
	return a.hold(ctx, pamauth.Login{User: user, Remote: remote, AccountOnly: true, LookUpOnly: true})
}

func (a authenticator) hold(ctx context.Context, login pamauth.Login) (handler.Account, error) {
	login.Groups = a.groups
	account, err := a.pam.Authenticate(ctx, login)
	switch {
	case err == nil:
		state := handler.State(accountState(account))
		return handler.Account{Name: account.Name, Groups: Groups(account.Groups), State: &state}, nil
	case errors.As(err, new(*handler.Throttled)):
		return handler.Account{}, err
	case errors.Is(err, pamauth.ErrRefused):
		return handler.Account{}, handler.Failure(handler.ErrRefused, err)
	case errors.Is(err, pamauth.ErrBusy):
		return handler.Account{}, handler.Failure(handler.ErrBusy, err)
	default:
		return handler.Account{}, handler.Failure(handler.ErrUnavailable, err)
	}
}

// Groups are those of an account, as access rules see them.
func Groups(known []pamauth.Group) []access.Group {
	list := make([]access.Group, len(known))
	for i, g := range known {
		list[i] = access.Group{Name: g.Name, ID: int(g.ID)}
	}
	return list
}
