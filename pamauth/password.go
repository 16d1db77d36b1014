package pamauth

import (
	"fmt"
	"io"
	"log/slog"
)

// Password prints as stars however it is printed, as long as fmt, log/slog or an encoder can see its methods: so keep it in exported
// fields, for fmt reads unexported ones past them.
type Password string

// stars tell nothing, not even the length.
const stars = "********"

// Reveal gives the password itself.
func (p Password) Reveal() string { return string(p) }

func (p Password) String() string   { return stars }
func (p Password) GoString() string { return stars }

// Format covers every verb: %q, %x and %d would otherwise pass String by.
func (p Password) Format(f fmt.State, verb rune) { _, _ = io.WriteString(f, stars) }

func (p Password) LogValue() slog.Value         { return slog.StringValue(stars) }
func (p Password) MarshalText() ([]byte, error) { return []byte(stars), nil }
func (p Password) MarshalJSON() ([]byte, error) { return []byte(`"` + stars + `"`), nil }
