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
	if pamauth.Borrowed() && !harmless(name) {
		fmt.Fprintf(streams.Err, "dockerauth: %q is not for a set-group-id program\n  only a web server has use for this one; take a copy without that bit (chmod g-s)\n", name)
		return exitError
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
	case "init":
		return Init(args, streams)
	case "check":
		return Check(args, streams)
	case whoArg:
		return sayWho(streams)
	case lookArg:
		return lookAtFiles(streams)
	case namesArg:
		return lookUpNames(streams)
	case conversationArg:
		return pamauth.RunChild(streams.In, streams.Out)
	default:
		fmt.Fprintf(streams.Err, "dockerauth: unknown command %q\n  see dockerauth help\n", name)
		return exitUsage
	}
}

// harmless are the commands that do nothing with the rights of a set-group-id
// install, or see to it themselves: a conversation is held for this program's
// own doors only.
func harmless(name string) bool {
	switch name {
	case "http", "fastcgi", "explain", "init", "check", lookArg:
		return false
	}
	return true
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
