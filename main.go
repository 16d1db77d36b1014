// Dockerauth issues Docker registry tokens to people who have a Unix account.
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

// run chooses the front end. What a web server says by its socket or its variables
// comes before what the arguments say.
func run(args []string, streams command.Streams) int {
	if serve := command.FrontEnd(streams.In); serve != nil {
		return serve(args[1:], streams)
	}
	return command.Run(args[1:], streams)
}
