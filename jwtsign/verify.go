package jwtsign

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// VerifyRefresh accepts only a refresh token that a Signer with this issuer and one of these keys
// made and that has not expired. It returns the key that signed it. Every error means no. Its text
// is for the operator and repeats nothing of the token.
//
// The time of issue is not checked: a token from the future was made before the clock was set back.
func (s *Signer) VerifyRefresh(token string) (RefreshClaims, *Key, error) {
	t, err := s.verifyRefresh(token)
	if err != nil {
		return RefreshClaims{}, nil, fmt.Errorf("verify refresh token: %w", err)
	}
	return t.claims, t.key, nil
}

func (s *Signer) verifyRefresh(token string) (verifiedToken, error) {
	if s.Issuer == "" {
		return verifiedToken{}, errors.New("no issuer") // the parser would accept any issuer
	}
	if len(token) > maxRefreshToken {
		return verifiedToken{}, fmt.Errorf("it has %d bytes, the most is %d", len(token), maxRefreshToken)
	}
	digest := sha256.Sum256([]byte(token))
	// Who signed a token, and what it says, does not change. Whether it has expired does.
	if t, ok := s.verified.find(digest); ok && s.now().Before(t.claims.Expires) {
		return t, nil
	}
	err := fmt.Errorf("its header is not that of a refresh token signed with this service's %s key", s.Key.Algorithm())
	for _, key := range append([]*Key{s.Key}, s.Previous...) {
		if !key.fitsRefresh(token) {
			continue
		}
		var c *claims
		switch c, err = s.verifyWith(key, token); {
		case err == nil:
			t := verifiedToken{c.refresh(), key}
			s.verified.add(digest, t)
			return t, nil
		case !errors.Is(err, errSignature):
			return verifiedToken{}, err
		}
	}
	return verifiedToken{}, err
}

func (s *Signer) verifyWith(key *Key, token string) (*claims, error) {
	c := new(claims)
	public := func(*jwt.Token) (any, error) { return key.Public(), nil }
	parsed, err := s.refreshParser(key).ParseWithClaims(token, c, public)
	if err != nil {
		return nil, plainError(err)
	}
	if c.Subject == "" || c.ID == "" {
		return nil, errors.New("it lacks sub or jti")
	}
	if c.UID == nil || c.Shadow == nil {
		return nil, errors.New("it lacks uid or shadow: an earlier version issued it")
	}
	if !canonical(parsed, c) {
		return nil, errors.New("it is not in the exact form of this service")
	}
	return c, nil
}

// fitsRefresh compares the whole header with the only one this service writes with the key, before
// anything is decoded. This covers alg, typ, crit and every other field.
func (k *Key) fitsRefresh(token string) bool {
	got, _, _ := strings.Cut(token, ".")
	return got == k.refreshHeader()
}

func (s *Signer) refreshParser(key *Key) *jwt.Parser {
	return jwt.NewParser(
		jwt.WithValidMethods([]string{key.Algorithm()}),
		jwt.WithStrictDecoding(),
		jwt.WithExpirationRequired(),
		jwt.WithIssuer(s.Issuer),
		jwt.WithAudience(RefreshAudience),
		jwt.WithTimeFunc(s.now),
	)
}

var errSignature = errors.New("its signature is not by this service's key")

// plainError replaces the errors of the parser, which quote the token, by fixed texts.
func plainError(err error) error {
	for _, known := range []struct{ is, text error }{
		{jwt.ErrTokenSignatureInvalid, errSignature},
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
