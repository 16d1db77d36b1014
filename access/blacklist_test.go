package access

import "testing"

func TestBlacklist(t *testing.T) {
	list := Blacklist{"mallory", "@banned"}
	banned := []Group{{"users", 100}, {"banned", 1000}}
	tests := []struct {
		name, account string
		groups        []Group
		want          string
	}{
		{"an account", "mallory", nil, "mallory"},
		{"an account in another spelling", "MALLORY", nil, "mallory"},
		{"an account in a group", "alice", banned, "@banned"},
		{"neither", "alice", banned[:1], ""},
		{"an account called like the entry of a group", "@banned", nil, ""},
		{"the anonymous client", "", nil, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := list.Find(tt.account, tt.groups); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	if !list.NamesGroups() || list[:1].NamesGroups() {
		t.Error("it does not tell whether groups matter")
	}
}
