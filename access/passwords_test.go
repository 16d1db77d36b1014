package access

import "testing"

func TestPasswordsAreForSomeAccounts(t *testing.T) {
	staff := []Group{{Name: "users"}, {Name: "staff"}}
	tests := []struct {
		name      string
		passwords Passwords
		user      string
		groups    []Group
		allow     bool
	}{
		{"everybody", Passwords{}, "alice", staff, true},
		{"everybody but an account", Passwords{Except: Blacklist{"alice"}}, "alice", nil, false},
		{"in another spelling", Passwords{Except: Blacklist{"alice"}}, "Alice", nil, false},
		{"another account", Passwords{Except: Blacklist{"alice"}}, "bob", staff, true},
		{"everybody but a group, of it", Passwords{Except: Blacklist{"@staff"}}, "alice", staff, false},
		{"everybody but a group, of none", Passwords{Except: Blacklist{"@staff"}}, "alice", nil, true},
		{"nobody", Passwords{TokensOnly: true}, "alice", staff, false},
		{"an account alone", Passwords{TokensOnly: true, Except: Blacklist{"alice"}}, "alice", nil, true},
		{"not another", Passwords{TokensOnly: true, Except: Blacklist{"alice"}}, "bob", staff, false},
		{"a group alone, of it", Passwords{TokensOnly: true, Except: Blacklist{"@staff"}}, "alice", staff, true},
		{"a group alone, of none", Passwords{TokensOnly: true, Except: Blacklist{"@staff"}}, "alice", nil, false},
	}
	for _, tt := range tests {
		if got := tt.passwords.Allow(tt.user, tt.groups); got != tt.allow {
			t.Errorf("%s: Allow is %v", tt.name, got)
		}
	}
}
