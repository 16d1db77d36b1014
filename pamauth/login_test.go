package pamauth

import (
	"errors"
	"strings"
	"testing"
)

// An empty key would not be a secret. It is not taken for nil either, which asks for no state.
func TestAShortStateKeyIsNotUsed(t *testing.T) {
	for n := range minStateKey + 1 {
		key := make(StateKey, n)
		err := Login{User: "alice", AccountOnly: true, StateKey: key}.check()
		_, inspectErr := Inspect("root", key)
		if want := n < minStateKey; errors.Is(err, ErrBroken) != want || errors.Is(inspectErr, ErrBroken) != want {
			t.Errorf("%d bytes: got %v, %v", n, err, inspectErr)
		}
	}
}

func TestLoginsThatNeverReachPAM(t *testing.T) {
	long := strings.Repeat("x", maxPassword+1)
	tests := []struct {
		name  string
		login Login
		ok    bool
	}{
		{"a plain name and password", Login{User: "alice", Password: "p"}, true},
		{"a domain before the name", Login{User: `EXAMPLE\alice`, Password: "p"}, true},
		{"a domain behind the name", Login{User: "alice@example.com", Password: "p"}, true},
		{"a name with blanks and letters of other alphabets", Login{User: "Алиса Б", Password: "p"}, true},
		{"the longest name", Login{User: long[:maxName], Password: "p"}, true},
		{"the longest password", Login{User: "alice", Password: Password(long[:maxPassword])}, true},
		{"a password of bytes that are not UTF-8", Login{User: "alice", Password: "\xff\xfe\x01\n"}, true},
		{"an address with a zone", Login{User: "alice", Password: "p", Remote: "fe80::1%eth0"}, true},
		{"no password where none is asked", Login{User: "alice", AccountOnly: true}, true},

		{"no name", Login{Password: "p"}, false},
		{"a name too long", Login{User: long[:maxName+1], Password: "p"}, false},
		{"a name that ends early in C", Login{User: "alice\x00x", Password: "p"}, false},
		{"no password", Login{User: "alice"}, false},
		{"a password too long", Login{User: "alice", Password: Password(long)}, false},
		{"a password that ends early in C", Login{User: "alice", Password: "p\x00junk"}, false},
		{"a bad name where no password is asked", Login{User: "alice\x00x", AccountOnly: true}, false},
		{"an address with a newline", Login{User: "alice", Password: "p", Remote: "192.0.2.1\nrhost=evil"}, false},
		{"an address too long", Login{User: "alice", Password: "p", Remote: long}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.login.check()
			if tt.ok && err != nil || !tt.ok && !errors.Is(err, ErrRefused) {
				t.Errorf("got %v", err)
			}
		})
	}
}
