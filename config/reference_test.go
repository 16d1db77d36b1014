package config

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// What a document says of a key instead of a default.
const (
	required  = "required"
	noDefault = "none"
)

// Three documents describe the keys. They name the keys that are read, and agree about the
// defaults. TestTheExampleHasEveryKeyWithItsDefault compares one of them, config.yml.dist, with the
// program.
func TestTheDocumentsDescribeTheKeysThatAreRead(t *testing.T) {
	page := readDocument(t, "../docs/configuration.md")
	described := map[string]map[string]string{
		"docs/configuration.md": pageKeys(t, page, "Keys"),
		"dockerauth-config(5)":  manKeys(manSection(t, ".Sh DESCRIPTION", ".Ss Rules")),
		"config.yml.dist":       distKeys(readDocument(t, "../config.yml.dist")),
	}
	want := slices.Concat(topKeys, prefixed("passwords.", passwordsKeys), prefixed("pam.", pamKeys),
		prefixed("log.", logKeys))
	want = slices.DeleteFunc(want, func(key string) bool { return key == "passwords" || key == "pam" || key == "log" })
	slices.Sort(want)
	for name, keys := range described {
		if got := slices.Sorted(maps.Keys(keys)); !slices.Equal(got, want) {
			t.Errorf("%s has the keys\n%q, want\n%q", name, got, want)
		}
	}
	reference := described["docs/configuration.md"]
	for key, value := range described["dockerauth-config(5)"] {
		if value != reference[key] {
			t.Errorf("%s: dockerauth-config(5) has the default %q, docs/configuration.md %q", key, value,
				reference[key])
		}
	}
	for key, value := range described["config.yml.dist"] {
		if def := reference[key]; value != def && def != required && def != noDefault && key != "blacklisted_users" {
			t.Errorf("%s: config.yml.dist has the default %q, docs/configuration.md %q", key, value, def)
		}
	}
}

func TestTheDocumentsDescribeTheKeysOfARule(t *testing.T) {
	want := slices.Sorted(slices.Values(ruleKeys))
	var dist []string
	listed := regexp.MustCompile(`(?m)^#   ([a-z_]+)  `)
	for _, m := range listed.FindAllStringSubmatch(readDocument(t, "../config.yml.dist"), -1) {
		dist = append(dist, m[1])
	}
	page := pageKeys(t, readDocument(t, "../docs/configuration.md"), "Keys of a rule")
	man := manKeys(manSection(t, ".Ss Rules", ".Sh FILES"))
	for name, got := range map[string][]string{
		"docs/configuration.md": slices.Sorted(maps.Keys(page)),
		"dockerauth-config(5)":  slices.Sorted(maps.Keys(man)),
		"config.yml.dist":       slices.Sorted(slices.Values(dist)),
	} {
		if !slices.Equal(got, want) {
			t.Errorf("%s has the keys %q, want %q", name, got, want)
		}
	}
}

func readDocument(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func prefixed(prefix string, keys []string) (all []string) {
	for _, key := range keys {
		all = append(all, prefix+key)
	}
	return all
}

// pageKeys are the first two columns of the table under a heading: keys and their defaults.
func pageKeys(t *testing.T, page, heading string) map[string]string {
	t.Helper()
	_, table, found := strings.Cut(page, "\n## "+heading+"\n")
	if !found {
		t.Fatalf("there is no heading %q", heading)
	}
	table, _, _ = strings.Cut(table, "\n## ")
	keys := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_.]+)` \\| `?([^|`]+?)`? \\|").FindAllStringSubmatch(table,
		-1) {
		keys[m[1]] = m[2]
	}
	return keys
}

func manSection(t *testing.T, from, to string) string {
	t.Helper()
	_, rest, _ := strings.Cut(readDocument(t, "../packaging/man/dockerauth-config.5"), "\n"+from+"\n")
	section, _, found := strings.Cut(rest, "\n"+to+"\n")
	if !found {
		t.Fatalf("the man page has nothing from %q to %q", from, to)
	}
	return section
}

// manKeys are the items of the lists of a man page. A key without "Default:" is required, a list in
// an item is a section.
func manKeys(page string) map[string]string {
	keys := map[string]string{}
	key, section, depth := "", "", 0
	afterDefault := false
	for line := range strings.Lines(page) {
		line = strings.TrimSpace(line)
		m := regexp.MustCompile(`^\.It Cm ([a-z_]+) :`).FindStringSubmatch(line)
		switch {
		case m != nil:
			key = section + m[1]
			keys[key] = required
		case strings.HasPrefix(line, ".Bl"):
			if depth++; depth == 2 {
				delete(keys, key)
				section = key + "."
			}
		case line == ".El":
			depth--
			section = ""
		case strings.HasPrefix(line, "Default:"):
			keys[key] = strings.TrimSuffix(strings.TrimSpace(strings.TrimPrefix(line, "Default:")), ".")
		case afterDefault:
			value := regexp.MustCompile(`^\.(?:Ql|Cm|Pa) (\S+)`).FindStringSubmatch(line)
			if value != nil {
				keys[key] = strings.ReplaceAll(value[1], `\(dq`, `"`)
			}
		}
		afterDefault = line == "Default:"
	}
	return keys
}

// distKeys are the keys of config.yml.dist with their values, those behind a # too.
func distKeys(text string) map[string]string {
	keys := map[string]string{}
	section := ""
	for _, m := range regexp.MustCompile(`(?m)^#?(  )?([a-z_]+) ?:(?: (.*))?$`).FindAllStringSubmatch(text, -1) {
		switch {
		case m[1] != "":
			keys[section+m[2]] = m[3]
		case m[3] == "" && m[2] != "access":
			section = m[2] + "."
		default:
			keys[m[2]] = m[3]
			if m[3] != `""` {
				keys[m[2]] = strings.Trim(m[3], `"`)
			}
		}
	}
	return keys
}
