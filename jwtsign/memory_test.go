package jwtsign

import (
	"crypto"
	"crypto/elliptic"
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestTheAnonymousClientSharesATokenForASecond(t *testing.T) {
	now, ids := noon, 0
	s := &Signer{Key: load(t, newEC(elliptic.P256(), false), ""), Issuer: issuer, Now: func() time.Time { return now },
		NewID: func() string { ids++; return fmt.Sprint("id", ids) }}
	public := []grant{{"repository", "public/app", []string{"pull"}}}
	ask := func(subject, audience string, ttl time.Duration, access any) (token, id string) {
		t.Helper()
		token, id, err := s.AccessToken(subject, audience, ttl, access)
		if err != nil {
			t.Fatal(err)
		}
		if _, claims, _, _ := split(token); !strings.Contains(string(claims), `"jti":"`+id+`"`) {
			t.Errorf("id %q, claims %s", id, claims)
		}
		return token, id
	}
	for _, tt := range []struct {
		name              string
		later             time.Duration
		subject, audience string
		ttl               time.Duration
		access            any
		same              bool
	}{
		{"the same again", 0, "", service, time.Minute, public, true},
		{"in the same second", 999 * time.Millisecond, "", service, time.Minute, public, true},
		{"an account", 0, "alice", service, time.Minute, public, false},
		{"another audience", 0, "", "other", time.Minute, public, false},
		{"another lifetime", 0, "", service, time.Hour, public, false},
		{"other access", 0, "", service, time.Minute, []grant{{"repository", "public/app", nil}}, false},
		{"no access", 0, "", service, time.Minute, nil, false},
		{"a second later", time.Second, "", service, time.Minute, public, false},
		{"a second earlier", -time.Second, "", service, time.Minute, public, false},
	} {
		now = noon
		first, firstID := ask("", service, time.Minute, public)
		now = noon.Add(tt.later)
		token, id := ask(tt.subject, tt.audience, tt.ttl, tt.access)
		if (token == first) != tt.same || (id == firstID) != tt.same {
			t.Errorf("%s: got %s, after %s", tt.name, id, firstID)
		}
	}
	now = noon
	one, oneID := ask("alice", service, time.Minute, public)
	if two, twoID := ask("alice", service, time.Minute, public); one == two || oneID == twoID {
		t.Error("an account got a token twice")
	}
}

func TestWhatTheAnonymousClientSharesIsBounded(t *testing.T) {
	s := fixed(load(t, newEd25519(), ""))
	list := func(n int) []grant {
		return []grant{{"repository", "public/" + fmt.Sprint(n), []string{strings.Repeat("x", n)}}}
	}
	for n := range 3 * maxShared {
		if _, _, err := s.AccessToken("", service, time.Minute, list(n*30)); err != nil {
			t.Fatal(err)
		}
	}
	for _, shared := range s.anonymous.tokens {
		if len(shared.token) > maxSharedBytes {
			t.Errorf("a token of %d bytes is kept", len(shared.token))
		}
	}
	if n := len(s.anonymous.tokens); n == 0 || n > maxShared {
		t.Errorf("%d tokens are kept", n)
	}
}

// counted counts the verifications.
type counted struct {
	crypto.Signer
	n *int
}

func (c counted) Public() crypto.PublicKey {
	*c.n++
	return c.Signer.Public()
}

func TestARefreshTokenIsVerifiedOnce(t *testing.T) {
	for _, c := range everyKey() {
		t.Run(c.name, func(t *testing.T) {
			k, now, verified := load(t, c.key, ""), noon, 0
			s := fixed(k)
			s.Now = func() time.Time { return now }
			token, signed, err := s.RefreshToken(alice, time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			k.private = counted{k.private, &verified}
			good := func(t *testing.T) {
				t.Helper()
				if got, by, err := s.VerifyRefresh(token); got != signed || by != k || err != nil {
					t.Errorf("got %+v, %v, want %+v", got, err, signed)
				}
			}
			good(t)
			once := verified
			if good(t); once == 0 || verified != once {
				t.Errorf("its signature was verified %d times, then %d", once, verified-once)
			}
			// One bit of the signature, of the claims, and of what follows.
			for _, other := range []string{token[:len(token)-5] + "AAAAA", strings.Replace(token, ".", ".e", 1),
				token + "=", token + "\n", token + "."} {
				if _, _, err := s.VerifyRefresh(other); err == nil {
					t.Errorf("%q was taken for the one before", other)
				}
			}
			now = signed.Expires.Add(-time.Nanosecond)
			good(t)
			now = signed.Expires
			if _, _, err := s.VerifyRefresh(token); err == nil || !strings.Contains(err.Error(), "it has expired") {
				t.Errorf("when it has expired: %v", err)
			}
			now = noon // the clock was set back
			good(t)
			// Another key set or issuer has another Signer.
			for name, other := range map[string]*Signer{
				"another key":    {Key: load(t, newEd25519(), ""), Issuer: issuer, Now: s.Now},
				"another issuer": {Key: k, Issuer: "other.example", Now: s.Now},
			} {
				if _, _, err := other.VerifyRefresh(token); err == nil {
					t.Errorf("%s takes it", name)
				}
			}
		})
	}
}

func TestWhatWasVerifiedIsBounded(t *testing.T) {
	var v verifiedTokens
	digest := func(n int) [sha256.Size]byte { return sha256.Sum256([]byte(fmt.Sprint(n))) }
	v.add(digest(-1), verifiedToken{claims: alice})
	for n := range 10 * maxVerified {
		v.add(digest(n), verifiedToken{})
		if _, ok := v.find(digest(-1)); !ok {
			t.Fatalf("one that is used is forgotten after %d others", n)
		}
		if len(v.current)+len(v.previous) > 2*maxVerified {
			t.Fatalf("%d and %d are kept", len(v.current), len(v.previous))
		}
	}
	if _, ok := v.find(digest(0)); ok {
		t.Error("one that is not used is kept for ever")
	}
}

func TestARefusedTokenIsNotRemembered(t *testing.T) {
	s := fixed(load(t, newEC(elliptic.P256(), false), ""))
	foreign, _, _ := fixed(load(t, newEC(elliptic.P256(), false), "")).RefreshToken(alice, time.Hour)
	for _, token := range []string{"", "garbage", foreign, strings.Repeat("x", maxRefreshToken+1)} {
		for range 2 {
			if _, _, err := s.VerifyRefresh(token); err == nil {
				t.Errorf("%q was taken", token)
			}
		}
	}
	if n := len(s.verified.current); n > 0 {
		t.Errorf("%d are remembered", n)
	}
}

func TestATokenTakesFewAllocations(t *testing.T) {
	access := []grant{{"repository", "public/app", []string{"pull"}}}
	for _, c := range everyKey() {
		s := fixed(load(t, c.key, ""))
		token, _, err := s.RefreshToken(alice, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		sign := func(subject string) func() {
			return func() { _, _, _ = s.AccessToken(subject, service, time.Minute, access) }
		}
		// How many the signature itself takes is Go's matter.
		signature := testing.AllocsPerRun(10, func() { _, _ = s.Key.method.Sign(token, s.Key.private) })
		for _, step := range []struct {
			name string
			most float64
			run  func()
		}{
			{"a token of an account", signature + 14, sign("alice")},
			{"the anonymous client's, again", 7, sign("")},
			{"a refresh token, again", 2, func() { _, _, _ = s.VerifyRefresh(token) }},
		} {
			if got := testing.AllocsPerRun(10, step.run); got > step.most {
				t.Errorf("%s, %s: %v allocations, the most is %v", c.name, step.name, got, step.most)
			}
		}
	}
}
