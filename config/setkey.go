package config

import (
	"os"
	"reflect"
	"slices"
	"strings"

	"dockerauth/jwtsign"
)

// SetCommand is a command that sets a key at the top of a configuration to a value in YAML; "" =
// one line of the file cannot do that.
func SetCommand(path, key, value string) string {
	text, err := os.ReadFile(path)
	if err != nil || len(text) > maxFile {
		return ""
	}
	line, script := key+": "+value, "$a "
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	if at := slices.IndexFunc(lines, func(line string) bool { return strings.HasPrefix(line, key+":") }); at >= 0 {
		lines[at], script = line, "/^"+key+":/c "
	} else {
		lines = append(lines, line)
	}
	// Braces around the whole file, or a value on several lines, make something else of the edit.
	_, wanted := withoutKey(line, key)
	others, _ := withoutKey(string(text), key)
	left, set := withoutKey(strings.Join(lines, "\n")+"\n", key)
	if len(wanted) != 1 || len(set) != 1 || others == nil || !reflect.DeepEqual(others, left) ||
		set[0].kind != wanted[0].kind || set[0].text != wanted[0].text {
		return ""
	}
	return "sed -i " + jwtsign.ShellWord(script+strings.ReplaceAll(line, `\`, `\\`)) + " " + jwtsign.ShellWord(path)
}

// SetAnd is a remedy that sets a key and goes on with a command.
func SetAnd(path, key, value, command string) string {
	if set := SetCommand(path, key, value); set != "" {
		return set + " && " + command
	}
	return "write " + jwtsign.ShellWord(key+": "+value) + " in " + jwtsign.ShellWord(path) + ", then: " + command
}

// withoutKey are the other fields of a text in YAML, and the values of the key; nil = unreadable.
func withoutKey(text, key string) (others []field, values []node) {
	data, errs := plainText("", "", []byte(text))
	if errs != nil {
		return nil, nil
	}
	root, errs := readYAML("", data)
	if errs != nil {
		return nil, nil
	}
	others = []field{}
	for _, f := range root.fields {
		if f.key == key {
			values = append(values, f.value)
		} else {
			others = append(others, f)
		}
	}
	return others, values
}
