package service

import (
	"context"
	"errors"
	"log/slog"
	"strings"

	"dockerauth/config"
	"dockerauth/credentials"
	"dockerauth/handler"
	"dockerauth/pamauth"
)

// TryLogin asks for a token as the endpoint does, but uncounted and without a delay: its callers
// can read the configuration and the key, so they are not guessing. It returns the account that PAM
// named, and whether the error is a refusal.
func TryLogin(cfg *config.Config, conversation pamauth.Authenticator, login pamauth.Login, service string) (
	account pamauth.Account, refused bool, err error) {
	recorded := &recorder{Authenticator: conversation}
	endpoint := NewHandler(cfg, recorded, nil, slog.New(slog.DiscardHandler)).Endpoint
	endpoint.FailureDelay = 0
	_, err = endpoint.Token(context.Background(), handler.Request{
		Grant: handler.GrantPassword, User: login.User, Password: handler.Secret(login.Password.Reveal()),
		Service: service,
	})
	return recorded.account, errors.Is(err, handler.ErrRefused), err
}

// IsToken reports a text that PAM is never asked about.
func IsToken(text string) bool { return strings.HasPrefix(text, credentials.Prefix) }

// recorder keeps the account of the last conversation, with its groups.
type recorder struct {
	pamauth.Authenticator
	account pamauth.Account
}

func (r *recorder) Authenticate(ctx context.Context, login pamauth.Login) (account pamauth.Account, err error) {
	login.Groups = true
	account, err = r.Authenticator.Authenticate(ctx, login)
	r.account = account
	return account, err
}
