package handler

import "log/slog"

// stars is what every secret looks like, whatever prints it. Its length is
// fixed, so that it does not tell the secret's.
const stars = "********"

// Secret is a password or a refresh token on its way from the request to the
// one who checks it. It prints as stars everywhere; Reveal is the only way in.
type Secret string

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return string(s) }

func (Secret) String() string               { return stars }
func (Secret) GoString() string             { return stars }
func (Secret) LogValue() slog.Value         { return slog.StringValue(stars) }
func (Secret) MarshalText() ([]byte, error) { return []byte(stars), nil }
