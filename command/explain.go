package command

import (
	"flag"
	"fmt"

	"dockerauth/cli"
	"dockerauth/doctor"
)

func explainFlags(q *doctor.Question) *flag.FlagSet {
	flags := cli.NewFlags("explain")
	flags.StringVar(&q.Config, "config", "", "`FILE` config.yml")
	flags.StringVar(&q.Groups, "groups", "", "`GROUP`s of the account")
	flags.StringVar(&q.From, "from", "", "address of the client")
	flags.StringVar(&q.Service, "service", "", "audience")
	return flags
}

// explain is the command "explain".
func explain(args []string, streams cli.Streams) int {
	var q doctor.Question
	flags := explainFlags(&q)
	rest, status, ok := cli.Parse(flags, args, helpExplain, streams)
	if !ok {
		return status
	}
	flags.Visit(func(f *flag.Flag) { q.GroupsGiven = q.GroupsGiven || f.Name == "groups" })
	if len(rest) < 2 {
		user, missing := "alice", "USER and SCOPE are missing"
		if len(rest) == 1 {
			user, missing = rest[0], "SCOPE is missing"
		}
		fmt.Fprintf(streams.Err, "dockerauth explain: %s\n  such as: dockerauth explain %s repository:app:pull,push\n",
			missing, user)
		return cli.ExitUsage
	}
	q.User, q.Scopes = rest[0], rest[1:]
	return doctor.Explain(q, streams)
}
