package access

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

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
			got, err := ParseScopes(tt.params)
			if err != nil {
				t.Fatal(err)
			}
			if Format(got) != tt.want {
				t.Errorf("got %q, want %q", Format(got), tt.want)
			}
		})
	}
}

func TestAScopeThatDoesNotParseIsRefusedByName(t *testing.T) {
	tests := []struct{ name, scope, want string }{
		{"one word", "repository", "type:name:actions"},
		{"two parts", "repository:app", "type:name:actions"},
		{"no type", ":app:pull", "type or type(class)"},
		{"upper case in the type", "Repository:app:pull", "type or type(class)"},
		{"an unclosed class", "repository(plugin:app:pull", "type or type(class)"},
		{"an empty class", "repository():app:pull", "type or type(class)"},
		{"no name", "repository::pull", "name"},
		{"a quote in the name", `repository:a"b:pull`, "name"},
		{"a newline in the name", "repository:a\nb:pull", "name"},
		{"a NUL in the name", "repository:a\x00b:pull", "name"},
		{"a glob in the name", "repository:team/*:pull", "name"},
		{"a letter that is not ASCII in the name", "repository:ärger:pull", "name"},
		{"an upper-case action", "repository:app:PULL", "actions"},
		{"a star joined to an action", "repository:app:pull*", "actions"},
		{"a scope that is too long", "repository:" + strings.Repeat("a", maxScopeLen) + ":pull", "longer than"},
		{"an action list that is too long", "repository:a:" + strings.Repeat("a", maxActionsLen+1), "actions"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseScopes([]string{"repository:fine:pull", tt.scope})
			if !errors.Is(err, ErrScope) {
				t.Fatalf("got %v, want an ErrScope", err)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %q does not say %q", err, tt.want)
			}
			if len(err.Error()) > 1024 {
				t.Errorf("the error is %d bytes long", len(err.Error()))
			}
		})
	}
}

func TestTheNumberOfScopesIsBounded(t *testing.T) {
	many := make([]string, maxScopes)
	for i := range many {
		many[i] = fmt.Sprintf("repository:app%d:pull", i)
	}
	if _, err := ParseScopes(many); err != nil {
		t.Fatalf("%d scopes: %v", maxScopes, err)
	}
	if _, err := ParseScopes(append(many, many...)); err != nil {
		t.Fatalf("repeats do not count: %v", err)
	}
	if _, err := ParseScopes(append(many, "repository:onemore:pull")); !errors.Is(err, ErrScope) {
		t.Fatalf("%d scopes: got %v, want an ErrScope", maxScopes+1, err)
	}
}

// Merging is quadratic in the number of actions, and happens before credentials are checked.
func TestTheNumberOfActionsOnOneResourceIsBounded(t *testing.T) {
	var params []string
	for i := range 600 {
		params = append(params, fmt.Sprintf("r:a:a%c%c", 'a'+i/26, 'a'+i%26))
	}
	if _, err := ParseScopes(params[:maxActions]); err != nil {
		t.Errorf("%d actions: %v", maxActions, err)
	}
	if _, err := ParseScopes(params); !errors.Is(err, ErrScope) {
		t.Errorf("600 actions in as many scopes: got %v, want an ErrScope", err)
	}
	if _, err := ParseScopes([]string{"r:a:" + strings.TrimPrefix(strings.Join(params[:20], ","),
		"r:a:")}); !errors.Is(err, ErrScope) {
		t.Errorf("20 actions in one scope: got %v, want an ErrScope", err)
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
			asked, err := ParseScopes([]string{tt.asked})
			if err != nil {
				t.Fatal(err)
			}
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
	"repository:a/../b//c/.:pull", ":::", "a:b:", " ",
}

// A parsed scope list prints as a list that parses to the same scopes. No path cleaning changes a
// name that is granted.
func FuzzParseScopes(f *testing.F) {
	if len(scopeSeeds) == 0 {
		f.Fatal("no seeds")
	}
	for _, seed := range scopeSeeds {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, param string) {
		scopes, err := ParseScopes([]string{param})
		if err != nil {
			if !errors.Is(err, ErrScope) {
				t.Fatalf("%v is no ErrScope", err)
			}
			return
		}
		again, err := ParseScopes([]string{Format(scopes)})
		if err != nil {
			t.Fatalf("%q parsed, but its own print %q does not: %v", param, Format(scopes), err)
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
