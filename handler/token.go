package handler

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"dockerauth/access"
)

// Token answers one request. It makes the cheap checks first, then checks the credentials, applies
// the access rules and signs.
func (e *Endpoint) Token(ctx context.Context, req Request) (Response, error) {
	audience, err := e.audience(req.Service)
	if err != nil {
		return Response{}, err
	}
	account, err := e.authenticate(ctx, req)
	if err != nil {
		return Response{}, err
	}
	granted := e.Policy.Grant(clientOf(account, req.Remote, audience), req.Scopes)
	token, id, err := e.Signer.AccessToken(account.Name, audience, e.AccessTTL, granted)
	if err != nil {
		return Response{}, fmt.Errorf("%w: sign access token: %v", ErrUnavailable, err)
	}
	if len(token) > MaxTokenSize {
		return Response{},
			&badRequest{oauth: oauthInvalidScope,
				text: fmt.Sprintf("the token for these scopes would be longer than the %d bytes that fit in a "+
					"header: ask for fewer at once", MaxTokenSize)}
	}
	refresh, err := e.refreshToken(req, account)
	if err != nil {
		return Response{}, err
	}
	return Response{Token: token, TokenID: id, RefreshToken: refresh, Subject: account.Name, Service: audience,
		Granted: granted}, nil
}

// audience returns the service that the token is for.
func (e *Endpoint) audience(service string) (string, error) {
	if service == "" && len(e.Audiences) == 1 {
		return e.Audiences[0], nil
	}
	if service == "" {
		return "", &badRequest{text: "service is missing, and there is more than one to choose from"}
	}
	if !slices.Contains(e.Audiences, service) {
		return "", &badRequest{text: fmt.Sprintf("unknown service %q", service)}
	}
	return service, nil
}

func clientOf(account Account, remote, audience string) access.Client {
	c := access.Client{Name: account.Name, Groups: account.Groups, Service: audience}
	c.Remote, _ = netip.ParseAddr(remote) // the zero Addr is in no prefix
	return c
}

// refreshToken repeats the refresh token of the request, or makes one for a password login that
// asks for it.
func (e *Endpoint) refreshToken(req Request, account Account) (string, error) {
	if !req.Offline {
		return "", nil
	}
	if req.Grant == GrantRefresh {
		return req.RefreshToken.Reveal(), nil
	}
	token, _, err := e.Signer.RefreshToken(account.Name, e.RefreshTTL)
	if err != nil {
		return "", fmt.Errorf("%w: sign refresh token: %v", ErrUnavailable, err)
	}
	return token, nil
}
