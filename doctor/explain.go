package command

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"dockerauth/access"
	"dockerauth/config"
	"dockerauth/pamauth"
)

// anonymous is the name under which explain knows a client without credentials.
const anonymous = "anyone"

// question is what explain is asked.
type question struct {
	config  *config.Config
	who     access.Who
	scopes  []access.Scope
	unknown []string // what could not be found out, for the person to know
}

// Explain is the command "explain". Status 0 = all is granted, 1 = not all,
// 2 = the question could not be answered.
func Explain(args []string, streams Streams) int {
	flags := newFlags("explain")
	path := flags.String("config", "", "")
	groups := flags.String("groups", "", "")
	from := flags.String("from", "", "")
	service := flags.String("service", "", "")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(streams.Out, helpOf("explain"))
		return exitDone
	case err != nil:
		return misused(streams.Err, flags, err)
	case flags.NArg() < 2:
		fmt.Fprint(streams.Err, "dockerauth explain: USER and SCOPE are missing\n  such as: dockerauth explain alice repository:alice/app:pull,push\n")
		return exitUsage
	}
	q, err := ask(*path, flags.Arg(0), *groups, *from, *service, flags.Args()[1:])
	if err != nil {
		fail(streams.Err, err)
		return exitUsage
	}
	for _, warning := range append(q.unknown, strangers(q.config)...) {
		fmt.Fprintf(streams.Err, "warning: %s\n", warning)
	}
	return q.answer(streams.Out)
}

func ask(path, name, groups, from, service string, scopes []string) (q question, err error) {
	if path == "" {
		if path, err = findConfig(); err != nil {
			return q, err
		}
	}
	if q.config, err = config.Load(path); err != nil {
		return q, err
	}
	if q.scopes, err = access.ParseScopes(scopes); err != nil {
		return q, fmt.Errorf("%w\n  write scopes as a registry does: repository:NAME:pull,push or registry:catalog:*", err)
	}
	if len(q.scopes) == 0 {
		return q, errors.New("no scope is given\n  write scopes as a registry does: repository:NAME:pull,push or registry:catalog:*")
	}
	if q.who.Service, err = serviceOf(q.config, service); err != nil {
		return q, err
	}
	if from != "" {
		if q.who.Remote, err = netip.ParseAddr(from); err != nil {
			return q, fmt.Errorf("--from %q is not an address", from)
		}
	}
	if name == anonymous {
		return q, nil
	}
	q.who.Name = name
	if groups != "" {
		q.who.Groups = q.named(strings.Split(groups, ","))
		return q, nil
	}
	if !wantsGroups(q.config) {
		return q, nil
	}
	known, err := pamauth.Groups(name)
	q.who.Groups = groupsOf(known)
	return q, err
}

func serviceOf(cfg *config.Config, service string) (string, error) {
	switch {
	case service == "" && len(cfg.Audience) == 1:
		return cfg.Audience[0], nil
	case service == "":
		return "", fmt.Errorf("there are several audiences\n  choose one: --service %s", strings.Join(cfg.Audience, ", --service "))
	case !slices.Contains(cfg.Audience, service):
		return "", fmt.Errorf("unknown service %q\n  the audiences in config.yml are %s", service, strings.Join(cfg.Audience, ", "))
	}
	return service, nil
}

// named finds the ids of groups that were given by name. One that does not
// exist here counts as an ordinary group.
func (q *question) named(names []string) []access.Group {
	groups := make([]access.Group, len(names))
	for i, name := range names {
		groups[i] = access.Group{Name: name, ID: 1<<31 - 1}
		group, err := user.LookupGroup(name)
		if err != nil {
			q.unknown = append(q.unknown, fmt.Sprintf("group %q does not exist on this machine; it is taken for one that is not a system group", name))
			continue
		}
		groups[i].ID, _ = strconv.Atoi(group.Gid) // a group id is a number
	}
	return groups
}

// answer prints a line for each action.
func (q *question) answer(out io.Writer) int {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	code := exitDone
	for _, scope := range q.scopes {
		for _, f := range q.explain(scope) {
			verdict := "granted"
			if !f.Granted {
				verdict, code = "refused", exitError
			}
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", f.Resource, f.Action, verdict, q.because(f))
		}
	}
	if err := table.Flush(); err != nil {
		return exitUsage
	}
	return code
}

// explain puts the blacklist before the rules, as the service does.
func (q *question) explain(scope access.Scope) []access.Finding {
	findings := q.config.Access.Explain(q.who, scope)
	entry := access.Blacklist(q.config.BlacklistedUsers).Find(q.who.Name, q.who.Groups)
	for i := range findings {
		if entry != "" {
			findings[i].Granted, findings[i].Line, findings[i].Reason = false, 0, fmt.Sprintf("blacklisted_users has %q, which comes before every rule", entry)
		}
	}
	return findings
}

func (q *question) because(f access.Finding) string {
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
