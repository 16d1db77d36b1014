package doctor

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os/user"
	"slices"
	"strconv"
	"strings"

	"dockerauth/access"
	"dockerauth/cli"
	"dockerauth/config"
	"dockerauth/pamauth"
	"dockerauth/service"
)

// anonymous is the name under which explain knows a client without credentials.
const anonymous = "anyone"

// evaluation is a question with its configuration and its account.
type evaluation struct {
	config   *config.Config
	who      access.Client
	scopes   []access.Scope
	unknown  []string // warnings: what could not be found out
	mistakes []string // warnings: what is asked for and cannot be, each with a hint
}

// explainMistake is the exit status for an answer about something that does not exist.
const explainMistake = 3

// Question is what explain is asked.
type Question struct {
	Config  string // path; "" = beside the binary
	User    string // as PAM gives the name back, or "anyone"
	Groups  string // with commas, if GroupsGiven; else what this machine says
	From    string // the client's address; "" = none
	Service string // "" = the only audience
	Scopes  []string

	GroupsGiven bool
}

// Explain says what rules grant, and why. Status 0 = all is granted, 1 = not all, 2 = the question
// could not be answered, 3 = it was answered and has a mistake: such an account or action does not
// exist.
func Explain(asked Question, streams cli.Streams) int {
	q, err := ask(asked)
	if err != nil {
		cli.Fail(streams.Err, err)
		return cli.ExitUsage
	}
	for _, warning := range slices.Concat(q.mistakes, q.unknown, service.UnknownNames(q.config)) {
		fmt.Fprintf(streams.Err, "warning: %s\n", warning)
	}
	status := q.answer(streams.Out)
	if status != cli.ExitUsage && len(q.mistakes) > 0 {
		return explainMistake
	}
	return status
}

func ask(asked Question) (q evaluation, err error) {
	path, name, from := asked.Config, asked.User, asked.From
	if path == "" {
		if path, err = service.FindConfig(); err != nil {
			return q, err
		}
	}
	if q.config, err = config.Load(path); err != nil {
		return q, err
	}
	var malformed []*access.Malformed
	if q.scopes, malformed, err = access.ParseScopes(asked.Scopes); len(malformed) > 0 {
		err = malformed[0]
	}
	if err != nil {
		return q,
			fmt.Errorf("%w\n  write scopes as a registry does: repository:NAME:pull,push or registry:catalog:*", err)
	}
	if len(q.scopes) == 0 {
		return q,
			errors.New("no scope is given\n  write scopes as a registry does: repository:NAME:pull,push or " +
				"registry:catalog:*")
	}
	if q.who.Service, err = serviceOf(q.config, asked.Service); err != nil {
		return q, err
	}
	if from != "" {
		if q.who.Remote, err = netip.ParseAddr(from); err != nil {
			return q, fmt.Errorf("--from %q is not an address\n  write one address, such as 192.0.2.1", from)
		}
	}
	for _, scope := range q.scopes {
		q.examineScope(scope)
	}
	if name == anonymous {
		return q, nil
	}
	q.who.Name = name
	if asked.GroupsGiven {
		q.who.Groups = q.named(strings.FieldsFunc(asked.Groups, func(c rune) bool { return c == ',' }))
		return q, nil
	}
	if _, err := user.Lookup(name); errors.As(err, new(user.UnknownUserError)) {
		q.mistake("there is no account %q on this machine, so no group is known\n"+
			"  correct the name, or say which groups it has: --groups A,B, or --groups= for none", name)
		return q, nil
	}
	if !service.WantsGroups(q.config) {
		return q, nil
	}
	known, err := pamauth.Groups(name)
	q.who.Groups = service.Groups(known)
	return q, err
}

func serviceOf(cfg *config.Config, service string) (string, error) {
	switch {
	case service == "" && len(cfg.Audience) == 1:
		return cfg.Audience[0], nil
	case service == "":
		return "",
			fmt.Errorf("there are several audiences\n  choose one: --service %s",
				strings.Join(cfg.Audience, ", --service "))
	case !slices.Contains(cfg.Audience, service):
		return "",
			fmt.Errorf("unknown service %q\n  the audiences in config.yml are %s", service,
				strings.Join(cfg.Audience, ", "))
	}
	return service, nil
}

// named finds the ids of groups that were given by name. One that does not exist here counts as an
// ordinary group.
func (q *evaluation) named(names []string) []access.Group {
	groups := make([]access.Group, len(names))
	for i, name := range names {
		groups[i] = access.Group{Name: name, ID: 1<<31 - 1}
		group, err := user.LookupGroup(name)
		if err != nil {
			q.unknown = append(q.unknown,
				fmt.Sprintf("group %q does not exist on this machine; it is taken for one that is not a system group",
					name))
			continue
		}
		groups[i].ID, _ = strconv.Atoi(group.Gid) // a group id is a number
	}
	return groups
}

func (q *evaluation) mistake(format string, args ...any) {
	q.mistakes = append(q.mistakes, fmt.Sprintf(format, args...))
}

// pathComponents are those of a repository's name (distribution, reference/regexp.go). A name may
// have the host and port of a registry before it.
var pathComponents = lazyRegexp(
	`^(?:[^/]+:[0-9]+/)?[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*$`)

// examineScope finds what no registry asks for: the answer is then about a mistake.
func (q *evaluation) examineScope(scope access.Scope) {
	known := []string{"pull", "push", "delete", "*"}
	switch {
	case scope.Type == "registry":
		if scope.Name != "catalog" || !slices.Equal(scope.Actions, []string{"*"}) {
			q.mistake("no registry asks for %q\n  of this type there is registry:catalog:* only", scope)
		}
		return
	case scope.Type != "repository" && !q.config.Access.HasType(scope.Type):
		q.mistake("no registry asks for the type %q, and no rule has it\n  write repository:NAME:ACTION,ACTION or "+
			"registry:catalog:*", scope.Type)
		return
	case scope.Type != "repository":
		return
	}
	for _, action := range scope.Actions {
		if !slices.Contains(known, action) {
			q.mistake("no registry asks for the action %q\n  write one or more of: pull, push, delete", action)
		}
	}
	lower := strings.ToLower(scope.Name)
	name, tag, tagged := cutTag(scope.Name)
	switch {
	case pathComponents().MatchString(scope.Name):
	case pathComponents().MatchString(lower):
		q.mistake("no repository is called %q: registries refuse upper case\n  write %s", scope.Name, lower)
	case tagged && pathComponents().MatchString(name):
		q.mistake("%q is a tag, and no registry asks for one: access is to the whole repository\n  write "+
			"repository:%s:%s", tag, name, strings.Join(scope.Actions, ","))
	default:
		q.mistake("no repository is called %q\n  a name has letters from a to z, digits, and between them . _ __ - "+
			"or /", scope.Name)
	}
}

// cutTag splits app:1.0.
func cutTag(name string) (before, tag string, found bool) {
	i := strings.LastIndexByte(name, ':')
	if i < 0 {
		return name, "", false
	}
	return name[:i], name[i+1:], true
}

// answer prints a line for each action.
func (q *evaluation) answer(out io.Writer) int {
	table := cli.NewTable(out)
	code := cli.ExitDone
	for _, scope := range q.scopes {
		for _, f := range q.explain(scope) {
			verdict := "granted"
			if !f.Granted {
				verdict, code = "refused", cli.ExitError
			}
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", f.Resource, f.Action, verdict, q.reason(f))
		}
	}
	if err := table.Flush(); err != nil {
		return cli.ExitUsage
	}
	return code
}

// explain puts the blacklist before the rules, as the service does.
func (q *evaluation) explain(scope access.Scope) []access.Decision {
	decisions := q.config.Access.Explain(q.who, scope)
	entry := access.Blacklist(q.config.BlacklistedUsers).Find(q.who.Name, q.who.Groups)
	for i := range decisions {
		if entry != "" {
			decisions[i].Granted, decisions[i].Line, decisions[i].Reason = false, 0,
				fmt.Sprintf("blacklisted_users has %q, which comes before every rule", entry)
		}
	}
	return decisions
}

func (q *evaluation) reason(f access.Decision) string {
	place := fmt.Sprintf("%s:%d", q.config.Path, f.Line)
	switch {
	case f.Line == 0:
		return f.Reason
	case f.Granted:
		return "by the rule at " + place
	default:
		return "nearest is the rule at " + place + ", but " + f.Reason
	}
}
