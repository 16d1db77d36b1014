package access

import (
	"slices"
	"strings"
	"testing"
)

func mustLimits(t testing.TB, texts ...string) (limits []Limit) {
	t.Helper()
	for _, text := range texts {
		l, err := ParseLimit(text)
		if err != nil {
			t.Fatal(err)
		}
		if l.String() != text {
			t.Fatalf("%q prints as %q", text, l)
		}
		limits = append(limits, l)
	}
	return limits
}

func TestLimitsLeaveAPartOfWhatIsGranted(t *testing.T) {
	tests := []struct{ name, limits, granted, want string }{
		{"no limit leaves nothing", "", "repository:ci/app:pull registry:catalog:*", ""},
		{"nothing granted stays nothing", "repository:**:* registry:catalog:*", "", ""},
		{"an action of two", "repository:ci/**:pull", "repository:ci/app:pull,push", "repository:ci/app:pull"},
		{
			"an action that was not granted",
			"repository:ci/**:pull,push",
			"repository:ci/app:pull",
			"repository:ci/app:pull",
		},
		{"another action", "repository:ci/**:delete", "repository:ci/app:pull,push", ""},
		{"a star is all actions", "repository:ci/**:*", "repository:ci/app:pull,push,delete",
			"repository:ci/app:pull,push,delete"},
		{"a star among others", "repository:ci/**:pull,*", "repository:ci/app:delete", "repository:ci/app:delete"},
		{"actions keep the order of the request", "repository:ci/**:pull,push", "repository:ci/app:push,pull",
			"repository:ci/app:push,pull"},
		{
			"a granted star is what it stands for",
			"repository:ci/**:pull",
			"repository:ci/app:*",
			"repository:ci/app:pull",
		},
		{"another repository", "repository:ci/**:*", "repository:prod/app:pull", ""},
		{"a name that only begins so", "repository:ci/**:*", "repository:cicd/app:pull", ""},
		{"a name that contains it", "repository:ci/**:*", "repository:my/ci/app:pull", ""},
		{"two stars match no segment too", "repository:ci/**:pull", "repository:ci:pull", "repository:ci:pull"},
		{"two stars match several segments", "repository:ci/**:pull", "repository:ci/a/b/c:pull",
			"repository:ci/a/b/c:pull"},
		{"one star matches one segment", "repository:ci/*:pull",
			"repository:ci:pull repository:ci/a:pull repository:ci/a/b:pull", "repository:ci/a:pull"},
		{"a star within a segment ends with it", "repository:ci-*/app:pull",
			"repository:ci-a/app:pull repository:ci-a/b/app:pull", "repository:ci-a/app:pull"},
		{"two stars alone are all repositories", "repository:**:pull", "repository:a:pull repository:a/b:pull",
			"repository:a:pull repository:a/b:pull"},
		{"a name without a glob", "repository:ci/app:pull", "repository:ci/app:pull repository:ci/app/x:pull " +
			"repository:ci/app2:pull repository:ci:pull", "repository:ci/app:pull"},
		{"a name in upper case is another", "repository:ci/**:pull", "repository:CI/app:pull", ""},
		{"a host and port before the name", "repository:ci/**:pull", "repository:host:5000/ci/app:pull", ""},
		{"a limit with a host and port", "repository:host:5000/ci/**:pull",
			"repository:host:5000/ci/app:pull repository:ci/app:pull repository:host:5001/ci/app:pull",
			"repository:host:5000/ci/app:pull"},
		{"a limit with an IPv6 host", "repository:[::1]:5000/ci/**:pull", "repository:[::1]:5000/ci/app:pull",
			"repository:[::1]:5000/ci/app:pull"},
		{"a class does not matter", "repository:ci/**:pull", "repository(plugin):ci/app:pull,push",
			"repository(plugin):ci/app:pull"},
		{"another type", "repository:**:*", "thing:ci/app:pull", ""},
		{
			"a type of its own",
			"thing:ci/**:look",
			"thing:ci/app:look,touch repository:ci/app:pull",
			"thing:ci/app:look",
		},
		{"the catalog", "registry:catalog:*", "registry:catalog:*", "registry:catalog:*"},
		{"all repositories are not the catalog", "repository:**:*", "registry:catalog:*", ""},
		{"the catalog is no repository", "registry:catalog:*", "repository:catalog:pull", ""},
		{"a repository called like the catalog", "repository:catalog:*", "registry:catalog:*", ""},
		{
			"limits on one resource join",
			"repository:ci/**:pull repository:**/app:delete",
			"repository:ci/app:pull,push,delete",
			"repository:ci/app:pull,delete",
		},
		{"each limit has its own resources", "repository:a/**:pull repository:b/**:pull,push",
			"repository:a/x:pull,push repository:b/x:pull,push repository:c/x:pull",
			"repository:a/x:pull repository:b/x:pull,push"},
		{"a limit twice", "repository:a:pull repository:a:pull", "repository:a:pull", "repository:a:pull"},
		{"a name with dots for segments is never granted", "repository:ci/**:pull",
			"repository:ci/../prod:pull repository:ci//x:pull repository:ci/.:pull", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			granted := mustParse(t, tt.granted)
			before := Format(granted)
			if got := Format(Restrict(granted, mustLimits(t, strings.Fields(tt.limits)...))); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if Format(granted) != before {
				t.Errorf("what was granted became %q", Format(granted))
			}
		})
	}
	if got := Restrict(mustParse(t, "repository:a:pull"), []Limit{{}}); len(got) > 0 {
		t.Errorf("a limit that was never parsed allows %v", got)
	}
}

func TestALimitThatCannotBeUsedSaysWhatToWrite(t *testing.T) {
	tests := []struct{ name, text, reason string }{
		{"nothing", "", "repository:NAME/**:pull"},
		{"a repository alone", "ci/app", "type:pattern:actions"},
		{"two parts", "repository:ci/app", "type:pattern:actions"},
		{"no type", ":ci/**:pull", "the type is not a word"},
		{"a name in upper case", "repository:CI/**:pull", `write "repository:ci/**:pull"`},
		{"a type in upper case", "Repository:ci/**:pull", "the type is not a word"},
		{"a space before it", " repository:ci/**:pull", "the type is not a word"},
		{"a class", "repository(plugin):ci/**:pull", "write the type alone"},
		{"no pattern", "repository::pull", "empty"},
		{"an empty segment", "repository:ci//app:pull", "a segment is empty"},
		{"a slash at the end", "repository:ci/:pull", "a segment is empty"},
		{"two stars within a segment", "repository:ci**:pull", "** stands alone"},
		{"the name of the user", "repository:{user}/**:pull", "write the name itself"},
		{"the name of a group", "repository:{group}/**:pull", "write the name itself"},
		{"another placeholder", "repository:{x:pull", "write the name itself"},
		{"a character that no name has", "repository:ci@sha256:pull", "no repository name"},
		{"a space in the pattern", "repository:ci app:pull", "no repository name"},
		{"a letter that is not ASCII", "repository:ärger:pull", "no repository name"},
		{"a long pattern", "repository:" + strings.Repeat("a", 257) + ":pull", "longer than 256"},
		{"a pattern with many segments", "repository:" + strings.Repeat("a/", 40) + "a:pull", "more than 32"},
		{"no actions", "repository:ci/**:", "or * for all"},
		{"commas alone", "repository:ci/**:,,", "or * for all"},
		{"an action in upper case", "repository:ci/**:PULL", "or * for all"},
		{"two stars for actions", "repository:ci/**:**", "or * for all"},
		{"an unknown action", "repository:ci/**:read", `unknown action "read"`},
		{"a push without a pull", "repository:ci/**:push", "write pull,push"},
		{"the action of a rule for the catalog", "repository:ci/**:catalog", "unknown action"},
		{"the catalog with another action", "registry:catalog:pull", "write registry:catalog:*"},
		{"the catalog with more", "registry:catalog:*,pull", "write registry:catalog:*"},
		{"more than the catalog", "registry:**:*", "write registry:catalog:*"},
		{"long actions", "thing:a:" + strings.Repeat("a", 200), "longer than 128"},
		{"many actions", "thing:a:a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q", "more than 16"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l, err := ParseLimit(tt.text)
			if err == nil || !strings.Contains(err.Error(), tt.reason) || len(err.Error()) > 300 {
				t.Errorf("got %v, want %q", err, tt.reason)
			}
			if got := Restrict(mustParse(t, "repository:ci/app:pull registry:catalog:*"), []Limit{l}); len(got) > 0 {
				t.Errorf("it allows %v", got)
			}
		})
	}
}

// A limit that parses is kept as text and parses again. What it leaves was granted, and matches the
// pattern as an independent matcher does.
func FuzzLimit(f *testing.F) {
	seeds := []struct{ limit, granted string }{
		{"repository:ci/**:pull", "repository:ci/app:pull,push"}, {"repository:*:*", "repository:a:*"},
		{"registry:catalog:*", "registry:catalog:* repository(plugin):a:pull"}, {"thing:a*b:x,y", "thing:ab:x"},
		{
			"repository:[::1]:5/a:pull",
			"repository:[::1]:5/a:pull",
		}, {"repository:{user}:pull", "repository:a/../b:pull"},
		{":::", "::"},
	}
	if len(seeds) == 0 {
		f.Fatal("no seeds")
	}
	for _, s := range seeds {
		f.Add(s.limit, s.granted)
	}
	f.Fuzz(func(t *testing.T, text, granted string) {
		l, err := ParseLimit(text)
		if err != nil {
			if l.String() != "" {
				t.Fatalf("%q is an error and a limit", text)
			}
			return
		}
		if again, err := ParseLimit(l.String()); err != nil || l.String() != text || again.String() != text {
			t.Fatalf("%q became %q, %v", text, again, err)
		}
		scopes, _, err := ParseScopes([]string{granted})
		if err != nil {
			return
		}
		kind, rest, _ := strings.Cut(text, ":")
		pattern, actions := rest[:strings.LastIndexByte(rest, ':')], rest[strings.LastIndexByte(rest, ':')+1:]
		for _, s := range Restrict(scopes, []Limit{l}) {
			from := slices.IndexFunc(scopes, func(g Scope) bool { return g.resource() == s.resource() })
			if from < 0 || s.Type != kind || len(s.Actions) == 0 || !oraclePath(s.Name) ||
				len(s.Name) <= 40 && len(pattern) <= 40 && !oracleMatch(pattern, "", "", s.Name) {
				t.Fatalf("%q leaves %v of %v", text, s, scopes)
			}
			for _, a := range s.Actions {
				had := slices.Contains(scopes[from].Actions, a) ||
					slices.Contains(scopes[from].Actions, "*") && s.Type == "repository"
				may := slices.Contains(strings.Split(actions, ","), a) ||
					slices.Contains(strings.Split(actions, ","), "*")
				if !had || !may {
					t.Fatalf("%q leaves %v of %v", text, s, scopes)
				}
			}
		}
	})
}
