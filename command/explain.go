package command

import (
	"fmt"

	"dockerauth/cli"
	"dockerauth/doctor"
)

// explain is the command "explain".
func explain(args []string, streams cli.Streams) int {
	var q doctor.Question
	flags := cli.NewFlags("explain")
	flags.StringVar(&q.Config, "config", "", "")
	flags.StringVar(&q.Groups, "groups", "", "")
	flags.StringVar(&q.From, "from", "", "")
	flags.StringVar(&q.Service, "service", "", "")
	if status, ok := cli.Parse(flags, args, helpExplain, streams); !ok {
		return status
	}
	if flags.NArg() < 2 {
		fmt.Fprint(streams.Err, "dockerauth explain: USER and SCOPE are missing\n"+
			"  such as: dockerauth explain alice repository:alice/app:pull,push\n")
		return cli.ExitUsage
	}
	q.User, q.Scopes = flags.Arg(0), flags.Args()[1:]
	return doctor.Explain(q, streams)
}
