package config

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// readings are access sections; quick tells whether the scanner reads them or leaves them to the parser.
var readings = []struct {
	name  string
	quick bool
	text  string
}{
	{"as the example writes it", true, "access:\n  - allow: [pull]\n    repositories: [\"public/**\"]\n    to: [anyone]   # with or without an account\n"},
	{"everything quoted, one rule after another", true, "access:\n  - allow: ['pull']\n    to: [\"@a\", 'b']\n\n  # another\n  - allow: [push]\n    to: [users]\n"},
	{"lists with dashes", true, "access:\n  - allow:\n      - pull\n      - push\n    to:\n    - \"@a\"\n    - alice\n"},
	{"one text for a list", true, "access:\n  - allow: pull\n    to: users\n"},
	{"numbers and prefixes", true, "access:\n  - allow: [pull]\n    to: [users]\n    from: [10.0.0.0/8, \"2001:db8::/32\"]\n    min_gid: 500\n"},
	{"keys on both sides", true, "issuer: a\naccess:\n  - allow: [pull]\n    to: [users]\nlog:\n  level: info\n"},
	{"a wide dash", true, "access:\n  -   allow: [pull]\n      to: [users]\n"},
	{"an unknown key", false, "access:\n  - alow: [pull]\n    to: [users]\n"},
	{"the same key twice", true, "access:\n  - to: [a]\n    to: [b]\n"},
	{"dashes in the first column", false, "access:\n- allow: [pull]\n  to: [users]\n"},
	{"braces", true, "access:\n  - {allow: [pull], to: [users]}\n  -  { allow: pull , to: [\"@a\",b] } # x\n  - allow: [push]\n    to: [users]\n"},
	{"braces with a key below", false, "access:\n  - {allow: [pull]}\n    to: [users]\n"},
	{"braces left open", false, "access:\n  - {allow: [pull],\n     to: [users]}\n"},
	{"braces with a comma at the end", false, "access:\n  - {allow: [pull], }\n"},
	{"braces in braces", false, "access:\n  - {allow: {a: b}}\n"},
	{"braces with nothing in them", false, "access:\n  - {}\n"},
	{"an empty list in a rule", true, "access:\n  - allow: []\n    to: [users]\n"},
	{"a word that is no text", false, "access:\n  - allow: [yes]\n    to: [users]\n"},
	{"a list over two lines", false, "access:\n  - allow: [pull,\n      push]\n    to: [users]\n"},
	{"an escape", false, "access:\n  - allow: [\"p\\x75ll\"]\n    to: [users]\n"},
	{"an anchor", false, "access:\n  - allow: &a [pull]\n    to: [users]\n"},
	{"a bare glob", false, "access:\n  - allow: [*]\n    to: [users]\n"},
	{"nothing", false, "access:\n"},
	{"an empty list", false, "access: []\n"},
	{"twice", false, "access:\n  - allow: [pull]\n    to: [users]\naccess:\n  - allow: [push]\n    to: [users]\n"},
	{"a quote left open before", false, "issuer: \"a\naccess:\n  - allow: [pull]\n    to: [users]\n b\"\n"},
	{"inside a block of text", false, "issuer: |\n  a\naccess:\n  - allow: [pull]\n    to: [users]\n"},
	{"keys in two columns", false, "access:\n  - allow: [pull]\n     to: [users]\n"},
	{"a comment glued to a value", false, "access:\n  - allow: [pull]#x\n    to: [users]\n"},
	{"a text of two words", false, "access:\n  - allow: [pull push]\n    to: [users]\n"},
	{"a word after a word", false, "access:\n  - allow: pull push\n    to: users\n"},
	{"a key without a value", false, "access:\n  - allow:\n    to: [users]\n"},
	{"a comma at the end", false, "access:\n  - allow: [pull,]\n    to: [users]\n"},
}

func TestTheScannerReadsRulesAsTheParserDoes(t *testing.T) {
	for _, c := range readings {
		t.Run(c.name, func(t *testing.T) {
			if _, _, ok := scanWhole([]byte(c.text)); ok != c.quick {
				t.Errorf("read without the parser: %v, want %v", ok, c.quick)
			}
			compare(t, []byte(c.text))
		})
	}
}

// scanWhole collects what the scanner reads.
func scanWhole(data []byte) (rules node, rest []byte, ok bool) {
	s, rest, found := scanAccess(data)
	if !found {
		return node{}, nil, false
	}
	rules.kind = kindList
	ok = s.each(func(rule *node) {
		copied := *rule
		copied.fields = slices.Clone(rule.fields)
		for i := range copied.fields {
			v := &copied.fields[i].value
			v.items = append([]node(nil), v.items...)
		}
		rules.items = append(rules.items, copied)
	})
	if ok {
		rules.line = rules.items[0].line // as the parser counts
	}
	return rules, rest, ok
}

// compare reads a text both ways, if the scanner takes it.
func compare(t *testing.T, data []byte) {
	t.Helper()
	rules, rest, ok := scanWhole(data)
	if !ok {
		return
	}
	if bytes.Count(rest, []byte("\n")) != bytes.Count(data, []byte("\n")) {
		t.Fatalf("%q became %q: lines were lost", data, rest)
	}
	whole, wholeErrs := readYAML("f", data)
	parts, partsErrs := readYAML("f", rest)
	for i := range parts.fields {
		if parts.fields[i].key == "access" {
			parts.fields[i].value = rules
		}
	}
	if len(wholeErrs) == 0 && len(partsErrs) == 0 && !reflect.DeepEqual(whole, parts) {
		t.Fatalf("%q\nscanned %+v\n parsed %+v", data, parts, whole)
	}
	if (len(wholeErrs) == 0) != (len(partsErrs) == 0) {
		t.Fatalf("%q\nscanned %v\n parsed %v", data, partsErrs, wholeErrs)
	}
}

// What the scanner reads means the same to the parser.
func FuzzScanAccess(f *testing.F) {
	quick := 0
	for _, c := range readings {
		f.Add([]byte(c.text))
		if c.quick {
			quick++
		}
	}
	if quick == 0 {
		f.Fatal("the scanner reads none of the seeds: there is nothing to begin with")
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 4096 {
			t.Skip("larger adds nothing")
		}
		if data, errs := plainText("f", data); len(errs) == 0 {
			compare(t, data)
		}
	})
}

// What ten thousand rules cost each request of the CGI door, and what they would cost without the scanner.
func BenchmarkTenThousandRules(b *testing.B) {
	var text strings.Builder
	text.WriteString("private_key: k\nissuer: a\naudience: b\naccess:\n")
	for i := range 10000 {
		fmt.Fprintf(&text, "  - allow: [pull, push]\n    repositories: [\"team%d/**\"]\n    to: [\"@team%d\"]\n", i, i)
	}
	data := []byte(text.String())
	b.Run("read whole", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			if _, errs := parse("f", "/", data); len(errs) > 0 {
				b.Fatal(errs)
			}
		}
	})
	b.Run("without the scanner", func(b *testing.B) {
		for b.Loop() {
			if _, errs := readYAML("f", data); len(errs) > 0 {
				b.Fatal(errs)
			}
		}
	})
}
