// Dockerauth issues Docker registry tokens to users with a Unix account.
//
// See dockerauth help for its commands.
package main

import (
	"os"

	"dockerauth/command"
	"dockerauth/harden"
)

func main() {
	harden.Hide()
	os.Exit(run(os.Args, command.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}

// run chooses between a front end and the command line. A socket or variables from a web server
// take precedence over arguments.
func run(args []string, streams command.Streams) int {
	if serve := command.FrontEnd(streams.In); serve != nil {
		return serve(args[1:], streams)
	}
	return command.Run(args[1:], streams)
}
