// Package command is the command line: what a person types, and what a web server starts. It reads
// flags and calls service, doctor and setup.
package command

import (
	"flag"
	"fmt"
	"strings"

	"dockerauth/cli"
	"dockerauth/doctor"
	"dockerauth/service"
	"dockerauth/setup"
)

// command is what a person types.
type command struct {
	name    string
	summary string
	help    string
	words   []string // the arguments that it takes, where they are known
	flags   func() *flag.FlagSet
	run     func(args []string, streams cli.Streams) int
}

// commands are all that help shows.
func commands() []command {
	all := []command{
		{"init", "make key, certificate and config.yml", helpInit, nil,
			func() *flag.FlagSet { return initFlags(new(setup.Options)) }, initialize},
		{"key", "exchange the signing key", helpKey, []string{"rotate"},
			func() *flag.FlagSet { return keyFlags(new(setup.Rotation), new(keySteps)) }, key},
		{"jwks", "print the public keys for a registry 3.x", helpJWKS, nil,
			func() *flag.FlagSet { return jwksFlags(new(string)) }, jwks},
		{"check", "say what is wrong with an installation", helpCheck, nil,
			func() *flag.FlagSet { return checkFlags(new(doctor.Options)) }, check},
		{"http", "serve HTTP, for a proxy in front", helpHTTP, nil,
			func() *flag.FlagSet { return serveFlags("http", new(service.Server), new(string)) }, serveHTTP},
		{"fastcgi", "serve FastCGI", helpFastCGI, nil,
			func() *flag.FlagSet { return serveFlags("fastcgi", new(service.Server), new(string)) }, serveFastCGI},
		{"explain", "say what rules grant, and why", helpExplain, nil,
			func() *flag.FlagSet { return explainFlags(new(doctor.Question)) }, explain},
		{"completion", "print completion for a shell", helpCompletion, shells, noFlags("completion"), completion},
		{"version", "print the version", helpVersion, nil, noFlags("version"), printVersion},
		{"help", "print help on a command", help, nil, noFlags("help"), printHelp},
	}
	all[len(all)-1].words = names(all)
	return all
}

func noFlags(command string) func() *flag.FlagSet {
	return func() *flag.FlagSet { return cli.NewFlags(command) }
}

func names(commands []command) []string {
	words := make([]string, len(commands))
	for i, c := range commands {
		words[i] = c.name
	}
	return words
}

// Run does what a person typed. args are without the program's name.
func Run(args []string, streams cli.Streams) int {
	name := "help"
	if len(args) > 0 {
		name, args = args[0], args[1:]
	}
	switch name {
	case "", "-h", "-help", "--help":
		name = "help"
	case "-v", "-V", "-version", "--version":
		name = "version"
	}
	if service.HasElevatedIDs() && !harmless(name) {
		fmt.Fprintf(streams.Err, "dockerauth: %q is not for a set-group-id program\n"+
			"  only a web server has use for this one; take a copy without that bit (chmod g-s)\n", name)
		return cli.ExitError
	}
	for _, c := range commands() {
		if c.name == name {
			return c.run(args, streams)
		}
	}
	switch name {
	case doctor.IdentityArg:
		return doctor.PrintIdentity(streams)
	case doctor.ProbeArg:
		return doctor.Probe(streams)
	case service.NamesArg:
		return service.LookUpNames(streams)
	case service.ConversationArg:
		return service.HoldConversation(streams)
	}
	if strings.HasPrefix(name, "-") {
		fmt.Fprintf(streams.Err, "dockerauth: %q stands before a command\n"+
			"  write the command first, such as: dockerauth check --config /etc/dockerauth/config.yml\n", name)
		return cli.ExitUsage
	}
	return unknownCommand("dockerauth", name, streams)
}

// unknownCommand suggests the command that is meant.
func unknownCommand(program, name string, streams cli.Streams) int {
	hint := "see dockerauth help"
	if best := cli.Closest(name, names(commands())); best != "" {
		hint = "did you mean " + best + "? " + hint
	}
	fmt.Fprintf(streams.Err, "%s: unknown command %q\n  %s\n", program, name, hint)
	return cli.ExitUsage
}

// harmless are the commands that do nothing with the rights of a set-group-id install, or check
// that themselves: a conversation is held for this program's own front ends only.
func harmless(name string) bool {
	switch name {
	case "http", "fastcgi", "explain", "init", "check", "key", "jwks", doctor.ProbeArg:
		return false
	}
	return true
}

// printHelp is the command "help".
func printHelp(args []string, streams cli.Streams) int {
	flags := cli.NewFlags("help")
	rest, status, ok := cli.Parse(flags, args, help, streams)
	switch {
	case !ok:
		return status
	case len(rest) == 0:
		fmt.Fprint(streams.Out, help)
		return cli.ExitDone
	case len(rest) > 1:
		return cli.Unexpected(flags, rest[1], streams)
	}
	for _, c := range commands() {
		if c.name == rest[0] {
			fmt.Fprint(streams.Out, c.help)
			return cli.ExitDone
		}
	}
	return unknownCommand("dockerauth help", rest[0], streams)
}

// printVersion is the command "version".
func printVersion(args []string, streams cli.Streams) int {
	if status, ok := cli.ParseAll(cli.NewFlags("version"), args, helpVersion, streams); !ok {
		return status
	}
	fmt.Fprintln(streams.Out, "dockerauth", cli.Version())
	return cli.ExitDone
}
