package access

import (
	"net/netip"
	"slices"
	"strings"
)

// Group is a Unix group that an account is in.
type Group struct {
	Name string
	ID   int
}

// Client is who asks for access, from which address, and for which service.
type Client struct {
	Name    string     // the account, as PAM returned it; "" = the anonymous client
	Groups  []Group    // primary and supplementary
	Remote  netip.Addr // the zero Addr = unknown: no rule with an address matches
	Service string     // the audience of the token
}

// client is a Client with values that would otherwise be computed for every rule.
type client struct {
	Client
	user       string   // replaces {user}; "" = matches nothing
	principals []string // the words in "to" that mean this client
}

func newClient(c Client) *client {
	c.Remote = c.Remote.Unmap().WithZone("")
	return &client{Client: c, user: namespace(c.Name), principals: c.principals()}
}

func (w *Client) isIn(group string) bool {
	return slices.ContainsFunc(w.Groups, func(g Group) bool { return g.Name == group })
}

// principals are the words in "to" that mean this client.
func (w *Client) principals() []string {
	if w.Name == "" {
		return principalsOfAnonymous
	}
	words := make([]string, 0, 3+len(w.Groups))
	words = append(words, anyone, users)
	// An account may have the name of a keyword, or of a group with its @.
	if w.Name != anyone && w.Name != users && !strings.HasPrefix(w.Name, "@") {
		words = append(words, w.Name)
	}
	for _, g := range w.Groups {
		words = append(words, "@"+g.Name)
	}
	return words
}

var principalsOfAnonymous = []string{anyone}

// namespace returns the name if it can be a segment of a repository name, else "". It does not
// lower the case: Alice and alice are two Unix accounts, and would share one namespace.
func namespace(name string) string {
	if !isPathComponent(name) {
		return ""
	}
	return name
}

// isPathComponent reports whether a name is lower-case letters and digits with separators between
// them: one dot, one or two underscores, or any number of dashes (distribution,
// reference/regexp.go, path-component).
func isPathComponent(name string) bool {
	alnum := func(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }
	if name == "" || !alnum(name[0]) || !alnum(name[len(name)-1]) {
		return false
	}
	for i := 0; i < len(name); {
		if alnum(name[i]) {
			i++
			continue
		}
		end := i
		for end < len(name) && !alnum(name[end]) {
			end++
		}
		switch sep := name[i:end]; {
		case sep == "." || sep == "_" || sep == "__":
		case strings.Trim(sep, "-") == "":
		default:
			return false
		}
		i = end
	}
	return true
}
