package service

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"dockerauth/access"
	"dockerauth/credentials"
	"dockerauth/store"
)

// A request that is accepted becomes a record that the store keeps and gives back as it was, and
// whose scopes the endpoint can read. One that is not has an error of two lines.
func FuzzTokenRequest(f *testing.F) {
	for _, seed := range []TokenRequest{
		plainRequest(),
		{User: "Алиса Б", Robot: "a.b-c_d", Scopes: []string{"registry:catalog:*"}, Expires: "1h", Note: "für alle"},
		{User: `EXAMPLE\alice`, Robot: "-", Scopes: []string{"artifact:*/x:read"}, Expires: "3650d",
			From: []string{"2001:db8::/32"}},
		{User: "a\nb", Robot: "A", Scopes: []string{"repository:{user}:pull"}, Expires: "1y", From: []string{"::/0"}},
		{User: "a", Scopes: []string{"repository:a\u2028b:pull"}, Expires: "90d", Note: "a\u200bb"},
	} {
		f.Add(seed.User, seed.Robot, strings.Join(seed.Scopes, " "), seed.Expires, strings.Join(seed.From, " "),
			seed.Note)
	}
	state := credentials.State{UID: 1, Shadow: credentials.ShadowNone}
	f.Fuzz(func(t *testing.T, user, robot, scopes, expires, from, note string) {
		r := TokenRequest{User: user, Robot: robot, Scopes: strings.Split(scopes, " "), Expires: expires,
			From: strings.Fields(from), Note: note}
		token, ttl, err := r.parse()
		if err != nil {
			if strings.Count(err.Error(), "\n") != 1 {
				t.Errorf("the error is %q", err)
			}
			return
		}
		records := &credentials.Records{Kept: store.NewMemory(1 << 20), Counters: store.NewMemory(1 << 20)}
		token.State, token.Created = state, time.Now()
		token.Expires = token.Created.Add(ttl)
		kept, err := records.Issue(t.Context(), credentials.NewSecret(), token)
		if err != nil {
			t.Fatalf("%+v: %v", r, err)
		}
		got, err := records.Get(t.Context(), kept.ID)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(kept) || got.Login() != token.Login() {
			t.Errorf("%+v came back as %+v, %v", kept, got, err)
		}
		for _, scope := range got.Scopes {
			if limit, err := access.ParseLimit(scope); err != nil || limit.String() != scope {
				t.Errorf("the scope %q: %v", scope, err)
			}
		}
	})
}
