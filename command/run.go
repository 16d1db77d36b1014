package command

import (
	"fmt"

	"dockerauth/pamauth"
)

// Run does what a person typed. args are without the program's name.
func Run(args []string, streams Streams) int {
	name := ""
	if len(args) > 0 {
		name = args[0]
		args = args[1:]
	}
	switch name {
	case "", "help", "-h", "-help", "--help":
		return printHelp(args, streams)
	case "version", "--version":
		fmt.Fprintln(streams.Out, "dockerauth", Version())
		return exitDone
	case "http":
		return HTTP(args, streams)
	case "fastcgi":
		return FastCGI(args, streams)
	case "explain":
		return Explain(args, streams)
	case namesArg:
		return lookUpNames(streams)
	case conversationArg:
		return pamauth.RunChild(streams.In, streams.Out)
	default:
		fmt.Fprintf(streams.Err, "dockerauth: unknown command %q\n  see dockerauth help\n", name)
		return exitUsage
	}
}

func printHelp(args []string, streams Streams) int {
	name := ""
	if len(args) > 0 {
		name = args[0]
	}
	text := helpOf(name)
	if text == "" {
		fmt.Fprintf(streams.Err, "dockerauth help: unknown command %q\n  see dockerauth help\n", name)
		return exitUsage
	}
	fmt.Fprint(streams.Out, text)
	return exitDone
}
