package config

import (
	"bytes"
	"slices"
	"strings"
)

// scanAccess finds the section "access", to be read without the YAML parser, which takes twenty microseconds for a rule: with ten thousand
// rules a fifth of a second, in the CGI door for every request. The scanner reads the ways in which rules are commonly written and nothing
// else, and gives up on whatever could mean something else to the parser, which is then asked about the whole file. What it
// reads it reads as the parser does: a fuzz target holds the two against each other.
//
// rest is data with the section's lines emptied but for its key, so that every other line keeps its number.
func scanAccess(data []byte) (rules *scanner, rest []byte, found bool) {
	before, section, after, found := cutAccess(data)
	if !found || !isPlainYAML(before) || !isPlainYAML(after) {
		return nil, nil, false
	}
	rest = append(rest, before...)
	rest = append(rest, "access: []\n"...)
	rest = append(rest, bytes.Repeat([]byte("\n"), bytes.Count(section, []byte("\n"))-1)...)
	return &scanner{text: string(section), line: 1 + bytes.Count(before, []byte("\n"))}, append(rest, after...), true
}

// cutAccess finds the one line that is "access:", and the lines below it that belong to it.
func cutAccess(data []byte) (before, section, after []byte, found bool) {
	const key = "access:\n"
	begin := 0
	if !bytes.HasPrefix(data, []byte(key)) {
		begin = bytes.Index(data, []byte("\n"+key)) + 1
		if begin == 0 {
			return nil, nil, nil, false
		}
	}
	end := begin + len(key)
	for end < len(data) {
		line, _, _ := bytes.Cut(data[end:], []byte("\n"))
		if len(line) > 0 && line[0] != ' ' && line[0] != '#' {
			break
		}
		end = min(end+len(line)+1, len(data))
	}
	return data[:begin], data[begin:end], data[end:], true
}

// isPlainYAML holds for lines none of which carries anything over into the next: no open quote or bracket, no block scalar, no key "access".
func isPlainYAML(text []byte) bool {
	for line := range bytes.Lines(text) {
		if bytes.HasPrefix(line, []byte("#")) {
			continue
		}
		if bytes.HasPrefix(line, []byte("access")) || bytes.ContainsAny(line, "|>&!%?\\") {
			return false
		}
		count := func(c string) int { return bytes.Count(line, []byte(c)) }
		if count("[") != count("]") || count("{") != count("}") || count(`"`)%2 != 0 || count("'")%2 != 0 {
			return false
		}
		if len(line) > 1 && line[0] != ' ' && (line[0] < 'a' || line[0] > 'z') {
			return false
		}
	}
	return true
}

// scanner reads one line after the other.
type scanner struct {
	text  string
	line  int
	emit  func(*node)
	rule  node // being read; its memory is used again for the next
	rules int
	dash  int // column of the dashes of the rules
	keys  int // column of the keys of the rule being read
	items int // column of the dashes of the list being read; 0 = not known yet
	begun bool
	open  bool // the last key has no value yet, or a list below it
}

// each calls emit with every rule, which is good only until it returns. False means that the scanner gave up, on whatever line.
func (s *scanner) each(emit func(rule *node)) bool {
	s.emit = emit
	for line := range strings.Lines(s.text) {
		if !s.scan(strings.TrimRight(line, "\n")) {
			return false
		}
		s.line++
	}
	return s.finish() && s.rules > 0
}

// finish hands over the rule that was being read; false when its last key has no value.
func (s *scanner) finish() bool {
	if s.open && s.items == 0 {
		return false
	}
	if s.rules > 0 {
		s.emit(&s.rule)
	}
	return true
}

func (s *scanner) scan(line string) bool {
	text := strings.TrimLeft(line, " ")
	column := len(line) - len(text)
	switch {
	case text == "" || text[0] == '#':
		return true
	case text == "access:" && column == 0:
		again := s.begun
		s.begun = true
		return !again
	case s.open && strings.HasPrefix(text, "- ") && column >= s.keys && (s.items == 0 || s.items == column):
		s.items = column
		return s.item(text[2:])
	case strings.HasPrefix(text, "- ") && (s.dash == 0 || s.dash == column):
		return s.next(column, text[2:])
	case s.rules > 0 && column == s.keys && !(s.open && s.items == 0):
		return s.key(text)
	}
	return false
}

func (s *scanner) next(column int, text string) bool {
	if !s.finish() {
		return false
	}
	s.rules++
	s.dash = column
	s.keys = column + 2 + len(text) - len(strings.TrimLeft(text, " "))
	s.rule = node{line: s.line, kind: kindSection, fields: s.rule.fields[:0]}
	s.open, s.items = false, 0
	text = strings.TrimLeft(text, " ")
	if strings.HasPrefix(text, "{") {
		s.keys = -1 // all of it is on this line
		return s.braces(text[1:])
	}
	return s.key(text)
}

// braces reads a rule on one line: {allow: [pull], to: [users]}.
func (s *scanner) braces(text string) bool {
	for {
		name, value, found := strings.Cut(strings.TrimLeft(text, " "), ": ")
		if !found || !slices.Contains(ruleKeys, name) {
			return false
		}
		f := s.newField(name)
		rest, ok := s.value(strings.TrimLeft(value, " "), &f.value)
		if !ok {
			return false
		}
		s.rule.fields = append(s.rule.fields, f)
		rest = strings.TrimLeft(rest, " ")
		if text, found = strings.CutPrefix(rest, ","); found {
			continue
		}
		return strings.HasPrefix(rest, "}") && isRestOfLine(rest[1:])
	}
}

func (s *scanner) key(text string) bool {
	name, value, found := strings.Cut(text, ":")
	if !found || !slices.Contains(ruleKeys, name) || value != "" && value[0] != ' ' {
		return false
	}
	s.open, s.items = false, 0
	f := s.newField(name)
	value = strings.Trim(value, " ")
	if s.open = value == ""; s.open {
		f.value.kind = kindList
	} else if rest, ok := s.value(value, &f.value); !ok || !isRestOfLine(rest) {
		return false
	}
	s.rule.fields = append(s.rule.fields, f)
	return true
}

// value reads what stands behind a key, and returns what stands behind that.
func (s *scanner) value(text string, v *node) (rest string, ok bool) {
	if strings.HasPrefix(text, "[") {
		return s.flow(text[1:], v)
	}
	*v, rest, ok = s.scalar(text)
	return rest, ok
}

// newField uses the memory of the field that stood in its place in the rule before.
func (s *scanner) newField(name string) field {
	f := field{key: name, line: s.line, value: node{line: s.line}}
	if n := len(s.rule.fields); n < cap(s.rule.fields) {
		f.value.items = s.rule.fields[:n+1][n].value.items[:0]
	}
	return f
}

// item is one entry of a list with a line for each.
func (s *scanner) item(text string) bool {
	v, rest, ok := s.scalar(strings.Trim(text, " "))
	if !ok || !isRestOfLine(rest) {
		return false
	}
	list := &s.rule.fields[len(s.rule.fields)-1].value
	if len(list.items) == 0 {
		list.line = s.line
	}
	list.items = append(list.items, v)
	return true
}

// flow reads one, two], and returns what stands behind the bracket.
func (s *scanner) flow(text string, list *node) (rest string, ok bool) {
	list.kind = kindList
	text = strings.TrimLeft(text, " ")
	if rest, empty := strings.CutPrefix(text, "]"); empty {
		return rest, true
	}
	for {
		v, rest, ok := s.scalar(strings.TrimLeft(text, " "))
		if !ok {
			return "", false
		}
		list.items = append(list.items, v)
		rest = strings.TrimLeft(rest, " ")
		if text, ok = strings.CutPrefix(rest, ","); ok {
			continue
		}
		return strings.CutPrefix(rest, "]")
	}
}

// isRestOfLine holds for nothing, or a comment with a space before it.
func isRestOfLine(rest string) bool {
	text := strings.TrimLeft(rest, " ")
	return text == "" || text[0] == '#' && len(text) < len(rest)
}

// scalar reads a quoted text without escapes, a small number, or a word that is nothing but a text in any version of YAML.
func (s *scanner) scalar(text string) (v node, rest string, ok bool) {
	v = node{line: s.line}
	if text == "" {
		return v, "", false
	}
	if quote := text[:1]; quote == `"` || quote == `'` {
		content, rest, closed := strings.Cut(text[1:], quote)
		if !closed || content == "" || strings.HasPrefix(rest, quote) || strings.Contains(content, `\`) || !isPrintableASCII(content) {
			return v, "", false
		}
		v.text = content
		return v, rest, true
	}
	end := 0
	for end < len(text) && inWord(text[end]) {
		end++
	}
	word, rest := text[:end], text[end:]
	switch {
	case isSmallNumber(word):
		v.kind = kindNumber
	case !isWord(word) && !isPrefix(word):
		return v, "", false
	}
	v.text = word
	return v, rest, true
}

func isPrintableASCII(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

func inWord(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-' || c == '.' || c == '/'
}

// isWord leaves out what is no text to one version of YAML or another: true, no, null and the like. None of them is longer than five letters.
func isWord(word string) bool {
	if word == "" || (word[0] < 'a' || word[0] > 'z') && (word[0] < 'A' || word[0] > 'Z') {
		return false
	}
	if len(word) > len("false") {
		return true
	}
	switch strings.ToLower(word) {
	case "true", "false", "yes", "no", "on", "off", "y", "n", "null", "nan", "inf":
		return false
	}
	return true
}

// isPrefix: 10.0.0.0/8. The slash keeps it from being a number.
func isPrefix(word string) bool {
	address, bits, found := strings.Cut(word, "/")
	return found && isSmallNumber(bits) && strings.Count(address, ".") == 3 && strings.Trim(address, "0123456789.") == ""
}

func isSmallNumber(word string) bool {
	if word == "0" {
		return true
	}
	return word != "" && len(word) <= 9 && word[0] != '0' && strings.Trim(word, "0123456789") == ""
}
