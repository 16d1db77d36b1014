package cli

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

func TestFlagsAreReadOrRefusedWithAHint(t *testing.T) {
	for _, tt := range []struct {
		name string
		args string
		rest string // the arguments that are no flags
		says string // "" = it is taken
	}{
		{"nothing", "", "", ""},
		{"a flag before and one behind an argument", "--issuer a b --json c", "b c", ""},
		{"one hyphen, as the flag package allows", "-issuer a", "", ""},
		{"a list", "--audience a --audience b", "", ""},
		{"two hyphens before arguments", "a -- --issuer b", "a --issuer b", ""},
		{"a flag twice", "--issuer a --issuer b", "", "--issuer is given twice\n  keep one of the two"},
		{"a flag twice with the same value", "--issuer a --issuer a", "", "--issuer is given twice"},
		{"a flag twice around an argument", "--issuer a b --issuer=c", "", "--issuer is given twice"},
		{"a flag without value twice", "--json --json", "", "--json is given twice"},
		{"an unknown flag", "--force", "", "unknown flag --force\n  see dockerauth try --help"},
		{"an unknown flag of one letter", "-f", "", "unknown flag -f\n"},
		{"a mistyped flag", "--isuer a", "", "unknown flag --isuer\n  did you mean --issuer? see dockerauth try"},
		{"the beginning of a flag", "--aud a", "", "did you mean --audience?"},
		{"no value at the end", "--issuer", "", "--issuer needs a value\n  see "},
		{"a flag in place of a value", "--issuer --audience a", "", "--issuer needs a value, and --audience follows"},
		{"a flag in place of a value of a list", "--audience --json", "", "--audience needs a value, and --json"},
		{"a value that is no flag", "--issuer --a", "", ""},
		{"a wrong truth value", "--json=maybe", "", "invalid boolean value \"maybe\" for --json: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			flags := NewFlags("try")
			var list List
			flags.String("issuer", "", "")
			flags.Var(&list, "audience", "")
			flags.Bool("json", false, "")
			rest, err := ParseFlags(flags, strings.Fields(tt.args))
			if tt.says == "" {
				if err != nil || !slices.Equal(rest, strings.Fields(tt.rest)) {
					t.Errorf("%q, %v", rest, err)
				}
				return
			}
			if err == nil ||
				!strings.HasPrefix(err.Error(), tt.says) && !strings.Contains(err.Error(), "  "+tt.says) {
				t.Errorf("got %v, want %q", err, tt.says)
			}
		})
	}
}

func TestHelpIsPrintedWhereverItIsAskedFor(t *testing.T) {
	for _, args := range []string{"--help", "-h", "-help", "--issuer a --help", "argument --help"} {
		var out, errs bytes.Buffer
		flags := NewFlags("try")
		flags.String("issuer", "", "")
		status, ok := ParseAll(flags, strings.Fields(args), "the help", Streams{Out: &out, Err: &errs})
		if ok || status != ExitDone || out.String() != "the help" || errs.Len() > 0 {
			t.Errorf("%s: %v %d %q %q", args, ok, status, &out, &errs)
		}
	}
}

func TestClosestWords(t *testing.T) {
	words := []string{"init", "check", "http", "fastcgi", "explain", "version", "help"}
	for typed, want := range map[string]string{
		"chek": "check", "chekc": "check", "cehck": "check", "CHECK": "check", "explian": "explain", "expl": "explain",
		"fcgi": "", "fastcg": "fastcgi", "hlep": "help", "versoin": "version", "inti": "init", "nonsense": "", "": "",
		"x": "", "é": "", strings.Repeat("check", 100): "",
	} {
		if got := Closest(typed, words); got != want {
			t.Errorf("%q: %q, want %q", typed, got, want)
		}
	}
}
