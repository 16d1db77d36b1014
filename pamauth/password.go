package pamauth

import (
	"fmt"
	"io"
	"log/slog"
)

// Password prints as stars, if fmt, log/slog or an encoder can see its methods. So keep it in
// exported fields: fmt reads unexported ones without calling methods.
type Password string

// stars do not tell the length either.
const stars = "********"

// Reveal returns the password itself.
func (p Password) Reveal() string { return string(p) }

func (p Password) String() string   { return stars }
func (p Password) GoString() string { return stars }

// Format covers every verb: %q, %x and %d would otherwise not call String.
func (p Password) Format(f fmt.State, verb rune) { _, _ = io.WriteString(f, stars) }

func (p Password) LogValue() slog.Value         { return slog.StringValue(stars) }
func (p Password) MarshalText() ([]byte, error) { return []byte(stars), nil }
func (p Password) MarshalJSON() ([]byte, error) { return []byte(`"` + stars + `"`), nil }
