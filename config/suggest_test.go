package config

import "testing"

func TestClosest(t *testing.T) {
	for key, want := range map[string]string{
		"privatekey": "private_key", "private-key": "private_key", "PRIVATE_KEY": "private_key",
		"private_keys": "private_key",
		"audiance":     "audience", "blacklisted_user": "blacklisted_users", "acces_tokn_ttl": "access_token_ttl",
		"logs": "log", "key_ids": "key_id",
		"x": "", "": "", "lo": "log", "pem": "pam", "realm": "", "acces": "access", "ttl": "",
	} {
		if got := closest(key, topKeys); got != want {
			t.Errorf("%q: got %q, want %q", key, got, want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"abc", "abc", 0}, {"kitten", "sitting", 3}, {"ab", "ba", 2}} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("%q to %q: got %d, want %d", c.a, c.b, got, c.want)
		}
	}
}
