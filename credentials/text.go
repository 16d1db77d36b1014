package credentials

// Prefix is how the text of every kept token begins, so that scanners recognise it. What has it is
// never given to PAM.
const Prefix = "dka_"

// Secret is the text of a kept token.
type Secret struct {
	ID   string
	text string
}

// NewSecret makes one.
func NewSecret() Secret { panic("TODO") }

// ParseSecret reads what a client sent. It knows a mistyped or an invented text without a store:
// the error is an ErrRefused.
func ParseSecret(text string) (Secret, error) { panic("TODO") }

// Reveal returns the text itself. Every other way to print a Secret shows stars.
func (s Secret) Reveal() string { return s.text }

// StateKey is the key of the digest of State.Shadow for this token: 32 bytes, which the store does not have.
func (s Secret) StateKey() []byte { panic("TODO") }
