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
		{"token", "make, list and take back tokens for people and jobs", helpToken, names(tokenCommands()),
			noFlags("token"), token},
		{"logins", "list the logins of docker login", helpLogins, nil,
			func() *flag.FlagSet { return loginsFlags(new(listing)) }, logins},
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

// subcommands are those of a command of two words.
func subcommands(name string) []command {
	if name == "token" {
		return tokenCommands()
	}
	return nil
}

// names are the words that choose between commands: the last of each name.
func names(commands []command) []string {
	words := make([]string, len(commands))
	for i, c := range commands {
		words[i] = c.name[strings.LastIndexByte(c.name, ' ')+1:]
	}
	return words
}

// Run does what a person typed. args are without the program's name.
func Run(args []string, streams cli.Streams) int {
	if err := service.CheckArguments(args...); err != nil {
		fmt.Fprintf(streams.Err, "dockerauth: %v\n", err)
		return cli.ExitUsage
	}
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
	case service.TokenOwnerArg:
		return service.PrintTokenOwner(streams)
	}
	if strings.HasPrefix(name, "-") {
		fmt.Fprintf(streams.Err, "dockerauth: %q stands before a command\n"+
			"  write the command first, such as: dockerauth check --config /etc/dockerauth/config.yml\n", name)
		return cli.ExitUsage
	}
	return unknownCommand("dockerauth", name, commands(), "see dockerauth help", streams)
}

// runSubcommand does what the second word says.
func runSubcommand(name, help string, args []string, streams cli.Streams) int {
	program, all := "dockerauth "+name, subcommands(name)
	if len(args) == 0 {
		fmt.Fprintf(streams.Err, "%s: the second word is missing\n  write one of: %[1]s %s\n", program,
			strings.Join(names(all), ", "))
		return cli.ExitUsage
	}
	for _, c := range all {
		if c.name == name+" "+args[0] {
			return c.run(args[1:], streams)
		}
	}
	switch args[0] {
	case "-h", "-help", "--help":
		fmt.Fprint(streams.Out, help)
		return cli.ExitDone
	}
	if strings.HasPrefix(args[0], "-") {
		fmt.Fprintf(streams.Err, "%s: %q stands before the second word\n  write one of these before it: %s\n", program,
			args[0], strings.Join(names(all), ", "))
		return cli.ExitUsage
	}
	return unknownCommand(program, args[0], all, "see "+program+" --help", streams)
}

// unknownCommand suggests the command that is meant.
func unknownCommand(program, name string, known []command, hint string, streams cli.Streams) int {
	if best := cli.Closest(name, names(known)); best != "" {
		hint = "did you mean " + best + "? " + hint
	}
	fmt.Fprintf(streams.Err, "%s: unknown command %q\n  %s\n", program, name, hint)
	return cli.ExitUsage
}

// harmless are the commands that do nothing with the rights of a set-group-id install, or check
// that themselves: a conversation is held for this program's own front ends only.
func harmless(name string) bool {
	switch name {
	case "http", "fastcgi", "explain", "init", "check", "token", "logins", "key", "jwks", doctor.ProbeArg,
		service.TokenOwnerArg:
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
	}
	known, name := commands(), rest[0]
	if len(rest) > 1 {
		if known = subcommands(name); known == nil || len(rest) > 2 {
			return cli.Unexpected(flags, rest[len(rest)-1], streams)
		}
		name += " " + rest[1]
	}
	for _, c := range known {
		if c.name == name {
			fmt.Fprint(streams.Out, c.help)
			return cli.ExitDone
		}
	}
	return unknownCommand("dockerauth help", rest[len(rest)-1], known, "see dockerauth help", streams)
}

// printVersion is the command "version".
func printVersion(args []string, streams cli.Streams) int {
	if status, ok := cli.ParseAll(cli.NewFlags("version"), args, helpVersion, streams); !ok {
		return status
	}
	fmt.Fprintln(streams.Out, "dockerauth", cli.Version())
	return cli.ExitDone
}
