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
	Key    *Key
	Issuer string           // iss of every token; compared exactly by registries
	Now    func() time.Time // nil: time.Now
	NewID  func() string    // nil: at least 128 random bits
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
	token, id, err = s.sign(s.Key.signedHeader(), subject, audience, ttl, list)
	if err != nil {
		return "", "", fmt.Errorf("sign access token: %w", err)
	}
	return token, id, nil
}

// RefreshClaims are what a refresh token says.
type RefreshClaims struct {
	Subject string
	ID      string    // made by RefreshToken
	Issued  time.Time // likewise: whole seconds, not dated back, for no registry reads it
	Store   string    // identifies the store that knows of revocations; "" = none
	UID     int       // of the account; -1 = none
	Shadow  string    // what is known of the account's password, as text of the caller's
}

// RefreshToken makes a token that only VerifyRefresh of a Signer with the same key and issuer
// accepts.
func (s *Signer) RefreshToken(subject string, ttl time.Duration) (token, id string, err error) {
	if subject == "" {
		return "", "", errors.New("sign refresh token: no subject")
	}
	token, id, err = s.sign(s.Key.refreshHeader(), subject, RefreshAudience, ttl, nil)
	if err != nil {
		return "", "", fmt.Errorf("sign refresh token: %w", err)
	}
	if len(token) > maxRefreshToken {
		return "", "", fmt.Errorf("sign refresh token: it would have %d bytes, the most is %d", len(token),
			maxRefreshToken)
	}
	return token, id, nil
}

func (s *Signer) sign(header map[string]any, subject, audience string, ttl time.Duration,
	access json.RawMessage) (token, id string, err error) {
	if err := s.check(subject, audience, ttl); err != nil {
		return "", "", err
	}
	now := s.now()
	c := &claims{
		Issuer:   s.Issuer,
		Subject:  subject,
		Audience: audience,
		Expires:  now.Add(ttl).Unix(),
		Issued:   now.Add(-backdate).Unix(),
		ID:       s.newID(),
		Access:   access,
	}
	if access != nil {
		c.NotBefore = c.Issued
	}
	t := jwt.Token{Header: header, Claims: c, Method: s.Key.method}
	token, err = t.SignedString(s.Key.private)
	return token, c.ID, err
}

// check refuses values that would be signed differently. encoding/json writes U+FFFD for invalid
// UTF-8, so two names could become one.
func (s *Signer) check(subject, audience string, ttl time.Duration) error {
	if s.Issuer == "" {
		return errors.New("no issuer")
	}
	if ttl < time.Second {
		return fmt.Errorf("lifetime %v is under a second", ttl)
	}
	for _, v := range []string{s.Issuer, subject, audience} {
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
