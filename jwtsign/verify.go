package jwtsign

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// VerifyRefresh takes a refresh token that a Signer with this key and issuer made and whose time
// has not passed, and nothing else. Every error means no; its text is for the operator and repeats
// nothing of the token.
//
// When it was made does not matter: one from the future is from before the clock was set back, and
// whoever has it is who he was then.
func (s *Signer) VerifyRefresh(token string) (subject, id string, err error) {
	subject, id, err = s.verifyRefresh(token)
	if err != nil {
		return "", "", fmt.Errorf("verify refresh token: %w", err)
	}
	return subject, id, nil
}

func (s *Signer) verifyRefresh(token string) (subject, id string, err error) {
	if s.Issuer == "" {
		return "", "", errors.New("no issuer") // the parser would take it for "any issuer"
	}
	if len(token) > maxRefreshToken {
		return "", "", fmt.Errorf("it has %d bytes, the most is %d", len(token), maxRefreshToken)
	}
	if err := s.checkRefreshHeader(token); err != nil {
		return "", "", err
	}
	var c claims
	parsed,
		err := s.refreshParser().ParseWithClaims(token, &c,
		func(*jwt.Token) (any, error) { return s.Key.Public(), nil })
	if err != nil {
		return "", "", plainError(err)
	}
	if c.Subject == "" || c.ID == "" {
		return "", "", errors.New("it lacks sub or jti")
	}
	if !canonical(parsed, &c) {
		return "", "", errors.New("it is not spelled as this service spells it")
	}
	return c.Subject, c.ID, nil
}

// checkRefreshHeader compares the whole header with the only one this service writes, before
// anything is decoded: that settles alg, typ, crit and every header nobody thought of.
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

// plainError puts the parser's errors in fixed words: its own quote what stands in the token.
func plainError(err error) error {
	for _, known := range []struct{ is, say error }{
		{jwt.ErrTokenSignatureInvalid, errors.New("its signature is not by this service's key")},
		{jwt.ErrTokenInvalidIssuer, errors.New("it is from another issuer")},
		{jwt.ErrTokenInvalidAudience, errors.New("its audience is not that of refresh tokens")},
		{jwt.ErrTokenRequiredClaimMissing, errors.New("it lacks a claim")},
		{jwt.ErrTokenExpired, errors.New("it has expired")},
	} {
		if errors.Is(err, known.is) {
			return known.say
		}
	}
	return errors.New("it is no token")
}

// canonical holds for tokens spelled as sign spells them: the same claims, each once, in the same
// order, and nothing else. What is signed with this key by another program, an access token under a
// refresh token's header, a claim given twice or in other letters (which encoding/json takes) end
// here, and so do line breaks in base64, which Go's decoder passes over.
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
