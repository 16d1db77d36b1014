package handler

import (
	"fmt"
	"io"
	"log/slog"
)

// stars is what every secret looks like, whatever prints it. Its length is
// fixed, so that it does not tell the secret's.
const stars = "********"

// Secret is a password or a refresh token on its way from the request to the
// one who checks it. It prints as stars everywhere; Reveal is the only way in.
type Secret string

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return string(s) }

// Format covers every verb, those included that make no sense for a string.
func (Secret) Format(f fmt.State, _ rune)   { _, _ = io.WriteString(f, stars) }
func (Secret) String() string               { return stars }
func (Secret) LogValue() slog.Value         { return slog.StringValue(stars) }
func (Secret) MarshalText() ([]byte, error) { return []byte(stars), nil }
