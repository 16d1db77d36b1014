// Dockerauth issues Docker registry tokens to people who have a Unix account.
package main

import (
	"os"

	"dockerauth/command"
	"dockerauth/gateway"
)

func main() {
	hide()
	os.Exit(run(os.Args, command.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}

// run chooses the front end. What a web server says by its socket or its variables
// comes before what the arguments say.
func run(args []string, streams command.Streams) int {
	switch gateway.Detect(streams.In.Fd(), os.Getenv) {
	case gateway.FrontendFastCGI:
		return command.FastCGIOnStdin(args[1:], streams)
	case gateway.FrontendCGI:
		forgetEnvironment()
		return command.CGI(streams)
	default:
		return command.Run(args[1:], streams)
	}
}
