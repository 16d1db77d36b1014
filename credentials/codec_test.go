package credentials

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

// The clock of the machine that wrote is hours ahead: a record that ended too late would be none.
func TestClocksOfMachinesMayDiffer(t *testing.T) {
	inBoth(t, func(t *testing.T, r *Records, c *clock) {
		revokedLater := newRefresh(t, r, "alice")
		c.add(12 * time.Hour)
		long := alices()
		long.Expires = c.Now().Add(3650 * day)
		s, _ := issue(t, r, long)
		ofUser := newRefresh(t, r, "bob")
		if err := r.Revoke(t.Context(), "", revokedLater.ID); err != nil {
			t.Fatal(err)
		}
		if _, _, err := r.RevokeUser(t.Context(), "bob", "", Refresh); err != nil {
			t.Fatal(err)
		}
		c.now = noon
		wants(t, r, s, "alice", "", "")
		wantsRefresh(t, r, revokedLater, "was revoked")
		wantsRefresh(t, r, ofUser, "issued before")
	})
}

// whole is a record as it is kept.
const whole = `{"v":1,"r":{"sha256":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=","kind":"robot","user":"alice",` +
	`"robot":"jenkins","scopes":["repository:ci/**:pull"],"from":["10.0.0.0/8"],"note":"n","keep":true,` +
	`"state":{"uid":1000,"shadow":"aa"},"created":1700000000,"expires":1800000000,"replaced":"0123456789",` +
	`"revoked":{"at":1700000001,"reason":"lost"}}}`

func TestTheFormOfRecordsStays(t *testing.T) {
	token, hash, err := decodeToken("abcdefghij", []byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	if got := string(token.encode(hash)); got != whole {
		t.Errorf("%s\nbecame %s", whole, got)
	}
	if token.Login() != "alice+jenkins" || token.From[0].String() != "10.0.0.0/8" || token.Revoked.Reason != "lost" ||
		token.Expires.Unix() != 1800000000 || token.State != (State{UID: 1000, Shadow: "aa"}) || !token.Keep {
		t.Errorf("it was read as %+v", token)
	}
}

func TestADamagedRecordIsNoToken(t *testing.T) {
	without := func(text string) string { return strings.Replace(whole, text, "", 1) }
	instead := func(text, other string) string {
		if !strings.Contains(whole, text) {
			t.Fatalf("%s is not in the record", text)
		}
		return strings.Replace(whole, text, other, 1)
	}
	tests := []struct{ name, record, reason string }{
		{"nothing", "", "not the JSON"},
		{"its first half", whole[:len(whole)/2], "not the JSON"},
		{"all but the last byte", whole[:len(whole)-1], "not the JSON"},
		{"something after it", whole + "{}", "something follows"},
		{"null", "null", "version 0"},
		{"a list", "[]", "not the JSON"},
		{"null in the envelope", `{"v":1,"r":null}`, "damaged"},
		{"nothing in the envelope", `{"v":1}`, "damaged"},
		{"a later version", instead(`"v":1`, `"v":2`), "version 2"},
		{"no version", without(`"v":1,`), "version 0"},
		{
			"a field that this version does not know",
			instead(`"keep":true`, `"keep":true,"only":"pull"`),
			"not the JSON",
		},
		{"one beside the record", instead(`"v":1`, `"v":1,"w":1`), "not the JSON"},
		{"a number for a text", instead(`"user":"alice"`, `"user":1`), "not the JSON"},
		{"no hash", instead(`"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="`, `""`), "no hash"},
		{"a shorter hash", instead("AAECAwQF", "AAEC"), "no hash"},
		{"a successor that is no ID", instead(`"0123456789"`, `"\u001b[2J"`), "no ID"},
		{"no user", instead(`"alice"`, `""`), "user"},
		{"another kind", instead(`"robot",`, `"refresh",`), "kind"},
		{"a person with the name of a robot", instead(`"kind":"robot"`, `"kind":"personal"`), "kind"},
		{"no scope", instead(`["repository:ci/**:pull"]`, `[]`), "scope"},
		{"an empty scope", instead(`["repository:ci/**:pull"]`, `[""]`), "scope"},
		{"an address that is none", instead("10.0.0.0/8", "10.0.0.0"), "not the JSON"},
		{"an empty address", instead("10.0.0.0/8", ""), "address"},
		{"an address that is null", instead(`"10.0.0.0/8"`, "null"), "address"},
		{"no state", instead(`{"uid":1000,"shadow":"aa"}`, `{}`), "account"},
		{"an end before its begin", instead("1800000000", "1600000000"), "ends before"},
		{"an end that no calendar has", instead("1800000000", "99999999999999"), "ends before"},
		{"a fraction of a second", instead("1800000000", "1800000000.5"), "not the JSON"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			token, hash, err := decodeToken("abcdefghij", []byte(tt.record))
			if err == nil || !strings.Contains(err.Error(), tt.reason) {
				t.Errorf("got %v, want %q", err, tt.reason)
			}
			if !reflect.DeepEqual(token, Token{}) || hash != nil {
				t.Error("a token is returned")
			}
		})
	}
}

// damaged are values that no record has.
var damaged = []string{
	"",
	"x",
	"null",
	"{}",
	`{"v":1}`,
	`{"v":2,"r":{}}`,
	`{"v":1,"r":{"x":1}}`,
	whole[:100],
	"\xff\x00",
}

func TestDamageGrantsNothing(t *testing.T) {
	for _, value := range damaged {
		t.Run(value, func(t *testing.T) {
			r, _ := inMemory()
			s, _ := issue(t, r, alices())
			refresh := newRefresh(t, r, "alice")
			good, _ := issue(t, r, alices())
			write := func(key string) {
				t.Helper()
				if err := put(t, r.Kept, key, []byte(value)); err != nil {
					t.Fatal(err)
				}
			}
			id, err := r.Kept.Get(t.Context(), idKey)
			if err != nil {
				t.Fatal(err)
			}
			for _, key := range []string{revokedPrefix + refresh.ID, beforePrefix + "alice", idKey} {
				write(key)
				if err := r.CheckRefresh(t.Context(), refresh); !errors.Is(err, ErrUnknown) {
					t.Errorf("%s: %v", key, err)
				}
				if err := put(t, r.Kept, key, nil); err != nil {
					t.Fatal(err)
				}
			}
			for _, key := range []string{idKey, tokenPrefix + s.ID} {
				write(key)
				if _, err := r.Check(t.Context(), s, "alice", ""); !errors.Is(err, ErrUnknown) {
					t.Errorf("%s: %v", key, err)
				}
				if err := put(t, r.Kept, idKey, id[0]); err != nil {
					t.Fatal(err)
				}
			}
			// Others are found, used and revoked, and the damage is named.
			named := func(what string, err error) {
				t.Helper()
				if err == nil || !strings.Contains(err.Error(), s.ID) || strings.Contains(err.Error(), good.ID) {
					t.Errorf("%s: %v", what, err)
				}
			}
			write(usePrefix + good.ID)
			wants(t, r, good, "alice", "", "")
			n := 0
			named("List", r.List(t.Context(), func(Token) bool { n++; return true }))
			_, err = r.Get(t.Context(), s.ID)
			named("Get", err)
			_, err = r.Rotate(t.Context(), s.ID, NewSecret(), aState, 0)
			named("Rotate", err)
			revoked, _, err := r.RevokeUser(t.Context(), "alice", "", Personal)
			named("RevokeUser", err)
			named("Revoke", r.Revoke(t.Context(), "", s.ID))
			if n != 1 || len(revoked) != 1 {
				t.Errorf("%d tokens are listed and %d revoked, want the good one", n, len(revoked))
			}
			wants(t, r, good, "alice", "", "was revoked")
			// A revocation may be written over damage.
			write(beforePrefix + "alice")
			if _, _, err := r.RevokeUser(t.Context(), "alice", "", Refresh); err != nil {
				t.Error(err)
			}
			wantsRefresh(t, r, refresh, "issued before")
		})
	}
}

// The bytes that the store returns are a whole token, or none. As the record of a token they never
// grant a text that is not the token's, nor a token to another user, and as all other records they
// grant nothing that they did not without them.
func FuzzTokenRecord(f *testing.F) {
	s := secretOf(known)
	token := robots()
	token.ID, token.Keep, token.Created = s.ID, true, noon
	seeds := append([]string{whole, string(token.encode(s.hash())), `{"v":1,"r":{"before":1900000000,"at":1}}`,
		`{"v":1,"r":{"at":1,"reason":"x"}}`, `{"v":1,"r":{"id":"ABCDEFGHIJKLMNOPQRSTUVWXYZ"}}`,
		`{"v":1,"r":{"day":1700000000,"from":"x"}}`}, damaged...)
	if len(seeds) < 10 {
		f.Fatal("no seeds")
	}
	for _, seed := range seeds {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		value = append([]byte{}, value...) // nil would be no record
		got, hash, err := decodeToken(s.ID, value)
		if err == nil {
			again, hashAgain, err := decodeToken(s.ID, got.encode(hash))
			if err != nil || !reflect.DeepEqual(got, again) || string(hash) != string(hashAgain) {
				t.Fatalf("%+v became %+v, %v", got, again, err)
			}
			if len(hash) != 32 || got.User == "" || len(got.Scopes) == 0 || (got.Kind == Robot) != (got.Robot != "") {
				t.Fatalf("half a token: %+v", got)
			}
		}
		if len(value) > 4096 {
			return
		}
		r, _ := inMemory()
		r.withID(t)
		other := NewSecret()
		for _, key := range []string{tokenPrefix + other.ID, usePrefix + other.ID} {
			if err := put(t, r.Kept, key, value); err != nil {
				t.Fatal(err)
			}
		}
		if granted, err := r.Check(t.Context(), other, got.Login(), "10.1.2.3"); err == nil || granted.ID != "" {
			t.Fatalf("a text that the record does not have is granted %+v", granted)
		}
		if err := put(t, r.Kept, tokenPrefix+s.ID, value); err != nil {
			t.Fatal(err)
		}
		granted, err := r.Check(t.Context(), s, "alice+jenkins", "10.1.2.3")
		if err == nil && (granted.User != "alice" || granted.Revoked != nil || !granted.Expires.After(noon)) {
			t.Fatalf("granted: %+v", granted)
		}
		checkOthers(t, value)
	})
}

// checkOthers has a value for the other records.
func checkOthers(t *testing.T, value []byte) {
	with := func(key func(RefreshToken) string) (*Records, error) {
		r, _ := inMemory()
		refresh := newRefresh(t, r, "alice")
		name := key(refresh)
		if err := errors.Join(put(t, r.Kept, name, value), put(t, r.Counters, name, value)); err != nil {
			t.Fatal(err)
		}
		return r, r.CheckRefresh(t.Context(), refresh)
	}
	if _, err := with(func(x RefreshToken) string { return revokedPrefix + x.ID }); !errors.Is(err, ErrRefused) &&
		!errors.Is(err, ErrUnknown) {
		t.Fatalf("a revoked one: %v", err)
	}
	if _, err := with(func(RefreshToken) string { return idKey }); !errors.Is(err, ErrRefused) &&
		!errors.Is(err, ErrUnknown) {
		t.Fatalf("one of another store: %v", err)
	}
	before, err := decode[beforeRecord](value)
	isDamaged := err != nil || before.Before <= 0
	_, err = with(func(RefreshToken) string { return beforePrefix + "alice" })
	if isDamaged != errors.Is(err, ErrUnknown) ||
		(before.Before > noon.Unix()) != errors.Is(err, ErrRefused) && !isDamaged {
		t.Fatalf("one of many revoked ones: %v", err)
	}
	r, _ := with(func(x RefreshToken) string { return loginPrefix + "alice/" + x.ID })
	if err := r.Logins(t.Context(), "", func(Login) bool { return true }); err != nil {
		t.Fatal(err)
	}
}
