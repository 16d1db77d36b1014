package jwtsign

import (
	"encoding/json"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// claims are those of both kinds of token. A type of our own rather than jwt.RegisteredClaims,
// because that writes aud as a list, which registry 2.8 cannot read, unless a variable shared by
// the whole process says otherwise; and because dates must be integers.
type claims struct {
	Issuer    string          `json:"iss"`
	Subject   string          `json:"sub"`
	Audience  string          `json:"aud"`
	Expires   int64           `json:"exp"`
	NotBefore int64           `json:"nbf,omitempty"` // absent from refresh tokens
	Issued    int64           `json:"iat"`
	ID        string          `json:"jti"`
	Access    json.RawMessage `json:"access,omitempty"` // absent from refresh tokens
}

// A date of 0 is an absent one: no token of ours is from 1970.
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
