package command

import (
	"fmt"
	"os"

	"dockerauth/cli"
	"dockerauth/service"
)

// Streams are the three files of a process.
type Streams = cli.Streams

// FrontEnd is what the program does when a web server has started it, which a socket on standard
// input or the variables of CGI show; nil = a person has. It comes before what the arguments say.
func FrontEnd(stdin *os.File) func(args []string, streams Streams) int {
	switch {
	case service.IsFastCGISocket(stdin):
		return fastCGISocket
	case service.IsCGI(stdin):
		return cgi
	}
	return nil
}

// cgi does not look at the arguments: a web server makes them of the query string (RFC 3875 §4.4),
// so they are the client's.
func cgi(_ []string, streams Streams) int { return service.CGI(streams) }

// fastCGISocket understands a wrapper's line such as "dockerauth fastcgi --config F".
func fastCGISocket(args []string, streams Streams) int {
	if len(args) == 0 {
		return service.FastCGISocket("", streams)
	}
	if service.HasElevatedIDs() {
		fmt.Fprintln(streams.Err, "dockerauth: a set-group-id program takes no arguments on a FastCGI socket")
		return cli.ExitUsage
	}
	flags := cli.NewFlags("fastcgi")
	config := flags.String("config", "", "")
	admin := flags.String("admin", "", "")
	rest, err := cli.ParseFlags(flags, args[1:])
	if args[0] != "fastcgi" || err != nil || len(rest) > 0 {
		fmt.Fprintln(streams.Err, "dockerauth: on a FastCGI socket only \"fastcgi --config FILE\" is understood")
		return cli.ExitUsage
	}
	if *admin != "" {
		fmt.Fprintln(streams.Err,
			"dockerauth: --admin cannot be had on a FastCGI socket that a web server hands over: "+
				"it starts several processes, and one address is for one\n"+
				"  start a service of its own: dockerauth fastcgi --listen unix:PATH --admin HOST:PORT")
		return cli.ExitUsage
	}
	return service.FastCGISocket(*config, streams)
}
