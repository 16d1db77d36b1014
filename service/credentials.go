package service

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"dockerauth/access"
	"dockerauth/config"
	"dockerauth/credentials"
	"dockerauth/handler"
	"dockerauth/jwtsign"
	"dockerauth/pamauth"
)

// keeper is what the endpoint knows of credentials: it signs refresh tokens, and finds in a store
// what has been taken back.
type keeper struct {
	signer *jwtsign.Signer
	ttl    time.Duration // of refresh tokens
	kept   *keptRecords  // nil = there is no store
	later  *afterwards
	log    *slog.Logger
}

func newKeeper(cfg *config.Config, kept *keptRecords, later *afterwards, log *slog.Logger) keeper {
	return keeper{newSigner(cfg), cfg.RefreshTokenTTL, kept, later, log}
}

func newSigner(cfg *config.Config) *jwtsign.Signer {
	return &jwtsign.Signer{Key: cfg.Key, Previous: cfg.PreviousKeys, Issuer: cfg.Issuer}
}

// errNowhereKept is the reason where the configuration has no store.
var errNowhereKept = errors.New("there is no folder or server that knows which tokens were taken back: see state")

// ParseKept, Kept, Refresh and NewRefresh implement handler.Credentials.
func (k keeper) ParseKept(token handler.Secret) error {
	_, err := credentials.ParseSecret(token.Reveal())
	return credentialError(err)
}

func (k keeper) Kept(ctx context.Context, token handler.Secret, login, remote string) (handler.Credential, error) {
	secret, err := credentials.ParseSecret(token.Reveal())
	if err != nil {
		return handler.Credential{}, credentialError(err)
	}
	c := handler.Credential{ID: secret.ID}
	if k.kept == nil {
		return c, handler.Failure(handler.ErrUnavailable, errNowhereKept)
	}
	t, err := k.kept.Check(ctx, secret, login, remote)
	if err != nil {
		c.IsGuess = errors.Is(err, credentials.ErrGuess)
		return c, credentialError(err)
	}
	c.Kind, c.User, c.Robot, c.StateKey = handler.Kind(t.Kind), t.User, t.Robot, handler.Secret(secret.StateKey())
	for _, scope := range t.Scopes {
		limit, err := access.ParseLimit(scope)
		if err != nil {
			return c, handler.Failure(handler.ErrUnavailable, fmt.Errorf("record of token %s: %w", t.ID, err))
		}
		c.Limits = append(c.Limits, limit)
	}
	same := t.State.StillSame
	if t.Keep {
		same = t.State.StillThere
	}
	c.Check = checkState(same)
	c.Note = func(_, remote string) { k.later.add(func() { k.noteUse(t, remote) }) }
	return c, nil
}

// noteUse notes the first use of a day, and warns of the end.
func (k keeper) noteUse(t credentials.Token, remote string) {
	first, err := k.kept.Use(context.Background(), t, remote)
	if err != nil {
		k.log.Warn("use of a token is not noted", "credential", t.ID, "reason", err.Error())
	}
	if first && t.ExpiresSoon(time.Now()) {
		k.log.Warn("token expires soon", "event", EventExpires, "credential", t.ID, "kind", string(t.Kind),
			"subject", t.Login(), "expires", t.Expires.UTC().Format(time.RFC3339))
	}
}

func (k keeper) Refresh(ctx context.Context, token handler.Secret) (handler.Credential, error) {
	claims, key, err := k.signer.VerifyRefresh(token.Reveal())
	if err != nil {
		return handler.Credential{}, handler.Failure(handler.ErrRefused, err)
	}
	c := k.refresh(claims)
	if err := k.checkRefresh(ctx, claims); err != nil {
		return c, credentialError(fmt.Errorf("refresh token %s of %q: %w", claims.ID, claims.Subject, err))
	}
	if c.StateKey, err = stateKey(key); err != nil {
		return c, handler.Failure(handler.ErrUnavailable, err)
	}
	return c, nil
}

func (k keeper) checkRefresh(ctx context.Context, claims jwtsign.RefreshClaims) error {
	switch {
	case k.kept != nil:
		return k.kept.CheckRefresh(ctx, credentials.RefreshToken{
			ID: claims.ID, User: claims.Subject, Issued: claims.Issued, Store: claims.Store,
		})
	case claims.Store != "":
		return errNowhereKept
	}
	return nil
}

// refresh is the credential with the claims of a refresh token.
func (k keeper) refresh(claims jwtsign.RefreshClaims) handler.Credential {
	issued := credentials.State{UID: claims.UID, Shadow: claims.Shadow}
	c := handler.Credential{
		ID: claims.ID, Kind: handler.Refresh, User: claims.Subject, Check: checkState(issued.StillSame),
	}
	if k.kept != nil {
		c.Note = func(client, remote string) {
			k.later.addOfDay(claims.ID, func() error {
				return k.kept.NoteLogin(context.Background(), credentials.Login{
					ID: claims.ID, User: claims.Subject, Client: client, Remote: remote,
					First: claims.Issued, Last: time.Now(), Expires: claims.Expires,
				})
			})
		}
	}
	return c
}

func (k keeper) NewRefresh(ctx context.Context, account handler.Account) (handler.Secret, handler.Credential, error) {
	if account.State == nil {
		return "", handler.Credential{}, handler.Failure(handler.ErrUnavailable, errNoState)
	}
	id, err := k.kept.storeID(ctx)
	if err != nil {
		k.log.Warn("refresh token may soon be refused", "subject", account.Name, "reason", err.Error())
	}
	token, claims, err := k.signer.RefreshToken(jwtsign.RefreshClaims{
		Subject: account.Name, Store: id, UID: account.State.UID, Shadow: account.State.Shadow,
	}, k.ttl)
	if err != nil {
		return "", handler.Credential{}, handler.Failure(handler.ErrUnavailable, err)
	}
	return handler.Secret(token), k.refresh(claims), nil
}

var errNoState = errors.New("the state of the account is not known")

func checkState(check func(credentials.State) error) func(*handler.State) error {
	return func(now *handler.State) error {
		if now == nil {
			return handler.Failure(handler.ErrUnavailable, errNoState)
		}
		return credentialError(check(credentials.State(*now)))
	}
}

// credentialError is an error of credentials in handler's words.
func credentialError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, credentials.ErrRefused):
		return handler.Failure(handler.ErrRefused, err)
	default:
		return handler.Failure(handler.ErrUnavailable, err)
	}
}

// stateKey is the key for the state of accounts in the refresh tokens that a key signs.
func stateKey(key *jwtsign.Key) (handler.Secret, error) {
	secret, err := key.Derive("account state")
	return handler.Secret(secret), err
}

// accountState is what credentials depend on.
func accountState(a pamauth.Account) credentials.State {
	s := credentials.State{UID: a.UID, Locked: a.Shadow.Locked}
	switch a.Shadow.Status {
	case pamauth.ShadowFound:
		s.Shadow = base64.RawURLEncoding.EncodeToString(a.Shadow.Digest[:])
	case pamauth.ShadowNone:
		s.Shadow = credentials.ShadowNone
	default:
		s.Shadow = credentials.ShadowUnread
	}
	return s
}
