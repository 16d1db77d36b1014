package access

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// mustParse fails if an error comes, or a scope does not parse.
func mustParse(t *testing.T, params ...string) []Scope {
	t.Helper()
	scopes, malformed, err := ParseScopes(params)
	if err != nil || len(malformed) > 0 {
		t.Fatalf("%q: malformed %v, %v", params, malformed, err)
	}
	return scopes
}

func TestScopesAreReadAsClientsSendThem(t *testing.T) {
	tests := []struct {
		name   string
		params []string
		want   string
	}{
		{"no parameter at all", nil, ""},
		{"an empty parameter, as docker login sends it", []string{""}, ""},
		{"one scope", []string{"repository:app:pull,push"}, "repository:app:pull,push"},
		{"repeated parameters", []string{"repository:a:pull", "repository:b:pull"},
			"repository:a:pull repository:b:pull"},
		{"a list joined by spaces", []string{"repository:a:pull repository:b:pull"},
			"repository:a:pull repository:b:pull"},
		{"both at once, with empty ones between", []string{"repository:a:pull  repository:b:pull", "", " ",
			"repository:c:push"}, "repository:a:pull repository:b:pull repository:c:push"},
		{"the same resource twice is one resource with the actions of both",
			[]string{"repository:a:pull", "repository:b:pull", "repository:a:push,pull"},
			"repository:a:pull,push repository:b:pull"},
		{"a name with host and port", []string{"repository:localhost:5000/team/app:pull"},
			"repository:localhost:5000/team/app:pull"},
		{"a name with an IPv6 host", []string{"repository:[::1]:5000/app:pull"}, "repository:[::1]:5000/app:pull"},
		{"a class", []string{"repository(plugin):app:pull"}, "repository(plugin):app:pull"},
		{"a class makes it another resource", []string{"repository(plugin):app:pull", "repository:app:push"},
			"repository(plugin):app:pull repository:app:push"},
		{"the catalog", []string{"registry:catalog:*"}, "registry:catalog:*"},
		{"an empty action among others", []string{"repository:app:pull,,push,"}, "repository:app:pull,push"},
		{"no action", []string{"repository:app:"}, "repository:app:"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := Format(mustParse(t, tt.params...)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// Each of these is in the request beside good scopes, one of them for the resource that it nearly
// names.
func TestAMalformedScopeIsNamedAndTheOthersStay(t *testing.T) {
	const form, kind, name, actions = "type:name:actions", "type or type(class)", "name", "actions"
	tests := []struct{ name, scope, cause string }{
		{"two colons, as a ping of podman sends them", "::", kind},
		{"one colon", ":", form},
		{"three colons", ":::", kind},
		{"a star, as a challenge of Gitea has it", "*", form},
		{"three stars", "*:*:*", kind},
		{"an empty type with actions", ":app:pull", kind},
		{"an empty type with the catalog", ":catalog:*", kind},
		{"one word", "repository", form},
		{"two parts", "repository:app", form},
		{"actions with an underscore, as Azure has them", "repository:app:metadata_read", actions},
		{"such an action beside a known one", "repository:app:pull,metadata_read", actions},
		{"an upper-case action", "repository:app:PULL", actions},
		{"a star joined to an action", "repository:app:pull*", actions},
		{"two stars", "repository:app:**", actions},
		{"actions with another comma", "repository:app:pull\uff0cpush", actions},
		{"actions with a semicolon", "repository:app:pull;push", actions},
		{"a tab after the action", "repository:app:pull\t", actions},
		{"a newline after the action", "repository:app:pull\n", actions},
		{"a plus that was not decoded", "repository:app:pull+repository:app:push", name},
		{"an action with a wide letter", "repository:app:\uff50ull", actions},
		{"an action with an invisible character", "repository:app:pull\u200b", actions},
		{"upper case in the type", "Repository:app:pull", kind},
		{"a tab before the type", "\trepository:app:pull", kind},
		{"a byte order mark before the type", "\ufeffrepository:app:pull", kind},
		{"an unclosed class", "repository(plugin:app:pull", kind},
		{"an empty class", "repository():app:pull", kind},
		{"two classes", "repository(a)(b):app:pull", kind},
		{"text after the class", "repository(a)b:app:pull", kind},
		{"a type with a hyphen", "repo-sitory:app:pull", kind},
		{"no name", "repository::pull", name},
		{"a quote in the name", `repository:a"b:pull`, name},
		{"a newline in the name", "repository:a\nb:pull", name},
		{"a NUL in the name", "repository:app\x00:pull", name},
		{"a glob in the name", "repository:team/*:pull", name},
		{"a star as the name", "repository:*:pull", name},
		{"a backslash in the name", `repository:team\app:pull`, name},
		{"an escape in the name", "repository:team%2fapp:pull", name},
		{"a digest in the name", "repository:app@sha256:pull", name},
		{"a letter that is not ASCII in the name", "repository:ärger:pull", name},
		{"bytes that are no UTF-8 in the name", "repository:app\xff:pull", name},
		{"every catalog", "registry:*:*", name},
	}
	const good = "repository:fine:pull repository:app:push"
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, malformed, err := ParseScopes(
				[]string{"repository:fine:pull", tt.scope, "repository:app:push", tt.scope},
			)
			if err != nil {
				t.Fatal(err)
			}
			if Format(got) != good {
				t.Errorf("got %q, want %q", Format(got), good)
			}
			if len(malformed) != 1 || malformed[0].Text != tt.scope || !strings.Contains(malformed[0].Cause, tt.cause) {
				t.Fatalf("malformed %v, want %q with %q once", malformed, tt.scope, tt.cause)
			}
			if text := malformed[0].Error(); strings.ContainsFunc(text, unicode.IsControl) {
				t.Errorf("the error has control characters: %q", text)
			}
		})
	}
}

func TestTheLengthOfAScopeIsBounded(t *testing.T) {
	tests := []struct{ name, scope, want string }{
		{"a scope", "repository:" + strings.Repeat("a", maxScopeLen) + ":pull", "longer than 512 bytes"},
		{"what is no scope", strings.Repeat("*", maxScopeLen+1), "longer than 512 bytes"},
		{"actions", "repository:a:" + strings.Repeat("a", maxActionsLen+1), "longer than 128 bytes"},
		{"actions of a malformed scope", "::" + strings.Repeat("_", maxActionsLen+1), "longer than 128 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := ParseScopes([]string{"repository:fine:pull", tt.scope})
			if !errors.Is(err, ErrScope) || !strings.Contains(err.Error(), tt.want) || len(err.Error()) > 256 {
				t.Errorf("got %v, want an ErrScope with %q", err, tt.want)
			}
		})
	}
}

func TestTheNumberOfScopesIsBounded(t *testing.T) {
	for _, format := range []string{"repository:app%d:pull", "repository:app%d:PULL", "%d"} {
		many := make([]string, maxScopes)
		for i := range many {
			many[i] = fmt.Sprintf(format, i)
		}
		if _, _, err := ParseScopes(many); err != nil {
			t.Errorf("%d scopes: %v", maxScopes, err)
		}
		if _, _, err := ParseScopes(append(many, many...)); err != nil {
			t.Errorf("repeats do not count: %v", err)
		}
		for _, more := range []string{"repository:more:pull", "::"} {
			if _, _, err := ParseScopes(append(many, more)); !errors.Is(err, ErrScope) {
				t.Errorf("%d scopes and %q: got %v, want an ErrScope", maxScopes, more, err)
			}
		}
	}
}

// Merging is quadratic in the number of actions, and happens before credentials are checked.
func TestTheNumberOfActionsOnOneResourceIsBounded(t *testing.T) {
	var params []string
	for i := range 600 {
		params = append(params, fmt.Sprintf("r:a:a%c%c", 'a'+i/26, 'a'+i%26))
	}
	if _, _, err := ParseScopes(params[:maxActions]); err != nil {
		t.Errorf("%d actions: %v", maxActions, err)
	}
	if _, _, err := ParseScopes(params); !errors.Is(err, ErrScope) {
		t.Errorf("600 actions in as many scopes: got %v, want an ErrScope", err)
	}
	for _, between := range []string{",a", ",_"} {
		list := "r:a:a"
		for i := range 20 {
			list += fmt.Sprintf("%s%c", between, 'a'+i)
		}
		if _, _, err := ParseScopes([]string{list}); !errors.Is(err, ErrScope) {
			t.Errorf("%s: got %v, want an ErrScope", list, err)
		}
	}
}

func TestWithoutRulesEverythingAskedForIsGranted(t *testing.T) {
	tests := []struct{ name, asked, want string }{
		{"nothing asked, nothing granted: not even the catalog", "", ""},
		{"what was asked, in the order asked", "repository:b:push,pull repository:a:pull",
			"repository:b:push,pull repository:a:pull"},
		{"a star on a repository is expanded", "repository:a:*", "repository:a:pull,push,delete"},
		{"a star among others adds what is missing", "repository:a:push,*", "repository:a:push,pull,delete"},
		{"the catalog keeps its star", "registry:catalog:*", "registry:catalog:*"},
		{"a star on an unknown type grants nothing", "thing:a:*", ""},
		{"an grantable action on such a type is granted", "thing:a:look,*", "thing:a:look"},
		{"a scope without actions is left out", "repository:a: repository:b:pull", "repository:b:pull"},
		{"nothing on a name with a part that is empty or dots",
			"repository:a//b:pull repository:/a:pull repository:a/:pull repository:../a:pull repository:a/.:* " +
				"registry:catalog/../x:* repository:b:pull", "repository:b:pull"},
		{"a class is kept", "repository(plugin):a:*", "repository(plugin):a:pull,push,delete"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			asked := mustParse(t, tt.asked)
			before := Format(asked)
			if got := Format(grantAll(asked)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if Format(asked) != before {
				t.Errorf("the request was changed to %q", Format(asked))
			}
		})
	}
}

// scopeSeeds must not be empty: a fuzz target without seeds tests nothing in a plain run.
var scopeSeeds = []string{
	"repository:app:pull,push", "repository(plugin):host:5000/app:*", "registry:catalog:*",
	"repository:a:pull repository:a:push", "repository:[::1]:5000/a:pull",
	"repository:a/../b//c/.:pull", ":::", "::", "*", "repository:a:metadata_read", "a:b:", " ",
}

// Each scope is parsed or malformed. A parsed scope list prints as a list that parses to the same
// scopes. No path cleaning changes a name that is granted.
func FuzzParseScopes(f *testing.F) {
	if len(scopeSeeds) == 0 {
		f.Fatal("no seeds")
	}
	for _, seed := range scopeSeeds {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, param string) {
		scopes, malformed, err := ParseScopes([]string{param})
		for text := range strings.SplitSeq(param, " ") {
			isIt := func(m *Malformed) bool { return m.Text == text }
			one, rejected, oneErr := ParseScopes([]string{text})
			if err == nil && (oneErr != nil || slices.ContainsFunc(malformed, isIt) != (len(rejected) == 1) ||
				text != "" && len(one)+len(rejected) != 1) {
				t.Fatalf("%q alone: %v, %v, %v", text, one, rejected, oneErr)
			}
		}
		if err != nil {
			if !errors.Is(err, ErrScope) {
				t.Fatalf("%v is no ErrScope", err)
			}
			return
		}
		again, malformed, err := ParseScopes([]string{Format(scopes)})
		if err != nil || len(malformed) > 0 {
			t.Fatalf("%q parsed, but its own print %q does not: %v %v", param, Format(scopes), malformed, err)
		}
		if !reflect.DeepEqual(scopes, again) {
			t.Fatalf("%#v became %#v", scopes, again)
		}
		for _, s := range (*Policy)(nil).Grant(clientOf("alice"), scopes) {
			if !oraclePath(s.Name) {
				t.Fatalf("%v is granted", s)
			}
		}
	})
}
