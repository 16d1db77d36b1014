// Package command is the command line: what a person types, and what a web server starts. It reads
// flags and calls service, doctor and setup.
package command

import (
	"fmt"

	"dockerauth/cli"
	"dockerauth/doctor"
	"dockerauth/service"
)

// Run does what a person typed. args are without the program's name.
func Run(args []string, streams cli.Streams) int {
	name := ""
	if len(args) > 0 {
		name = args[0]
		args = args[1:]
	}
	if service.HasElevatedIDs() && !harmless(name) {
		fmt.Fprintf(streams.Err, "dockerauth: %q is not for a set-group-id program\n"+
			"  only a web server has use for this one; take a copy without that bit (chmod g-s)\n", name)
		return cli.ExitError
	}
	switch name {
	case "", "help", "-h", "-help", "--help":
		return printHelp(args, streams)
	case "version", "--version":
		fmt.Fprintln(streams.Out, "dockerauth", cli.Version())
		return cli.ExitDone
	case "http":
		return serveHTTP(args, streams)
	case "fastcgi":
		return serveFastCGI(args, streams)
	case "explain":
		return explain(args, streams)
	case "init":
		return initialize(args, streams)
	case "check":
		return check(args, streams)
	case doctor.IdentityArg:
		return doctor.PrintIdentity(streams)
	case doctor.ProbeArg:
		return doctor.Probe(streams)
	case service.NamesArg:
		return service.LookUpNames(streams)
	case service.ConversationArg:
		return service.HoldConversation(streams)
	default:
		fmt.Fprintf(streams.Err, "dockerauth: unknown command %q\n  see dockerauth help\n", name)
		return cli.ExitUsage
	}
}

// harmless are the commands that do nothing with the rights of a set-group-id install, or check
// that themselves: a conversation is held for this program's own front ends only.
func harmless(name string) bool {
	switch name {
	case "http", "fastcgi", "explain", "init", "check", doctor.ProbeArg:
		return false
	}
	return true
}

func printHelp(args []string, streams cli.Streams) int {
	name := ""
	if len(args) > 0 {
		name = args[0]
	}
	text := helpOf(name)
	if text == "" {
		fmt.Fprintf(streams.Err, "dockerauth help: unknown command %q\n  see dockerauth help\n", name)
		return cli.ExitUsage
	}
	fmt.Fprint(streams.Out, text)
	return cli.ExitDone
}
