package credentials

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"strings"
)

// Prefix is how the text of every kept token begins, so that scanners recognise it. What has it is
// never given to PAM.
const Prefix = "dka_"

// The text is Prefix, the ID, 160 random bits and a checksum of all that. Scanners use the checksum
// to tell a token from what only looks like one.
const (
	IDLen       = 10 // characters behind Prefix, which are public
	secretLen   = 27 // of 62 characters: 160 bits
	checksumLen = 6
	textLen     = len(Prefix) + IDLen + secretLen + checksumLen
)

// RefreshIDLen is the length of the ID of a refresh token.
const RefreshIDLen = 26

const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// Secret is the text of a kept token.
type Secret struct {
	ID   string
	text *string // a pointer: package fmt prints unexported fields without asking Format
}

// NewSecret makes one.
func NewSecret() Secret {
	text := Prefix + random(IDLen+secretLen)
	return secretOf(text + checksum(text))
}

func secretOf(text string) Secret {
	return Secret{ID: text[len(Prefix) : len(Prefix)+IDLen], text: &text}
}

// random returns characters of the alphabet.
func random(n int) string {
	const most = 256 / len(alphabet) * len(alphabet) // more would favour the first characters
	text, some := make([]byte, 0, n), make([]byte, 1)
	for len(text) < n {
		_, _ = rand.Read(some) // it never fails
		if int(some[0]) < most {
			text = append(text, alphabet[int(some[0])%len(alphabet)])
		}
	}
	return string(text)
}

func checksum(text string) string {
	var digits [checksumLen]byte
	rest := crc32.ChecksumIEEE([]byte(text))
	for i := range digits {
		digits[checksumLen-1-i] = alphabet[rest%uint32(len(alphabet))]
		rest /= uint32(len(alphabet))
	}
	return string(digits[:])
}

// ParseSecret reads what a client sent. It knows a mistyped or an invented text without a store:
// the error is an ErrRefused.
func ParseSecret(text string) (Secret, error) {
	switch {
	case !strings.HasPrefix(text, Prefix):
		return Secret{}, fmt.Errorf("%w: a token begins with %s", ErrRefused, Prefix)
	case len(text) != textLen:
		return Secret{}, fmt.Errorf("%w: a token has %d characters, this text has %d", ErrRefused, textLen, len(text))
	case strings.ContainsFunc(text[len(Prefix):], notBase62):
		return Secret{}, fmt.Errorf("%w: a token has letters and digits only, this text has others", ErrRefused)
	}
	body, sum := text[:textLen-checksumLen], text[textLen-checksumLen:]
	if subtle.ConstantTimeCompare([]byte(checksum(body)), []byte(sum)) != 1 {
		return Secret{}, fmt.Errorf("%w: the checksum of the token is wrong, it was mistyped or cut", ErrRefused)
	}
	return secretOf(text), nil
}

func notBase62(c rune) bool { return !strings.ContainsRune(alphabet, c) }

// IsTokenID reports whether an ID has the shape of a kept token's.
func IsTokenID(id string) bool { return len(id) == IDLen && !strings.ContainsFunc(id, notBase62) }

// IsRefreshID reports whether an ID has the shape of a refresh token's, which is that of rand.Text.
func IsRefreshID(id string) bool {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	return len(id) == RefreshIDLen && strings.Trim(id, alphabet) == ""
}

// Reveal returns the text itself. Every other way to print a Secret shows stars.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// StateKey is the key of the digest of State.Shadow for this token: 32 bytes, which the store does
// not have.
func (s Secret) StateKey() []byte {
	if s.text == nil {
		return nil
	}
	mac := hmac.New(sha256.New, []byte((*s.text)[len(Prefix)+IDLen:textLen-checksumLen]))
	mac.Write([]byte("account state"))
	return mac.Sum(nil)
}

// hash is what the store has of the text.
func (s Secret) hash() []byte {
	sum := sha256.Sum256([]byte(s.Reveal()))
	return sum[:]
}

const stars = "********"

// Format covers every verb, also those that are wrong for a string.
func (Secret) Format(f fmt.State, _ rune)   { _, _ = io.WriteString(f, stars) }
func (Secret) String() string               { return stars }
func (Secret) LogValue() slog.Value         { return slog.StringValue(stars) }
func (Secret) MarshalText() ([]byte, error) { return []byte(stars), nil }
