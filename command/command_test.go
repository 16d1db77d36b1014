package command

import (
	"bytes"
	"flag"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"dockerauth/cli"
)

var flagPattern = regexp.MustCompile(`--([a-z][a-z-]*)`)

// flagNames are the flags of a command and --help.
func flagNames(c command) []string {
	names := []string{"help"}
	c.flags().VisitAll(func(f *flag.Flag) { names = append(names, f.Name) })
	return slices.Sorted(slices.Values(names))
}

// Help, and what the program takes, are written in different places.
func TestTheHelpOfEveryCommandIsWhole(t *testing.T) {
	overview := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^  dockerauth ([a-z]+)  *\S`).FindAllStringSubmatch(help, -1) {
		overview[m[1]] = true
	}
	for _, c := range slices.Concat(commands(), subcommands("token")) {
		help := help
		if group, _, isSub := strings.Cut(c.name, " "); isSub {
			help = map[string]string{"token": helpToken}[group]
		}
		delete(overview, c.name)
		if !regexp.MustCompile(`(?m)^  dockerauth `+c.name+`\b.*  `+regexp.QuoteMeta(c.summary)+`$|`+
			`^  dockerauth help `).MatchString(help) || !strings.Contains(help, "\n  dockerauth "+c.name) {
			t.Errorf("help does not list %s: %s", c.name, c.summary)
		}
		if !strings.HasPrefix(c.help, "dockerauth ") || !strings.Contains(c.help, "dockerauth "+c.name) {
			t.Errorf("the help of %s does not begin with it:\n%s", c.name, c.help)
		}
		if !regexp.MustCompile(`\nExample:\n\n  [^\n]*dockerauth [^\n]+\n\z`).MatchString(c.help) {
			t.Errorf("the help of %s does not end with an example", c.name)
		}
		if c.name != "version" && !strings.Contains(c.help, "\nStatus 0: ") {
			t.Errorf("the help of %s does not say its exit status", c.name)
		}
		if c.name == "help" {
			continue
		}
		named := map[string]bool{"help": true}
		for _, m := range flagPattern.FindAllStringSubmatch(c.help, -1) {
			named[m[1]] = true
		}
		delete(named, "version") // of the program
		if got := slices.Sorted(maps.Keys(named)); !slices.Equal(got, flagNames(c)) {
			t.Errorf("the help of %s names the flags %q, and there are %q", c.name, got, flagNames(c))
		}
	}
	for name := range overview {
		t.Errorf("help lists %s: there is no such command", name)
	}
}

func TestAnAccountWithoutItsFlagIsAnErrorThatNamesTheFlag(t *testing.T) {
	for args, want := range map[string]string{
		"alice --scope repository:a:pull": "unexpected argument \"alice\"\n  if it is the account: --user \"alice\"\n",
		"alice bob":                       "unexpected argument \"alice\"\n  see dockerauth token issue --help\n",
		"--user alice bob":                "unexpected argument \"bob\"\n  see dockerauth token issue --help\n",
	} {
		var stderr bytes.Buffer
		status := issueToken(strings.Fields(args), cli.Streams{Out: io.Discard, Err: &stderr})
		if got, found := strings.CutPrefix(stderr.String(), "dockerauth token issue: "); !found || got != want ||
			status != cli.ExitUsage {
			t.Errorf("%s: status %d, %q", args, status, got)
		}
	}
}

func TestTheManPageHasEveryCommandAndFlag(t *testing.T) {
	text, err := os.ReadFile("../packaging/man/dockerauth.1")
	if err != nil {
		t.Fatal(err)
	}
	_, synopsis, _ := strings.Cut(string(text), "\n.Sh SYNOPSIS\n")
	synopsis, rest, found := strings.Cut(synopsis, "\n.Sh DESCRIPTION\n")
	if !found {
		t.Fatal("the page has no synopsis")
	}
	shown := map[string]map[string]bool{}
	for _, form := range strings.Split(synopsis, ".Nm\n")[1:] {
		name, _, _ := strings.Cut(strings.TrimPrefix(form, ".Cm "), "\n")
		if shown[name] == nil {
			shown[name] = map[string]bool{"help": true}
		}
		for _, m := range regexp.MustCompile(`Fl -([a-z-]+)`).FindAllStringSubmatch(form, -1) {
			shown[name][m[1]] = true
		}
	}
	for _, c := range leaves() {
		if got := slices.Sorted(maps.Keys(shown[c.name])); !slices.Equal(got, flagNames(c)) {
			t.Errorf("the synopsis shows %s with %q, and there are %q", c.name, got, flagNames(c))
		}
		if !regexp.MustCompile(`(?m)^\.It Cm ` + c.name + `\b`).MatchString(rest) {
			t.Errorf("the page does not describe %s", c.name)
		}
		for _, name := range flagNames(c) {
			if name != "help" && !regexp.MustCompile(`(?m)^\.It Fl -`+name+`\b(?:$| )`).MatchString(rest) {
				t.Errorf("the page does not describe --%s of %s", name, c.name)
			}
		}
	}
	for _, section := range []string{"ENVIRONMENT", "SIGNALS", "FILES", "EXIT STATUS", "EXAMPLES", "BUGS"} {
		if !strings.Contains(rest, "\n.Sh "+section+"\n") {
			t.Errorf("the page has no section %s", section)
		}
	}
	for _, form := range []string{".Op Ar command\n.Fl -help\n", ".Fl -version | Fl v | Fl V\n"} {
		if !strings.Contains(synopsis+"\n", form) {
			t.Errorf("the synopsis lacks %q", form)
		}
	}
}

// The last value would win silently.
func TestNoFlagIsTakenTwiceUnlessItIsAList(t *testing.T) {
	for _, c := range leaves() {
		c.flags().VisitAll(func(f *flag.Flag) {
			flags := c.flags()
			_, isList := f.Value.(*cli.List)
			_, err := cli.ParseFlags(flags, []string{"--" + f.Name + "=1", "--" + f.Name + "=1"})
			if twice := err != nil && strings.Contains(err.Error(), " is given twice"); twice == isList {
				t.Errorf("%s --%s: %v", c.name, f.Name, err)
			}
		})
	}
}

// A mistake ends with status 2 and two lines: what is wrong, and what to do.
func TestAMistakeHasARemedy(t *testing.T) {
	for _, args := range [][]string{
		{"nonsense"}, {"--config", "x"}, {"help", "nonsense"}, {"help", "init", "check"}, {"version", "now"},
		{"completion"}, {"completion", "tcsh"}, {"completion", "bash", "zsh"}, {"init", "now"},
		{"check", "--program", "x"},
		{"explain", "alice"}, {"http"}, {"fastcgi"}, {"http", "--admin"}, {"check", "--json=maybe"},
		{"token"}, {"token", "isue"}, {"token", "--json"}, {"help", "token", "isue"}, {"help", "token", "list", "now"},
		{"token", "issue"}, {"token", "issue", "--user", "alice"}, {"token", "issue", "--user", "a:b", "--scope", "x"},
		{"token", "list", "now"}, {"token", "show"}, {"token", "show", "short"}, {"token", "show", "0123456789", "now"},
		{"token", "rotate"}, {"token", "rotate", "0123456789", "--overlap", "1"}, {"token", "revoke"},
		{"token", "revoke", "0123456789", "--user", "alice"}, {"token", "revoke", "--user", "alice", "--kind", "some"},
		{"token", "revoke", "0123456789", "--kind", "robot"}, {"token", "revoke", "0123456789", "short"},
		{"logins", "now"},
		{"init", "--audience"}, {"key"}, {"key", "turn"}, {"key", "rotate", "now"}, {"jwks", "now"},
		{"key", "rotate", "--switch", "--retire"},
	} {
		var out, errs bytes.Buffer
		status := Run(args, cli.Streams{In: os.Stdin, Out: &out, Err: &errs})
		if status != cli.ExitUsage || out.Len() > 0 ||
			!regexp.MustCompile(`\Adockerauth\b[^\n]*: [^\n]+\n  \S[^\n]+\n\z`).
				MatchString(errs.String()) ||
			regexp.MustCompile(`[ "]-[a-z]{2}`).MatchString(errs.String()) {
			t.Errorf("%q: status %d, %q, %q", args, status, &out, &errs)
		}
	}
}

// The scripts of completion quote these texts once.
func TestNoTextForCompletionHasAQuote(t *testing.T) {
	for _, c := range slices.Concat(commands(), leaves()) {
		texts := []string{c.name, c.summary}
		for _, o := range options(c) {
			texts = append(texts, o.name, o.usage, o.value)
		}
		for _, text := range texts {
			if strings.ContainsAny(text, `'"[]:`) {
				t.Errorf("%s: %q", c.name, text)
			}
		}
	}
}
