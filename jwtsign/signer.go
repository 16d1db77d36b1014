package jwtsign

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"time"
	"unicode/utf8"
)

// backdate is subtracted from nbf and iat, because clocks differ and zot allows no leeway.
const backdate = 30 * time.Second

const (
	// RefreshAudience is the aud of refresh tokens. No registry may have it as its service.
	RefreshAudience = "dockerauth:refresh"
	// refreshType separates the two kinds of token by their header, as RFC 8725 §3.11 recommends.
	refreshType = "refresh+jwt"
)

// maxRefreshToken bounds refresh tokens. Real ones have 500 to 1,800 bytes, depending on key,
// issuer and subject.
const maxRefreshToken = 4 << 10

// Signer makes tokens. It is safe for concurrent use if its fields do not change.
type Signer struct {
	Key      *Key
	Previous []*Key           // verify refresh tokens as Key does, and sign nothing
	Issuer   string           // iss of every token; compared exactly by registries
	Now      func() time.Time // nil: time.Now
	NewID    func() string    // nil: at least 128 random bits

	anonymous sharedTokens
	verified  verifiedTokens
}

// AccessToken makes a token for the registry whose service is audience. access is marshalled to
// JSON, nil as the empty list. subject is empty for the anonymous client. ttl is in whole seconds
// from now.
func (s *Signer) AccessToken(subject, audience string, ttl time.Duration, access any) (token, id string, err error) {
	if audience == "" {
		return "", "", errors.New("sign access token: no audience")
	}
	if audience == RefreshAudience {
		return "", "", fmt.Errorf("sign access token: audience %q is reserved for refresh tokens", audience)
	}
	if s.Key.header == "" {
		return "", "", errors.New("sign access token: the key has neither certificate nor id")
	}
	c := s.claims(subject, audience, ttl)
	c.Issued -= int64(backdate / time.Second)
	if c.NotBefore, c.Access = c.Issued, access; isNil(access) {
		c.Access = []struct{}{}
	}
	if token, id, err = s.accessToken(c, ttl); err != nil {
		return "", "", fmt.Errorf("sign access token: %w", err)
	}
	return token, id, nil
}

// isNil reports what JSON has as null.
func isNil(list any) bool {
	v := reflect.ValueOf(list)
	return list == nil || v.Kind() == reflect.Slice && v.IsNil()
}

// accessToken signs, unless the anonymous client has just got a token with the same claims: all
// clients without an account get the same one, within a second.
func (s *Signer) accessToken(c *claims, ttl time.Duration) (token, id string, err error) {
	if c.Subject != "" {
		c.ID = s.newID()
		token, err = s.sign(s.Key.header, c, ttl)
		return token, c.ID, err
	}
	same, err := c.encode(ttl) // all but the id
	if err != nil {
		return "", "", err
	}
	if shared, ok := s.anonymous.find(c.Issued, same); ok {
		return shared.token, shared.id, nil
	}
	c.ID = s.newID()
	if token, err = s.sign(s.Key.header, c, ttl); err == nil {
		s.anonymous.add(c.Issued, same, sharedToken{token, c.ID})
	}
	return token, c.ID, err
}

// RefreshClaims are what a refresh token says. RefreshToken makes those that it does not take from
// its caller.
type RefreshClaims struct {
	Subject string
	ID      string    // made by RefreshToken
	Issued  time.Time // likewise: whole seconds, not dated back, for no registry reads it
	Expires time.Time // likewise
	Store   string    // identifies the store that knows of revocations; "" = none
	UID     int       // of the account; -1 = none
	Shadow  string    // what is known of the account's password, as text of the caller's
}

// RefreshToken makes a token that only VerifyRefresh of a Signer with this key and issuer accepts.
// It returns its claims with those that it made. ttl is in whole seconds from now.
func (s *Signer) RefreshToken(c RefreshClaims, ttl time.Duration) (string, RefreshClaims, error) {
	if c.Subject == "" {
		return "", RefreshClaims{}, errors.New("sign refresh token: no subject")
	}
	signed := s.claims(c.Subject, RefreshAudience, ttl)
	signed.ID, signed.UID, signed.Shadow, signed.Store = s.newID(), &c.UID, &c.Shadow, c.Store
	token, err := s.sign(s.Key.refreshHeader(), signed, ttl)
	if err != nil {
		return "", RefreshClaims{}, fmt.Errorf("sign refresh token: %w", err)
	}
	if len(token) > maxRefreshToken {
		return "", RefreshClaims{}, fmt.Errorf("sign refresh token: it would have %d bytes, the most is %d", len(token),
			maxRefreshToken)
	}
	return token, signed.refresh(), nil
}

// claims are those that both kinds of token have, from now on, but for the id.
func (s *Signer) claims(subject, audience string, ttl time.Duration) *claims {
	now := s.now()
	return &claims{
		Issuer:   s.Issuer,
		Subject:  subject,
		Audience: audience,
		Expires:  now.Add(ttl).Unix(),
		Issued:   now.Unix(),
	}
}

func (s *Signer) sign(header string, c *claims, ttl time.Duration) (string, error) {
	body, err := c.encode(ttl)
	if err != nil {
		return "", err
	}
	text := header + "." + encode(body)
	signature, err := s.Key.method.Sign(text, s.Key.private)
	if err != nil {
		return "", err
	}
	return text + "." + encode(signature), nil
}

func (c *claims) encode(ttl time.Duration) ([]byte, error) {
	if err := c.check(ttl); err != nil {
		return nil, err
	}
	body, err := json.Marshal(c)
	if err != nil { // all else is texts and numbers
		return nil, fmt.Errorf("encode access: %w", err)
	}
	return body, nil
}

// check refuses values that would be signed differently. encoding/json writes U+FFFD for invalid
// UTF-8, so two names could become one.
func (c *claims) check(ttl time.Duration) error {
	if c.Issuer == "" {
		return errors.New("no issuer")
	}
	if ttl < time.Second {
		return fmt.Errorf("lifetime %v is under a second", ttl)
	}
	texts := []string{c.Issuer, c.Subject, c.Audience, c.Store}
	if c.Shadow != nil {
		texts = append(texts, *c.Shadow)
	}
	for _, v := range texts {
		if !utf8.ValidString(v) {
			return fmt.Errorf("%q is not UTF-8", v)
		}
	}
	return nil
}

func (s *Signer) now() time.Time {
	if s.Now != nil {
		return s.Now()
	}
	return time.Now()
}

func (s *Signer) newID() string {
	if s.NewID != nil {
		return s.NewID()
	}
	return rand.Text()
}
