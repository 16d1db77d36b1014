package credentials

import (
	"errors"
	"testing"
)

func TestACredentialFollowsTheAccount(t *testing.T) {
	const a, b, none, unread = "aaaa", "bbbb", ShadowNone, ShadowUnread
	var same error
	tests := []struct {
		name             string
		issued, now      State
		same, stillThere error
	}{
		{"nothing has changed", State{1000, a, false}, State{1000, a, false}, same, same},
		{"the password was changed", State{1000, a, false}, State{1000, b, false}, ErrRefused, same},
		{"the account was locked", State{1000, a, false}, State{1000, b, true}, ErrRefused, ErrRefused},
		{"it was locked at issue", State{1000, a, true}, State{1000, a, true}, same, same},
		{"it is no longer locked", State{1000, a, true}, State{1000, b, false}, ErrRefused, same},
		{"it has no entry any more", State{1000, a, false}, State{1000, none, false}, ErrRefused, same},
		{"the entry cannot be read any more", State{1000, a, false}, State{1000, unread, false}, ErrUnknown, same},
		{"it has an entry now", State{1000, none, false}, State{1000, a, false}, ErrRefused, same},
		{"it never had an entry", State{1000, none, false}, State{1000, none, false}, same, same},
		{"it had none, now nobody knows", State{1000, none, false}, State{1000, unread, false}, same, same},
		{"the entry can be read now", State{1000, unread, false}, State{1000, a, false}, ErrRefused, same},
		{
			"the entry can be read now, and there is none",
			State{1000, unread, false},
			State{1000, none, false},
			same,
			same,
		},
		{"the entry can never be read", State{1000, unread, false}, State{1000, unread, false}, same, same},
		{"another account has the name", State{1000, a, false}, State{1001, a, false}, ErrRefused, ErrRefused},
		{"another without an entry", State{1000, none, false}, State{1001, none, false}, ErrRefused, ErrRefused},
		{
			"another, and its entry cannot be read",
			State{1000, a, false},
			State{1001, unread, false},
			ErrRefused,
			ErrRefused,
		},
		{"Unix does not know it any more", State{1000, a, false}, State{-1, none, false}, ErrRefused, ErrRefused},
		{"Unix knows it now", State{-1, none, false}, State{0, none, false}, ErrRefused, ErrRefused},
		{"Unix never knew it", State{-1, none, false}, State{-1, none, false}, same, same},
		{"it was not asked for at issue", State{}, State{0, none, false}, ErrUnknown, ErrUnknown},
		{"it was not asked for now", State{0, none, false}, State{}, ErrUnknown, ErrUnknown},
		{"it was never asked for", State{}, State{}, ErrUnknown, ErrUnknown},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.issued.StillSame(tt.now); !errors.Is(err, tt.same) {
				t.Errorf("StillSame: %v, want %v", err, tt.same)
			}
			if err := tt.issued.StillThere(tt.now); !errors.Is(err, tt.stillThere) {
				t.Errorf("StillThere: %v, want %v", err, tt.stillThere)
			}
		})
	}
}
