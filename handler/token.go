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
	account, credential, err := e.authenticate(ctx, req)
	response := Response{Service: audience, Credential: credential}
	if err != nil {
		return response, err
	}
	response.Granted = e.Policy.Grant(clientOf(account, req.Remote, audience), req.Scopes)
	if credential.isKept() {
		response.Granted = access.Restrict(response.Granted, credential.Limits)
	}
	response.Subject = subject(account, credential)
	response.Token, response.TokenID, err = e.Signer.AccessToken(
		response.Subject,
		audience,
		e.AccessTTL,
		response.Granted,
	)
	if err != nil {
		return Response{}, fmt.Errorf("%w: sign access token: %v", ErrUnavailable, err)
	}
	if len(response.Token) > MaxTokenSize {
		return Response{Credential: credential},
			&badRequest{oauth: oauthInvalidScope,
				text: fmt.Sprintf("the token for these scopes would be longer than the %d bytes that fit in a "+
					"header: ask for fewer at once", MaxTokenSize)}
	}
	return e.withRefresh(ctx, req, account, response)
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

// withRefresh adds the refresh token of the request, or one made for a password that asks for it.
func (e *Endpoint) withRefresh(ctx context.Context, req Request, account Account, r Response) (Response, error) {
	if r.Credential.ID != "" {
		r.Event = EventUsed
	}
	if !req.Offline || r.Credential.isKept() {
		return r, nil
	}
	if req.Grant == GrantRefresh {
		r.RefreshToken = req.RefreshToken.Reveal()
		return r, nil
	}
	token, credential, err := e.Credentials.NewRefresh(ctx, account)
	if err != nil {
		return Response{}, fmt.Errorf("make refresh token: %w", err)
	}
	r.RefreshToken, r.Credential, r.Event = token.Reveal(), credential, EventIssued
	return r, nil
}
