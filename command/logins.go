package command

import (
	"context"
	"flag"
	"fmt"

	"dockerauth/cli"
	"dockerauth/service"
)

func loginsFlags(l *listing) *flag.FlagSet { return listFlags("logins", l) }

// logins is the command "logins".
func logins(args []string, streams cli.Streams) int {
	l := listing{Tokens: service.Tokens{Stderr: streams.Err}}
	if status, ok := cli.ParseAll(loginsFlags(&l), args, helpLogins, streams); !ok {
		return status
	}
	service.Harden(streams.Err)
	known, err := l.Logins(context.Background(), l.user)
	switch {
	case err != nil:
		return cli.Fail(streams.Err, err)
	case l.json:
		list := make([]loginJSON, len(known))
		for i, login := range known {
			list[i] = newLoginJSON(login)
		}
		return printJSON(streams, list)
	case len(known) == 0:
		fmt.Fprintln(streams.Err, "No logins"+of(l.user)+" are known.")
		return cli.ExitDone
	}
	rows := [][]string{{"USER", "CLIENT", "ADDRESS", "SINCE", "LAST USE", "ID"}}
	for _, login := range known {
		rows = append(rows, []string{login.User, login.Client, login.Remote, day(login.First.UTC()),
			lastUse(login.Last), login.ID})
	}
	return printTable(streams, rows)
}
