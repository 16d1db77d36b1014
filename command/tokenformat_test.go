package command

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"dockerauth/cli"
	"dockerauth/credentials"
	"dockerauth/service"
)

func TestPeriodsAreInTheUnitThatMatters(t *testing.T) {
	const day = 24 * time.Hour
	for d, want := range map[time.Duration]string{
		90*day - time.Second: "90 days", 2 * day: "2 days", 2*day - time.Minute: "48 hours", 2 * time.Hour: "2 hours",
		2*time.Hour - time.Second: "120 minutes", time.Minute: "1 minute", 0: "0 minutes",
		13*day + 11*time.Hour: "13 days",
	} {
		if got := period(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}

func TestAnEndIsSeenFromNow(t *testing.T) {
	for left, want := range map[time.Duration]string{-time.Second: "over", 0: "over", time.Hour: "in 60 minutes",
		20 * time.Second: "in less than a minute", time.Minute: "in 1 minute"} {
		if got := until(left); got != want {
			t.Errorf("%v: %s, want %s", left, got, want)
		}
	}
}

func TestARevocationNamesWhatIsLeft(t *testing.T) {
	for _, tt := range []struct {
		name string
		r    service.Revocation
		want string
	}{
		{"a login that nobody knows", service.Revocation{ID: "A", Kind: credentials.Refresh},
			"login A is not known here; refused from now on: check that it is not mistyped\n"},
		{"a token", service.Revocation{ID: "a", Kind: credentials.Robot, Login: "alice+x"},
			"robot token a of alice+x is revoked\n"},
		{"a token that was rotated",
			service.Revocation{ID: "a", Kind: credentials.Personal, Login: "alice", Successor: "b"},
			"personal token a of alice is revoked\nits successor b is still good\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			if printRevoked(&out, tt.r, 0); out.String() != tt.want {
				t.Errorf("got %q, want %q", &out, tt.want)
			}
		})
	}
}

func TestAListSaysWhichTokensNeedALook(t *testing.T) {
	now := time.Now()
	token := func(left time.Duration) credentials.Token { return credentials.Token{Expires: now.Add(left)} }
	revoked, replaced := token(time.Hour), token(time.Hour)
	revoked.Revoked, revoked.Replaced, replaced.Replaced = &credentials.Revocation{}, "0123456789", "0123456789"
	for want, token := range map[string]credentials.Token{
		"": token(20 * 24 * time.Hour), "expires in 3 days": token(72 * time.Hour), "revoked": revoked,
		"replaced by 0123456789": replaced, "over": token(-time.Second),
	} {
		if got := status(token, now); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestScopesAreShortenedInALine(t *testing.T) {
	long := strings.Repeat("a", 60)
	for _, tt := range []struct {
		want   string
		scopes []string
	}{
		{"", nil}, {"a:b:c", []string{"a:b:c"}}, {"a:b:c d:e:f", []string{"a:b:c", "d:e:f"}}, {long, []string{long}},
		{long + " +2", []string{long, "a:b:c", "d:e:f"}}, {"a:b:c +1", []string{"a:b:c", long}},
	} {
		if got := short(tt.scopes); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.scopes, got, tt.want)
		}
	}
}

// Clients choose what they are called, and a store may be another's.
func TestATableHasOneLineForEachRow(t *testing.T) {
	var out bytes.Buffer
	status := printTable(cli.Streams{Out: &out}, [][]string{{"A", "B", "C"}, {"a\nb", "c\x1b[31m", ""},
		{"Алиса", strings.Repeat("x", 50), "d\te"}, {"", "", ""}})
	want := "A       B                                                   C\n" +
		`"a\nb"  "c\x1b[31m"` + "\n" +
		"Алиса   " + strings.Repeat("x", 50) + `  "d\te"` + "\n\n"
	if status != cli.ExitDone || out.String() != want {
		t.Errorf("status %d\n%s\nwant\n%s", status, &out, want)
	}
}

func TestTheJSONOfATokenHasNeitherHashNorState(t *testing.T) {
	zone := time.FixedZone("", 3600)
	at := time.Date(2026, 11, 28, 1, 2, 3, 0, zone)
	token := credentials.Token{ID: "0123456789", Kind: credentials.Robot, User: "alice", Robot: "jenkins",
		Scopes: []string{"repository:ci/**:pull"}, From: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
		Note: "n", Keep: true, State: credentials.State{UID: 4711, Shadow: "digest", Locked: true}, Created: at,
		Expires: at, Replaced: "9876543210", Revoked: &credentials.Revocation{At: at, Reason: "r"}, LastUse: at,
		LastFrom: "10.1.2.3"}
	got, err := json.Marshal(newTokenJSON(token))
	const want = `{"id":"0123456789","kind":"robot","user":"alice","robot":"jenkins","login":"alice+jenkins",` +
		`"scopes":["repository:ci/**:pull"],"from":["10.0.0.0/8"],"note":"n","keep":true,` +
		`"created":"2026-11-28T00:02:03Z","expires":"2026-11-28T00:02:03Z",` +
		`"replaced_by":"9876543210",` +
		`"revoked":{"at":"2026-11-28T00:02:03Z","reason":"r"},` +
		`"last_use":"2026-11-28T00:02:03Z","last_from":"10.1.2.3"}`
	if err != nil || string(got) != want {
		t.Errorf("%v\n%s\nwant\n%s", err, got, want)
	}
	got, err = json.Marshal(newTokenJSON(credentials.Token{Created: at, Expires: at}))
	if err != nil || !strings.Contains(string(got), `"scopes":[],"from":[],`) ||
		!strings.Contains(string(got), `"revoked":null,"last_use":null,`) {
		t.Errorf("%v\n%s", err, got)
	}
}
