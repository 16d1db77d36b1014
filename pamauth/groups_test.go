//go:build linux && cgo

package pamauth

import (
	"slices"
	"testing"
)

func TestGroupsAreLookedUpWhereTheConversationRuns(t *testing.T) {
	requireModules(t, "pam_permit.so")
	stack := newServiceDir(t).stack("groups", "auth required pam_permit.so", "account required pam_permit.so")
	tests := []struct {
		name   string
		login  Login
		inRoot bool
	}{
		{"root is in root", Login{User: "root", Password: "x", Groups: true}, true},
		{"for the account phase too", Login{User: "root", AccountOnly: true, Groups: true}, true},
		{"only when asked for", Login{User: "root", Password: "x"}, false},
		{"an account that Unix does not know is in none", Login{User: "no-such-account", Password: "x", Groups: true},
			false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			account, err := child(stack, nil).Authenticate(t.Context(), tt.login)
			if err != nil {
				t.Fatal(err)
			}
			if got := slices.Contains(account.Groups, Group{"root", 0}); got != tt.inRoot ||
				!tt.inRoot && len(account.Groups) > 0 {
				t.Errorf("groups %v", account.Groups)
			}
		})
	}
}

func TestALookUpDoesNotAskPAM(t *testing.T) {
	requireModules(t, "pam_deny.so")
	stack := newServiceDir(t).stack("lookup", "auth required pam_deny.so", "account required pam_deny.so")
	c := child(stack, nil)
	for _, look := range []bool{false, true} {
		login := Login{User: "root", AccountOnly: true, LookUpOnly: look, Groups: true}
		account, err := c.Authenticate(t.Context(), login)
		if look != (err == nil) || look != slices.Contains(account.Groups, Group{"root", 0}) {
			t.Errorf("look up only %v: %+v, %v", look, account, err)
		}
	}
	account, err := c.Authenticate(t.Context(), Login{User: "no-such-account", AccountOnly: true, LookUpOnly: true,
		Groups: true})
	if err != nil || account.Name != "no-such-account" || account.UID != noUID || len(account.Groups) > 0 {
		t.Errorf("an account that Unix does not know: %+v, %v", account, err)
	}
}
