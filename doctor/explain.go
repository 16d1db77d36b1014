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
	config  *config.Config
	who     access.Client
	scopes  []access.Scope
	unknown []string // warnings: what could not be found out
}

// Question is what explain is asked.
type Question struct {
	Config  string // path; "" = beside the binary
	User    string // as PAM gives the name back, or "anyone"
	Groups  string // with commas; "" = what this machine says
	From    string // the client's address; "" = none
	Service string // "" = the only audience
	Scopes  []string
}

// Explain says what rules grant, and why. Status 0 = all is granted, 1 = not all, 2 = the question
// could not be answered.
func Explain(asked Question, streams cli.Streams) int {
	q, err := ask(asked.Config, asked.User, asked.Groups, asked.From, asked.Service, asked.Scopes)
	if err != nil {
		cli.Fail(streams.Err, err)
		return cli.ExitUsage
	}
	for _, warning := range append(q.unknown, service.UnknownNames(q.config)...) {
		fmt.Fprintf(streams.Err, "warning: %s\n", warning)
	}
	return q.answer(streams.Out)
}

func ask(path, name, groups, from, audience string, scopes []string) (q evaluation, err error) {
	if path == "" {
		if path, err = service.FindConfig(); err != nil {
			return q, err
		}
	}
	if q.config, err = config.Load(path); err != nil {
		return q, err
	}
	var malformed []*access.Malformed
	if q.scopes, malformed, err = access.ParseScopes(scopes); len(malformed) > 0 {
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
	if q.who.Service, err = serviceOf(q.config, audience); err != nil {
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
