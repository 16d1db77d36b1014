package doctor

import (
	"strconv"
	"strings"

	"dockerauth/jwtsign"
)

// Remedies are pasted by root, and paths, names and values in them may be another user's choice.

// word quotes a text for a shell.
var word = jwtsign.ShellWord

// command is a command with its arguments.
func command(args ...string) string {
	words := make([]string, len(args))
	for i, arg := range args {
		words[i] = word(arg)
	}
	return strings.Join(words, " ")
}

// quoted is a text in double quotes, as YAML has it, in which a shell finds nothing to run.
func quoted(text string) string {
	text = strconv.Quote(text)
	if strings.ContainsAny(text, "$`\\") {
		return word(text)
	}
	return text
}

// inTurn are commands of which each runs after the success of the one before.
func inTurn(commands ...string) string { return strings.Join(commands, " && ") }

// printLines is a command that prints lines.
func printLines(lines ...string) string {
	return command(append([]string{"printf", `%s\n`}, lines...)...)
}
