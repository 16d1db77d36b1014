package command

import (
	"flag"
	"fmt"
	"slices"
	"strings"

	"dockerauth/cli"
)

var shells = []string{"bash", "zsh", "fish"}

// completion is the command "completion".
func completion(args []string, streams cli.Streams) int {
	flags := cli.NewFlags("completion")
	rest, status, ok := cli.Parse(flags, args, helpCompletion, streams)
	switch {
	case !ok:
		return status
	case len(rest) == 0:
		fmt.Fprint(streams.Err, "dockerauth completion: the name of a shell is missing\n"+
			"  write one of: dockerauth completion bash, zsh, fish\n")
		return cli.ExitUsage
	case len(rest) > 1:
		return cli.Unexpected(flags, rest[1], streams)
	}
	script, known := map[string]func() string{"bash": bashCompletion, "zsh": zshCompletion,
		"fish": fishCompletion}[rest[0]]
	if !known {
		fmt.Fprintf(streams.Err, "dockerauth completion: unknown shell %q\n  write one of: %s\n", rest[0],
			strings.Join(shells, ", "))
		return cli.ExitUsage
	}
	if _, err := fmt.Fprint(streams.Out, script()); err != nil {
		return cli.Fail(streams.Err, err)
	}
	return cli.ExitDone
}

// option is a flag as a shell completes it.
type option struct {
	name    string
	usage   string
	value   string   // what its value is, such as FILE; "" = it takes none
	choices []string // the values that there are, if they are known
	list    bool     // it may be given several times
}

// options are the flags of a command, and --help.
func options(c command) []option {
	var all []option
	c.flags().VisitAll(func(f *flag.Flag) {
		value, usage := flag.UnquoteUsage(f)
		o := option{name: f.Name, usage: usage, value: value}
		if strings.Contains(value, "|") {
			o.choices, o.value = strings.Split(value, "|"), "kind"
		}
		_, o.list = f.Value.(*cli.List)
		all = append(all, o)
	})
	return append(all, option{name: "help", usage: "print help"})
}

// leaves are the commands that do something: those of two words, and not their first words.
func leaves() []command {
	var all []command
	for _, c := range commands() {
		if subs := subcommands(c.name); subs != nil {
			all = append(all, subs...)
		} else {
			all = append(all, c)
		}
	}
	return all
}

// groups are the commands that are the first of two words.
func groups() []command {
	return slices.DeleteFunc(commands(), func(c command) bool { return subcommands(c.name) == nil })
}

func bashCompletion() string {
	var b strings.Builder
	fmt.Fprintf(&b, `# bash completion for dockerauth. Made by: dockerauth completion bash
_dockerauth() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} words=
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        words='%s'
    else
        local command=${COMP_WORDS[1]}
        if [ "$COMP_CWORD" -gt 2 ]; then
            case $command in
            %s) command="$command ${COMP_WORDS[2]}" ;;
            esac
        fi
        case $command in
`, strings.Join(names(commands()), " "), strings.Join(names(groups()), " | "))
	for _, c := range slices.Concat(groups(), leaves()) {
		words := c.words
		values := ""
		for _, o := range options(c) {
			words = append(words[:len(words):len(words)], "--"+o.name)
			if o.value != "" {
				values += fmt.Sprintf("            --%s) %s ;;\n", o.name, bashValues(o))
			}
		}
		fmt.Fprintf(&b, "        '%s')\n            words='%s'\n", c.name, strings.Join(words, " "))
		if values != "" {
			fmt.Fprintf(&b, "            case $prev in\n%s            esac\n", values)
		}
		b.WriteString("            ;;\n")
	}
	b.WriteString(`        esac
    fi
    case $words in
    -[df]) compopt -o filenames 2>/dev/null ;;
    esac
    local line
    while IFS= read -r line; do
        COMPREPLY+=("$line")
    done < <(
        case $words in
        -[dfgu]) compgen "$words" -- "$cur" ;;
        *) compgen -W "$words" -- "$cur" ;;
        esac
    )
}
complete -F _dockerauth dockerauth
`)
	return b.String()
}

// bashValues sets the words for a flag's value, or the option of compgen that knows them.
func bashValues(o option) string {
	switch o.value {
	case "FILE":
		return "words=-f"
	case "DIR":
		return "words=-d"
	case "GROUP":
		return "words=-g"
	case "USER":
		return "words=-u"
	}
	return "words='" + strings.Join(o.choices, " ") + "'"
}

func zshCompletion() string {
	var b strings.Builder
	b.WriteString(`#compdef dockerauth
# zsh completion for dockerauth. Made by: dockerauth completion zsh
_dockerauth() {
    local -a commands
    commands=(
`)
	for _, c := range commands() {
		fmt.Fprintf(&b, "        '%s:%s'\n", c.name, c.summary)
	}
	b.WriteString(`    )
    if ((CURRENT == 2)); then
        _describe command commands
        return
    fi
    shift words
    ((CURRENT--))
    local command=$words[1]
    case $command in
`)
	for _, c := range groups() {
		fmt.Fprintf(&b, `    %s)
        if ((CURRENT == 2)); then
            commands=(
`, c.name)
		for _, sub := range subcommands(c.name) {
			fmt.Fprintf(&b, "                '%s:%s'\n", names([]command{sub})[0], sub.summary)
		}
		b.WriteString(`            )
            _describe command commands
            return
        fi
        shift words
        ((CURRENT--))
        command="$command $words[1]"
        ;;
`)
	}
	b.WriteString(`    esac
    case $command in
`)
	for _, c := range leaves() {
		fmt.Fprintf(&b, "    '%s')\n        _arguments", c.name)
		for _, o := range options(c) {
			fmt.Fprintf(&b, " \\\n            '%s'", zshOption(o))
		}
		if c.words != nil {
			fmt.Fprintf(&b, " \\\n            '1:word:(%s)'", strings.Join(c.words, " "))
		}
		b.WriteString("\n        ;;\n")
	}
	b.WriteString(`    esac
}
if [[ $funcstack[1] == _dockerauth ]]; then
    _dockerauth "$@"
else
    compdef _dockerauth dockerauth
fi
`)
	return b.String()
}

// zshOption is an argument of _arguments (zshcompsys(1)).
func zshOption(o option) string {
	text := "--" + o.name
	if o.value != "" {
		text += "="
	}
	if o.list {
		text = "*" + text
	}
	text += "[" + o.usage + "]"
	switch {
	case o.value == "":
		return text
	case o.choices != nil:
		return text + ":" + o.value + ":(" + strings.Join(o.choices, " ") + ")"
	}
	return text + ":" + o.value + ":" + map[string]string{"FILE": "_files", "DIR": "_files -/", "GROUP": "_groups",
		"USER": "_users"}[o.value]
}

func fishCompletion() string {
	var b strings.Builder
	b.WriteString(
		"# fish completion for dockerauth. Made by: dockerauth completion fish\ncomplete -c dockerauth -f\n",
	)
	for _, c := range commands() {
		fmt.Fprintf(&b, "complete -c dockerauth -n __fish_use_subcommand -a %s -d '%s'\n", c.name, c.summary)
	}
	for _, c := range groups() {
		all := subcommands(c.name)
		for i, word := range names(all) {
			fmt.Fprintf(&b, "complete -c dockerauth -n '__fish_seen_subcommand_from %s; "+
				"and not __fish_seen_subcommand_from %s' -a %s -d '%s'\n", c.name, strings.Join(names(all), " "), word,
				all[i].summary)
		}
	}
	for _, c := range leaves() {
		seen := "__fish_seen_subcommand_from "
		here := "complete -c dockerauth -n '" + seen + strings.ReplaceAll(c.name, " ", "; and "+seen) + "'"
		if c.words != nil {
			fmt.Fprintf(&b, "%s -a '%s'\n", here, strings.Join(c.words, " "))
		}
		for _, o := range options(c) {
			fmt.Fprintf(&b, "%s -l %s%s -d '%s'\n", here, o.name, fishValues(o), o.usage)
		}
	}
	return b.String()
}

// fishValues says what completes a flag's value.
func fishValues(o option) string {
	switch o.value {
	case "":
		return ""
	case "FILE":
		return " -r -F"
	case "DIR":
		return " -x -a '(__fish_complete_directories)'"
	case "GROUP":
		return " -x -a '(__fish_complete_groups)'"
	case "USER":
		return " -x -a '(__fish_complete_users)'"
	}
	if o.choices == nil {
		return " -x"
	}
	return " -x -a '" + strings.Join(o.choices, " ") + "'"
}
