package command

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"dockerauth/cli"
	"dockerauth/credentials"
	"dockerauth/service"
)

// tokenCommands are those of "token".
func tokenCommands() []command {
	return []command{
		{"token issue", "make a token, and print it", helpTokenIssue, nil,
			func() *flag.FlagSet { return issueFlags(new(service.Tokens), new(service.TokenRequest)) }, issueToken},
		{"token list", "list tokens", helpTokenList, nil,
			func() *flag.FlagSet { return listFlags("token list", new(listing)) }, listTokens},
		{"token show", "show the record of a token", helpTokenShow, nil,
			func() *flag.FlagSet { return showFlags(new(listing)) }, showToken},
		{"token rotate", "replace a token, and print the new one", helpTokenRotate, nil,
			func() *flag.FlagSet { return rotateFlags(new(service.Tokens), new(string)) }, rotateToken},
		{"token revoke", "take back tokens and logins", helpTokenRevoke, nil,
			func() *flag.FlagSet { return revokeFlags(new(service.Tokens), new(revocation)) }, revokeTokens},
	}
}

// token is the command "token".
func token(args []string, streams cli.Streams) int {
	return runSubcommand("token", helpToken, args, streams)
}

func tokenFlags(name string, t *service.Tokens) *flag.FlagSet {
	flags := cli.NewFlags(name)
	t.Command = name
	flags.StringVar(&t.Config, "config", "", "`FILE` config.yml")
	return flags
}

func issueFlags(t *service.Tokens, r *service.TokenRequest) *flag.FlagSet {
	flags := tokenFlags("token issue", t)
	flags.StringVar(&r.User, "user", "", "`USER` that it belongs to")
	flags.StringVar(&r.Robot, "robot", "", "`NAME` of the job that uses it")
	flags.Var((*cli.List)(&r.Scopes), "scope", "`SCOPE` that it may be used for")
	flags.StringVar(&r.Expires, "expires", service.DefaultTokenTTL, "`TIME` until it ends")
	flags.Var((*cli.List)(&r.From), "from", "`ADDRESS` that it is accepted from")
	flags.StringVar(&r.Note, "note", "", "`TEXT` for lists")
	flags.BoolVar(&r.Keep, "keep", false, "a new password of the account does not end it")
	return flags
}

// issueToken is the command "token issue".
func issueToken(args []string, streams cli.Streams) int {
	t, r := service.Tokens{Stderr: streams.Err}, service.TokenRequest{}
	flags := issueFlags(&t, &r)
	switch rest, status, ok := cli.Parse(flags, args, helpTokenIssue, streams); {
	case !ok:
		return status
	case len(rest) == 1 && r.User == "" && service.CheckUser(rest[0]) == nil:
		return wrong("token issue", fmt.Errorf("unexpected argument %q\n  if it is the account: --user %[1]q", rest[0]),
			streams)
	case len(rest) > 0:
		return cli.Unexpected(flags, rest[0], streams)
	}
	if err := r.Check(); err != nil {
		return wrong("token issue", err, streams)
	}
	service.Harden(streams.Err)
	if err := t.Issue(context.Background(), r, printer(streams)); err != nil {
		return cli.Fail(streams.Err, err)
	}
	return cli.ExitDone
}

// printer prints a new token, and to stderr what it is good for.
func printer(streams cli.Streams) func(service.IssuedToken) error {
	signal.Ignore(syscall.SIGPIPE) // a closed pipe is an error of the write
	return func(issued service.IssuedToken) error {
		if _, err := fmt.Fprintln(streams.Out, issued.Secret.Reveal()); err != nil {
			return err
		}
		fmt.Fprintf(streams.Err, "This is the only time that the token is shown. Its ID is %s.\n\n", issued.Token.ID)
		table := cli.NewTable(streams.Err)
		describe(table, issued.Token, issued.Token.Created)
		fmt.Fprintf(table, "\nLog in with it as the password:\n\n")
		for _, line := range issued.Logins {
			fmt.Fprintln(table, "  "+line)
		}
		_ = table.Flush() // the token is on its way
		return nil
	}
}

// describe prints what a token is good for, a line for each point.
func describe(out io.Writer, t credentials.Token, now time.Time) {
	line := func(name, value string) { fmt.Fprintf(out, "  %s\t%s\n", name, value) }
	line("kind", string(t.Kind))
	line("log in as", printable(t.Login()))
	for i, scope := range t.Scopes {
		line(map[bool]string{true: "scopes"}[i == 0], printable(scope))
	}
	line("from", addresses(t))
	line("expires", t.Expires.Local().Format(timeLayout)+", "+until(t.Expires.Sub(now)))
	switch {
	case t.Keep:
		line("password", "a new password of "+printable(t.User)+" does not end it")
	case t.State.Shadow == credentials.ShadowNone || t.State.Shadow == credentials.ShadowUnread:
		line("password", "a new password of "+printable(t.User)+" does not end it: /etc/shadow does not have it")
	default:
		line("password", "a new password of "+printable(t.User)+" ends it")
	}
	if t.Note != "" {
		line("note", printable(t.Note))
	}
}

// listing is what list, show and logins are asked for.
type listing struct {
	service.Tokens
	user string
	json bool
}

func showFlags(l *listing) *flag.FlagSet { return listingFlags("token show", l) }

func listingFlags(name string, l *listing) *flag.FlagSet {
	flags := tokenFlags(name, &l.Tokens)
	flags.BoolVar(&l.json, "json", false, "as JSON")
	return flags
}

func listFlags(name string, l *listing) *flag.FlagSet {
	flags := listingFlags(name, l)
	flags.StringVar(&l.user, "user", "", "`USER` whose they are")
	return flags
}

// listTokens is the command "token list".
func listTokens(args []string, streams cli.Streams) int {
	l := listing{Tokens: service.Tokens{Stderr: streams.Err}}
	if status, ok := cli.ParseAll(listFlags("token list", &l), args, helpTokenList, streams); !ok {
		return status
	}
	service.Harden(streams.Err)
	tokens, closest, err := l.List(context.Background(), l.user)
	if err != nil {
		cli.Fail(streams.Err, err)
		if len(tokens) > 0 { // one record may be damaged, and the others are not
			printTokens(l, tokens, streams)
		}
		return cli.ExitError
	}
	exit := printTokens(l, tokens, streams)
	if closest != "" {
		fmt.Fprintf(streams.Err, "  if %q is meant, give that name\n", closest)
	}
	return exit
}

func printTokens(l listing, tokens []credentials.Token, streams cli.Streams) int {
	switch {
	case l.json:
		list := make([]tokenJSON, len(tokens))
		for i, t := range tokens {
			list[i] = newTokenJSON(t)
		}
		return printJSON(streams, list)
	case len(tokens) == 0:
		fmt.Fprintln(streams.Err, "There are no tokens"+of(l.user)+".")
		return cli.ExitDone
	}
	rows := [][]string{{"ID", "KIND", "LOGIN", "SCOPES", "EXPIRES", "LAST USE", "STATUS", "NOTE"}}
	now := time.Now()
	for _, t := range tokens {
		rows = append(rows, []string{t.ID, string(t.Kind), t.Login(), short(t.Scopes), day(t.Expires.Local()),
			lastUse(t.LastUse), status(t, now), t.Note})
	}
	return printTable(streams, rows)
}

// of names the account that a list is limited to.
func of(user string) string {
	if user == "" {
		return ""
	}
	return " of " + printable(user)
}

// status says in a few words why a token is not as good as others.
func status(t credentials.Token, now time.Time) string {
	switch {
	case t.Revoked != nil:
		return "revoked"
	case t.Replaced != "":
		return "replaced by " + t.Replaced
	case !now.Before(t.Expires):
		return "over"
	case t.ExpiresSoon(now):
		return "expires " + until(t.Expires.Sub(now))
	}
	return ""
}

// showToken is the command "token show".
func showToken(args []string, streams cli.Streams) int {
	l := listing{Tokens: service.Tokens{Stderr: streams.Err}}
	id, exit, ok := parseID("show", showFlags(&l), args, helpTokenShow, streams)
	if !ok {
		return exit
	}
	service.Harden(streams.Err)
	t, err := l.Get(context.Background(), id)
	switch {
	case err != nil:
		return cli.Fail(streams.Err, err)
	case l.json:
		return printJSON(streams, newTokenJSON(t))
	}
	table := cli.NewTable(streams.Out)
	fmt.Fprintf(table, "  ID\t%s\n", t.ID)
	describe(table, t, time.Now())
	fmt.Fprintf(table, "  issued\t%s\n", t.Created.Local().Format(timeLayout))
	used := lastUse(t.LastUse)
	if t.LastFrom != "" {
		used += " from " + printable(t.LastFrom)
	}
	fmt.Fprintf(table, "  last use\t%s\n", used)
	if t.Replaced != "" {
		fmt.Fprintf(table, "  replaced by\t%s\n", printable(t.Replaced))
	}
	if t.Revoked != nil {
		fmt.Fprintf(table, "  revoked\t%s\n", t.Revoked.At.Local().Format(timeLayout))
		if t.Revoked.Reason != "" {
			fmt.Fprintf(table, "  reason\t%s\n", printable(t.Revoked.Reason))
		}
	}
	if err := table.Flush(); err != nil {
		return cli.Fail(streams.Err, err)
	}
	return cli.ExitDone
}

func rotateFlags(t *service.Tokens, overlap *string) *flag.FlagSet {
	flags := tokenFlags("token rotate", t)
	flags.StringVar(overlap, "overlap", service.DefaultOverlap, "`TIME` for which the old one is accepted")
	return flags
}

// rotateToken is the command "token rotate".
func rotateToken(args []string, streams cli.Streams) int {
	t, overlap := service.Tokens{Stderr: streams.Err}, ""
	id, exit, ok := parseID("rotate", rotateFlags(&t, &overlap), args, helpTokenRotate, streams)
	if !ok {
		return exit
	}
	both, err := service.ParseOverlap(overlap)
	if err != nil {
		return wrong("token rotate", err, streams)
	}
	service.Harden(streams.Err)
	if err := t.Rotate(context.Background(), id, both, printer(streams)); err != nil {
		return cli.Fail(streams.Err, err)
	}
	return cli.ExitDone
}

// revocation is what revoke is asked for.
type revocation struct {
	user, kind, reason string
	all                bool
}

// anyKind is the word for all kinds.
const anyKind = "all"

// kindWords are those of --kind.
func kindWords() []string {
	return []string{string(credentials.Refresh), string(credentials.Personal), string(credentials.Robot), anyKind}
}

func revokeFlags(t *service.Tokens, r *revocation) *flag.FlagSet {
	flags := tokenFlags("token revoke", t)
	flags.StringVar(&r.user, "user", "", "`USER` whose tokens and logins are taken back")
	flags.BoolVar(&r.all, "all", false, "what everybody has")
	flags.StringVar(&r.kind, "kind", "", "`"+strings.Join(kindWords(), "|")+"`")
	flags.StringVar(&r.reason, "reason", "", "`TEXT` for the log")
	return flags
}

// revokeTokens is the command "token revoke".
func revokeTokens(args []string, streams cli.Streams) int {
	t, r := service.Tokens{Stderr: streams.Err}, revocation{}
	ids, exit, ok := cli.Parse(revokeFlags(&t, &r), args, helpTokenRevoke, streams)
	if !ok {
		return exit
	}
	kinds, err := r.check(ids)
	if err != nil {
		return wrong("token revoke", err, streams)
	}
	service.Harden(streams.Err)
	var done []service.Revocation
	logins := 0
	switch {
	case r.all:
		done, err = t.RevokeAll(context.Background(), r.reason, kinds...)
	case r.user != "":
		done, logins, err = t.RevokeUser(context.Background(), r.reason, r.user, kinds...)
	default:
		done, err = t.Revoke(context.Background(), r.reason, ids...)
	}
	for _, d := range done {
		printRevoked(streams.Out, d, logins)
	}
	if err != nil {
		return cli.Fail(streams.Err, err)
	}
	if len(ids) == 0 {
		printCounts(streams.Out, done, kinds)
	}
	return cli.ExitDone
}

// printRevoked says what became of one ID, or of an account's logins.
func printRevoked(out io.Writer, r service.Revocation, logins int) {
	switch {
	case r.ID == "" && r.Login == "":
		fmt.Fprintln(out, "all logins until now are revoked")
	case r.ID == "":
		fmt.Fprintf(out, "all logins of %s until now are revoked, %d of them known\n", printable(r.Login), logins)
	case r.Kind == credentials.Refresh && r.Login == "":
		fmt.Fprintf(out, "login %s is not known here; refused from now on: check that it is not mistyped\n", r.ID)
	case r.Kind == credentials.Refresh:
		fmt.Fprintf(out, "login %s of %s is revoked\n", r.ID, printable(r.Login))
	case r.Already:
		fmt.Fprintf(out, "%s token %s of %s was revoked before\n", r.Kind, r.ID, printable(r.Login))
	default:
		fmt.Fprintf(out, "%s token %s of %s is revoked\n", r.Kind, r.ID, printable(r.Login))
	}
	if r.Successor != "" {
		fmt.Fprintf(out, "its successor %s is still good\n", r.Successor)
	}
}

// printCounts says how many tokens of each kind an account had.
func printCounts(out io.Writer, done []service.Revocation, kinds []credentials.Kind) {
	for _, kind := range kinds {
		if kind == credentials.Refresh {
			continue
		}
		n := 0
		for _, d := range done {
			if d.Kind == kind && !d.Already {
				n++
			}
		}
		fmt.Fprintf(out, "%s tokens revoked: %d\n", kind, n)
	}
}

func (r revocation) check(ids []string) ([]credentials.Kind, error) {
	kinds := []credentials.Kind{credentials.Refresh, credentials.Personal, credentials.Robot}
	switch {
	case len(ids) > 0 && r.user != "":
		return nil, fmt.Errorf("both IDs and --user are given\n  leave one of them out")
	case r.all && (len(ids) > 0 || r.user != ""):
		return nil, fmt.Errorf("--all is given beside IDs or --user\n  leave it out, or the others")
	case len(ids) == 0 && r.user == "" && !r.all:
		return nil, fmt.Errorf("neither an ID nor --user is given\n" +
			"  give the IDs that dockerauth token list and the log show, or --user USER; --all is everybody")
	case len(ids) > 0 && r.kind != "":
		return nil, fmt.Errorf("--kind is for --user and --all: an ID is of one kind only\n  leave --kind out")
	case r.kind != "" && !slices.Contains(kindWords(), r.kind):
		return nil, fmt.Errorf("unknown kind %q\n  write one of: %s", r.kind, strings.Join(kindWords(), ", "))
	case r.kind != "" && r.kind != anyKind:
		kinds = []credentials.Kind{credentials.Kind(r.kind)}
	}
	if err := service.CheckText("--reason", r.reason); err != nil {
		return nil, err
	}
	if r.user != "" {
		return kinds, service.CheckUser(r.user)
	}
	return kinds, service.CheckIDs(ids...)
}

// parseID reads the flags of a command for one token.
func parseID(verb string, flags *flag.FlagSet, args []string, help string, streams cli.Streams) (id string, status int,
	ok bool) {
	rest, status, ok := cli.Parse(flags, args, help, streams)
	switch {
	case !ok:
		return "", status, false
	case len(rest) > 1:
		return "", cli.Unexpected(flags, rest[1], streams), false
	case len(rest) == 0:
		fmt.Fprintf(streams.Err, "dockerauth token %s: the ID is missing\n  dockerauth token list shows it\n", verb)
		return "", cli.ExitUsage, false
	}
	if err := service.CheckTokenID(rest[0]); err != nil {
		return "", wrong("token "+verb, err, streams), false
	}
	return rest[0], cli.ExitDone, true
}

// wrong prints what is wrong with a command line.
func wrong(command string, err error, streams cli.Streams) int {
	fmt.Fprintf(streams.Err, "dockerauth %s: %v\n", command, err)
	return cli.ExitUsage
}
