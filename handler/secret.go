package handler

import (
	"fmt"
	"io"
	"log/slog"
)

// stars replaces every printed secret. Its length is fixed, so that it does not reveal that of the
// secret.
const stars = "********"

// Secret is a password or a refresh token. It prints as stars everywhere; only Reveal returns the
// value.
type Secret string

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return string(s) }

// Format covers every verb, also those that are wrong for a string.
func (Secret) Format(f fmt.State, _ rune)   { _, _ = io.WriteString(f, stars) }
func (Secret) String() string               { return stars }
func (Secret) LogValue() slog.Value         { return slog.StringValue(stars) }
func (Secret) MarshalText() ([]byte, error) { return []byte(stars), nil }
