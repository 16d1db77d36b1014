package service

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"dockerauth/credentials"
	"dockerauth/store"
)

func TestTokensThatExpireSoonAreThoseInUse(t *testing.T) {
	place := filepath.Join(t.TempDir(), "state")
	if err := os.Mkdir(place, 0o700); err != nil {
		t.Fatal(err)
	}
	if soon, err := ExpiringTokens(place); err != nil || len(soon) > 0 {
		t.Errorf("without tokens: %v, %v", soon, err)
	}
	if made, err := os.ReadDir(place); err != nil || len(made) > 0 {
		t.Errorf("looking made %v, %v", made, err)
	}
	folder, err := store.OpenFolder(place)
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	const day = 24 * time.Hour
	records := credentials.Records{Kept: folder.Kept(), Counters: folder.Counters()}
	issue := func(robot string, ends time.Duration) string {
		token, err := records.Issue(t.Context(), credentials.NewSecret(), credentials.Token{Kind: credentials.Robot,
			User: "alice", Robot: robot, Scopes: []string{"repository:ci/**:pull"},
			State: credentials.State{UID: 1, Shadow: credentials.ShadowNone}, Expires: time.Now().Add(ends)})
		if err != nil {
			t.Fatal(err)
		}
		return token.ID
	}
	issue("later", 30*day)
	revoked, rotated := issue("revoked", 2*day), issue("rotated", 4*day)
	if err := records.Revoke(t.Context(), "", revoked); err != nil {
		t.Fatal(err)
	}
	issue("second", 5*day)
	issue("first", 3*day)
	_, err = records.Rotate(t.Context(), rotated, credentials.NewSecret(), credentials.State{UID: 1,
		Shadow: credentials.ShadowNone}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	soon, err := ExpiringTokens(place)
	var names []string
	for _, token := range soon {
		names = append(names, token.Login())
	}
	if err != nil || !slices.Equal(names, []string{"alice+first", "alice+rotated", "alice+second"}) {
		t.Errorf("%v, %v", names, err)
	}
	if _, err := ExpiringTokens(fmt.Sprint(place, "/absent")); err == nil {
		t.Error("a folder that is not there has tokens")
	}
}
