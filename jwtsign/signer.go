package jwtsign

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"
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
	list, err := json.Marshal(access)
	if err != nil {
		return "", "", fmt.Errorf("sign access token: encode access: %w", err)
	}
	if bytes.Equal(list, []byte("null")) {
		list = []byte("[]")
	}
	c := s.claims(subject, audience, ttl)
	c.Issued -= int64(backdate / time.Second)
	c.NotBefore, c.Access = c.Issued, list
	if token, err = s.sign(s.Key.signedHeader(), c, ttl); err != nil {
		return "", "", fmt.Errorf("sign access token: %w", err)
	}
	return token, c.ID, nil
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
	signed.UID, signed.Shadow, signed.Store = &c.UID, &c.Shadow, c.Store
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

// claims are those that both kinds of token have, from now on.
func (s *Signer) claims(subject, audience string, ttl time.Duration) *claims {
	now := s.now()
	return &claims{
		Issuer:   s.Issuer,
		Subject:  subject,
		Audience: audience,
		Expires:  now.Add(ttl).Unix(),
		Issued:   now.Unix(),
		ID:       s.newID(),
	}
}

func (s *Signer) sign(header map[string]any, c *claims, ttl time.Duration) (string, error) {
	if err := c.check(ttl); err != nil {
		return "", err
	}
	t := jwt.Token{Header: header, Claims: c, Method: s.Key.method}
	return t.SignedString(s.Key.private)
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

// refreshHeader names no key, so that a registry finds none to verify a refresh token with
// (distribution registry/auth/token/token.go: "unable to get token signing key").
func (k *Key) refreshHeader() map[string]any {
	return map[string]any{"typ": refreshType, "alg": k.method.Alg()}
}
