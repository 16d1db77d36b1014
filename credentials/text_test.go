package credentials

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// known has every part of the text in its place. Tokens of this form are in use for years.
const known = "dka_" + "0123456789" + "ABCDEFGHIJKLMNOPQRSTUVWXYZa" + "3ExKxs"

func TestATokenIsReadAsItWasMade(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		s := NewSecret()
		again, err := ParseSecret(s.Reveal())
		if err != nil || again.ID != s.ID || again.Reveal() != s.Reveal() {
			t.Fatalf("%q became %q, %v", s.Reveal(), again.Reveal(), err)
		}
		if len(s.Reveal()) != 47 || s.Reveal()[4:14] != s.ID || !IsTokenID(s.ID) {
			t.Fatalf("form of %q", s.Reveal())
		}
		if seen[s.ID] || seen[s.Reveal()[14:]] {
			t.Fatalf("%q has parts of another", s.Reveal())
		}
		seen[s.ID], seen[s.Reveal()[14:]] = true, true
	}
}

func TestTheFormOfTokensStays(t *testing.T) {
	s, err := ParseSecret(known)
	if err != nil || s.ID != "0123456789" || s.Reveal() != known {
		t.Fatalf("got %q, %v", s.ID, err)
	}
	const key = "6c3d561d5957c6bc74401edc661715c53434525cc9c2413d6b1a9a948b977df1"
	if got := hex.EncodeToString(s.StateKey()); got != key {
		t.Errorf("key of the account's state is %s", got)
	}
}

// Each character must be as likely as any other: a bias would make secrets shorter than they look.
func TestAllCharactersAreEquallyLikely(t *testing.T) {
	const times = 62 * 2000
	counts := map[rune]int{}
	for _, c := range random(times) {
		counts[c]++
	}
	for _, c := range alphabet {
		if n := counts[c]; n < 1700 || n > 2300 { // six standard deviations; a remainder would make 2500 of some
			t.Errorf("%q came %d times of 2000", c, n)
		}
	}
}

func TestAWrongTextIsNoToken(t *testing.T) {
	tests := []struct{ name, text, reason string }{
		{"nothing", "", "begins with dka_"},
		{"a password", "correct horse", "begins with dka_"},
		{"the prefix in upper case", "DKA_" + known[4:], "begins with dka_"},
		{"a space before it", " " + known, "begins with dka_"},
		{"the prefix alone", "dka_", "this text has 4"},
		{"a token without its last character", known[:46], "this text has 46"},
		{"a character more", known + "0", "this text has 48"},
		{"a newline after it", known + "\n", "this text has 48"},
		{"a newline for its last character", known[:46] + "\n", "letters and digits only"},
		{"another alphabet", "dka_012345678-" + known[14:], "letters and digits only"},
		{"a letter that is not ASCII", "dka_01234567é" + known[14:], "letters and digits only"},
		{"bytes that are no UTF-8", "dka_012345678\xff" + known[14:], "letters and digits only"},
		{"a NUL", "dka_012345678\x00" + known[14:], "letters and digits only"},
		{"another ID", "dka_0123456780" + known[14:], "checksum"},
		{"another secret", known[:40] + "b" + known[41:], "checksum"},
		{"another checksum", known[:46] + "0", "checksum"},
		{"two characters exchanged", known[:20] + known[21:22] + known[20:21] + known[22:], "checksum"},
		{"another case", "dka_" + strings.ToLower(known[4:]), "checksum"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := ParseSecret(tt.text)
			if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), tt.reason) {
				t.Fatalf("got %v, want %q", err, tt.reason)
			}
			if s.ID != "" || s.Reveal() != "" {
				t.Error("a secret is returned")
			}
			if len(tt.text) > 10 && strings.Contains(err.Error(), tt.text[8:]) {
				t.Errorf("the error has the text: %v", err)
			}
		})
	}
}

func TestASecretPrintsAsStars(t *testing.T) {
	s := NewSecret()
	var log strings.Builder
	logger := slog.New(slog.NewTextHandler(&log, nil))
	type holder struct {
		Exported Secret
		hidden   Secret // package fmt asks no method of it
	}
	h := holder{s, s}
	asJSON, err := json.Marshal(map[string]any{"s": s, "p": &s, "h": h})
	if err != nil {
		t.Fatal(err)
	}
	logger.Info("message", "s", s, "p", &s, "h", h)
	printed := map[string]string{"JSON": string(asJSON), "slog": log.String()}
	for _, verb := range strings.Split("v +v #v s q x X d t T p", " ") {
		if verb == "T" || verb == "p" {
			continue // no method is asked for these
		}
		format := strings.Repeat("%"+verb+" ", 4)
		printed[verb] = fmt.Sprintf(format, s, &s, h, []Secret{s})
	}
	for what, text := range printed {
		if strings.Contains(text, s.Reveal()[4:]) || strings.Contains(text, fmt.Sprintf("%x", s.Reveal())) {
			t.Errorf("%s shows it: %s", what, text)
		}
		if !strings.Contains(text, stars) {
			t.Errorf("%s shows no stars: %s", what, text)
		}
	}
}

func TestTheKeyOfTheStateIsTheTokensOwn(t *testing.T) {
	a, b := NewSecret(), NewSecret()
	if len(a.StateKey()) != 32 || string(a.StateKey()) == string(b.StateKey()) ||
		string(a.StateKey()) == string(a.hash()) {
		t.Error("two tokens have one key, or the store has it")
	}
	if (Secret{}).StateKey() != nil {
		t.Error("no token has a key")
	}
}

// A text is the very one of a token, or is refused with an error that does not show it.
func FuzzSecret(f *testing.F) {
	seeds := []string{
		known,
		NewSecret().Reveal(),
		"",
		"dka_",
		known[:46],
		known + "0",
		"DKA_" + known[4:],
		"dka_\x00\xff",
	}
	if len(seeds) == 0 {
		f.Fatal("no seeds")
	}
	for _, seed := range seeds {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSecret(text)
		if err != nil {
			if !errors.Is(err, ErrRefused) || s.Reveal() != "" ||
				len(text) > 12 && strings.Contains(err.Error(), text) {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		if s.Reveal() != text || len(text) != 47 || !IsTokenID(s.ID) || checksum(text[:41]) != text[41:] {
			t.Fatalf("%q was accepted", text)
		}
	})
}
