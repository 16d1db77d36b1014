package access

import "testing"

func TestPasswordsAreForSomeAccounts(t *testing.T) {
	staff := []Group{{Name: "users"}, {Name: "staff"}}
	tests := []struct {
		name       string
		passwords  Passwords
		user       string
		groups     []Group
		may, allow bool // by the name alone, and with the groups
	}{
		{"everybody", Passwords{}, "alice", staff, true, true},
		{"everybody but an account", Passwords{Except: Blacklist{"alice"}}, "alice", nil, false, false},
		{"in another spelling", Passwords{Except: Blacklist{"alice"}}, "Alice", nil, false, false},
		{"another account", Passwords{Except: Blacklist{"alice"}}, "bob", staff, true, true},
		{"everybody but a group, of it", Passwords{Except: Blacklist{"@staff"}}, "alice", staff, true, false},
		{"everybody but a group, of none", Passwords{Except: Blacklist{"@staff"}}, "alice", nil, true, true},
		{"nobody", Passwords{TokensOnly: true}, "alice", staff, false, false},
		{"an account alone", Passwords{TokensOnly: true, Except: Blacklist{"alice"}}, "alice", nil, true, true},
		{"not another", Passwords{TokensOnly: true, Except: Blacklist{"alice"}}, "bob", staff, false, false},
		{"a group alone, of it", Passwords{TokensOnly: true, Except: Blacklist{"@staff"}}, "alice", staff, true, true},
		{"a group alone, of none", Passwords{TokensOnly: true, Except: Blacklist{"@staff"}}, "alice", nil, true, false},
	}
	for _, tt := range tests {
		if got := tt.passwords.MayAllow(tt.user); got != tt.may {
			t.Errorf("%s: MayAllow is %v", tt.name, got)
		}
		if got := tt.passwords.Allow(tt.user, tt.groups); got != tt.allow {
			t.Errorf("%s: Allow is %v", tt.name, got)
		}
	}
}
