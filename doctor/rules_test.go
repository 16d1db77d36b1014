package doctor

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestCheckNamesRulesThatMatchNoRequest(t *testing.T) {
	rules := func(text string) func(t *testing.T, p *patient) {
		return edits("config.yml", "state:", "access:"+text+"\nstate:")
	}
	for _, m := range []mistake{
		{name: "no rules", make: rules(" []"),
			want:  wanted{levelWarning, "config.access", "access-allows-nothing", "/config.yml:5"},
			apply: edits("config.yml", "access: []", "access: [{allow: [pull], to: [users]}]")},
		{name: "nothing below the section", make: rules(""),
			want:  wanted{levelWarning, "config.access", "access-allows-nothing", "/config.yml:5"},
			apply: edits("config.yml", "access:", "access: [{allow: [pull], to: [users]}]")},
		{name: "upper case",
			make: rules("\n  - {allow: [pull], to: [users]}\n" +
				"  - {allow: [push], to: [users], repositories: [\"Team/**\"]}"),
			want: wanted{levelWarning, "config.access", "pattern-never-matches",
				`write "team/**" in its place, in the rule at /`},
			apply: edits("config.yml", "Team/**", "team/**")},
		{name: "an account that is blacklisted",
			make:  rules("\n  - {allow: [push], to: [root]}\nblacklisted_users: [root]"),
			want:  wanted{levelWarning, "config.access", "rule-for-nobody", "/config.yml:7"},
			apply: edits("config.yml", "blacklisted_users: [root]\n", "")},
		{name: "an account that does not exist", make: rules("\n  - {allow: [push], to: [rooot]}"),
			want:  wanted{levelWarning, "config.names", "unknown-name", "/config.yml:6"},
			apply: edits("config.yml", "rooot", "root")},
		{name: "a blacklisted group that does not exist", make: edits("config.yml", "state:",
			"blacklisted_users: [\"@rooot\"]\nstate:"),
			want:  wanted{levelWarning, "config.names", "unknown-name", "rooot"},
			apply: edits("config.yml", "rooot", "root")},
		{name: "a service of another name",
			make:  rules("\n  - {allow: [push], to: [users], services: [regisrty.example.com]}"),
			want:  wanted{levelWarning, "config.access", "service-not-in-audience", `"registry.example.com"`},
			apply: edits("config.yml", "regisrty", "registry")},
		{name: "a mistyped type", make: rules("\n  - {allow: [push], to: [users], types: [repositroy]}"),
			want:  wanted{levelWarning, "config.access", "type-unknown", `"repository"`},
			apply: edits("config.yml", "repositroy", "repository")},
		{name: "an action that no registry knows",
			make:  rules("\n  - {allow: [write], to: [users], types: [repository]}"),
			want:  wanted{levelWarning, "config.access", "action-unknown", `"write"`},
			apply: edits("config.yml", "write", "push")},
		{name: "an address that no client has", make: rules("\n  - {allow: [push], to: [users], from: [0.0.0.0]}"),
			want:  wanted{levelWarning, "config.access", "address-impossible", `"0.0.0.0"`},
			apply: edits("config.yml", "0.0.0.0", "0.0.0.0/0")},
		{name: "a least group id without a placeholder",
			make:  rules("\n  - {allow: [push], to: [users], min_gid: 500}"),
			want:  wanted{levelWarning, "config.access", "min-gid-without-group", `"500"`},
			apply: edits("config.yml", ", min_gid: 500", "")},
	} {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			p := newPatient(t)
			if os.Geteuid() != 0 {
				p.write(t, "pam.d/dockerauth", "auth required pam_userdb.so db=/x\naccount required pam_permit.so\n")
			}
			m.try(t, p)
		})
	}
}

// What the documents show is right, so it must cause no warning.
func TestTheRulesOfTheDocumentsHaveNoFlaw(t *testing.T) {
	files, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, file := range append(files, "../README.md") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
			if !regexp.MustCompile(`(?m)^access:\n`).MatchString(block[1]) {
				continue
			}
			found++
			p := newPatient(t)
			config := block[1]
			for _, line := range strings.Split(p.read(t, "config.yml"), "\n") {
				key, _, _ := strings.Cut(line, ":")
				if key != "" && !regexp.MustCompile(`(?m)^`+key+`:`).MatchString(config) {
					config += line + "\n"
				}
			}
			p.write(t, "config.yml", config)
			findings, _ := p.check(t)
			for _, f := range findings {
				if f.isComplaint() && f.Code != "unknown-name" { // the accounts of examples
					t.Errorf("%s: %s\n%s", file, f, block[1])
				}
			}
		}
	}
	if found < 6 {
		t.Errorf("%d examples", found)
	}
}
