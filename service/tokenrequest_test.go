package service

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"dockerauth/credentials"
)

// plainRequest is one that can be read.
func plainRequest() TokenRequest {
	return TokenRequest{User: "alice", Scopes: []string{"repository:ci/**:pull"}, Expires: DefaultTokenTTL}
}

func TestARequestForATokenIsReadOrRefusedWithAHint(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*TokenRequest)
		says   string // "" = it is taken
	}{
		{"a personal token", func(*TokenRequest) {}, ""},
		{"a robot's", func(r *TokenRequest) { r.Robot = "jenkins.2" }, ""},
		{"a user name of another alphabet with a space", func(r *TokenRequest) { r.User = "Алиса Б" }, ""},
		{"a domain before the user name", func(r *TokenRequest) { r.User = `EXAMPLE\alice` }, ""},
		{"the longest user name", func(r *TokenRequest) { r.User = strings.Repeat("a", 256) }, ""},
		{"the shortest lifetime", func(r *TokenRequest) { r.Expires = "1h" }, ""},
		{"the longest lifetime", func(r *TokenRequest) { r.Expires = "3650d" }, ""},
		{"a note", func(r *TokenRequest) { r.Note = "für den Job auf build1" }, ""},
		{"no user", func(r *TokenRequest) { r.User = "" }, "--user is missing: "},
		{"a user name that is too long", func(r *TokenRequest) { r.User = strings.Repeat("a", 257) },
			" is not a user name\n  write "},
		{"a user name that Basic cannot carry", func(r *TokenRequest) { r.User = "alice:x" },
			`--user "alice:x" is not`},
		{"a user name with a line", func(r *TokenRequest) { r.User = "alice\nroot" }, `--user "alice\nroot" is not`},
		{"a space behind the user name", func(r *TokenRequest) { r.User = "alice " }, `--user "alice " is not`},
		{"an option for a user name", func(r *TokenRequest) { r.User = "--help" }, `--user "--help" is not`},
		{"a robot with upper case", func(r *TokenRequest) { r.Robot = "Jenkins" },
			`--robot "Jenkins" is not a name` + "\n"},
		{"a robot with a separator", func(r *TokenRequest) { r.Robot = "a+b" }, `--robot "a+b" is not a name` + "\n"},
		{"a robot that begins with a hyphen", func(r *TokenRequest) { r.Robot = "-a" },
			`--robot "-a" is not a name` + "\n"},
		{"a robot with a long name", func(r *TokenRequest) { r.Robot = strings.Repeat("a", credentials.MaxRobot+1) },
			"is not a name"},
		{"no scope", func(r *TokenRequest) { r.Scopes = nil }, "--scope is missing: "},
		{"a scope without actions", func(r *TokenRequest) { r.Scopes = []string{"repository:a"} }, "--scope: scope "},
		{"a scope with a placeholder", func(r *TokenRequest) { r.Scopes = []string{"repository:{user}/**:pull"} },
			"placeholders are for rules: write the name itself\n  write "},
		{"a scope with upper case", func(r *TokenRequest) { r.Scopes = []string{"repository:CI/**:pull"} },
			"have no upper case, so nothing matches it\n  write \"repository:ci/**:pull\""},
		{"too many scopes", func(r *TokenRequest) { r.Scopes = slices.Repeat(r.Scopes, maxLimits+1) }, "more than 32 "},
		{"a scope that is too long", func(r *TokenRequest) { r.Scopes[0] += strings.Repeat(",pull", 100) },
			"a scope is longer than 512 bytes, "},
		{"scopes that are too long together",
			func(r *TokenRequest) {
				r.Scopes = slices.Repeat([]string{"repository:" + strings.Repeat("a", 400) + ":pull"}, 10)
			},
			"or all together than 4096\n  use patterns"},
		{"too many addresses", func(r *TokenRequest) { r.From = slices.Repeat([]string{"::1"}, maxLimits+1) },
			"more than 32 "},
		{"everyone", func(r *TokenRequest) { r.From = []string{"0.0.0.0/0"} },
			`--from "0.0.0.0/0" means everyone` + "\n"},
		{"everyone by IPv6", func(r *TokenRequest) { r.From = []string{"::/0"} },
			`--from "::/0" means everyone` + "\n"},
		{"everyone by IPv4 in IPv6", func(r *TokenRequest) { r.From = []string{"::ffff:0.0.0.0/96"} },
			"means everyone\n"},
		{"a host name", func(r *TokenRequest) { r.From = []string{"build1"} }, `--from: "build1" is neither`},
		{"a lifetime without a unit", func(r *TokenRequest) { r.Expires = "90" }, `--expires "90": has no unit` + "\n"},
		{"years", func(r *TokenRequest) { r.Expires = "1y" }, `--expires "1y": unexpected unit "y"` + "\n"},
		{"no lifetime", func(r *TokenRequest) { r.Expires = "" }, "is out of bounds\n"},
		{"a lifetime that is too short", func(r *TokenRequest) { r.Expires = "59m" },
			"is out of bounds\n  write 1h to 3650d"},
		{"a lifetime that is too long", func(r *TokenRequest) { r.Expires = "3651d" },
			"is out of bounds\n  write 1h to 3650d"},
		{"a note of two lines", func(r *TokenRequest) { r.Note = "a\nb" },
			"--note has characters that cannot be shown\n"},
		{"a note that colours", func(r *TokenRequest) { r.Note = "a\x1b[31m" }, "--note has characters that cannot"},
		{"a long note", func(r *TokenRequest) { r.Note = strings.Repeat("a", maxText+1) },
			"--note is longer than 200 bytes\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := plainRequest()
			tt.change(&r)
			err := r.Check()
			if tt.says == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.says) || strings.Count(err.Error(), "\n  ") != 1 {
				t.Errorf("got %v, want %q and a hint", err, tt.says)
			}
		})
	}
}

func TestARequestBecomesARecord(t *testing.T) {
	r := TokenRequest{User: "alice", Robot: "jenkins", Expires: "1d12h", Note: "n",
		Scopes: []string{"repository:ci/**:pull", "registry:catalog:*", "repository:ci/**:pull"},
		From:   []string{"::ffff:192.0.2.7", "192.0.2.7", "10.0.0.0/8"}}
	got, ttl, err := r.parse()
	want := credentials.Token{Kind: credentials.Robot, User: "alice", Robot: "jenkins", Keep: true, Note: "n",
		Scopes: []string{"repository:ci/**:pull", "registry:catalog:*"},
		From:   []netip.Prefix{netip.MustParsePrefix("192.0.2.7/32"), netip.MustParsePrefix("10.0.0.0/8")}}
	if err != nil || ttl != 36*time.Hour || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%+v, %v, %v", got, ttl, err)
	}
	r.Robot = ""
	if got, _, _ := r.parse(); got.Kind != credentials.Personal || got.Keep {
		t.Errorf("without a robot: %+v", got)
	}
	r.Keep = true
	if got, _, _ := r.parse(); !got.Keep {
		t.Error("a personal token is not kept")
	}
}

func TestAnOverlapMayBeNone(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0": 0, "0s": 0, DefaultOverlap: 24 * time.Hour, "7d": 168 * time.Hour,
	} {
		if got, err := ParseOverlap(text); err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"1", "-1h", "1y", "3651d"} {
		if got, err := ParseOverlap(text); err == nil {
			t.Errorf("%s: %v", text, got)
		}
	}
}

func TestATokenOnTheCommandLineIsRefused(t *testing.T) {
	secret := credentials.NewSecret()
	for _, arg := range []string{secret.Reveal(), secret.Reveal()[:20], "--reason=" + secret.Reveal() + " was seen",
		"dka_x dka_" + secret.Reveal()} {
		err := CheckArguments("--note", arg)
		if err == nil || !strings.Contains(err.Error(), "dockerauth token revoke "+secret.ID) ||
			strings.Contains(err.Error(), secret.Reveal()[14:20]) {
			t.Errorf("%q: %v", arg, err)
		}
	}
	for _, arg := range []string{"", "dka_", "dka_" + secret.ID, "dka_" + secret.ID + " of dka_x", secret.ID} {
		if err := CheckArguments(arg); err != nil {
			t.Errorf("%q: %v", arg, err)
		}
	}
}

// The IDs are shown, and what may be a secret is not.
func TestOnlyIDsAreTakenForIDs(t *testing.T) {
	const text = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefg"
	for id, says := range map[string]string{
		"0123456789":                     "",
		"zzzzzzzzzz":                     "",
		"ABCDEFGHIJKLMNOPQRSTUVWX27":     "",
		"ABCDEFGHIJKLMNOPQRSTUVWXYz":     "is not an ID\n",
		"short":                          `"short" is not an ID` + "\n",
		"":                               `"" is not an ID` + "\n",
		"../../../0":                     "is not an ID\n",
		credentials.Prefix + text:        "the 10 characters after dka_ are the ID\n  dockerauth token list",
		credentials.Prefix + "x":         "the 10 characters after dka_ are the ID\n  dockerauth token list",
		"correct horse battery staple !": "a text of 30 bytes is not an ID\n",
	} {
		err := CheckIDs("0123456789", id)
		if says == "" && err != nil || says != "" && (err == nil || !strings.Contains(err.Error(), says) ||
			strings.Contains(err.Error(), text) || strings.Contains(err.Error(), "horse")) {
			t.Errorf("%q: %v", id, err)
		}
	}
	if err := CheckTokenID("ABCDEFGHIJKLMNOPQRSTUVWX27"); err == nil || !strings.Contains(err.Error(), "of a login") {
		t.Error(err)
	}
}

// Logs and lists show notes and reasons.
func TestANoteHasNoToken(t *testing.T) {
	secret := credentials.NewSecret()
	for text, ok := range map[string]bool{
		"leaked " + secret.Reveal():           false,
		"x" + secret.Reveal()[:15] + " cut":   false,
		"dka_ dka_" + secret.Reveal()[4:]:     false,
		"leaked " + secret.ID:                 true,
		"dka_" + secret.ID + " was in a log":  true,
		"it begins with dka_, as all of them": true,
	} {
		err := CheckText("--reason", text)
		if (err == nil) != ok || err != nil && strings.Contains(err.Error(), secret.Reveal()[14:]) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
