package jwtsign

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// VerifyRefresh accepts only a refresh token that a Signer with this key and issuer made and that
// has not expired. Every error means no. Its text is for the operator and repeats nothing of the
// token.
//
// The time of issue is not checked: a token from the future was made before the clock was set back.
func (s *Signer) VerifyRefresh(token string) (subject, id string, err error) {
	subject, id, err = s.verifyRefresh(token)
	if err != nil {
		return "", "", fmt.Errorf("verify refresh token: %w", err)
	}
	return subject, id, nil
}

func (s *Signer) verifyRefresh(token string) (subject, id string, err error) {
	if s.Issuer == "" {
		return "", "", errors.New("no issuer") // the parser would accept any issuer
	}
	if len(token) > maxRefreshToken {
		return "", "", fmt.Errorf("it has %d bytes, the most is %d", len(token), maxRefreshToken)
	}
	if err := s.checkRefreshHeader(token); err != nil {
		return "", "", err
	}
	var c claims
	key := func(*jwt.Token) (any, error) { return s.Key.Public(), nil }
	parsed, err := s.refreshParser().ParseWithClaims(token, &c, key)
	if err != nil {
		return "", "", plainError(err)
	}
	if c.Subject == "" || c.ID == "" {
		return "", "", errors.New("it lacks sub or jti")
	}
	if !canonical(parsed, &c) {
		return "", "", errors.New("it is not in the exact form of this service")
	}
	return c.Subject, c.ID, nil
}

// checkRefreshHeader compares the whole header with the only one this service writes, before
// anything is decoded. This covers alg, typ, crit and every other field.
func (s *Signer) checkRefreshHeader(token string) error {
	got, _, _ := strings.Cut(token, ".")
	h, err := json.Marshal(s.Key.refreshHeader())
	if err != nil {
		return err
	}
	if got != encode(h) {
		return fmt.Errorf("its header is not that of a refresh token signed with this service's %s key",
			s.Key.Algorithm())
	}
	return nil
}

func (s *Signer) refreshParser() *jwt.Parser {
	return jwt.NewParser(
		jwt.WithValidMethods([]string{s.Key.Algorithm()}),
		jwt.WithStrictDecoding(),
		jwt.WithExpirationRequired(),
		jwt.WithIssuer(s.Issuer),
		jwt.WithAudience(RefreshAudience),
		jwt.WithTimeFunc(s.now),
	)
}

// plainError replaces the errors of the parser, which quote the token, by fixed texts.
func plainError(err error) error {
	for _, known := range []struct{ is, text error }{
		{jwt.ErrTokenSignatureInvalid, errors.New("its signature is not by this service's key")},
		{jwt.ErrTokenInvalidIssuer, errors.New("it is from another issuer")},
		{jwt.ErrTokenInvalidAudience, errors.New("its audience is not that of refresh tokens")},
		{jwt.ErrTokenRequiredClaimMissing, errors.New("it lacks a claim")},
		{jwt.ErrTokenExpired, errors.New("it has expired")},
	} {
		if errors.Is(err, known.is) {
			return known.text
		}
	}
	return errors.New("it is no token")
}

// canonical reports whether a token is byte for byte what sign writes: the same claims, once each,
// in the same order. It refuses tokens that another program signed with this key, access tokens
// under the header of a refresh token, and claims repeated or in other case, which encoding/json
// accepts. It also refuses line breaks in base64, which Go's decoder skips.
func canonical(t *jwt.Token, c *claims) bool {
	if c.Access != nil || c.NotBefore != 0 {
		return false
	}
	body, err := json.Marshal(c)
	if err != nil {
		return false
	}
	rest := t.Raw[strings.IndexByte(t.Raw, '.'):]
	return rest == "."+encode(body)+"."+encode(t.Signature)
}
