//go:build linux && cgo

package pamauth

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestPasswordNeverPrints(t *testing.T) {
	password := Password(leaking)
	key := StateKey(leaking)
	login := Login{User: "alice", Password: password, Remote: "192.0.2.1", StateKey: key}
	things := map[string]any{
		"password":             password,
		"pointer to password":  &password,
		"state key":            key,
		"pointer to state key": &key,
		"slice of state keys":  []StateKey{key},
		"login":                login,
		"pointer to login":     &login,
		"slice of logins":      []Login{login},
		"map of passwords":     map[string]Password{"alice": password},
		"struct with a login":  struct{ L Login }{login},
		"interface in a slice": []any{password},
		"request to a child":   request{Login: login},
	}
	for name, thing := range things {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%T %v", "%20s", "%.3s",
			"%c", "%t"} {
			args := []any{thing}
			if strings.HasPrefix(verb, "%T") {
				args = append(args, thing)
			}
			leaks(t, name+" by "+verb, fmt.Sprintf(verb, args...))
		}
		leaks(t, name+" by Sprint", fmt.Sprint(thing))
		leaks(t, name+" by Errorf", fmt.Errorf("cannot: %v", thing).Error())
		if b, err := json.Marshal(thing); err == nil {
			leaks(t, name+" by JSON", string(b))
		}
		if b, err := xml.Marshal(thing); err == nil {
			leaks(t, name+" by XML", string(b))
		}
		for format, handler := range map[string]func(*bytes.Buffer) slog.Handler{
			"text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
			"JSON": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
		} {
			var b bytes.Buffer
			slog.New(handler(&b)).With("was", thing).Info("here", "it", thing, slog.Group("g", "is", thing))
			leaks(t, name+" by slog "+format, b.String())
		}
	}
	if password.Reveal() != leaking {
		t.Error("Reveal does not return the password")
	}
}

// leaking is what must never be printed.
const leaking = "Tr0ub4dor&3"

func leaks(t *testing.T, where, text string) {
	t.Helper()
	for _, form := range []string{leaking, fmt.Sprintf("%x", leaking), fmt.Sprintf("%X", leaking),
		fmt.Sprintf("% x", leaking), fmt.Sprint([]byte(leaking)), leaking[:3]} {
		if strings.Contains(text, form) {
			t.Errorf("%s: %s", where, text)
		}
	}
}
