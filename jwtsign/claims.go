package jwtsign

import (
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// claims are the claims of both kinds of token. jwt.RegisteredClaims does not fit: unless a global
// variable is set it writes aud as a list, which registry 2.8 cannot read, and dates must be
// integers.
type claims struct {
	Issuer    string  `json:"iss"`
	Subject   string  `json:"sub"`
	Audience  string  `json:"aud"`
	Expires   int64   `json:"exp"`
	NotBefore int64   `json:"nbf,omitempty"` // absent from refresh tokens
	Issued    int64   `json:"iat"`
	ID        string  `json:"jti"`
	Access    any     `json:"access,omitempty"` // absent from refresh tokens
	UID       *int    `json:"uid,omitempty"`    // this and those below: absent from access tokens
	Shadow    *string `json:"shadow,omitempty"`
	Store     string  `json:"store,omitempty"`
}

// refresh are the claims of a refresh token, which has them all.
func (c *claims) refresh() RefreshClaims {
	return RefreshClaims{
		Subject: c.Subject,
		ID:      c.ID,
		Issued:  time.Unix(c.Issued, 0),
		Expires: time.Unix(c.Expires, 0),
		Store:   c.Store,
		UID:     *c.UID,
		Shadow:  *c.Shadow,
	}
}

// date returns nil for 0, which stands for an absent date.
func date(unix int64) (*jwt.NumericDate, error) {
	if unix == 0 {
		return nil, nil
	}
	return &jwt.NumericDate{Time: time.Unix(unix, 0)}, nil
}

func (c *claims) GetExpirationTime() (*jwt.NumericDate, error) { return date(c.Expires) }
func (c *claims) GetNotBefore() (*jwt.NumericDate, error)      { return date(c.NotBefore) }
func (c *claims) GetIssuedAt() (*jwt.NumericDate, error)       { return date(c.Issued) }
func (c *claims) GetIssuer() (string, error)                   { return c.Issuer, nil }
func (c *claims) GetSubject() (string, error)                  { return c.Subject, nil }
func (c *claims) GetAudience() (jwt.ClaimStrings, error)       { return jwt.ClaimStrings{c.Audience}, nil }
